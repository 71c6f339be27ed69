"""Stories of the development role, told to a real PostgreSQL by the built archive."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from accounts import own, python_for
from conftest import Run, Sandbox
from person import Person
from ports import free_port
from postgres_server import PostgresServer, missing
from processes import watched
from results import results_by_kind, statuses_by_kind
from terminal import Terminal

# Who runs tlc, and may administer the cluster: whoever runs the tests; where that is root, the cluster's owner as well.
# What the account `postgres` has to do with it is told on machines (test_tools_on_machines).
WHO = ["", "nobody"] if os.getuid() == 0 else [""]

# A word that nothing else has in it, quoted for neither SQL nor shell nor psql.
PASSWORD = "s3cr3t'\"\\ $HOME `id` :'x' %s ☃"


def toml(text: str) -> str:
    """A string as TOML writes it."""
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """A string as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


class DatabaseOwner(Person):
    """A person who may administer a PostgreSQL, as another account of this machine where one is named."""

    def __init__(
        self, sandbox: Sandbox, server: PostgresServer, python: str | Path = sys.executable
    ) -> None:
        super().__init__(sandbox, python)
        self.server = server
        self.account = ""  # who runs tlc, where that is another one
        sandbox.env |= server.env
        self.config()

    def config(
        self,
        user: str = "odoo",
        password: str = PASSWORD,
        host: str = "localhost",
        versions: str = '"18.0"',
    ) -> None:
        """Write a config with this role."""
        self.sandbox.config(
            f"versions = [{versions}]\n[postgres]\nuser = {toml(user)}\npassword = {toml(password)}\n"
            f'host = "{host}"\nport = {self.server.port}\n'
        )

    def ensure(
        self, *options: str, env: Mapping[str, str] | None = None, as_json: bool = True
    ) -> Run:
        """Run ensure-db-user; whatever comes of it, the password stands nowhere."""
        if self.account:
            own(self.sandbox.home, self.account)
        options = (*(["--json"] if as_json else []), "--yes", "-v", *options)
        run = self.tlc(*options, "ensure-db-user", env=env)
        assert "s3cr3t" not in run.out + run.err + self.logged()
        return run

    def login(self, user: str = "odoo", password: str = PASSWORD) -> bool:
        """Whether the role comes in over TCP."""
        done = subprocess.run(
            [
                self.server.programs / "psql",
                *"-XqAtw -h 127.0.0.1 -d postgres -c".split(),
                "SELECT current_user",
            ],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGPORT": str(self.server.port)}
            | {"PGUSER": user, "PGPASSWORD": password},
            capture_output=True,
            encoding="utf-8",
        )
        return (done.returncode, done.stdout) == (0, f"{user}\n")

    def role(self, user: str = "odoo") -> str:
        """Whether a role may log in, create databases, do everything; "" when there is none."""
        roles = self.server.sql(
            "SELECT rolname, rolcanlogin, rolcreatedb, rolsuper FROM pg_roles"
        ).splitlines()
        return next(
            (role.removeprefix(f"{user}|") for role in roles if role.startswith(f"{user}|")), ""
        )


READY = "t|t|f"


@contextlib.contextmanager
def unprivileged(archive: Path, server: PostgresServer, account: str) -> Iterator[DatabaseOwner]:
    """A person with an account that may nothing; only root can make one for another."""
    directory = Path(
        tempfile.mkdtemp(prefix="tlc-person-", dir="/tmp")
    )  # pytest's own are closed to others
    try:
        directory.chmod(0o755)
        me = DatabaseOwner(
            Sandbox(directory, Path(shutil.copy(archive, directory))),
            server,
            python_for(account, directory),
        )
        own(directory, account)
        me.account = account
        yield me
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def person_of(account: str, sandbox: Sandbox, archive: Path) -> Iterator[DatabaseOwner]:
    """A person with an account that may administer a PostgreSQL, which has no role for Odoo; "" for our own."""
    if reason := missing():
        pytest.skip(reason)
    with PostgresServer(account) as server:
        if account:
            with unprivileged(archive, server, account) as me:
                yield me
        else:
            yield DatabaseOwner(sandbox, server)


