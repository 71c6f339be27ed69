"""All of OCA at once: a list like the published one, of 183 repositories with 1,269 checkouts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Run, Sandbox
from results import results
from upstream import Upstream

# As the published list has them: 171 repositories of 7 branches, 12 of 6.
BRANCHES = [f"{version}.0" for version in range(12, 19)]
REPOSITORIES = {f"repository-{n}": BRANCHES[: 7 if n < 171 else 6] for n in range(183)}
CHECKOUTS = sum(map(len, REPOSITORIES.values()))

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux has /proc")


@dataclass
class Most:
    """The most that a process had at once."""

    files: int = 0
    threads: int = 0
    children: int = 0
    megabytes: float = 0

    def see(self, pid: int) -> None:
        place = Path(f"/proc/{pid}")
        try:
            status = (place / "status").read_text()
            told = [path.read_text() for path in place.glob("task/*/children")]
            self.files = max(self.files, len([*(place / "fd").iterdir()]))
            self.threads = max(self.threads, len([*(place / "task").iterdir()]))
        except OSError:  # it has just ended
            return
        self.children = max(self.children, len(" ".join(told).split()))
        peak = status.partition("VmHWM:")[2].split()[:1]
        self.megabytes = max(self.megabytes, int(peak[0]) / 1024 if peak else 0)


def run(sandbox: Sandbox, *words: str, timeout: float) -> tuple[Run, Most]:
    """Run tlc to its end; return what it said, and the most it had at once."""
    out, err, most = sandbox.home / "out", sandbox.home / "err", Most()
    with out.open("w") as told, err.open("w") as said:
        process = sandbox.start("--yes", "--json", *words, stdout=told, stderr=said)
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            most.see(process.pid)
            assert time.monotonic() < deadline, err.read_text()[-2000:]
            time.sleep(0.02)
    print(words, most)
    return Run(process.returncode, out.read_text(), err.read_text()), most


def bounded(most: Most, jobs: int) -> None:
    """Whatever the number of checkouts, what counts is how many work and how many ask (16) at once."""
    width = jobs + 16
    assert most.megabytes < 80
    assert most.threads < 3 * width + 16
    assert most.files < 7 * width + 60  # one of a child's tells its end
    assert most.children < 2 * width


@pytest.fixture
def oca(sandbox: Sandbox) -> Upstream:
    """GitHub with one repository under 183 names."""
    found = Upstream(sandbox.home / "github", sandbox)
    one = found.create("OCA/repository-0", *BRANCHES)
    for name in REPOSITORIES:
        if name != "repository-0":
            (found.directory / f"OCA/{name}.git").symlink_to(one)
    entries = json.dumps([[name, branches] for name, branches in REPOSITORIES.items()])
    sandbox.config(f"[repos]\noca = {entries}\n")
    return found


@needs_proc
def test_all_of_it_is_planned_and_shown(sandbox: Sandbox, oca: Upstream) -> None:
    assert CHECKOUTS == 1_269
    planned, most = run(sandbox, "--dry-run", "pull-repos", timeout=60)
    assert planned.code == 0, planned.err
    assert {each["status"] for each in results(planned)} == {"planned"}
    assert len(results(planned)) == CHECKOUTS
    bounded(most, 4)
    shown, most = run(sandbox, "status", timeout=60)
    assert len(results(shown)) == CHECKOUTS
    bounded(most, 4)


@needs_proc
@pytest.mark.sweep
@pytest.mark.parametrize("layout", ["clones", "worktrees"])
def test_all_of_it_is_cloned_updated_and_left_alone(
    sandbox: Sandbox, oca: Upstream, layout: str
) -> None:
    config = sandbox.root / "config.toml"
    config.write_text(f'{config.read_text()}[git]\nlayout = "{layout}"\n')
    for words, changed in (("-j8", CHECKOUTS), ("-j8", 0), ("-j16", CHECKOUTS)):
        if words == "-j16":
            for branch in BRANCHES:
                oca.commit("OCA/repository-0", branch, {"more": "more\n"})
        pulled, most = run(sandbox, "pull-repos", words, timeout=1500)
        assert pulled.code == 0, pulled.err[-2000:]
        states = [each["status"] for each in results(pulled, "repository")]
        assert (len(states), states.count("changed")) == (CHECKOUTS, changed)
        bounded(most, int(words[2:]))
