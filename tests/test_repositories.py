"""Life stories of checkouts, told to real git by the built archive."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Run, Sandbox, interrupt
from results import result_of, statuses
from upstream import Upstream

import tlc

CONFIG = """
versions = ["17.0", "18.0"]
[repos]
odoo = ["odoo"]
oca = ["web", ["queue", ["17.0"]]]
"""

WEB = "oca/web@17.0"


@pytest.fixture(params=["clones", "worktrees"])
def layout(request: pytest.FixtureRequest) -> str:
    """Every story is told in both layouts, unless the layout plays no part in it."""
    return str(request.param)


@pytest.fixture
def configure(sandbox: Sandbox, layout: str) -> Callable[[str], Path]:
    """A function that writes a config.toml of this layout."""
    return lambda text: sandbox.config(f'{text}\n[git]\nlayout = "{layout}"\n')


@pytest.fixture
def upstream(sandbox: Sandbox, tmp_path: Path, configure: Callable[[str], Path]) -> Upstream:
    """Odoo and two OCA repositories, as CONFIG wants them."""
    upstream = Upstream(tmp_path / "github", sandbox)
    upstream.create("odoo/odoo", "17.0", "18.0")
    upstream.create("OCA/web", "17.0", "18.0")
    upstream.create("OCA/queue", "17.0")
    configure(CONFIG)
    return upstream


def pull(sandbox: Sandbox, *options: str) -> Run:
    """Run pull-repos without a question."""
    return sandbox.tlc("--yes", "--json", "pull-repos", *options)


@pytest.fixture
def web(sandbox: Sandbox, upstream: Upstream) -> Path:
    """The checkout of oca/web@17.0, just cloned."""
    assert pull(sandbox, "-f", "oca/web@17.0").code == 0
    return sandbox.root / "oca/17.0/web"


def paste(sandbox: Sandbox, fix: str) -> None:
    """Run a command that was printed, as it stands; answer yes to what tlc asks."""
    env = {**sandbox.env, "NEWCOMER_MODE": "false"}
    done = subprocess.run(["sh", "-c", fix], env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{fix}\n{done.stdout}{done.stderr}"


def snapshot(directory: Path) -> dict[str, bytes | str]:
    """Every file below a directory but git's own -> its bytes, or where a link leads."""
    return {
        str(path.relative_to(directory)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if ".git" not in path.relative_to(directory).parts and (path.is_symlink() or path.is_file())
    }


# --- nothing there, and again


def test_from_nothing_to_a_second_run(sandbox: Sandbox, upstream: Upstream) -> None:
    planned = sandbox.tlc("--json", "pull-repos", "--dry-run")
    assert planned.code == 0
    assert set(statuses(planned).values()) == {"planned"}
    assert os.listdir(sandbox.root) == ["config.toml"]

    first = pull(sandbox)
    assert first.code == 0
    assert statuses(first) == dict.fromkeys(
        ["odoo/odoo@17.0", "odoo/odoo@18.0", "oca/web@17.0", "oca/web@18.0", "oca/queue@17.0"],
        "changed",
    )
    for path, repository, branch in (
        ("odoo/odoo/18.0", "odoo/odoo", "18.0"),
        ("oca/17.0/web", "OCA/web", "17.0"),
        ("oca/17.0/queue", "OCA/queue", "17.0"),
    ):
        checkout = sandbox.root / path
        assert upstream.git("rev-parse", "HEAD", cwd=checkout) == upstream.tip(repository, branch)
        assert upstream.git("rev-parse", "--abbrev-ref", "HEAD", cwd=checkout) == branch
        assert upstream.git("rev-list", "--count", "HEAD", cwd=checkout) == "1"  # shallow
        assert (
            upstream.git("config", "remote.origin.url", cwd=checkout)
            == f"git@github.com:{repository}.git"
        )

    again = pull(sandbox)
    assert again.code == 0
    assert not again.json()["changed"]
    assert set(statuses(again).values()) == {"ok"}


def test_directories_that_init_made_are_filled(sandbox: Sandbox, upstream: Upstream) -> None:
    assert sandbox.tlc("--yes", "init").code == 0
    assert set(statuses(pull(sandbox)).values()) == {"changed"}


def test_full_history_and_other_organisations(
    sandbox: Sandbox, configure: Callable[[str], Path], upstream: Upstream, tmp_path: Path
) -> None:
    upstream.create("acme/tools", "main")
    configure(
        'versions = ["17.0"]\n[repos]\nacme = [["tools", ["main"]]]\n'
        f'other = [{{ name = "x", branches = ["main"], url = "file://{tmp_path}/github/acme/tools.git", depth = 0 }}]\n'
    )
    assert pull(sandbox).code == 0
    assert upstream.git("rev-list", "--count", "HEAD", cwd=sandbox.root / "acme/main/tools") == "1"
    assert upstream.git("rev-list", "--count", "HEAD", cwd=sandbox.root / "other/main/x") == "2"


# --- upstream moves


@pytest.mark.parametrize("amend", [False, True], ids=["moved", "force-pushed"])
def test_upstream_moved(sandbox: Sandbox, upstream: Upstream, web: Path, amend: bool) -> None:
    tip = upstream.commit("OCA/web", "17.0", {"module/models.py": "second = 2\n"}, amend=amend)
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "changed"}
    assert upstream.git("rev-parse", "HEAD", cwd=web) == tip
    assert upstream.git("status", "--porcelain", cwd=web) == ""
    assert (web / "module/models.py").read_text() == "second = 2\n"
    # what was there, and what is newer; of a branch that was rewritten nothing that is older
    assert upstream.git("rev-list", "--count", "HEAD", cwd=web) == ("1" if amend else "2")


def test_fetched_by_hand_and_force_pushed_is_not_the_persons_work(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    upstream.commit("OCA/web", "17.0", {"module/models.py": "second = 2\n"}, amend=True)
    upstream.git("fetch", "--quiet", "origin", cwd=web)
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "changed"}


