"""The Pythons of this machine, each really tried: those tlc supports and those that are too old for it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from build import output

NAMES = [
    "python2",
    "python2.7",
    "python3",
    *(f"python3.{minor}" for minor in range(6, 16)),
    "pypy3",
]
MINIMUM = (3, 11)
# Where the first process of a test session tells its workers what it found: to try them all takes seconds.
FOUND = "TLC_TESTS_PYTHONS"

PROBE = """
import platform, sys
print(sys.executable)
print(platform.python_implementation())
print("%d %d %d" % sys.version_info[:3])
"""


@dataclass(frozen=True, order=True)
class Interpreter:
    """One Python: its version, its implementation ("CPython", "PyPy") and its real, absolute executable."""

    version: tuple[int, ...]
    implementation: str
    path: Path


def uv() -> Path:
    """Return the uv of the development environment, else the one on PATH."""
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    assert found, "uv is missing: it is in the dev group of pyproject.toml (make .venv)"
    return Path(found)


def candidates() -> Iterator[str]:
    yield sys.executable
    directories = [entry for entry in os.environ["PATH"].split(os.pathsep) if entry]
    yield from (f"{directory}/{name}" for directory in directories for name in NAMES)
    listed = output(str(uv()), "python", "list", "--only-installed", "--output-format", "json")
    yield from (entry["path"] for entry in json.loads(listed or "[]"))


@functools.cache
def found() -> list[Interpreter]:
    """Return every Python on PATH and known to uv that really runs, the oldest first."""
    if FOUND not in os.environ:
        places = {os.path.realpath(candidate): candidate for candidate in candidates()}
        said = [output(each, "-c", PROBE) for each in places.values() if os.path.isfile(each)]
        os.environ[FOUND] = json.dumps([text.splitlines() for text in said if text])
    interpreters = {}
    for executable, implementation, version in json.loads(os.environ[FOUND]):
        path = Path(executable).resolve()
        interpreters[path] = Interpreter(tuple(map(int, version.split())), implementation, path)
    return sorted(interpreters.values())


def supported() -> list[Interpreter]:
    """Return the Pythons tlc runs under, the oldest first; never empty, as the tests run under one."""
    return [interpreter for interpreter in found() if interpreter.version >= MINIMUM]


def too_old() -> list[Interpreter]:
    """Return the Pythons older than that, the oldest first."""
    return [interpreter for interpreter in found() if interpreter.version < MINIMUM]
