"""The pictures of the README are what tlc shows today, but for times, sizes, hashes and versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import PROJECT, Sandbox
from pictures import PICTURES, THEMES, draw, text_of
from readme import README


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_of_todays_output(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """Otherwise: make pictures, and look at them."""
    command, lines = PICTURES[name](sandbox, tmp_path / "github")
    for theme in THEMES:
        stored = (PROJECT / f"docs/{name}-{theme}.svg").read_text()
        assert text_of(stored) == text_of(draw(command, lines, theme))


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_runs_nothing_and_stands_in_the_readme(name: str) -> None:
    for theme in THEMES:
        path = PROJECT / f"docs/{name}-{theme}.svg"
        assert path.stat().st_size < 12_000
        names = set(re.findall(r"<(\w+)", path.read_text()))
        assert names == {"svg", "rect", "text", "tspan"}
        assert f"docs/{path.name}" in README
