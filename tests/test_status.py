"""Stories of status: one line for each repository, as it stands on this machine."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run, Sandbox
from test_doctor import changes, listing, many_checkouts
from upstream import Upstream

CONFIG = """versions = ["17.0", "18.0"]
[repos]
odoo = [["odoo", ["17.0"]]]
oca = ["web"]
"""
WEB = "oca/web@17.0"


class Desk:
    """A person with three checkouts, fresh from `pull-repos`."""

    def __init__(self, sandbox: Sandbox, config: str = CONFIG) -> None:
        self.sandbox = sandbox
        self.upstream = Upstream(sandbox.home / "github", sandbox)
        self.upstream.create("odoo/odoo", "17.0")
        self.upstream.create("OCA/web", "17.0", "18.0")
        sandbox.config(config)
        assert sandbox.tlc("--yes", "pull-repos").code == 0
        self.web = sandbox.root / "oca/17.0/web"

    def git(self, *words: str) -> str:
        """Run git in the checkout of web at 17.0."""
        return self.upstream.git(*words, cwd=self.web)

    def commit(self, text: str) -> None:
        (self.web / "module/models.py").write_text(text)
        self.git("commit", "-qam", text)

    def conflict(self, *command: str) -> None:
        """Run into a conflict with the branch mine."""
        self.git("checkout", "-q", "-b", "mine")
        self.commit("mine\n")
        self.git("checkout", "-q", "17.0")
        self.commit("theirs\n")
        with contextlib.suppress(AssertionError):
            self.git(*command, "mine")

    def status(self, *arguments: str) -> dict[str, str]:
        """Name of each repository -> the rest of its line."""
        run = self.sandbox.tlc("status", *arguments)
        assert run.code == 0
        return dict(re.split(r"\s+", line, maxsplit=1) for line in run.out.splitlines())


@pytest.fixture
def desk(sandbox: Sandbox) -> Desk:
    return Desk(sandbox)


def test_all_is_clean(desk: Desk) -> None:
    lines = desk.status()
    assert list(lines) == ["odoo/odoo@17.0", WEB, "oca/web@18.0"]
    assert {tuple(line.split()) for line in lines.values()} == {
        ("17.0", "clean"),
        ("18.0", "clean"),
    }


def behind(desk: Desk) -> None:
    """The maintainers move on, and the person fetches, which is all that status knows of."""
    for number in range(2):
        desk.upstream.commit("OCA/web", "17.0", {f"{number}.py": ""})
    assert "behind" not in desk.status()[WEB]
    desk.git("fetch", "-q", "--depth=9", "origin", "17.0:refs/remotes/origin/17.0")


def all_of(*changes: Callable[[Desk], object]) -> Callable[[Desk], None]:
    """Makes several changes, in that order."""

    def make(desk: Desk) -> None:
        for change in changes:
            change(desk)

    return make


def own(desk: Desk) -> None:
    """A commit of the person's own."""
    desk.commit(f"{desk.git('rev-parse', 'HEAD')}\n")


def no_git(desk: Desk) -> None:
    """What .git leads to is not there; in a worktree it is a file."""
    if (desk.web / ".git").is_dir():
        (desk.web / ".git/HEAD").unlink()
    else:
        (desk.web / ".git").write_text("gitdir: /nowhere\n")


def half_cloned(desk: Desk) -> None:
    """What git leaves when it is killed in the middle of a clone."""
    shutil.rmtree(desk.web)
    desk.upstream.git("init", "-q", str(desk.web))
    desk.git("remote", "add", "origin", "git@github.com:OCA/web.git")


