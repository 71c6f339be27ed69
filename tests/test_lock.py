"""Stories of a lock file: what `freeze` prints brings another machine's checkouts to the same commits."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Run, Sandbox, interrupt
from person import Person
from results import result_of, results, statuses
from ssh_server import SshAccess, SshServer, missing
from upstream import Upstream

CONFIG = """versions = ["17.0", "18.0"]
[repos]
odoo = [["odoo", ["17.0"]]]
oca = ["web"]
[git]
layout = "{layout}"
"""
ITEMS = ["oca/web@17.0", "oca/web@18.0", "odoo/odoo@17.0"]
WEB = "oca/web@17.0"


@dataclass(frozen=True)
class TwoHomes:
    """Two machines with one config, in one of the layouts, and their upstream."""

    mine: Sandbox
    theirs: Sandbox
    upstream: Upstream
    lock: Path
    layout: str

    def pull(self, machine: Sandbox, *options: str, code: int = 0) -> Run:
        run = machine.tlc("--yes", "--json", "pull-repos", *options)
        assert run.code == code, run.out + run.err
        return run

    def locked(self, machine: Sandbox, *options: str, code: int = 0) -> Run:
        return self.pull(machine, "--lock", str(self.lock), *options, code=code)

    def freeze(self, machine: Sandbox, *options: str, code: int = 0) -> Run:
        """Freeze a machine, into the lock file."""
        run = machine.tlc("freeze", *options)
        assert run.code == code, run.out + run.err
        self.lock.write_text(run.out)
        return run

    def move(self) -> None:
        """Have each branch move on twice."""
        for number in range(2):
            for name, branch in (("odoo/odoo", "17.0"), ("OCA/web", "17.0"), ("OCA/web", "18.0")):
                files = {"module/models.py": f"moved = {number}\n", f"new{number}.py": "x\n"}
                self.upstream.commit(name, branch, files)

    def head(self, machine: Sandbox, path: str = "oca/17.0/web") -> str:
        head = self.upstream.git("rev-parse", "HEAD", cwd=machine.root / path)
        branch = self.upstream.git("symbolic-ref", "--short", "HEAD", cwd=machine.root / path)
        assert branch in path.split("/")
        return head


def tree(root: Path) -> dict[str, bytes]:
    """Every file of the checkouts -> its bytes."""
    found = {
        str(path.relative_to(root)): path.read_bytes()
        for place in ("odoo", "oca")
        for path in (root / place).rglob("*")
        if path.is_file() and ".git" not in path.parts
    }
    assert found
    return found


@pytest.fixture(params=["clones", "worktrees"])
def team(
    request: pytest.FixtureRequest, sandbox: Sandbox, archive: Path, tmp_path: Path
) -> Iterator[TwoHomes]:
    """All behind a real sshd; my checkouts are there, theirs are not."""
    if reason := missing():
        pytest.skip(reason)
    theirs = Sandbox(tmp_path / "theirs", archive)
    upstream = Upstream(tmp_path / "github", sandbox, [])
    upstream.create("odoo/odoo", "17.0")
    upstream.create("OCA/web", "17.0", "18.0")
    with SshServer(tmp_path / "sshd", upstream.directory) as server:
        there, here = (SshAccess(each.home, each.env, server) for each in (theirs, sandbox))
        for name in ("id_ed25519", "id_ed25519.pub"):  # the server admits one key
            shutil.copy(here.directory / name, there.directory / name)
        for machine in (sandbox, theirs):
            machine.config(CONFIG.format(layout=request.param))
        team = TwoHomes(sandbox, theirs, upstream, tmp_path / "tlc.lock", request.param)
        team.pull(sandbox)
        yield team


def test_another_machine_gets_the_same_files_and_the_next_pull_moves_on(team: TwoHomes) -> None:
    frozen = team.freeze(team.mine)
    head, *lines = frozen.out.splitlines()
    assert re.fullmatch(r"# tlc freeze, \d{4}-\d\d-\d\d \S+ UTC, from ~/code/config.toml", head)
    assert [re.sub('"[0-9a-f]{40}"', "C", line) for line in lines] == [f'"{i}" = C' for i in ITEMS]
    wanted = tree(team.mine.root)
    team.move()
    assert statuses(team.locked(team.theirs)) == dict.fromkeys(ITEMS, "changed")
    assert tree(team.theirs.root) == wanted
    assert set(statuses(team.locked(team.theirs)).values()) == {"ok"}
    assert team.freeze(team.theirs).out.splitlines()[1:] == lines
    # Mine has moved on meanwhile, and comes back.
    team.pull(team.mine)
    assert tree(team.mine.root) != wanted
    assert statuses(team.locked(team.mine)) == dict.fromkeys(ITEMS, "changed")
    assert tree(team.mine.root) == wanted
    assert team.freeze(team.mine).out.splitlines()[1:] == lines
    assert team.mine.tlc("status", "-f", WEB).out == f"{WEB}  17.0  2 behind\n"
    for machine in (team.mine, team.theirs):
        assert statuses(team.pull(machine)) == dict.fromkeys(ITEMS, "changed")
        assert team.head(machine) == team.upstream.tip("OCA/web", "17.0")
        assert set(statuses(team.pull(machine)).values()) == {"ok"}


def test_after_a_force_push_the_next_pull_moves_on_too(team: TwoHomes) -> None:
    team.freeze(team.mine)
    team.move()
    team.locked(team.theirs)
    work = team.upstream.directory / "OCA/web.work"
    team.upstream.git("checkout", "-q", "17.0", cwd=work)
    team.upstream.git("reset", "-q", "--hard", "HEAD~3", cwd=work)
    tip = team.upstream.commit("OCA/web", "17.0", {"rewritten.py": "1\n"})
    # The commit is on no branch any more, but the host still gives it.
    before = team.head(team.mine)
    for machine in (team.mine, team.theirs):
        team.pull(machine)
        assert team.head(machine) == tip
        team.locked(machine)
        assert team.head(machine) == before
        assert result_of(team.pull(machine), WEB)["status"] == "changed"
        assert team.head(machine) == tip


def test_work_is_kept_and_with_force_recorded_first(team: TwoHomes) -> None:
    team.freeze(team.mine)
    team.move()
    team.pull(team.mine)
    web = team.mine.root / "oca/17.0/web"
    (web / "module/models.py").write_text("mine\n")
    moved = team.head(team.mine)
    kept = result_of(team.locked(team.mine), WEB)
    assert (kept["status"], team.head(team.mine)) == ("kept", moved)
    run = team.locked(team.mine, "--force", "-f", WEB)
    assert list(statuses(run)) == [WEB]
    assert (web / "module/models.py").read_text() == "first = 1\n"
    [fix] = [each["fix"] for each in results(run)]
    assert "stash apply" in fix
    assert team.freeze(team.mine).out.count(" = ") == 3


def test_work_and_commits_of_ones_own_are_named_and_left_out(team: TwoHomes) -> None:
    web = team.mine.root / "oca/17.0/web"
    (web / "module/models.py").write_text("mine\n")
    (team.mine.root / "oca/18.0/web/notes.txt").write_text("an untracked file is no matter\n")
    run = team.freeze(team.mine, code=1)
    assert WEB in run.err and "1 changed file" in run.err
    assert [line.split('"')[1] for line in run.out.splitlines()[1:]] == ITEMS[1:]
    team.upstream.git("commit", "-qam", "mine", cwd=web)
    run = team.mine.tlc("--json", "freeze")
    assert run.code == 1 and not run.json()["ok"]
    mine = result_of(run, WEB)
    assert (mine["status"], mine["detail"]) == ("failed", "")
    other = result_of(run, "oca/web@18.0")
    assert other["detail"] == team.upstream.tip("OCA/web", "18.0")


def test_freeze_needs_no_network_no_lock_no_answer(team: TwoHomes) -> None:
    shutil.move(team.upstream.directory, team.upstream.directory.with_name("away"))
    plain = team.freeze(team.mine)
    for options in (["--dry-run"], ["--quiet"], ["--newcomer"]):
        assert team.mine.tlc(*options, "freeze").out.splitlines()[1:] == plain.out.splitlines()[1:]
    assert len(team.freeze(team.mine, "-f", "odoo/").out.splitlines()) == 2
    run = team.theirs.tlc("freeze")
    assert (run.code, run.out.count("\n")) == (0, 1)
    assert f"not there, so left out: {ITEMS[2]}" in run.err
    # Offline a lock is put back where all its commits are here.
    team.freeze(team.mine)
    assert set(statuses(team.locked(team.mine)).values()) == {"ok"}


def test_what_the_remote_does_not_give_and_what_the_config_lacks_fail_by_name(
    team: TwoHomes,
) -> None:
    team.freeze(team.mine)
    lines = team.lock.read_text().splitlines()
    lines[1] = f'"{WEB}" = "{"ab" * 20}"'
    team.lock.write_text("\n".join([*lines, f'"oca/gone@17.0" = "{"cd" * 20}"\n']))
    run = team.locked(team.theirs, code=1)
    assert statuses(run) == {
        WEB: "failed", ITEMS[1]: "changed", ITEMS[2]: "changed", "oca/gone@17.0": "failed"
    }  # fmt: skip
    assert f"does not give commit {'ab' * 20}" in result_of(run, WEB)["message"]
    assert "config does not have it" in result_of(run, "oca/gone@17.0")["message"]
    assert not (team.theirs.root / "oca/17.0/web").exists()
    assert statuses(team.locked(team.mine, code=1))[WEB] == "failed"
    assert statuses(team.locked(team.mine, "-f", ITEMS[1])) == {ITEMS[1]: "ok"}
    # What the file does not name is not touched.
    team.move()
    team.lock.write_text(f"{lines[2]}\n")
    assert statuses(team.locked(team.mine)) == {ITEMS[1]: "ok"}
    assert team.head(team.mine) != team.upstream.tip("OCA/web", "17.0")


def test_a_plan_says_where_a_checkout_goes(team: TwoHomes) -> None:
    team.freeze(team.mine)
    team.move()
    team.pull(team.mine)
    for machine, words in ((team.mine, "update"), (team.theirs, "clone")):
        run = machine.tlc("--dry-run", "pull-repos", "--lock", str(team.lock), "-f", WEB)
        assert run.code == 0 and f"{words}, at the lock's commit" in run.out, run.out
    planned = team.mine.tlc("-n", "--json", "pull-repos", "--lock", str(team.lock)).json()
    assert planned["changed"] and planned["ok"]
    assert team.head(team.mine) == team.upstream.tip("OCA/web", "17.0")
    team.locked(team.mine)
    planned = team.mine.tlc("-n", "--json", "pull-repos", "--lock", str(team.lock)).json()
    assert not planned["changed"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '"oca/web@17.0" = "main"\n',
            'tlc.lock:1: "oca/web@17.0": found "main"; allowed: a commit',
        ),
        ('\n"oca/web@17.0" = 17\n', 'tlc.lock:2: "oca/web@17.0": found 17'),
        ("oca/web = ", "tlc.lock:1:"),
        (None, "There is no"),
    ],
)
def test_a_lock_file_that_is_none_is_told(
    sandbox: Sandbox, tmp_path: Path, text: str | None, told: str
) -> None:
    sandbox.config(CONFIG.format(layout="clones"))
    if text is not None:
        (tmp_path / "tlc.lock").write_text(text)
    run = sandbox.tlc("--yes", "pull-repos", "--lock", str(tmp_path / "tlc.lock"))
    assert run.code == 1 and told in run.err


def test_a_lock_file_that_is_not_there_is_made_by_the_printed_fix(team: TwoHomes) -> None:
    run = team.mine.tlc("--yes", "--json", "pull-repos", "--lock", str(team.lock))
    assert run.code == 1
    done = Person(team.mine).paste(run.json()["error"]["fix"])
    assert done.returncode == 0, done.stderr
    assert set(statuses(team.locked(team.mine)).values()) == {"ok"}


def test_killed_in_the_middle_it_completes(team: TwoHomes) -> None:
    team.freeze(team.mine)
    wanted = tree(team.mine.root)
    team.move()
    team.pull(team.mine)
    for wait in (0.3, 0.6, 0.9):
        for machine in (team.mine, team.theirs):
            process = machine.start("--yes", "pull-repos", "--lock", str(team.lock))
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            process.communicate()
    for machine in (team.mine, team.theirs):
        team.locked(machine)
        assert tree(machine.root) == wanted


def test_offline_and_interrupted_nothing_is_half(team: TwoHomes) -> None:
    """No lock file is begun, no checkout is left; the same command completes once the network is back."""
    team.freeze(team.mine)
    slow = team.mine.home / "bin/git"
    slow.parent.mkdir(exist_ok=True)
    slow.write_text(f"#!/bin/sh\ntouch {slow}.runs\nsleep 30 & wait\n")
    slow.chmod(0o755)
    path = f"{slow.parent}:{team.mine.env['PATH']}"
    printed = team.mine.home / "printed"
    with printed.open("w") as file:
        freezing = team.mine.start("freeze", env={"PATH": path}, stdout=file)
    deadline = time.monotonic() + 20
    while not Path(f"{slow}.runs").exists():
        assert time.monotonic() < deadline, "git never ran"
        time.sleep(0.05)
    interrupt(freezing)
    assert printed.read_text() == ""
    away = shutil.move(team.upstream.directory, team.upstream.directory.with_name("away"))
    run = team.locked(team.theirs, code=1)
    assert set(statuses(run).values()) == {"failed"}
    assert not any((team.theirs.root / "oca/17.0").glob("*"))
    shutil.move(away, team.upstream.directory)
    assert statuses(team.locked(team.theirs)) == dict.fromkeys(ITEMS, "changed")


def test_a_broken_checkout_sinks_no_other(team: TwoHomes) -> None:
    team.freeze(team.mine)
    shutil.rmtree(team.mine.root / "oca/17.0/web")
    (team.mine.root / "oca/17.0/web").mkdir()
    (team.mine.root / "oca/17.0/web/file").write_text("of a person's\n")
    team.move()
    found = statuses(team.locked(team.mine, code=1))
    assert found == {WEB: "failed", ITEMS[1]: "ok", ITEMS[2]: "ok"}
    assert "not a git repository" in team.freeze(team.mine, code=1).err


def test_a_lock_of_what_is_here_asks_nobody(team: TwoHomes) -> None:
    team.freeze(team.mine)
    team.move()
    team.pull(team.mine)
    if team.layout == "clones":
        for checkout in ("oca/17.0/web", "oca/18.0/web", "odoo/odoo/17.0"):
            team.upstream.git("fetch", "-q", "--unshallow", cwd=team.mine.root / checkout)
    shutil.move(team.upstream.directory, team.upstream.directory.with_name("away"))
    assert statuses(team.locked(team.mine)) == dict.fromkeys(ITEMS, "changed")
