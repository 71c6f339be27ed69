"""Measure what the README promises: `make bench`, or `make bench ARGS=--strict` to fail when a bar is missed.

A measure is a function that is given a Bench and returns rows: to add one, write it and name it in MEASURES.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))  # for build.py, as this file is run by its path

import build  # noqa: E402


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
        bar = "" if self.bar is None else f"{self.bar:g}{self.unit}" + (" MISSED" if self.missed else "")
        return [self.measure, f"{self.value:.3g}{self.unit}", bar, self.note]


@dataclass(frozen=True)
class Bench:
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
            f"GIT_{who}_{what}": "bench" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        # Where a tlc packed by shiv unpacks itself, once for all homes.
        shiv = {"SHIV_ROOT": str(self.directory / "shiv")}
        return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **identity, **shiv}

    def seconds(self, commands: Sequence[str], rounds: int = 4, runs: int = 15) -> list[float]:
        """Time commands with hyperfine in turns, so that noise hits all alike; return each one's median."""
        times: list[list[float]] = [[] for _ in commands]
        report = self.directory / "hyperfine.json"
        for _ in range(rounds):
            command = ["hyperfine", "-N", "--style=none", "--warmup=3", f"--runs={runs}"]
            command += [f"--export-json={report}", *commands]
            subprocess.run(command, check=True, env=self.environment("start"), stderr=subprocess.DEVNULL)
            for sample, result in zip(times, json.loads(report.read_text())["results"], strict=True):
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
            sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{log.read().decode(errors='replace')}")
    # Linux counts in KiB, macOS in bytes.
    return Finished(seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024))


def start(bench: Bench) -> list[Row]:
    """What `--version` and `--help` cost, in starts of a Python that does nothing."""
    commands = {"--version": 2.5, "--help": 4.5}
    nothing, *figures = bench.seconds(
        [f"{bench.python} -c pass", *(f"{bench.python} {bench.archive} {option}" for option in commands)]
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


def plan(bench: Bench) -> list[Row]:
    """What planning 500 repositories x 4 versions costs where nothing is there yet."""
    env = bench.environment("plan")
    root = Path(env["HOME"], "code")
    root.mkdir()
    names = [f"repository-{number}" for number in range(500)]
    (root / "config.toml").write_text(
        f'versions = ["16.0", "17.0", "18.0", "master"]\n[repos]\noca = {json.dumps(names)}\n',
        encoding="utf-8",
    )
    command = [bench.python, str(bench.archive), "--json", "pull-repos", "--dry-run"]
    planned = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    count = len(json.loads(planned.stdout)["results"])
    runs = [timed(command, env, root) for _ in range(5)]
    return [
        Row(
            "plan 500 repositories x 4 versions",
            median(run.seconds for run in runs),
            " s",
            1,
            f"{count} results",
        ),
        Row("its memory", max(run.megabytes for run in runs), " MB", 80),
    ]


def upstream(directory: Path, env: Mapping[str, str], files: int = 30, commits: int = 3) -> Path:
    """Make a bare repository of small files with a branch 17.0."""
    directory.mkdir(parents=True)

    def git(*args: str) -> None:
        subprocess.run(["git", "-C", str(directory), *args], env=env, check=True, stdout=subprocess.DEVNULL)

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


def clone(bench: Bench, repositories: int = 24, rounds: int = 8) -> list[Row]:
    """What a first `pull-repos` costs, against the plainest thing that clones as many at once."""
    names = [f"repository-{number}" for number in range(repositories)]
    remotes = bench.directory / "remotes"
    for name in names:
        upstream(remotes / "OCA" / f"{name}.git", bench.environment("git"))
    url = remotes.as_uri()
    git_clone = f"git clone --quiet --depth=1 --branch 17.0 '{url}/OCA/{{}}.git' 'plain/{{}}'"
    commands = {
        "code/oca/17.0": [bench.python, str(bench.archive), "--yes", "pull-repos", "-j4"],
        "plain": ["sh", "-c", f"printf '%s\\n' \"$@\" | xargs -P4 -I{{}} {git_clone}", "sh", *names],
    }
    times: dict[str, list[float]] = {place: [] for place in commands}
    # In turns, the other one first each time: a busy machine or disk then slows both alike.
    for turn in range(rounds):
        env = bench.environment("clone")
        home = Path(env["HOME"])
        (home / ".gitconfig").write_text(f'[url "{url}/"]\n\tinsteadOf = "git@github.com:"\n')
        (home / "code").mkdir()
        config = f'versions = ["17.0"]\n[repos]\noca = {json.dumps(names)}\n'
        (home / "code" / "config.toml").write_text(config)
        for place, command in sorted(commands.items(), reverse=bool(turn % 2)):
            (home / place).mkdir(parents=True)
            times[place].append(timed(command, env, home).seconds)
            cloned = len(list((home / place).glob("*/.git/HEAD")))
            assert cloned == repositories, f"{cloned} of {repositories} repositories in {place}"
    by_tlc, by_git = times.values()
    ratio = median(tlc / git for tlc, git in zip(by_tlc, by_git, strict=True))
    figures = f"{median(by_tlc):.2f} s / {median(by_git):.2f} s"
    return [Row(f"clone {repositories} repositories / xargs -P4 git clone", ratio, "x", 1.15, figures)]


def packing(bench: Bench) -> list[Row]:
    """What each way of packing costs: its size, and its start as `tlc --version`."""
    archives = {name: bench.directory / f"{name}.pyz" for name in ("source only", "compiled", "shiv")}
    build.write_archive(archives["source only"], build.zipapp_members({}))
    build.write_archive(archives["compiled"], build.zipapp_members(build.supported_pythons()))
    build.write_archive(archives["shiv"], build.shiv_members())
    figures = bench.seconds([f"{bench.python} '{archive}' --version" for archive in archives.values()])
    return [
        Row(f"start, {name}", figure * 1e3, " ms", None, f"{archive.stat().st_size / 1000:.0f} kB")
        for (name, archive), figure in zip(archives.items(), figures, strict=True)
    ]


MEASURES: list[Callable[[Bench], list[Row]]] = [start, plan, clone, packing]


def table(lines: Sequence[Sequence[str]]) -> str:
    """Align cells: the first and the last to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, figure, bar, _ = widths
    return "\n".join(f"{a:{first}}  {b:>{figure}}  {c:>{bar}}  {d}".rstrip() for a, b, c, d in lines)


def main() -> int:
    """Run the measures and print one table; return 1 where a bar is missed and --strict is given."""
    parser = argparse.ArgumentParser(description="Measure tlc against its bars.")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    names = [measure.__name__ for measure in MEASURES]
    parser.add_argument("measure", nargs="*", help=f"of {', '.join(names)}; default: all")
    args = parser.parse_args()
    if unknown := set(args.measure) - set(names):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    if not shutil.which("hyperfine"):
        sys.exit("hyperfine is missing: apt-get install hyperfine, or brew install hyperfine")
    with tempfile.TemporaryDirectory(prefix="tlc-bench-") as directory:
        given = os.environ.get("TLC_ARCHIVE")
        archive = Path(given).resolve() if given else Path(directory, "tlc.pyz")
        if not given:
            build.write_archive(archive, build.zipapp_members(build.supported_pythons()))
        bench = Bench(Path(directory), archive)
        rows = [row for m in MEASURES if m.__name__ in (args.measure or names) for row in m(bench)]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {archive.name}")
    print(table([["measure", "figure", "bar", ""], *(row.cells() for row in rows)]))
    return int(args.strict and any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