STATES: dict[str, tuple[Callable[[Desk], object], str]] = {
    "changed": (lambda desk: (desk.web / "module/models.py").write_text(""), "17.0 +1 changed"),
    "staged": (
        lambda desk: [desk.git("rm", "-q", "README.md"), desk.git("mv", "module", "x")],
        "17.0 +3 changed",
    ),
    "untracked": (lambda desk: (desk.web / "new file").write_text(""), "17.0 +1 untracked"),
    "ignored": (lambda desk: (desk.web / "ignored").write_text(""), "17.0 +clean"),
    "ahead": (all_of(own, own), "17.0 +2 ahead"),
    "behind": (behind, "17.0 +2 behind"),
    "both": (all_of(behind, own), "17.0 +1 ahead, 2 behind"),
    "all of it": (
        all_of(
            behind,
            own,
            lambda desk: (desk.web / "n").write_text(""),
            lambda desk: (desk.web / "README.md").unlink(),
        ),
        "17.0 +1 ahead, 2 behind, 1 changed, 1 untracked",
    ),
    "another branch": (
        lambda desk: desk.git("checkout", "-q", "-b", "feature/x"),
        "feature/x +clean",
    ),
    "detached": (lambda desk: desk.git("checkout", "-q", "--detach"), "no branch +clean"),
    "rebase": (lambda desk: desk.conflict("rebase", "-q"), "no branch +rebase, .*1 changed"),
    "merge": (lambda desk: desk.conflict("merge", "-q"), "17.0 +merge, 1 ahead, 1 changed"),
    "cherry-pick": (
        lambda desk: desk.conflict("cherry-pick"),
        "17.0 +cherry-pick, 1 ahead, 1 changed",
    ),
    "missing": (lambda desk: desk.web.rename(desk.web.with_name("x")), "not there"),
    "no git": (no_git, "not a git repository"),
    "half cloned": (half_cloned, "an unfinished clone"),
    # A person's beginning, with files in it.
    "no commit": (
        lambda desk: desk.git("checkout", "-q", "--orphan", "new"),
        ".*(no commit|new  ).*",
    ),
}


# Where a worktree keeps what tells the state elsewhere than a clone does.
LINKED = ["changed", "both", "rebase", "missing", "no git"]


@pytest.mark.parametrize(
    ("layout", "state"),
    [*(("clones", state) for state in STATES), *(("worktrees", state) for state in LINKED)],
)
def test_each_state(sandbox: Sandbox, layout: str, state: str) -> None:
    desk = Desk(sandbox, f'{CONFIG}[git]\nlayout = "{layout}"\n')
    STATES[state][0](desk)
    before = listing(sandbox.home)
    lines = desk.status()
    assert re.fullmatch(STATES[state][1], lines[WEB]), lines
    assert lines["oca/web@18.0"].split() == ["18.0", "clean"]
    assert changes(before, listing(sandbox.home)) == []


def test_a_filter(desk: Desk) -> None:
    assert list(desk.status("-f", "odoo")) == ["odoo/odoo@17.0"]
    assert list(desk.status("-f", "web@18.0", "-f", "odoo/odoo")) == [
        "odoo/odoo@17.0",
        "oca/web@18.0",
    ]
    run = desk.sandbox.tlc("status", "-f", "wbe", "--json")
    assert (run.code, "did you mean web" in run.json()["error"]["message"]) == (2, True)
    assert run.json()["error"]["fix"].endswith(" status -f web")


def test_json_and_quiet(desk: Desk) -> None:
    (desk.web / "module/models.py").write_text("")
    run = desk.sandbox.tlc("status", "--json")
    document = run.json()
    assert (run.code, document["ok"], document["changed"]) == (0, True, False)
    found = {result["name"]: result for result in document["results"]}
    assert {result["status"] for result in found.values()} == {"ok"}
    assert "1 changed" in found[WEB]["message"]
    assert found["oca/web@18.0"]["message"].split() == ["18.0", "clean"]


def test_no_question_no_plan_and_the_same_in_a_dry_run(desk: Desk) -> None:
    (desk.web / "README.md").unlink()
    run = desk.sandbox.tlc("status")
    assert "Go ahead" not in run.out + run.err
    assert desk.sandbox.tlc("status", "--dry-run").out == run.out
    assert not [line for line in run.err.splitlines() if line.startswith(("next", "failed"))]


def test_checkouts_that_are_missing_are_no_failure(sandbox: Sandbox) -> None:
    sandbox.config(CONFIG)
    run = sandbox.tlc("status", "--json")
    assert (run.code, len(run.json()["results"])) == (0, 3)
    assert os_names(sandbox.home) == {"code"}


def os_names(directory: Path) -> set[str]:
    """What is in a directory."""
    return {path.name for path in directory.iterdir()}


def test_without_a_config(sandbox: Sandbox) -> None:
    run: Run = sandbox.tlc("status")
    assert (run.code, f"{sandbox.archive.name} init" in run.err) == (1, True)


def test_200_repositories_without_a_wait(sandbox: Sandbox) -> None:
    many_checkouts(sandbox, 200)
    started = time.monotonic()
    run = sandbox.tlc("status")
    seconds = time.monotonic() - started
    assert [line.split()[1:] for line in run.out.splitlines()] == [["17.0", "clean"]] * 200
    assert seconds < 6  # the bar, on a machine with nothing else to do, is in bench.py
