"""Measure what the README promises: `make bench`, in parts `make bench ARGS='start plan'`, with `--strict` to fail.

A measure is a function that is given a Measuring and returns rows: to add one, write it and name it in MEASURES.
Machines differ and are busy: a figure is a ratio of two things that were measured in turns in one run, or a count,
wherever that can be; `--strict` exits 1 where one is above its bar.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import json
import os
import platform
import pty
import random
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import fleet as machines_of
import machines
import pythons
from history import write_history
from odoo_tree import make_odoo
from postgres_server import PostgresServer
from relay import Relay
from ssh_server import SshAccess, SshServer, missing

import build

PROJECT = Path(__file__).resolve().parent.parent

ROUND_TRIP = 50  # milliseconds: a line to another continent, or a bad one


@dataclass(frozen=True)
class Row:
    """One line of the table; `bar` is the most that `value` may be, None where nothing is promised."""

    measure: str
    value: float
    unit: str = ""
    bar: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        return self.bar is not None and self.value > self.bar

    def cells(self) -> list[str]:
        bar = (
            ""
            if self.bar is None
            else f"{self.bar:g}{self.unit}" + (" MISSED" if self.missed else "")
        )
        return [self.measure, f"{self.value:.3g}{self.unit}", bar, self.note]


@dataclass(frozen=True)
class Measuring:
    """Where the measures work: a directory of their own, the archive, and the Python that runs it."""

    directory: Path
    archive: Path
    # A virtual environment's Python: what hooks the machine's own site-packages run at every start would make
    # the baseline slow and the ratios look good.
    python: str = sys.executable

    def environment(self, name: str) -> dict[str, str]:
        """Make an empty home of that name; return the environment of a person who lives there."""
        home = self.directory / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        identity = {
            f"GIT_{who}_{what}": "bench"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        # Where a tlc packed by shiv unpacks itself, once for all homes.
        shiv = {"SHIV_ROOT": str(self.directory / "shiv")}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **identity,
            **shiv,
        }

    def seconds(self, commands: Sequence[str], rounds: int = 4, runs: int = 15) -> list[float]:
        """Time commands with hyperfine in turns, so that noise hits all alike; return each one's median."""
        if not shutil.which("hyperfine"):
            sys.exit("hyperfine is missing: apt-get install hyperfine, or brew install hyperfine")
        times: list[list[float]] = [[] for _ in commands]
        report = self.directory / "hyperfine.json"
        for _ in range(rounds):
            command = ["hyperfine", "-N", "--style=none", "--warmup=3", f"--runs={runs}"]
            command += [f"--export-json={report}", *commands]
            subprocess.run(
                command, check=True, env=self.environment("start"), stderr=subprocess.DEVNULL
            )
            for sample, result in zip(
                times, json.loads(report.read_text())["results"], strict=True
            ):
                sample += result["times"]
        return [median(sample) for sample in times]


@dataclass(frozen=True)
class Finished:
    """How long a command took, and the most memory it had at once."""

    seconds: float
    megabytes: float


def timed(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> Finished:
    """Run a command that must succeed."""
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        # wait4 tells no less than this process's own 20 MB, which the child starts out with.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(
                f"{' '.join(command)}: exit {process.returncode}\n{log.read().decode(errors='replace')}"
            )
    # Linux counts in KiB, macOS in bytes.
    return Finished(seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024))


def start(bench: Measuring) -> list[Row]:
    """What `--version` and `--help` cost, in starts of a Python that does nothing."""
    commands = {"--version": 2.5, "--help": 4}
    nothing, *figures = bench.seconds(
        [
            f"{bench.python} -c pass",
            *(f"{bench.python} {bench.archive} {option}" for option in commands),
        ]
    )
    return [
        Row(
            f"tlc {option} / python -c pass",
            figure / nothing,
            "x",
            bar,
            f"{figure * 1e3:.1f} ms / {nothing * 1e3:.1f} ms",
        )
        for (option, bar), figure in zip(commands.items(), figures, strict=True)
    ]


# Every repository of OCA's with its branches, as the published list has them: 171 of 7 branches, 12 of 6.
OCA = [(f"repository-{number}", 7 if number < 171 else 6) for number in range(183)]


def plan(bench: Measuring) -> list[Row]:
    """What planning all of OCA's repositories costs where nothing is there yet: 1,269 checkouts."""
    env = bench.environment("plan")
    root = Path(env["HOME"], "code")
    root.mkdir()
    branches = [f"{version}.0" for version in range(12, 19)]
    entries = [[name, branches[:count]] for name, count in OCA]
    (root / "config.toml").write_text(
        f'versions = ["18.0"]\n[repos]\noca = {json.dumps(entries)}\n'
    )
    command = [bench.python, str(bench.archive), "--json", "pull-repos", "--dry-run"]
    planned = subprocess.run(
        command, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    count = len(json.loads(planned.stdout)["results"])
    assert count == 1_269, count
    commands = {"nothing": [bench.python, "-c", "pass"], "plan": command}
    times = in_turns(commands, env, 5, lambda _: None)
    seconds = median(times["plan"])
    starts = seconds / median(times["nothing"])
    return [
        Row(f"plan {count:,} checkouts", seconds, " s", 0.5, f"{starts:.0f} starts of Python"),
        Row("its memory", timed(command, env, root).megabytes, " MB", 80),
    ]


def upstream(directory: Path, env: Mapping[str, str], files: int = 30, commits: int = 3) -> Path:
    """Make a bare repository of small files with a branch 17.0."""
    directory.mkdir(parents=True)

    def git(*args: str) -> None:
        subprocess.run(
            ["git", "-C", str(directory), *args], env=env, check=True, stdout=subprocess.DEVNULL
        )

    work = directory / "work"
    git("init", "--quiet", "--bare", "--initial-branch=17.0")
    work.mkdir()
    for commit in range(commits):
        for file in range(files):
            path = work / f"module_{file % 6}" / f"file_{file}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                "".join(f"{directory.name}_{commit}_{file}_{line} = {line}\n" for line in range(60))
            )
        git("--work-tree", str(work), "add", "--all")
        git("--work-tree", str(work), "commit", "--quiet", "--message", f"Commit {commit}")
    shutil.rmtree(work)
    return directory