@pytest.fixture
def me(sandbox: Sandbox, archive: Path) -> Iterator[DatabaseOwner]:
    """A person who may administer a PostgreSQL that has no role for Odoo."""
    with person_of("", sandbox, archive) as me:
        yield me


@pytest.fixture(params=WHO)
def anyone(
    request: pytest.FixtureRequest, sandbox: Sandbox, archive: Path
) -> Iterator[DatabaseOwner]:
    """The same, for stories that each kind of person has their own way through."""
    with person_of(request.param, sandbox, archive) as me:
        yield me


# --- absent, present, mended


def test_from_nothing_to_a_second_run(anyone: DatabaseOwner) -> None:
    planned = anyone.ensure("--dry-run")
    assert (planned.code, statuses_by_kind(planned)) == (0, {"server": "ok", "role": "planned"})
    assert anyone.role() == ""

    first = anyone.ensure()
    assert (first.code, statuses_by_kind(first)) == (0, {"server": "ok", "role": "changed"})
    assert anyone.role() == READY
    assert anyone.login()

    again = anyone.ensure()
    assert (again.code, statuses_by_kind(again)) == (0, {"server": "ok", "role": "ok"})
    assert not again.json()["changed"]


@pytest.mark.parametrize(
    "attributes",
    [
        f"LOGIN PASSWORD {literal(PASSWORD)}",
        f"CREATEDB PASSWORD {literal(PASSWORD)}",
        "LOGIN CREATEDB PASSWORD 'other'",
        "LOGIN CREATEDB",
    ],
    ids=["no CREATEDB", "no LOGIN", "other password", "no password"],
)
def test_a_role_that_is_not_as_it_should_be(anyone: DatabaseOwner, attributes: str) -> None:
    anyone.server.sql(f"CREATE ROLE odoo {attributes} CONNECTION LIMIT 7")
    run = anyone.ensure()
    assert (run.code, statuses_by_kind(run)["role"]) == (0, "changed")
    assert anyone.role() == READY
    assert anyone.login()
    assert anyone.server.sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'odoo'") == "7"
    assert not anyone.ensure().json()["changed"]


def test_a_superuser_is_left_and_told_about(anyone: DatabaseOwner) -> None:
    anyone.server.sql(f"CREATE ROLE odoo SUPERUSER LOGIN CREATEDB PASSWORD {literal(PASSWORD)}")
    run = anyone.ensure()
    assert (run.code, statuses_by_kind(run)["role"]) == (0, "ok")
    assert "superuser" in results_by_kind(run)["role"]["message"]
    assert anyone.role() == "t|t|t"


def test_what_people_read(me: DatabaseOwner) -> None:
    run = me.ensure(as_json=False)
    assert run.code == 0
    assert "odoo" in run.err
    assert me.login()


def test_without_a_config_its_defaults_serve(me: DatabaseOwner) -> None:
    """As a CI job does it, which has a PostgreSQL at the usual port: here that is taken or nobody's."""
    (me.root / "config.toml").unlink()
    planned = me.ensure("--dry-run")
    assert "localhost:5432" in planned.out
    assert "config" not in planned.json().get("error", {}).get("code", "")


# --- names and passwords


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ('odoo"; DROP ROLE victim; --', "'; DROP ROLE victim; --"),
        ("o'doo \\", "\\'; \\! touch hacked\n\\echo"),
        (":user", ":'password' :\"x\""),
        ("Odoo ünïcode ☃", "pässwörd ☃"),
        ("select", " leading and trailing "),
        ("-odoo", "-W"),
        ("o" * 63, "p" * 500),
        ("%s", "%(password)s {0} $1 $$ \t"),
        ("odoo?host=evil", "a=b host=evil"),
        ("postgresql://evil/x", "x"),
    ],
)
def test_nasty_names_and_passwords(me: DatabaseOwner, user: str, password: str) -> None:
    """Each either works as it is written, or is refused by the config; nothing else ever happens."""
    me.server.sql("CREATE ROLE victim")
    before = me.server.sql("SELECT rolname FROM pg_roles ORDER BY 1")
    me.config(user, password)
    run = me.ensure()
    if run.code == 1:
        assert "postgres." in run.err + run.out
        assert me.server.sql("SELECT rolname FROM pg_roles ORDER BY 1") == before
    else:
        assert run.code == 0
        assert me.role(user) == READY
        assert me.login(user, password)
        assert not me.login(user, f"{password}x")
        assert not me.ensure().json()["changed"]
    assert me.role("victim")
    assert not list(me.sandbox.home.rglob("hacked"))


