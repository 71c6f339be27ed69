"""A repository of the size and the make-up of OCA's: most files are small texts, most bytes are pictures."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

MODULES = 40
# The files of a module -> bytes of each; 20, of which a branch shares most with the next.
TEXTS = {
    "__init__.py": 100,
    "__manifest__.py": 800,
    **{f"models/model_{number}.py": 8_000 for number in range(3)},
    **{f"views/view_{number}.xml": 4_000 for number in range(2)},
    "tests/test_module.py": 5_000,
    **{f"i18n/{language}.po": 12_000 for language in ("de", "es", "fr", "it", "nl")},
    "README.rst": 4_000,
    "static/description/index.html": 14_000,
}
PICTURES = {
    "static/description/icon.png": 9_000,
    **{f"static/description/screen_{number}.png": 100_000 for number in range(4)},
}
PORTED = (
    "__manifest__.py",
    "models/model_0.py",
    "views/view_0.xml",
    "README.rst",
    "static/description/index.html",
)
TRUNK, BRANCH = 50, 50  # commits between two branches leaving the trunk, and commits on each branch


def write_history(bare: Path, branches: Sequence[str], env: dict[str, str], seed: int = 1) -> None:
    """Make `bare`, a repository in which each branch left a common trunk a little later than the one before.

    800 files a branch, 100 commits for each branch; the same seed makes the same repository.
    """
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], env=env, check=True)
    command = ["git", "-C", str(bare), "fast-import", "--quiet", "--date-format=now"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.writelines(stream(branches, random.Random(seed)))
    assert process.returncode == 0
    # As on a server: packed well, which fast-import does not try to.
    subprocess.run(["git", "-C", str(bare), "repack", "-adfq"], env=env, check=True)


def stream(branches: Sequence[str], chance: random.Random) -> Iterator[bytes]:
    """What fast-import reads."""
    words = [
        "".join(chance.choices("abcdefghilmnoprstuv_", k=chance.randint(3, 12)))
        for _ in range(3_000)
    ]

    def line() -> str:
        return " ".join(chance.choices(words, k=8)) + "\n"

    def file(path: str, content: bytes) -> Iterator[bytes]:
        yield f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"

    def commit(branch: str, parent: str = "") -> Iterator[bytes]:
        yield f"commit refs/heads/{branch}\ncommitter OCA <oca@example.com> now\ndata 8\na change\n".encode()
        if parent:
            yield f"from refs/heads/{parent}\n".encode()

    texts = {
        f"module_{module}/{name}": size for module in range(MODULES) for name, size in TEXTS.items()
    }
    pictures = {
        f"module_{module}/{name}": size
        for module in range(MODULES)
        for name, size in PICTURES.items()
    }
    lines = {path: [line() for _ in range(max(size // 60, 1))] for path, size in texts.items()}

    def change(lines: dict[str, list[str]], paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            lines[path][chance.randrange(len(lines[path]))] = line()
            yield from file(path, "".join(lines[path]).encode())

    yield from commit("trunk")
    for path, content in lines.items():
        yield from file(path, "".join(content).encode())
    for path, size in pictures.items():
        yield from file(path, chance.randbytes(size))
    for branch in branches:
        for _ in range(TRUNK):
            yield from commit("trunk")
            yield from change(lines, chance.sample(list(texts), 3))
        own = {path: list(content) for path, content in lines.items()}
        yield from commit(branch, parent="trunk")
        yield from change(own, [path for path in texts if path.partition("/")[2] in PORTED])
        for path in chance.sample(list(pictures), len(pictures) // 20):
            yield from file(path, chance.randbytes(pictures[path]))
        for _ in range(BRANCH - 1):
            yield from commit(branch)
            yield from change(own, chance.sample(list(texts), 3))
    yield b"reset refs/heads/trunk\nfrom 0000000000000000000000000000000000000000\n"
