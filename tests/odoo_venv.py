"""The real odoo-venv and uv with a warm cache, and a person who makes environments with them."""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pythons
from conftest import Run, Sandbox, soon
from odoo_tree import make_oca, make_odoo
from person import Person

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
    make_odoo(home / "odoo", "18.0", setuptools=True)
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
def tools(session_directory: Path) -> Tools:
    """uv, the Pythons and a warm cache, made once for all workers of a test session."""
    home, reason = session_directory / "uv", session_directory / "uv-reason"
    with (session_directory / "uv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not reason.exists():
            reason.write_text(warm(home))
    if text := reason.read_text():
        pytest.skip(text)
    return Tools(home / "bin", home / "cache")


class VenvBuilder(Person):
    """A person who makes environments of stand-ins for the checkouts of Odoo."""

    def __init__(self, sandbox: Sandbox, tools: Tools) -> None:
        super().__init__(sandbox)
        self.venvs = sandbox.root / "venvs"
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
            '[repos]\nodoo = ["odoo"]\n'
            f'[venvs]\npreset = "{preset}"\npython = {{ {pythons} }}\n'
            f"[postgres]\n{role}\n"
        )

    def odoo(self, *versions: str, **options: Any) -> None:
        """Have an Odoo of each version; master reads 20.0a1."""
        for version in versions:
            checkout = make_odoo(
                self.root / "odoo/odoo" / version,
                "20.0a1" if version == "master" else version,
                **options,
            )
            (checkout / ".git").mkdir(exist_ok=True)

    def addons(self, path: str, *packages: str) -> str:
        """Have a checkout with an addon that needs these packages, below the code root; return its path."""
        checkout = make_oca(self.root / path, "18.0", packages)
        (checkout / ".git").mkdir()
        return str(checkout)

    def create(self, *arguments: str, **options: Any) -> Run:
        return self.yes("create-venvs", *arguments, **options)

    def start_building(self, *arguments: str) -> subprocess.Popen[str]:
        """Start create-venvs; return when it builds an environment, whose old one, if any, is out of the way."""
        before = self.inode()
        process = self.start("--yes", "create-venvs", *arguments)
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