def test_history_a_person_deepened_is_not_cut_short(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    upstream.git("fetch", "--quiet", "--unshallow", "origin", "17.0", cwd=web)
    for _ in range(2):
        assert pull(sandbox, "-f", "web@17.0").code == 0
        assert int(upstream.git("rev-list", "--count", "HEAD", cwd=web)) >= 2
        upstream.commit("OCA/web", "17.0", {"module/models.py": "deeper\n"})


# --- work is kept, and with --force recorded first


def edit(web: Path) -> None:
    (web / "module/models.py").write_text("mine = True\n")


def stage_parts(web: Path) -> None:
    (web / "module/models.py").write_text("staged = True\n")
    (web / "added.py").write_text("new = 1\n")
    git(web, "add", "module/models.py", "added.py")
    (web / "module/models.py").write_text("unstaged = True\n")
    (web / "module/data.xml").unlink()


def untracked_in_the_way(web: Path) -> None:
    (web / "arriving.py").write_text("mine\n")


def ignored_in_the_way(web: Path) -> None:
    (web / "ignored").write_text("mine\n")


def untracked_directory_in_the_way(web: Path) -> None:
    (web / "arriving.py").mkdir()
    (web / "arriving.py" / "inner.txt").write_text("mine\n")


def commit_of_their_own(web: Path) -> None:
    edit(web)
    git(web, "commit", "--quiet", "--all", "-m", "mine")


def other_branch(web: Path) -> None:
    git(web, "checkout", "--quiet", "-b", "feature")
    commit_of_their_own(web)


def other_branch_and_commits_on_both(web: Path) -> None:
    commit_of_their_own(web)
    git(web, "checkout", "--quiet", "-b", "feature")
    (web / "feature.py").write_text("f = 1\n")
    git(web, "add", "feature.py")
    git(web, "commit", "--quiet", "-m", "feature")


def detached(web: Path) -> None:
    git(web, "checkout", "--quiet", "--detach")
    commit_of_their_own(web)


def conflict(web: Path, command: str) -> None:
    git(web, "checkout", "--quiet", "-b", "theirs")
    (web / "module/models.py").write_text("theirs\n")
    git(web, "commit", "--quiet", "--all", "-m", "theirs")
    git(web, "checkout", "--quiet", "17.0")
    commit_of_their_own(web)
    git(web, command, "theirs", fails=True)


def rebase_in_progress(web: Path) -> None:
    conflict(web, "rebase")


def merge_in_progress(web: Path) -> None:
    conflict(web, "merge")


def hidden_from_status(web: Path) -> None:
    git(web, "update-index", "--assume-unchanged", "module/models.py")
    edit(web)


def stashed(web: Path) -> None:
    edit(web)
    git(web, "stash")
    (web / "README.md").write_text("mine\n")


def submodule(web: Path) -> None:
    inner = web.parent / "inner"
    git(web.parent, "init", "--quiet", str(inner))
    (inner / "inner.py").write_text("inner = 1\n")
    git(inner, "add", "inner.py")
    git(inner, "commit", "--quiet", "-m", "inner")
    git(web, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    (web / "sub" / "inner.py").write_text("mine = 1\n")
    (web / "sub" / "untracked.py").write_text("mine = 2\n")


def directory_replaced_by_a_link(web: Path) -> None:
    (web / "module").rename(web.parent / "module")
    (web / "module").symlink_to("../module")


def removed_from_the_index(web: Path) -> None:
    git(web, "rm", "--quiet", "--cached", "module/models.py")
    edit(web)


def cherry_picks_in_progress(web: Path) -> None:
    git(web, "checkout", "--quiet", "-b", "theirs")
    for number in range(2):
        (web / "module/models.py").write_text(f"theirs {number}\n")
        git(web, "commit", "--quiet", "--all", "-m", "theirs")
    git(web, "checkout", "--quiet", "17.0")
    commit_of_their_own(web)
    git(web, "cherry-pick", "theirs~1", "theirs", fails=True)


def am_in_progress(web: Path) -> None:
    """A module is brought from another version by patches, as OCA does it."""
    git(web, "checkout", "--quiet", "-b", "theirs")
    (web / "module/models.py").write_text("theirs\n")
    git(web, "commit", "--quiet", "--all", "-m", "theirs")
    patch = web.parent / "patch"
    patch.write_text(git(web, "format-patch", "--stdout", "-1"))
    git(web, "checkout", "--quiet", "17.0")
    commit_of_their_own(web)
    git(web, "am", "-3", str(patch), fails=True)


def bisect_in_progress(web: Path) -> None:
    for number in range(3):
        git(web, "commit", "--quiet", "--allow-empty", "-m", f"{number}")
    git(web, "bisect", "start", "HEAD", "HEAD~3")


def symlink(web: Path) -> None:
    (web / "README.md").unlink()
    (web / "README.md").symlink_to("module/models.py")


def git(where: Path, *arguments: str, fails: bool = False) -> str:
    """Run git as the person who works in a checkout."""
    names = {
        f"GIT_{role}_{field}": "me@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for field in ("NAME", "EMAIL")
    }
    env = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_EDITOR": "true"}
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], env=env, capture_output=True, text=True
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout


UNFINISHED = (
    "interactive rebase in progress",
    "You are currently rebasing",
    "You have unmerged paths",
    "You are in the middle of an am session",
    "You are currently bisecting",
)


def state(web: Path) -> dict[str, object]:
    """All that a person would miss: files, index, HEAD, the branches, and where an unfinished operation stands."""
    status = git(web, "status")
    return {
        "files": snapshot(web),
        "index": git(web, "ls-files", "--stage"),
        "head": git(web, "rev-parse", "HEAD"),
        "on": git(web, "rev-parse", "--abbrev-ref", "HEAD"),
        "branches": git(
            web, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/stash"
        ),
        "status": git(web, "status", "--porcelain=v2"),
        "unfinished": [line for line in status.splitlines() if line.startswith(UNFINISHED)],
        # Where `git am --abort` goes back to.
        "before am": git(web, "rev-parse", "ORIG_HEAD") if "an am session" in status else "",
    }


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (edit, "1 changed file (module/models.py)"),
        (stage_parts, "3 changed files"),
        (untracked_in_the_way, "overwrite (arriving.py)"),
        (ignored_in_the_way, "overwrite (ignored)"),
        (untracked_directory_in_the_way, "overwrite"),
        (commit_of_their_own, "1 commit not on origin/17.0"),
        (other_branch, "on branch feature"),
        (other_branch_and_commits_on_both, "on branch feature"),
        (detached, "detached"),
        (rebase_in_progress, "an unfinished rebase"),
        (am_in_progress, "an unfinished am (git am --continue or --abort)"),
        (bisect_in_progress, "detached"),
        (merge_in_progress, "an unfinished merge"),
        (hidden_from_status, "overwrite (module/models.py)"),
        (symlink, "1 changed file (README.md)"),
        (directory_replaced_by_a_link, "2 changed files"),
        (stashed, "1 changed file (README.md)"),
        (submodule, "2 changed files (.gitmodules, sub)"),
        (removed_from_the_index, "1 changed file (module/models.py)"),
        (cherry_picks_in_progress, "an unfinished cherry-pick"),
    ],
)
def test_work_is_kept_and_with_force_comes_back(
    sandbox: Sandbox, upstream: Upstream, web: Path, work: Callable[[Path], None], found: str
) -> None:
    (web / "odoo.egg-info").mkdir()
    (web / "odoo.egg-info" / "PKG-INFO").write_text("does not matter\n")
    work(web)
    tip = upstream.commit(
        "OCA/web",
        "17.0",
        {"arriving.py": "upstream\n", "ignored": "upstream\n", "module/models.py": "upstream\n"},
    )
    before = state(web)

    kept = pull(sandbox, "-f", "web@17.0")
    assert kept.code == 0
    assert (result_of(kept, WEB)["status"], state(web)) == ("kept", before)
    assert found in result_of(kept, WEB)["message"]
    assert "pull-repos --force -f oca/web@17.0" in result_of(kept, WEB)["fix"]
    assert git(web, "rev-parse", "origin/17.0").strip() == tip

    forced = pull(sandbox, "-f", "web@17.0", "--force")
    assert result_of(forced, WEB)["status"] == "changed", result_of(forced, WEB)
    assert git(web, "rev-parse", "HEAD").strip() == tip
    assert git(web, "rev-parse", "--abbrev-ref", "HEAD").strip() == "17.0"
    assert git(web, "status", "--porcelain", "--untracked-files=no") == ""
    assert (web / "arriving.py").read_text() == "upstream\n"
    assert (web / "odoo.egg-info" / "PKG-INFO").exists()
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "ok"}

    restore = result_of(forced, WEB)["fix"]
    subprocess.run(["sh", "-c", restore], env=sandbox.env, check=True, capture_output=True)
    assert state(web) == before


def test_the_command_that_is_named_for_kept_work_brings_it_up_to_date(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    edit(web)
    tip = upstream.commit("OCA/web", "17.0", {"module/models.py": "upstream\n"})
    paste(sandbox, result_of(pull(sandbox, "-f", WEB), WEB)["fix"])
    assert git(web, "rev-parse", "HEAD").strip() == tip
    assert git(web, "for-each-ref", "refs/tlc/backup") != ""
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "ok"}


