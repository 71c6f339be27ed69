"""Stories of status: one line for each repository, as it stands on this machine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkouts import CONFIG, WEB, CheckoutOwner, many_checkouts
from conftest import Run, Sandbox
from listing import changes, listing
from results import results


@pytest.fixture
def me(sandbox: Sandbox) -> CheckoutOwner:
    return CheckoutOwner(sandbox)


def test_all_is_clean(me: CheckoutOwner) -> None:
    lines = me.status()
    assert list(lines) == ["odoo/odoo@17.0", WEB, "oca/web@18.0"]
    assert {tuple(line.split()) for line in lines.values()} == {
        ("17.0", "clean"),
        ("18.0", "clean"),
    }


def behind(me: CheckoutOwner) -> None:
    """The maintainers move on, and the person fetches, which is all that status knows of."""
    for number in range(2):
        me.upstream.commit("OCA/web", "17.0", {f"{number}.py": ""})
    assert "behind" not in me.status()[WEB]
    me.git("fetch", "-q", "--depth=9", "origin", "17.0:refs/remotes/origin/17.0")


def all_of(*changes: Callable[[CheckoutOwner], object]) -> Callable[[CheckoutOwner], None]:
    """Makes several changes, in that order."""

    def make(me: CheckoutOwner) -> None:
        for change in changes:
            change(me)

    return make


def own(me: CheckoutOwner) -> None:
    """A commit of the person's own."""
    me.commit(f"{me.git('rev-parse', 'HEAD')}\n")


def no_git(me: CheckoutOwner) -> None:
    """What .git leads to is not there; in a worktree it is a file."""
    if (me.web / ".git").is_dir():
        (me.web / ".git/HEAD").unlink()
    else:
        (me.web / ".git").write_text("gitdir: /nowhere\n")


def half_cloned(me: CheckoutOwner) -> None:
    """What git leaves when it is killed in the middle of a clone."""
    shutil.rmtree(me.web)
    me.upstream.git("init", "-q", str(me.web))
    me.git("remote", "add", "origin", "git@github.com:OCA/web.git")


STATES: dict[str, tuple[Callable[[CheckoutOwner], object], str]] = {
    "changed": (lambda me: (me.web / "module/models.py").write_text(""), "17.0 +1 changed"),
    "staged": (
        lambda me: [me.git("rm", "-q", "README.md"), me.git("mv", "module", "x")],
        "17.0 +5 changed",
    ),
    "untracked": (lambda me: (me.web / "new file").write_text(""), "17.0 +1 untracked"),
    "ignored": (lambda me: (me.web / "ignored").write_text(""), "17.0 +clean"),
    "ahead": (all_of(own, own), "17.0 +2 ahead"),
    "behind": (behind, "17.0 +2 behind"),
    "both": (all_of(behind, own), "17.0 +1 ahead, 2 behind"),
    "all of it": (
        all_of(
            behind,
            own,
            lambda me: (me.web / "n").write_text(""),
            lambda me: (me.web / "README.md").unlink(),
        ),
        "17.0 +1 ahead, 2 behind, 1 changed, 1 untracked",
    ),
    "another branch": (
        lambda me: me.git("checkout", "-q", "-b", "feature/x"),
        "feature/x +clean",
    ),
    "detached": (lambda me: me.git("checkout", "-q", "--detach"), "no branch +clean"),
    "rebase": (lambda me: me.conflict("rebase", "-q"), "no branch +rebase, .*1 changed"),
    "merge": (lambda me: me.conflict("merge", "-q"), "17.0 +merge, 1 ahead, 1 changed"),
    "cherry-pick": (
        lambda me: me.conflict("cherry-pick"),
        "17.0 +cherry-pick, 1 ahead, 1 changed",
    ),
    "missing": (lambda me: me.web.rename(me.web.with_name("x")), "not there"),
    "no git": (no_git, "not a git repository"),
    "half cloned": (half_cloned, "an unfinished clone"),
    # A person's beginning, with files in it.
    "no commit": (
        lambda me: me.git("checkout", "-q", "--orphan", "new"),
        ".*(no commit|new  +[0-9]+ changed).*",
    ),
    "a commit on another branch": (
        lambda me: [
            me.git("checkout", "-q", "-b", "wip"),
            me.git("commit", "-q", "--allow-empty", "-m", "mine"),
        ],
        "wip +1 ahead",
    ),
}


