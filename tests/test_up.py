"""Stories of up: everything in one go, again, cut off anywhere, and parts of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Sandbox, interrupt, soon
from listing import changes, listing
from postgres_server import PostgresServer, forget_role
from results import statuses_by_item
from workstation import Workstation, fence, script, without

import tlc

STAGES = [*tlc.UP]
# Left out where a person would not miss them: then the sandbox needs no packages of its own.
QUICK = ["--skip", "install-tools", "--skip", "bootstrap"]


@pytest.fixture
def machine(
    sandbox: Sandbox, request: pytest.FixtureRequest, server: PostgresServer
) -> Iterator[Workstation]:
    """A machine with a config, on which nothing was done yet."""
    forget_role(server)
    yield Workstation(sandbox, request.getfixturevalue("tools"), server)
    assert not (sandbox.home.parent / "fence").exists(), "a package manager was called"


def built(machine: Workstation) -> bool:
    """Whether all that the config declares is there."""
    conf, launcher = machine.root / "conf/odoo-18.0.conf", machine.home / ".local/bin/odoo-v18"
    return all(
        path.exists() for path in (machine.venv / ".odoo-venv.toml", machine.web, conf, launcher)
    )


# --- all of it


def test_from_nothing_to_a_second_run(machine: Workstation) -> None:
    planned = machine.tlc("up", "--dry-run", "--json")
    assert planned.code == 0
    # Nothing is there, and nothing fails for it: an earlier stage will bring what a later one needs.
    assert "failed" not in statuses_by_item(planned).values()
    for kind in (
        "directory",
        "repository",
        "role",
        "venv",
        "launcher",
        "configuration",
        "uv tool",
        "host key",
    ):
        assert set(statuses_by_item(planned, kind).values()) == {"planned"}, kind
    assert {path.name for path in machine.root.iterdir()} == {"config.toml"}
    assert not machine.sandbox.state.exists()

    first = machine.tlc("up", input="y\n")
    assert first.code == 0, first.err
    assert first.err.count("Go ahead?") == 1
    assert len(re.findall(r"(?m)^.*\bok \d+ .* in [\d.]+ s$", first.err)) == 1
    assert first.err.count("\nnext ") == 1
    assert " run 18.0 " in first.err.splitlines()[-1]
    assert built(machine)
    assert "FAIL" not in machine.tlc("doctor").out

    before = listing(machine.root, machine.home / ".local/bin", machine.home / ".ssh")
    again = machine.tlc("up", "--json", "--no-newcomer")
    assert (again.code, again.json()["changed"]) == (0, False)
    assert set(statuses_by_item(again).values()) == {"ok"}
    assert (
        changes(before, listing(machine.root, machine.home / ".local/bin", machine.home / ".ssh"))
        == []
    )


def test_an_answer_of_no_and_none_at_all(machine: Workstation) -> None:
    before = listing(machine.root)
    for answer in ("n\n", ""):
        run = machine.tlc("up", *QUICK, input=answer)
        assert (run.code, run.err.count("Go ahead?")) == (1, 1)
    assert changes(before, listing(machine.root)) == []


@pytest.mark.parametrize("profile", tlc.profiles())
def test_a_dry_run_plans_all_on_an_empty_machine(
    sandbox: Sandbox, tmp_path: Path, profile: str
) -> None:
    """Without git, uv, npm, psql, a server or a directory: none of it is a failure yet."""
    sandbox.config(tlc.profiles()[profile])
    bare = tmp_path / "bare"
    bare.mkdir()
    for program in ("sh", "dpkg", "dpkg-query", "ssh-keygen"):
        found = next(
            (path for path in (f"/bin/{program}", f"/usr/bin/{program}") if os.path.exists(path)),
            "",
        )
        if found:
            (bare / program).symlink_to(found)
    sandbox.env["PATH"] = str(bare)
    before = listing(sandbox.home)
    run = sandbox.tlc("up", "--dry-run", "--json")
    assert run.code == 0
    assert "failed" not in statuses_by_item(run).values()
    for kind in (
        "directory",
        "repository",
        "venv",
        "launcher",
        "configuration",
        "uv tool",
        "npm package",
        "role",
    ):
        assert set(statuses_by_item(run, kind).values()) == {"planned"}, kind
    assert changes(before, listing(sandbox.home)) == []


def test_no_config(sandbox: Sandbox) -> None:
    fence(sandbox)
    planned = sandbox.tlc("up", "--dry-run", "--skip", "pull-repos", *QUICK)
    assert "odoo-minimal" in planned.err
    assert not sandbox.root.exists()
    wanted = [
        "up",
        *QUICK,
        "--skip",
        "pull-repos",
        "--skip",
        "create-venvs",
        "--skip",
        "ensure-db-user",
    ]
    run = sandbox.tlc(*wanted, input="y\n")
    assert "starting from the odoo-minimal profile" in run.err
    assert (sandbox.root / "config.toml").read_text() == tlc.profiles()["odoo-minimal"]
    assert (sandbox.root / "venvs").is_dir()
    again = sandbox.tlc(*wanted, "--yes")
    assert "odoo-minimal" not in again.err


def test_a_broken_config(sandbox: Sandbox) -> None:
    sandbox.config("versions = [\n")
    run = sandbox.tlc("up", "--json", "--yes")
    assert (run.code, run.json()["error"]["code"]) == (1, "config")
    assert "config.toml:" in run.json()["error"]["message"]


# --- a part of it


@pytest.mark.parametrize("option", ["--only", "--skip"])
@pytest.mark.parametrize("name", ["pull-repo", "venvs", ""])
def test_a_stage_that_is_none(sandbox: Sandbox, option: str, name: str) -> None:
    sandbox.config('versions = ["17.0"]\n')
    run = sandbox.tlc("up", option, name, "--json")
    assert run.code == 2
    meant = {"pull-repo": ["pull-repos"], "venvs": ["create-venvs"], "": STAGES}
    assert all(stage in run.json()["error"]["message"] for stage in meant[name])


# command -> the kinds of what it brings
KINDS = {
    "init": {"config", "directory"},
    "pull-repos": {"repository"},
    "ensure-db-user": {"server", "role"},
    "create-venvs": {"venv", "launcher", "configuration"},
    "install-tools": {"apt source", "package", "npm package", "uv tool", "script"},
    "bootstrap": {"apt source", "program", "host key"},
    "doctor": {"examination"},
}


def test_only_and_skip(machine: Workstation) -> None:
    def kinds(*options: str) -> set[str]:
        run = machine.tlc("up", "--dry-run", "--json", *options)
        assert run.code == (0 if run.json()["ok"] else 1)
        return {kind for kind, _ in statuses_by_item(run)}

    everything = kinds()
    for stage in STAGES:
        assert kinds("--only", stage) <= KINDS[stage]
        left = kinds("--skip", stage)
        assert not left & (KINDS[stage] - {"apt source"})
        assert left | KINDS[stage] >= everything
    assert kinds("--only", "pull-repos", "--only", "init") == {"repository", "config", "directory"}
    found = machine.tlc("up", "--json", "--yes", "--only", "doctor").json()["results"]
    assert found and all(each["message"] for each in found), "it tells only what it has looked at"
    assert kinds("--only", "pull-repos", "--only", "init", "--skip", "init") == {"repository"}


def test_what_is_left_is_done_by_the_next_run(machine: Workstation) -> None:
    for stage in ("init", "pull-repos", "ensure-db-user", "create-venvs"):
        run = machine.up("--only", stage)
        assert (run.code, run.json()["changed"]) == (0, True), run.err
    assert built(machine)
    assert not machine.up("--skip", "install-tools", "--skip", "bootstrap").json()["changed"]
    without("code/conf/odoo-18.0.conf")(machine)
    left = [
        item for item, status in statuses_by_item(machine.up(*QUICK)).items() if status == "changed"
    ]
    assert left == [("configuration", "conf/odoo-18.0.conf")]


# --- failing


def test_a_server_that_is_down_stops_the_role_only(machine: Workstation) -> None:
    machine.server.stop()
    try:
        run = machine.tlc("up", "--json", "--yes", *QUICK)
    finally:
        machine.server.start()
    found = statuses_by_item(run)
    assert run.code == 1
    assert found["role", "odoo"] == "skipped"
    assert set(statuses_by_item(run, "server").values()) == {"failed"}
    assert set(
        statuses_by_item(run, "venv", "repository", "launcher", "configuration").values()
    ) == {"changed"}
    assert "does not run" in run.err
    again = machine.up(*QUICK)
    assert [item for item, status in statuses_by_item(again).items() if status == "changed"] == [
        ("role", "odoo")
    ]


def test_a_repository_that_fails_stops_what_is_built_from_it(machine: Workstation) -> None:
    bare = machine.upstream.directory / "odoo/odoo.git"
    bare.rename(bare.with_suffix(".away"))
    run = machine.tlc("up", "--json", "--yes", *QUICK)
    found = statuses_by_item(run)
    assert run.code == 1
    assert found["repository", "odoo/odoo@18.0"] == "failed"
    assert found["repository", "oca/web@18.0"] == "changed"
    assert found["role", "odoo"] == "changed"
    [venv] = [each for each in run.json()["results"] if each["kind"] == "venv"]
    assert (venv["status"], venv["fix"].endswith("pull-repos -f odoo@18.0")) == ("failed", True)
    assert found["configuration", "conf/odoo-18.0.conf"] in ("skipped", "failed")
    bare.with_suffix(".away").rename(bare)
    assert machine.up(*QUICK).code == 0
    assert built(machine)


def test_a_file_in_the_way(machine: Workstation) -> None:
    (machine.root / "trobz").write_text("")
    run = machine.tlc("up", "--json", "--yes", *QUICK)
    assert (run.code, statuses_by_item(run)["directory", "trobz/projects"]) == (1, "failed")
    assert built(machine)


# --- cut off

Slow = Callable[[Workstation, Path], None]


def slowly(program: str, words: str) -> Slow:
    """Has a program wait, where these words are in its arguments, until a file is there; it says that it does."""

    def make(machine: Workstation, go: Path) -> None:
        real = shutil.which(program, path=machine.sandbox.env["PATH"])
        assert real, f"{program} is missing"
        script(
            machine.home / "slow" / program,
            f'#!/bin/sh\ncase "$*" in *{words}*) touch {go}.waits; while [ ! -e {go} ]; do sleep 0.05; done ;; esac\n'
            f'exec {real} "$@"\n',
        )

    return make


# stage -> what is slow in it
SLOW = {
    "bootstrap": ("git", "--version"),
    "install-tools": ("uv", "tool?install"),
    "pull-repos": ("git", "fetch"),
    "pull-repos, asking": ("git", "ls-remote"),
    "ensure-db-user": ("psql", "-X"),
    "create-venvs": ("uv", "odoo-venv?create"),
    "launcher": ("uv", "create-odoo-launcher"),
}


@pytest.mark.parametrize("stage", SLOW)
def test_interrupted_in_each_stage_and_run_again(
    machine: Workstation, tmp_path: Path, stage: str
) -> None:
    if stage == "pull-repos, asking":
        assert machine.up("--only", "pull-repos").code == 0
    go = tmp_path / "go"
    slowly(*SLOW[stage])(machine, go)
    path = f"{machine.home}/slow:{machine.sandbox.env['PATH']}"
    process = machine.sandbox.start("--yes", "up", env={"PATH": path})
    soon(lambda: Path(f"{go}.waits").exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    interrupt(process)
    run = machine.up()
    assert run.code == 0, run.err
    assert built(machine)
    assert not list(machine.root.rglob(".*tlc-*"))
    assert not machine.up().json()["changed"]


def test_two_at_once(machine: Workstation) -> None:
    runs = [machine.sandbox.start("--yes", "up") for _ in range(2)]
    ended: list[tuple[Any, int]] = [
        (run.communicate(timeout=60)[1], run.returncode) for run in runs
    ]
    assert [code for _, code in ended] == [0, 0], ended
    assert built(machine)