def test_versions_of_one_repository_are_recorded_apart(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    assert pull(sandbox, "-f", "oca/web", "-f", "odoo").code == 0
    checkouts = {
        f"{name}@{version}": sandbox.root / path.format(version)
        for version in ("17.0", "18.0")
        for name, path in (("oca/web", "oca/{}/web"), ("odoo/odoo", "odoo/odoo/{}"))
    }
    for name, path in checkouts.items():
        (path / "README.md").write_text(f"mine in {name}\n")
    forced = pull(sandbox, "--force", "-f", "oca/web", "-f", "odoo")
    for name, path in checkouts.items():
        assert git(path, "status", "--porcelain") == ""
        subprocess.run(
            ["sh", "-c", result_of(forced, name)["fix"]],
            env=sandbox.env,
            check=True,
            capture_output=True,
        )
        assert (path / "README.md").read_text() == f"mine in {name}\n"


def test_many_versions_that_moved_are_all_updated(
    sandbox: Sandbox, configure: Callable[[str], Path], upstream: Upstream
) -> None:
    versions = [f"{number}.0" for number in range(11, 19)]
    upstream.create("OCA/many", *versions)
    configure(f'versions = {json.dumps(versions)}\n[repos]\noca = ["many"]\n')
    names = [f"oca/many@{version}" for version in versions]
    for text in ("one", "two"):
        assert statuses(pull(sandbox, "--jobs", "8")) == dict.fromkeys(names, "changed")
        for version in versions:
            upstream.commit("OCA/many", version, {"module/models.py": f"{text}\n"})


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
@pytest.mark.parametrize("arrives", ["sub", "sub/inner.py"])
def test_a_submodule_that_the_update_would_replace_is_kept(
    sandbox: Sandbox, upstream: Upstream, tmp_path: Path, arrives: str, force: list[str]
) -> None:
    upstream.create("acme/inner", "main")
    work = upstream.work("OCA/web", "17.0")
    source = str(upstream.directory / "acme/inner.git")
    upstream.git(
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        "-b",
        "main",
        source,
        "sub",
        cwd=work,
    )
    upstream.commit("OCA/web", "17.0", {})
    assert pull(sandbox, "-f", "web@17.0").code == 0
    web = sandbox.root / "oca/17.0/web"
    git(web, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    (web / "sub" / "untracked.py").write_text("mine\n")
    upstream.git("rm", "--quiet", "-f", "sub", cwd=work)
    upstream.commit("OCA/web", "17.0", {arrives: "upstream\n"})
    before = snapshot(web)
    kept = pull(sandbox, "-f", "web@17.0", *force)
    assert (result_of(kept, WEB)["status"], "submodule sub" in result_of(kept, WEB)["message"]) == (
        "kept",
        True,
    )
    assert snapshot(web) == before


def test_other_untracked_files_do_not_matter(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    (web / "notes.txt").write_text("mine\n")
    upstream.commit("OCA/web", "17.0", {"arriving.py": "upstream\n"})
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "changed"}
    assert (web / "notes.txt").read_text() == "mine\n"


def test_force_where_there_is_no_work_just_updates(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    upstream.commit("OCA/web", "17.0", {"arriving.py": "upstream\n"})
    run = pull(sandbox, "-f", "web@17.0", "--force")
    assert (result_of(run, WEB)["status"], result_of(run, WEB)["fix"]) == ("changed", "")
    assert git(web, "for-each-ref", "refs/tlc/backup") == ""


def test_a_repository_inside_that_the_update_would_write_into_stops_even_force(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    upstream.git("init", "--quiet", str(web / "nested"))
    (web / "nested" / "mine.txt").write_text("mine\n")
    upstream.commit("OCA/web", "17.0", {"nested/mine.txt": "upstream\n"})
    run = pull(sandbox, "-f", "web@17.0", "--force")
    assert result_of(run, WEB)["status"] == "failed"
    assert (web / "nested" / "mine.txt").read_text() == "mine\n"


def test_the_plan_says_what_is_found_and_what_force_would_do(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    edit(web)
    plain = sandbox.tlc("pull-repos", "-n", "-f", "web@17.0").out
    forced = sandbox.tlc("pull-repos", "-n", "-f", "web@17.0", "--force").out
    assert "fetch only; your changes stay" in plain and "1 changed file (module/models.py)" in plain
    assert "back up your work, then update" in forced
    assert (web / "module/models.py").read_text() == "mine = True\n"


# --- what cannot be done


def test_a_branch_that_upstream_lacks_is_skipped(
    sandbox: Sandbox, configure: Callable[[str], Path], upstream: Upstream
) -> None:
    configure('versions = ["17.0", "18.0"]\n[repos]\noca = ["queue"]\n')
    run = pull(sandbox)
    assert run.code == 0
    assert statuses(run) == {"oca/queue@17.0": "changed", "oca/queue@18.0": "skipped"}
    assert result_of(run, "oca/queue@18.0")["message"] == "origin has no branch 18.0"
    assert not (sandbox.root / "oca/18.0/queue").exists()


def test_a_branch_that_upstream_dropped_is_skipped_and_stays(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    upstream.git("branch", "-D", "17.0", cwd=upstream.directory / "OCA/web.git")
    before = state(web)
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "skipped"}
    assert state(web) == before


def a_file(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("mine\n")


def a_directory_with_files(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "notes.txt").write_text("mine\n")


def a_repository_begun_by_hand(path: Path) -> None:
    path.mkdir(parents=True)
    git(path, "init", "--quiet")
    (path / "notes.txt").write_text("mine\n")


def a_broken_repository(path: Path) -> None:
    (path / ".git").mkdir(parents=True)
    (path / "notes.txt").write_text("mine\n")


def a_clone_of_something_else(path: Path) -> None:
    a_repository_begun_by_hand(path)
    git(path, "add", "notes.txt")
    git(path, "commit", "--quiet", "-m", "mine")
    git(path, "remote", "add", "origin", "git@github.com:me/web.git")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (a_file, "not a directory"),
        (a_directory_with_files, "not a git repository"),
        (a_repository_begun_by_hand, "HEAD does not resolve"),
        (a_broken_repository, "not a git repository"),
        (a_clone_of_something_else, "its origin is git@github.com:me/web.git"),
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "force"])
def test_what_is_not_the_checkout_is_not_touched(
    sandbox: Sandbox,
    upstream: Upstream,
    there: Callable[[Path], None],
    message: str,
    force: list[str],
) -> None:
    git(sandbox.root, "init", "--quiet")  # a repository around it must not be taken for it
    path = sandbox.root / "oca/17.0/web"
    there(path)
    before = snapshot(sandbox.root / "oca")
    run = pull(sandbox, "-f", "web@17.0", *force)
    assert run.code == 1
    assert result_of(run, WEB)["status"] == "failed"
    assert message in result_of(run, WEB)["message"]
    assert result_of(run, WEB)["fix"]
    assert snapshot(sandbox.root / "oca") == before


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:oca/web.git",
        "ssh://git@github.com/OCA/web",
        "https://github.com/OCA/web/",
        "gh:OCA/web",
    ],
)
@pytest.mark.parametrize("layout", ["clones"])
def test_spellings_of_one_origin_are_one(
    sandbox: Sandbox, upstream: Upstream, web: Path, url: str
) -> None:
    upstream.git(
        "config", "--global", "--add", f"url.file://{upstream.directory}/.insteadOf", "gh:"
    )
    upstream.git(
        "config",
        "--global",
        "--add",
        f"url.file://{upstream.directory}/.insteadOf",
        "ssh://git@github.com/",
    )
    (upstream.directory / "oca").symlink_to("OCA")
    git(web, "remote", "set-url", "origin", url)
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "ok"}


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("git@github.com:a/b.git", "https://github.com/a/b"),
        ("ssh://git@github.com/a/b", "git@github.com:a/b"),
        ("ssh://git@github.com:22/a/b.git/", "https://GitHub.com/A/b.git"),
    ],
)
def test_same_origin(url: str, same: str) -> None:
    assert tlc.same_origin(url) == tlc.same_origin(same)
    assert tlc.same_origin(url) != tlc.same_origin(same.replace("b", "c"))
    assert tlc.host_of(url) == "github.com"


