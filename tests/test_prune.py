"""Stories of prune: what the config no longer names goes, and nothing of a person's with it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Sandbox, interrupt
from odoo_venv import Tools, VenvBuilder
from person import Person
from postgres_server import PostgresServer
from results import result_of, results, statuses
from upstream import Upstream

LAYOUTS = ["clones", "worktrees"]


class Team(Person):
    """A person with checkouts of two versions, and what it takes to lose something in one of them."""

    def __init__(self, sandbox: Sandbox, layout: str, *names: str) -> None:
        super().__init__(sandbox)
        self.layout, self.names = layout, names
        self.upstream = Upstream(self.home / "github", sandbox)
        for name in names:
            self.upstream.create(f"OCA/{name}", "17.0", "18.0")
        self.declare("17.0", "18.0")
        self.pull()

    def declare(self, *versions: str, more: str = "") -> None:
        self.sandbox.config(
            f"versions = {json.dumps(versions)}\n{more}[repos]\noca = {json.dumps(self.names)}\n"
            f'[git]\nlayout = "{self.layout}"\n'
        )

    def pull(self, *arguments: str) -> None:
        run = self.tlc("--yes", "pull-repos", *arguments)
        assert run.code == 0, run.err

    def at(self, name: str, version: str = "17.0") -> Path:
        return self.root / "oca" / version / name

    def git(self, name: str, *words: str) -> str:
        return self.upstream.git(*words, cwd=self.at(name))

    def commit(self, name: str, text: str = "mine") -> str:
        (self.at(name) / "module/models.py").write_text(f"{text}\n")
        self.git(name, "commit", "-qam", text)
        return self.git(name, "rev-parse", "HEAD")

    def holds(self, name: str, commit: str) -> bool:
        """Whether a commit can still be found by a name or in a reflog."""
        for place in (self.at(name), self.root / ".stores/oca" / f"{name}.git"):
            if place.exists():
                words = ["rev-list", "--all", "--reflog"]
                if commit in self.upstream.git(*words, cwd=place).split():
                    return True
        return False


# Each makes work in a checkout; what it returns must still be there: a path, or a commit's name.
Way = Callable[[Team, str], Path | str]


def written(path: str, text: str = "mine\n") -> Way:
    def way(me: Team, name: str) -> Path:
        place = me.at(name) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    return way


def deleted(me: Team, name: str) -> Path:
    (me.at(name) / "README.md").unlink()
    return me.at(name) / "module/models.py"


def staged(me: Team, name: str) -> Path:
    path = written("README.md")(me, name)
    me.git(name, "add", "-A")
    return Path(path)


def other_branch(me: Team, name: str) -> str:
    me.git(name, "checkout", "-q", "-b", "mine")
    return me.commit(name)


def detached(me: Team, name: str) -> str:
    me.git(name, "checkout", "-q", "--detach")
    return me.commit(name)


def merging(me: Team, name: str) -> str:
    me.git(name, "checkout", "-q", "-b", "mine")
    mine = me.commit(name)
    me.git(name, "checkout", "-q", "17.0")
    me.commit(name, "theirs")
    command = ["git", "merge", "-q", "mine"]
    assert subprocess.run(command, cwd=me.at(name), env=me.env, capture_output=True).returncode
    return mine


def stashed(me: Team, name: str) -> str:
    written("module/models.py")(me, name)
    me.git(name, "stash")
    return me.git(name, "rev-parse", "refs/stash")


def in_the_reflog(me: Team, name: str) -> str:
    commit = me.commit(name)
    me.git(name, "reset", "-q", "--hard", "HEAD~1")
    return commit


def on_a_branch(me: Team, name: str) -> str:
    commit = other_branch(me, name)
    me.git(name, "checkout", "-q", "17.0")
    return str(commit)


def backed_up(me: Team, name: str) -> str:
    written("module/models.py")(me, name)
    me.upstream.commit(f"OCA/{name}", "17.0", {"new.py": ""})
    me.pull("--force", "-f", f"{name}@17.0")
    return me.git(name, "for-each-ref", "--format=%(objectname)", "refs/tlc/backup")


def tagged(me: Team, name: str) -> str:
    commit = me.commit(name)
    me.git(name, "tag", "mine")
    me.git(name, "reset", "-q", "--hard", "HEAD~1")
    return commit


def pushed_and_deleted(me: Team, name: str) -> str:
    commit = on_a_branch(me, name)
    me.git(name, "push", "-q", "origin", "mine")
    me.git(name, "branch", "-q", "-D", "mine")
    me.git(name, "push", "-q", "origin", "--delete", "mine")
    return commit


def hooked(me: Team, name: str) -> Path:
    hook = Path(me.git(name, "rev-parse", "--path-format=absolute", "--git-path", "hooks/pre-push"))
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    return hook


def hidden(bit: str) -> Way:
    def way(me: Team, name: str) -> Path:
        me.git(name, "update-index", f"--{bit}", "module/models.py")
        return Path(written("module/models.py")(me, name))

    return way


def nested(me: Team, name: str) -> Path:
    me.upstream.git("init", "-q", str(me.at(name) / "own"))
    return Path(written("own/file")(me, name))


def second_worktree(me: Team, name: str) -> str:
    me.git(name, "worktree", "add", "-q", "-b", "mine", str(me.home / f"beside-{name}"))
    me.upstream.git("commit", "-q", "--allow-empty", "-m", "mine", cwd=me.home / f"beside-{name}")
    return me.upstream.git("rev-parse", "HEAD", cwd=me.home / f"beside-{name}")


def submodule(me: Team, name: str) -> Path:
    """One that upstream has, and that the person has filled."""
    library = me.home / "library"
    if not library.exists():
        me.upstream.git("init", "-q", str(library))
        me.upstream.git("commit", "-q", "--allow-empty", "-m", "one", cwd=library)
    allow = ("-c", "protocol.file.allow=always")
    work = me.upstream.work(f"OCA/{name}", "17.0")
    me.upstream.git(*allow, "submodule", "add", "-q", str(library), "lib", cwd=work)
    me.upstream.git("commit", "-qm", "a submodule", cwd=work)
    me.upstream.git("push", "-q", "origin", "17.0", cwd=work)
    me.pull("-f", f"{name}@17.0")
    me.git(name, *allow, "submodule", "update", "-q", "--init")
    return me.at(name) / "lib/.git"


WAYS: dict[str, Way] = {
    "changed": written("module/models.py"),
    "staged": staged,
    "deleted": deleted,
    "untracked": written("notes/today.txt"),
    "ignored": written("ignored"),
    "commit": Team.commit,
    "branch": other_branch,
    "detached": detached,
    "merge": merging,
    "stash": stashed,
    "reflog": in_the_reflog,
    "beside": on_a_branch,
    "backup": backed_up,
    "tag": tagged,
    "pushed": pushed_and_deleted,
    "hook": hooked,
    "assumed": hidden("assume-unchanged"),
    "skipped": hidden("skip-worktree"),
    "nested": nested,
    "worktree": second_worktree,
    "submodule": submodule,
}


def made_by_python(me: Team, name: str) -> None:
    for path in ("module/__pycache__/models.txt", "module/x.pyc", "odoo.egg-info/PKG-INFO"):
        written(path)(me, name)


def moved_by_upstream(me: Team, name: str) -> None:
    """A force push, after which neither HEAD's old commit nor tlc's note of it is in a branch."""
    for _ in range(2):
        me.upstream.commit(f"OCA/{name}", "17.0", {"new.py": f"{_}"}, amend=True)
        me.pull("-f", f"{name}@17.0")


def published(me: Team, name: str) -> None:
    on_a_branch(me, name)
    me.git(name, "push", "-q", "origin", "mine")
    me.git(name, "fetch", "-q", "origin", "mine:refs/remotes/origin/mine")


HARMLESS: dict[str, Callable[[Team, str], object]] = {
    "plain": lambda _me, _name: None,
    "python": made_by_python,
    "moved": moved_by_upstream,
    "published": published,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_of_a_persons_is_lost(sandbox: Sandbox, layout: str) -> None:
    """In twenty-one ways; each is named, and what has no work goes."""
    me = Team(sandbox, layout, "one", *WAYS, *HARMLESS)
    work = {name: way(me, name) for name, way in WAYS.items()}
    for name, way in HARMLESS.items():
        way(me, name)
    kept = {name: place.read_bytes() for name, place in work.items() if isinstance(place, Path)}
    me.declare("18.0")
    shown = me.tlc("--dry-run", "prune").out
    run = me.yes("prune")
    assert run.code == 0, run.err
    found = statuses(run)
    for name, place in work.items():
        named = (f"oca/{name}@17.0", f"oca/{name}.git")
        if isinstance(place, Path):
            assert place.read_bytes() == kept[name], f"{name} is lost"
        else:
            assert me.holds(name, place), f"{name} is lost"
        in_store = not me.at(name).exists()
        assert in_store or found[named[0]] == "kept", f"{name} is not named: {found}"
        assert in_store or f"  {named[0]}: " in shown.partition("keep (")[2], name
        # With the worktrees layout, the store of a repository that the config names stays.
        assert not (in_store and layout == "clones")
    for name in ("one", *HARMLESS):
        assert found[f"oca/{name}@17.0"] == "changed", (name, found)
        assert not me.at(name).exists()
        assert me.at(name, "18.0").is_dir()
    again = me.yes("prune")
    assert set(statuses(again).values()) == {"kept"}


@pytest.mark.parametrize("name", ["stash", "beside", "tag", "pushed", "hook", "worktree", "reflog"])
def test_a_store_with_work_stays(sandbox: Sandbox, name: str) -> None:
    me = Team(sandbox, "worktrees", "one", name)
    place = WAYS[name](me, name)
    me.names = ("one",)
    me.declare("18.0")
    run = me.yes("prune")
    assert run.code == 0, run.err
    assert statuses(run)[f"oca/{name}.git"] == "kept"
    assert place.exists() if isinstance(place, Path) else me.holds(name, place)


def test_a_worktree_that_is_locked_stays(sandbox: Sandbox) -> None:
    me = Team(sandbox, "worktrees", "one")
    me.git("one", "worktree", "lock", str(me.at("one")))
    me.declare("18.0")
    assert statuses(me.yes("prune")) == {"oca/one@17.0": "kept"}
    assert me.at("one").is_dir()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_version_that_comes_back_is_whole(sandbox: Sandbox, layout: str) -> None:
    me = Team(sandbox, layout, "one", "two")
    before = me.upstream.git("ls-files", "-s", cwd=me.at("two"))
    du = subprocess.run(
        ["du", "-s", "--block-size=1", me.at("one")], capture_output=True, text=True
    )
    size = f"{int(du.stdout.split()[0]) / 1e6:.1f} MB"
    me.declare("18.0")
    run = me.yes("prune")
    assert statuses(run) == {"oca/one@17.0": "changed", "oca/two@17.0": "changed"}
    assert {each["message"] for each in results(run)} == {f"removed, {size}"}
    assert not (me.root / "oca/17.0").exists()
    assert me.tlc("--yes", "prune").err.startswith("ok 0")
    me.declare("17.0", "18.0")
    me.pull()
    assert me.upstream.git("ls-files", "-s", cwd=me.at("two")) == before
    assert all("clean" in line for line in me.tlc("status").out.splitlines())


def test_a_repository_that_is_no_longer_named_goes_with_its_store(sandbox: Sandbox) -> None:
    me = Team(sandbox, "worktrees", "one", "two")
    me.names = ("one",)
    me.declare("17.0", "18.0")
    found = statuses(me.yes("prune"))
    assert found == dict.fromkeys(("oca/two@17.0", "oca/two@18.0", "oca/two.git"), "changed")
    assert not (me.root / ".stores/oca/two.git").exists()
    assert (me.root / ".stores/oca/one.git").is_dir()


def test_all_of_a_version_that_the_config_names(sandbox: Sandbox) -> None:
    me = Team(sandbox, "clones", "one")
    assert statuses(me.yes("prune", "17.0")) == {"oca/one@17.0": "changed"}
    assert me.at("one", "18.0").is_dir()
    wrong = me.tlc("prune", "seventeen")
    assert (wrong.code, "seventeen is no version" in wrong.err) == (2, True)


def test_only_what_tlc_makes_is_looked_at(sandbox: Sandbox) -> None:
    """Not what stands elsewhere, has another origin, is a link, or belongs to no organisation of the config."""
    me = Team(sandbox, "clones", "one")
    me.declare("18.0", more='init_dirs = ["oca/mine"]\n')
    source = me.at("one", "18.0")
    places = [
        "trobz/17.0/one",
        "trobz/projects/one",
        "other/17.0/one",
        "oca/mine/one",
        "oca/16.0/x",
    ]
    for place in places:
        shutil.copytree(source, me.root / place, symlinks=True)
    me.upstream.git("remote", "set-url", "origin", "git@example.com:x/one.git", cwd=me.at("one"))
    (me.root / "oca/16.0/link").symlink_to(source)
    assert me.tlc("--yes", "prune").err.startswith("ok 0")
    assert all((me.root / place / "README.md").exists() for place in places)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cut_off_anywhere_the_next_run_completes(sandbox: Sandbox, layout: str) -> None:
    """As a power cut leaves it: renamed; half removed; removed, but still known to the store."""
    me = Team(sandbox, layout, "one", "two", "three", "four")
    for name in ("two", "three", "four"):
        aside = me.at(f"{name}.tlc-partial-pruned")
        me.at(name).rename(aside)
        if name == "three":
            (aside / "README.md").unlink()
            written(f"{aside.name}/notes")(me, "")  # nothing counts here: it was looked at before
        if name == "four":
            shutil.rmtree(aside)
    me.declare("18.0")
    run = me.yes("prune")
    assert run.code == 0, run.err
    expected = {f"oca/{name}@17.0": "changed" for name in ("one", "two", "three")}
    assert statuses(run) == expected
    assert not (me.root / "oca/17.0").exists()
    me.declare("17.0", "18.0")
    me.pull()
    assert all("clean" in line for line in me.tlc("status").out.splitlines())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_moment_the_next_run_completes(
    sandbox: Sandbox, layout: str, moments: random.Random
) -> None:
    me = Team(sandbox, layout, *(f"one-{number}" for number in range(6)))
    mine = written("notes")(me, "one-3")
    me.declare("18.0")
    for _ in range(4):
        process = me.start("--yes", "prune")
        time.sleep(moments.uniform(0.1, 1.5))
        process.kill()
        process.communicate()
    time.sleep(1)  # git's children outlive a run that is killed
    run = me.yes("prune")
    assert run.code == 0, run.err
    assert os.listdir(me.root / "oca/17.0") == ["one-3"]
    assert Path(mine).read_text() == "mine\n"
    me.declare("17.0", "18.0")
    me.pull()
    assert [line for line in me.tlc("status").out.splitlines() if "clean" not in line] == [
        line for line in me.tlc("status", "-f", "one-3").out.splitlines() if "untracked" in line
    ]


def test_it_asks_first_whatever_the_mode(sandbox: Sandbox) -> None:
    me = Team(sandbox, "clones", "one")
    me.declare("18.0")
    for mode in ("--newcomer", "--no-newcomer"):
        run = me.tlc(mode, "prune", input="n\n")
        assert (run.code, "Nothing was changed." in run.err) == (1, True)
        assert "remove: oca/one@17.0: " in run.out + run.err
    assert me.at("one").is_dir()
    assert me.tlc("prune", input="y\n").code == 0
    assert not me.at("one").exists()


def test_on_a_terminal_it_shows_what_goes_and_what_stays_before_it_asks(sandbox: Sandbox) -> None:
    """Offline; no and Ctrl-C leave all of it, an unknown answer is asked again, yes removes what has no work."""
    me = Team(sandbox, "clones", "one", "two")
    written("notes/today.txt")(me, "two")
    me.declare("18.0")
    me.upstream.directory.rename(me.home / "away")
    for answer, code in (("n\r", 1), ("\x03", 130), ("what?\rd\ry\r", 0)):
        with me.terminal("prune") as terminal:
            terminal.wait_for("[Y/n/d]")
            for shown in (
                r"remove: oca/one@17\.0: [\d.]+ MB",
                r"oca/two@17\.0: .*notes/today\.txt",
            ):
                assert re.search(shown, terminal.text), terminal.text
            for key in re.findall(r"[^\r]+\r?", answer):
                terminal.wait_for("[Y/n/d]", times=terminal.text.count("[Y/n/d]"))
                terminal.send(key)
                time.sleep(0.3)
            assert terminal.wait() == code, terminal.text
            if code != 130:
                said = "Nothing was changed." if code else "changed 1 · kept 1"
                assert said in terminal.text, terminal.text
        assert me.at("one").exists() == bool(code)
    assert "removed, " in terminal.text and "1 untracked file (notes/today.txt)" in terminal.text
    assert (me.at("two") / "notes/today.txt").exists()


def test_interrupted_the_next_run_completes(sandbox: Sandbox) -> None:
    """By Ctrl-C, in the middle of git's work: nothing is said to be done that is not."""
    me = Team(sandbox, "worktrees", "one", "two")
    git = me.home / "bin/git"
    git.parent.mkdir(exist_ok=True)
    real = shutil.which("git")
    git.write_text(
        f'#!/bin/sh\ncase "$*" in *worktree*remove*) touch {git}.at; sleep 30 & wait ;; esac\nexec {real} "$@"\n'
    )
    git.chmod(0o755)
    me.declare("18.0")
    run = me.start("--yes", "prune", env={"PATH": f"{git.parent}:{me.env['PATH']}"})
    deadline = time.monotonic() + 20
    while not Path(f"{git}.at").exists():
        assert time.monotonic() < deadline, "no worktree was removed"
        time.sleep(0.05)
    err = interrupt(run)
    assert "changed 2" not in err
    done = me.yes("prune")
    assert done.code == 0 and set(statuses(done).values()) == {"changed"}, done.err
    assert not (me.root / "oca/17.0").exists()
    me.declare("17.0", "18.0")
    me.pull()
    assert all("clean" in line for line in me.tlc("status").out.splitlines())


