"""The whole way on throwaway machines: from nothing to a page of an Odoo, and again. The package indexes are the real ones.

GitHub's repositories are local ones; the Odoo in them is a stand-in that opens its database and answers HTTP.
"""

from __future__ import annotations

import fcntl
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Run, Sandbox
from machines import CACHE, Machine, machine, needs_machines, root
from newcomers import SLOW, MachineNewcomer, newcomer
from odoo_tree import make_oca, odoo_files, serving
from ports import free_port
from processes import must
from results import results, statuses
from upstream import Upstream

import tlc

pytestmark = needs_machines

CONFIG = """versions = ["{version}"]
[tools]
wkhtmltopdf = false
[repos]
odoo = ["odoo"]
oca = ["web"]
[git]
protocol = "https"
[venvs]
preset = "common"
python = {{ "{version}" = "{python}" }}
[postgres]
{postgres}
"""


@contextmanager
def usual_port() -> Iterator[None]:
    """Have the port of a machine's PostgreSQL to oneself: all machines share the host's."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "port-5432.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 5432)) == 0:
                pytest.skip("a PostgreSQL of this machine has port 5432")
        yield


def login(me: MachineNewcomer, line: str, timeout: float = 60) -> Run:
    """Run a line in a new login shell; what uv and npm leave in /tmp is theirs."""
    return me.run("bash", "-lc", line, timeout=timeout, leaves="tlc-*")


def set_up(me: MachineNewcomer, sandbox: Sandbox, version: str, postgres: str = "") -> None:
    """Lay a GitHub of the machine's own, and the config that a team would hand over."""
    upstream = Upstream(sandbox.home / "github", sandbox)
    for repository in ("odoo/odoo", "OCA/web"):
        upstream.create(repository, version)
    upstream.commit("odoo/odoo", version, serving(odoo_files(version, setuptools=True)))
    make_oca(sandbox.home / "web", version, python=[])
    files = {
        str(path.relative_to(sandbox.home / "web")): path.read_text()
        for path in (sandbox.home / "web").rglob("*.py")
    }
    upstream.commit("OCA/web", version, dict(files))
    must("cp", "-r", upstream.directory, me.it.path / "srv/github")
    me.it.must("chown", "-R", me.user, "/srv/github")
    login(me, "git config --global url.file:///srv/github/.insteadOf https://github.com/")
    # Debian's profile has it for those who have a home below /home.
    login(me, "echo 'PATH=\"$HOME/.local/bin:$PATH\"' >>~/.profile")
    python = login(me, "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").out
    config = CONFIG.format(version=version, python=python.strip(), postgres=postgres)
    me.it.write(f"{me.home}/code/config.toml", config, owner=me.user)


def page_of(me: MachineNewcomer, version: str) -> str:
    """Start Odoo by `tlc run` and return its page."""
    running = me.it.popen("bash", "-lc", f"exec tlc run {version}", user=me.user)
    try:
        address = f"http://127.0.0.1:{int(version[:2]) * 1000 + 69}/"
        deadline = time.monotonic() + 60
        while running.process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    return str(answer.read().decode())
            except OSError:
                time.sleep(0.1)
    finally:
        running.signal()
        ended = running.wait()
    raise AssertionError(f"no page: {ended}")


def goes_the_whole_way(me: MachineNewcomer, version: str, code: int = 0) -> None:
    """`up` does all that can be done, the page answers; again nothing changes and nobody is asked."""
    first = login(me, "tlc --yes up --json", timeout=2 * SLOW)
    assert first.code == code, first.out + first.err
    for kind in ("directory", "repository", "server", "role", "venv", "launcher", "configuration"):
        assert set(statuses(first, kind).values()) <= {"ok", "changed"}, first.err
    page = page_of(me, version)
    assert re.match(rf"Odoo {version}, on database odoo-{version} of PostgreSQL [\d.]+", page), page
    assert page.endswith("as role odoo\n")

    privileged = me.it.privileged()
    again = login(me, "tlc --yes up --json", timeout=SLOW)
    assert (again.code, again.json()["changed"]) == (code, False), again.err
    assert me.it.privileged() == privileged
    assert "Odoo" in page_of(me, version)
    bare = login(me, "tlc").out
    assert bare.splitlines()[-1].startswith(f"next: tlc run {version}"), bare


def test_a_user_with_sudo_and_all_default_packages(
    tmp_path: Path, archive: Path, sandbox: Sandbox
) -> None:
    with usual_port(), newcomer(tmp_path, archive, "debian-12") as me:
        run = me.bootstrap()
        assert run.code == 0, run.err
        set_up(me, sandbox, "18.0")
        goes_the_whole_way(me, "18.0")
        assert me.it.exists("/usr/lib/postgresql/15/bin/postgres")
        assert len(login(me, "tlc --json --dry-run install-tools").json()["results"]) > 25


