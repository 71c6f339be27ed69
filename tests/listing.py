"""All files below directories, to be compared before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def listing(*directories: Path) -> dict[str, object]:
    """Return path -> what is there, with contents and times; an empty listing is a failure."""
    found: dict[str, object] = {}
    for path in [each for directory in directories for each in (directory, *directory.rglob("*"))]:
        if path.exists() or path.is_symlink():
            at = path.lstat()
            contents = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (at.st_mode, at.st_mtime_ns, at.st_ino, contents)
    assert found, directories
    return found


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The paths at which two listings differ."""
    return [path for path in {**before, **after} if before.get(path) != after.get(path)]