def test_what_cannot_be_read_is_not_taken_for_nothing(sandbox: Sandbox) -> None:
    me = Team(sandbox, "clones", "one", "two")
    (me.at("one") / ".git/index").write_text("broken")
    shutil.rmtree(me.at("two") / ".git/objects")
    me.declare("18.0")
    run = me.yes("prune")
    assert set(statuses(run).values()) <= {"kept", "failed"}
    assert me.at("one").is_dir() and me.at("two").is_dir()


# --- versions


PARTS = ["18.0", "conf/odoo-18.0.conf", "conf/data/18.0"]
PLACES = ["venvs/18.0", *PARTS[1:]]


@pytest.fixture
def me(sandbox: Sandbox, tools: Tools) -> VenvBuilder:
    """A person with an environment, launcher and configuration of 18.0, which the config names no more."""
    me = VenvBuilder(sandbox, tools)
    me.config("18.0")
    me.odoo("18.0")
    assert me.create().code == 0
    (me.root / "conf/data/18.0/sessions").mkdir(parents=True)
    (me.root / "conf/data/18.0/sessions/one").write_text("")
    (me.root / "conf/data/18.0/filestore").mkdir()
    me.config("17.0")
    return me


def test_a_version_goes_whole_and_comes_back(me: VenvBuilder) -> None:
    shown = me.tlc("--dry-run", "prune")
    assert re.search(r"  18\.0: [\d.]+ MB, ~/\.local/bin/odoo-v18\n", shown.out)
    run = me.yes("prune")
    assert statuses(run) == dict.fromkeys(PARTS, "changed")
    assert not me.launcher().exists() and not any((me.root / each).exists() for each in PLACES)
    assert me.tlc("--yes", "prune").err.startswith("ok 0")
    me.config("18.0")
    assert me.create().code == 0
    assert me.works() and me.launcher().exists()


