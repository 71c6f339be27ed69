"""Processes of this machine: run, found, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path


def must(*command: str | Path, env: MutableMapping[str, str] | None = None) -> str:
    """Run a command that succeeds; return its output."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def children(pid: int) -> list[int]:
    """The processes that a process started and that still run."""
    lines = (line.split() for line in must("ps", "-A", "-o", "pid=,ppid=").splitlines())
    return [int(child) for child, parent in lines if int(parent) == pid]


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def kill(pids: Sequence[int]) -> None:
    """End processes at once."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def watched() -> Iterator[set[bytes]]:
    """Collect the argument lists of all processes meanwhile, as `ps` shows them."""
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # it ended meanwhile
                    seen.add((process / "cmdline").read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