def in_turns(
    commands: Mapping[str, Sequence[str]],
    env: Mapping[str, str],
    rounds: int,
    before: Callable[[str], None],
) -> dict[str, list[float]]:
    """Time commands, the other way round in every second round, so that a busy machine slows all alike.

    `before` is called with a command's name before its turn, in the home; returns each one's seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds):
        for name, command in sorted(commands.items(), reverse=bool(turn % 2)):
            before(name)
            times[name].append(timed(command, env, Path(env["HOME"])).seconds)
    return times


def ratio(
    measure: str, times: Sequence[float], others: Sequence[float], bar: float | None = None
) -> Row:
    """How long something takes in terms of something else: the median of the rounds' ratios."""
    value = median(one / other for one, other in zip(times, others, strict=True))
    return Row(measure, value, "x", bar, f"{median(times):.2f} s / {median(others):.2f} s")


def at_once(script: str, names: Sequence[str]) -> list[str]:
    """The command that does a line of shell for each name, in which it is {}; 4 at once."""
    return ["sh", "-c", f"printf '%s\\n' \"$@\" | xargs -P4 -I{{}} {script}", "sh", *names]


def config_of(names: Sequence[str]) -> str:
    """A config.toml with these repositories of OCA's, at 17.0."""
    return f'versions = ["17.0"]\n[repos]\noca = {json.dumps(names)}\n'


def named(count: int) -> list[str]:
    return [f"repository-{number}" for number in range(count)]


def remotes_of(bench: Measuring, names: Sequence[str]) -> Path:
    """Make small repositories OCA/name in a directory, those that are not there; return it."""
    remotes = bench.directory / "remotes"
    for name in names:
        if not (remotes / "OCA" / f"{name}.git").exists():
            upstream(remotes / "OCA" / f"{name}.git", bench.environment("git"))
    return remotes


def clone(bench: Measuring, repositories: int = 24, rounds: int = 8) -> list[Row]:
    """What a first `pull-repos` costs, against the plainest thing that clones as many at once."""
    names = named(repositories)
    url = remotes_of(bench, names).as_uri()
    env = bench.environment("clone")
    home = Path(env["HOME"])
    (home / ".gitconfig").write_text(f'[url "{url}/"]\n\tinsteadOf = "git@github.com:"\n')
    git_clone = f"git clone --quiet --depth=1 --branch 17.0 '{url}/OCA/{{}}.git' 'plain/{{}}'"
    commands = {
        "code/oca/17.0": [bench.python, str(bench.archive), "--yes", "pull-repos", "-j4"],
        "plain": at_once(git_clone, names),
    }
    times = in_turns(commands, env, rounds, lambda place: first_time(home, place, names))
    for place in commands:
        check_cloned(home / place, repositories)
    by_tlc, by_git = times.values()
    return [ratio(f"clone {repositories} repositories / xargs -P4 git clone", by_tlc, by_git, 1.15)]


def first_time(home: Path, place: str, names: Sequence[str]) -> None:
    """Have no checkouts in a place of the home, as before a first run."""
    shutil.rmtree(home / place.partition("/")[0], ignore_errors=True)
    (home / place).mkdir(parents=True)
    (home / "code").mkdir(exist_ok=True)
    (home / "code" / "config.toml").write_text(config_of(names))


def check_cloned(place: Path, count: int) -> None:
    cloned = len(list(place.glob("*/.git/HEAD")))
    assert cloned == count, f"{cloned} of {count} repositories in {place}"


def packing(bench: Measuring) -> list[Row]:
    """What each way of packing costs: its size, and its start as `tlc --help`."""
    archives = {
        name: bench.directory / f"{name}.pyz" for name in ("source only", "compiled", "shiv")
    }
    build.write_archive(archives["source only"], build.zipapp_members({}))
    build.write_archive(archives["compiled"], build.zipapp_members(build.supported_pythons()))
    build.write_archive(archives["shiv"], build.shiv_members())
    figures = bench.seconds([f"{bench.python} '{archive}' --help" for archive in archives.values()])
    return [
        Row(f"start, {name}", figure * 1e3, " ms", None, f"{archive.stat().st_size / 1000:.0f} kB")
        for (name, archive), figure in zip(archives.items(), figures, strict=True)
    ]


@dataclass(frozen=True)
class Route:
    """A person's home at the far end of a line to OCA's repositories; `relay` says how slow it is, and counts."""

    bench: Measuring
    env: dict[str, str]
    relay: Relay
    server: SshServer

    @property
    def home(self) -> Path:
        return Path(self.env["HOME"])

    def pull(self, *options: str) -> list[str]:
        """The command pull-repos."""
        return [self.bench.python, str(self.bench.archive), "--yes", "pull-repos", *options]

    def run(self, command: Sequence[str], **environ: str) -> float:
        """Run a command in the home, however slow the line is, with no delay; return its seconds."""
        self.relay.set(delay=0)
        seconds = timed(command, {**self.env, **environ}, self.home).seconds
        self.relay.set(delay=ROUND_TRIP)
        return seconds

    def received(self, command: Sequence[str], **environ: str) -> int:
        """Run a command as run() does; return the bytes that came from the server, as the relay counts them."""
        before = self.relay.counts.from_server
        self.run(command, **environ)
        return self.relay.counts.from_server - before

    def root(self, name: str, config: str) -> dict[str, str]:
        """Make a code root with that config; return the environment that chooses it."""
        (self.home / name).mkdir()
        (self.home / name / "config.toml").write_text(config)
        return {"TLC_CODE_DIR": str(self.home / name)}


