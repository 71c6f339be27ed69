"""What look() finds where a checkout belongs: real git, in the tests' own process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import Checkout

import tlc


@pytest.fixture
def web(tmp_path: Path) -> Checkout:
    """A checkout as tlc makes it, at upstream's tip."""
    found = Checkout(tmp_path)
    found.clone("--depth=1")
    return found


def staged(web: Checkout, text: str) -> None:
    web.write(new=text)
    web.do("add", "new")


# --- nothing to work with


@pytest.mark.parametrize("there", ["nothing", "an empty directory", "half a clone"])
def test_what_may_be_cloned(tmp_path: Path, there: str) -> None:
    web = Checkout(tmp_path)
    if there != "nothing":
        web.path.mkdir(parents=True)
    if there == "half a clone":
        web.do("init", "-q")
        web.do("remote", "add", "origin", web.repository.url)
    assert web.look().as_dict() == tlc.Found(absent=True).as_dict()


@pytest.mark.parametrize(
    ("lay", "said"),
    [
        (lambda path: path.write_text(""), "not a directory"),
        (lambda path: path.symlink_to("nowhere"), "not a directory"),
        (lambda path: (path.mkdir(), (path / "file").write_text("")), "not a git repository"),
    ],
)
def test_what_is_no_checkout(tmp_path: Path, lay: Callable[[Path], object], said: str) -> None:
    web = Checkout(tmp_path)
    web.path.parent.mkdir(parents=True)
    lay(web.path)
    found = web.look()
    assert (found.broken, found.absent) == (said, False)
    assert "mv" in found.fix.render("tlc")


@pytest.mark.parametrize("begun", ["a file", "something staged", "another ref", "another origin"])
def test_a_beginning_of_a_persons_is_no_half_clone(tmp_path: Path, begun: str) -> None:
    web = Checkout(tmp_path)
    web.path.mkdir(parents=True)
    web.do("init", "-q")
    if begun != "another origin":
        web.do("remote", "add", "origin", web.repository.url)
    if begun in ("a file", "something staged"):
        web.write(file="mine\n")
    if begun == "something staged":
        web.do("add", "file")
        (web.path / "file").unlink()
    elif begun == "another ref":
        tree = web.do("hash-object", "-t", "tree", "-w", os.devnull)
        web.do("update-ref", "refs/heads/mine", web.do("commit-tree", tree, "-m", "mine"))
    found = web.look()
    assert not found.absent
    assert "HEAD does not resolve" in found.broken


@pytest.mark.parametrize("url", ["git@github.com:OCA/other.git", ""])
def test_another_origin(web: Checkout, url: str) -> None:
    web.do("remote", "set-url", "origin", url) if url else web.do("remote", "remove", "origin")
    found = web.look()
    assert found.broken == f"its origin is {url or 'not set'}, the config says {web.repository.url}"
    assert found.fix


def test_an_origin_that_an_included_file_names(web: Checkout) -> None:
    (web.path / ".git/more").write_text('[remote "origin"]\n\turl = git@github.com:OCA/other.git\n')
    web.do("config", "include.path", "more")
    assert not web.look().broken, "git fetches from the first address"
    web.do("config", "--unset", "remote.origin.url")
    assert "OCA/other" in web.look().broken


# --- clean


def test_a_clean_checkout(web: Checkout) -> None:
    found = web.look()
    assert (found.head, found.upstream, found.branch) == (web.head, web.head, "18.0")
    assert (found.work, found.obstacle, found.broken) == ((), "", "")
    assert not (found.absent or found.cut_off or found.converted or found.linked)
    assert not found.missing_depth


def test_a_branch_that_moved(web: Checkout) -> None:
    before = web.head
    tip = web.move_on(more="1\n")
    found = web.look()
    assert (found.head, found.upstream, found.work) == (before, tip, ())


