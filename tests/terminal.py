"""A real terminal to run programs in, read as a person would: through a terminal emulator."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyte

# Makes the terminal on stdin the controlling one, which gives the program a /dev/tty and Ctrl-C.
LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Screen(pyte.HistoryScreen):
    """A screen with what scrolled off its top, which answers when the program asks where the cursor is."""

    def __init__(self, columns: int, rows: int, terminal: int) -> None:
        super().__init__(columns, rows, history=10_000)
        self.terminal = terminal

    def write_process_input(self, data: str) -> None:
        os.write(self.terminal, data.encode())

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Let what no longer fits scroll off the top, as a terminal does; pyte loses it, and the cursor."""
        dropped = max(self.lines - (lines or self.lines), 0)
        self.history.top.extend(self.buffer[line] for line in range(dropped))
        super().resize(lines, columns)
        self.cursor.y = max(self.cursor.y - dropped, 0)
        self.cursor.x = min(self.cursor.x, self.columns)


class Terminal:
    """A program running on a terminal of its own. Use it in a `with`, which ends the program if need be."""

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path | None = None,
        columns: int = 100,
        rows: int = 30,
    ) -> None:
        self.master, slave = pty.openpty()
        self.screen = Screen(columns, rows, self.master)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""  # all that the program wrote, with its escape sequences
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *map(str, command)],
            env={"TERM": "xterm-256color", **env},
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)

    @property
    def lines(self) -> list[str]:
        """The text on the screen, after what scrolled off its top; no trailing blanks or empty lines."""
        shown = [self.screen.buffer[number] for number in range(self.screen.lines)]
        lines = [
            "".join(line[column].data for column in range(max(line, default=0) + 1)).rstrip()
            for line in [*self.screen.history.top, *shown]
        ]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _read(self, seconds: float) -> bool:
        """Take in what the program writes within that time; False when it has closed the terminal."""
        if not select.select([self.master], [], [], max(seconds, 0))[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO is a terminal's end of file on Linux
            data = b""
        self.raw += data
        self.stream.feed(data)
        return bool(data)

    def wait_for(self, text: str, timeout: float = 60, times: int = 1) -> None:
        """Read until `text` is in the lines so many times; an AssertionError with the screen when it is not."""
        deadline = time.monotonic() + timeout
        open_ = True
        while self.text.count(text) < times:
            assert open_, f"the program ended without {text!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{self.text}"
            open_ = self._read(0.1)

    def send(self, text: str) -> None:
        """Type `text`: "\\r" is Enter, "\\x03" Ctrl-C."""
        os.write(self.master, text.encode())

    def answer(self, question: str, text: str, times: int = 1) -> None:
        """Wait for a question that hides what is typed, and type an answer."""
        self.wait_for(question, times=times)
        deadline = time.monotonic() + 60
        while termios.tcgetattr(self.master)[3] & termios.ECHO:  # what comes before is lost
            assert time.monotonic() < deadline, f"typing is never hidden:\n{self.text}"
            self._read(0.02)
        self.send(text)

    def interrupt(self, question: str, timeout: float = 60) -> int:
        """Press Ctrl-C at a question until the program ends, as a person does; return its exit code.

        sudo 1.9 notes the signal in its handler and then reads: one that comes between its question
        and its read() is lost.
        """
        self.answer(question, "\x03")
        deadline = time.monotonic() + timeout
        pressed = time.monotonic()
        while self._read(0.1):
            assert time.monotonic() < deadline, f"still running after {timeout} s:\n{self.text}"
            if time.monotonic() - pressed > 1:
                self.send("\x03")
                pressed = time.monotonic()
        return self.process.wait(max(deadline - time.monotonic(), 1))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size; the program gets SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def wait(self, timeout: float = 60) -> int:
        """Read until the program ends; return its exit code, negative for a signal."""
        deadline = time.monotonic() + timeout
        while self._read(0.1):
            assert time.monotonic() < deadline, f"still running after {timeout} s:\n{self.text}"
        return self.process.wait(max(deadline - time.monotonic(), 1))