@contextlib.contextmanager
def line_to(bench: Measuring, remotes: Path) -> Iterator[Route]:
    """A line to a real sshd that serves `{remotes}/OCA/name.git`, for a `with`."""
    if reason := missing():
        sys.exit(reason)
    env = bench.environment("line")
    directory = bench.directory / "sshd"
    with SshServer(directory, remotes) as server, Relay(server.port, delay=ROUND_TRIP) as relay:
        SshAccess(Path(env["HOME"]), env, server).configure(relay.port)
        yield Route(bench, env, relay, server)


CLONE = "git clone --quiet --depth=1 --branch 17.0 git@github.com:OCA/{}.git plain/{}"
UPDATE = (
    "sh -c 'cd plain/{} && git fetch --quiet --depth=1 origin 17.0"
    " && git checkout --quiet 17.0 && git reset --quiet --hard origin/17.0'"
)


def ssh(bench: Measuring, repositories: int = 24, clones: int = 4, updates: int = 6) -> list[Row]:
    """First clones, then updates where nothing moved, over a slow line; against the plain flow, 4 at once."""
    names = named(repositories)
    with line_to(bench, remotes_of(bench, names)) as line:
        cloning = {"code/oca/17.0": line.pull("-j4"), "plain": at_once(CLONE, names)}
        cloned = in_turns(
            cloning, line.env, clones, lambda place: first_time(line.home, place, names)
        )
        for place in cloning:
            check_cloned(line.home / place, repositories)
        updating = {
            "j4": line.pull("-j4"),
            "j16": line.pull("-j16"),
            "plain": at_once(UPDATE, names),
        }
        updated = in_turns(updating, line.env, updates, lambda _: None)
    where = f"{repositories} over ssh, {ROUND_TRIP} ms"
    return [
        ratio(
            f"update {where}, -j4 / fetch, checkout, reset", updated["j4"], updated["plain"], 0.35
        ),
        ratio(f"update {where}, -j16 / the same at 4", updated["j16"], updated["plain"], 0.18),
        ratio(
            f"clone {where} / xargs -P4 git clone", cloned["code/oca/17.0"], cloned["plain"], 0.65
        ),
    ]


VERSIONS = [f"{number}.0" for number in range(13, 18)]
LAYOUTS = ["clones", "worktrees"]
# The plain flow in VERSION/NAME.
UPDATE_VERSION = (
    'sh -c \'cd "plain/oca/$1" && git fetch --quiet --depth=1 origin "${1%%/*}"'
    ' && git checkout --quiet "${1%%/*}" && git reset --quiet --hard "origin/${1%%/*}"\' sh {}'
)


def matrix(bench: Measuring, repositories: int = 40, rounds: int = 2) -> list[Row]:
    """40 repositories x 5 versions over a slow line where nothing moved, in both layouts; the plain flow 4 at once."""
    names = named(repositories)
    remotes = bench.directory / "matrix"
    first = remotes / "OCA" / "repository-0.git"
    env = bench.environment("git")
    upstream(first, env)
    for version in VERSIONS:
        if version != "17.0":
            subprocess.run(["git", "-C", first, "branch", version, "17.0"], env=env, check=True)
    for name in names[1:]:
        shutil.copytree(first, remotes / "OCA" / f"{name}.git")
    config = f"versions = {json.dumps(VERSIONS)}\n[repos]\noca = {json.dumps(names)}\n[git]\n"
    with line_to(bench, remotes) as line:
        roots = {each: line.root(each, f'{config}layout = "{each}"\n') for each in LAYOUTS}
        for root in roots.values():
            line.run(line.pull("-j4"), **root)
        check_cloned(line.home / "clones/oca/17.0", repositories)
        shutil.copytree(line.home / "clones/oca", line.home / "plain/oca", symlinks=True)
        places = [f"{version}/{name}" for version in VERSIONS for name in names]
        commands = {
            "plain": at_once(UPDATE_VERSION, places),
            **{
                each: ["env", f"TLC_CODE_DIR={root['TLC_CODE_DIR']}", *line.pull("-j4")]
                for each, root in roots.items()
            },
        }
        times = in_turns(commands, line.env, rounds, lambda _: None)
    what = f"update {len(places)} over ssh, {ROUND_TRIP} ms"
    return [
        ratio(f"{what}, {each} / the plain flow at 4", times[each], times["plain"], 0.06)
        for each in LAYOUTS
    ]