@pytest.mark.parametrize("layout", ["clones"])
def test_a_filter_that_matches_nothing_names_the_nearest(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    run = sandbox.tlc("--yes", "pull-repos", "-f", "wbe")
    assert run.code == 2
    assert "wbe" in run.err and "web" in run.err
    run = sandbox.tlc("--yes", "pull-repos", "-f", "nosuch")
    assert "There is no repository nosuch; tlc status lists them\n" in run.err
    assert os.listdir(sandbox.root) == ["config.toml"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["web"], {"oca/web@17.0", "oca/web@18.0"}),
        (["oca/web"], {"oca/web@17.0", "oca/web@18.0"}),
        (["web@18.0"], {"oca/web@18.0"}),
        (["oca/web@18.0", "odoo@17.0"], {"oca/web@18.0", "odoo/odoo@17.0"}),
    ],
)
@pytest.mark.parametrize("layout", ["clones"])
def test_filters(
    sandbox: Sandbox, upstream: Upstream, filters: list[str], expected: set[str]
) -> None:
    options = [word for each in filters for word in ("--filter", each)]
    assert set(statuses(sandbox.tlc("--json", "pull-repos", "-n", *options))) == expected


@pytest.mark.parametrize("layout", ["clones"])
def test_one_of_twenty_fails_and_nineteen_finish(
    sandbox: Sandbox, configure: Callable[[str], Path], upstream: Upstream
) -> None:
    names = [f"repo{number}" for number in range(20)]
    for name in names[:-1]:
        shutil.copytree(upstream.directory / "OCA/web.git", upstream.directory / f"OCA/{name}.git")
    quoted = ", ".join(f'"{name}"' for name in names)
    configure(f'versions = ["17.0"]\n[repos]\noca = [{quoted}]\n')
    run = sandbox.tlc("--yes", "pull-repos")
    assert run.code == 1
    assert "changed 19 · failed 1" in run.err
    assert "oca/repo19@17.0: no such repository, or you have no access to it" in run.err
    assert "check its name in config.toml, and whether the remote lets you read it" in run.err
    assert str(sandbox.state).replace(str(sandbox.home), "~") in run.err  # the log


