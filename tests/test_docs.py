"""The files of docs/: what they name is there, and what other programs read is as those want it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

DOCS = PROJECT / "docs"


def test_the_workflow_is_one_of_githubs() -> None:
    checker = shutil.which(
        "check-jsonschema", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    if not checker:
        pytest.skip("check-jsonschema is missing: make .venv installs it")
    workflows = [DOCS / "github-actions.yml", *(PROJECT / ".github/workflows").glob("*.yml")]
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.github-workflows", *workflows],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shell_lines_of_all_files_parse() -> None:
    workflow, cloud = (
        (DOCS / name).read_text() for name in ("github-actions.yml", "cloud-init.yml")
    )
    lines = re.findall(r"run: \|\n((?: {10}.*\n)+)", workflow)
    lines += re.findall(r"(?m)^  - (.*)$", cloud.partition("runcmd:")[2])
    lines += re.findall(
        r'(?m)^  "\w+Command": "(.*)",$', (DOCS / "devcontainer/devcontainer.json").read_text()
    )
    assert len(lines) == 9
    for line in lines:
        done = subprocess.run(["bash", "-n"], input=line, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line


def test_fleet_md_names_every_file_and_variable() -> None:
    told = (DOCS / "fleet.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", told):
        assert (DOCS / path).exists(), path
    inside = {"tlc_given", "tlc_directories", "tlc_sudo", "tlc_run"}
    play = (DOCS / "ansible/tlc.yml").read_text()
    variables = set(re.findall(r"\btlc_[a-z0-9_]+", play)) - inside
    assert variables == set(re.findall(r"`(tlc_[a-z0-9_]+)`", told))


def test_security_md_names_tests_that_exist() -> None:
    told = (DOCS / "security.md").read_text()
    defined = {
        path.name: set(re.findall(r"(?m)^def (test_\w+)", path.read_text()))
        for path in Path(__file__).parent.glob("test_*.py")
    }
    pairs = re.findall(r"(test_\w+\.py)(?:::(test_\w+))?", told)
    assert len(pairs) > 20
    for name, test in pairs:
        assert name in defined and (not test or test in defined[name]), (name, test)
    for test in re.findall(r"`(test_\w+)`", told):
        assert any(test in names for names in defined.values()), test
