"""The table of what is done with a checkout, without git."""

from __future__ import annotations

from typing import Any

import pytest

import tlc

CLEAN = {"head": "old", "branch": "17.0", "upstream": "old"}
WORK = {**CLEAN, "work": ("1 changed file (a.py)",)}
BEHIND = {**CLEAN, "upstream": "new"}


@pytest.mark.parametrize(
    ("found", "tip", "force", "fetched", "step"),
    [
        # nothing of anyone's, or nothing to work with
        ({"absent": True}, "new", False, False, "clone"),
        ({"absent": True}, "new", True, True, "clone"),
        ({"absent": True}, "", False, False, "skip"),
        ({"broken": "not a directory"}, "new", False, False, "leave"),
        ({"broken": "not a git repository"}, "new", True, False, "leave"),
        ({"broken": "its origin is another"}, "", True, True, "leave"),
        # the remote has no such branch
        (CLEAN, "", False, False, "skip"),
        (WORK, "", True, False, "skip"),
        # clean
        (CLEAN, "old", False, False, "nothing"),
        (CLEAN, "old", True, False, "nothing"),
        (CLEAN, "old", False, True, "nothing"),
        (CLEAN, "new", False, False, "fetch"),
        (BEHIND, "newer", False, False, "fetch"),
        (BEHIND, "new", False, False, "check out"),
        (BEHIND, "new", True, True, "check out"),
        ({**BEHIND, "converted": True}, "new", False, True, "check out"),
        ({**CLEAN, "converted": True}, "old", False, False, "nothing"),
        # more history is wanted
        ({**CLEAN, "missing_depth": 4}, "old", False, False, "fetch"),
        ({**CLEAN, "missing_depth": -1}, "old", False, False, "fetch"),
        ({**CLEAN, "missing_depth": 4}, "old", False, True, "nothing"),
        # work: kept, and with --force recorded first
        (WORK, "old", False, False, "keep"),
        (WORK, "new", False, False, "fetch"),
        (WORK, "new", True, False, "fetch"),
        (WORK, "old", True, False, "back up"),
        ({**WORK, "upstream": "new"}, "new", False, True, "keep"),
        ({**WORK, "upstream": "new"}, "new", True, True, "back up"),
        # what cannot be recorded is kept with --force too
        ({**BEHIND, "obstacle": "a submodule"}, "new", False, True, "keep"),
        ({**BEHIND, "obstacle": "a submodule"}, "new", True, True, "keep"),
        ({**WORK, "upstream": "new", "obstacle": "a submodule"}, "new", True, True, "keep"),
        # an update that was cut off
        ({**BEHIND, "cut_off": True}, "new", False, False, "complete"),
        ({**BEHIND, "cut_off": True}, "newer", False, False, "fetch"),
        ({**BEHIND, "cut_off": True}, "new", True, True, "complete"),
    ],
)
def test_the_table_of_what_is_done(
    found: dict[str, Any], tip: str, force: bool, fetched: bool, step: str
) -> None:
    assert tlc.decide(tlc.Found(**found), tip, force, fetched) == step


def test_every_step_of_a_plan_has_its_words() -> None:
    for found in ({"absent": True}, {"broken": "x"}, CLEAN, WORK, BEHIND):
        for force in (False, True):
            assert tlc.decide(tlc.Found(**found), tlc.ANY_TIP, force, True) in tlc.STEPS