@pytest.mark.parametrize("layout", ["clones"])
def test_without_git_it_says_so_once(sandbox: Sandbox, upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = sandbox.tlc("--yes", "pull-repos", env={"PATH": str(tmp_path / "empty")})
    assert run.code == 1
    assert run.err.count("git is not installed") == 1


def test_inside_a_git_hook_it_works_on_the_checkouts_all_the_same(
    sandbox: Sandbox, upstream: Upstream, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    git(tmp_path, "init", "--quiet", str(elsewhere))
    run = sandbox.tlc(
        "--yes",
        "pull-repos",
        env={"GIT_DIR": str(elsewhere / ".git"), "GIT_WORK_TREE": str(elsewhere)},
    )
    assert run.code == 0
    assert os.listdir(elsewhere) == [".git"]


# --- interrupted


def half_clone(path: Path) -> None:
    """What `git clone` leaves when it is killed: the right origin, no commit, a temporary pack."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet")
    git(path, "remote", "add", "origin", "git@github.com:OCA/web.git")
    (path / ".git/objects/pack").mkdir(parents=True, exist_ok=True)
    (path / ".git/objects/pack/tmp_pack_abc123").write_bytes(b"half")


@pytest.mark.parametrize("name", ["web", ".web.tlc-partial-123"])
def test_half_a_clone_is_cloned_anew(sandbox: Sandbox, upstream: Upstream, name: str) -> None:
    half_clone(sandbox.root / "oca/17.0" / name)
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "changed"}
    assert os.listdir(sandbox.root / "oca/17.0") == ["web"]
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "ok"}


def test_a_beginning_with_something_staged_is_not_half_a_clone(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    web = sandbox.root / "oca/17.0/web"
    half_clone(web)
    (web / "mine.py").write_text("mine\n")
    git(web, "add", "mine.py")
    (web / "mine.py").unlink()
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "failed"}
    assert git(web, "ls-files") == "mine.py\n"


def big_upstream(upstream: Upstream) -> None:
    """Make OCA/web's 17.0 large enough that a clone takes a while."""
    noise = random.Random(1)
    upstream.commit(
        "OCA/web", "17.0", {f"big/{n}.txt": noise.randbytes(40_000).hex() for n in range(150)}
    )


def descendants(pid: int) -> set[int]:
    """All processes below one, as /proc tells; none where there is no /proc."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found = below = {pid}
    while below:
        below = {child for child, parent in parents.items() if parent in below} - found
        found = found | below
    return found - {pid}


@pytest.mark.parametrize("kill", ["tlc alone", "power failure"])
def test_killed_at_any_moment_the_next_run_completes(
    sandbox: Sandbox, upstream: Upstream, kill: str, moments: random.Random
) -> None:
    big_upstream(upstream)
    web = sandbox.root / "oca/17.0/web"
    for _ in range(4):  # make faults has many more
        process = sandbox.start("--yes", "pull-repos", "-f", "web@17.0")
        time.sleep(moments.uniform(0.05, 0.7))
        below = descendants(process.pid) if kill == "power failure" else set()
        for pid in (process.pid, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
        tip = upstream.tip("OCA/web", "17.0")
        run = pull(sandbox, "-f", "web@17.0")
        assert run.code == 0, run.err
        assert result_of(run, WEB)["status"] in ("changed", "ok"), run
        assert git(web, "rev-parse", "HEAD").strip() == tip
        assert git(web, "status", "--porcelain") == ""
        if moments.random() < 0.5:
            shutil.rmtree(web)
        else:
            files = {f"big/{n}.txt": f"{moments.random()}\n" * 999 for n in range(0, 150, 2)}
            upstream.commit("OCA/web", "17.0", {**files, f"new/{moments.random()}.txt": "new\n"})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_soon_tells_and_goes_on_next_time(
    sandbox: Sandbox, upstream: Upstream, signum: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        url = f"url.https://127.0.0.1:{deaf.getsockname()[1]}/.insteadOf"
        env = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": url,
            "GIT_CONFIG_VALUE_0": "git@github.com:O",
        }
        process = sandbox.start("--yes", "pull-repos", env=env)
        deaf.settimeout(30)
        with deaf.accept()[0]:
            assert ": interrupted" in interrupt(process, signum)
    assert not list(sandbox.root.glob("o*/**/*.tlc-partial*"))
    after = statuses(pull(sandbox))
    assert (len(after), set(after.values()) <= {"changed", "ok"}) == (5, True), after


# --- layouts


def test_a_checkout_keeps_its_layout_and_doctor_says_how_to_turn_it(
    sandbox: Sandbox, upstream: Upstream, web: Path, layout: str
) -> None:
    other = {"clones": "worktrees", "worktrees": "clones"}[layout]
    (web / "module/models.py").write_text("staged = True\n")
    git(web, "add", "module/models.py")
    (web / "ignored").write_text("mine\n")
    before = {**state(web), "branches": ""}
    sandbox.config(f'{CONFIG}\n[git]\nlayout = "{other}"\n')
    git(web, "stash", "--quiet")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "ok"}
    assert (web / ".git").is_file() == (layout == "worktrees")
    git(web, "stash", "pop", "--quiet", "--index")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "kept"}

    git(web, "stash", "--quiet")
    found = sandbox.tlc("--json", "doctor", "Repositories", "--offline").json()["results"]
    [finding] = [each for each in found if each["name"] == WEB]
    assert finding["status"] == "WARN"
    assert "the config says" in finding["message"]
    git(web, "stash", "pop", "--quiet", "--index")
    paste(sandbox, finding["fix"])
    assert (web / ".git").is_file() == (other == "worktrees")
    assert git(web, "status", "--porcelain") == ""
    old = web.with_name("web.old")
    assert {**state(old), "branches": ""} == before
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "ok"}


def test_settings_of_a_persons_own_do_not_stand_in_the_way(
    sandbox: Sandbox, upstream: Upstream, tmp_path: Path
) -> None:
    settings = {"safe.bareRepository": "explicit", "clone.defaultRemoteName": "upstream"}
    for name, value in settings.items():
        upstream.git("config", "--global", name, value, cwd=tmp_path)
    for status in ("changed", "ok"):
        found = statuses(pull(sandbox))
        assert len(found) == 5
        assert {*found.values()} == {status}


def test_a_code_root_that_was_moved_is_repaired_by_the_printed_command_and_loses_nothing(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    upstream.create("OCA/moved", "16.0", "17.0", "18.0")
    config = '[repos]\noca = ["moved"]\n[git]\nlayout = "worktrees"\n'
    sandbox.config(f'versions = ["17.0", "18.0"]\n{config}')
    assert pull(sandbox).code == 0
    commit_of_their_own(sandbox.root / "oca/17.0/moved")
    commit = git(sandbox.root / "oca/17.0/moved", "rev-parse", "HEAD")
    old, sandbox.root = sandbox.root, sandbox.home / "elsewhere"
    old.rename(sandbox.root)
    sandbox.env["TLC_CODE_DIR"] = str(sandbox.root)
    sandbox.config(f'versions = ["16.0", "17.0", "18.0"]\n{config}')
    moved = pull(sandbox)
    assert statuses(moved) == {
        "oca/moved@16.0": "changed",
        "oca/moved@17.0": "failed",
        "oca/moved@18.0": "failed",
    }
    for version in ("17.0", "18.0"):
        fix = result_of(moved, f"oca/moved@{version}")["fix"]
        subprocess.run(["sh", "-c", fix], env=sandbox.env, check=True, capture_output=True)
    assert statuses(pull(sandbox)) == {
        "oca/moved@16.0": "ok",
        "oca/moved@17.0": "kept",
        "oca/moved@18.0": "ok",
    }
    assert git(sandbox.root / "oca/17.0/moved", "rev-parse", "HEAD") == commit


@pytest.mark.parametrize("layout", ["worktrees"])
def test_versions_of_one_repository_share_a_store_and_a_fetch(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    run = sandbox.tlc("--yes", "--verbose", "pull-repos", "-f", "odoo")
    assert run.err.count(" fetch ") == 1
    assert os.listdir(sandbox.root / ".stores/odoo") == ["odoo.git"]
    assert git(sandbox.root / "odoo/odoo/18.0", "rev-list", "--count", "HEAD") == "1\n"


@pytest.mark.parametrize("layout", ["worktrees"])
def test_a_store_that_git_cannot_read_is_left_alone(sandbox: Sandbox, upstream: Upstream) -> None:
    assert pull(sandbox, "-f", "web@17.0").code == 0
    web, head = sandbox.root / "oca/17.0/web", sandbox.root / ".stores/oca/web.git/HEAD"
    commit_of_their_own(web)
    before, sound = state(web), head.read_text()
    head.write_text("damaged\n")
    assert statuses(pull(sandbox, "-f", "web")) == {WEB: "kept", "oca/web@18.0": "failed"}
    head.write_text(sound)
    assert state(web) == before


@pytest.mark.parametrize("instead", ["nothing", "an empty directory"])
@pytest.mark.parametrize("layout", ["worktrees"])
def test_a_worktree_that_was_deleted_by_hand_comes_back_and_its_commits_are_recorded(
    sandbox: Sandbox, upstream: Upstream, instead: str
) -> None:
    # Behind a link: git remembers where that leads.
    (sandbox.home / "disk").mkdir()
    shutil.rmtree(sandbox.root, ignore_errors=True)
    sandbox.root.symlink_to(sandbox.home / "disk")
    sandbox.config(f'{CONFIG}\n[git]\nlayout = "worktrees"\n')
    assert pull(sandbox, "-f", "web").code == 0
    web = sandbox.root / "oca/17.0/web"
    commit_of_their_own(web)
    commit = git(web, "rev-parse", "HEAD").strip()
    shutil.rmtree(web)
    if instead == "an empty directory":  # as init leaves it
        web.mkdir()
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "changed"}
    assert git(web, "rev-parse", "HEAD").strip() == upstream.tip("OCA/web", "17.0")
    assert commit in git(web, "for-each-ref", "refs/tlc/backup")


# --- an update that was cut off, by a power failure say


@pytest.fixture
def half_updated(sandbox: Sandbox, upstream: Upstream, web: Path) -> str:
    """What is left when git is killed in the middle of a checkout for tlc; the commit it was on its way to."""
    tip = upstream.commit(
        "OCA/web", "17.0", {"module/models.py": "upstream\n", "arriving.py": "upstream\n"}
    )
    git(
        web,
        "-c",
        f"url.file://{upstream.directory}/.insteadOf=git@github.com:",
        "fetch",
        "--quiet",
        "origin",
        "17.0",
    )
    directory = Path(git(web, "rev-parse", "--absolute-git-dir").strip())
    mark = {"head": git(web, "rev-parse", "HEAD").strip(), "target": tip, "restore": ""}
    (directory / "tlc-checking-out").write_text(json.dumps(mark))
    (directory / "index.lock").write_bytes(b"")
    (web / "module/models.py").write_text("upst")
    (web / "arriving.py").write_text("upstream\n")
    return tip


def test_an_update_that_was_cut_off_is_completed(
    sandbox: Sandbox, web: Path, half_updated: str
) -> None:
    run = pull(sandbox, "-f", "web@17.0")
    assert (result_of(run, WEB)["status"], result_of(run, WEB)["fix"]) == ("changed", "")
    assert git(web, "rev-parse", "HEAD").strip() == half_updated
    assert git(web, "status", "--porcelain") == ""
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "ok"}


def test_what_was_staged_after_an_update_was_cut_off_is_kept(
    sandbox: Sandbox, web: Path, half_updated: str
) -> None:
    Path(git(web, "rev-parse", "--absolute-git-dir").strip(), "index.lock").unlink()
    original = (web / "README.md").read_text()
    (web / "README.md").write_text("mine\n")
    git(web, "add", "README.md")
    (web / "README.md").write_text(original)
    index = git(web, "ls-files", "--stage")
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "kept"}
    assert git(web, "ls-files", "--stage") == index


@pytest.mark.parametrize("name", ["README.md", "module/models.py", "arriving.py"])
def test_what_a_person_did_after_an_update_was_cut_off_is_kept(
    sandbox: Sandbox, web: Path, half_updated: str, name: str
) -> None:
    (web / name).write_text("mine\n")
    before = snapshot(web)
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "kept"}
    assert snapshot(web) == before


def test_commits_made_after_an_update_was_cut_off_are_kept(
    sandbox: Sandbox, web: Path, half_updated: str
) -> None:
    Path(git(web, "rev-parse", "--absolute-git-dir").strip(), "index.lock").unlink()
    (web / "README.md").write_text("mine\n")
    git(web, "commit", "--quiet", "-m", "mine", "README.md")
    head = git(web, "rev-parse", "HEAD")
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "kept"}
    assert git(web, "rev-parse", "HEAD") == head


def test_a_checkout_that_fails_half_way_is_completed_later(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    files = {f"a/{number}.py": "upstream\n" for number in range(30)}
    tip = upstream.commit(
        "OCA/web",
        "17.0",
        {**files, ".gitattributes": "z/* filter=broken\n", "z/last.bin": "upstream\n"},
    )
    upstream.git("config", "--global", "filter.broken.smudge", "false")
    upstream.git("config", "--global", "filter.broken.required", "true")
    failed = pull(sandbox, "-f", "web@17.0")
    assert (failed.code, result_of(failed, WEB)["status"]) == (1, "failed")
    upstream.git("config", "--global", "filter.broken.smudge", "cat")
    upstream.git("config", "--global", "filter.broken.clean", "cat")
    assert statuses(pull(sandbox, "-f", "web@17.0")) == {"oca/web@17.0": "changed"}
    assert git(web, "rev-parse", "HEAD").strip() == tip
    assert (web / "z/last.bin").read_text() == "upstream\n"


# --- what people's machines do to it


def test_signed_commits_and_a_log_that_shows_it_are_no_work(
    sandbox: Sandbox, upstream: Upstream, web: Path, tmp_path: Path
) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    for name, value in {
        "gpg.format": "ssh",
        "user.signingKey": str(tmp_path / "key.pub"),
        "commit.gpgSign": "true",
        "log.showSignature": "true",
    }.items():
        upstream.git("config", "--global", name, value)
    for number in range(2):
        upstream.commit("OCA/web", "17.0", {"module/models.py": f"{number}\n"}, amend=True)
        assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}


def test_names_of_files_are_shown_as_a_person_writes_them(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    upstream.commit("OCA/web", "17.0", {"modèle à jour.py": "un\n"})
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}
    (web / "modèle à jour.py").write_text("deux\n")
    assert "(modèle à jour.py)" in result_of(pull(sandbox, "-f", WEB), WEB)["message"]


def test_the_lock_of_a_running_git_is_kept_after_a_killed_run(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    directory = Path(git(web, "rev-parse", "--absolute-git-dir").strip())
    common = Path(git(web, "rev-parse", "--path-format=absolute", "--git-common-dir").strip())
    for mark in (common / "tlc-fetching", directory / "tlc-checking-out"):
        mark.write_text("{}")
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    lock = directory / "index.lock"
    with lock.open("w"):  # as `git add` has it while it hashes
        kept = result_of(pull(sandbox, "-f", WEB), WEB)
        assert (kept["status"], lock.exists()) == ("kept", True)
        assert "another git process" in kept["message"]
    paste(sandbox, kept["fix"])
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}


@pytest.mark.parametrize("name", ["HEAD.lock", "refs/heads/17.0.lock"])
def test_a_lock_that_git_meets_once_the_files_are_there_leaves_all_as_it_was(
    sandbox: Sandbox, upstream: Upstream, web: Path, name: str
) -> None:
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n", "new.py": "new\n"})
    place = git(web, "rev-parse", "--path-format=absolute", "--git-path", name).strip()
    Path(place).touch()
    before = state(web)
    kept = result_of(pull(sandbox, "-f", WEB), WEB)
    assert (kept["status"], state(web)) == ("kept", before)
    paste(sandbox, kept["fix"])
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}


def test_a_second_worktree_on_the_branch_is_not_shifted(
    sandbox: Sandbox, upstream: Upstream, web: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    git(web, "worktree", "add", "--quiet", "--force", str(mine), "17.0")
    (mine / "mine.py").write_text("mine\n")
    git(mine, "add", "mine.py")
    before = state(mine)
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    for force in ([], ["--force"]):
        kept = result_of(pull(sandbox, "-f", WEB, *force), WEB)
        assert (kept["status"], kept["fix"]) == ("kept", "")
        assert "another worktree on branch 17.0" in kept["message"]
        assert state(mine) == before


@pytest.mark.parametrize("layout", ["worktrees"])
def test_a_place_is_not_filled_where_another_worktree_has_the_branch(
    sandbox: Sandbox, upstream: Upstream, web: Path, tmp_path: Path
) -> None:
    git(web, "worktree", "add", "--quiet", "--force", str(tmp_path / "mine"), "17.0")
    shutil.rmtree(web)
    before = state(tmp_path / "mine")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "kept"}
    assert state(tmp_path / "mine") == before


def test_an_orphan_branch_moves_away_by_the_printed_fix_with_what_is_staged(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    git(web, "checkout", "--quiet", "--orphan", "fresh")
    (web / "README.md").write_text("chosen\n")
    git(web, "add", "README.md")
    (web / "README.md").write_text("not chosen\n")
    failed = result_of(pull(sandbox, "-f", WEB), WEB)
    assert failed["status"] == "failed"
    paste(sandbox, failed["fix"])
    old = web.with_name("web.old")
    assert git(old, "show", ":README.md") == "chosen\n"
    assert (old / "README.md").read_text() == "not chosen\n"
    directories = {git(path, "rev-parse", "--absolute-git-dir") for path in (web, old)}
    assert len(directories) == 2
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "ok"}


def test_files_that_differ_only_in_how_they_are_checked_out_are_no_work(
    sandbox: Sandbox, upstream: Upstream, tmp_path: Path
) -> None:
    work = upstream.work("OCA/web", "17.0")

    def commit(text: bytes) -> None:
        """Commit a file with the line endings that it must not have by .gitattributes."""
        (tmp_path / "raw").write_bytes(text)
        words = ["hash-object", "-w", "--no-filters", str(tmp_path / "raw")]
        blob = upstream.git(*words, cwd=work)
        (work / ".gitattributes").write_text("*.csv text\n")
        upstream.git("add", ".gitattributes", cwd=work)
        upstream.git("update-index", "--add", "--cacheinfo", f"100644,{blob},a.csv", cwd=work)
        upstream.git("commit", "--quiet", "-m", "endings", cwd=work)
        upstream.git("push", "--quiet", "origin", "17.0", cwd=work)

    commit(b"a,b\r\n")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}
    web = sandbox.root / "oca/17.0/web"
    (web / "a.csv").touch()
    assert "a.csv" in git(web, "status", "--porcelain")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "ok"}
    commit(b"a,b\r\nc,d\r\n")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}
    assert (web / "a.csv").read_bytes() == b"a,b\r\nc,d\r\n"
    git(web, "update-index", "--skip-worktree", "README.md")
    (web / "README.md").write_text("hidden from git\n")
    upstream.commit("OCA/web", "17.0", {"README.md": "moved\n"})
    (web / "a.csv").touch()
    assert "overwrite (README.md)" in result_of(pull(sandbox, "-f", WEB), WEB)["message"]
    assert (web / "README.md").read_text() == "hidden from git\n"
    git(web, "update-index", "--no-skip-worktree", "README.md")
    git(web, "checkout", "--", "README.md")
    (web / "a.csv").write_bytes(b"mine\r\n")
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "kept"}


def test_a_change_that_the_file_system_monitor_missed_is_seen(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    """As they do on mounts and in containers; git's status calls it clean."""
    monitor = sandbox.home / "monitor"
    monitor.write_text("#!/bin/sh\nprintf 'token\\0'\n")
    monitor.chmod(0o755)
    git(web, "config", "core.fsmonitor", str(monitor))
    git(web, "status")
    edit(web)
    assert git(web, "status", "--porcelain") == ""
    upstream.commit("OCA/web", "17.0", {"module/models.py": "upstream\n"})
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "kept"}
    assert (web / "module/models.py").read_text() == "mine = True\n"


def test_a_post_checkout_hook_that_fails_is_a_note(
    sandbox: Sandbox, upstream: Upstream, tmp_path: Path
) -> None:
    hook = tmp_path / "hooks/post-checkout"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho the program is missing >&2\nexit 2\n")
    hook.chmod(0o755)
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(hook.parent),
    }
    command = ["--yes", "--json", "pull-repos", "-f", WEB]
    assert statuses(sandbox.tlc(*command, env=env)) == {WEB: "changed"}
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    moved = result_of(sandbox.tlc(*command, env=env), WEB)
    assert moved["status"] == "changed"
    assert "hook failed: the program is missing" in moved["message"]
    assert statuses(sandbox.tlc(*command, env=env)) == {WEB: "ok"}