def lock(bench: Measuring, repositories: int = 24, rounds: int = 3) -> list[Row]:
    """What a lock costs, made on one machine and followed on another, against a plain first `pull-repos`.

    Also where upstream has moved on meanwhile: then each commit is asked for by name.
    """
    names, versions = named(repositories), ["16.0", "17.0"]
    remotes, env = bench.directory / "lock", bench.environment("locked")
    home, tlc = Path(env["HOME"]), [bench.python, str(bench.archive), "--yes"]
    rewritten_to = f'[url "{remotes.as_uri()}/"]\n\tinsteadOf = "git@github.com:"\n'
    (home / ".gitconfig").write_text(rewritten_to)
    bares = [remotes / "OCA" / f"{name}.git" for name in names]
    for bare in bares:
        upstream(bare, env)
        subprocess.run(["git", "-C", bare, "branch", "16.0", "17.0~1"], env=env, check=True)
    commands = {}
    config = f"versions = {json.dumps(versions)}\n[repos]\noca = {json.dumps(names)}\n"
    for layout in LAYOUTS:
        mine, theirs, plain = (home / f"{who}-{layout}" for who in ("mine", "theirs", "plain"))
        for root in (mine, theirs, plain):
            root.mkdir()
            (root / "config.toml").write_text(f'{config}[git]\nlayout = "{layout}"\n')
        pull = [*tlc, "pull-repos", "-j4"]
        timed(pull, {**env, "TLC_CODE_DIR": str(mine)}, home)
        commands[plain.name] = ["env", f"TLC_CODE_DIR={plain}", *pull]
        freeze, follow = shlex.join([*tlc, "freeze"]), shlex.join([*pull, "--lock", "tlc.lock"])
        both = f"TLC_CODE_DIR={mine} {freeze} >tlc.lock && TLC_CODE_DIR={theirs} {follow}"
        commands[theirs.name] = ["sh", "-c", both]

    def from_nothing(place: str) -> None:
        for path in ("oca", ".stores"):
            shutil.rmtree(home / place / path, ignore_errors=True)

    rows = []
    for when, bar in (("", 1.1), (", upstream moved", None)):
        times = in_turns(commands, env, rounds, from_nothing)
        for layout in LAYOUTS:
            same = ["diff", "-r", "-x", ".git", f"mine-{layout}/oca", f"theirs-{layout}/oca"]
            subprocess.run(same, check=True, cwd=home)
            what = f"freeze, lock {repositories} x {len(versions)}, {layout}{when} / a first pull"
            rows.append(ratio(what, times[f"theirs-{layout}"], times[f"plain-{layout}"], bar))
        for bare, branch in itertools.product(bares, versions):
            git: list[str] = ["git", "-C", str(bare)]
            words: list[str] = ["commit-tree", "-p", branch, "-m", "moved", f"{branch}^{{tree}}"]
            moved = subprocess.run(
                [*git, *words], env=env, check=True, capture_output=True, text=True
            )
            subprocess.run(
                [*git, "branch", "-f", branch, moved.stdout.strip()], env=env, check=True
            )
    return rows


def processes(bench: Measuring) -> list[Row]:
    """Count tlc's processes of git for one checkout that did not move; git tells of itself (trace2)."""
    url = remotes_of(bench, named(1)).as_uri()
    rows = []
    for layout in LAYOUTS:
        env = bench.environment(f"processes-{layout}")
        home = Path(env["HOME"])
        (home / ".gitconfig").write_text(f'[url "{url}/"]\n\tinsteadOf = "git@github.com:"\n')
        (home / "code").mkdir()
        config = f'{config_of(named(1))}[git]\nlayout = "{layout}"\n'
        (home / "code/config.toml").write_text(config)
        command = [bench.python, str(bench.archive), "--yes", "pull-repos"]
        timed(command, env, home)
        traces = home / "traces"
        traces.mkdir()
        timed(command, {**env, "GIT_TRACE2_EVENT": str(traces)}, home)
        starts = [json.loads(path.read_text().splitlines()[0]) for path in traces.iterdir()]
        # What a git starts itself, upload-pack say, has its parent's session before its own.
        own = [each for each in starts if "/" not in each["sid"]]
        assert own, "git told nothing of itself"
        note = f"{len(starts) - len(own)} more started by those"
        rows.append(Row(f"git processes, one unmoved checkout, {layout}", len(own), "", 5, note))
    return rows


def offline(bench: Measuring, count: int = 54) -> list[Row]:
    """A first pull-repos where no name resolves; `unshare` takes the network away."""
    env = bench.environment("offline")
    root = Path(env["HOME"], "code")
    root.mkdir()
    (root / "config.toml").write_text(config_of(named(count)))
    words = [bench.python, str(bench.archive), "--yes", "pull-repos"]
    fails = ["sh", "-c", 'unshare --map-root-user --net "$@"; [ $? = 1 ]', "sh", *words]
    return [Row(f"offline, {count} repositories", timed(fails, env, root).seconds, " s", 8)]


def rewritten(bare: Path, env: Mapping[str, str], seed: int, commits: int, now: int) -> None:
    """Make a branch 17.0 of so many commits anew, an hour apart and the last one `now`."""
    chance = random.Random(seed)
    stream = [b"reset refs/heads/17.0\n"]
    for number in range(commits):
        when = now - 3600 * (commits - 1 - number)
        stream.append(
            f"commit refs/heads/17.0\ncommitter OCA <oca@example.com> {when} +0000\n"
            f"data {len(str(number)) + len(str(seed)) + 1}\n{seed} {number}\n".encode()
        )
        for _ in range(40 if number in (0, commits - 1) else 1):  # the last one is a large change
            text = "".join(f"{chance.random()}\n" for _ in range(100)).encode()
            path = f"module/file_{chance.randrange(40)}.py"
            stream.append(f"M 100644 inline {path}\ndata {len(text)}\n".encode() + text + b"\n")
    command = ["git", "-C", str(bare), "fast-import", "--quiet", "--force"]
    subprocess.run(command, input=b"".join(stream), env=env, check=True)


def forced(bench: Measuring, commits: int = 2_000) -> list[Row]:
    """Bytes over the wire for a clean checkout whose branch was force-pushed, against `--depth=1`, in both layouts.

    Once as a filter leaves it, with the dates that the commits had, once as a rebase does, all dated anew.
    """
    rows = []
    env = bench.environment("git")
    now = int(time.time()) - 3600 * 24
    for case, later in (("dates kept", 0), ("dated anew", 3600 * commits)):
        for layout in LAYOUTS:
            remotes = bench.directory / f"forced-{layout}-{later}"
            bare = remotes / "OCA/repository-0.git"
            subprocess.run(["git", "init", "--quiet", "--bare", bare], env=env, check=True)
            rewritten(bare, env, 1, commits, now)
            with line_to(bench, remotes) as line:
                root = line.root(layout, f'{config_of(named(1))}[git]\nlayout = "{layout}"\n')
                plain = ["git", "clone", "-q", "--depth=1", "git@github.com:OCA/repository-0.git"]
                plain += ["--branch=17.0", "plain"]
                line.run(plain)
                line.run(line.pull(), **root)
                rewritten(bare, env, 2, commits, now + later)
                by_git, by_tlc = (
                    line.received(
                        ["git", "-C", "plain", "fetch", "-q", "--depth=1", "origin", "17.0"]
                    ),
                    line.received(line.pull(), **root),
                )
            rows.append(
                Row(
                    f"bytes after a force push of {commits:,}, {case}, {layout} / --depth=1",
                    by_tlc / by_git,
                    "x",
                    2,
                    f"{by_tlc / 1e3:.0f} kB / {by_git / 1e3:.0f} kB",
                )
            )
    return rows


