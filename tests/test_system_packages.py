"""Stories of `make test` on a machine that lacks programs: a person is asked before any is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT
from terminal import Terminal

SCRIPT = ["sh", str(PROJECT / "tests/system-packages.sh")]
# In their places: what installs, and what asks for a password. Both only say that they were called.
PLAYED = {
    "apt-get": '#!/bin/sh\necho "apt-get $*" >>"$HOME/called"\n',
    "sudo": '#!/bin/sh\ncase $1 in -v) exit ;; -n) shift ;; esac\nexec "$@"\n',
}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has next to nothing."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name in ("sh", "id", "dirname", "ls", "env", "true"):
        (bin / name).symlink_to(shutil.which(name) or name)
    for name in ("mkdir", "touch"):  # no mark of Debian's is written
        (bin / name).symlink_to(shutil.which("true") or "true")
    for name, text in PLAYED.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    return {"PATH": str(bin), "HOME": str(tmp_path), "TERM": "xterm"}


def called(env: dict[str, str]) -> str:
    """What was told to apt-get."""
    path = Path(env["HOME"], "called")
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(("answer", "installs"), [("n", False), ("", False), ("y", True)])
def test_a_person_is_asked_with_names_and_count(
    env: dict[str, str], answer: str, installs: bool
) -> None:
    with Terminal(SCRIPT, env) as terminal:
        terminal.wait_for("[y/N]")
        terminal.send(f"{answer}\r")
        assert terminal.wait() == 0
        text = " ".join(terminal.text.split())
    assert re.search(r"use \d+ packages that this system does not have: ", text)
    assert "gnupg" in text
    assert "postgresql" not in text, "it is a Python package"
    assert ("install -y" in called(env)) == installs
    assert ("missing:" in text) == (not installs)


def test_where_nobody_can_be_asked_it_needs_no_password(env: dict[str, str]) -> None:
    done = subprocess.run(SCRIPT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert "gnupg" in called(env)
    assert "create_main_cluster" not in Path(SCRIPT[1]).read_text()