def test_work_in_what_a_version_has(me: VenvBuilder) -> None:
    """Each is kept with its reason, and so is the launcher of an environment that is kept."""
    [site] = (me.venvs / "18.0").glob("lib/python*/site-packages")
    library = me.home / "library"
    library.mkdir()
    conf = me.root / "conf/odoo-18.0.conf"
    ways = {
        site / "mine-1.0.dist-info/METADATA": ("", "18.0", "1 package (mine)"),
        site / "mine.pth": (f"{library}\n", "18.0", "1 outside link (~/library)"),
        site / "old.egg-link": (f"{library}\n.", "18.0", "1 outside link (~/library)"),
        conf: (f"{conf.read_text()}workers = 2\n", PARTS[1], "you have edited it"),
        me.root / "conf/data/18.0/filestore/odoo-18.0/ab/abc": (
            "x",
            PARTS[2],
            "1 file (filestore/",
        ),
    }
    for path, way in ways.items():
        before = path.read_text() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(way[0])
        found = result_of(me.yes("--dry-run", "prune"), way[1])
        assert (found["status"], way[2] in found["message"]) == ("kept", True), found
        if before is not None:
            path.write_text(before)
            continue
        path.unlink()
        if path.name == "METADATA":
            path.parent.rmdir()
    for path, way in ways.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(way[0])
    run = me.yes("prune")
    assert statuses(run) == dict.fromkeys(PARTS, "kept")
    assert me.works() and me.launcher().exists() and "workers = 2" in conf.read_text()
    assert all(path.exists() for path in ways)


def test_an_environment_that_is_the_persons(me: VenvBuilder) -> None:
    shutil.rmtree(me.venvs / "18.0")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", me.venvs / "18.0"], check=True)
    found = result_of(me.yes("prune"), PARTS[0])
    assert (found["status"], "may be yours" in found["message"]) == ("kept", True)


def test_databases_are_named_and_never_dropped(sandbox: Sandbox, server: PostgresServer) -> None:
    """Of the version that goes, not of the others."""
    me = Person(sandbox)
    server.sql("CREATE ROLE odoo LOGIN CREATEDB PASSWORD 'odoo'")
    for name in ("odoo-17.0", "odoo-18.0"):
        server.sql(f'CREATE DATABASE "{name}" OWNER odoo')
    sandbox.config(f'versions = ["18.0"]\n[postgres]\nport = {server.port}\n')
    for version in ("17.0", "18.0"):
        (me.root / "conf/data" / version / "sessions").mkdir(parents=True)
    run = me.yes("prune")
    assert statuses(run) == {"conf/data/17.0": "changed"}
    assert "tlc drops no database: odoo-17.0, if there, stays." in run.err
    assert "odoo-18.0" not in run.err
    assert server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo-1%'") == "2"