def beside(
    bench: Measuring,
    package: str,
    entries: Callable[[Sequence[str]], object],
    clone: Sequence[str],
    update: Sequence[str],
    repositories: int = 24,
    rounds: int = 3,
) -> list[Row]:
    """Return the rows of another tool for many repositories beside tlc: one line, as many workers.

    It is a Python package; `entries` are its repos.yaml's, into the directory `peer`; `clone` and
    `update` are its commands.
    """
    names = named(repositories)
    venv = bench.directory / package
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert uv, "uv is in the dev group of pyproject.toml"
    for command in (["venv", str(venv)], ["pip", "install", "--python", str(venv), package]):
        done = subprocess.run([uv, "--quiet", *command], capture_output=True, text=True)
        if done.returncode:
            why = f"not installed: {done.stderr.strip()[:100]}"
            return [Row(f"{package}: clone, update", float("nan"), note=why)]
    with line_to(bench, remotes_of(bench, names)) as line:
        (line.home / "repos.yaml").write_text(json.dumps(entries(names)))
        program = str(venv / "bin" / clone[0])
        cloning = {"code/oca/17.0": line.pull("-j4"), "peer": [program, *clone[1:]]}
        cloned = in_turns(
            cloning, line.env, rounds, lambda place: first_time(line.home, place, names)
        )
        check_cloned(line.home / "peer", repositories)
        updating = {"tlc": line.pull("-j4"), "peer": [program, *update[1:]]}
        updated = in_turns(updating, line.env, rounds, lambda _: None)
    return [
        ratio(
            f"clone {repositories} over ssh / {package}", cloned["code/oca/17.0"], cloned["peer"]
        ),
        ratio(f"update {repositories} over ssh / {package}", updated["tlc"], updated["peer"]),
    ]


def vcs(bench: Measuring) -> list[Row]:
    """The tool of robotics' people."""

    def entries(names: Sequence[str]) -> object:
        urls = {name: f"git@github.com:OCA/{name}.git" for name in names}
        return {
            "repositories": {
                name: {"type": "git", "url": url, "version": "17.0"} for name, url in urls.items()
            }
        }

    clone = ["vcs", "import", "--workers=4", "--shallow", "--input=repos.yaml", "peer"]
    return beside(bench, "vcs2l", entries, clone, ["vcs", "pull", "--workers=4", "peer"])


def aggregator(bench: Measuring) -> list[Row]:
    """The tool that many Odoo projects use."""

    def entries(names: Sequence[str]) -> object:
        return {
            f"./peer/{name}": {
                "defaults": {"depth": 1},
                "remotes": {"origin": f"git@github.com:OCA/{name}.git"},
                "target": "origin 17.0",
                "merges": ["origin 17.0"],
            }
            for name in names
        }

    words = ["gitaggregate", "-c", "repos.yaml", "-j", "4"]
    return beside(bench, "git-aggregator", entries, words, words)


def worktrees(bench: Measuring) -> list[Row]:
    """3 versions of one repository as worktrees of one store, against three clones: bytes over the wire, and kept."""
    versions = ["16.0", "17.0", "18.0"]
    remotes = bench.directory / "large"
    write_history(remotes / "OCA" / "web.git", versions, bench.environment("git"))
    with line_to(bench, remotes) as line:
        root = line.root(
            "store", f'versions = {versions}\n[git]\nlayout = "worktrees"\n[repos]\noca = ["web"]\n'
        )
        clone = "git clone --quiet --depth=1 --branch {} git@github.com:OCA/web.git clones/{}"
        commands = {"store": line.pull(), "clones": at_once(clone, versions)}
        wire, disk, seconds = {}, {}, {}
        for place, command in commands.items():
            before = line.relay.counts
            seconds[place] = line.run(command, **root)
            after = line.relay.counts
            wire[place] = (
                after.from_server + after.to_server - before.from_server - before.to_server
            )
            disk[place] = occupied(line.home / place)
    note = f"{seconds['store']:.2f} s / {seconds['clones']:.2f} s"
    return [
        Row(
            f"3 versions as worktrees / as clones, {what}",
            figures["store"] / figures["clones"],
            "x",
            0.75,
            f"{figures['store'] / 1e6:.1f} MB / {figures['clones'] / 1e6:.1f} MB; {note}",
        )
        for what, figures in (("wire", wire), ("disk", disk))
    ]


def hosts(bench: Measuring, repositories: int = 8) -> list[Row]:
    """What one machine asks of its git host, for docs/fleet.md: questions (sessions of ssh) and bytes it is sent.

    The repositories are of the size of OCA's, at 3 versions each. A job of CI keeps the stores alone.
    """
    versions = ["16.0", "17.0", "18.0"]
    names, remotes = named(repositories), bench.directory / "hosts"
    first = remotes / "OCA" / f"{names[0]}.git"
    write_history(first, versions, bench.environment("git"))
    for name in names[1:]:
        shutil.copytree(first, remotes / "OCA" / f"{name}.git")
    rows = []
    with line_to(bench, remotes) as line:
        config = f"versions = {json.dumps(versions)}\n[repos]\noca = {json.dumps(names)}\n[git]\n"

        def asked(run: str, layout: str, *options: str) -> None:
            line.server.forget()
            received = line.received(line.pull(*options), TLC_CODE_DIR=str(line.home / layout))
            visits = line.server.visits()
            note = f"{visits.sessions} questions on {visits.connections} connections"
            rows.append(Row(f"{run}, {layout}, 24 checkouts", received / 1e6, " MB", None, note))

        for layout in LAYOUTS:
            line.root(layout, f'{config}layout = "{layout}"\n')
            asked("first run", layout)
            asked("nothing moved", layout)
            command = [bench.python, str(bench.archive), "freeze"]
            env = {**line.env, "TLC_CODE_DIR": str(line.home / layout)}
            lock = line.home / f"{layout}.lock"
            lock.write_bytes(
                subprocess.run(command, env=env, check=True, capture_output=True).stdout
            )
            asked("by a lock file, all there", layout, "--lock", str(lock))
        shutil.rmtree(line.home / "worktrees/oca")
        asked("a CI job with its stores", "worktrees")
    return rows


