"""The README's pictures: real runs in a real terminal, drawn as SVG. `make pictures` writes them to docs/.

Nothing in them moves or runs, and the text can be selected. What differs from run to run (times,
sizes, hashes, versions) is the same in all: see fixed().
"""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from conftest import PROJECT, Sandbox
from terminal import Terminal
from upstream import Upstream

COLUMNS, ROWS = 96, 40
THEMES = {
    "light": {"back": "#ffffff", "default": "#24292f", "red": "#cf222e", "green": "#116329"}
    | {"brown": "#7d4e00", "cyan": "#1b7c83"},
    "dark": {"back": "#0d1117", "default": "#e6edf3", "red": "#ff7b72", "green": "#7ee787"}
    | {"brown": "#e3b341", "cyan": "#76e3ea"},
}
# Half of what upstream sends, and the rest when the file `go` is there.
HALF = """#!/bin/sh
pack=$(mktemp) && "$@" >"$pack"
head -c $(($(wc -c <"$pack") * 6 / 10)) "$pack"
while [ -e "$HOME/hold" ]; do sleep 0.05; done
tail -c +$(($(wc -c <"$pack") * 6 / 10 + 1)) "$pack"
rm "$pack"
"""
Cell = tuple[str, str, bool]  # a sign, its colour, whether it is bold


def fixed(line: str) -> str:
    """Return a line with what differs from run to run replaced."""
    for pattern, instead in {
        r"\b\d+\.\d s": "1.0 s",
        r"(?<![.\d])\d+ s\b": "2 s",
        r"\b[\d.]+ ([KM]iB)": r"1.0 \1",
        r"\b[0-9a-f]{9}\b": "123456789",
        r"\b0\.\d+\.\d+\b": "0.1.0",
        r"[━─]+  ?\d+%": "━━━━━━━━━━───────  58%",
        r"[━─]{5,} (?=\d+ of)": "━━━━━━━━━━─────── ",
        r", about .* left": "",
        r": made  1.0 s$": ": made",  # where the machine is slow
        r"; 1.0 MiB/s": "",
    }.items():
        line = re.sub(pattern, instead, line)
    return line.rstrip()


def screen(terminal: Terminal) -> list[list[Cell]]:
    """Return the lines on the screen, sign by sign."""
    lines = []
    for row in range(terminal.screen.lines):
        cells = [terminal.screen.buffer[row][column] for column in range(COLUMNS)]
        lines.append([(cell.data, cell.fg, cell.bold) for cell in cells])
        while lines[-1] and lines[-1][-1][0] == " ":
            lines[-1].pop()
    while not lines[-1]:
        lines.pop()
    return lines


def runs(cells: list[Cell]) -> Iterator[tuple[str, str, bool]]:
    """Yield the parts of a line that look alike."""
    for (colour, bold), part in groupby(cells, key=lambda cell: cell[1:]):
        yield "".join(sign for sign, _, _ in part), colour, bold


def draw(command: str, lines: list[list[Cell]], theme: str) -> str:
    """Return a picture of a screen."""
    colours = THEMES[theme]
    prompt: list[list[Cell]] = [[(sign, "default", True) for sign in f"$ {command}"]]
    rows = [*prompt, *lines]
    width, height = 8.4 * COLUMNS + 32, 19 * len(rows) + 30
    box, font = f"0 0 {width:.0f} {height}", "ui-monospace,Menlo,Consolas,monospace"
    shown = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="{font}" font-size="14">',
        f'<rect width="100%" height="100%" rx="8" fill="{colours["back"]}" stroke="#8c959f"/>',
    ]
    for number, cells in enumerate(rows):
        spans = ""
        text = fixed("".join(sign for sign, _, _ in cells))
        plain = text != "".join(sign for sign, _, _ in cells).rstrip()
        parts = list(runs(cells))
        if plain:  # its signs are others: only the look of its beginning is kept
            first, colour, bold = parts[0]
            kept = first if text.startswith(first) else ""
            parts = [(kept, colour, bold), (text[len(kept) :], "default", False)]
        for part, colour, bold in parts:
            weight = ' font-weight="bold"' if bold else ""
            fill = colours.get(colour, colours["default"])
            spans += f'<tspan fill="{fill}"{weight}>{escape(part)}</tspan>' if part else ""
        at = 19 * number + 29
        shown.append(f'<text x="16" y="{at}" xml:space="preserve">{spans}</text>')
    return "\n".join([*shown, "</svg>\n"])


def text_of(picture: str) -> list[str]:
    """Return the lines of text of a picture."""
    import html

    texts = re.findall(r"<text [^>]*>(.*?)</text>", picture)
    return [html.unescape(re.sub("<[^>]*>", "", text)).rstrip() for text in texts]


# --- the runs

CONFIG = """versions = ["17.0", "18.0"]
jobs = 4
[repos]
odoo = ["odoo"]
oca = ["web", "queue", "server-tools"]
"""


@contextmanager
def tlc(sandbox: Sandbox, *arguments: str) -> Iterator[Terminal]:
    command = [str(sandbox.home / ".local/bin/tlc"), *arguments]
    with Terminal(command, sandbox.env, sandbox.home, COLUMNS, ROWS) as terminal:
        yield terminal