def test_root_in_a_container(tmp_path: Path, archive: Path, sandbox: Sandbox) -> None:
    with usual_port(), newcomer(tmp_path, archive, "debian-13", user="root", sudo="missing") as me:
        # All but the server and git are tiny ones: the real ones are the other story's.
        names = tlc.DEFAULT_PACKAGES["apt-get"].replace("|", " ").split()
        real = {"git", "postgresql", "postgresql-client", "gcc"}
        me.it.offer(*(name for name in names if name not in real), version="999")
        me.it.offer("gcc", version="999", files={"/usr/bin/cc": "#!/bin/sh\n"})
        run = me.bootstrap("bash")
        assert run.code == 0, run.err
        set_up(me, sandbox, "17.0")
        goes_the_whole_way(me, "17.0")


def test_a_user_without_sudo_and_a_server_of_their_own(
    tmp_path: Path, archive: Path, sandbox: Sandbox
) -> None:
    with newcomer(tmp_path, archive, packages="curl gcc git python3-venv", sudo="missing") as me:
        me.bootstrap()
        set_up(me, sandbox, "16.0", f'server = "own"\nport = {free_port()}')
        goes_the_whole_way(me, "16.0", code=1)
        run = login(me, "tlc --yes up --json", timeout=SLOW)
        failed = {each["name"] for each in results(run, "package") if each["status"] == "failed"}
        assert {"libpq-dev", "postgresql"} < failed
        assert "gcc" not in failed
        assert login(me, "tlc --yes ensure-db-user --stop").code == 0


# --- the first clusters of other distributions

# The server's programs are Debian's; what makes the first cluster is played as the distribution has it.
SETUP = """#!/bin/sh
set -eu
[ "$(id -un) $1" = "root --initdb" ]
data=/var/lib/pgsql/data
[ ! -e $data/PG_VERSION ] || { echo "Data directory is not empty!" >&2; exit 1; }
install -d -o postgres -g postgres -m 700 $data
runuser -u postgres -- initdb $PGSETUP_INITDB_OPTIONS -D $data >/dev/null
"""
PROGRAM = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/postgresql
exec /usr/lib/postgresql/15/bin/{name} "$@"
"""
PROGRAMS = ["initdb", "pg_ctl", "postgres", "psql", "pg_isready"]


def lay_postgresql(it: Machine, port: int) -> None:
    """Put the programs of Debian 12's PostgreSQL on PATH, with a default port for new clusters, and its account."""
    source = root("debian-12", "python3 postgresql postgresql-client")
    for place in ("usr/lib/postgresql", "usr/share/postgresql"):
        must("cp", "-a", source / place, it.path / place)
    there = [f"/usr/lib/postgresql/15/bin/{name}" for name in PROGRAMS]
    needed = set(re.findall(r"=> (/\S+) \(0x", must("chroot", source, "ldd", *there)))
    (it.path / "opt/postgresql").mkdir(parents=True)
    must("cp", "-L", *(f"{source}{path}" for path in sorted(needed)), it.path / "opt/postgresql")
    for name in PROGRAMS:
        it.write(f"/usr/bin/{name}", PROGRAM.format(name=name), 0o755)
    it.must("sh", "-c", f"echo port = {port} >>/usr/share/postgresql/15/postgresql.conf.sample")
    it.must("useradd", "--system", "--user-group", "--home-dir", "/", "postgres")


@pytest.mark.parametrize(
    ("kind", "package", "data"),
    [
        ("fedora", "postgresql-server", "/var/lib/pgsql/data"),
        ("arch", "postgresql", "/var/lib/postgres/data"),
    ],
)
def test_the_first_cluster_of_another_distribution(
    kind: str, package: str, data: str, tmp_path: Path, archive: Path
) -> None:
    with machine(tmp_path, kind, packages="python3") as it:
        port = free_port()
        lay_postgresql(it, port)
        it.offer(package, files={"/usr/bin/postgresql-setup": SETUP} if kind == "fedora" else {})
        it.must("install", "-d", "-o", "postgres", "-g", "postgres", "/var/lib/pgsql", data)
        if kind == "fedora":
            it.must("rmdir", data)
        it.write("/home/dev/tlc.pyz", archive.read_bytes())
        config = f'[tools]\nsystem_packages = ["{package}"]\n[postgres]\nport = {port}\n'
        it.write("/home/dev/code/config.toml", config)

        def run_tlc(*words: str) -> Run:
            run = it.run("python3", "tlc.pyz", "--yes", "--json", *words, timeout=300)
            assert run.code == 0, run.out + run.err
            return run

        run_tlc("install-tools", "--no-default-packages")
        planned = run_tlc("ensure-db-user", "--dry-run")
        assert set(statuses(planned).values()) == {"planned"}
        first = run_tlc("ensure-db-user")
        assert set(statuses(first).values()) == {"changed"}
        assert it.must("cat", f"{data}/PG_VERSION") == "15\n"
        privileged = it.privileged()
        assert not run_tlc("ensure-db-user").json()["changed"]
        assert it.privileged() == privileged
        words = f"runuser -u postgres -- pg_ctl -m fast -D {data} stop"
        it.must(*words.split())
        assert statuses(run_tlc("ensure-db-user")) == {f"localhost:{port}": "changed", "odoo": "ok"}
        it.must(*words.split())
