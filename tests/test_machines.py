"""Stories on whole machines, told to real package managers. First of all: the machines are what the stories need."""

from __future__ import annotations

import http.client
import signal
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from apt_archive import AptArchive, Key
from conftest import soon
from https_server import Answer, HttpsServer, Request
from machines import CODENAMES, KINDS, PASSWORD, Machine, lay_python, machine, needs_machines

pytestmark = needs_machines

PGDG = "apt.postgresql.org/pub/repos/apt"
PGDG_SOURCE = f"deb [signed-by=/etc/apt/keyrings/pgdg.asc] https://{PGDG} {{suite}} main\n"


def found(it: Machine, *programs: str) -> list[str]:
    """Which of these programs are on the user's PATH."""
    return [
        program for program in programs if it.run("sh", "-c", f"command -v {program}").code == 0
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_is_bare_and_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    with machine(tmp_path, kind) as it:
        assert it.run("id", "-un").out == "dev\n"
        assert it.run("pwd").out == "/home/dev\n"
        assert it.run("hostname").out == f"{kind}\n"
        assert it.must("id", "-un") == "root\n"
        assert found(it, *"git curl wget uv npm psql brew".split()) == []
        managers = {"arch": ["pacman"], "fedora": ["dnf"]}.get(kind, ["apt-get"])
        assert found(it, "apt-get", "dnf", "pacman") == managers
        assert f"ID={kind.split('-')[0]}\n" in it.read("/etc/os-release")

        it.write("/home/dev/a/file", "ä\n", 0o600)
        assert it.run("cat", "a/file").out == it.read("/home/dev/a/file") == "ä\n"
        assert it.run("stat", "-c", "%U %a", "a/file").out == "dev 600\n"
        assert it.run("stat", "-c", "%U", "a").out == "dev\n"
        assert it.run("sh", "-c", "cat; echo oh >&2; exit 3", input="in").code == 3

        it.run("sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 &")
        soon(lambda: it.processes() == ["sleep 1000"])  # it goes on between runs
        first = it.first
    assert not Path("/proc", first).exists()
    assert Path("/proc/self/mounts").read_text() == mounts
    with machine(tmp_path / "next", kind) as it:
        assert not it.exists("/home/dev/a")


def test_a_program_can_be_interrupted_and_a_hanging_one_ends_its_machine(tmp_path: Path) -> None:
    with machine(tmp_path, "debian-12") as it:
        running = it.popen(
            "sh", "-c", "trap 'echo bye; exit 7' INT; echo >ready; while :; do sleep 0.1; done"
        )
        soon(lambda: it.exists("/home/dev/ready"))
        running.signal(signal.SIGINT)
        assert (running.wait().code, it.processes()) == (7, [])
        with pytest.raises(AssertionError, match=r"took more than 2 s:\nsaid"):
            it.run("sh", "-c", "echo said; sleep 1000 & sleep 1000", timeout=2)


def test_sudo_free_with_a_password_refused_or_missing(tmp_path: Path) -> None:
    with machine(tmp_path, "debian-12", sudo="free") as it:
        assert it.run("sudo", "id", "-un").out == "root\n"
        assert it.privileged() == ["/usr/bin/id -un"]
    with machine(tmp_path / "2", "debian-12", sudo="password") as it:
        assert "a password is required" in it.run("sudo", "-n", "id", "-un").err
        assert it.run("sudo", "-S", "id", "-un", input=f"{PASSWORD}\n").out == "root\n"
        with it.terminal("sudo", "id", "-un") as terminal:
            terminal.wait_for("password for dev:")
            terminal.send(f"{PASSWORD}\r")
            terminal.wait_for("root")
            assert terminal.wait() == 0
        with it.terminal("sudo", "id") as terminal:
            assert terminal.interrupt("password for dev:") != 0
        assert it.processes() == []
    with machine(tmp_path / "3", "debian-12", sudo="refused") as it:
        assert "not in the sudoers file" in it.run("sudo", "-S", "id", input=f"{PASSWORD}\n").err
    with machine(tmp_path / "4", "debian-12", sudo="missing") as it:
        assert found(it, "sudo") == []


@pytest.mark.parametrize("kind", CODENAMES)
def test_apt_installs_from_the_real_archive(kind: str, tmp_path: Path) -> None:
    with machine(tmp_path, kind) as it:
        assert it.run("sudo", "apt-get", "-q", "update", timeout=300).code == 0
        assert it.run("sudo", "apt-get", "-q", "install", "-y", "hello", timeout=300).code == 0
        assert it.run("hello").out == "Hello, world!\n"
    with machine(tmp_path / "offline", kind, network=False) as it:
        it.run("sudo", "apt-get", "-q", "update", "-o", "Acquire::Retries=0")
        assert it.run("sudo", "apt-get", "-q", "install", "-y", "hello").code == 100


@pytest.mark.parametrize(
    ("kind", "refresh", "install", "query"),
    [
        ("debian-13", "apt-get -q update", "apt-get -q install -y", "dpkg-query -W"),
        ("arch", "pacman -Sy", "pacman -S --noconfirm --needed", "pacman -Q"),
        ("fedora", "dnf makecache", "dnf install -y", "rpm -q"),
    ],
)
def test_a_machine_offers_tiny_packages_of_its_own(
    kind: str, refresh: str, install: str, query: str, tmp_path: Path
) -> None:
    with machine(tmp_path, kind) as it:
        it.offer("libsome-dev", "other")
        it.offer("hello", version="2.0", files={"/usr/bin/hello": "#!/bin/sh\necho tiny\n"})
        if kind == "debian-13":
            it.write("/etc/apt/sources.list", "")
        it.must(*refresh.split())
        assert it.run("sudo", *install.split(), "nobody-knows").code != 0
        done = it.run("sudo", *install.split(), "libsome-dev", "hello")
        assert done.code == 0, done
        assert it.run("hello").out == "tiny\n"
        assert it.exists("/usr/share/offered/libsome-dev")
        assert not it.exists("/usr/share/offered/other")
        assert "2.0" in it.run(*query.split(), "hello").out
        assert it.run(*query.split(), "other").code == 1


@pytest.mark.parametrize("kind", CODENAMES)
def test_a_signed_archive_over_https_is_taken_with_the_right_key_only(
    kind: str, tmp_path: Path
) -> None:
    suite = f"{CODENAMES[kind]}-pgdg"
    archive, wrong = AptArchive(tmp_path / "archive", Key("right"), suite), Key("wrong")
    assert archive.key.fingerprint != wrong.fingerprint
    archive.add("postgresql-17", "17.2-1.pgdg", postinst="echo configured >/var/tmp/postgresql")
    archive.publish()
    with HttpsServer(tmp_path / "web", "apt.postgresql.org") as web, machine(tmp_path, kind) as it:
        web.files = {PGDG: archive.directory}
        it.resolve(web.address, "apt.postgresql.org")
        it.write("/etc/apt/sources.list", PGDG_SOURCE.format(suite=suite))
        it.write("/etc/apt/keyrings/pgdg.asc", archive.key.public)
        update, install = (
            "apt-get -q update -o Acquire::Retries=0",
            "apt-get -q install -y postgresql-17",
        )
        refused = it.run(*update.split(), user="root")
        assert "certificate" in refused.out + refused.err, "an authority it does not know"
        it.trust(web.authority)

        it.write("/etc/apt/keyrings/pgdg.asc", wrong.public)
        refused = it.run(*update.split(), user="root")
        assert "is not signed" in refused.out + refused.err
        assert it.run(*install.split(), user="root").code == 100

        it.write("/etc/apt/keyrings/pgdg.asc", archive.key.public)
        it.must(*update.split())
        it.must(*install.split())
        assert it.read("/var/tmp/postgresql") == "configured\n"
        assert (
            Request("https", "apt.postgresql.org", f"/pub/repos/apt/dists/{suite}/InRelease")
            in web.requests
        )


def test_a_web_server_of_all_hosts(tmp_path: Path) -> None:
    with HttpsServer(tmp_path / "web") as web:
        context = ssl.create_default_context(cafile=str(web.authority))

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"{web.url}{path}", context=context, timeout=10) as answer:  # noqa: S310
                return bytes(answer.read())

        web.files = {
            "localhost/here": "mine",
            "other/here": "not mine",
            "/moved": Answer(status=302, location="/here"),
            "/plain": Answer(status=302, location=f"{web.plain_url}/here"),
            "/cut": Answer("0123456789", cut=True),
            "/slow": Answer("0123456789", pause=0.3),
            "/broken": Answer("oh", status=503),
        }
        assert get("/here") == get("/moved") == get("/plain") == b"mine"
        assert web.requests[-2:] == [
            Request("https", "localhost", "/plain"),
            Request("http", "localhost", "/here"),
        ]
        with pytest.raises(http.client.IncompleteRead):
            get("/cut")
        start = time.monotonic()
        assert get("/slow") == b"0123456789"
        assert time.monotonic() - start >= 0.3
        for path, code in {"/broken": 503, "/nothing": 404}.items():
            with pytest.raises(urllib.error.HTTPError) as error:
                get(path)
            assert error.value.code == code
            error.value.close()
        context = ssl.create_default_context()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get("/here")
    with pytest.raises(urllib.error.URLError, match="refused"):
        get("/here")


