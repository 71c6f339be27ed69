"""All that tlc may say to a person, collected from its source: `python tests/messages.py` writes messages.txt.

A string counts that has words in it and is neither a docstring nor a pattern; what is filled in is {}.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LISTED = PROJECT / "tests" / "messages.txt"
# What only programs read: the first argument, or all of them, of these.
SILENT = {"search", "match", "sub", "compile", "findall", "fullmatch", "finditer", "Cause", "_text"}


def template(node: ast.expr) -> str:
    """Return a string, with {} for what is filled in; "" for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"
            for part in node.values
        )
    return ""


def strings(node: ast.AST) -> Iterator[str]:
    """Yield the strings below a node, in order; not those inside of others, nor docstrings."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        yield template(node)
        return
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in SILENT:
            children = children[2:]  # the function, and a pattern
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
        told = isinstance(node, ast.FunctionDef) and node.name.startswith("cmd_")
        children = [each for each in children if told or each is not node.body[0]]
    for child in children:
        yield from strings(child)


@functools.cache
def messages() -> list[str]:
    """Return all messages, each once, sorted."""
    tree = ast.parse((PROJECT / "tlc.py").read_text())
    found = {" ".join(text.split()) for text in strings(tree) if text.count("\n") < 3}
    words = re.compile(r"[A-Za-z{}]{2,}[,:;.)]* [\w{(]")
    odd = re.compile(r"\\|\(\?|^[-|{} ]*$|^--|refs/|^%|^[A-Z_]+ ")
    return sorted(text for text in found if words.search(text) and not odd.search(text))


if __name__ == "__main__":
    LISTED.write_text("\n".join(messages()) + "\n")
