"""Several throwaway machines with an sshd each, and the person who sets them all up with Ansible.

Ansible is the real one, over real ssh. GitHub is an sshd of the tests that the machines reach as a mirror, each by a
line of its own, which counts what it carries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import uv
from conftest import PROJECT
from machines import Machine, host_env, machine
from ports import free_port
from relay import Relay
from ssh_server import USER, SshServer, make_key

import tlc

PLAY = PROJECT / "docs/ansible/tlc.yml"
PACKAGES = "python3 git openssh-server openssh-client postgresql postgresql-client"

SSHD = """
Port {port}
ListenAddress 127.0.0.1
PidFile none
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
AuthorizedKeysFile /etc/ssh/keys
StrictModes no
SetEnv {env}
"""

# The mirror is another host than GitHub, whose key tlc puts into known_hosts by itself.
MIRROR = """
Host mirror.test
    HostName 127.0.0.1
    Port {port}
    HostKeyAlias mirror.test
    UserKnownHostsFile ~/.ssh/mirror
"""


def ansible() -> str:
    """Return ansible-playbook's path: the development environment's, else the machine's."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    return str(beside) if beside.exists() else shutil.which("ansible-playbook") or ""


@dataclass(frozen=True)
class Played:
    """The result of a play: its exit code, what it said, and of each machine how many tasks ended how."""

    code: int
    said: str

    def counts(self, name: str) -> tuple[set[str], set[str]]:
        """Return the names of the machines where that count of the recap is 0, and of the others."""
        found = re.findall(rf"(?m)^(\S+) +: ok=.*\b{name}=(\d+)", self.said)
        assert found, self.said
        return ({host for host, n in found if n == "0"}, {host for host, n in found if n != "0"})

    def seconds(self) -> float:
        """Return how long `tlc up` was at work, from the first machine's start to the last one's end (-v)."""
        moments = [
            [
                datetime.fromisoformat(each)
                for each in re.findall(rf'"{name}": "([^"]+)"', self.up())
            ]
            for name in ("start", "end")
        ]
        assert all(moments), self.said
        return (max(moments[1]) - min(moments[0])).total_seconds()

    def up(self) -> str:
        """Return what the task said that ran `tlc up`."""
        return self.said.partition("TASK [Run tlc up]")[2].partition("\nTASK ")[0]

    def message(self, host: str) -> str:
        """Return what a machine's failed task says, "" where none failed."""
        found = re.search(rf"(?m)^fatal: \[{host}\]: FAILED! => (.*)$", self.said)
        message = json.loads(found[1])["msg"] if found else ""
        return message if isinstance(message, str) else "\n".join(message)


class Member:
    """One machine of the fleet."""

    def __init__(self, it: Machine, name: str, login: str, relay: Relay) -> None:
        self.it, self.name, self.login, self.relay = it, name, login, relay
        self.port, self.postgresql = free_port(), free_port()
        self.variables: dict[str, object] = {}

    def set_up(self, public: str, private: str, host_key: str) -> None:
        """Give it what a person's machine has before tlc comes: an sshd, uv and packages to install."""
        it = self.it
        it.write("/etc/apt/sources.list", "")
        names = tlc.DEFAULT_PACKAGES["apt-get"].replace("|", " ").split()
        it.offer(*(name for name in names if not it.exists(f"/var/lib/dpkg/info/{name}.list")))
        for name, program in {"gh": "gh", "gcc": "cc"}.items():
            it.offer(name, files={f"/usr/bin/{program}": f"#!/bin/sh\necho {program} 2.99.0 >&2\n"})
        it.must("apt-get", "-qq", "update")
        it.write("/usr/local/bin/uv", Path(uv.find_uv_bin()).read_bytes(), 0o755)
        [settings] = (it.path / "etc/postgresql").glob("*/main/postgresql.conf")
        text = re.sub(r"(?m)^port = .*", f"port = {self.postgresql}", settings.read_text())
        settings.write_text(text)
        it.write("/home/dev/.ssh/id_ed25519", private, 0o600)
        it.write("/home/dev/.ssh/config", MIRROR.format(port=self.relay.port), 0o600)
        it.write("/home/dev/.ssh/mirror", f"mirror.test {host_key}\n")
        url = f"ssh://{USER}@mirror.test/"
        it.write("/home/dev/.gitconfig", f'[url "{url}"]\n\tinsteadOf = git@github.com:\n')
        it.must("chmod", "700", "/home/dev/.ssh")
        env = " ".join(f'"{name}={value}"' for name, value in host_env().items())
        it.write("/etc/ssh/sshd_fleet", SSHD.format(port=self.port, env=env or "LANG=C.UTF-8"))
        it.write("/etc/ssh/keys", public)
        it.must("mkdir", "-p", "/run/sshd")
        it.must("/usr/sbin/sshd", "-f", "/etc/ssh/sshd_fleet")

    def line(self) -> str:
        """Return its line of the inventory."""
        told = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": self.login,
            "tlc_user": "dev",
            "tlc_local_config": f"[postgres]\nport = {self.postgresql}\n",
            **self.variables,
        }
        return json.dumps(told)


class Fleet:
    """Machines, a config for all of them, and the play."""

    def __init__(self, directory: Path, archive: Path, members: list[Member], key: Path) -> None:
        self.directory, self.archive, self.members, self.key = directory, archive, members, key
        self.config = directory / "config.toml"

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def play(self, *options: str, env: Mapping[str, str] | None = None) -> Played:
        """Run docs/ansible/tlc.yml on all machines."""
        hosts = {each.name: json.loads(each.line()) for each in self}
        common = f"-F none -i {self.key} -o IdentitiesOnly=yes -o UserKnownHostsFile={self.directory}/known -o StrictHostKeyChecking=accept-new"
        variables = {
            "ansible_ssh_common_args": common,
            "tlc_archive": str(self.archive),
            "tlc_config": str(self.config),
            "tlc_environment": host_env(),
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory = self.directory / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "4",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": "/tmp/tlc-fleet",
        }
        words = [ansible(), "-i", str(inventory), str(PLAY), *options]
        done = subprocess.run(
            words,
            env={**environ, **(env or {})},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return Played(done.returncode, done.stdout + done.stderr)


@contextmanager
def fleet(
    directory: Path, archive: Path, repositories: Path, logins: Mapping[str, str]
) -> Iterator[Fleet]:
    """Machines of these names, each with who logs in there; root, or dev with a free sudo."""
    key = directory / "key"
    public = make_key(key)
    archive = Path(shutil.copy(archive, directory / "tlc.pyz"))
    checksum = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True)
    archive.with_name("tlc.pyz.sha256").write_text(checksum.stdout)
    with ExitStack() as stack:
        server = stack.enter_context(SshServer(directory / "github", repositories))
        server.admit(public)
        members = []
        for name, login in logins.items():
            sudo = "free" if login == "dev" else "password"
            it = stack.enter_context(
                machine(directory / name, "debian-12", packages=PACKAGES, sudo=sudo)
            )
            relay = stack.enter_context(Relay(server.port))
            members.append(Member(it, name, login, relay))
            members[-1].set_up(public, key.read_text(), server.host_key)
        yield Fleet(directory, archive, members, key)
