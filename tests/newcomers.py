"""A newcomer at a throwaway machine, who can reach a release of tlc: GitHub's is played by a server of the tests.

It also stands where uv's installer and the archives of the GitHub CLI and PostgreSQL are: there it has nothing, so that
uv comes from its wheel and the rest from Debian, unless a test says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Run
from https_server import HttpsServer
from machines import Machine, MachineUser, machine

SCRIPT = (PROJECT / "bootstrap.sh").read_text()
RELEASES = "/trobz/tlc/releases"
LATEST = f"{RELEASES}/latest/download"
PLAYED = ("github.com", "astral.sh", "cli.github.com", "apt.postgresql.org", "www.postgresql.org")
SLOW = 600.0  # seconds that a package index may take


class MachineNewcomer(MachineUser):
    """A person (dev or root) at a machine that can reach a release of tlc."""

    def __init__(self, it: Machine, web: HttpsServer, archive: Path, user: str) -> None:
        super().__init__(it, user)
        self.web = web
        release = archive.read_bytes()
        web.files = {
            f"github.com{LATEST}/tlc.pyz": release,
            f"github.com{LATEST}/tlc.pyz.sha256": f"{hashlib.sha256(release).hexdigest()}  tlc.pyz\n",
            f"github.com{LATEST}/bootstrap.sh": SCRIPT,
        }
        it.resolve(web.address, *PLAYED)
        it.trust(web.authority)

    def bootstrap(self, shell: str = "sh", *arguments: str) -> Run:
        """The piped line; where there is no curl, the script by whatever way."""
        if self.it.run("sh", "-c", "command -v curl").code == 0:
            line = f"curl -fsSL https://github.com{LATEST}/bootstrap.sh | {shell} -s -- {' '.join(arguments)}"
            return self.run(shell, "-c", line, timeout=SLOW)
        return self.run(shell, "-s", "--", *arguments, input=SCRIPT, timeout=SLOW)

    def files(self) -> str:
        """All files in the person's home but for logs and caches, with the time of change."""
        paths = [f"{self.home}/.cache", f"{self.home}/.local/state"]
        left_out = [word for path in paths for word in ("-path", path, "-prune", "-o")]
        return self.it.must("find", self.home, *left_out, "-type", "f", "-printf", "%p %s %T@ %m\n")

    def packages(self) -> str:
        """The installed packages and their versions."""
        return self.it.must("dpkg-query", "-W")

    def everything(self) -> str:
        """The names of all that is in the home, and the installed packages."""
        return self.it.must("find", self.home) + self.packages()


@contextmanager
def newcomer(
    directory: Path,
    archive: Path,
    kind: str = "debian-12",
    packages: str = "",
    user: str = "dev",
    **more: Any,
) -> Iterator[MachineNewcomer]:
    if archive.name.startswith("tlc-shiv"):
        pytest.skip("releases are zipapps")
    web = HttpsServer(directory / "web", *PLAYED)
    with web, machine(directory, kind, packages=packages, **more) as it:
        yield MachineNewcomer(it, web, archive, user)
