"""A person's machine as the config wants it, and what breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from conftest import Run, Sandbox
from odoo_tree import odoo_files
from odoo_venv import MINE, Tools
from person import Person
from postgres_server import PostgresServer
from upstream import Upstream

import tlc

CONFIG = """versions = ["18.0"]

[repos]
odoo = ["odoo"]
oca = ["web"]

[tools]
uv = ["odoo-venv"]
{more}
[venvs]
preset = "common"
python = {{ "18.0" = "{python}" }}

[postgres]
port = {port}
"""

# Where packages are is npm's usual question here; it takes longer to start than all of tlc.
NPM = """#!/bin/sh
[ "$*" != "root --global" ] || {{ echo "$npm_config_prefix/lib/node_modules"; exit; }}
exec {real} "$@"
"""

# The real one takes ~ from the password database, not from HOME.
SSH_KEYGEN = """#!/bin/sh
[ "$1" != -R ] || set -- "$@" -f "$HOME/.ssh/known_hosts"
exec {real} "$@"
"""


def script(path: Path, text: str) -> Path:
    """Write a program; return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fence(sandbox: Sandbox) -> None:
    """Have all system packages that tlc may want, as the sandbox's dpkg and npm see it, and no way to install any.

    The tests may run as root: whatever a bug makes tlc do, this machine's packages are out of its reach.
    """
    names = [*tlc.DEFAULT_PACKAGES["apt-get"].replace("|", " ").split(), "postgresql"]
    admin = sandbox.home.parent / "dpkg"
    admin.mkdir()
    stanza = "Package: {}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nMaintainer: x\nDescription: x\n"
    (admin / "status").write_text("\n".join(map(stanza.format, dict.fromkeys(names))))
    sandbox.env |= {"DPKG_ADMINDIR": str(admin), "npm_config_prefix": str(sandbox.home / "npm")}
    for program in ("apt-get", "apt", "dpkg", "dnf", "pacman", "brew", "sudo"):
        script(
            sandbox.home / "bin" / program,
            f'#!/bin/sh\necho "{program} $*" >>"$HOME/../fence"; exit 77\n',
        )
    said = "wkhtmltopdf 0.12.6.1 (with patched qt)"
    script(sandbox.home / "bin/wkhtmltopdf", f"#!/bin/sh\necho '{said}'\n")
    if npm := shutil.which("npm"):
        script(sandbox.home / "bin/npm", NPM.format(real=npm))
    if not shutil.which("gh"):  # nobody asks it for more than its version
        script(sandbox.home / "bin/gh", "#!/bin/sh\necho gh version 2.99.0\n")
    sandbox.env["PATH"] = f"{sandbox.home}/bin:{sandbox.env['PATH']}"


class Workstation(Person):
    """A person whose machine is as the config wants it once `tlc up` has run; `tlc` is on PATH.

    GitHub is a directory, the package index uv's cache, PostgreSQL `server`, all packages are installed.
    """

    def __init__(
        self, sandbox: Sandbox, tools: Tools, server: PostgresServer, more: str = ""
    ) -> None:
        super().__init__(sandbox)
        self.server = server
        fence(sandbox)
        (self.home / "bin/python3").symlink_to(os.path.realpath(sys.executable))
        script(self.home / "bin/ssh-keygen", SSH_KEYGEN.format(real=shutil.which("ssh-keygen")))
        (self.home / ".local/bin").mkdir(parents=True)
        sandbox.archive = Path(shutil.copy(sandbox.archive, self.home / ".local/bin/tlc"))
        sandbox.archive.chmod(0o755)
        sandbox.env["PATH"] = (
            f"{self.home}/.local/bin:{self.home}/bin:{tools.bin}:{sandbox.env['PATH']}"
        )
        # All that is asked for is in the cache.
        sandbox.env |= {"UV_CACHE_DIR": str(tools.cache), "UV_OFFLINE": "1", **server.env}
        self.upstream = Upstream(self.home / "github", sandbox)
        for repository in ("odoo/odoo", "OCA/web"):
            self.upstream.create(repository, "18.0")
        self.upstream.commit("odoo/odoo", "18.0", odoo_files("18.0"))
        self.config = sandbox.config(CONFIG.format(python=MINE, port=server.port, more=more))
        self.good = self.config.read_text()
        self.web = self.root / "oca/18.0/web"
        self.venv = self.root / "venvs/18.0"
        self.sure = False  # whether it is as the config wants it
        planned = self.tlc("--json", "--dry-run", "up").json()["results"]
        beyond = {"package", "program", "apt source", "script"}
        wanted = [
            each for each in planned if each["status"] == "planned" and each["kind"] in beyond
        ]
        assert not wanted, f"up would change this machine: {wanted}"

    @property
    def site_packages(self) -> Path:
        [found] = self.venv.glob("lib/python*/site-packages")
        return found

    def up(self, *arguments: str) -> Run:
        return self.yes("up", *arguments)

    def paste(
        self, *lines: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run lines in a shell; the person's editor puts the good config back."""
        (self.home / "good.toml").write_text(self.good)
        editor = script(self.home / "bin/editor", '#!/bin/sh\ncp "$HOME/good.toml" "$1"\n')
        return super().paste(*lines, env={"EDITOR": str(editor), **(env or {})})


Break = Callable[[Workstation], None]


def without(*patterns: str) -> Break:
    """Removes what matches these patterns below the home; {site} stands for the environment's packages."""

    def remove(machine: Workstation) -> None:
        site = machine.site_packages.relative_to(machine.home)
        found = [
            path for pattern in patterns for path in machine.home.glob(pattern.format(site=site))
        ]
        assert found, patterns
        for path in found:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return remove


def instead(path: str, old: str, new: str) -> Break:
    """Replaces text in a file below the home."""

    def replace(machine: Workstation) -> None:
        file = machine.home / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return replace


def breakages(machine: Workstation) -> None:
    """Break a few things, of several groups."""
    without(
        "code/trobz/packages", ".ssh/known_hosts", "code/oca/18.0/web", "code/conf/odoo-18.0.conf"
    )(machine)
    machine.server.sql("ALTER ROLE odoo NOCREATEDB")
