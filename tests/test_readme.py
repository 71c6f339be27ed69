"""What the README shows to whoever carries the code on works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, Sandbox
from readme import README, blocks

import tlc


def test_the_examples_of_a_config_and_of_a_local_one_are_valid() -> None:
    shared, local = blocks("toml")
    config = tlc.parse_config(shared, local=local)
    assert (config.warnings, config.versions) == ([], ["18.0"])
    depths = {each.depth for each in config.repositories if each.name == "server-tools"}
    assert depths == {0}


def test_the_examples_of_a_resource_and_of_a_command_work(sandbox: Sandbox, tmp_path: Path) -> None:
    resource, command, _field = blocks("python")
    program = (PROJECT / "tlc.py").read_text()
    banner = program.rindex("# ---", 0, program.index("\n# command line\n"))
    extended = tmp_path / "tlc.py"
    extended.write_text(f"{program[:banner]}{resource}\n\n{command}\n\n{program[banner:]}")
    sandbox.config('versions = ["17.0"]\n')
    link = sandbox.root / "addons-17.0"
    for expected in ("planned 1", "changed 1", "ok 1"):
        option = "--dry-run" if expected.startswith("planned") else "--yes"
        arguments = [sys.executable, str(extended), option, "link-addons"]
        done = subprocess.run(arguments, env=sandbox.env, capture_output=True, text=True)
        assert (done.returncode, expected in done.stderr) == (0, True), done.stderr
        assert link.is_symlink() == (expected != "planned 1")


def test_the_list_of_commands() -> None:
    """The README shows what `tlc help` prints: paste it there where a command is new."""
    [listed] = blocks("text")
    assert listed in tlc.overview()
    shown = [each.name for each in tlc.COMMANDS.values() if each.help_group]
    assert [name for name in shown if f"  {name} " not in listed] == []


@pytest.mark.parametrize("flags", tlc.GLOBAL_OPTIONS, ids=lambda flags: flags[-1])
def test_every_global_option_has_a_row_in_the_readme(flags: tuple[str, ...]) -> None:
    rows = [line.split(" | ")[0] for line in README.splitlines() if line.startswith("| `-")]
    assert any(set(flags) <= set(re.findall(r"-[\w-]+", row)) for row in rows), rows