def test_a_filter_whose_program_is_missing_is_named(sandbox: Sandbox, upstream: Upstream) -> None:
    upstream.commit("OCA/web", "17.0", {".gitattributes": "*.bin filter=x\n", "a.bin": "pointer\n"})
    for name, value in {"process": "no-such-program run", "required": "true"}.items():
        upstream.git("config", "--global", f"filter.x.{name}", value)
    for _ in range(2):
        failed = result_of(pull(sandbox, "-f", WEB), WEB)
        assert failed["status"] == "failed"
        assert "no-such-program, which is not installed" in failed["message"]
        assert "no-such-program" in failed["fix"]


def test_a_filter_that_is_refused_says_why_and_is_passed_over_by_the_printed_fix(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    """A script speaks as git-lfs 3 does; the real one cannot be had on the test machine."""
    upstream.commit("OCA/web", "17.0", {".gitattributes": "*.bin filter=lfs -text\n"})
    upstream.commit("OCA/web", "17.0", {"x.bin": "pointer\n"})
    why = "batch response: This repository is over its data quota."
    smudge = sandbox.home / "smudge"
    smudge.write_text(
        '#!/bin/sh\n[ "$GIT_LFS_SKIP_SMUDGE" ] && exec cat\n'
        f"echo 'Error downloading object: x.bin (4bac273): Smudge error: {why}' >&2\nexit 2\n"
    )
    smudge.chmod(0o755)
    for name, value in {"smudge": str(smudge), "clean": "cat", "required": "true"}.items():
        upstream.git("config", "--global", f"filter.lfs.{name}", value)
    failed = result_of(pull(sandbox, "-f", WEB), WEB)
    assert failed["message"] == f"git-lfs cannot get a file: {why}"
    paste(sandbox, failed["fix"])
    assert (sandbox.root / "oca/17.0/web/x.bin").read_text() == "pointer\n"
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "ok"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
@pytest.mark.parametrize("whose", ["checkout", "git directory", "remote"])
def test_what_belongs_to_another_user_is_trusted_by_the_printed_fix(
    sandbox: Sandbox, upstream: Upstream, web: Path, whose: str
) -> None:
    common = Path(git(web, "rev-parse", "--path-format=absolute", "--git-common-dir").strip())
    path = {"checkout": web, "git directory": common, "remote": upstream.directory}[whose]
    # Behind a link: git remembers where that leads.
    sandbox.root.rename(sandbox.home / "data")
    sandbox.root.symlink_to(sandbox.home / "data")
    path = Path(os.path.realpath(path))
    subprocess.run(["chown", "-R", "nobody", str(path)], check=True)
    for _ in range(4):  # a worktree and its store are two directories
        run = pull(sandbox, "-f", WEB)
        if run.code:
            assert "another user" in result_of(run, WEB)["message"]
            paste(sandbox, result_of(run, WEB)["fix"])
    assert statuses(run) == {WEB: "ok"}


@pytest.mark.parametrize("left", [b"", b"half"])
@pytest.mark.parametrize("lost", ["index", "objects", "shallow", "refs/remotes/origin/17.0"])
@pytest.mark.parametrize("layout", ["clones"])
def test_what_a_power_cut_left_empty_is_made_good_or_has_a_fix(
    sandbox: Sandbox, upstream: Upstream, web: Path, lost: str, left: bytes
) -> None:
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    assert pull(sandbox, "-f", WEB).code == 0
    (web / "notes.txt").write_text("mine\n")
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved on\n"})
    path = web / ".git" / lost
    broken = [*path.rglob("*.pack")] if path.is_dir() else [path]
    assert broken
    for each in broken:
        each.chmod(0o644)
        each.write_bytes(left)
    run = pull(sandbox, "-f", WEB)
    if run.code:
        assert "damaged" in result_of(run, WEB)["message"]
        paste(sandbox, result_of(run, WEB)["fix"])
    assert statuses(pull(sandbox, "-f", WEB))[WEB] in ("changed", "ok")
    assert git(web, "rev-parse", "HEAD").strip() == upstream.tip("OCA/web", "17.0")
    assert [*web.parent.glob("web*/notes.txt")]


@pytest.mark.parametrize(
    ("lost", "layout"),
    [
        ("HEAD", "clones"),
        ("HEAD", "worktrees"),
        ("commondir", "worktrees"),
        (".git", "worktrees"),
        ("refs/heads/17.0", "clones"),
        ("refs/heads/17.0", "worktrees"),
    ],
)
def test_what_a_power_cut_left_empty_is_written_again_by_the_printed_fix_beside_work(
    sandbox: Sandbox, upstream: Upstream, web: Path, layout: str, lost: str
) -> None:
    stashed(web)
    commit_of_their_own(web)
    edit(web)
    before = state(web)
    asked = ("rev-parse", "--path-format=absolute", "--git-path", lost)
    path = web / lost if lost == ".git" else Path(git(web, *asked).strip())
    assert path.read_bytes()
    path.write_bytes(b"")
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    failed = result_of(pull(sandbox, "-f", WEB), WEB)
    assert failed["status"] == "failed"
    paste(sandbox, failed["fix"])
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "kept"}
    assert state(web) == before