def test_ordinary_but_not_simple_passwords_are_no_reason_to_refuse(me: DatabaseOwner) -> None:
    for password in (PASSWORD, "it's", 'a"b', "a b", "ünï", "a\\b", "a;b"):
        me.config(password=password)
        assert me.ensure().code == 0
        assert me.login(password=password)


def test_a_name_that_postgresql_would_cut(me: DatabaseOwner) -> None:
    me.config("o" * 64)
    assert me.ensure().code == 1
    assert me.role("o" * 63) == ""


def test_no_password_in_any_argument_list(anyone: DatabaseOwner) -> None:
    with watched() as seen:
        anyone.ensure()  # absent
        anyone.server.sql("ALTER ROLE odoo PASSWORD 'other'")
        anyone.ensure()  # mended
        anyone.ensure()
    if Path("/proc/self/cmdline").exists():
        assert any(b"ensure-db-user" in line for line in seen)
    assert not [line for line in seen if b"s3cr3t" in line]


def test_no_password_in_the_servers_log(me: DatabaseOwner) -> None:
    me.server.sql("ALTER SYSTEM SET log_statement TO 'all'")
    me.server.hba()
    me.ensure()
    assert me.login()
    assert "pg_roles" in me.server.log()
    assert "s3cr3t" not in me.server.log()


# --- other places


def test_the_administrator_comes_in_over_tcp(anyone: DatabaseOwner) -> None:
    anyone.server.hba("host all postgres 127.0.0.1/32 trust")
    run = anyone.ensure(env={"PGHOST": "127.0.0.1", "PGUSER": "postgres"})
    assert run.code == 0
    assert anyone.login()


def test_a_server_without_a_socket_here(me: DatabaseOwner) -> None:
    """As in a container: the printed fix needs nothing but its administrator's password."""
    me.server.sql("ALTER ROLE postgres PASSWORD 'boss'")
    me.server.hba("host all postgres samehost scram-sha-256")
    away = {"PGHOST": ""}
    run = me.ensure(env=away)
    role = results_by_kind(run)["role"]
    assert (run.code, "is administered elsewhere" in role["message"]) == (3, True), run.out
    assert role["fix"].startswith("PGHOST=localhost PGUSER=postgres PGPASSWORD=... ")
    done = me.paste(role["fix"].replace("...", "boss", 1), env=away)
    assert done.returncode == 0, done.stdout + done.stderr
    assert me.login()


def test_an_administrator_with_a_password(me: DatabaseOwner) -> None:
    """Which tlc does not have: the printed fix asks for it on the terminal."""
    me.server.sql("ALTER ROLE postgres PASSWORD 'boss'")
    me.server.hba("local all postgres scram-sha-256", "local all all reject")
    run = me.ensure()
    role = results_by_kind(run)["role"]
    assert (run.code, role["status"]) == (3, "failed")
    env = me.env | {"PATH": f"{me.server.programs}:{me.env['PATH']}"}
    with Terminal(["sh", "-c", role["fix"]], env) as terminal:
        asked = {"for new role": PASSWORD, "it again": PASSWORD, "Password:": "boss"}
        for question, word in asked.items():
            terminal.answer(question, f"{word}\r")
        assert terminal.wait() == 0, terminal.text
    assert me.login()


def test_a_host_by_its_address(me: DatabaseOwner) -> None:
    me.config(host="127.0.0.1")
    assert me.ensure().code == 0
    assert me.login()