def fleet(bench: Measuring, rounds: int = 5) -> list[Row]:
    """What `tlc up` adds to a play on four machines where all is done, against one of them alone."""
    if reason := machines.missing() or ("" if machines_of.ansible() else "Ansible is missing"):
        print(f"fleet: left out: {reason}", file=sys.stderr)
        return []
    names = {"one": "dev", "two": "root", "three": "dev", "four": "root"}
    directory = bench.directory / "fleet"
    directory.mkdir()
    with machines_of.fleet(directory, bench.archive, remotes_of(bench, named(4)), names) as them:
        them.config.write_text(config_of(named(4)))
        options = [
            "-v",
            "-e",
            json.dumps({"tlc_arguments": ["--skip", "create-venvs", "--skip", "doctor"]}),
        ]
        assert (first := them.play(*options)).code == 0, first.said
        pairs = []
        for _ in range(rounds):
            one = them.play(*options, "--limit", "one").seconds()
            pairs.append((them.play(*options).seconds(), one))
    four, alone = zip(*pairs, strict=True)
    return [ratio("tlc's part of a play on 4 machines / on one", four, alone, 2.5)]


def occupied(directory: Path) -> int:
    """Bytes that a directory and all in it take up on disk."""
    found = map(os.lstat, [directory, *directory.rglob("*")])
    return sum({(each.st_dev, each.st_ino): each.st_blocks for each in found}.values()) * 512


# Runs an archive and writes what the process itself took: its peak memory (in MB) and CPU time, and its children's.
# Linux counts in ru_maxrss what the parent had before the exec; VmHWM is the program's own.
TAKEN = """
import json, resource, runpy, sys
report, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    try:
        with open("/proc/self/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    except OSError:
        peak = own.ru_maxrss
    taken = {"peak": peak / 1e6, "own": own.ru_utime + own.ru_stime, "children": children.ru_utime + children.ru_stime}
    with open(report, "w") as file:
        json.dump(taken, file)
"""


def taken(line: Route, term: str, environ: Mapping[str, str]) -> dict[str, float]:
    """Run pull-repos on a terminal of that kind ("dumb" has no live display); return what TAKEN says."""
    report = line.home / "taken.json"
    python, *command = line.pull("-j4")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [python, "-c", TAKEN, str(report), *command],
        env={**line.env, "TERM": term, **environ},
        cwd=line.home,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    with contextlib.suppress(OSError):  # the end of a terminal on Linux
        while os.read(master, 65536):
            pass
    os.close(master)
    assert process.wait() == 0
    found: dict[str, float] = json.loads(report.read_text())
    return found


def many(bench: Measuring, few: int = 24, count: int = 200, rounds: int = 3) -> list[Row]:
    """What 200 repositories cost where nothing moved: time of each, memory, and the display's share of the CPU."""
    remotes = remotes_of(bench, named(few))
    for name in named(count)[few:]:
        shutil.copytree(
            remotes / "OCA" / "repository-0.git",
            remotes / "OCA" / f"{name}.git",
            dirs_exist_ok=True,
        )
    with line_to(bench, remotes) as line:
        roots = {size: line.root(f"code-{size}", config_of(named(size))) for size in (few, count)}
        for root in roots.values():
            line.run(line.pull("-j4"), **root)
        each: dict[int, list[float]] = {size: [] for size in roots}
        for _ in range(rounds):
            for size, root in roots.items():
                each[size].append(
                    timed(line.pull("-j4"), {**line.env, **root}, line.home).seconds / size * 1e3
                )
        pairs = [
            [taken(line, term, roots[count]) for term in ("xterm", "dumb")] for _ in range(rounds)
        ]
    per = median(most / least for most, least in zip(each[count], each[few], strict=True))
    shares = [
        (live["own"] - plain["own"]) / (live["own"] + live["children"]) for live, plain in pairs
    ]
    cpu = median(live["own"] + live["children"] for live, _ in pairs)
    return [
        Row(
            f"update {count} / update {few}, of each repository",
            per,
            "x",
            1.3,
            f"{median(each[count]):.0f} ms / {median(each[few]):.0f} ms",
        ),
        Row(
            f"memory of tlc itself, {count} repositories",
            max(run["peak"] for pair in pairs for run in pair),
            " MB",
            80,
        ),
        Row(
            f"the display's share of the CPU, {count} repositories",
            median(shares) * 100,
            " %",
            5,
            f"of {cpu:.1f} s",
        ),
    ]