@pytest.mark.parametrize("layout", ["worktrees"])
def test_what_a_power_cut_took_from_a_store_is_said_of_the_store(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    store = sandbox.root / ".stores/oca/web.git"
    upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    packs = [*(store / "objects").rglob("*.pack")]
    assert packs
    for each in packs:
        each.chmod(0o644)
        each.write_bytes(b"")
    run = pull(sandbox, "-f", WEB)
    said = result_of(run, WEB)
    assert run.code == 1 and "damaged" in said["message"]
    assert said["fix"].startswith("# save your work, move ~/code/.stores/oca/web.git and")
    # Done as it says, all is well; moving the checkout alone would not have helped.
    store.rename(store.with_suffix(".old"))
    web.rename(web.with_suffix(".old"))
    assert statuses(pull(sandbox, "-f", WEB)) == {WEB: "changed"}
    assert git(web, "rev-parse", "HEAD").strip() == upstream.tip("OCA/web", "17.0")


def test_a_submodule_that_is_ignored_is_kept_all_the_same(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    upstream.create("acme/inner", "main")
    work = upstream.work("OCA/web", "17.0")
    allowed = ["-c", "protocol.file.allow=always", "submodule", "--quiet"]
    source = str(upstream.directory / "acme/inner.git")
    upstream.git(*allowed, "add", "-b", "main", source, "sub", cwd=work)
    upstream.git("config", "-f", ".gitmodules", "submodule.sub.ignore", "all", cwd=work)
    upstream.commit("OCA/web", "17.0", {})
    assert pull(sandbox, "-f", WEB).code == 0
    web = sandbox.root / "oca/17.0/web"
    git(web, *allowed, "update", "--init")
    (web / "sub/README.md").write_text("a day of work\n")
    upstream.git("rm", "--quiet", "-f", "sub", cwd=work)
    upstream.commit("OCA/web", "17.0", {"sub/README.md": "vendored\n"})
    for force in ([], ["--force"]):
        kept = result_of(pull(sandbox, "-f", WEB, *force), WEB)
        assert (kept["status"], "sub" in kept["message"]) == ("kept", True)
        assert (web / "sub/README.md").read_text() == "a day of work\n"


@pytest.mark.parametrize("layout", ["clones"])
def test_with_the_network_down_each_fix_names_its_own_version(
    sandbox: Sandbox, upstream: Upstream
) -> None:
    assert pull(sandbox, "-f", "oca/web").code == 0
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.http://127.0.0.1:{port}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "git@github.com:O",
    }
    run = sandbox.tlc("--yes", "--json", "pull-repos", "-f", "oca/web", env=env)
    for name in (WEB, "oca/web@18.0"):
        failed = result_of(run, name)
        assert failed["status"] == "failed"
        assert f"pull-repos -f {name}" in failed["fix"]


class SignIn(BaseHTTPRequestHandler):
    """A network that leads to its sign-in page, and a host that says why it refuses."""

    def do_GET(self) -> None:
        page = self.path.startswith("/sign-in")
        refused = "/queue" in self.path
        self.send_response(403 if refused else 200 if page else 302)
        self.send_header("Location", "/sign-in")
        self.send_header("Content-Type", "text/plain" if refused else "text/html")
        self.end_headers()
        self.wfile.write(b"Your account is suspended.\n" if refused else b"<html>Sign in</html>")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("layout", ["clones"])
def test_a_sign_in_page_and_a_refusal_in_words(sandbox: Sandbox, upstream: Upstream) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SignIn) as server:
        threading.Thread(target=server.serve_forever).start()
        rule = f"url.http://127.0.0.1:{server.server_port}/.insteadOf"
        upstream.git("config", "--global", rule, "git@github.com:O")
        run = pull(sandbox, "-f", WEB, "-f", "queue")
        server.shutdown()
    assert "did not answer as a git server" in result_of(run, WEB)["message"]
    assert result_of(run, "oca/queue@17.0")["message"] == "Your account is suspended."


