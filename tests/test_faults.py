"""Break it at random moments and in every way a machine can: nothing is lost, and the next run completes.

`make faults` prints a table: fault, how often, how often something was lost, how often the next run completed. What
is random has a seed that is printed; TLC_TESTS_SEED=... with that test's name replays it.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import Sandbox, soon
from life import PLAIN, difference
from odoo_venv import Tools
from ports import free_port
from postgres_server import PostgresServer, forget_role
from relay import Relay
from results import statuses
from ssh_server import SshAccess, SshServer, missing
from upstream import Upstream
from workstation import Workstation

pytestmark = pytest.mark.faults

CONFIG = """versions = ["17.0", "18.0"]
[repos]
odoo = ["odoo"]
oca = ["web", "queue"]
[git]
layout = "{layout}"
"""
# In the environment of all that a world starts, by which what is left over is found.
MARK = "TLC_TESTS_WORLD"
COMMANDS = [
    "init",
    "pull-repos",
    "pull-repos --force -f queue",
    "pull-repos -f oca/web -j1",
    "status",
    "doctor configuration repositories --offline",
    "doctor configuration repositories --offline --fix",
    "completion bash",
    "config schema",
    "up --skip bootstrap --skip install-tools --skip create-venvs --skip ensure-db-user --skip doctor",
]


class FaultyWorld:
    """A code root in which a person works, in a home of its own; `others` move their branches on."""

    name = ""
    # Which commands are ended, and up to which second.
    commands: ClassVar[dict[str, float]] = dict.fromkeys(COMMANDS, 1.5)
    share = 1.0  # of the times that a fault is tried

    def __init__(self, directory: Path, archive: Path, layout: str, url: bool = True) -> None:
        self.directory, self.layout = directory, layout
        self.me = Sandbox(directory, archive)
        self.me.env |= {MARK: str(directory), "GIT_TERMINAL_PROMPT": "0"}
        # The others are not of the world that is broken.
        self.others = Sandbox(directory.with_name(f"{directory.name}-others"), archive)
        self.others.env |= PLAIN
        self.upstream = Upstream(self.others.home / "github", self.others, addresses=())
        if url:
            self.redirect(f"file://{self.upstream.directory}/")
        for repository in ("odoo/odoo", "OCA/web", "OCA/queue"):
            self.upstream.create(repository, "17.0", "18.0")
        self.me.config(CONFIG.format(layout=layout))
        self.moves = 0

    def redirect(self, url: str) -> None:
        """Have GitHub elsewhere."""
        (self.me.home / ".gitconfig").write_text(f'[url "{url}"]\n\tinsteadOf = git@github.com:\n')

    def checkouts(self) -> list[Path]:
        return [
            self.me.root / path.format(version)
            for version in ("17.0", "18.0")
            for path in ("odoo/odoo/{}", "oca/{}/web", "oca/{}/queue")
        ]

    @property
    def web(self) -> Path:
        """The checkout in which the person works."""
        return self.me.root / "oca/18.0/web"

    def git(self, *words: str, where: Path | None = None) -> str:
        """Run git in the person's checkout, as one who has no settings."""
        done = subprocess.run(
            ["git", "-C", str(where or self.web), *words],
            env={**self.me.env, **PLAIN, MARK: ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def work(self) -> None:
        """Work: a commit, a branch, a stash, a changed file, a staged one, and one that git does not know."""
        (self.web / "own.py").write_text("own = 1\n")
        self.git("add", "own.py")
        self.git("commit", "-q", "-m", "own")
        self.git("branch", "feature")
        (self.web / "README.md").write_text("stashed\n")
        self.git("stash", "-q")
        (self.web / "module/models.py").write_text("mine = 1\n")
        (self.web / "staged.py").write_text("staged = 1\n")
        self.git("add", "staged.py")
        (self.web / "notes.txt").write_text("notes\n")

    def belongings(self) -> dict[str, Any]:
        """Return all that the person would miss."""
        files = {
            str(path.relative_to(self.web)): path.read_bytes()
            for path in sorted(self.web.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(self.web).parts
        }
        refs = ("refs/heads/18.0", "refs/heads/feature", "refs/stash")
        return {
            "files": files,
            "config.toml": (self.me.root / "config.toml").read_bytes(),
            **{ref: self.git("rev-parse", ref) for ref in (*refs, "HEAD")},
            "staged": self.git("diff", "--cached", "--name-status"),
        }

    def move_on(self) -> None:
        """The others commit, to all branches of two repositories, something that the person's work is not about."""
        self.moves += 1
        for repository in ("OCA/queue", "odoo/odoo"):
            for branch in ("17.0", "18.0"):
                files = {f"{n}.py": f"moved = {self.moves}\n" * 50 for n in range(20)}
                self.upstream.commit(repository, branch, files)

    def launch(self, command: str, limits: str = "") -> subprocess.Popen[str]:
        """Start tlc, under limits of the shell's; in a session of its own."""
        return self.me.start("--yes", *command.split(), limits=limits)

    def processes(self) -> list[int]:
        """Return what this world started and still runs."""
        return started_by(self.directory)

    def begin(self) -> None:
        """Have all that the config names, and begin to work."""
        for command in ("init", "pull-repos"):
            assert self.me.tlc("--yes", command).code == 0
        self.work()

    def prepare(self, moments: random.Random) -> None:
        """Have something to do: branches that moved, a checkout that is not there, a directory that is not."""
        self.move_on()
        if moments.random() < 0.5:
            gone = moments.choice([path for path in self.checkouts() if path != self.web])
            shutil.rmtree(gone)
        if moments.random() < 0.3:
            shutil.rmtree(self.me.root / "trobz", ignore_errors=True)

    def unfinished(self) -> str:
        """Run it again, twice; say what the first run did not complete or the second one changed, "" for nothing."""
        run = self.me.tlc("--yes", "--json", "pull-repos")
        again = self.me.tlc("--yes", "--json", "pull-repos")
        states = {**statuses(run)}
        kept = states.pop("oca/web@18.0")
        whole = (run.code, kept) == (0, "kept") and set(states.values()) <= {"changed", "ok"}
        idle = not again.json()["changed"] and len(states) == 5
        if whole and idle and self.at_tips():
            return ""
        return f"{run.code} {run.err[-600:]}, then {again.err[-300:]}"

    def heal(self) -> None:
        """Have the others' checkouts anew: the next fault is to find what this one found."""
        for path in self.checkouts():
            if path != self.web:
                shutil.rmtree(path, ignore_errors=True)
        self.me.tlc("--yes", "pull-repos")

    def at_tips(self) -> bool:
        """Say whether all checkouts but the person's are as the others have them."""
        for path in self.checkouts():
            if path != self.web:
                branch = path.name if path.parent.name == "odoo" else path.parent.name
                name = "odoo/odoo" if path.parent.name == "odoo" else f"OCA/{path.name}"
                tip = self.upstream.tip(name, branch)
                if self.git("rev-parse", "HEAD", where=path).strip() != tip:
                    return False
                if self.git("status", "--porcelain", where=path):
                    return False
        return True


class ToolsWorld(Workstation):
    """A machine with environments, uv tools and a role, of which a person changed some."""

    name = "tools: "
    commands: ClassVar[dict[str, float]] = {
        "create-venvs": 8.0,
        "create-venvs --force": 8.0,
        "ensure-db-user": 1.5,
        "install-tools": 4.0,
    }
    share = 0.5

    def __init__(self, sandbox: Sandbox, tools: Tools, server: PostgresServer) -> None:
        super().__init__(sandbox, tools, server)
        self.env[MARK] = str(self.home)
        forget_role(server)
        up = self.up()
        assert up.code == 0, up.err
        conf = self.root / "conf/odoo-18.0.conf"
        conf.write_text(f"{conf.read_text()}workers = 3\n")
        (self.home / "notes.txt").write_text("mine\n")
        self.mine = [conf, self.home / "notes.txt", self.config, self.root / "oca/18.0/web/mine.py"]
        self.mine[-1].write_text("mine = 1\n")

    def launch(self, command: str, limits: str = "") -> subprocess.Popen[str]:
        return self.sandbox.start("--yes", *command.split(), limits=limits)

    def processes(self) -> list[int]:
        return started_by(self.home)

    def belongings(self) -> dict[str, Any]:
        return {str(path): path.read_bytes() for path in self.mine}

    def prepare(self, moments: random.Random) -> None:
        """Take something away that the next run is to bring."""
        lacking: list[Callable[[], object]] = [
            lambda: shutil.rmtree(self.venv, ignore_errors=True),
            lambda: (self.home / ".local/bin/odoo-v18").unlink(missing_ok=True),
            self.forget_tools,
            lambda: forget_role(self.server),
            lambda: self.server.sql("ALTER ROLE odoo NOCREATEDB PASSWORD 'other'"),
        ]
        for take in moments.sample(lacking, 3):
            with contextlib.suppress(AssertionError, subprocess.CalledProcessError):  # no such role
                take()

    def forget_tools(self) -> None:
        """Have no uv tools, as after `uv tool uninstall --all`."""
        for path in (self.home / ".local/bin").iterdir():
            if path.is_symlink() and "uv/tools" in os.readlink(path):
                path.unlink()
        shutil.rmtree(self.home / ".local/share/uv/tools", ignore_errors=True)

    def unfinished(self) -> str:
        run, again = self.up("--json"), self.up("--json")
        left = "" if (self.venv / ".odoo-venv.toml").exists() else "no environment"
        aside = [path.name for path in self.venv.parent.iterdir() if path != self.venv]
        if (
            (run.code, again.code) == (0, 0)
            and not again.json()["changed"]
            and not left + str(*aside)
        ):
            return ""
        return f"{run.code} {run.err[-600:]}, then {again.err[-300:]} {left} {aside}"

    def heal(self) -> None:
        shutil.rmtree(self.venv.parent, ignore_errors=True)
        self.forget_tools()
        self.up()


def started_by(directory: Path) -> list[int]:
    """Return the processes in whose environment MARK is that directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={directory}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


AnyWorld = FaultyWorld | ToolsWorld


@dataclass
class Tally:
    """What came of a fault, tried some times: a line of the table."""

    record: Callable[[str, object], None]
    fault: str = ""
    times: int = 0
    lost: int = 0
    completed: int = 0
    problems: list[str] = field(default_factory=list)

    def check(self, world: AnyWorld, ended: str, before: dict[str, Any], said: str) -> None:
        """After a fault: no traceback, no orphan, nothing lost, and the next run completes."""
        self.times += 1
        # Before the first line of tlc's own runs, Python says itself that it was interrupted.
        ours = "Traceback" in said and re.search(r'File "[^"]*tlc[^"/]*\.pyz', said)
        found = ["a traceback"] if ours else []
        try:
            soon(lambda: not world.processes())
        except AssertionError:
            found.append(f"orphans {world.processes()}")
        try:
            gone = difference(before, world.belongings())
        except (AssertionError, OSError) as error:
            gone = str(error)
        if gone:
            self.lost += 1
            found.append(f"lost {gone}")
        if unfinished := world.unfinished():
            found.append(f"the next run: {unfinished}")
            world.heal()
        else:
            self.completed += 1
        if found:
            self.problems.append(f"{ended}: {'; '.join(found)}\n{said[-600:]}")

    def run(
        self,
        world: AnyWorld,
        command: str,
        under: str,
        limits: str = "",
        good: Sequence[int] = (0, 1),
    ) -> Callable[[], None]:
        """Run a command under a fault; return what looks at it, once the fault is over."""
        before = world.belongings()
        process = world.launch(command, limits)
        out, err = process.communicate(timeout=240)
        ended = f"{command} {under}, code {process.returncode}"
        # Under a limit of the shell's it may be Python that does not come to its feet.
        by_python = limits and any(
            word in err for word in ("Fatal Python", "zipimport", "No module named", "libgcc_s")
        )
        begun = not limits or "tlc" in err
        if process.returncode not in good and begun and not by_python:
            self.problems.append(f"{ended}: {err[-300:]}")
        return lambda: self.check(world, ended, before, "" if by_python else out + err)

    def close(self) -> None:
        """Record the line, and fail where there was a problem."""
        self.record("fault", (self.fault, self.times, self.lost, self.completed))
        assert self.times
        assert not self.problems, "\n\n".join(self.problems)


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    return Tally(record_property)


@pytest.fixture(params=["clones", "worktrees"])
def world(request: pytest.FixtureRequest, tmp_path: Path, archive: Path) -> FaultyWorld:
    """A world that is set up, in which the person has begun to work."""
    world = FaultyWorld(tmp_path / "world", archive, request.param)
    world.begin()
    return world


@pytest.fixture
def tools_world(sandbox: Sandbox, tools: Tools, server: PostgresServer) -> ToolsWorld:
    return ToolsWorld(sandbox, tools, server)


@pytest.fixture(params=["clones", "worktrees", "tools"])
def any_world(request: pytest.FixtureRequest, tmp_path: Path, archive: Path) -> AnyWorld:
    """Each of them; tools and a server are made for the last alone."""
    if request.param == "tools":
        found: ToolsWorld = request.getfixturevalue("tools_world")
        return found
    world = FaultyWorld(tmp_path / "world", archive, request.param)
    world.begin()
    return world


# --- killed and interrupted

SIGNALS = {
    "SIGKILL": [signal.SIGKILL],
    "SIGKILL of all": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "Ctrl-C": [signal.SIGINT],
    "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
}
# Of each signal and layout: 200 in all.
MOMENTS = int(os.environ.get("TLC_TESTS_MOMENTS", "20"))


def end(world: AnyWorld, tally: Tally, command: str, name: str, pause: float) -> None:
    """Start a command, end it after that many seconds, and look at what came of it."""
    before = world.belongings()
    process = world.launch(command)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(pause)
    for number in SIGNALS[name]:
        if name == "SIGKILL of all":
            for pid in world.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif name.startswith("Ctrl-C") and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # as a terminal does: to all of it
                os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    ended = f"{command}, {name} after {pause:.3f} s, code {process.returncode}"
    # A signal before tlc has begun, or after it has said its last word, ends it as it ends any program.
    told = bool(err) and 'File "<frozen' not in err
    at_work = told and not re.search(r" in [\d.]+ s\n(next .*\n)?$", err)
    good = {0, 1, 130} if at_work else {0, 1, 130, *(-number for number in SIGNALS[name])}
    if command == "ensure-db-user":
        good |= {2, 3}
    if "SIGKILL" not in name and process.returncode not in good:
        tally.problems.append(f"{ended}: {err[-300:]}")
    if time.monotonic() - began > 20:
        tally.problems.append(f"{ended}: it took {time.monotonic() - began:.1f} s to end")
    tally.check(world, ended, before, out + err)


@pytest.mark.parametrize("name", SIGNALS)
def test_ended_at_any_moment(
    any_world: AnyWorld, moments: random.Random, name: str, tally: Tally
) -> None:
    tally.fault = any_world.name + name
    for _ in range(int(MOMENTS * any_world.share) or 1):
        any_world.prepare(moments)
        command = moments.choice([*any_world.commands])
        end(any_world, tally, command, name, moments.uniform(0, any_world.commands[command]))
    tally.close()


# --- a full disk, directories that cannot be written, limits


@contextlib.contextmanager
def mounted(directory: Path, *options: str) -> Iterator[None]:
    """Mount something over a directory, as root can."""
    subprocess.run(["mount", *options, str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    with mounted(directory, "--bind", str(directory)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(directory)], check=True)
        yield


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root: sudo make faults")


@needs_root
@pytest.mark.parametrize("layout", ["clones", "worktrees"])
def test_the_disk_is_full(
    tmp_path: Path, archive: Path, layout: str, moments: random.Random, tally: Tally
) -> None:
    tally.fault, place = "full disk", tmp_path / "world"
    place.mkdir()
    with mounted(place, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        world = FaultyWorld(place, archive, layout)
        world.begin()
        for _ in range(25):
            world.prepare(moments)
            free = shutil.disk_usage(place).free
            left = int(moments.choice([moments.uniform(0, 60_000), moments.uniform(0, 900_000)]))
            (place / "filler").write_bytes(b"\0" * max(free - left, 0))
            look = tally.run(world, moments.choice(COMMANDS), f"with {left} bytes left")
            (place / "filler").unlink()
            look()
    tally.close()


PLACES = [
    "",
    "oca",
    "oca/17.0",
    "oca/18.0/queue/.git",
    "odoo/odoo/17.0",
    ".stores",
    "../.local/state",
]


@needs_root
def test_a_directory_is_read_only(world: FaultyWorld, moments: random.Random, tally: Tally) -> None:
    tally.fault = "read-only directory"
    for place in PLACES:
        path = world.me.root / place
        if not path.is_dir():
            continue
        for command in ("pull-repos", "init", "doctor configuration repositories --offline --fix"):
            world.prepare(moments)
            path.mkdir(parents=True, exist_ok=True)
            with read_only(path):
                look = tally.run(world, command, f"with {place or 'the root'} read-only")
            look()
    tally.close()


# Where nothing of the person's is hidden by what is mounted there, and which command writes there.
FULL = {"code/venvs": "create-venvs", ".local/share/uv": "install-tools"}
READ_ONLY = {**FULL, ".local/bin": "create-venvs", "code/conf": "create-venvs --force"}
TOOLS_FOR = {"full": FULL, "read-only": READ_ONLY}


@needs_root
@pytest.mark.parametrize("fault", TOOLS_FOR)
def test_tools_where_nothing_can_be_written(
    tools_world: ToolsWorld, moments: random.Random, fault: str, tally: Tally
) -> None:
    tally.fault = f"tools: {fault} directory"
    for place, command in TOOLS_FOR[fault].items():
        tools_world.prepare(moments)
        path = tools_world.home / place
        path.mkdir(parents=True, exist_ok=True)
        full = mounted(path, "-t", "tmpfs", "-o", "size=600k", "tmpfs")
        with full if fault == "full" else read_only(path):
            look = tally.run(tools_world, command, f"with {place} {fault}")
        look()
    tally.close()


LIMITS = {
    "no file descriptors": lambda moments: f"ulimit -n {moments.randint(4, 40)}; ",
    "no memory": lambda moments: f"ulimit -v {moments.randint(20, 400) * 1000}; ",
    "no large files": lambda moments: f"ulimit -f {moments.randint(0, 40)}; ",
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit(any_world: AnyWorld, moments: random.Random, name: str, tally: Tally) -> None:
    tally.fault = any_world.name + name
    for _ in range(int(MOMENTS * 0.75 * any_world.share) or 1):
        any_world.prepare(moments)
        limit, command = LIMITS[name](moments), moments.choice([*any_world.commands])
        tally.run(any_world, command, f"under {limit}", limit, good=(0, 1, 2, 3))()
    tally.close()


# --- the network

LINES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "network cut": lambda moments: {"cut_after": moments.randint(1, 40_000)},
    "network at 1 kB/s": lambda moments: {
        "rate": 1_000,
        "cut_after": moments.randint(2_000, 9_000),
    },
    "network answers garbage": lambda moments: {"garbage_after": moments.randint(0, 9_000)},
    "network refuses": lambda moments: {"refuse": list(range(1, 999))},
}


@pytest.mark.parametrize("layout", ["clones", "worktrees"])
@pytest.mark.parametrize("name", LINES)
def test_the_network(
    tmp_path: Path, archive: Path, layout: str, name: str, moments: random.Random, tally: Tally
) -> None:
    if reason := missing():
        pytest.skip(reason)
    tally.fault = name
    world = FaultyWorld(tmp_path / "world", archive, layout, url=False)
    with SshServer(tmp_path / "sshd", world.upstream.directory) as server:
        access = SshAccess(world.me.home, world.me.env, server)
        world.begin()
        for _ in range(4):
            world.prepare(moments)
            options = LINES[name](moments)
            with Relay(server.port, **options) as relay:
                access.configure(relay.port)
                look = tally.run(world, "pull-repos", f"over a line with {options}")
            access.configure(server.port)
            look()
    tally.close()


def test_nobody_listens(world: FaultyWorld, tally: Tally) -> None:
    tally.fault = "GitHub is down"
    world.move_on()
    good = (world.me.home / ".gitconfig").read_text()
    world.redirect(f"https://127.0.0.1:{free_port()}/")
    look = tally.run(world, "pull-repos", "with nobody there", good=(1,))
    (world.me.home / ".gitconfig").write_text(good)
    look()
    tally.close()


# --- others at work


@pytest.mark.parametrize("count", [2, 10])
def test_several_at_once(
    any_world: AnyWorld, moments: random.Random, count: int, tally: Tally
) -> None:
    tally.fault = f"{any_world.name}{count} tlc at once"
    for _ in range(int(4 * any_world.share)):
        any_world.prepare(moments)
        before = any_world.belongings()
        commands = [moments.choice([*any_world.commands]) for _ in range(count)]
        runs = [any_world.launch(command) for command in commands]
        said = "".join(out + err for out, err in (run.communicate(timeout=300) for run in runs))
        # doctor may find what another is still bringing.
        pairs = zip(runs, commands, strict=True)
        if codes := {run.returncode for run, command in pairs if "doctor" not in command} - {0}:
            tally.problems.append(f"{commands}: {codes}: {said[-900:]}")
        tally.check(any_world, " + ".join(commands), before, said)
    tally.close()


LOCKS = ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock"]


def git_directory(world: FaultyWorld, path: Path, common: bool) -> Path:
    option = "--git-common-dir" if common else "--git-dir"
    return Path(world.git("rev-parse", "--path-format=absolute", option, where=path).strip())


@pytest.mark.parametrize("common", [False, True], ids=["checkout", "store"])
def test_the_locks_of_others(world: FaultyWorld, common: bool, tally: Tally) -> None:
    tally.fault = "a lock of another git's"
    for name in LOCKS:
        world.move_on()
        queue = world.me.root / "oca/17.0/queue"
        lock = git_directory(world, queue, common) / name
        lock.write_bytes(b"")
        look = tally.run(world, "pull-repos", f"beside {name}")
        if not lock.exists():
            tally.problems.append(f"{name} was removed")
        lock.unlink(missing_ok=True)
        look()
    tally.close()


def test_a_clock_that_jumps(world: FaultyWorld, moments: random.Random, tally: Tally) -> None:
    """All files are of next year, or of the year 1990, as after a wrong clock was put right."""
    tally.fault = "clock"
    for when in (time.time() + 3e7, 6.4e8):
        world.prepare(moments)
        for path in [world.me.root, *world.me.root.rglob("*")]:
            with contextlib.suppress(OSError):
                os.utime(path, (when, when), follow_symlinks=False)
        tally.run(world, "pull-repos", f"on files of {when}", good=(0,))()
    tally.close()