def environments(bench: Measuring, rounds: int = 3) -> list[Row]:
    """Three environments side by side against one after another, and a run that finds all complete."""
    versions = ["18.0", "19.0", "20.0"]
    # No wheel for these Pythons: one must be compiled, as psycopg2 and python-ldap are for Odoo.
    requirements = ["regex==2021.8.28", "idna==3.6"]
    mine = "{}.{}".format(*sys.version_info)
    minors = sorted({"{}.{}".format(*each.version) for each in pythons.supported()})
    env = {
        **os.environ,
        **bench.environment("environments"),
    }  # with the machine's way to the package index
    root = Path(env["HOME"], "code")
    beside = [str(pythons.uv().parent), *(str(each.path.parent) for each in pythons.supported())]
    env["PATH"] = os.pathsep.join([*beside, env["PATH"]])
    for version in versions:
        make_odoo(root / "odoo" / "odoo" / version, version, requirements, setuptools=True)

    def build(jobs: int, chosen: Sequence[str], cold: bool) -> float:
        """Build all anew; return the seconds it took."""
        pairs = ", ".join(
            f'"{version}" = "{python}"' for version, python in zip(versions, chosen, strict=True)
        )
        text = f'versions = {json.dumps(versions)}\n[venvs]\npreset = "common"\npython = {{ {pairs} }}\n'
        (root / "config.toml").write_text(text)
        shutil.rmtree(root / "venvs", ignore_errors=True)
        if cold:
            shutil.rmtree(root.parent / "uv", ignore_errors=True)
        command = [bench.python, str(bench.archive), "--yes", f"-j{jobs}", "create-venvs"]
        return timed(command, {**env, "UV_CACHE_DIR": str(root.parent / "uv")}, root).seconds

    def row(measure: str, chosen: Sequence[str], cold: bool, bar: float) -> Row:
        each = [
            (build(4, chosen, cold), build(1, chosen, cold)) for _ in range(1 if cold else rounds)
        ]
        together, in_turn = (median(column) for column in zip(*each, strict=True))
        return Row(
            f"3 environments side by side / in turn, {measure}",
            together / in_turn,
            "x",
            bar,
            f"{together:.0f} s / {in_turn:.0f} s",
        )

    rows = [
        row("one Python, cold", [mine] * 3, True, 1.0),
        row("one Python, warm", [mine] * 3, False, 1 / 1.3),
    ]
    if len(minors) >= 3:
        rows.append(row("three Pythons, cold", minors[-3:], True, 1 / 1.3))
    tlc = f"env HOME={env['HOME']} PATH={env['PATH']} TLC_CODE_DIR= {bench.python} {bench.archive}"
    least, nothing = bench.seconds([f"{tlc} --version", f"{tlc} --yes create-venvs"])
    note = f"{nothing * 1e3:.0f} ms / {least * 1e3:.0f} ms"
    return [
        *rows,
        Row("create-venvs with nothing to do / --version", nothing / least, "x", 5, note),
    ]


def demo_of(bench: Measuring, server: PostgresServer) -> tuple[dict[str, str], Path]:
    """A home whose code root is as `tlc up` leaves the demo's, but for what needs a network or root."""
    env = {**os.environ, **bench.environment("demo"), **server.env}
    root = Path(env["HOME"], "code")
    versions = ["17.0", "18.0"]
    github = root.parent / "github"
    for name in ("odoo/odoo", "OCA/web", "OCA/queue"):
        upstream(github / f"{name}.git", env)
        for version in versions[1:]:
            subprocess.run(
                ["git", "branch", version, versions[0]],
                cwd=github / f"{name}.git",
                env=env,
                check=True,
            )
    odoo = root.parent / "odoo"
    for version in versions:
        make_odoo(odoo, version, setuptools=True)
        work = ["git", "--git-dir", str(github / "odoo/odoo.git"), "--work-tree", str(odoo)]
        for words in (
            ["symbolic-ref", "HEAD", f"refs/heads/{version}"],
            ["add", "--all"],
            ["commit", "-qm", version],
        ):
            subprocess.run([*work, *words], env=env, check=True)
        shutil.rmtree(odoo)
    (root.parent / ".gitconfig").write_text(
        f'[url "{github.as_uri()}/"]\n\tinsteadOf = "git@github.com:"\n'
    )
    mine = "{}.{}".format(*sys.version_info)
    pythons_ = ", ".join(f'"{version}" = "{mine}"' for version in versions)
    root.mkdir()
    (root / "config.toml").write_text(
        f'versions = {json.dumps(versions)}\n[repos]\nodoo = ["odoo"]\noca = ["web", "queue"]\n'
        f'[venvs]\npreset = "common"\npython = {{ {pythons_} }}\n[postgres]\nport = {server.port}\n'
    )
    env["PATH"] = os.pathsep.join([str(pythons.uv().parent), env["PATH"]])
    server.sql("CREATE ROLE odoo LOGIN CREATEDB PASSWORD 'odoo'")
    timed(up_of(bench), env, root)
    return env, root


def up_of(bench: Measuring) -> list[str]:
    """The command up, for what does not need root; doctor's checks are the machine's."""
    left = [
        word for stage in ("bootstrap", "install-tools", "doctor") for word in ("--skip", stage)
    ]
    return [bench.python, str(bench.archive), "--yes", "up", *left]