@pytest.mark.parametrize("layout", ["clones"])
def test_a_repository_that_is_empty_or_made_by_a_newer_git_is_named_as_such(
    sandbox: Sandbox, upstream: Upstream, web: Path
) -> None:
    git(web, "config", "core.repositoryFormatVersion", "1")
    git(web, "config", "extensions.refStorageOfTomorrow", "reftable")
    empty = upstream.directory / "OCA/queue.git"
    shutil.rmtree(empty)
    upstream.git("init", "--quiet", "--bare", str(empty))
    run = pull(sandbox, "-f", WEB, "-f", "queue")
    assert "git is too old for refstorage" in result_of(run, WEB)["message"]
    assert "the repository is empty" in result_of(run, "oca/queue@17.0")["message"]


@pytest.mark.parametrize("layout", ["clones"])
@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("[core]\nabbrev = zz", "'zz' for 'core.abbrev'"),
        ("[core]\nfileMode = perhaps", "'perhaps' for 'core.filemode'"),
        ("[push]\ndefault = 1", "'push.default' in file"),
        ("[core", ".gitconfig"),
    ],
)
def test_a_setting_that_git_rejects_is_named(
    sandbox: Sandbox, web: Path, setting: str, named: str
) -> None:
    with (sandbox.home / ".gitconfig").open("a") as file:
        file.write(f"{setting}\n")
    failed = result_of(pull(sandbox, "-f", WEB), WEB)
    assert "git rejects this setting: " in failed["message"]
    assert named in failed["message"]
    assert failed["fix"].startswith("# correct it")


def no_origin(web: Path) -> None:
    git(web, "remote", "remove", "origin")


def another_origin(web: Path) -> None:
    git(web, "remote", "set-url", "origin", "git@github.com:me/web.git")


def a_repository_in_the_way(web: Path) -> None:
    git(web, "init", "--quiet", "arriving.py")
    git(web / "arriving.py", "commit", "--quiet", "--allow-empty", "-m", "mine")


@pytest.mark.parametrize(
    ("happen", "layout"),  # a store's origin is that of all its worktrees
    [
        (no_origin, "clones"),
        (another_origin, "clones"),
        (a_repository_in_the_way, "clones"),
        (a_repository_in_the_way, "worktrees"),
    ],
)
def test_what_stops_an_update_goes_by_the_printed_fix(
    sandbox: Sandbox,
    upstream: Upstream,
    web: Path,
    layout: str,
    happen: Callable[[Path], None],
) -> None:
    happen(web)
    tip = upstream.commit("OCA/web", "17.0", {"arriving.py": "new = 1\n"})
    failed = result_of(pull(sandbox, "--force", "-f", WEB), WEB)
    assert failed["status"] == "failed", failed
    paste(sandbox, failed["fix"])
    assert pull(sandbox, "-f", WEB).code == 0
    assert git(web, "rev-parse", "HEAD").strip() == tip
    assert result_of(pull(sandbox, "-f", WEB), WEB)["status"] == "ok"


@pytest.mark.parametrize(("is_now", "then"), [("https", "ssh"), ("ssh", "https")])
def test_a_checkout_keeps_the_form_of_its_address(
    sandbox: Sandbox, layout: str, tmp_path: Path, is_now: str, then: str
) -> None:
    """Both forms are one origin: the other one is not tried, by a new version of a store neither."""
    upstream = Upstream(tmp_path / "github", sandbox)
    upstream.create("OCA/web", "17.0", "18.0")

    def configure(protocol: str, *versions: str) -> None:
        git = f'[git]\nlayout = "{layout}"\nprotocol = "{protocol}"\n'
        sandbox.config(f"versions = {json.dumps(versions)}\n[repos]\noca = ['web']\n{git}")

    configure(is_now, "17.0")
    assert statuses(pull(sandbox)) == {WEB: "changed"}
    address = {"https": "https://github.com/", "ssh": "git@github.com:"}[then]
    rule = ["config", "--global", f"url.file://{upstream.directory}/.insteadOf"]
    upstream.git(*rule[:-1], "--unset", rule[-1], f"^{address}")
    (sandbox.home / "bin/ssh").parent.mkdir(exist_ok=True)
    (sandbox.home / "bin/ssh").write_text('#!/bin/sh\ntouch "$HOME/asked"\nexit 255\n')
    (sandbox.home / "bin/ssh").chmod(0o755)
    sandbox.env["PATH"] = f"{sandbox.home}/bin:{sandbox.env['PATH']}"
    sandbox.env["https_proxy"] = "http://127.0.0.1:9"

    versions = ["17.0", "18.0"] if layout == "worktrees" else ["17.0"]
    configure(then, *versions)
    upstream.commit("OCA/web", "17.0", {"module/models.py": "second = 2\n"})
    pulled = pull(sandbox)
    assert statuses(pulled) == {f"oca/web@{each}": "changed" for each in versions}, pulled.out
    assert set(statuses(pull(sandbox)).values()) == {"ok"}
    assert not (sandbox.home / "asked").exists()

    said = sandbox.tlc("--json", "doctor", "Repositories", "--offline")
    words = {"https": "over https", "ssh": "by ssh"}
    assert result_of(said, WEB)["message"] == f"on 17.0, clean, {words[is_now]}"


def test_two_entries_of_one_address_are_one_question(
    sandbox: Sandbox, configure: Callable[[str], Path], upstream: Upstream
) -> None:
    url = "git@github.com:OCA/web.git"
    configure(
        'versions = ["17.0", "18.0"]\n[repos]\noca = ["web"]\n'
        f'acme = [{{ name = "copy", url = "{url}" }}]\n'
    )
    run = sandbox.tlc("--yes", "--verbose", "pull-repos")
    assert run.err.count(" ls-remote ") == 1, run.err
    again = sandbox.tlc("--yes", "--verbose", "pull-repos")
    assert again.err.count(" ls-remote ") == 1
    assert len(re.findall(r"(?m)^\$ \S*git ", again.err)) <= 4 * 2 + 2