def test_no_branch_of_origins_was_fetched(web: Checkout) -> None:
    web.do("update-ref", "-d", "refs/remotes/origin/18.0")
    assert web.look().upstream == ""


def test_what_no_update_touches_is_no_work(web: Checkout) -> None:
    web.write(notes="mine\n", ignored="mine\n")
    assert not web.look().work


# --- work


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda web: web.write(README_dot_md="mine\n"), "1 changed file (README.md)"),
        (
            lambda web: web.write(README_dot_md="mine\n", module__data_dot_xml="mine\n"),
            "2 changed files (README.md, module/data.xml)",
        ),
        (lambda web: (web.path / "README.md").unlink(), "1 changed file (README.md)"),
        (lambda web: staged(web, "1\n"), "1 changed file (new)"),
        (lambda web: web.do("rm", "-q", "--cached", "README.md"), "1 changed file (README.md)"),
        (lambda web: (web.path / "README.md").chmod(0o755), "1 changed file (README.md)"),
        (lambda web: web.do("mv", "README.md", "READ"), "2 changed files (READ, README.md)"),
        (lambda web: web.do("checkout", "-q", "-b", "mine"), "on branch mine"),
        (lambda web: web.do("checkout", "-q", "--detach"), "not on a branch (detached HEAD)"),
        (
            lambda web: web.do("commit", "-q", "--allow-empty", "-m", "1"),
            "1 commit not on origin/18.0",
        ),
        (
            lambda web: [web.do("commit", "-q", "--allow-empty", "-m", n) for n in "123"],
            "3 commits not on origin/18.0",
        ),
    ],
)
def test_work(web: Checkout, do: Callable[[Checkout], object], words: str) -> None:
    do(web)
    found = web.look()
    assert found.work == (words,)
    assert not (found.cut_off or found.converted)


def test_kinds_of_work_add_up(web: Checkout) -> None:
    web.do("checkout", "-q", "-b", "mine")
    web.do("commit", "-q", "--allow-empty", "-m", "mine")
    web.write(README_dot_md="mine\n")
    assert web.look().work == (
        "on branch mine",
        "1 changed file (README.md)",
        "1 commit not on origin/18.0",
    )


@pytest.mark.parametrize(
    ("name", "said"), [("MERGE_HEAD", "merge"), ("CHERRY_PICK_HEAD", "cherry-pick")]
)
def test_an_unfinished_operation(web: Checkout, name: str, said: str) -> None:
    (web.path / ".git" / name).write_text(f"{web.head}\n")
    assert any(said in words and "unfinished" in words for words in web.look().work)


def test_commits_that_were_upstreams_once_are_nobodys(web: Checkout) -> None:
    """Upstream was force-pushed; what HEAD is at stood in origin's branch, as its reflog knows."""
    web.move_on(more="1\n")
    web.do("reset", "-q", "--hard", "origin/18.0")
    web.upstream.commit("OCA/web", "18.0", {"more": "2\n"}, amend=True)
    web.do("fetch", "-q", "origin", "+18.0:refs/remotes/origin/18.0")
    assert web.look().work == ()


def test_a_commit_that_tlc_put_there_is_nobodys(web: Checkout) -> None:
    web.do("commit", "-q", "--allow-empty", "-m", "of a lock, say")
    web.do("update-ref", "refs/tlc/at/18.0", "HEAD")
    assert web.look().work == ()


def test_line_endings_alone_are_no_work(web: Checkout) -> None:
    web.move_on(crlf="a\r\nb\r\n")
    web.do("reset", "-q", "--hard", "origin/18.0")
    web.write(_dot_git__info__attributes="* text=auto eol=lf\n")
    web.do("config", "core.autocrlf", "input")
    os.utime(web.path / "crlf", (1, 1))
    found = web.look()
    assert found.work == ()
    assert found.converted == bool(web.do("status", "--porcelain", "--untracked-files=no"))
    (web.path / "crlf").write_bytes(b"a\r\nmine\r\n")
    assert web.look().work == ("1 changed file (crlf)",)


