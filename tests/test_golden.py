"""Golden pictures: each command's plan and closing block, as a person sees them in a terminal, and no escape off one.

`make golden` writes tests/golden/ anew: look at what changed. Times, sizes, hashes, ports and versions are the same in all.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from conftest import Sandbox
from odoo_venv import Tools
from ports import free_port
from postgres_server import PostgresServer, forget_role
from terminal import Terminal
from upstream import Upstream
from workstation import Workstation, script

GOLDEN = Path(__file__).parent / "golden"
RENEW = os.environ.get("TLC_GOLDEN") == "new"
QUESTION = "[Y/n/d]"

FIXED = {
    r"  (?:\d+ min )?\d+(?:\.\d)? s$": "",  # what took no time says none
    r"\bin (?:\d+ min )?\d+(?:\.\d)? s\b": "in 1.0 s",
    r"\b\d+(?:\.\d+)? ([kKM]i?B)\b": r"1.0 \1",
    r"\b[0-9a-f]{40}\b": "1234567890" * 4,
    r"\b[0-9a-f]{9,10}\b": "123456789",
    r"\b20\d\d-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?: UTC)?": "2026-01-01 00:00",
    r"\b20\d{6}-\d{6}\b": "20260101-000000",
    r"/backup/\S+": "/backup/TIME",
    r"\bPython \d\.\d+(?:\.\d+)?\b": "Python 3.12",
    r"\bPostgreSQL \d+(?:\.\d+)*\b": "PostgreSQL 16",
    r"\b(tlc,? )0\.\d+\.\d+\b": r"\g<1>0.1.0",
    r"wkhtmltox_\S+\.deb": "wkhtmltox.deb",
    # Of what one cause stops a live display names whatever it met first.
    r"^(✗ failed  )\S+(: the name \S+ cannot be resolved)": r"\1(one)\2",
    r"^(note|log)( +)~/\.local/state/.*": r"\1\2LOG",
}

AFTER_ROOT = ("Go ahead?", "ok ", "planned ")


def fixed(lines: list[str], port: int) -> list[str]:
    """Return lines with what differs from run to run, or from machine to machine, replaced."""
    found: list[str] = []
    of_root = False
    for line in lines:
        text = line.replace(str(port), "55432") if port else line
        for pattern, instead in FIXED.items():
            text = re.sub(pattern, instead, text)
        # Where the terminal breaks them depends on sudo, which root does not need.
        of_root = (of_root and not text.startswith(AFTER_ROOT)) or text.startswith("as root")
        if not of_root or text.startswith("as root"):
            found.append(text.rstrip())
    # Those that end at the same moment end in any order.
    ended = [line[:2] in ("● ", "✗ ", "– ", "■ ") for line in found]
    return [
        line
        for of_items, group in groupby(zip(ended, found, strict=True), key=lambda pair: pair[0])
        for _, line in (sorted(group) if of_items else group)
    ]


class Album:
    """The pictures of one story, to be compared with the golden ones at its end."""

    def __init__(self, name: str, sandbox: Sandbox, columns: int, port: int = 0) -> None:
        self.path, self.sandbox, self.columns, self.port = (
            GOLDEN / f"{name}.txt",
            sandbox,
            columns,
            port,
        )
        self.taken = ""

    def take(self, line: str, *answers: str) -> None:
        """Run a command in a terminal, give an answer to each of its questions, and take its picture."""
        words = shlex.split(line)
        command = [shutil.which(words[0], path=self.sandbox.env["PATH"]) or words[0], *words[1:]]
        with Terminal(command, self.sandbox.env, self.sandbox.home, self.columns, 24) as terminal:
            for times, answer in enumerate(answers, 1):
                terminal.wait_for(QUESTION, timeout=60, times=times)
                terminal.send(f"{answer}\r")
            code = terminal.wait(120)
            lines = fixed(terminal.lines, self.port)
        assert "Traceback" not in terminal.text
        self.taken += "\n".join([f"$ {line}", *lines, f"[exit {code}]", "", ""])

    def compare(self) -> None:
        """Compare with what is checked in."""
        if RENEW:
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(self.taken)
        assert self.taken == self.path.read_text(), "if it is as it should be: make golden"


def install(sandbox: Sandbox, *programs: str) -> None:
    """Put tlc and a few programs on PATH, and no others."""
    there = sandbox.home / "bin"
    there.mkdir()
    (there / "python3").symlink_to(os.path.realpath(sys.executable))
    for program in ("git", "ssh", "ssh-keygen", "sh", "cat", "rm", "true", *programs):
        found = shutil.which(program)
        assert found, f"{program} is missing"
        (there / program).symlink_to(found)
    tlc = sandbox.home / ".local/bin/tlc"
    script(tlc, "")
    tlc.write_bytes(b"#!/usr/bin/env python3\n" + sandbox.archive.read_bytes())
    (there / "env").symlink_to("/usr/bin/env")
    sandbox.env["PATH"] = f"{tlc.parent}:{there}"


# --- a machine with next to nothing

# Real ones would tell of this machine, or change it.
APT_GET = """#!/bin/sh
case "$*" in *--assume-no*) echo "29 upgraded, 118 newly installed, 0 to remove.
Need to get 18.4 MB of archives.
After this operation, 215 MB of additional disk space will be used." ;; *) exit 77 ;; esac
"""
APT_CACHE = """#!/bin/sh
shift 3
for name; do echo "Package: $name"; done
"""


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="the pictures are of Debian's packages")
def test_a_bare_machine(sandbox: Sandbox) -> None:
    install(sandbox, "dpkg-query")
    admin = sandbox.home / "dpkg"
    admin.mkdir()
    (admin / "status").write_text("")
    sandbox.env["DPKG_ADMINDIR"] = str(admin)
    # What this machine's own apt sources are must not count.
    said = {"gh": "gh version 2.99.0", "postgres": "postgres (PostgreSQL) 99.1"}
    for name, text in said.items():
        script(sandbox.home / "bin" / name, f"#!/bin/sh\necho '{text}'\n")
    script(sandbox.home / "bin/apt-get", APT_GET)
    script(sandbox.home / "bin/apt-cache", APT_CACHE)
    album = Album("bare", sandbox, columns=80, port=free_port())
    album.take("tlc up --skip doctor --skip ensure-db-user", "n")
    album.take("tlc generate-config nosuch")
    album.take("tlc --yes generate-config odoo-minimal")
    sandbox.config(f'versions = ["18.0"]\n[postgres]\nport = {album.port}\n')
    album.take("tlc bootstrap --dry-run")
    album.take("tlc install-tools --dry-run")
    album.take("tlc install-tools", "n")
    album.take("tlc create-venvs")
    album.take("tlc run 18.0")
    album.take("tlc run 17.0")
    album.take("tlc pull-repos")
    album.take("tlc freeze")
    album.take("tlc up --onyl init")
    album.take("tlc pul-repos")
    album.compare()


# --- repositories

CONFIG = """versions = ["17.0", "18.0"]
[repos]
odoo = ["odoo"]
oca = ["web", "queue", "server-tools", "late"]
"""


@pytest.fixture
def github(sandbox: Sandbox) -> Iterator[Upstream]:
    install(sandbox)
    upstream = Upstream(sandbox.home / "github", sandbox)
    for name in ("odoo/odoo", "OCA/web", "OCA/queue", "OCA/server-tools"):
        upstream.create(name, "17.0", "18.0")
    upstream.create("OCA/late", "17.0")
    yield upstream


def test_repositories(sandbox: Sandbox, github: Upstream) -> None:
    album = Album("repositories", sandbox, columns=120)
    sandbox.config(CONFIG)
    album.take("tlc init", "y")
    album.take("tlc pull-repos", "y")
    album.take("tlc pull-repos", "y")
    # Work, what is in the way, and what is gone.
    web, queue = sandbox.root / "oca/18.0/web", sandbox.root / "oca/18.0/queue"
    (web / "README.md").write_text("mine\n")
    github.git("checkout", "-q", "-b", "18.0-fix-menu", cwd=queue)
    github.git("commit", "-q", "--allow-empty", "-m", "mine", cwd=queue)
    tools = sandbox.root / "oca/17.0/server-tools"
    shutil.rmtree(tools)
    tools.mkdir()
    (tools / "notes.txt").touch()
    github.commit("OCA/web", "17.0", {"new.py": "new = 1\n"})
    album.take("tlc status")
    album.take("tlc pull-repos", "y")
    album.take("tlc doctor repositories --offline")
    album.take("tlc freeze")
    album.take("tlc foreach -f oca/web -f queue@18.0 git rev-parse --abbrev-ref HEAD")
    album.take("tlc foreach -f web git diff --quiet")
    album.take("tlc pull-repos --force -f web@18.0", "y")
    album.take("tlc pull-repos -f qeue")
    # A version goes. What it takes on the disk is the file system's.
    script(sandbox.home / "bin/du", "#!/bin/sh\necho '1024 .'\n")
    sandbox.config(CONFIG.replace('"17.0", ', "").replace("[repos]", "jbos = 2\n[repos]"))
    album.take("tlc prune", "n")
    album.take("tlc prune", "y")
    album.take("tlc doctor configuration --offline")
    album.take("tlc generate-config odoo-minimal", "d", "y")
    album.compare()


# What ssh says without a network; this machine has one.
SSH = """#!/bin/sh
echo "ssh: Could not resolve hostname github.com: Name or service not known" >&2
exit 255
"""


def test_the_network_is_gone(sandbox: Sandbox) -> None:
    install(sandbox)
    album = Album("network", sandbox, columns=120)
    sandbox.config(CONFIG)
    sandbox.env["GIT_SSH_COMMAND"] = str(script(sandbox.home / "no-network", SSH))
    album.take("tlc --yes pull-repos")
    album.take("tlc")
    album.compare()


# --- a machine that is set up


def test_a_whole_machine(
    sandbox: Sandbox, request: pytest.FixtureRequest, server: PostgresServer
) -> None:
    tools: Tools = request.getfixturevalue("tools")
    forget_role(server)
    machine = Workstation(sandbox, tools, server)
    album = Album("whole", sandbox, columns=120, port=server.port)
    album.take("tlc up --skip install-tools --skip bootstrap --skip doctor", "y")
    album.take("tlc ensure-db-user")
    album.take("tlc create-venvs 18.0 --force", "n")
    album.take("tlc run 18.0 --version")
    album.take("tlc doctor postgresql virtual-environments --offline")
    conf = machine.root / "conf/odoo-18.0.conf"
    conf.write_text(conf.read_text().replace("oca/18.0/web", "oca/18.0/wub"))
    (machine.venv / ".odoo-venv.toml").unlink()
    server.sql("ALTER ROLE odoo NOCREATEDB")
    album.take("tlc doctor postgresql virtual-environments --offline")
    album.take("tlc ensure-db-user", "y")
    album.take("tlc create-venvs", "n")
    album.take("tlc")
    album.compare()