@pytest.mark.parametrize("kind", ["debian-11", "debian-12", "debian-13"])
def test_tlc_runs_there(kind: str, tmp_path: Path, archive: Path) -> None:
    with machine(tmp_path, kind, packages="" if kind == "debian-11" else "python3") as it:
        if kind == "debian-11":
            lay_python(it)
        python = "python3.11" if kind == "debian-11" else "python3"
        it.write("/home/dev/tlc.pyz", archive.read_bytes())
        run = it.run(python, "tlc.pyz", "--version")
        assert (run.code, run.err) == (0, "")
        assert (
            it.run(python, "-c", "import ssl, lzma, sqlite3, zlib, bz2, ctypes, hashlib").code == 0
        )


@pytest.mark.parametrize("kind", ["debian-11", "debian-12"])
def test_pip_and_uv_reach_the_index(kind: str, tmp_path: Path) -> None:
    with machine(tmp_path, kind, packages="" if kind == "debian-11" else "python3-venv") as it:
        if kind == "debian-11":
            lay_python(it)
        python = "python3.11" if kind == "debian-11" else "python3"
        it.must(python, "-m", "venv", "/home/dev/venv", user="dev")
        it.must("venv/bin/pip", "install", "--quiet", "uv", user="dev", timeout=300)
        it.must("venv/bin/uv", "tool", "install", "--quiet", "pyjokes", user="dev", timeout=300)
        assert it.exists("/home/dev/.local/bin/pyjoke")


def test_npm_reaches_the_registry(tmp_path: Path) -> None:
    with machine(tmp_path, "debian-13", packages="npm") as it:
        it.must(
            "npm",
            "install",
            "-g",
            "--prefix",
            "/home/dev/.local",
            "rtlcss",
            user="dev",
            timeout=300,
        )
        assert it.exists("/home/dev/.local/bin/rtlcss")
