"""The person at the keyboard: runs tlc in a sandbox, reads what it answers, pastes what it prints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import results
from conftest import Run, Sandbox
from results import Result
from terminal import Terminal


class Person:
    """Someone with a home, a code root and a tlc. What a story needs beside that, subclasses have.

    `python` runs tlc.
    """

    def __init__(self, sandbox: Sandbox, python: str | Path = sys.executable) -> None:
        self.sandbox, self.python = sandbox, python
        self.home, self.root, self.env = sandbox.home, sandbox.root, sandbox.env

    def tlc(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
    ) -> Run:
        """Run tlc to its end, without a terminal."""
        return self.sandbox.tlc(
            *arguments, env=env, input=input, timeout=timeout, python=self.python
        )

    def yes(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Run:
        """Run a command with `--yes --json`."""
        return self.tlc("--yes", "--json", *arguments, env=env, timeout=timeout)

    def results(self, *arguments: str, code: int = 0) -> list[Result]:
        """Return the results of a command, which must end with this exit code; no results are a failure."""
        run = self.yes(*arguments)
        assert run.code == code, run.out + run.err
        return results.results(run)

    def doctor(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> dict[tuple[str, str], Result]:
        """Return group and name of each item -> what doctor says of it."""
        return results.findings(self.tlc("--json", "doctor", *arguments, env=env))

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a run and do not wait for it; see conftest.interrupt()."""
        return self.sandbox.start(*arguments, env=env)

    def terminal(self, *arguments: str, env: Mapping[str, str] | None = None) -> Terminal:
        """Run tlc on a terminal of its own."""
        command = [str(self.python), str(self.sandbox.archive), *arguments]
        return Terminal(command, {**self.env, **(env or {})}, cwd=self.home)

    def paste(
        self, *lines: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run lines in a shell, with an answer of yes to whatever asks."""
        return subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            env={**self.env, **(env or {})},
            cwd=self.home,
            input="y\n" * 9,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def logged(self) -> str:
        """Return all that tlc keeps of its runs, "" where it keeps nothing."""
        files = (path for path in sorted(self.sandbox.state.rglob("*")) if path.is_file())
        return "".join(path.read_text() for path in files)

    def log(self) -> str:
        """Return all logs of tlc; none at all is a failure."""
        logged = self.logged()
        assert logged, "no log was written"
        return logged
