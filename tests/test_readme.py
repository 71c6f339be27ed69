"""What the README shows to whoever carries the code on works as it stands there."""

from __future__ import annotations

import json
import py_compile
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


def test_the_recipes_add_a_field_an_installer_and_a_command(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    field, installer, command = blocks("python")
    program = (PROJECT / "tlc.py").read_text()
    places = {"GIT = {\n": field, "# The commands that `up` is made of": ""}
    assert [place for place in places if program.count(place) != 1] == []
    before_up = f"{installer}\n\n{command}\n\n# The commands that `up` is made of"
    program = program.replace("# The commands that `up` is made of", before_up)
    program = program.replace("GIT = {\n", "GIT = {\n" + field)
    extended = tmp_path / "tlc.py"
    extended.write_text(program)
    compiled = py_compile.compile(str(extended), str(tmp_path / "tlc.pyc"), doraise=True)
    assert compiled

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, compiled, *arguments]
        return subprocess.run(words, env=sandbox.env, capture_output=True, text=True)

    sandbox.config('versions = ["17.0"]\n[git]\nrebase = "yes"\n')
    assert "config.toml:3: git.rebase: found" in run("set-up-git").stderr
    sandbox.config('versions = ["17.0"]\n[git]\nrebase = true\n')
    assert "set-up-git" in run("help").stdout and "set-up-git" in run("completion", "bash").stdout
    assert "leave pull.rebase as it is" in run("help", "set-up-git").stdout

    def finding() -> str:
        results = json.loads(run("--json", "doctor", "tools", "--offline").stdout)["results"]
        [found] = [each for each in results if each["name"] == "pull.rebase"]
        return f"{found['status']} {found['message']} {found['fix']}"

    assert re.match("WARN is not set .*set-up-git$", finding())
    for arguments, said in {
        ("set-up-git", "--no-rebase", "--yes"): "ok 0",
        ("set-up-git", "--dry-run"): "planned 1",
        ("up", "--only", "set-up-git", "--yes"): "changed 1",
        ("set-up-git",): "ok 1",
    }.items():
        done = run(*arguments)
        assert (done.returncode, said in done.stderr) == (0, True), done.stderr
    assert finding().startswith("OK is true")


def test_it_is_short_and_names_each_command() -> None:
    assert len(README.splitlines()) < 350
    shown = [each.name for each in tlc.COMMANDS.values() if each.help_group]
    assert [name for name in shown if not re.search(rf"\btlc {name}\b|`{name}`", README)] == []


@pytest.mark.parametrize("flags", tlc.GLOBAL_OPTIONS, ids=lambda flags: flags[-1])
def test_every_global_option_has_a_row_in_the_readme(flags: tuple[str, ...]) -> None:
    rows = [line.split(" | ")[0] for line in README.splitlines() if line.startswith("| `-")]
    assert any(set(flags) <= set(re.findall(r"-[\w-]+", row)) for row in rows), rows