# Where a worktree keeps what tells the state elsewhere than a clone does.
LINKED = ["changed", "both", "rebase", "missing", "no git"]


@pytest.mark.parametrize(
    ("layout", "state"),
    [*(("clones", state) for state in STATES), *(("worktrees", state) for state in LINKED)],
)
def test_each_state(sandbox: Sandbox, layout: str, state: str) -> None:
    me = CheckoutOwner(sandbox, f'{CONFIG}[git]\nlayout = "{layout}"\n')
    STATES[state][0](me)
    before = listing(sandbox.home)
    lines = me.status()
    assert re.fullmatch(STATES[state][1], lines[WEB]), lines
    assert lines["oca/web@18.0"].split() == ["18.0", "clean"]
    assert changes(before, listing(sandbox.home)) == []


def test_a_filter(me: CheckoutOwner) -> None:
    assert list(me.status("-f", "odoo")) == ["odoo/odoo@17.0"]
    assert list(me.status("-f", "web@18.0", "-f", "odoo/odoo")) == [
        "odoo/odoo@17.0",
        "oca/web@18.0",
    ]
    run = me.sandbox.tlc("status", "-f", "wbe", "--json")
    assert (run.code, "did you mean web" in run.json()["error"]["message"]) == (2, True)
    assert run.json()["error"]["fix"].endswith(" status -f web")


def test_json_and_quiet(me: CheckoutOwner) -> None:
    (me.web / "module/models.py").write_text("")
    run = me.sandbox.tlc("status", "--json")
    document = run.json()
    assert (run.code, document["ok"], document["changed"]) == (0, True, False)
    found = {result["name"]: result for result in document["results"]}
    assert {result["status"] for result in found.values()} == {"ok"}
    assert "1 changed" in found[WEB]["message"]
    counts = {"ahead": 0, "behind": 0, "changed": 1, "untracked": 0}
    assert json.loads(str(found[WEB]["detail"])) == {"branch": "17.0", **counts}
    assert found["oca/web@18.0"]["message"] == "18.0  clean"


def test_no_question_no_plan_and_the_same_in_a_dry_run(me: CheckoutOwner) -> None:
    (me.web / "README.md").unlink()
    run = me.sandbox.tlc("status")
    assert "1 changed" in run.out
    assert "Go ahead" not in run.out + run.err
    assert me.sandbox.tlc("status", "--dry-run").out == run.out
    assert not [line for line in run.err.splitlines() if line.startswith(("next", "failed"))]


def test_checkouts_that_are_missing_are_no_failure(sandbox: Sandbox) -> None:
    sandbox.config(CONFIG)
    run = sandbox.tlc("status", "--json")
    assert (run.code, len(results(run))) == (0, 3)
    (sandbox.root / "oca/17.0/web").mkdir(parents=True)
    (sandbox.root / "oca/17.0/web/mine.txt").write_text("mine\n")
    (sandbox.root / "oca/18.0").mkdir()
    (sandbox.root / "oca/18.0/web").write_text("a file\n")
    run = sandbox.tlc("status")
    assert run.code == 0
    assert "not a git repository" in run.out
    assert "not a directory" in run.out
    assert re.search(r"(?m)^note 3  in ", run.err), "none of them is ok"
    for directory in ("oca/17.0/web", "oca/18.0/web"):
        assert (sandbox.root / directory).exists()
    assert os_names(sandbox.root) == {"config.toml", "oca"}


def os_names(directory: Path) -> set[str]:
    """What is in a directory."""
    return {path.name for path in directory.iterdir()}


def test_without_a_config(sandbox: Sandbox) -> None:
    run: Run = sandbox.tlc("status")
    assert (run.code, f"{sandbox.archive.name} init" in run.err) == (1, True)


@pytest.mark.parametrize("command", ["status", "pull-repos"])
def test_a_config_without_repositories(sandbox: Sandbox, command: str) -> None:
    sandbox.config('versions = ["18.0"]\n')
    run = sandbox.tlc("--yes", command)
    assert (run.code, "names no repositories yet" in run.err) == (0, True)


def test_200_repositories(sandbox: Sandbox) -> None:
    many_checkouts(sandbox, 200)
    run = sandbox.tlc("status")
    assert [line.split()[1:] for line in run.out.splitlines()] == [["17.0", "clean"]] * 200
