"""Other accounts of this machine, for stories of people who are not root; only root can become them."""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
import pythons


def own(directory: Path, account: str) -> None:
    """Give all below a directory, and it, to an account."""
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, account)


def python_for(account: str, directory: Path) -> Path:
    """Write a script that runs a Python as that account; return it."""
    for interpreter in pythons.supported():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [interpreter.path, "-c", ""], user=account, cwd="/", check=True, capture_output=True
            )
            script = directory / "python"
            become = f"--reuid={account} --regid={pwd.getpwnam(account).pw_gid} --clear-groups"
            script.write_text(
                f'#!/bin/sh\nexec {shutil.which("setpriv")} {become} {interpreter.path} "$@"\n'
            )
            script.chmod(0o755)
            return script
    pytest.skip("no Python here that others than root may run: sudo apt-get install python3")