def prepare(sandbox: Sandbox, directory: Path) -> Upstream:
    """Install tlc, and have repositories at a GitHub of its own, each of 200 files."""
    place = sandbox.home / ".local/bin/tlc"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"#!/usr/bin/env python3\n" + sandbox.archive.read_bytes())
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    python = sandbox.home / "python"
    python.mkdir()
    (python / "python3").symlink_to(sys.executable)
    sandbox.env["PATH"] = f"{place.parent}:{python}:{sandbox.env['PATH']}"
    upstream = Upstream(directory, sandbox)
    for name in ("odoo/odoo", "OCA/web", "OCA/queue", "OCA/server-tools"):
        upstream.create(name, "17.0", "18.0")
    sandbox.config(CONFIG)
    return upstream


def up(sandbox: Sandbox, directory: Path) -> tuple[str, list[list[Cell]]]:
    """Return `tlc up` of what needs no other programs, from its plan to its end."""
    prepare(sandbox, directory)
    words = ("up", "--only", "init", "--only", "pull-repos")
    with tlc(sandbox, *words) as terminal:
        terminal.wait_for("[Y/n/d]")
        terminal.send("y\r")
        assert terminal.wait() == 0, terminal.text
        lines = screen(terminal)
    # Those that end at the same moment end in any order.
    shown = [
        line
        for is_end, group in groupby(lines, key=lambda line: line[:1] == [("●", "cyan", False)])
        for line in (sorted(group) if is_end else group)
    ]
    return " ".join(("tlc", *words)), shown


def pull_repos(sandbox: Sandbox, directory: Path) -> tuple[str, list[list[Cell]]]:
    """Return `tlc pull-repos` in the middle of its work: four are received, the others wait."""
    upstream = prepare(sandbox, directory)
    for name in ("odoo/odoo", "OCA/web", "OCA/queue", "OCA/server-tools"):
        files: dict[str, str | None] = {f"{n}.py": f"# {n:05}\n" * 9 for n in range(300)}
        for branch in ("17.0", "18.0"):
            upstream.commit(name, branch, files)
    hook = sandbox.home / "half.sh"
    hook.write_text(HALF)
    hook.chmod(0o755)
    (sandbox.home / "hold").touch()
    upstream.git("config", "--global", "uploadpack.packObjectsHook", str(hook))
    words = ("--yes", "pull-repos")
    with tlc(sandbox, *words) as terminal:
        deadline = time.monotonic() + 30
        while (
            len(re.findall("receiving", terminal.text)) < 4
            or "0 of 8 done, 3 s" not in terminal.text
        ):
            assert time.monotonic() < deadline and terminal.process.poll() is None, terminal.text
            terminal._read(0.05)
        lines = screen(terminal)
        (sandbox.home / "hold").unlink()
        assert terminal.wait() == 0, terminal.text
    # Which four come first is chance.
    names = iter(["oca/queue@17.0", "oca/queue@18.0", "oca/web@17.0", "oca/web@18.0"])
    for number, line in enumerate(lines):
        text = "".join(sign for sign, _, _ in line)
        if "receiving" in text:
            shown = f"  {next(names):22}{re.sub('^.*?(?=[━─])', '', text)}"
            lines[number] = [(sign, "default", False) for sign in shown]
    return " ".join(("tlc", *words)), lines


def doctor(sandbox: Sandbox, directory: Path) -> tuple[str, list[list[Cell]]]:
    """Return `tlc doctor` with findings: a misspelt key, work on a branch, what is missing."""
    upstream = prepare(sandbox, directory)
    sandbox.tlc("--yes", "pull-repos")
    web = sandbox.root / "oca/18.0/web"
    (web / "README.md").write_text("mine\n")
    upstream.git("checkout", "-q", "-b", "18.0-fix-menu", cwd=sandbox.root / "oca/18.0/queue")
    for name in ("17.0/server-tools", "18.0/server-tools"):
        subprocess.run(["rm", "-rf", str(sandbox.root / "oca" / name)], check=True)
    sandbox.config(CONFIG.replace("jobs", "jbos"))
    words = ("doctor", "configuration", "repositories", "--offline")
    with tlc(sandbox, *words) as terminal:
        assert terminal.wait() == 1, terminal.text
        return " ".join(("tlc", *words)), screen(terminal)


PICTURES: dict[str, Callable[[Sandbox, Path], tuple[str, list[list[Cell]]]]] = {
    "up": up,
    "pull-repos": pull_repos,
    "doctor": doctor,
}


def main() -> None:
    for name, take in PICTURES.items():
        with tempfile.TemporaryDirectory() as directory:
            sandbox = Sandbox(Path(directory), PROJECT / "dist/tlc.pyz")
            command, lines = take(sandbox, Path(directory) / "github")
        for theme in THEMES:
            path = PROJECT / "docs" / f"{name}-{theme}.svg"
            path.write_text(draw(command, lines, theme))
            print(path.relative_to(PROJECT))


if __name__ == "__main__":
    main()
