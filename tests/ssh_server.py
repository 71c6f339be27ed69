"""A real sshd on loopback that plays GitHub, and a person whose ssh leads there."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from ports import free_port
from processes import children, must

USER = pwd.getpwuid(os.getuid()).pw_name
PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"

SSHD_CONFIG = """
ListenAddress 127.0.0.1
PidFile none
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AcceptEnv GIT_PROTOCOL
# bash reads ~/.bashrc, whose owner is nobody of ours, at the first level only.
SetEnv SHLVL=1
MaxSessions {max_sessions}
MaxStartups {max_startups}
LogLevel VERBOSE
"""
# Newer sshds lock out an address with many failures: here all come from one. Older ones do not know the option.
IF_KNOWN = "PerSourcePenalties no"

# What a key may do: fetch from the repositories below one directory. Messages as GitHub's.
WRAPPER = """#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
    "") echo "Hi! You've successfully authenticated, but GitHub does not provide shell access." >&2; exit 1 ;;
    "git-upload-pack '"*"'") path=${{SSH_ORIGINAL_COMMAND#*\\'}} ;;
    *) echo "ERROR: only git-upload-pack" >&2; exit 1 ;;
esac
path=${{path%\\'}}
path=${{path#/}}
case $path in
    *[!A-Za-z0-9._/-]* | ../* | */../* | */.. | "") path=refused ;;
esac
if [ ! -d {repositories}/"$path" ]; then
    echo "ERROR: Repository not found." >&2
    exit 1
fi
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
exec {git} -c uploadpack.allowFilter=true upload-pack {repositories}/"$path"
"""

# The person's own ssh. The real one takes ~ from the password database, not from HOME, so it is told where to look.
SSH = """#!/bin/sh
printf '%s\\n' "$*" >>{log}
exec {ssh} -F {config} "$@"
"""

SSH_CONFIG = """
Host github.com
    HostName 127.0.0.1
    Port {port}
    # The host key is known by name, whichever port leads to it.
    HostKeyAlias github.com
Host *
    IdentityFile {directory}/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
"""


def missing() -> str:
    """Why there can be no server here, with the mend; "" when there can."""
    if shutil.which("sshd", path=PATH):
        return ""
    return "sshd is missing: sudo apt-get install openssh-server, or your system's package"


def make_key(path: Path, passphrase: str = "") -> str:
    """Make a key pair `path`, `path`.pub anew; return the public line, without its comment."""
    path.unlink(missing_ok=True)
    must("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path)
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


@dataclass(frozen=True)
class Visits:
    """What sshd's log tells: TCP connections, those that proved who they are, and commands they ran."""

    connections: int
    authentications: int
    sessions: int


class SshServer:
    """An sshd, for a `with`, that lets the current user fetch `{repositories}/owner/name.git`. No account is made.

    It works as root and as anyone else. `.port` is where it listens, `.host_key` the key it shows (public line).
    """

    def __init__(
        self,
        directory: Path,
        repositories: Path,
        max_sessions: int = 10,
        max_startups: str = "100",
    ) -> None:
        self.directory = directory
        self.log = directory / "sshd.log"
        self.wrapper = directory / "wrapper"
        self.forgotten = 0
        directory.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(directory / "host_key")
        self.admit("")
        self.wrapper.write_text(
            WRAPPER.format(
                repositories=shlex.quote(str(repositories)), git=shutil.which("git") or "git"
            )
        )
        self.wrapper.chmod(0o755)
        self.config = directory / "sshd_config"
        self.config.write_text(
            SSHD_CONFIG.format(
                directory=directory, max_sessions=max_sessions, max_startups=max_startups
            )
        )

    def __enter__(self) -> SshServer:
        sshd = shutil.which("sshd", path=PATH)
        assert sshd, missing()
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it will not start without
        known = (
            subprocess.run(
                [sshd, "-t", "-f", self.config, "-o", IF_KNOWN], capture_output=True
            ).returncode
            == 0
        )
        options = ["-o", IF_KNOWN] if known else []
        self.port = free_port()
        self.process = subprocess.Popen(
            [sshd, "-D", "-E", self.log, "-f", self.config, "-p", str(self.port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while f"Server listening on 127.0.0.1 port {self.port}." not in self._log():
            started = self.process.poll() is None and time.monotonic() < deadline
            assert started, f"sshd did not start:\n{self._log()}"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        left = self.live()
        self.process.terminate()
        self.process.wait(60)
        self._end(left)

    def _log(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _end(self, connections: list[int]) -> None:
        for pid in connections:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue

    def admit(self, public_key: str) -> None:
        """Let this key in from now on, and no other; "" for none at all."""
        line = f'restrict,command="{self.wrapper}" {public_key}\n' if public_key else ""
        (self.directory / "authorized_keys").write_text(line)

    def live(self) -> list[int]:
        """The process of each connection that is open now."""
        return children(self.process.pid)

    def visits(self) -> Visits:
        """What happened since forget(), or since the start."""
        log = self._log()[self.forgotten :]
        return Visits(
            log.count("Connection from "),
            log.count("Accepted publickey"),
            log.count("Starting session: "),
        )

    def forget(self) -> None:
        """Count visits from now on."""
        self.forgotten = len(self._log())


class SshAccess:
    """Someone whose git@github.com: is a server: a key of theirs, an ~/.ssh and an `ssh` that reads it.

    `env` gets that `ssh` as the first on its PATH. The real ssh looks for ~/.ssh in the home directory that the
    password database names, whatever HOME says; so this one, a script, passes it `-F`. It is no GIT_SSH_COMMAND
    or the like, with which tlc would not share connections, and answers `ssh -G` as well.
    """

    def __init__(self, home: Path, env: MutableMapping[str, str], server: SshServer) -> None:
        self.env, self.server = env, server
        self.directory = home / ".ssh"
        self.key = self.directory / "id_ed25519"
        self.known_hosts = self.directory / "known_hosts"
        self.ssh = home / "bin" / "ssh"
        self.log = self.directory / "calls.log"
        self.directory.mkdir(mode=0o700, parents=True)
        self.ssh.parent.mkdir(exist_ok=True)
        env["PATH"] = f"{self.ssh.parent}:{env['PATH']}"
        self.new_key()
        self.know(server.host_key)
        self.configure(server.port)
        real = shutil.which("ssh") or "ssh"
        self.ssh.write_text(SSH.format(log=self.log, ssh=real, config=self.directory / "config"))
        self.ssh.chmod(0o755)
        must(
            "git",
            "config",
            "--global",
            f"url.ssh://{USER}@github.com/.insteadOf",
            "git@github.com:",
            env=env,
        )

    def configure(self, port: int, *lines: str) -> None:
        """Write ~/.ssh/config: github.com is at that port; `lines` hold for every host and come first."""
        text = SSH_CONFIG.format(port=port, directory=self.directory)
        (self.directory / "config").write_text("".join(f"{line}\n" for line in lines) + text)

    def new_key(self, passphrase: str = "") -> None:
        """Have a new key, which the server admits."""
        self.server.admit(make_key(self.key, passphrase))

    def know(self, *host_keys: str) -> None:
        """Know github.com by these host keys."""
        self.known_hosts.write_text("".join(f"github.com {key}\n" for key in host_keys))

    def calls(self) -> list[str]:
        """The arguments of every `ssh` so far, a line for each."""
        return self.log.read_text().splitlines() if self.log.exists() else []
