"""Stories of many machines: the files of docs/ given to the real Ansible, cloud-init and devcontainer CLI."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from conftest import PROJECT, Sandbox
from fleet import Fleet, Member, Played, ansible, fleet
from machines import machine, needs_machines
from upstream import Upstream

pytestmark = needs_machines

DOCS = PROJECT / "docs"
CONFIG = """versions = ["18.0"]

[repos]
odoo = ["odoo"]
oca = ["web", "queue"]

[tools]
wkhtmltopdf = false
"""
# What docs/fleet.md calls the developer's part; environments take minutes, and have tests of their own.
ARGUMENTS = ("-e", json.dumps({"tlc_arguments": ["--skip", "create-venvs"]}))
# Who logs in: the developer, whose sudo asks for no password, or root, who lends the developer the right.
LOGINS = {"one": "dev", "two": "root", "three": "dev", "four": "root"}
ALL = set(LOGINS)


def upstream(sandbox: Sandbox) -> Upstream:
    found = Upstream(sandbox.home / "github", sandbox)
    for repository in ("odoo/odoo", "OCA/web", "OCA/queue"):
        found.create(repository, "18.0")
    return found


def tips(member: Member) -> str:
    """The commits of all checkouts of a machine."""
    line = "for each in code/odoo/odoo/18.0 code/oca/18.0/*; do git -C $each rev-parse HEAD; done"
    return member.it.must("sh", "-c", line, user="dev")


def well(played: Played, changed: set[str]) -> None:
    assert played.code == 0, played.said
    assert played.counts("failed")[1] == set(), played.said
    assert played.counts("unreachable")[1] == set(), played.said
    assert played.counts("changed")[1] == changed, played.said


def test_a_fleet_is_set_up_stays_so_and_fails_one_by_one(
    tmp_path: Path, sandbox: Sandbox, archive: Path
) -> None:
    if not ansible():
        pytest.skip("ansible-playbook is missing: make .venv installs it")
    github = upstream(sandbox)
    with fleet(tmp_path, archive, github.directory, LOGINS) as machines:
        machines.config.write_text(CONFIG)
        one, two, three, four = machines
        refused = machines.play(*ARGUMENTS, "-e", "tlc_sha256=0000")
        assert refused.code != 0 and "Nothing was copied" in refused.said

        well(machines.play(*ARGUMENTS, "--check"), ALL)
        assert not any(each.it.exists("/home/dev/.local/bin/tlc") for each in machines)

        well(machines.play(*ARGUMENTS), ALL)
        for each in machines:
            assert tips(each).split() == [
                github.tip(name, "18.0") for name in ("odoo/odoo", "OCA/queue", "OCA/web")
            ]
            assert not each.it.exists("/etc/sudoers.d/tlc-play"), "the right was taken back"
            assert each.it.must("find", "/home/dev", "-user", "root") == ""
        for command in one.it.privileged():
            needs_root = ("apt-get", "service", "psql", "/usr/bin/true")
            assert any(word in command for word in needs_root), command

        well(machines.play(*ARGUMENTS), set())
        asked = {each.name: each.relay.counts.from_server for each in machines}
        well(machines.play(*ARGUMENTS, "--check"), set())
        assert asked == {each.name: each.relay.counts.from_server for each in machines}

        break_all_but_the_first(machines, github, tmp_path)
        broken = machines.play(*ARGUMENTS)
        assert broken.counts("failed") == ({"one"}, {"two", "three", "four"}), broken.said
        assert "write it in quotes" in broken.message("two")
        assert "oca/web@18.0: " in broken.message("three")
        assert "once the network is back" in broken.message("three")
        assert "disk: 0.0 GB free" in broken.message("four")
        assert "oca/queue" not in broken.message("three"), "only what failed is told"

        two.variables.clear()
        three.relay.set(cut_after=0)
        four.it.must("mount", "-o", "remount,size=20g", "/home/dev/code")
        well(machines.play(*ARGUMENTS), {"two", "three", "four"})
        assert len({tips(each) for each in machines}) == 1


def break_all_but_the_first(machines: Fleet, github: Upstream, directory: Path) -> None:
    """Break a config, a line to GitHub in the middle of what comes, and fill a disk."""
    _one, two, three, four = machines
    (directory / "broken.toml").write_text(CONFIG.replace('"18.0"', "18.0"))
    two.variables["tlc_config"] = str(directory / "broken.toml")
    noise = random.Random(1).randbytes(400_000).hex()
    github.commit("OCA/web", "18.0", {"noise": noise})
    three.relay.set(cut_after=200_000)
    room = "size=200k,uid=1000,gid=1000,mode=755"
    four.it.must("mount", "-t", "tmpfs", "-o", room, "tmpfs", "/home/dev/code")


def test_cloud_init_takes_the_user_data(tmp_path: Path) -> None:
    with machine(tmp_path, "debian-13", packages="cloud-init") as it:
        it.write("/root/user-data", (DOCS / "cloud-init.yml").read_text())
        said = it.must("cloud-init", "schema", "--config-file", "/root/user-data")
        assert "Valid schema" in said
        it.write("/root/wrong", "#cloud-config\npackages: 3\n")
        assert it.run("cloud-init", "schema", "--config-file", "/root/wrong", user="root").code != 0


def test_the_devcontainer_cli_reads_its_file(tmp_path: Path) -> None:
    with machine(tmp_path, "debian-13", packages="npm") as it:
        install = ["npm", "install", "-g", "--prefix", "/home/dev/.local", "@devcontainers/cli"]
        it.must(*install, user="dev", timeout=300)
        # It asks which containers run, of which there are none.
        it.write("/usr/local/bin/docker", "#!/bin/sh\n", 0o755)
        it.write("/home/dev/odoo/config.toml", CONFIG)
        text = (DOCS / "devcontainer/devcontainer.json").read_text()
        it.write("/home/dev/odoo/.devcontainer/devcontainer.json", text)
        words = ["read-configuration", "--workspace-folder", "/home/dev/odoo"]
        run = it.run("/home/dev/.local/bin/devcontainer", *words)
        assert run.code == 0, run.out + run.err
        read = json.loads(run.out)["configuration"]
        assert read["image"] == "debian:13"
        assert "features" not in read
        assert "bootstrap.sh | sh" in read["onCreateCommand"]
