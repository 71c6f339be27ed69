"""What all tests share: the archive under test, and a sandbox in which a person would run it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# What has fixtures that are dear to make: one for a session or a module.
pytest_plugins = ["odoo_venv", "postgres_server"]

# Kept from the parent's environment: what a machine behind a proxy or a mirror needs to reach the network.
KEPT = re.compile(
    r"(https?|ftp|all|no)_proxy|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE|GIT_SSL_CAINFO|NODE_EXTRA_CA_CERTS"
    r"|PIP_(CERT|CONFIG_FILE|DEFAULT_TIMEOUT|\w*INDEX_URL|FIND_LINKS|TRUSTED_HOST)"
    r"|UV_(CONFIG_FILE|\w*INDEX\w*|FIND_LINKS|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST)",
    re.IGNORECASE,
)


# Started in the background of a script, the tests inherit ignored signals, and so would every tlc they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass(frozen=True)
class Run:
    """One finished run of tlc."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what stdout holds as JSON; anything else there is an error."""
        return json.loads(self.out)


def soon(is_so: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so; fail when it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s: {is_so}"
        time.sleep(0.02)


def shiv_root(archive: Path) -> str:
    """Where an archive packed by shiv unpacks itself: outside of the homes, which tests look into."""
    return str(archive.parent / "shiv")


class Sandbox:
    """A home of its own, with a clean environment, to run tlc in.

    `.home` exists, `.root` (the code root) and `.state` (tlc's own state) do not yet.
    """

    def __init__(self, directory: Path, archive: Path) -> None:
        self.archive = archive
        self.home = directory / "home"
        self.root = self.home / "code"
        self.state = self.home / ".local" / "state" / "tlc"
        self.home.mkdir(parents=True)
        self.env: dict[str, str] = {
            name: value
            for name, value in os.environ.items()
            if KEPT.fullmatch(name) or name == "APT_CONFIG"
        }
        self.env |= {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local" / "share"),
            "XDG_STATE_HOME": str(self.state.parent),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "test@example.com" for who in ("AUTHOR", "COMMITTER")},
            "SHIV_ROOT": shiv_root(archive),
        }

    def config(self, text: str) -> Path:
        """Write `text` as the code root's config.toml; return its path."""
        path = self.root / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def tlc(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
        python: str | Path = sys.executable,
    ) -> Run:
        """Run `python archive args...` with `env` added to the sandbox's; without `input` stdin is empty.

        Whatever the exit code, a Python traceback in the output fails the test.
        """
        done = subprocess.run(
            [str(python), str(self.archive), *args],
            env={**self.env, **(env or {})},
            cwd=cwd or self.home,
            timeout=timeout,
            encoding="utf-8",
            errors="replace",
            capture_output=True,
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
        )
        run = Run(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in run.out + run.err, (
            f"tlc {args} showed a traceback:\n{run.out}{run.err}"
        )
        return run

    def start(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        limits: str = "",
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a run in a session of its own, and do not wait for it; stdin is empty. See interrupt().

        `limits` are lines of the shell's that hold for it: "ulimit -n 9; ".
        """
        shell = ["sh", "-c", f'{limits}exec "$@"', "sh"] if limits else []
        return subprocess.Popen(
            [*shell, sys.executable, str(self.archive), *args],
            env={**self.env, **(env or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )


def interrupt(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> str:
    """Send a signal to a run that was started, which must end as it should; return what it said on stderr."""
    began = time.monotonic()
    process.send_signal(number)
    _out, err = process.communicate(timeout=60)
    # 3 seconds are promised, on a machine with nothing else to do; nothing that tlc waits for ends within these.
    assert time.monotonic() - began < 20, err
    assert process.returncode == 130, err
    assert "Interrupted." in err and "Traceback" not in err
    return err


@pytest.fixture(scope="session")
def session_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of all workers of a test session."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def apt_cache(session_directory: Path) -> None:
    """Let apt keep what it reads of all packages: an image for containers has it read all for each question."""
    (session_directory / "apt/archives/partial").mkdir(parents=True, exist_ok=True)
    config = session_directory / "apt/apt.conf"
    config.write_text(f'Dir::Etc::parts "/dev/null";\nDir::Cache "{session_directory}/apt";\n')
    os.environ.setdefault("APT_CONFIG", str(config))


@pytest.fixture(scope="session")
def built(session_directory: Path) -> Callable[..., Path]:
    """A function that builds an archive once for all workers of a test session: `built("--shiv")` -> Path."""

    def build(*options: str) -> Path:
        name = "-".join(["tlc", *(option.strip("-") for option in options)])
        archive = session_directory / f"{name}.pyz"
        with archive.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not archive.exists():
                command = [
                    sys.executable,
                    str(PROJECT / "build.py"),
                    "--output",
                    str(archive),
                    *options,
                ]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return archive

    return build


@pytest.fixture(scope="session")
def archive(built: Callable[..., Path]) -> Path:
    """The archive under test: TLC_ARCHIVE's, else a tlc.pyz built for this test session."""
    given = os.environ.get("TLC_ARCHIVE")
    archive = Path(given).resolve(strict=True) if given else built()
    # One packed by shiv unpacks and compiles itself at its first start: not in the middle of a test.
    environ = {**os.environ, "SHIV_ROOT": shiv_root(archive)}
    subprocess.run(
        [sys.executable, str(archive), "--version"],
        env=environ,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return archive


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """Chance, the same in each run of a story, another in each of `make faults`.

    TLC_TESTS_SEED replays what a seed drew; "new" draws one for every story.
    """
    usual = "new" if request.node.get_closest_marker("faults") else request.node.name
    seed = os.environ.get("TLC_TESTS_SEED") or usual
    seed = os.urandom(4).hex() if seed == "new" else seed
    print(f"to replay: TLC_TESTS_SEED={shlex.quote(seed)}")
    return random.Random(seed)


@pytest.fixture
def sandbox(tmp_path: Path, archive: Path) -> Sandbox:
    """A fresh home to run the archive under test in."""
    return Sandbox(tmp_path, archive)


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With CI=true nothing may be missing: make a skip a failure that says why."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of `make faults`: what its tests recorded, those of one fault together."""
    table: dict[str, list[int]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, recorded in getattr(report, "user_properties", []):
                if name == "fault" and report.when == "call":
                    fault, *counts = recorded
                    sums = table.setdefault(fault, [0, 0, 0])
                    table[fault] = [one + more for one, more in zip(sums, counts, strict=True)]
    if table:
        line = "{:32}{:>8}{:>8}{:>18}".format
        terminalreporter.section("faults")
        terminalreporter.write_line(line("fault", "times", "lost", "completed after"))
        for fault, sums in table.items():
            terminalreporter.write_line(line(fault, *sums))
