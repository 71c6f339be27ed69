"""The stories of install-tools and of ensure-db-user's sudo, told to the built archive on throwaway machines."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uv
from apt_archive import AptArchive, Key
from conftest import PROJECT, Run, soon
from https_server import Answer, HttpsServer
from machines import (
    CODENAMES,
    PASSWORD,
    Machine,
    MachineUser,
    Process,
    lay_python,
    machine,
    needs_machines,
)
from ports import free_port
from terminal import Terminal

pytestmark = needs_machines

SCRIPTS = "scripts.example.com"
PGDG = "apt.postgresql.org/pub/repos/apt"
PGDG_KEY = "www.postgresql.org/media/keys/ACCC4CF8.asc"
FINGERPRINT = "B97B0AFCAA1A47F044F244A07FCC7D46ACCC4CF8"
PGDG_FILES = [
    "/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc",
    "/etc/apt/sources.list.d/pgdg.sources",
]

# Holds a lock as apt and dpkg do, until it is told to let go.
HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
open("/var/tmp/held", "w").close()
while not os.path.exists("/var/tmp/let-go"):
    time.sleep(0.02)
"""

Results = dict[str, tuple[str, str]]


class MachineOwner(MachineUser):
    """A person (dev or root) who runs install-tools at a machine with tlc and a config."""

    def __init__(self, it: Machine, archive: Path, user: str = "dev") -> None:
        super().__init__(it, user)
        self.python = "python3.11" if it.name == "debian-11" else "python3"
        self.defaults = False  # whether it installs what tlc installs by default, too
        it.write("/opt/tlc.pyz", archive.read_bytes())

    def config(self, text: str = "", **tools: list[str]) -> None:
        """Write a config with these lists of [tools], and the text after them."""
        lines = [f"{name} = {values}\n" for name, values in tools.items()]
        self.it.write(
            f"{self.home}/code/config.toml", f'versions = ["18.0"]\n[tools]\n{"".join(lines)}{text}'
        )

    def words(self, *args: str) -> list[str]:
        only = [] if self.defaults else ["--no-default-packages"]
        return [self.python, "/opt/tlc.pyz", "--yes", "install-tools", *only, *args]

    def install(
        self, *args: str, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> Run:
        """Run install-tools, with only the config's packages unless `defaults` is set."""
        return self.run(*self.words(*args), env=env, timeout=timeout, leaves="tlc-*")

    def results(
        self, *args: str, code: int = 0, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> Results:
        """The same; its results: name -> status, message. None at all is a failure."""
        run = self.install("--json", *args, env=env, timeout=timeout)
        assert run.code == code, run.out + run.err + self.logged()
        found = run.json()["results"]
        assert found, run.out + run.err
        return {each["name"]: (each["status"], each["message"]) for each in found}

    def start(self, *args: str) -> Process:
        return self.it.popen(*self.words(*args), user=self.user)

    def terminal(self, *args: str) -> Terminal:
        return self.it.terminal(*self.words(*args), user=self.user)


@contextmanager
def owner(
    directory: Path,
    archive: Path,
    kind: str = "debian-12",
    user: str = "dev",
    packages: str = "python3",
    **more: Any,
) -> Iterator[MachineOwner]:
    """A bare machine whose package manager has nothing to offer yet."""
    with machine(directory, kind, packages="" if kind == "debian-11" else packages, **more) as it:
        if kind == "debian-11":
            lay_python(it)
        if kind in CODENAMES:
            it.write("/etc/apt/sources.list", "")
            it.write("/etc/apt/apt.conf.d/95once", 'Acquire::Retries "0";\n')
        yield MachineOwner(it, archive, user)


def offer(it: Machine, name: str, **more: Any) -> None:
    """Offer one package, with what AptArchive.add() takes."""
    it.offer()
    assert it.archive
    it.archive.add(name, **more)
    it.offer()


def statuses(results: Results) -> dict[str, str]:
    return {name: status for name, (status, _) in results.items()}


def standing(it: Machine) -> str:
    """All files of a machine, with size and time of change."""
    places = ["/", "-xdev", "-not", "-path", "/proc*", "-not", "-path", "/dev*"]
    return it.must("find", *places, "-printf", "%p %s %T@ %m %U\n")


# --- the whole story


@pytest.mark.parametrize("kind", CODENAMES)
def test_a_bare_debian_is_set_up_and_stays_so(kind: str, tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, kind) as me:
        me.it.offer("tiny", "other+more", "unwanted")
        me.config(system_packages=["tiny", "other+more"])
        before = standing(me.it)
        plan = me.install("--dry-run")
        assert (plan.code, me.it.privileged()) == (0, [])
        assert standing(me.it) == before
        commands = [line.strip() for line in plan.out.splitlines() if "sudo " in line]
        assert [re.sub(r"-o ?\S+ ", "", command) for command in commands] == [
            "sudo apt-get update",
            "sudo apt-get install -y --no-install-recommends -- tiny other+more",
        ]
        assert statuses(me.results("--dry-run")) == {"tiny": "planned", "other+more": "planned"}

        assert statuses(me.results()) == {"tiny": "changed", "other+more": "changed"}
        assert me.it.exists("/usr/share/offered/tiny")
        assert not me.it.exists("/usr/share/offered/unwanted")
        assert any("apt-get install" in command for command in me.it.privileged())

        before, privileged = standing(me.it), me.it.privileged()
        again = me.install("--json")
        assert [each["status"] for each in again.json()["results"]] == ["ok", "ok"]
        assert again.json()["changed"] is False
        assert me.it.privileged() == privileged
        assert standing(me.it) == before

        me.it.offer("new")
        me.config(system_packages=["tiny", "nobody-knows", "new", "nobody.knows"])
        results = me.results(code=1)
        unknown = ("failed", "no package of that name is known here")
        assert results == {
            "tiny": ("ok", "installed"),
            "new": ("changed", "installed"),
            "nobody-knows": unknown,
            "nobody.knows": unknown,
        }
        assert me.it.exists("/usr/share/offered/new")


def test_the_plan_says_how_many_packages_and_how_large(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, sudo="refused") as me:
        me.it.offer("tiny", "other")
        offer(me.it, "large", depends="tiny, other")
        me.config(system_packages=["large"])
        heading = r"(?m)^install system packages(.*)$"
        assert re.findall(heading, me.install("--dry-run").out) == [""], "the lists are empty"
        me.it.must("apt-get", "-q", "update")
        [told] = re.findall(heading, me.install("--dry-run").out)
        assert re.fullmatch(r": 3 in all, \S+ k?B to download, \S+ k?B on disk", told), told
        assert me.it.privileged() == []


def test_root_needs_no_sudo(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, user="root", sudo="missing") as me:
        me.it.offer("tiny")
        me.config(system_packages=["tiny"])
        assert "sudo" not in me.install("--dry-run").out
        assert statuses(me.results()) == {"tiny": "changed"}
        assert statuses(me.results()) == {"tiny": "ok"}
        assert me.it.privileged() == []


def test_a_package_that_cannot_be_set_up_sinks_only_itself(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me:
        me.it.offer("a", "b", "c", "d")
        offer(me.it, "broken", postinst="echo this is why >&2; exit 1")
        offer(me.it, "lonely", depends="nowhere")
        me.config(system_packages=["a", "lonely", "b", "broken", "c", "d"])
        run = me.install("--json")
        results = {each["name"]: each for each in run.json()["results"]}
        good = {name: results[name]["status"] for name in "abcd"}
        assert good == dict.fromkeys("abcd", "changed"), run.err
        assert [results[name]["status"] for name in ("broken", "lonely")] == ["failed", "failed"]
        assert "this is why" in me.log()
        assert run.code == 1
        for name in "abcd":
            assert me.it.exists(f"/usr/share/offered/{name}")
        assert statuses(me.results(code=1)) == dict.fromkeys("abcd", "ok") | {
            "broken": "failed",
            "lonely": "failed",
        }


@pytest.mark.parametrize(
    "lock", ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"]
)
def test_the_lock_of_another_one_is_waited_for(lock: str, tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me:
        me.it.offer("tiny")
        me.config(system_packages=["tiny"])
        holder = me.it.popen("python3", "-c", HOLD, lock, user="root")
        soon(lambda: me.it.exists("/var/tmp/held"))
        with me.terminal() as terminal:
            terminal.wait_for("waiting for another package manager, process ")
            assert re.search(r"process \d+ \(python3\)", terminal.text), terminal.text
            me.it.write("/var/tmp/let-go", "")
            assert terminal.wait() == 0, terminal.text + me.log()
        assert holder.wait().code == 0
        assert me.it.exists("/usr/share/offered/tiny")


def test_proxies_and_certificates_reach_what_sudo_runs(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me:
        offer(me.it, "nosy", postinst="env >/var/tmp/env")
        me.config(system_packages=["nosy"])
        env = {
            "http_proxy": "http://proxy.example.com:3128",
            "HTTPS_PROXY": "http://proxy.example.com:3129",
        }
        env |= {
            "no_proxy": "localhost,example.org",
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        }
        assert statuses(me.results(env=env)) == {"nosy": "changed"}
        seen = dict(line.partition("=")[::2] for line in me.it.read("/var/tmp/env").splitlines())
        assert {name: seen.get(name) for name in env} == env
        assert seen["DEBIAN_FRONTEND"] == "noninteractive"


def test_an_unknown_system_gets_the_names_and_the_rest(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me, HttpsServer(tmp_path / "web", SCRIPTS) as web:
        me.it.write("/usr/lib/os-release", 'NAME=Gentoo\nID=gentoo\nPRETTY_NAME="Gentoo Linux"\n')
        reach(me.it, web)
        web.files = {"/one": "echo >~/done"}
        me.config(
            f'[[tools.script]]\nurl = "https://{SCRIPTS}/one"\n',
            system_packages=["git", "libpq-dev"],
        )
        run = me.install()
        assert run.code == 0
        assert "git libpq-dev" in run.err
        assert me.it.exists("/home/dev/done")
        assert me.it.privileged() == []


# --- PGDG


def reach(it: Machine, web: HttpsServer) -> None:
    """Let the hosts a web server plays be found from a machine, and trusted."""
    it.resolve(web.address, *web.names)
    it.trust(web.authority)


class Pgdg:
    """PGDG's archive with a package postgresql, and a tlc for which its key is the published one."""

    def __init__(self, directory: Path, suite: str = "bookworm-pgdg") -> None:
        self.key, self.wrong = Key("right"), Key("wrong")
        self.archive = AptArchive(directory / "archive", self.key, suite)
        self.archive.add("postgresql", "17.0-1.pgdg")
        self.archive.publish()
        self.tlc = changed_tlc(directory, FINGERPRINT, self.key.fingerprint)


def changed_tlc(directory: Path, old: str, new: str) -> Path:
    """Build a tlc that has another text in place of one."""
    source = directory / "source"
    source.mkdir()
    shutil.copy(PROJECT / "build.py", source)
    text = (PROJECT / "tlc.py").read_text()
    assert old in text
    (source / "tlc.py").write_text(text.replace(old, new))
    build = [sys.executable, str(source / "build.py"), "--output", str(source / "tlc.pyz")]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return source / "tlc.pyz"


@pytest.fixture(scope="module")
def pgdg(tmp_path_factory: pytest.TempPathFactory) -> Pgdg:
    return Pgdg(tmp_path_factory.mktemp("pgdg"))


@contextmanager
def at_pgdg(directory: Path, pgdg: Pgdg, **more: Any) -> Iterator[tuple[MachineOwner, HttpsServer]]:
    """A person at a machine from which PGDG's hosts can be reached; its config wants postgresql and tiny."""
    names = ("apt.postgresql.org", "www.postgresql.org")
    with (
        HttpsServer(directory / "web", *names) as web,
        owner(directory, pgdg.tlc, **more) as me,
    ):
        reach(me.it, web)
        web.files = {PGDG: pgdg.archive.directory, PGDG_KEY: pgdg.key.public}
        me.it.offer("tiny", "postgresql")
        me.config(system_packages=["tiny", "postgresql"])
        yield me, web


def version_of(it: Machine, name: str) -> str:
    return it.must("dpkg-query", "-W", "-f", "${Version}", name)


def test_pgdg_is_added_with_the_published_key(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, _):
        commands = [
            line.strip() for line in me.install("--dry-run").out.splitlines() if "sudo " in line
        ]
        assert len(commands) == len(set(commands)) == 5
        assert [
            path for path in PGDG_FILES if any(f" {path}" in command for command in commands[:2])
        ] == PGDG_FILES
        assert not any(map(me.it.exists, PGDG_FILES))

        results = me.results()
        assert results["PGDG"] == ("changed", f"added: {PGDG_FILES[1]}")
        assert version_of(me.it, "postgresql") == "17.0-1.pgdg"
        assert me.it.read(PGDG_FILES[0]) == pgdg.key.public
        machine_name = me.it.must("dpkg", "--print-architecture").strip()
        assert me.it.read(PGDG_FILES[1]).splitlines() == [
            "Types: deb",
            "URIs: https://apt.postgresql.org/pub/repos/apt",
            "Suites: bookworm-pgdg",
            "Components: main",
            f"Architectures: {machine_name}",
            f"Signed-By: {PGDG_FILES[0]}",
        ]
        for path in PGDG_FILES:
            assert me.it.must("stat", "-c", "%U %a", path) == "root 644\n"
        privileged = me.it.privileged()
        assert statuses(me.results()) == {"PGDG": "ok", "tiny": "ok", "postgresql": "ok"}
        assert me.it.privileged() == privileged


def refused(me: MachineOwner, reason: str, *, privileged: bool = False, **more: Any) -> None:
    """PGDG is skipped for this reason, the pipeline goes on, and nothing of it is left."""
    results = me.results(**more)
    assert statuses(results) == {"PGDG": "skipped", "tiny": "changed", "postgresql": "changed"}
    assert re.search(reason, results["PGDG"][1]), results["PGDG"]
    assert "using the distribution's packages" in results["PGDG"][1]
    assert not any(map(me.it.exists, PGDG_FILES))
    assert any("pgdg" in command for command in me.it.privileged()) == privileged
    assert version_of(me.it, "postgresql") == "1.0"
    assert "pgdg" not in me.it.must("apt-get", "indextargets")


def test_pgdg_with_another_key_is_refused(tmp_path: Path, pgdg: Pgdg, archive: Path) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, _):
        me.it.write("/opt/tlc.pyz", archive.read_bytes())  # for which it is a stranger's key
        refused(me, f"another fingerprint.*{pgdg.key.fingerprint}")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("{right}{wrong}", "another fingerprint"),
        ("{wrong}{right}", "another fingerprint"),
        ("{wrong}", "another fingerprint"),
        ("<html>login</html>", "signing key"),
        ("", "signing key"),
    ],
)
def test_pgdg_with_a_stranger_among_its_keys_is_refused(
    key: str, reason: str, tmp_path: Path, pgdg: Pgdg
) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, web):
        web.files[PGDG_KEY] = key.format(right=pgdg.key.public, wrong=pgdg.wrong.public)
        refused(me, reason)


def test_pgdg_whose_key_host_is_down(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, web):
        web.files[PGDG_KEY] = Answer("oh", status=503)
        refused(me, "503")


@pytest.mark.parametrize("kind", CODENAMES)
def test_pgdg_that_apt_refuses_is_taken_out_again(kind: str, tmp_path: Path) -> None:
    pgdg = Pgdg(tmp_path, f"{CODENAMES[kind]}-pgdg")
    pgdg.archive.publish(pgdg.wrong)
    with at_pgdg(tmp_path, pgdg, kind=kind) as (me, _):
        refused(me, "apt rejected the source .*", privileged=True)


def test_pgdg_that_is_not_there_is_taken_out_again_and_a_key_of_others_stays(
    tmp_path: Path, pgdg: Pgdg
) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, web):
        del web.files[PGDG]
        offer(me.it, "postgresql-common", files={PGDG_FILES[0]: pgdg.key.public})
        me.it.must("apt-get", "-q", "update")
        me.it.must("apt-get", "-q", "install", "-y", "postgresql-common")
        results = me.results()
        assert statuses(results) == {"PGDG": "skipped", "tiny": "changed", "postgresql": "changed"}
        assert [me.it.exists(path) for path in PGDG_FILES] == [True, False]
        assert me.it.must("dpkg", "--verify", "postgresql-common") == ""


@pytest.mark.parametrize("kind", CODENAMES)
def test_pgdg_that_cannot_be_reached_is_taken_out_again(
    kind: str, tmp_path: Path, pgdg: Pgdg
) -> None:
    with at_pgdg(tmp_path, pgdg, kind=kind) as (me, web):
        hosts = (
            me.it.read("/etc/hosts")
            .replace(f"{web.address} apt.", "127.9.9.9 apt.")
            .replace(" www.", " unused.")
        )
        me.it.write("/etc/hosts", f"{hosts}{web.address} www.postgresql.org\n")
        assert "127.9.9.9 apt.postgresql.org" in hosts
        refused(me, "apt rejected the source .*", privileged=True)


def test_pgdg_that_is_configured_already_or_not_needed(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, web):
        me.it.write("/usr/lib/postgresql/15/bin/postgres", "", 0o755)
        assert me.results("--dry-run")["PGDG"] == ("ok", "not needed: PostgreSQL 15 is installed")
        me.it.must("rm", "-r", "/usr/lib/postgresql")
        me.it.write("/usr/lib/postgresql/11/bin/postgres", "", 0o755)
        assert me.results("--dry-run")["PGDG"][0] == "planned"

        # Left from an upgrade, switched off, or a remark: apt has no such source.
        me.it.write(
            "/etc/apt/sources.list.d/x.list.save", f"deb https://{PGDG} bullseye-pgdg main\n"
        )
        me.it.write("/etc/apt/sources.list.d/x.list", f"# deb https://{PGDG} bullseye-pgdg main\n")
        assert me.results("--dry-run")["PGDG"][0] == "planned"

        me.it.write("/etc/apt/keyrings/x.asc", pgdg.key.public)
        there = f"deb [signed-by=/etc/apt/keyrings/x.asc] https://{PGDG} bookworm-pgdg main\n"
        me.it.write("/etc/apt/sources.list.d/x.list", there)
        results = me.results()
        assert results["PGDG"] == ("ok", "configured in /etc/apt/sources.list.d/x.list")
        assert not any(map(me.it.exists, PGDG_FILES))
        assert version_of(me.it, "postgresql") == "17.0-1.pgdg"
        assert "www.postgresql.org" not in {request.host for request in web.requests}


def test_pgdg_on_a_derivative_is_that_of_its_base(tmp_path: Path) -> None:
    pgdg = Pgdg(tmp_path, "jammy-pgdg")
    with at_pgdg(tmp_path, pgdg) as (me, _):
        mint = 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=virginia\nUBUNTU_CODENAME=jammy\n'
        me.it.write("/usr/lib/os-release", mint)
        assert statuses(me.results()) == {
            "PGDG": "changed",
            "tiny": "changed",
            "postgresql": "changed",
        }
        assert "Suites: jammy-pgdg\n" in me.it.read(PGDG_FILES[1])


def test_pgdg_where_os_release_names_no_release(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, _):
        me.it.write("/usr/lib/os-release", "ID=debian\n")
        assert me.results()["PGDG"][0] == "ok"
        assert not any(map(me.it.exists, PGDG_FILES))


def test_pgdg_that_cannot_be_had_is_tried_once(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg) as (me, web):
        key = web.files.pop(PGDG_KEY)
        assert me.results()["PGDG"][0] == "skipped"
        privileged, count = me.it.privileged(), len(web.requests)
        assert me.results()["PGDG"][0] == "ok"
        assert "PGDG" not in me.install().err
        assert (me.it.privileged(), len(web.requests)) == (privileged, count)
        web.files[PGDG_KEY] = key
        fix, env = doctors_fix(me, "PGDG"), {"NEWCOMER_MODE": "no"}
        pasted = me.run("sh", "-c", fix, env=env, timeout=120, leaves="tlc-*")
        assert any(map(me.it.exists, PGDG_FILES)), fix + pasted.err


def test_pgdg_without_sudo_is_no_failure(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg, sudo="refused") as (me, _):
        run = me.install("--json")
        assert run.code == 1
        fix = run.json()["error"]["fix"]
        assert "apt-get install -y --no-install-recommends" in fix
        assert "install -D" not in fix, "a file that only tlc has"
        me.it.must("apt-get", "-q", "update")
        me.it.must("apt-get", "-q", "install", "-y", "tiny", "postgresql")
        assert me.results()["PGDG"][0] == "skipped"


@pytest.mark.parametrize("user", ["root", "dev"])
def test_pgdg_is_taken_out_again_when_interrupted(user: str, tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg, user=user) as (me, web):
        release = "dists/bookworm-pgdg/InRelease"
        web.files[f"{PGDG}/{release}"] = Answer(
            (pgdg.archive.directory / release).read_bytes(), pause=8
        )
        running = me.start()
        soon(lambda: any("apt-get update" in line for line in me.it.processes()))
        assert me.it.exists(PGDG_FILES[1])
        started = time.monotonic()
        running.signal()
        assert (running.wait().code, time.monotonic() - started < 3.5) == (130, True)
        soon(lambda: not me.it.processes())
        assert not any(map(me.it.exists, PGDG_FILES))
        del web.files[f"{PGDG}/{release}"]
        assert statuses(me.results()) == {
            "PGDG": "changed",
            "tiny": "changed",
            "postgresql": "changed",
        }


# --- scripts


def script(path: str, **more: str) -> str:
    """The config of a script."""
    fields = {"url": f"https://{SCRIPTS}{path}", **more}
    return "[[tools.script]]\n" + "".join(f'{name} = "{value}"\n' for name, value in fields.items())


@contextmanager
def scripts(
    directory: Path, archive: Path, files: Mapping[str, Any]
) -> Iterator[tuple[MachineOwner, HttpsServer]]:
    """A person at a machine that reaches a web server with these scripts."""
    with owner(directory, archive) as me, HttpsServer(directory / "web", SCRIPTS) as web:
        reach(me.it, web)
        web.files = dict(files)
        yield me, web


def test_scripts_run_in_their_order_and_once(tmp_path: Path, archive: Path) -> None:
    summed = "echo summed >>~/ran\n"
    files = {
        "/first": "echo first >>~/ran; echo from the first; readlink /proc/$$/exe; pwd; cat; echo oh >&2\n",
        "/summed": summed,
        "/moved": Answer(status=302, location=f"https://{SCRIPTS}/there"),
        "/there": "echo moved >>~/ran\n",
    }
    sha256 = hashlib.sha256(summed.encode()).hexdigest().upper()
    with scripts(tmp_path, archive, files) as (me, web):
        me.config(
            script("/first", name="the first") + script("/summed", sha256=sha256) + script("/moved")
        )
        assert [*statuses(me.results()).values()] == ["changed"] * 3
        assert me.it.read("/home/dev/ran") == "first\nsummed\nmoved\n"
        lines = [line for line in me.log().splitlines() if line.startswith("[the first]")]
        assert re.fullmatch(r"\[the first\] \$ /bin/sh /tmp/tlc-\S+/script\.sh", lines[0])
        assert {"[the first] from the first", "[the first] /usr/bin/dash", "[the first] oh"} <= set(
            lines
        )

        count = len(web.requests)
        assert [*statuses(me.results()).values()] == ["ok"] * 3
        assert len(web.requests) == count


# What is wrong with a script -> how it is served, what else the config says of it, what tlc says.
BAD: dict[str, tuple[Any, dict[str, str], str]] = {
    "fails": (
        "echo ran >>~/ran; seq 20; echo the reason >&2; exit 7\n",
        {},
        "it ended with exit code 7",
    ),
    "wrong": ("echo wrong >>~/ran\n", {"sha256": "0" * 64}, "not run: its sha256 is "),
    "plain": (Answer(status=302, location=f"http://{SCRIPTS}/wrong"), {}, "not https"),
    "cut": (Answer("echo cut >>~/ran\n" * 100, cut=True), {}, "cut off"),
    "large": ("echo large >>~/ran\n" + "#" * 10_000_000, {}, "larger than 10,000,000 bytes"),
    "nothing": (None, {}, "404"),
}


def test_scripts_say_why_they_failed_and_the_other_stages_still_run(
    tmp_path: Path, archive: Path
) -> None:
    files = {f"/{name}": served for name, (served, _, _) in BAD.items() if served}
    down = '[[tools.script]]\nname = "down"\nurl = "https://127.0.0.1:9/x"\n'
    with scripts(tmp_path, archive, files) as (me, web):
        me.it.offer("tiny")
        bad = "".join(script(f"/{name}", name=name, **more) for name, (_, more, _) in BAD.items())
        me.config(bad + down, system_packages=["tiny"])
        run = me.install("--json")
        assert run.code == 1
        found = {each["name"]: each for each in run.json()["results"]}
        assert statuses({name: (each["status"], "") for name, each in found.items()}) == {
            **dict.fromkeys([*BAD, "down"], "failed"),
            "tiny": "changed",
        }
        for name, (_, _, said) in BAD.items():
            assert said in found[name]["message"]
        assert "refused" in found["down"]["message"]
        assert found["fails"]["detail"].splitlines()[-1] == "the reason"
        assert me.it.read("/home/dev/ran") == "ran\n", "none ran but the one that fails"
        assert {request.scheme for request in web.requests} == {"https"}


@pytest.mark.parametrize("how", ["signal", "terminal"])
def test_a_script_is_interrupted_with_all_it_started(
    how: str, tmp_path: Path, archive: Path
) -> None:
    with owner(tmp_path, archive) as me, HttpsServer(tmp_path / "web", SCRIPTS) as web:
        reach(me.it, web)
        me.it.offer("tiny")
        web.files = {"/slow": "sleep 1001 & echo >~/begun; sleep 1002\n"}
        me.config(script("/slow", name="slow"), system_packages=["tiny"])
        if how == "signal":
            running = me.start()
            soon(lambda: me.it.exists("/home/dev/begun"))
            started = time.monotonic()
            running.signal(signal.SIGINT)
            run = running.wait()
            code, said = run.code, run.err
        else:
            with me.terminal() as terminal:
                soon(lambda: me.it.exists("/home/dev/begun"))
                started = time.monotonic()
                terminal.send("\x03")
                code, said = terminal.wait(), terminal.text
        assert time.monotonic() - started < 3.5
        assert code == 130
        assert "Interrupted." in said
        assert "install-tools" in said.rpartition("next ")[2]
        soon(lambda: not me.it.processes())
        assert me.it.must("find", "/tmp", "-name", "tlc-*") == ""
        assert not me.it.exists("/usr/share/offered/tiny")
        web.files = {"/slow": "true\n"}
        assert statuses(me.results()) == {"slow": "changed", "tiny": "changed"}


# --- wkhtmltopdf with patched Qt

DEB = "wkhtmltox_0.12.6.1-3.bookworm_amd64.deb"
DEB_PATH = f"github.com/wkhtmltopdf/packaging/releases/download/0.12.6.1-3/{DEB}"
DEB_SHA256 = "98ba0d157b50d36f23bd0dedf4c0aa28c7b0c50fcdcdc54aa5b6bbba81a3941d"
WKHTMLTOPDF = "#!/bin/sh\necho 'wkhtmltopdf 0.12.6.1 (with patched qt)'\n"


@contextmanager
def at_packaging(directory: Path, **more: Any) -> Iterator[tuple[MachineOwner, HttpsServer, bytes]]:
    """A person at a machine that has all other packages, a server, and the .deb for which tlc has the checksum."""
    if platform.machine() != "x86_64":
        pytest.skip("the test's package is for amd64")
    built = AptArchive(directory / "packaging", Key("packaging"), "x")
    files = {"/usr/local/bin/wkhtmltopdf": WKHTMLTOPDF}
    built.add("wkhtmltox", "1:0.12.6.1-3", files=files, **more)
    [path] = built.pool.iterdir()
    deb = path.read_bytes()
    tlc = changed_tlc(directory, DEB_SHA256, hashlib.sha256(deb).hexdigest())
    with HttpsServer(directory / "web", "github.com") as web, owner(directory, tlc) as me:
        reach(me.it, web)
        me.it.write("/usr/lib/postgresql/99/bin/postgres", "", 0o755)  # so that PGDG is not needed
        me.config(system_packages=["wkhtmltopdf"])
        me.defaults = True
        planned = me.install("--json", "--dry-run").json()["results"]
        names = [each["name"] for each in planned if each["kind"] == "package"]
        assert names.count("wkhtmltopdf") == 1
        me.it.offer(*(name for name in names if name != "wkhtmltopdf"))
        me.config()
        yield me, web, deb


def doctors_fix(me: MachineOwner, name: str) -> str:
    found = me.run(*me.words()[:2], "--json", "doctor", "Tools", "--offline").json()["results"]
    return next(str(each["fix"]) for each in found if each["name"] == name)


def test_wkhtmltopdf_with_patched_qt(tmp_path: Path) -> None:
    with at_packaging(tmp_path) as (me, web, deb):
        results = me.results(timeout=300)
        assert results["wkhtmltopdf"][0] == "skipped"
        assert "404" in results["wkhtmltopdf"][1]
        assert set(statuses(results).values()) == {"changed", "ok", "skipped"}

        privileged, count = me.it.privileged(), len(web.requests)
        assert set(statuses(me.results()).values()) == {"ok"}, "it is not tried again"
        assert "sudo" not in me.install("--dry-run").out
        assert (me.it.privileged(), len(web.requests)) == (privileged, count)
        me.config(system_packages=["wkhtmltopdf"])
        assert "-- wkhtmltopdf" in me.install("--dry-run").out, (
            "who asks for it has it all the same"
        )
        me.config()

        web.files[DEB_PATH] = deb[:-1] + b"!"
        fix, env = doctors_fix(me, "wkhtmltopdf"), {"NEWCOMER_MODE": "no"}
        pasted = me.run("sh", "-c", fix, env=env, timeout=120, leaves="tlc-*")
        assert pasted.code == 1
        assert "checksum mismatch" in pasted.err, fix + pasted.err
        assert not me.it.exists("/usr/local/bin/wkhtmltopdf")

        web.files[DEB_PATH] = deb
        assert me.results()["wkhtmltopdf"] == ("changed", "wkhtmltopdf 0.12.6.1 (with patched qt)")
        assert version_of(me.it, "wkhtmltox") == "1:0.12.6.1-3"
        privileged = me.it.privileged()
        assert set(statuses(me.results()).values()) == {"ok"}
        assert me.it.privileged() == privileged


@pytest.mark.parametrize("why", ["postinst", "depends"])
def test_wkhtmltopdf_that_apt_refuses_is_taken_out_again(why: str, tmp_path: Path) -> None:
    more = {"postinst": "exit 1"} if why == "postinst" else {"depends": "nowhere"}
    with at_packaging(tmp_path, **more) as (me, web, deb):
        web.files[DEB_PATH] = deb
        results = me.results(timeout=300)
        assert results["wkhtmltopdf"][0] == "skipped"
        assert "apt refuses it" in results["wkhtmltopdf"][1]
        assert me.it.must("dpkg", "--audit") == ""
        assert not me.it.exists("/usr/local/bin/wkhtmltopdf")
        privileged = me.it.privileged()
        assert set(statuses(me.results()).values()) == {"ok"}
        assert me.it.privileged() == privileged


# --- Ctrl-C in the middle of apt

# dpkg first, or it would see its child die and write down that it failed.
KILL_ALL = """
for which in '/usr/bin/dpkg *' '*apt-get*' '*dpkg*' '*python3*' 'sleep*'; do
    for at in /proc/[0-9]*; do
        case ${at#/proc/}:$(tr '\\0' ' ' <$at/cmdline) in
            $$:*) ;;
            *:$which) kill -9 ${at#/proc/} 2>/dev/null ;;
        esac
    done
done
true
"""

# Slow the first time only.
SLOW = "[ ! -e /var/tmp/begun ] || exit 0\necho >/var/tmp/begun\nsleep 1003"


def end_of(me: MachineOwner, code: int, said: str, started: float) -> None:
    """An interrupted run: in time, with the closing block, nothing left running, and the next run completes."""
    assert time.monotonic() - started < 3.5
    assert code == 130
    assert "Interrupted." in said
    assert re.search(r"failed +(tiny, slow|slow): interrupted", said), said
    assert "install-tools" in said.rpartition("next ")[2]
    soon(lambda: not me.it.processes())
    results = me.results()
    assert statuses(results)["slow"] == "changed"
    assert statuses(results).get("tiny", "ok") in ("changed", "ok")
    assert me.it.must("dpkg", "--audit") == ""
    assert set(statuses(me.results()).values()) == {"ok"}


@pytest.mark.parametrize("kind", ["debian-12", "debian-13"])
@pytest.mark.parametrize("user", ["root", "dev"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_apt_is_interrupted_by_a_signal(
    user: str, number: signal.Signals, kind: str, tmp_path: Path, archive: Path
) -> None:
    with owner(tmp_path, archive, kind, user=user) as me:
        me.it.offer("tiny")
        offer(me.it, "slow", postinst=SLOW)
        me.config(system_packages=["tiny", "slow"])
        running = me.start()
        soon(lambda: me.it.exists("/var/tmp/begun"))
        started = time.monotonic()
        running.signal(number)
        run = running.wait()
        end_of(me, run.code, run.err, started)


@pytest.mark.parametrize("kind", CODENAMES)
@pytest.mark.parametrize("user", ["root", "dev"])
def test_apt_is_interrupted_on_a_terminal(
    user: str, kind: str, tmp_path: Path, archive: Path
) -> None:
    with owner(tmp_path, archive, kind, user=user) as me:
        me.it.offer("tiny")
        offer(me.it, "slow", postinst=SLOW)
        me.config(system_packages=["tiny", "slow"])
        with me.terminal() as terminal:
            soon(lambda: me.it.exists("/var/tmp/begun"))
            started = time.monotonic()
            terminal.send("\x03")
            code, said = terminal.wait(), terminal.text
        end_of(me, code, said, started)


@pytest.mark.parametrize("kind", CODENAMES)
def test_an_installation_that_was_killed_is_completed(
    kind: str, tmp_path: Path, archive: Path
) -> None:
    with owner(tmp_path, archive, kind) as me:
        me.it.offer("tiny")
        offer(me.it, "slow", postinst=SLOW)
        me.config(system_packages=["tiny", "slow"])
        running = me.start()
        soon(lambda: me.it.exists("/var/tmp/begun"))
        me.it.must("sh", "-c", KILL_ALL)  # a power cut, as far as dpkg can tell
        running.wait()
        assert me.it.must("ls", "/var/lib/dpkg/updates")
        assert "sudo dpkg --configure -a" in me.install("--dry-run").out
        after = statuses(me.results())
        assert (set(after), set(after.values()) <= {"changed", "ok"}) == ({"tiny", "slow"}, True)
        assert me.it.must("dpkg", "--audit") == ""
        assert "dpkg --configure" not in me.install("--dry-run").out
        assert set(statuses(me.results()).values()) == {"ok"}


def test_a_run_that_waits_for_a_lock_is_interrupted_at_once(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me:
        me.it.offer("tiny")
        me.config(system_packages=["tiny"])
        holder = me.it.popen("python3", "-c", HOLD, "/var/lib/dpkg/lock-frontend", user="root")
        soon(lambda: me.it.exists("/var/tmp/held"))
        with me.terminal() as terminal:
            terminal.wait_for("waiting for another package manager")
            started = time.monotonic()
            terminal.send("\x03")
            assert (terminal.wait(), time.monotonic() - started < 3.5) == (130, True)
        me.it.write("/var/tmp/let-go", "")
        assert holder.wait().code == 0
        assert statuses(me.results()) == {"tiny": "changed"}


# --- sudo


def test_a_password_is_asked_for_once_and_on_the_terminal(tmp_path: Path, pgdg: Pgdg) -> None:
    with at_pgdg(tmp_path, pgdg, sudo="password") as (me, _):
        with me.terminal() as terminal:
            terminal.wait_for("password for dev:")
            assert not me.it.exists("/usr/share/offered/tiny")
            terminal.answer("password for dev:", f"{PASSWORD}\r")
            assert terminal.wait() == 0, terminal.text + me.log()
            assert terminal.text.count("password for dev:") == 1
            assert PASSWORD not in terminal.text + me.log()
        assert version_of(me.it, "postgresql") == "17.0-1.pgdg"
        privileged = me.it.privileged()
        with me.terminal() as terminal:
            assert terminal.wait() == 0
            assert "password" not in terminal.text
        assert me.it.privileged() == privileged


def test_a_wrong_password_may_be_corrected(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, sudo="password") as me:
        me.it.offer("tiny")
        me.config(system_packages=["tiny"])
        with me.terminal() as terminal:
            terminal.answer("password for dev:", "wrong\r")
            terminal.answer("password for dev:", f"{PASSWORD}\r", times=2)
            assert terminal.wait() == 0, terminal.text
        assert me.it.exists("/usr/share/offered/tiny")


def test_a_password_that_is_wrong_each_time_is_a_refusal(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, sudo="password") as me:
        me.it.offer("tiny")
        me.config(system_packages=["tiny"])
        with me.terminal() as terminal:
            for times in (1, 2, 3):
                terminal.answer("password for dev:", "wrong\r", times=times)
            assert terminal.wait() == 1, terminal.text
            assert "sudo was refused." in terminal.text
            assert "no terminal" not in terminal.text


def by_hand(me: MachineOwner, web: HttpsServer, code: int, said: str) -> None:
    """What needs root failed with the commands to run; what needs none was done all the same."""
    assert code == 1
    assert re.search(r"→ (sudo )?apt-get update", said), said
    assert re.search(r"apt-get install -y .*-- tiny", said)
    assert [request.path for request in web.requests] == ["/one"]
    assert not me.it.exists("/usr/share/offered/tiny")
    assert me.it.exists("/home/dev/ran")


@pytest.mark.parametrize("sudo", ["password", "refused", "missing"])
def test_without_the_right_what_needs_no_root_is_done(
    sudo: str, tmp_path: Path, archive: Path
) -> None:
    with (
        owner(tmp_path, archive, sudo=sudo) as me,
        HttpsServer(tmp_path / "web", SCRIPTS) as web,
    ):
        reach(me.it, web)
        me.it.offer("tiny")
        web.files = {"/one": "echo >~/ran\n"}
        me.config(script("/one"), system_packages=["tiny"])
        run = me.install()
        by_hand(me, web, run.code, run.err)
        run = me.install("--json")
        assert run.code == 1
        assert run.json()["error"]["code"] == "sudo"
        assert run.json()["error"]["fix"].startswith(
            "apt-get " if sudo == "missing" else "sudo apt-get "
        )

        with me.terminal() as terminal:
            if sudo == "password":
                assert terminal.interrupt("password for dev:") == 130
            else:
                by_hand(me, web, terminal.wait(), terminal.text.replace("\n", ""))
        assert len(web.requests) == 1, "the script runs once"
        me.it.must("apt-get", "-q", "update")
        me.it.must("apt-get", "-q", "install", "-y", "tiny")
        assert statuses(me.results())["tiny"] == "ok", "with the packages there, nobody asks"
        assert me.it.exists("/home/dev/ran")


# --- npm and uv


def lay_uv(it: Machine) -> None:
    """Put the real uv there, as a person would have it."""
    it.write("/usr/local/bin/uv", Path(uv.find_uv_bin()).read_bytes(), 0o755)


def test_npm_packages_where_the_prefix_is_not_writable(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, "debian-13", packages="npm") as me:
        me.it.must("npm", "install", "-g", "is-odd", timeout=120)
        me.it.offer("tiny")
        names = ["is-odd", "rtlcss", "@types/is-odd", "nobody-knows-this-one-either"]
        me.config(npm=names, system_packages=["tiny"])
        results = me.results(code=1)
        assert statuses(results) == {
            "tiny": "changed",
            "is-odd": "ok",
            "rtlcss": "changed",
            "@types/is-odd": "changed",
            "nobody-knows-this-one-either": "failed",
        }
        assert results["nobody-knows-this-one-either"][1] == "no package of that name is known here"
        assert me.it.exists("/home/dev/.local/bin/rtlcss")
        assert not me.it.exists("/home/dev/.local/lib/node_modules/is-odd")
        assert not [command for command in me.it.privileged() if "npm" in command]

        me.config(npm=names[:-1])
        assert set(statuses(me.results()).values()) == {"ok"}

        # A prefix of the person's own is taken, though it does not exist yet.
        me.it.write("/home/dev/.npmrc", "prefix=/home/dev/.npm-global\n")
        me.config(npm=["is-even"])
        assert statuses(me.results()) == {"is-even": "changed"}
        assert me.it.exists("/home/dev/.npm-global/lib/node_modules/is-even")
        assert statuses(me.results()) == {"is-even": "ok"}

        root = MachineOwner(me.it, archive, "root")
        root.config(npm=["is-odd", "is-number"])
        assert statuses(root.results()) == {"is-odd": "ok", "is-number": "changed"}
        assert me.it.exists("/usr/local/lib/node_modules/is-number")


def test_npm_and_uv_are_missing(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me:
        me.it.offer("tiny")
        me.config(npm=["rtlcss"], uv=["pyjokes"], system_packages=["tiny"])
        assert set(statuses(me.results("--dry-run")).values()) == {"planned"}
        run = me.install()
        assert run.code == 1
        assert me.it.exists("/usr/share/offered/tiny")
        assert re.search(
            r"failed +rtlcss: npm is not installed.*\n.*sudo apt-get install -y npm", run.err
        ), run.err
        assert re.search(
            r"failed +pyjokes: uv is not installed.*\n.*bootstrap --only uv", run.err
        ), run.err


def fix_of(me: MachineOwner, name: str, code: int = 1) -> str:
    """Return the fix that install-tools prints for something."""
    run = me.install("--json")
    assert run.code == code, run.out + run.err
    return next(str(each["fix"]) for each in run.json()["results"] if each["name"] == name)


def test_npm_is_installed_by_the_printed_fix(tmp_path: Path, archive: Path) -> None:
    """A tiny one: only that it is found is told here."""
    with owner(tmp_path, archive) as me:
        me.config(npm=["rtlcss"])
        fix = fix_of(me, "rtlcss")
        modules = "/home/dev/.local/lib/node_modules"
        npm = f'#!/bin/sh\n[ "$1" != install ] || mkdir -p {modules}/rtlcss\necho {modules}\n'
        me.it.offer("npm", files={"/usr/bin/npm": npm})
        me.it.must("apt-get", "-q", "update")
        assert me.run("sh", "-c", fix).code == 0, fix
        assert statuses(me.results()) == {"rtlcss": "changed"}


def test_a_package_that_lacks_what_it_needs_is_completed_by_the_printed_fix(
    tmp_path: Path, archive: Path
) -> None:
    with owner(tmp_path, archive) as me:
        me.it.offer("tiny", "needed")
        offer(me.it, "lonely", depends="needed")
        me.it.must("dpkg", "--unpack", "/srv/packages/pool/lonely_1.0_all.deb")
        me.config(system_packages=["tiny"])
        fix = fix_of(me, "tiny")
        pasted = me.run("sh", "-c", fix, input="y\n")
        assert pasted.code == 0, fix + pasted.err
        assert statuses(me.results()) == {"tiny": "changed"}
        assert me.it.exists("/usr/share/offered/needed")


def test_a_program_in_the_way_of_a_uv_tool_gives_way_by_the_printed_fix(
    tmp_path: Path, archive: Path
) -> None:
    with owner(tmp_path, archive) as me:
        lay_uv(me.it)
        me.it.write("/home/dev/.local/bin/pyjoke", "#!/bin/sh\n", 0o755)
        me.config(uv=["pyjokes"])
        fix = fix_of(me, "pyjokes")
        pasted = me.run("sh", "-c", fix, timeout=120)
        assert pasted.code == 0, fix + pasted.err
        assert statuses(me.results()) == {"pyjokes": "ok"}


def test_a_script_and_a_package_bring_what_later_stages_need(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me, HttpsServer(tmp_path / "web", SCRIPTS) as web:
        reach(me.it, web)
        npm = '#!/bin/sh\n[ "$1" = install ] && echo >~/npm-ran\necho /home/dev/.local/lib\n'
        me.it.offer(
            "npm", files={"/usr/bin/npm": npm}
        )  # a tiny one: only that it is found is told here
        me.it.write("/opt/uv", Path(uv.find_uv_bin()).read_bytes(), 0o755)
        web.files = {
            "/uv": "install -D /opt/uv ~/.local/bin/uv\n"
        }  # which is not on this person's PATH
        me.config(
            script("/uv", name="uv itself"), uv=["pyjokes"], npm=["rtlcss"], system_packages=["npm"]
        )
        assert set(statuses(me.results()).values()) == {"changed"}
        assert me.it.exists("/home/dev/.local/bin/pyjoke")
        assert me.it.exists("/home/dev/npm-ran")


def test_uv_tools_are_installed_side_by_side_each_once(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive) as me:
        lay_uv(me.it)
        tools = [
            "pyjokes",
            "PyCowsay",
            "black[d]>=24.0,<25",
            "odoo-venv",
            "nobody-knows-this-one-either",
            "six",
        ]
        me.config(uv=tools)
        results = me.results("--jobs", "4", code=1)
        assert statuses(results) == dict.fromkeys(tools, "changed") | dict.fromkeys(
            tools[-2:], "failed"
        )
        assert results["nobody-knows-this-one-either"][1] == "no package of that name is known here"
        for program in ("pyjoke", "pycowsay", "black", "blackd", "odoo-venv"):
            assert me.it.exists(f"/home/dev/.local/bin/{program}")
        listed = me.it.must(
            "uv", "tool", "list", "--show-version-specifiers", "--show-extras", user="dev"
        )
        assert re.search(r"(?m)^odoo-venv v2\.\S+ \[required: >=2, <3\]", listed)
        assert me.log().count("uv tool install") == len(tools)
        assert me.it.privileged() == []

        me.config(uv=tools[:-2])
        installs = me.log().count("uv tool install")
        assert set(statuses(me.results()).values()) == {"ok"}

        me.config(uv=["pyjokes==0.6.0", "black>=24.0,<25", "pycowsay@latest", "odoo_venv"])
        assert list(statuses(me.results()).values()) == ["changed", "ok", "ok", "ok"]
        assert list(statuses(me.results()).values()) == ["ok"] * 4
        me.config(uv=["pyjokes@0.6.0"])
        assert list(statuses(me.results()).values()) == ["ok"]
        assert me.log().count("uv tool install") == installs + 1


# --- the other distributions


@pytest.mark.parametrize("kind", ["arch", "fedora"])
def test_another_distribution(kind: str, tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, kind) as me:
        me.it.offer("tiny", "c++-other", "unwanted")
        me.config(system_packages=["tiny", "c++-other"])
        if kind == "arch":  # as in a fresh container
            me.it.must("sh", "-c", "rm -r /var/lib/pacman/sync")
        before = standing(me.it)
        plan = me.install("--dry-run")
        commands = [line.strip() for line in plan.out.splitlines() if "sudo " in line]
        install = {"arch": "sudo pacman -S --noconfirm --needed", "fedora": "sudo dnf install -y"}[
            kind
        ]
        assert commands[-1] == f"{install} -- tiny c++-other"
        assert len(commands) == len(set(commands))
        assert standing(me.it) == before

        assert statuses(me.results()) == {"tiny": "changed", "c++-other": "changed"}
        assert me.it.exists("/usr/share/offered/tiny")
        assert not me.it.exists("/usr/share/offered/unwanted")
        privileged = me.it.privileged()
        assert statuses(me.results()) == {"tiny": "ok", "c++-other": "ok"}
        assert me.it.privileged() == privileged

        me.it.offer("new", "newer")
        if kind == "fedora":
            me.it.must("dnf", "clean", "expire-cache")
        me.config(system_packages=["tiny", "nobody-knows", "new"])
        unknown = ("failed", "no package of that name is known here")
        assert me.results(code=1) == {
            "tiny": ("ok", "installed"),
            "new": ("changed", "installed"),
            "nobody-knows": unknown,
        }

        me.config(system_packages=["newer"])
        # pacman's lock is a file; dnf's holds the number of a process.
        lock = {"arch": "/var/lib/pacman/db.lck", "fedora": "/var/cache/dnf/metadata_lock.pid"}[
            kind
        ]
        wait = "while [ ! -e /var/tmp/let-go ]; do sleep 0.05; done"
        words = f"echo $$ >{lock}; echo >/var/tmp/held; {wait}; rm {lock}"
        holder = me.it.popen("sh", "-c", words, user="root")
        soon(lambda: me.it.exists("/var/tmp/held"))
        running = me.start()
        waiting = "unable to lock database|Waiting for process"
        soon(lambda: re.search(waiting, me.logged()))
        me.it.write("/var/tmp/let-go", "")
        run = running.wait()
        assert run.code == 0, run.err + me.log()
        assert holder.wait().code == 0
        assert me.it.exists("/usr/share/offered/newer")


def test_a_lock_that_a_killed_pacman_left_goes_by_the_printed_fix(tmp_path: Path) -> None:
    tlc = changed_tlc(tmp_path, "LOCK_WAIT = 600", "LOCK_WAIT = 1")
    with owner(tmp_path, tlc, "arch") as me:
        me.it.offer("tiny")
        me.config(system_packages=["tiny"])
        me.it.write("/var/lib/pacman/db.lck", "")
        fix = fix_of(me, "tiny")
        assert me.run("sh", "-c", fix).code == 0, fix
        assert statuses(me.results()) == {"tiny": "changed"}


def test_lists_older_than_the_mirror_are_renewed_by_the_printed_fix(
    tmp_path: Path, archive: Path
) -> None:
    mirror = "mirror.example.com"
    with owner(tmp_path, archive, "arch") as me, HttpsServer(tmp_path / "web", mirror) as web:
        me.it.resolve(web.address, mirror)
        me.it.offer("tiny")
        me.it.must("cp", "-a", "/var/lib/pacman/sync", "/root/sync")
        me.it.offer("tiny", version="2.0")
        me.it.must("sh", "-c", "rm -r /var/lib/pacman/sync /srv/packages/tiny-1.0*")
        me.it.must("mv", "/root/sync", "/var/lib/pacman/sync")
        web.files = {"/packages": me.it.path / "srv/packages"}
        conf = me.it.read("/etc/pacman.conf")
        there = conf.replace("file:///srv/packages", f"http://{mirror}/packages")
        me.it.write("/etc/pacman.conf", there)
        me.config(system_packages=["tiny"])
        fix = fix_of(me, "tiny")
        pasted = me.run("sh", "-c", fix, input="y\n")
        assert pasted.code == 0, fix + pasted.err
        assert statuses(me.results()) == {"tiny": "changed"}
        assert "tiny 2.0" in me.it.must("pacman", "-Q", "tiny")


def test_an_answer_in_the_persons_own_language_is_understood(tmp_path: Path, archive: Path) -> None:
    with owner(tmp_path, archive, "fedora", packages="python3 locales rpm-i18n") as me:
        me.it.must("localedef", "-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8")
        german = {"LANG": "de_DE.UTF-8"}
        assert "Kein Paket" in me.it.run("rpm", "-q", "--whatprovides", "tiny", env=german).out
        me.it.offer("tiny")
        me.config(system_packages=["tiny", "nobody-knows"])
        assert statuses(me.results(code=1, env=german)) == {
            "tiny": "changed",
            "nobody-knows": "failed",
        }
        assert statuses(me.results(code=1, env=german)) == {"tiny": "ok", "nobody-knows": "failed"}


# --- ensure-db-user: who may speak for the administrator


@contextmanager
def database(
    directory: Path, archive: Path, user: str = "dev", sudo: str = "free"
) -> Iterator[MachineOwner]:
    """A machine with a running PostgreSQL on a free port, and a config that leads there."""
    packages = "python3 postgresql postgresql-client"
    with owner(directory, archive, user=user, packages=packages, sudo=sudo) as me:
        port = free_port()
        version = me.it.must("ls", "/etc/postgresql").strip()
        settings = f"/etc/postgresql/{version}/main/postgresql.conf"
        me.it.must("sed", "-i", f"s/^port = .*/port = {port}/", settings)
        me.it.must("pg_ctlcluster", version, "main", "start")
        me.config(f"[postgres]\nport = {port}\n")
        yield me


def roles(it: Machine, port: str) -> str:
    query = "SELECT rolname, rolcreatedb, rolsuper FROM pg_roles WHERE rolname = 'odoo'"
    return it.must(*f"runuser -u postgres -- psql -XAt -p {port} -c".split(), query).strip()


def port_of(me: MachineOwner) -> str:
    return me.it.read(f"{me.home}/code/config.toml").rpartition("= ")[2].strip()


ENSURE = ["/opt/tlc.pyz", "--yes", "ensure-db-user"]


@pytest.mark.parametrize("user", ["dev", "root"])
def test_the_role_is_made_without_a_question(user: str, tmp_path: Path, archive: Path) -> None:
    with database(tmp_path, archive, user) as me:
        run = me.it.run("python3", *ENSURE, user=user)
        assert run.code == 0, run.err
        assert roles(me.it, port_of(me)) == "odoo|t|f"
        assert bool(me.it.privileged()) == (user == "dev")
        privileged = me.it.privileged()
        assert me.it.run("python3", *ENSURE, user=user).code == 0
        assert me.it.privileged() == privileged

        # Debian 12 has no other one than 15: what would install 16 is a sentence, and no command.
        config = f"{me.home}/code/config.toml"
        me.it.write(config, me.it.read(config).replace('"18.0"', '"18.0", "20.0"'), owner=user)
        run = me.it.run("python3", *ENSURE, user=user)
        assert run.code == 0
        assert "PostgreSQL 15 is too old for Odoo 20.0, which needs 16" in run.err
        assert "install PostgreSQL 16 (tlc install-tools adds its package source)" in run.err


def test_the_administrator_makes_the_role_as_they_are(tmp_path: Path, archive: Path) -> None:
    with database(tmp_path, archive, "postgres", sudo="missing") as me:
        me.it.must("chown", "-R", "postgres", f"{me.home}/code")
        words = ["runuser", "-u", "postgres", "--", "env", f"HOME={me.home}", "python3", *ENSURE]
        run = me.it.run(*words, user="root")
        assert run.code == 0, run.err
        assert roles(me.it, port_of(me)) == "odoo|t|f"


def test_the_password_for_the_role_is_asked_for_once(tmp_path: Path, archive: Path) -> None:
    with database(tmp_path, archive, sudo="password") as me:
        run = me.it.run("python3", *ENSURE)
        assert run.code == 2, run.err
        assert "sudo -u postgres psql -d postgres" in run.err
        assert roles(me.it, port_of(me)) == ""
        with me.it.terminal("python3", *ENSURE) as terminal:
            terminal.answer("password for dev:", f"{PASSWORD}\r")
            assert terminal.wait() == 0, terminal.text
            assert terminal.text.count("password for dev:") == 1
        assert roles(me.it, port_of(me)) == "odoo|t|f"
        with me.it.terminal("python3", *ENSURE) as terminal:
            assert terminal.wait() == 0
            assert "password for" not in terminal.text


@pytest.mark.parametrize("sudo", ["refused", "missing"])
def test_the_role_cannot_be_made_without_the_right(
    sudo: str, tmp_path: Path, archive: Path
) -> None:
    with database(tmp_path, archive, sudo=sudo) as me:
        run = me.it.run("python3", *ENSURE)
        assert run.code == 2, run.err
        assert "sudo -u postgres psql -d postgres" in run.err
        with me.it.terminal("python3", *ENSURE) as terminal:
            assert terminal.wait() == 2
            assert "sudo -u postgres psql -d postgres" in terminal.text
        assert roles(me.it, port_of(me)) == ""


@pytest.mark.parametrize("user", ["dev", "root"])
@pytest.mark.parametrize("case", ["down", "no cluster"])
def test_a_server_that_is_down_is_started(
    case: str, user: str, tmp_path: Path, archive: Path
) -> None:
    """By Debian's service script, as there is no systemd; where no cluster is there the first is made."""
    with database(tmp_path, archive, user) as me:
        version = me.it.must("ls", "/etc/postgresql").strip()
        if case == "down":
            me.it.must("pg_ctlcluster", version, "main", "stop")
        else:
            me.it.must("pg_dropcluster", "--stop", version, "main")
        planned = me.it.run("python3", *ENSURE, "--dry-run", user=user)
        assert planned.code == 0, planned.err
        assert "service postgresql start" in planned.out
        assert ("pg_createcluster" in planned.out) == (case == "no cluster")
        run = me.it.run("python3", *ENSURE, user=user, timeout=120)
        assert run.code == 0, run.out + run.err
        assert roles(me.it, port_of(me)) == "odoo|t|f"
        privileged = me.it.privileged()
        assert me.it.run("python3", *ENSURE, user=user).code == 0
        assert me.it.privileged() == privileged
        me.it.must("pg_ctlcluster", version, "main", "stop")
        doctor = ["/opt/tlc.pyz", "--yes", "doctor", "postgresql", "--fix"]
        run = me.it.run("python3", *doctor, user=user, timeout=120)
        assert run.code == 0, run.out + run.err
        assert roles(me.it, port_of(me)) == "odoo|t|f"
        me.it.must("pg_ctlcluster", version, "main", "stop")


def test_a_server_that_cannot_be_started(tmp_path: Path, archive: Path) -> None:
    with database(tmp_path, archive, "root") as me:
        version = me.it.must("ls", "/etc/postgresql").strip()
        me.it.must("pg_ctlcluster", version, "main", "stop")
        me.it.must(
            "sh", "-c", f"echo nonsense = 1 >>/etc/postgresql/{version}/main/postgresql.conf"
        )
        run = me.it.run("python3", *ENSURE, user="root", timeout=120)
        assert run.code == 1, run.out + run.err
        assert "could not be started" in run.err
