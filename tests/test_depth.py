"""Stories of history: how much of it a checkout has, as the config's depth changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Sandbox
from upstream import Upstream

LAYOUTS = ["clones", "worktrees"]


@pytest.fixture
def upstream(sandbox: Sandbox, tmp_path: Path) -> Upstream:
    """OCA's web and queue, five commits each."""
    upstream = Upstream(tmp_path / "github", sandbox)
    for repository in ("OCA/web", "OCA/queue"):
        upstream.create(repository, "17.0")
        for number in range(3):
            upstream.commit(repository, "17.0", {"module/models.py": f"number = {number}\n"})
    return upstream


def pull(
    sandbox: Sandbox, depth: int, web: str = '"web"', layout: str = "clones"
) -> tuple[bool, dict[str, int]]:
    """Pull at the config's `depth`, `web` being that repository's entry.

    Return whether anything changed, and how many commits each checkout has.
    """
    sandbox.config(
        f'versions = ["17.0"]\n[git]\ndepth = {depth}\nlayout = "{layout}"\n[repos]\noca = [{web}, "queue"]\n'
    )
    run = sandbox.tlc("--yes", "--json", "pull-repos")
    assert run.code == 0, run.out
    return run.json()["changed"], {
        name: commits(sandbox.root / "oca/17.0" / name) for name in ("web", "queue")
    }


def commits(checkout: Path) -> int:
    """How many commits a checkout has of its branch."""
    command = ["git", "-C", str(checkout), "rev-list", "--count", "HEAD"]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_depth_that_grows_deepens_and_one_that_shrinks_takes_nothing_away(
    sandbox: Sandbox, upstream: Upstream, layout: str
) -> None:
    seen = []
    for depth in (1, 3, 3, 2, 0, 0, 1):
        changed, found = pull(sandbox, depth, layout=layout)
        assert found["web"] == found["queue"]
        seen.append((depth, found["web"], changed))
    assert seen == [
        (1, 1, True), (3, 3, True), (3, 3, False), (2, 3, False), (0, 5, True), (0, 5, False), (1, 5, False)
    ]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repositorys_own_depth_goes_before_the_general_one(
    sandbox: Sandbox, upstream: Upstream, layout: str
) -> None:
    for own, expected in ((2, 2), (4, 4), (1, 4), (0, 5)):
        web = f'{{ name = "web", depth = {own} }}'
        assert pull(sandbox, 1, web, layout)[1] == {"web": expected, "queue": 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_move_upstream_keeps_what_history_there_is(
    sandbox: Sandbox, upstream: Upstream, layout: str
) -> None:
    assert pull(sandbox, 3, layout=layout)[1]["web"] == 3
    tip = upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    assert pull(sandbox, 1, layout=layout)[1]["web"] >= 3
    assert upstream.git("rev-parse", "HEAD", cwd=sandbox.root / "oca/17.0/web") == tip


@pytest.mark.parametrize("with_work", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_branch_of_ones_own_can_be_rebased_after_an_update(
    sandbox: Sandbox, upstream: Upstream, layout: str, with_work: bool
) -> None:
    pull(sandbox, 1, layout=layout)
    web = sandbox.root / "oca/17.0/web"
    upstream.git("checkout", "-q", "-b", "fix/origin/this", cwd=web)
    if with_work:
        (web / "mine.py").write_text("mine = 1\n")
        upstream.git("add", "mine.py", cwd=web)
        upstream.git("commit", "-q", "-m", "mine", cwd=web)
    upstream.git("checkout", "-q", "17.0", cwd=web)
    for number in range(2):
        upstream.commit("OCA/web", "17.0", {"module/models.py": f"moved = {number}\n"})
    assert pull(sandbox, 1, layout=layout)[0]
    upstream.git("checkout", "-q", "fix/origin/this", cwd=web)
    upstream.git("rebase", "-q", "17.0", cwd=web)
    assert upstream.git("rev-list", "--count", "17.0..fix/origin/this", cwd=web) == str(
        int(with_work)
    )
    assert (web / "module/models.py").read_text() == "moved = 1\n"