def test_work_without_a_common_ancestor_is_torn(web: Checkout) -> None:
    web.do("commit", "-q", "--allow-empty", "-m", "mine")
    empty = web.do("hash-object", "-t", "tree", "-w", os.devnull)
    web.do("update-ref", "refs/remotes/origin/18.0", web.do("commit-tree", empty, "-m", "other"))
    assert "upstream was rewritten" in web.look().work[-1]
    web.do("update-ref", "refs/remotes/origin/18.0", "HEAD~")
    assert not any("rewritten" in each for each in web.look().work)


# --- what cannot be recorded


def test_another_worktree_on_the_branch(web: Checkout) -> None:
    web.move_on(more="1\n")
    assert web.look().obstacle == ""
    other = web.path.with_name("other")
    web.do("worktree", "add", "-q", "--force", str(other), "18.0")
    assert web.look().obstacle.endswith("other is another worktree on branch 18.0")
    web.do("worktree", "remove", "--force", str(other))
    assert web.look().obstacle == ""


# --- history and settings


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        ('{ name = "web", depth = 1 }', 0),
        ('{ name = "web", depth = 0 }', -1),
        ('{ name = "web", depth = 2 }', 1),
        ('{ name = "web", depth = 5 }', 4),
    ],
)
def test_history_that_the_config_wants_besides(tmp_path: Path, entry: str, missing: int) -> None:
    web = Checkout(tmp_path, entry)
    web.clone("--depth=1")
    assert web.look().missing_depth == missing
    web.do("fetch", "-q", "--unshallow")
    assert web.look().missing_depth == 0


@pytest.mark.parametrize(
    "setting", ["core.sshCommand", "http.proxy", "url.x.insteadOf", "credential.helper"]
)
def test_settings_of_its_own(web: Checkout, setting: str) -> None:
    web.do("config", setting, "x")
    assert web.git.reaches_origin_its_own_way


# --- an update that was cut off


def mark(web: Checkout, **words: str) -> None:
    """Leave the note that an update writes before it touches the first file."""
    (web.path / ".git" / tlc.CHECKING_OUT).write_text(json.dumps(words))


@pytest.fixture
def killed(web: Checkout) -> Checkout:
    """A checkout whose update was killed when it had written one file of two, and half of the other."""
    before = web.head
    tip = web.move_on(README_dot_md="theirs\n" * 9, module__data_dot_xml="<theirs/>\n")
    mark(web, head=before, target=tip)
    web.write(module__data_dot_xml="<theirs/>\n", README_dot_md="theirs\n" * 4)
    return web


def test_an_update_that_was_killed_is_no_work(killed: Checkout) -> None:
    found = killed.look()
    assert (found.cut_off, found.work) == (True, ())


@pytest.mark.parametrize(
    "do",
    [
        lambda web: web.write(README_dot_md="mine\n"),
        lambda web: staged(web, "mine\n"),
        lambda web: web.do("commit", "-q", "--allow-empty", "-m", "mine"),
        lambda web: web.do("checkout", "-q", "-b", "mine"),
        lambda web: mark(web, head="0" * 40, target="1" * 40),
        lambda web: (web.path / ".git" / tlc.CHECKING_OUT).unlink(),
        lambda web: (web.path / ".git" / tlc.CHECKING_OUT).write_text("no JSON"),
    ],
)
def test_what_a_person_did_since_is_work(
    killed: Checkout, do: Callable[[Checkout], object]
) -> None:
    do(killed)
    found = killed.look()
    assert found.work and not found.cut_off


def test_it_was_killed_when_git_had_moved_head_already(killed: Checkout) -> None:
    before, tip = killed.head, killed.do("rev-parse", "origin/18.0")
    killed.do("update-ref", "HEAD", tip)
    mark(killed, head=before, target=tip)
    killed.do("read-tree", tip)
    assert killed.look().cut_off