def doctor(bench: Measuring, rounds: int = 9) -> list[Row]:
    """All of doctor's checks side by side against the slowest of them; and `up` where there is nothing to do."""
    with PostgresServer() as server:
        env, root = demo_of(bench, server)
        command = [bench.python, str(bench.archive), "--json", "doctor", "--offline"]
        over, shown = [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            done = subprocess.run(
                command, env=env, cwd=root, capture_output=True, text=True
            )  # what root installs is missing
            seconds = time.perf_counter() - begin
            slowest = max(result["seconds"] for result in json.loads(done.stdout)["results"])
            over.append(seconds - 1.3 * slowest)
            shown.append((seconds, slowest))
        again = median(timed(up_of(bench), env, root).seconds for _ in range(rounds))
    seconds, slowest = median(one for one, _ in shown), median(other for _, other in shown)
    return [
        Row(
            "doctor --offline, beyond 1.3 x its slowest check",
            median(over),
            " s",
            0.2,
            f"{seconds:.2f} s / {slowest:.2f} s",
        ),
        Row("up with nothing to do", again, " s", 0.5),
    ]


def run(bench: Measuring, rounds: int = 21) -> list[Row]:
    """What `tlc run` adds before Odoo's own process has taken over; an Odoo that leaves at once stands in."""
    env = bench.environment("run")
    root = Path(env["HOME"], "code")
    for name, text in {
        "odoo/odoo/18.0/odoo/release.py": "version_info = (18, 0)\n",
        "venvs/18.0/bin/python": "#!/bin/sh\n",
        "venvs/18.0/bin/odoo": "",
        "venvs/18.0/.odoo-venv.toml": "",
        "conf/odoo-18.0.conf": "[options]\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    with PostgresServer() as server:
        server.sql("CREATE ROLE odoo LOGIN CREATEDB PASSWORD 'odoo'")
        (root / "config.toml").write_text(
            f'versions = ["18.0"]\n[repos]\nodoo = ["odoo"]\n[postgres]\nport = {server.port}\n'
        )
        by_tlc = [bench.python, str(bench.archive), "run", "18.0"]
        alone = [str(root / "venvs/18.0/bin/python")]
        added = [
            timed(by_tlc, env, root).seconds - timed(alone, env, root).seconds
            for _ in range(rounds)
        ]
    return [Row("run, before Odoo has taken over", median(added), " s", 0.15)]


def cloned(bench: Measuring, env: Mapping[str, str], count: int) -> Path:
    """Make a code root with so many checkouts of OCA's, at 17.0; return it."""
    root = Path(env["HOME"], "code")
    url = upstream(bench.directory / f"{Path(env['HOME']).name}.git", env).as_uri()
    place = root / "oca" / "17.0"
    place.mkdir(parents=True)
    for name in named(count):
        subprocess.run(
            ["git", "clone", "--quiet", "--depth=1", url, str(place / name)], env=env, check=True
        )
    (root / "config.toml").write_text(config_of(named(count)))
    return root


def foreach(bench: Measuring, count: int = 200, rounds: int = 5) -> list[Row]:
    """A quick program in each of 200 checkouts, against xargs."""
    env = bench.environment("foreach")
    root = cloned(bench, env, count)
    words = ["git", "rev-parse", "HEAD"]
    by_tlc = [bench.python, str(bench.archive), "foreach", "-j4", "--", *words]
    by_xargs = at_once(f"git -C {root}/oca/17.0/{{}} rev-parse HEAD", named(count))
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(rounds):
        for number, command in enumerate((by_tlc, by_xargs)):
            times[number].append(timed(command, env, root).seconds)
    return [ratio(f"foreach over {count} / xargs -P4", times[0], times[1], 1.3)]


def status(bench: Measuring, count: int = 200, rounds: int = 5) -> list[Row]:
    """A line for each of 200 checkouts."""
    env = bench.environment("status")
    root = cloned(bench, env, count)
    command = [bench.python, str(bench.archive), "status"]
    lines = subprocess.run(
        command, env=env, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(lines) == count == sum(line.endswith("clean") for line in lines), lines[:3]
    return [
        Row(
            f"status of {count} repositories",
            median(timed(command, env, root).seconds for _ in range(rounds)),
            " s",
            1.5,
        )
    ]


MEASURES: list[Callable[[Measuring], list[Row]]] = [
    start,
    plan,
    lock,
    processes,
    clone,
    packing,
    ssh,
    matrix,
    forced,
    worktrees,
    hosts,
    many,
    offline,
    environments,
    doctor,
    run,
    status,
    fleet,
    foreach,
    vcs,
    aggregator,
]


def table(lines: Sequence[Sequence[str]]) -> str:
    """Align cells: the first and the last to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, figure, bar, _ = widths
    return "\n".join(
        f"{a:{first}}  {b:>{figure}}  {c:>{bar}}  {d}".rstrip() for a, b, c, d in lines
    )


def page(rows: Sequence[Row], archive: str) -> str:
    """Return docs/benchmarks.md: on which machine, when, and each figure."""
    model = ""
    with contextlib.suppress(OSError, StopIteration):
        info = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(": ")[2] for line in info if line.startswith("model name"))
    git = subprocess.run(["git", "--version"], capture_output=True, text=True).stdout.strip()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page. Every figure is a count, or a ratio of two things that were measured in turns in",
        "one run (below 1: tlc is faster); machines differ, so trust no seconds. The bar is what `make bench ARGS=--strict`",
        "holds it to.",
        "",
        f"- Machine: {machine}{f', {model}' if model else ''}",
        f"- Date: {date.today().isoformat()}",
        f"- With: Python {sys.version.split()[0]}, {git}, {archive}",
        "",
        "| measure | figure | bar | |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row.cells())} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the measures and print one table; return 1 where a bar is missed and --strict is given."""
    parser = argparse.ArgumentParser(description="Measure tlc against its bars.")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    names = [measure.__name__ for measure in MEASURES]
    parser.add_argument("measure", nargs="*", help=f"of {', '.join(names)}; default: all")
    args = parser.parse_args()
    if unknown := set(args.measure) - set(names):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="tlc-bench-") as directory:
        given = os.environ.get("TLC_ARCHIVE")
        archive = Path(given).resolve() if given else Path(directory, "tlc.pyz")
        if not given:
            build.write_archive(archive, build.zipapp_members(build.supported_pythons()))
        bench = Measuring(Path(directory), archive)
        rows = []
        for measure in MEASURES:
            if measure.__name__ in (args.measure or names):
                print(f"{measure.__name__} ...", file=sys.stderr, flush=True)
                rows += measure(bench)
    if not args.measure:
        (PROJECT / "docs").mkdir(exist_ok=True)
        (PROJECT / "docs/benchmarks.md").write_text(page(rows, archive.name))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {archive.name}")
    print(table([["measure", "figure", "bar", ""], *(row.cells() for row in rows)]))
    return int(args.strict and any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
