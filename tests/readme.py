"""The README and the code it shows."""

from __future__ import annotations

import re

from conftest import PROJECT

README = (PROJECT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the blocks of code of a language, in order; a language without any is a failure."""
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"no block of {language} in the README"
    return found
