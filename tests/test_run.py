"""Stories of `tlc run`: a real PostgreSQL, and in Odoo's place a script that says what it was started with.

With the real odoo-venv and its environments tlc is run in test_environments.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Run, Sandbox
from person import Person
from postgres_server import PostgresServer, missing

# In the place of an environment's Python.
PYTHON = """#!/bin/sh
echo "venv=$VIRTUAL_ENV"
shift
for word; do echo "[$word]"; done
exit ${ODOO_EXIT:-0}
"""


class Developer(Person):
    """Someone whose Odoo 18.0 is set up, with a server that has the role odoo."""

    def __init__(self, sandbox: Sandbox, server: PostgresServer) -> None:
        super().__init__(sandbox)
        self.server = server
        self.conf = self.root / "conf/odoo-18.0.conf"
        sandbox.config(
            f'versions = ["17.0", "18.0"]\n[repos]\nodoo = ["odoo"]\n[postgres]\nport = {server.port}\n'
        )
        for name, text in {
            "odoo/odoo/18.0/odoo/release.py": "version_info = (18, 0)\n",
            "venvs/18.0/bin/python": PYTHON,
            "venvs/18.0/bin/odoo": "",
            "venvs/18.0/.odoo-venv.toml": "",
            "conf/odoo-18.0.conf": "[options]\nhttp_port = 18888\n",
        }.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        server.sql("CREATE ROLE odoo LOGIN CREATEDB PASSWORD 'odoo'")

    def run(self, *arguments: str, code: int = 0, env: dict[str, str] | None = None) -> Run:
        run = self.tlc("run", "18.0", *arguments, env=env)
        assert run.code == code, run.out + run.err
        return run

    def words(self, *arguments: str) -> list[str]:
        """Return what Odoo was started with."""
        lines = self.run(*arguments).out.splitlines()
        assert lines[0] == f"venv={self.root}/venvs/18.0"
        return [line[1:-1] for line in lines[1:]]


@pytest.fixture
def me(sandbox: Sandbox) -> Iterator[Developer]:
    if reason := missing():
        pytest.skip(reason)
    with PostgresServer() as server:
        yield Developer(sandbox, server)


C, D = "{conf}", "odoo-18.0"
USUAL = f"-c {C} -d {D}"


# What follows the version on tlc's command line -> what Odoo is started with.
STARTED = {
    "": USUAL,
    "-u sale --dev=all": f"{USUAL} -u sale --dev=all",
    "-- -u sale": f"{USUAL} -u sale",
    "--help": f"{USUAL} --help",
    "--json -n": f"{USUAL} --json -n",
    "-d mine": f"-c {C} -d mine",
    "-dmine": f"-c {C} -dmine",
    "--database=mine -u x": f"-c {C} --database=mine -u x",
    "--database mine --config other": "--database mine --config other",
    "-D /data": f"{USUAL} -D /data",
    "server -u x": f"server {USUAL} -u x",
    "shell": f"shell {USUAL}",
    "shell -d mine": f"shell -c {C} -d mine",
    "scaffold a b": "scaffold a b",
    "db dump mine": f"db -c {C} dump mine",
    "module install sale": f"module install {USUAL} sale",
    "i18n loadlang -l fr": f"i18n loadlang {USUAL} -l fr",
    "i18n --help": "i18n --help",
    "neutralize": f"neutralize {USUAL}",
    "unheard-of -x": "unheard-of -x",
}


def test_what_odoo_is_started_with(me: Developer) -> None:
    for given, text in STARTED.items():
        started = text.format(conf=me.conf)
        assert me.words(*given.split()) == started.split(), given
        shown = me.tlc("--dry-run", "run", "18.0", *given.split())
        python = f"{me.root}/venvs/18.0/bin/python {me.root}/venvs/18.0/bin/odoo"
        assert shown.out.strip() == f"{python} {started}"


def test_it_says_where_it_answers_and_ends_as_odoo_does(me: Developer) -> None:
    run = me.run(env={"ODOO_EXIT": "7"}, code=7)
    assert "http://localhost:18888" in run.err
    assert "http://" not in me.run("shell").err
    assert not me.sandbox.state.exists()


def test_what_is_missing_is_named_before_anything_starts(me: Developer) -> None:
    def refused(fix: str, version: str = "18.0", code: int = 1) -> None:
        run = me.tlc("run", version)
        assert (run.code, run.out) == (code, ""), run.err
        assert fix in run.err

    me.server.sql("ALTER ROLE odoo PASSWORD 'other'")
    refused("ensure-db-user")
    me.server.stop()
    refused("ensure-db-user")
    me.conf.unlink()
    refused("create-venvs 18.0")
    (me.root / "venvs/18.0/.odoo-venv.toml").unlink()
    refused("create-venvs 18.0")
    refused("pull-repos -f odoo@17.0", "17.0")
    refused("16.0", "16.0", 2)
    assert me.run("scaffold", "x", code=1)


def test_a_database_that_a_first_start_left_empty_is_named(me: Developer) -> None:
    me.server.sql('CREATE DATABASE "odoo-18.0" OWNER odoo')
    run = me.run(code=1)
    assert "run 18.0 -i base" in run.err
    assert "odoo-18.0" in run.err
    assert me.words("-i", "base")[-2:] == ["-i", "base"]
    assert me.words("-d", "mine")[-1] == "mine"
    psql = [str(me.server.programs / "psql"), *"-Xqw -h 127.0.0.1 -U odoo".split()]
    env = {"PGPASSWORD": "odoo", "PGPORT": str(me.server.port)}
    create = "CREATE TABLE ir_module_module (id int)"
    subprocess.run([*psql, "-d", "odoo-18.0", "-c", create], env=env, check=True)
    assert me.words() == ["-c", str(me.conf), "-d", "odoo-18.0"]


def test_an_edited_configuration_that_lacks_something_is_said_and_odoo_starts(
    me: Developer,
) -> None:
    web = me.root / "oca/18.0/web"
    for path in (web / ".git/HEAD", web / "web_x/__manifest__.py"):
        path.parent.mkdir(parents=True)
        path.touch()
    run = me.run()
    assert f"addons_path = {web}" in run.err
    assert "[-d]" in run.out


def test_the_odoo_bin_of_the_checkout_serves_where_there_is_no_script(me: Developer) -> None:
    script = me.root / "odoo/odoo/18.0/odoo-bin"
    script.touch()
    (me.root / "venvs/18.0/bin/odoo").unlink()
    assert str(script) in me.tlc("--dry-run", "run", "18.0").out
    assert Path(script).exists()
