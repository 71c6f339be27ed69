"""The tests' own order: what is shared stands in helper modules, and a thing has one name."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in HERE.glob("*.py"))
TESTS = [name for name in MODULES if name.startswith("test_")]


def imports(name: str) -> set[str]:
    """Return the modules that a module here imports, wherever in it."""
    nodes = list(ast.walk(ast.parse((HERE / f"{name}.py").read_text())))
    whole = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    return whole | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_a_test(name: str) -> None:
    assert imports(name) & set(TESTS) == set()


def test_no_two_classes_have_one_name() -> None:
    trees = {name: ast.parse((HERE / f"{name}.py").read_text()) for name in MODULES}
    names = Counter(
        node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef)
    )
    assert names["Person"] == 1
    assert {name: count for name, count in names.items() if count > 1} == {}
