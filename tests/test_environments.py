"""Stories of virtual environments, told to the real odoo-venv and uv by the built archive."""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pythons
from conftest import Run, Sandbox, interrupt, soon
from odoo_tree import REQUIREMENTS, make_oca, make_odoo, unbuildable
from ssh_server import children

ODOO_VENV = "odoo-venv>=2,<3"

# What odoo-venv can make an environment of, as "3.12"; the first is the one the tests run under.
MINE = ".".join(map(str, sys.version_info[:2]))
USABLE = {
    f"{each.version[0]}.{each.version[1]}": each.path
    for each in pythons.found()
    if each.implementation == "CPython" and each.version >= (3, 8)
}
OTHER = next((minor for minor in reversed(USABLE) if minor != MINE), "")


@dataclass(frozen=True)
class Tools:
    """What a person has who can make environments: `bin` for PATH, with uv and the Pythons, and uv's `cache`."""

    bin: Path
    cache: Path


def link(directory: Path, *programs: str | Path) -> Path:
    """Make a directory with links to programs, each a path or one on PATH; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for program in programs:
        found = shutil.which(program)
        assert found, f"{program} is missing"
        (directory / Path(program).name).symlink_to(found)
    return directory


def warm(home: Path) -> str:
    """Make Tools in a directory, with all that the stories install in the cache; return why that cannot be."""
    link(home / "bin", pythons.uv())
    for minor, path in USABLE.items():
        (home / "bin" / f"python{minor}").symlink_to(path)
    make_odoo(home / "odoo", "18.0")
    make_oca(home / "oca" / "web", "18.0")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_CACHE", "XDG_", "VIRTUAL_"))
    }
    env |= {
        "PATH": f"{home / 'bin'}:/usr/bin:/bin",
        "HOME": str(home),
        "UV_CACHE_DIR": str(home / "cache"),
    }
    for minor in filter(None, {MINE, OTHER}):
        command = [
            "uv",
            "tool",
            "run",
            "--from",
            ODOO_VENV,
            "odoo-venv",
            "create",
            "--preset",
            "demo",
        ]
        command += [
            "--odoo-dir",
            "odoo",
            "--addons-path",
            "oca/web",
            "--venv-dir",
            "venv",
            "--force",
        ]
        for _ in range(3):  # all that follows hangs on one answer of the package index
            done = subprocess.run(
                [*command, "--python-version", minor],
                env=env,
                cwd=home,
                capture_output=True,
                text=True,
            )
            if done.returncode == 0:
                break
            time.sleep(5)
        else:
            return f"uv cannot make an environment here; does it reach the package index? {done.stdout}{done.stderr}"
    return ""


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """uv, the Pythons and a warm cache, made once for all workers of a test session."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home, reason = shared / "uv", shared / "uv-reason"
    with (shared / "uv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not reason.exists():
            reason.write_text(warm(home))
    if text := reason.read_text():
        pytest.skip(text)
    return Tools(home / "bin", home / "cache")


class Desk:
    """A person's code root with stand-ins for the checkouts, and what they do with it."""

    def __init__(self, sandbox: Sandbox, tools: Tools) -> None:
        self.sandbox, self.root, self.venvs = sandbox, sandbox.root, sandbox.root / "venvs"
        # All is in the cache: nothing is asked of the index, but where a story is about what it lacks.
        sandbox.env |= {"UV_CACHE_DIR": str(tools.cache), "UV_OFFLINE": "1"}
        sandbox.env["PATH"] = f"{tools.bin}:{sandbox.env['PATH']}"

    def config(
        self,
        *versions: str,
        python: str = MINE,
        preset: str = "common",
        more: str = "",
        role: str = "",
    ) -> None:
        """Write a config of these versions; `more` comes before the first table, `role` is that of PostgreSQL."""
        pythons = ", ".join(f'"{version}" = "{python}"' for version in versions)
        self.sandbox.config(
            f"versions = {json.dumps(versions)}\n{more}\n"
            '[repos]\nodoo = ["odoo", "enterprise"]\noca = ["web"]\n'
            f'[venvs]\npreset = "{preset}"\npython = {{ {pythons} }}\n'
            f"[postgres]\n{role}\n"
        )

    def odoo(self, *versions: str, **options: Any) -> None:
        """Have an Odoo of each version; master reads 20.0a1."""
        for version in versions:
            make_odoo(
                self.root / "odoo/odoo" / version,
                "20.0a1" if version == "master" else version,
                **options,
            )

    def addons(self, path: str, *packages: str) -> str:
        """Have a checkout with an addon that needs these packages, below the code root; return its path."""
        checkout = make_oca(self.root / path, "18.0", packages)
        (checkout / ".git").mkdir()
        return str(checkout)

    def create(self, *arguments: str, **options: Any) -> Run:
        return self.sandbox.tlc("--yes", "--json", "create-venvs", *arguments, **options)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start create-venvs; return when it builds an environment, whose old one, if any, is out of the way."""
        before = self.inode()
        process = self.sandbox.start("--yes", "create-venvs", *arguments)
        soon(lambda: (self.venvs / "18.0" / "pyvenv.cfg").exists() and self.inode() != before)
        return process

    def inode(self) -> int:
        """What tells one environment 18.0 from the next."""
        with contextlib.suppress(FileNotFoundError):
            return (self.venvs / "18.0").stat().st_ino
        return 0

    def toml(self, version: str = "18.0") -> Path:
        """What odoo-venv writes last."""
        return self.venvs / version / ".odoo-venv.toml"

    def built(self, version: str = "18.0") -> dict[str, Any]:
        """What odoo-venv says that it was told."""
        args: dict[str, Any] = tomllib.loads(self.toml(version).read_text())["args"]
        return args

    def launcher(self, name: str = "odoo-v18") -> Path:
        return self.sandbox.home / ".local/bin" / name

    def run_odoo(self, *command: str | Path) -> str:
        """What the stand-in prints that a command starts."""
        done = subprocess.run(
            command, env=self.sandbox.env, cwd=self.sandbox.home, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def works(self, version: str = "18.0") -> bool:
        """Whether the environment's Python starts Odoo."""
        python = self.venvs / version / "bin/python"
        return "Odoo Server" in self.run_odoo(
            python, self.venvs / version / "bin/odoo", "--version"
        )

    def conf(self, version: str = "18.0") -> dict[str, str]:
        """The options in the configuration file of a version."""
        parser = configparser.RawConfigParser()
        parser.read(self.root / "conf" / f"odoo-{version}.conf")
        return dict(parser["options"])

    def log(self) -> str:
        """All logs of tlc."""
        return "".join(path.read_text() for path in self.sandbox.state.rglob("*") if path.is_file())


@pytest.fixture
def desk(sandbox: Sandbox, tools: Tools) -> Desk:
    """A config for 18.0 alone, and its Odoo."""
    desk = Desk(sandbox, tools)
    desk.config("18.0")
    desk.odoo("18.0")
    return desk


def statuses(run: Run, kind: str = "venv") -> dict[str, str]:
    """Name of each item -> its status."""
    return {
        result["name"]: result["status"]
        for result in run.json()["results"]
        if result["kind"] == kind
    }


def result_of(run: Run, version: str = "18.0") -> dict[str, str]:
    """The result of one environment."""
    [result] = [
        each for each in run.json()["results"] if (each["kind"], each["name"]) == ("venv", version)
    ]
    found: dict[str, str] = result
    return found


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def kill(pids: Sequence[int]) -> None:
    """End processes at once."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and is not yet fetched by its parent does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() != "" and not done.stdout.startswith("Z")


# --- nothing there, and again


def test_from_nothing_to_a_second_run(desk: Desk) -> None:
    desk.config("17.0", "18.0", preset="demo")
    desk.odoo("17.0", "18.0")
    enterprise = desk.addons("odoo/enterprise/18.0")
    web = desk.addons("oca/18.0/web", "stdnum")

    planned = desk.create("--dry-run")
    assert planned.code == 0
    assert statuses(planned) == {"17.0": "planned", "18.0": "planned"}
    assert "absent" in result_of(planned)["message"]
    assert not desk.venvs.exists()
    assert not (desk.root / "conf").exists()

    first = desk.create()
    assert (first.code, first.json()["changed"]) == (0, True)
    assert statuses(first) == {"17.0": "changed", "18.0": "changed"}
    assert statuses(first, "configuration") == {
        "conf/odoo-17.0.conf": "changed",
        "conf/odoo-18.0.conf": "changed",
    }
    built = desk.built()
    assert (built["preset"], built["python_version"]) == ("demo", MINE)
    assert built["odoo_dir"] == str(desk.root / "odoo/odoo/18.0")
    assert built["addons_path"] == f"{enterprise},{web}"
    assert desk.built("17.0")["addons_path"] == ""
    desk.run_odoo(desk.venvs / "18.0/bin/python", "-c", "import stdnum")  # for an addon of web
    assert "Installing Odoo in editable mode" in desk.log()

    conf = desk.root / "conf/odoo-18.0.conf"
    # The launcher of odoo-venv has one database for all versions.
    start = "next     ~/.local/bin/odoo-v18 -c ~/code/conf/odoo-18.0.conf -d odoo-18.0   # then http://localhost:18069,"
    assert start in first.err
    started = desk.run_odoo(desk.launcher(), "-c", conf, "-d", "odoo-18.0")
    assert "db_name = odoo-18.0\n" in started
    assert f"Odoo Server 18.0 on Python {MINE}" in started
    assert f"http_port = {desk.conf()['http_port']}\n" in started

    again = desk.create()
    assert (again.code, again.json()["changed"]) == (0, False)
    assert {result["status"] for result in again.json()["results"]} == {"ok"}


def test_four_versions_at_once(desk: Desk) -> None:
    versions = "16.0", "17.0", "18.0", "19.0"
    desk.config(*versions)
    desk.odoo(*versions)
    first = desk.create("-j4")
    assert statuses(first) == dict.fromkeys(versions, "changed")
    assert all(desk.works(version) for version in versions)
    for option in ("http_port", "data_dir"):
        assert len({desk.conf(version)[option] for version in versions}) == len(versions)
    assert not desk.create().json()["changed"]


def test_only_the_versions_that_are_named(desk: Desk) -> None:
    desk.config("17.0", "18.0")
    desk.odoo("17.0", "18.0")
    run = desk.create("17.0")
    assert statuses(run) == {"17.0": "changed"}
    assert os.listdir(desk.venvs) == ["17.0"]
    assert "/odoo-17.0.conf" in run.err.splitlines()[-1], "what is worth running next is there"


def test_what_a_person_has_set_for_uv_does_not_matter(desk: Desk) -> None:
    desk.sandbox.env |= {"UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "3.99", "UV_REQUIRE_HASHES": "1"}
    assert statuses(desk.create()) == {"18.0": "changed"}
    assert desk.works()


def test_a_version_that_is_not_in_the_config(desk: Desk) -> None:
    run = desk.create("18.0", "16.0")
    assert run.code == 2
    assert "16.0" in run.json()["error"]["message"]
    assert not desk.venvs.exists()


def test_an_empty_directory_in_its_place_and_a_root_with_a_space(desk: Desk) -> None:
    root = desk.sandbox.home / "my code"
    desk.root.rename(root)
    desk.sandbox.env["TLC_CODE_DIR"] = str(root)
    assert desk.sandbox.tlc("--yes", "init").code == 0
    (root / "venvs/18.0").mkdir(exist_ok=True)
    assert statuses(desk.create()) == {"18.0": "changed"}
    started = desk.run_odoo(desk.launcher(), "-c", root / "conf/odoo-18.0.conf")
    assert f"addons_path = {root}/odoo/odoo/18.0/addons\n" in started


# --- outdated


def test_each_way_of_being_outdated(desk: Desk) -> None:
    assert desk.create().code == 0
    toml = desk.toml().read_text()

    def plan() -> dict[str, str]:
        return result_of(desk.create("--dry-run"))

    assert plan()["status"] == "ok"
    desk.config("18.0", preset="demo")
    assert plan()["status"] == "planned"
    assert re.search("outdated.*preset", plan()["message"])
    desk.config("18.0")

    tool = tomllib.loads(toml)["metadata"]["tool_version"]
    desk.toml().write_text(toml.replace(f'"{tool}"', '"1.9.0"'))
    assert re.search("outdated.*odoo-venv", plan()["message"])
    desk.toml().write_text(toml.replace(f'python_version = "{MINE}"', 'python_version = "3.5"'))
    cfg = desk.venvs / "18.0/pyvenv.cfg"
    real = cfg.read_text()
    cfg.write_text(re.sub(r"(?m)^version_info = .*$", "version_info = 3.5.2", real))
    assert re.search("outdated.*Python", plan()["message"])
    cfg.write_text(real)
    desk.toml().write_text(toml)

    assert plan()["status"] == "ok"


def test_another_python_in_the_config(desk: Desk) -> None:
    assert desk.create().code == 0
    if OTHER:
        desk.config("18.0", python=OTHER)
    else:  # there is no second Python here: this environment has been made with an older one
        desk.toml().write_text(desk.toml().read_text().replace(f'"{MINE}"', '"3.5"'))
        cfg = desk.venvs / "18.0/pyvenv.cfg"
        cfg.write_text(re.sub(r"(?m)^version_info = .*$", "version_info = 3.5.2", cfg.read_text()))
    run = desk.create()
    assert result_of(run)["status"] == "changed"
    assert desk.built()["python_version"] == (OTHER or MINE)
    assert f"on Python {OTHER or MINE}" in desk.run_odoo(desk.launcher())
    assert not desk.create().json()["changed"]


def test_the_python_below_an_environment_is_gone(desk: Desk) -> None:
    assert desk.create().code == 0
    for name in ("python", "python3", f"python{MINE}"):
        path = desk.venvs / "18.0/bin" / name
        path.unlink()
        path.symlink_to("/nonexistent/python")
    assert statuses(desk.create()) == {"18.0": "changed"}
    assert desk.works()


# --- half built, interrupted, failed


@pytest.mark.parametrize("victims", ["odoo-venv", "tlc", "both"])
def test_killed_in_the_middle(desk: Desk, victims: str) -> None:
    process = desk.start()
    below = descendants(process.pid)
    assert below
    if victims != "odoo-venv":
        process.kill()
        process.communicate()
    if victims != "tlc":
        kill(below)
    if victims == "odoo-venv":
        process.communicate(timeout=30)
        assert process.returncode == 1
    assert not desk.toml().exists()

    # What of odoo-venv still runs must not spoil what the next run builds.
    again = desk.create()
    assert result_of(again)["status"] == "changed", result_of(again)
    if victims != "odoo-venv":
        assert "incomplete" in again.err
    assert desk.works()
    assert os.listdir(desk.venvs) == ["18.0"]
    soon(lambda: not any(map(alive, below)))
    assert not desk.create().json()["changed"]


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_interrupted_while_rebuilding_the_old_one_is_back(
    desk: Desk, signal_: signal.Signals
) -> None:
    assert desk.create().code == 0
    before, inode = desk.toml().read_bytes(), desk.inode()
    process = desk.start("--force")
    below = descendants(process.pid)
    interrupt(process, signal_)
    assert (desk.toml().read_bytes(), desk.inode()) == (before, inode)
    assert desk.works()
    assert os.listdir(desk.venvs) == ["18.0"]
    assert not [pid for pid in below if alive(pid)]
    assert not desk.create().json()["changed"]


def test_killed_while_rebuilding(desk: Desk) -> None:
    assert desk.create().code == 0
    process = desk.start("--force")
    below = descendants(process.pid)
    process.kill()
    kill(below)
    process.communicate(timeout=30)
    assert desk.create().code == 0
    assert desk.works()
    assert os.listdir(desk.venvs) == ["18.0"]
    assert not desk.create().json()["changed"]


@pytest.mark.parametrize("cause", ["unknown package", "missing header", "other Python"])
def test_a_rebuilding_that_fails_puts_the_old_one_back(
    desk: Desk, tmp_path: Path, cause: str
) -> None:
    assert desk.create().code == 0
    before, launcher = desk.toml().read_bytes(), desk.launcher().read_bytes()
    if cause == "unknown package":
        del desk.sandbox.env["UV_OFFLINE"]
        desk.sandbox.env["UV_HTTP_TIMEOUT"] = "10"
        desk.odoo("18.0", requirements=[*REQUIREMENTS, "tlc-no-such-package==1.0"])
    elif cause == "missing header":
        desk.odoo("18.0", requirements=[*REQUIREMENTS, unbuildable(tmp_path / "sdist")])
    else:
        desk.odoo("18.0", python=">=3.99")

    run = desk.create("--force", timeout=120)
    result = result_of(run)
    assert (run.code, result["status"]) == (1, "failed")
    said = " ".join(result[part] for part in ("message", "detail", "fix"))
    if cause == "unknown package":
        assert "tlc-no-such-package" in said
    elif cause == "missing header":
        assert "tlc-header" in said
        assert "ldap.h" in said
        assert "libldap" in said or not shutil.which("apt-get")
    else:
        assert "3.99" in said
    assert len(said) < 1000
    assert "gcc" not in said
    assert desk.toml().read_bytes() == before
    assert desk.launcher().read_bytes() == launcher
    assert os.listdir(desk.venvs) == ["18.0"]
    desk.odoo("18.0")
    assert desk.works()
    assert statuses(desk.create()) == {"18.0": "ok"}


def test_one_that_fails_does_not_stop_the_others(desk: Desk, tmp_path: Path) -> None:
    desk.config("16.0", "17.0", "18.0")
    desk.odoo("17.0", requirements=[unbuildable(tmp_path / "sdist")])
    run = desk.create()  # 16.0 has no checkout
    assert run.code == 1
    assert statuses(run) == {"16.0": "failed", "17.0": "failed", "18.0": "changed"}
    assert "pull-repos -f odoo@16.0" in result_of(run, "16.0")["fix"]
    assert "tlc-header" in result_of(run, "17.0")["message"] + result_of(run, "17.0")["detail"]
    assert not desk.toml("17.0").exists()
    desk.odoo("17.0")
    assert statuses(desk.create("17.0", "18.0")) == {"17.0": "changed", "18.0": "ok"}


def test_something_else_in_its_place_is_not_removed(desk: Desk) -> None:
    mine = desk.venvs / "18.0/thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("three years of work\n")
    for options in ([], ["--force"]):
        run = desk.create(*options)
        assert result_of(run)["status"] != "ok"
        found = [
            path
            for path in desk.root.rglob("thesis.txt")
            if path.read_text() == "three years of work\n"
        ]
        assert len(found) == 1, f"{run.out}{run.err}"


# --- what is missing


def test_a_config_that_declares_no_odoo(desk: Desk) -> None:
    desk.sandbox.config('versions = ["17.0"]\n')
    run = desk.create()
    assert run.code == 1
    assert "config.toml   # [repos] odoo" in result_of(run, "17.0")["fix"], (
        "pull-repos has none to pull"
    )


def test_no_uv(desk: Desk, tmp_path: Path) -> None:
    bare = link(tmp_path / "bare", "sh", "env", "git")
    run = desk.create(env={"PATH": str(bare)})
    assert run.code == 1
    assert "uv" in run.out
    assert "install" in run.out + run.err
    assert not desk.toml().exists()


def test_a_python_that_uv_cannot_get(desk: Desk, tmp_path: Path) -> None:
    desk.config("12.0", python="3.7")
    desk.odoo("12.0", "18.0")
    bare = link(tmp_path / "bare", "sh", "env", "git", pythons.uv())
    (bare / f"python{MINE}").symlink_to(USABLE[MINE])
    run = desk.create(env={"PATH": str(bare)})
    result = result_of(run, "12.0")
    assert (run.code, result["status"]) == (1, "failed")
    assert "3.7" in result["message"]
    assert "3.7" in result["fix"]
    assert not (desk.venvs / "12.0").exists()
    assert "odoo-venv create" not in desk.log()


# --- launchers


def test_a_launcher_that_is_gone_comes_back_and_a_changed_one_is_kept(desk: Desk) -> None:
    assert statuses(desk.create(), "launcher") == {"odoo-v18": "changed"}
    written, inode = desk.launcher().read_text(), desk.inode()
    desk.launcher().unlink()
    assert statuses(desk.create(), "launcher") == {"odoo-v18": "changed"}
    assert desk.launcher().read_text() == written
    assert desk.inode() == inode  # the environment was not made anew

    mine = written.replace('DATABASE="odoo_db"', 'DATABASE="mine"')
    desk.launcher().write_text(mine)
    assert desk.create("--force").code == 0
    assert desk.launcher().read_text() == mine
    assert "db_name = mine" in desk.run_odoo(desk.launcher())


def test_without_launchers(desk: Desk) -> None:
    desk.config("18.0", more="create_launcher = false")
    run = desk.create()
    assert statuses(run) == {"18.0": "changed"}
    assert not desk.launcher().exists()
    assert str(desk.venvs / "18.0/bin") in run.err.replace("~/", f"{desk.sandbox.home}/")
    assert not desk.create().json()["changed"]


def test_something_else_with_the_launchers_name_is_kept(desk: Desk) -> None:
    desk.launcher().parent.mkdir(parents=True)
    desk.launcher().write_text("#!/bin/sh\necho mine\n")
    run = desk.create()
    assert statuses(run) == {"18.0": "changed"}
    assert desk.launcher().read_text() == "#!/bin/sh\necho mine\n"
    assert "/venvs/18.0/bin/odoo -c " in run.err.splitlines()[-1]
    assert "odoo-v18" in run.err


def owner(launcher: Path) -> str:
    """The version whose environment a launcher starts."""
    [version] = re.findall(r'(?m)^VENV_DIR=".*/venvs/(.*)"$', launcher.read_text())
    return str(version)


def test_two_versions_with_one_launcher(desk: Desk) -> None:
    desk.config("master", "20.0")
    desk.odoo("master", "20.0")
    first = desk.create("-j2")
    assert statuses(first) == {"master": "changed", "20.0": "changed"}
    assert owner(desk.launcher("odoo-v20")) == "20.0"
    assert str(desk.venvs / "master/bin") in first.err.replace("~/", f"{desk.sandbox.home}/")
    assert not desk.create().json()["changed"]

    assert statuses(desk.create("master", "--force")) == {"master": "changed"}
    assert owner(desk.launcher("odoo-v20")) == "20.0"
    assert not desk.create().json()["changed"]


def test_master_alone_has_its_launcher(desk: Desk) -> None:
    desk.config("master")
    desk.odoo("master")
    assert statuses(desk.create()) == {"master": "changed"}
    assert owner(desk.launcher("odoo-v20")) == "master"
    assert not desk.create().json()["changed"]


# --- the configuration file


def test_the_configuration_file(desk: Desk) -> None:
    enterprise, web = desk.addons("odoo/enterprise/18.0"), desk.addons("oca/18.0/web")
    desk.config("18.0", role='user = "me"\npassword = "s3cret"\nport = 5499')
    run = desk.create()
    assert "venvs/18.0/bin/odoo -c" in run.err  # the launcher would log in as odoo
    conf = desk.conf()
    assert conf["addons_path"] == f"{enterprise},{desk.root}/odoo/odoo/18.0/addons,{web}"
    assert (conf["db_user"], conf["db_password"], conf["db_host"]) == ("me", "s3cret", "localhost")
    assert conf["db_port"] == "5499"
    assert conf["data_dir"].startswith(f"{desk.root}/")
    path = desk.root / "conf/odoo-18.0.conf"
    assert path.stat().st_mode & 0o077 == 0  # the password
    assert "s3cret" not in run.out + run.err + desk.log()

    queue = desk.addons("oca/18.0/queue")  # a repository that came later
    path.write_text(path.read_text() + f"# {queue}-api\n")
    again = desk.create()
    assert (again.code, again.json()["changed"]) == (0, False)
    assert "not yet with queue" in result_of(again)["message"]
    assert again.err.count("not yet with queue") == 2
    subprocess.run(
        ["sh", "-c", f"{result_of(again)['fix']} --yes"], env=desk.sandbox.env, check=True
    )
    assert queue in desk.built()["addons_path"]
    path.write_text(f"[options]\naddons_path = {enterprise},{web},{queue}\n")
    assert "not yet with" not in desk.create().err

    path.write_text("[options]\n# mine\n")
    assert statuses(desk.create("--force"), "configuration") == {"conf/odoo-18.0.conf": "ok"}
    assert path.read_text() == "[options]\n# mine\n"


def test_ports_stay_when_a_version_comes(desk: Desk) -> None:
    desk.create()
    before = desk.conf()
    desk.config("17.0", "18.0")
    desk.odoo("17.0")
    assert desk.create().code == 0
    assert desk.conf() == before
    assert desk.conf("17.0")["http_port"] != before["http_port"]
    assert desk.conf("17.0")["data_dir"] != before["data_dir"]
