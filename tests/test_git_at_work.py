"""Stories of a git that is in the middle of something: the person's own, before tlc comes or meanwhile."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from checkouts import WEB, CheckoutOwner
from conftest import Sandbox
from results import result_of, statuses
from workstation import script

CONFIG = """versions = ["17.0"]
[repos]
oca = ["web"]
[git]
layout = "{layout}"
"""


@pytest.mark.parametrize("layout", ["clones", "worktrees"])
def test_what_a_rebase_has_stashed_comes_back_weeks_later(sandbox: Sandbox, layout: str) -> None:
    me = CheckoutOwner(sandbox, CONFIG.format(layout=layout))
    me.upstream.commit("OCA/web", "17.0", {"module/models.py": "upstream\n"})
    me.commit("mine\n")
    (me.web / "README.md").write_text("not yet committed\n")
    with contextlib.suppress(AssertionError):  # it stops at the conflict
        me.git("pull", "-q", "--rebase", "--autostash", "--depth=9", "origin", "17.0")
    assert "rebas" in me.git("status")
    assert (me.web / "README.md").read_text() != "not yet committed\n"

    forced = result_of(me.yes("pull-repos", "--force"), WEB)
    assert forced["status"] == "changed"
    # Git removes what nothing leads to, by and by; here at once.
    me.git("reflog", "expire", "--expire=now", "--all")
    me.git("gc", "-q", "--prune=now")
    pasted = me.paste(forced["fix"])
    assert pasted.returncode == 0, pasted.stderr
    me.git("rebase", "--abort")
    assert (me.web / "README.md").read_text() == "not yet committed\n"
    assert (me.web / "module/models.py").read_text() == "mine\n"


# The real git. Where it meets a worktree that another git is just adding, that one is done before the next try.
GIT = """#!/bin/sh
{real} "$@" 2>"$HOME/said.$$"
code=$?
cat "$HOME/said.$$" >&2
if grep -q "failed to read worktrees/" "$HOME/said.$$"; then
    echo met >>"$HOME/met"
    rm -rf {worktree}
fi
rm "$HOME/said.$$"
exit $code
"""


def half_added(store: Path) -> Path:
    """Have what `git worktree add` has written of a worktree when it is not yet done; return its directory."""
    worktree = store / "worktrees/half"
    worktree.mkdir()
    for name, text in (
        ("HEAD", "0" * 40),
        ("gitdir", f"{store.parent}/half/.git"),
        ("commondir", ""),
    ):
        (worktree / name).write_text(text and f"{text}\n")
    return worktree


def test_a_worktree_that_another_git_is_just_adding_is_waited_for(sandbox: Sandbox) -> None:
    me = CheckoutOwner(sandbox, CONFIG.format(layout="worktrees"))
    store = Path(me.git("rev-parse", "--path-format=absolute", "--git-common-dir"))
    worktree = half_added(store)
    real = shutil.which("git", path=me.env["PATH"])
    script(me.home / "bin/git", GIT.format(real=real, worktree=worktree))
    me.env["PATH"] = f"{me.home}/bin:{me.env['PATH']}"
    sandbox.config(CONFIG.format(layout="worktrees").replace('["17.0"]', '["17.0", "18.0"]', 1))
    run = me.yes("pull-repos")
    assert statuses(run) == {WEB: "ok", "oca/web@18.0": "changed"}, run.err
    assert (me.home / "met").exists(), "no git of tlc's met it: this story tells nothing"
