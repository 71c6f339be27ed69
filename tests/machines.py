"""Throwaway machines: real Debian roots with a user `dev`, and two of them dressed as Arch and Fedora.

    with machine(tmp_path, "debian-12", packages="git", sudo="password") as it:
        assert it.run("git", "--version").code == 0

A machine is a set of namespaces around a copy-on-write view of a cached root. Its processes live as long as it does,
and end with it; so do its mounts. The network is the host's.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from apt_archive import AptArchive, Key
from conftest import KEPT, Run
from processes import children, must
from terminal import Terminal

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlc-tests"
CODENAMES = {"debian-11": "bullseye", "debian-12": "bookworm", "debian-13": "trixie"}
KINDS = [*CODENAMES, "arch", "fedora"]
PASSWORD = "secret"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
USERS = {"root": (0, "/root", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")}
USERS["dev"] = (1000, "/home/dev", "/usr/local/bin:/usr/bin:/bin")

# The first process of a machine. $1 is the root to lay below, or nothing; $2 the directory to live in; $3 the name.
# It ends when its stdin does, that is with the process that started it, however that ends.
BOOT = r"""
set -e
read -r pid _ </proc/self/stat  # as the host numbers it: the machine's own /proc comes later
echo "$3" >/proc/sys/kernel/hostname
if [ -n "$1" ]; then
    mount -t overlay -o "lowerdir=$1,upperdir=$2/changed,workdir=$2/work,volatile" overlay "$2/root" 2>/dev/null ||
        { cp -a --reflink=auto "$1/." "$2/root" && mount --bind "$2/root" "$2/root"; }
else
    mount --bind "$2/root" "$2/root"