def test_what_the_person_has_set_for_psql_does_not_matter(me: DatabaseOwner) -> None:
    psqlrc = me.sandbox.home / ".psqlrc"
    psqlrc.write_text("\\set AUTOCOMMIT off\n\\pset format html\nSELECT 'hello';\n")
    env = {
        "PGPORT": "1",
        "PGUSER": "me",
        "PGDATABASE": "mine",
        "PGPASSWORD": "mine",
        # What is wanted of another server: this one has no TLS, no Kerberos, and is no standby.
        "PGSSLMODE": "require",
        "PGCHANNELBINDING": "require",
        "PGGSSENCMODE": "require",
        "PGREQUIREAUTH": "none",
        "PGTARGETSESSIONATTRS": "standby",
        "PGOPTIONS": "-c default_transaction_read_only=on",
    }
    env["PSQLRC"] = str(psqlrc)
    if os.getuid() != 0:
        del env["PGUSER"]  # it says who this person is there
    assert me.ensure(env=env).code == 0
    assert me.login()
    assert not me.ensure(env=env).json()["changed"]


# --- what is wrong


def test_the_server_is_down(anyone: DatabaseOwner) -> None:
    anyone.server.stop()
    run = anyone.ensure()
    assert (run.code, statuses_by_kind(run)["server"]) == (1, "failed")
    assert str(anyone.server.port) in results_by_kind(run)["server"]["name"]
    assert results_by_kind(run)["server"]["fix"]
    anyone.server.start()
    assert anyone.ensure().code == 0


def test_a_server_at_another_port(me: DatabaseOwner) -> None:
    me.sandbox.config(f"versions = ['18.0']\n[postgres]\nport = {free_port()}\n")
    run = me.ensure()
    assert run.code == 1
    assert f"runs at port {me.server.port}, not" in results_by_kind(run)["server"]["message"]
    assert f"port = {me.server.port}" in results_by_kind(run)["server"]["fix"]


def test_a_server_that_does_not_answer(me: DatabaseOwner) -> None:
    assert me.server.process
    me.server.process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    try:
        run = me.ensure()
    finally:
        me.server.process.send_signal(signal.SIGCONT)
    assert run.code == 1
    assert time.monotonic() - start < 50


def test_no_psql(me: DatabaseOwner, tmp_path: Path) -> None:
    tmp_path.joinpath("empty").mkdir()
    run = me.ensure(env={"PATH": str(tmp_path / "empty")})
    assert run.code == 1
    assert "Traceback" not in run.err


def test_pg_hba_refuses_tcp(anyone: DatabaseOwner) -> None:
    anyone.server.hba("host all all all reject")
    run = anyone.ensure()
    assert (run.code, statuses_by_kind(run)["role"]) == (3, "failed")
    role = results_by_kind(run)["role"]
    assert "pg_hba" in role["message"]
    assert anyone.role() == READY
    # Only root can paste another user's command here, without sudo.
    pasted = role["fix"] if "sudo" not in role["fix"] else ""
    if not pasted:
        anyone.server.hba()
    assert not pasted or anyone.paste(pasted).returncode == 0
    assert anyone.ensure().code == 0


def test_pg_hba_refuses_the_administrator(anyone: DatabaseOwner) -> None:
    anyone.server.hba("local all all reject")
    run = anyone.ensure()
    left = (
        os.getuid() == 0 and anyone.account != "nobody"
    )  # who is left then is `postgres`, else with sudo
    assert run.code in ([3] if left else [2, 3])
    anyone.server.hba()
    assert anyone.role() == ""


def test_an_ok_login_that_is_not_the_configs_password_is_no_success(me: DatabaseOwner) -> None:
    """~/.pgpass has the old one."""
    me.server.sql("CREATE ROLE odoo LOGIN CREATEDB PASSWORD 'old'")
    pgpass = me.sandbox.home / ".pgpass"
    pgpass.write_text("*:*:*:odoo:old\n")
    pgpass.chmod(0o600)
    assert statuses_by_kind(me.ensure(env={"PGPASSFILE": str(pgpass)}))["role"] == "changed"
    assert me.login()


def test_a_postgresql_too_old_for_a_version(me: DatabaseOwner) -> None:
    me.config(versions='"18.0", "master"')
    run = me.ensure()
    assert run.code == 0
    old = int(me.server.sql("SHOW server_version_num")) < 160000
    role = results_by_kind(run)["role"]
    assert ("needs 16" in role["message"] and "master" in role["message"]) == old
    assert role["status"] == "changed"
    assert bool(role["fix"]) == old, "not only in a green line"
    again = results_by_kind(me.ensure())["role"]
    assert (again["status"], again["fix"]) == ("ok", role["fix"])