fi
cd "$2/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt; echo "$0"; cat <&3 >/dev/null & wait' "$pid" 3<&0
"""

# A minimal Debian; what is mounted meanwhile is never seen outside.
DEBOOTSTRAP = "unshare --mount --pid --fork --kill-child --mount-proc".split()
DEBOOTSTRAP += "debootstrap --variant=minbase --include=sudo,ca-certificates".split()

# What every root gets. Services are not started by their packages: all machines share the ports of the host.
SETTLE = f"""
set -e
useradd --create-home --shell /bin/bash --uid 1000 dev
echo dev:{PASSWORD} | chpasswd
printf 'Defaults logfile=/var/log/sudo.log,loglinelen=0\n' >/etc/sudoers.d/log
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
update-ca-certificates >/dev/null 2>&1
apt-get clean
"""

INSTALL = """
set -e
export DEBIAN_FRONTEND=noninteractive
echo 'Acquire::Retries "3";' >/etc/apt/apt.conf.d/80retries
apt-get -qq update
apt-get -qq install -y --no-install-recommends "$@" >/dev/null
rm /etc/apt/apt.conf.d/80retries
apt-get clean
rm -rf /var/lib/apt/lists/*
"""

# Debian's own package manager is put out of sight, and its name taken off.
DISGUISE = """
set -e
mkdir /usr/lib/debian
mv /usr/bin/apt* /usr/bin/dpkg* /usr/lib/debian
rm -f /etc/debian_version /etc/apt/sources.list
printf 'NAME="%s Linux"\\nID=%s\\nPRETTY_NAME="%s Linux"\\n' "$1" "$1" "$1" >/usr/lib/os-release
mkdir -p /srv/packages
chown dev:dev /srv/packages
! command -v rpm >/dev/null || rpm --initdb
"""

PACMAN_CONF = """[options]
Architecture = auto
SigLevel = Never
[offered]
Server = file:///srv/packages
"""
# Debian keeps root's and everybody else's packages of rpm apart, each in their home.
RPM_MACROS = "%_dbpath /var/lib/rpm\n"
DNF_REPO = "[offered]\nname=offered\nbaseurl=file:///srv/packages\ngpgcheck=0\nmetadata_expire=0\n"

# Kind -> the Debian packages that make it one, and its settings.
DISGUISES = {
    "arch": (
        "pacman-package-manager makepkg libarchive-tools fakeroot binutils file zstd xz-utils",
        {"/etc/pacman.conf": PACMAN_CONF},
    ),
    "fedora": (
        "dnf rpm createrepo-c file",
        {
            "/etc/rpm/macros": RPM_MACROS,
            "/etc/yum.repos.d/offered.repo": DNF_REPO,
            "/etc/dnf/vars/releasever": "42",
        },
    ),
}

# The name it was called by leads Python to its library, or to a virtual environment.
PYTHON = """#!/bin/sh
exec /opt/python/lib/{loader} --argv0 "$0" --library-path /opt/python/lib /opt/python/lib/python "$@"
"""


@functools.cache
def missing() -> str:
    """Why there can be no machines here, with the mend; "" when there can."""
    if os.getuid():
        return "machines need root: sudo make test-machines"
    tools = (
        "debootstrap apt-get dpkg-deb apt-ftparchive gpg openssl unshare nsenter pivot_root".split()
    )
    if absent := [tool for tool in tools if not shutil.which(tool)]:
        return f"machines need {', '.join(absent)}: sh tests/system-packages.sh machines"
    if subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True
    ).returncode:
        return "machines need mount namespaces: not in this container, else start it --privileged"
    return ""


# For the tests' pytestmark.
needs_machines = [pytest.mark.machines, pytest.mark.skipif(bool(missing()), reason=missing())]


@functools.cache
def host_files() -> dict[str, str]:
    """The files with which this host reaches mirrors and the network, to be laid into every root."""
    paths = [Path("/etc", name) for name in ("pip.conf", "npmrc", "uv/uv.toml")]
    paths += sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt"))
    files = {str(path): path.read_text() for path in paths if path.exists()}
    reached = re.compile(r"Acquire::(https?|Check-|ForceIPv)")
    lines = [
        line
        for line in must("apt-config", "dump").splitlines()
        if reached.match(line) and '""' not in line
    ]
    return {**files, "/etc/apt/apt.conf.d/90host": "".join(f"{line}\n" for line in lines)}


@functools.cache
def mirrors() -> list[str]:
    """Where this host gets Debian and its security updates from; "" where it is no Debian."""
    listed = must(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Identifier: Packages"
    )
    found = [
        re.search(rf"^(\S+/{name})/? main$", listed, re.MULTILINE)
        for name in ("debian", "debian-security")
    ]
    return [match[1] if match else "" for match in found]


def sources(it: Machine, codename: str) -> str:
    """The apt sources of a Debian that debootstrap has just made: it leaves one line."""
    main = it.read("/etc/apt/sources.list").split()[1]
    security = mirrors()[1] or f"{main}-security"
    return f"deb {main} {codename} main\ndeb {main} {codename}-updates main\ndeb {security} {codename}-security main\n"


def host_env() -> dict[str, str]:
    """The variables with which this host reaches mirrors and the network, as they are right inside a machine."""
    env = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    for name in env:
        if re.search(r"_DIR$", name):
            env[name] = os.path.dirname(BUNDLE)
        elif re.search(r"CERT|_CA_|CAINFO", name):
            env[name] = BUNDLE
    return {
        name: value for name, value in env.items() if not re.search("CONFIG_FILE|FIND_LINKS", name)
    }


def root(kind: str, packages: str = "") -> Path:
    """The cached root of a machine with these Debian packages, made at its first use. It is never written to."""
    codename = CODENAMES.get(kind, "bookworm")
    more, files = DISGUISES.get(kind, ("", {}))
    added = [*packages.split(), *more.split()]
    recipe = [
        codename,
        DEBOOTSTRAP,
        SETTLE,
        mirrors(),
        host_files(),
        *([INSTALL, added] if added else []),
    ]
    if files:
        recipe += [DISGUISE, files]
    path = CACHE / "-".join(
        [kind, *packages.split(), hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]]
    )
    CACHE.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            building = path.with_suffix(".new")
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            if added:
                plain = next(name for name in CODENAMES if CODENAMES[name] == codename)
                must("cp", "-a", "--reflink=auto", root(plain), building / "root")
            else:
                must(*DEBOOTSTRAP, codename, building / "root", *filter(None, mirrors()[:1]))
            with Machine(building) as it:
                if added:
                    it.must("sh", "-c", INSTALL, "sh", *added, timeout=900)
                else:
                    it.lay({"/etc/apt/sources.list": sources(it, codename), **host_files()})
                    it.must("sh", "-c", SETTLE)
                if files:
                    it.lay(files)
                    it.must("sh", "-c", DISGUISE, "sh", kind)
            (building / "root").rename(path)
            shutil.rmtree(building)
    return path


class Process:
    """A program that runs in a machine."""

    def __init__(self, it: Machine, process: subprocess.Popen[str], input: str | None) -> None:
        self.machine, self.process, self.input = it, process, input

    def signal(self, number: int = signal.SIGINT) -> None:
        """Send a signal to the program itself, as `kill` does. For Ctrl-C see Machine.terminal()."""
        for pid in children(self.process.pid):
            os.kill(pid, number)

    def wait(self, timeout: float = 60) -> Run:
        """Wait for its end. When that takes too long the machine is ended with all that runs there."""
        try:
            out, err = self.process.communicate(self.input, timeout=timeout)
        except subprocess.TimeoutExpired:
            self.machine.close()
            out, err = self.process.communicate()
            raise AssertionError(
                f"{self.process.args!r} took more than {timeout} s:\n{out}{err}"
            ) from None
        return Run(self.process.returncode, out, err)


class Machine:
    """A running machine, for a `with`: the root `lower` with changes of its own, else `{directory}/root` itself.

    `.path` is its root directory as seen from outside: never resolve() a path there, and mind that absolute symbolic
    links there lead to the host's files.
    """

    def __init__(
        self,
        directory: Path,
        lower: Path | None = None,
        name: str = "machine",
        network: bool = True,
    ) -> None:
        self.directory, self.lower, self.name, self.network = directory, lower, name, network
        self.env = host_env()
        self.archive: AptArchive | None = None
        for part in ("root", "changed", "work"):
            (directory / part).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Machine:
        alone = "unshare --mount --pid --ipc --uts --fork --kill-child".split() + ["--net"] * (
            not self.network
        )
        self.process = subprocess.Popen(
            [*alone, "sh", "-c", BOOT, "boot", self.lower or "", self.directory, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.first = self.process.stdout.readline().strip()
        if not self.first:
            raise AssertionError(f"the machine did not start: {self.process.communicate()[1]}")
        self.path = Path(f"/proc/{self.first}/root")
        self.write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the machine, and with it all its processes and mounts."""
        if self.process.poll() is None:
            os.kill(int(self.first), signal.SIGKILL)
        self.process.communicate()

    def command(self, *argv: str, user: str = "dev", terminal: bool = False) -> list[str]:
        """The command of the host that runs `argv` as this user, in their home, in a session of its own."""
        enter = [shutil.which("nsenter") or "nsenter", "-t", self.first, "-m", "-p", "-i", "-u"]
        # nsenter stays outside and would die of a Ctrl-C: what it starts gets the terminal for itself.
        session = ["setsid", *(["--ctty"] if terminal else [])]
        identity = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
        network = [] if self.network else ["-n"]
        return [*enter, *network, "--", *session, *identity, "env", "-C", USERS[user][1], *argv]

    def environment(self, user: str = "dev") -> dict[str, str]:
        """What a login gives to this user, and what leads to the network."""
        _, home, path = USERS[user]
        login = {
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "PATH": path,
            "LANG": "C.UTF-8",
        }
        return {**self.env, **login}

    def popen(
        self,
        *argv: str,
        user: str = "dev",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> Process:
        """Start a program; without `input` stdin is empty. See run()."""
        process = subprocess.Popen(
            self.command(*argv, user=user),
            env={**self.environment(user), **(env or {})},
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        return Process(self, process, input)

    def run(
        self,
        *argv: str,
        user: str = "dev",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
    ) -> Run:
        """Run a program to its end as "dev" or "root", with `env` added to what a login gives."""
        return self.popen(*argv, user=user, env=env, input=input).wait(timeout)

    def must(self, *argv: str, user: str = "root", timeout: float = 60) -> str:
        """Run a program that succeeds; return its output."""
        run = self.run(*argv, user=user, timeout=timeout)
        assert run.code == 0, f"{argv}: {run.out}{run.err}"
        return run.out

    def terminal(
        self, *argv: str, user: str = "dev", env: Mapping[str, str] | None = None
    ) -> Terminal:
        """Run a program on a terminal of its own, where Ctrl-C, /dev/tty and sudo's question work."""
        return Terminal(
            self.command(*argv, user=user, terminal=True), {**self.environment(user), **(env or {})}
        )

    def _inside(self, path: str) -> Path:
        return self.path / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Whether there is something at an absolute path."""
        return os.path.lexists(self._inside(path))

    def read(self, path: str) -> str:
        """The text of a file; "" when there is none."""
        inside = self._inside(path)
        return inside.read_text(encoding="utf-8") if inside.exists() else ""

    def write(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "") -> None:
        """Write a file, its directories too. Its owner is dev below their home, else root, where none is given."""
        inside = self._inside(path)
        who = USERS[owner or ("dev" if path.startswith("/home/dev/") else "root")][0]
        above = [parent for parent in inside.parents if not parent.exists()]
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes(content.encode() if isinstance(content, str) else content)
        inside.chmod(mode)
        for made in [inside, *above]:
            os.chown(made, who, who)

    def lay(self, files: Mapping[str, str]) -> None:
        """Write files of root's: path -> text."""
        for path, text in files.items():
            self.write(path, text)

    def allow_sudo(self, sudo: str) -> None:
        """What dev may do: "free" sudo without a password, with PASSWORD ("password"), "refused", "missing"."""
        if sudo == "free":
            self.write("/etc/sudoers.d/dev", "dev ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
        elif sudo == "password":
            self.must("usermod", "--append", "--groups", "sudo", "dev")
        elif sudo == "missing":
            self._inside("/usr/bin/sudo").unlink()
        else:
            assert sudo == "refused", sudo

    def privileged(self) -> list[str]:
        """The commands that sudo ran, or refused to run, so far, as its log has them."""
        return re.findall(r"COMMAND=(.*)", self.read("/var/log/sudo.log"))

    def processes(self) -> list[str]:
        """The command lines of what runs here, but for the machine itself."""
        lines = []
        for pid in sorted(
            int(entry.name) for entry in self._inside("/proc").iterdir() if entry.name.isdigit()
        ):
            with suppress(ProcessLookupError, FileNotFoundError):  # it may end meanwhile
                lines.append(self.read(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " "))
        return [line for line in lines[1:] if line not in ("cat", "")]

    def resolve(self, address: str, *names: str) -> None:
        """Let these host names lead to an address, past any proxy."""
        with self._inside("/etc/hosts").open("a") as hosts:
            hosts.write(f"{address} {' '.join(names)}\n")
        for name in ("no_proxy", "NO_PROXY"):
            self.env[name] = ",".join([*filter(None, [self.env.get(name)]), *names])

    def trust(self, authority: Path) -> None:
        """Put a certificate authority into the system's store."""
        self.write(f"/usr/local/share/ca-certificates/{authority.stem}.crt", authority.read_text())
        self.must("update-ca-certificates")

    def offer(
        self, *names: str, version: str = "1.0", files: Mapping[str, str] | None = None
    ) -> None:
        """Have packages of these names in a repository of the machine's own, for its own package manager.

        Each has a file /usr/share/offered/NAME, and the given files (path -> text, executable): with those, name one.
        """
        files = files or {}
        if self.name == "arch":
            self._offer_pacman(names, version, files)
        elif self.name == "fedora":
            self._offer_rpm(names, version, files)
        else:
            self._offer_deb(names, version, files)

    def _offer_deb(self, names: tuple[str, ...], version: str, files: Mapping[str, str]) -> None:
        if not self.archive:
            self.archive = AptArchive(self.directory / "offered", Key("offered"), "offered")
            self.write("/etc/apt/keyrings/offered.asc", self.archive.key.public)
            source = (
                "deb [signed-by=/etc/apt/keyrings/offered.asc] file:///srv/packages offered main\n"
            )
            self.write("/etc/apt/sources.list.d/offered.list", source)
        for name in names:
            self.archive.add(name, version, files=files)
        self.archive.publish()
        must("cp", "-aT", self.archive.directory, self.path / "srv/packages")

    def _offer_pacman(self, names: tuple[str, ...], version: str, files: Mapping[str, str]) -> None:
        build = (
            f"pkgbase=offered pkgname=({' '.join(names)}) pkgver={version} pkgrel=1 arch=(any)\n"
        )
        for name in names:
            build += (
                f'package_{name}() {{ cd "$pkgdir"; install -D /dev/null usr/share/offered/{name}'
            )
            build += (
                "".join(f'; install -D -m 755 "$startdir/files{path}" ".{path}"' for path in files)
                + "; }\n"
            )
        self._lay_out("PKGBUILD", build, files)
        self.must(
            "sh",
            "-c",
            "cd /home/dev/.offer && PKGDEST=/srv/packages makepkg --force --nodeps",
            user="dev",
        )
        self.must(
            "sh",
            "-c",
            "cd /srv/packages && repo-add --quiet offered.db.tar.gz *.pkg.tar.*",
            user="dev",
        )
        self.must("rm", "-r", "/home/dev/.offer")
        self.must("pacman", "-Sy")

    def _offer_rpm(self, names: tuple[str, ...], version: str, files: Mapping[str, str]) -> None:
        spec = f"Name: offered\nVersion: {version}\nRelease: 1\nSummary: offered\nLicense: MIT\n"
        spec += "BuildArch: noarch\n"
        spec += "%description\n%install\nmkdir -p files %{buildroot}/usr/share/offered\ncp -r files/. %{buildroot}\n"
        spec += "".join(f"touch %{{buildroot}}/usr/share/offered/{name}\n" for name in names)
        for name in names:
            spec += f"%package -n {name}\nSummary: {name}\nAutoReqProv: no\n%description -n {name}\n%files -n {name}\n"
            spec += "".join(f"{path}\n" for path in [f"/usr/share/offered/{name}", *files])
        self._lay_out("offered.spec", spec, files)
        options = "--define '_builddir /home/dev/.offer' --define '_rpmdir /srv/packages'"
        self.must(
            "sh",
            "-c",
            f"cd /home/dev/.offer && rpmbuild --quiet -bb {options} offered.spec",
            user="dev",
        )
        self.must("createrepo_c", "--quiet", "/srv/packages", user="dev")
        self.must("rm", "-r", "/home/dev/.offer")

    def _lay_out(self, recipe: str, text: str, files: Mapping[str, str]) -> None:
        self.write(f"/home/dev/.offer/{recipe}", text)
        for path, content in files.items():
            self.write(f"/home/dev/.offer/files{path}", content, 0o755)


class MachineUser:
    """A person at a machine: "dev", "root", or another account that is there."""

    def __init__(self, it: Machine, user: str = "dev") -> None:
        self.it, self.user = it, user
        self.home = {"root": "/root", "postgres": "/var/lib/postgresql"}.get(user, "/home/dev")

    def run(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
        leaves: str = "*",
    ) -> Run:
        """Run a program. No traceback, and nothing of these names left in /tmp."""
        run = self.it.run(*words, user=self.user, env=env, input=input, timeout=timeout)
        assert "Traceback" not in run.out + run.err + self.logged()
        assert self.it.must("find", "/tmp", "-mindepth", "1", "-name", leaves) == "", run.err
        return run

    def login(self, line: str, timeout: float = 60) -> Run:
        """Run a line in a new login shell."""
        return self.run("bash", "-lc", line, timeout=timeout)

    def logged(self) -> str:
        """Return the logs of all runs, "" where there is none."""
        state = f"{self.home}/.local/state/tlc"
        found = self.it.run("find", state, "-name", "*.log", user="root").out.split()
        return "".join(self.it.read(path) for path in sorted(found))

    def log(self) -> str:
        """Return the logs of all runs; none at all is a failure."""
        logged = self.logged()
        assert logged, "no log was written"
        return logged


@contextmanager
def machine(
    directory: Path, kind: str, *, packages: str = "", sudo: str = "free", network: bool = True
) -> Iterator[Machine]:
    """A machine of one of KINDS with these Debian packages beforehand ("python3 git"); see Machine.allow_sudo()."""
    with Machine(directory / kind, root(kind, packages), kind, network) as it:
        it.write("/etc/hosts", f"127.0.0.1 localhost {kind}\n")
        it.allow_sudo(sudo)
        yield it


def lay_python(it: Machine) -> None:
    """Put Debian 12's Python 3.11, with venv and ensurepip, on the PATH of an older machine, as python3.11.

    It brings a C library of its own, so it cannot load what is compiled on the machine.
    """
    source = root("debian-12", "python3-venv")
    library = source / "usr/lib/python3.11"
    objects = [f"/{path.relative_to(source)}" for path in library.glob("lib-dynload/*.so")]
    needed = set(
        re.findall(r"(/\S+) \(0x", must("chroot", source, "ldd", "/usr/bin/python3.11", *objects))
    )
    target = it.path / "opt/python/lib"
    target.mkdir(parents=True)
    must("cp", "-a", library, target)
    must("cp", "-aT", source / "usr/share/python-wheels", it.path / "usr/share/python-wheels")
    must("cp", "-L", *(f"{source}{path}" for path in sorted(needed)), target)
    must("cp", source / "usr/bin/python3.11", target / "python")
    loader = next(Path(path).name for path in needed if "/ld-linux" in path)
    it.write("/opt/python/bin/python3.11", PYTHON.format(loader=loader), 0o755)
    # No link: a virtual environment would look for the library beside it.
    it.write(
        "/usr/local/bin/python3.11", '#!/bin/sh\nexec /opt/python/bin/python3.11 "$@"\n', 0o755
    )
