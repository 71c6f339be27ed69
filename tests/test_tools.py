"""The parts of install-tools that need no machine of their own; its stories are in test_tools_on_machines.py."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Sandbox, soon
from https_server import Answer, HttpsServer, Request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ports import free_port
from processes import must

import tlc

OK, FAIL = tlc.CheckStatus.OK, tlc.CheckStatus.FAIL
BEGIN, END = b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"
needs_gpg = pytest.mark.skipif(
    subprocess.run(["sh", "-c", "command -v gpg"], capture_output=True).returncode != 0,
    reason="gpg is missing: sudo apt-get install gnupg, or your system's package",
)
NO_TASK = tlc.Task(False, False, lambda *_details, **_more: None)


@pytest.fixture
def runner(tmp_path: Path) -> tlc.Runner:
    return tlc.Runner(os.environ, tlc.Log(str(tmp_path / "logs"), "test"))


class Scripted(tlc.Runner):
    """A runner with every program, each of which says the same."""

    def __init__(self, out: str = "", err: str = "", code: int = 0) -> None:
        super().__init__({}, tlc.Log("", "test"))
        self.out, self.err, self.code = out, err, code
        self.calls: list[tuple[list[str], dict[str, str]]] = []

    def which(self, program: str) -> str:
        return f"/usr/bin/{program}"

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **_options: Any
    ) -> tlc.Completed:
        self.calls.append((list(argv), dict(env or {})))
        return tlc.Completed(list(argv), self.code, self.out, self.err, 0.0)


@pytest.mark.parametrize(
    ("manager", "out", "wanted"),
    [
        ("apt-get", "installed postgresql postgresql:amd64 \n", "postgresql=15+248"),
        ("brew", "wkhtmltopdf 0.12.6\n", "homebrew/cask/wkhtmltopdf"),
    ],
)
def test_a_pinned_package_that_is_there_is_left_alone(manager: str, out: str, wanted: str) -> None:
    packages = tlc.Packages(Scripted(out), manager, [wanted, "other"])
    assert tlc.SystemPackage(wanted, packages).check().status == tlc.CheckStatus.OK
    assert tlc.SystemPackage("other", packages).check().status == tlc.CheckStatus.FAIL


def test_a_uv_too_old_to_tell_what_it_has_is_not_one_without_tools() -> None:
    with pytest.raises(tlc.TlcError, match=r"cannot list its tools: .*unexpected"):
        tlc.UvTool.list_installed(
            Scripted(err="error: unexpected argument '--show-extras' found\n", code=2)
        )


# --- which system this is


@pytest.mark.parametrize(
    ("text", "manager", "codename"),
    [
        ("ID=debian VERSION_CODENAME=bookworm", "apt-get", "bookworm"),
        (
            "ID=ubuntu ID_LIKE=debian VERSION_CODENAME=noble UBUNTU_CODENAME=noble",
            "apt-get",
            "noble",
        ),
        (
            "ID=linuxmint ID_LIKE=ubuntu,debian VERSION_CODENAME=virginia UBUNTU_CODENAME=jammy",
            "apt-get",
            "jammy",
        ),
        (
            "ID=linuxmint ID_LIKE=debian VERSION_CODENAME=faye DEBIAN_CODENAME=bookworm",
            "apt-get",
            "bookworm",
        ),
        (
            "ID=pop ID_LIKE=ubuntu,debian VERSION_CODENAME=jammy UBUNTU_CODENAME=jammy",
            "apt-get",
            "jammy",
        ),
        (
            "ID=elementary ID_LIKE=ubuntu VERSION_CODENAME=horus UBUNTU_CODENAME=jammy",
            "apt-get",
            "jammy",
        ),
        ("ID=raspbian ID_LIKE=debian VERSION_CODENAME=bookworm", "apt-get", "bookworm"),
        ("ID=debian", "apt-get", ""),
        ("ID=fedora VERSION_CODENAME= VERSION_ID=42", "dnf", ""),
        ("ID=rocky ID_LIKE=rhel,centos,fedora", "dnf", ""),
        ("ID=rhel ID_LIKE=fedora", "dnf", ""),
        ("ID=amzn ID_LIKE=fedora", "dnf", ""),
        ("ID=arch", "pacman", ""),
        ("ID=manjaro ID_LIKE=arch", "pacman", ""),
        ("ID=endeavouros ID_LIKE=arch", "pacman", ""),
        ("ID=gentoo", "", ""),
        ("ID=opensuse-leap ID_LIKE=suse,opensuse VERSION_CODENAME=x", "", ""),
        ("ID=alpine", "", ""),
        ("", "", ""),
    ],
)
def test_os_release_tells_the_package_manager_and_the_release_below(
    text: str, manager: str, codename: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = {
        name: value.replace(",", " ")
        for name, _, value in (word.partition("=") for word in text.split())
    }
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    found = tlc.get_os_info()
    assert (found.manager, found.codename) == (manager, codename)


def test_no_os_release_and_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> dict[str, str]:
        raise OSError("no os-release")

    monkeypatch.setattr(platform, "freedesktop_os_release", absent)
    monkeypatch.setattr(sys, "platform", "linux")
    assert tlc.get_os_info().as_dict() == {"manager": "", "codename": ""}
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tlc.get_os_info().as_dict() == {"manager": "brew", "codename": ""}


# --- keys


@contextmanager
def gpg_home() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="gpg") as home:  # short enough for the agent's socket
        try:
            yield [
                "gpg",
                "--homedir",
                home,
                *"--batch --quiet --pinentry-mode loopback --passphrase".split(),
                "",
            ]
        finally:
            must("gpgconf", "--homedir", home, "--kill", "all")


def make_keys(*algorithms: str, subkey: str = "") -> tuple[bytes, list[str]]:
    """An armoured file of keys as gpg makes it, and their fingerprints as gpg tells them."""
    with gpg_home() as gpg:
        for number, algorithm in enumerate(algorithms):
            must(*gpg, "--quick-generate-key", f"key {number}", algorithm, "sign", "never")
        lines = must(*gpg, "--with-colons", "--fingerprint").splitlines()
        primary = [
            lines[at + 1].split(":")[9] for at, line in enumerate(lines) if line.startswith("pub:")
        ]
        for fingerprint in primary if subkey else []:
            must(*gpg, "--quick-add-key", fingerprint, subkey, "sign", "never")
        return must(*gpg, "--armor", "--export").encode(), primary


@pytest.fixture(scope="module")
def one_key() -> tuple[bytes, list[str]]:
    return make_keys("ed25519")


@pytest.fixture(scope="module")
def another_key() -> tuple[bytes, list[str]]:
    return make_keys("ed25519")


@needs_gpg
@pytest.mark.parametrize(
    ("algorithms", "subkey"),
    [
        (["rsa2048"], ""),
        (["rsa2048"], "rsa2048"),
        (["ed25519"], ""),
        (["ed25519"], "ed25519"),
        (["nistp256"], ""),
        (["ed25519", "nistp256", "ed25519"], "ed25519"),
    ],
)
def test_the_fingerprints_are_gpgs(algorithms: list[str], subkey: str) -> None:
    armoured, fingerprints = make_keys(*algorithms, subkey=subkey)
    assert tlc.key_fingerprints(armoured) == fingerprints
    assert tlc.key_fingerprints(armoured.replace(b"\n", b"\r\n")) == fingerprints
    headed = armoured.replace(
        BEGIN + b"\n", BEGIN + b"\nVersion: GnuPG v1\nComment: with a comment\n"
    )
    assert tlc.key_fingerprints(headed) == fingerprints


@needs_gpg
def test_keys_in_several_blocks_are_all_told(one_key: tuple[bytes, list[str]]) -> None:
    more, fingerprints = make_keys("rsa2048", "ed25519")
    assert tlc.key_fingerprints(one_key[0] + more) == one_key[1] + fingerprints


def accepted(armoured: bytes, allowed: Sequence[str]) -> bool:
    """Whether a key file would be taken where these fingerprints are the published ones."""
    try:
        found = tlc.key_fingerprints(armoured)
    except (ValueError, IndexError):
        return False
    return bool(found) and not set(found) - set(allowed)


@needs_gpg
def test_no_key_hides_beside_the_right_one(
    one_key: tuple[bytes, list[str]], another_key: tuple[bytes, list[str]]
) -> None:
    """What apt up to 2.9 reads of a file: all between a line -----BEGIN and a line -----END, after an empty line."""
    (right, fingerprints), (strange, _) = one_key, another_key
    assert accepted(right, fingerprints)
    assert not accepted(strange, fingerprints)
    in_one_block = base64.b64decode(b"".join(line for line in lines_of(right))) + base64.b64decode(
        b"".join(lines_of(strange))
    )
    hidden = {
        "a second block": right + strange,
        "a first block": strange + right,
        "in the same block": BEGIN + b"\n\n" + base64.encodebytes(in_one_block) + END + b"\n",
        "a block of another name": right + strange.replace(b"PUBLIC KEY BLOCK", b"MESSAGE"),
        "an end in a header": right + strange.replace(BEGIN, BEGIN + b"\nComment: -----END"),
        "a begin in a header": strange.replace(BEGIN, b"-----BEGIN X\nComment: " + BEGIN) + right,
        "an end within a line": right.replace(END, b"x" + END) + strange,
        "indented": right + strange.replace(BEGIN, b" " + BEGIN),
        "beyond a carriage return": right + strange.replace(b"\n\n", b"\n\r\n", 1),
    }
    for where, armoured in hidden.items():
        assert not accepted(armoured, fingerprints), where


def lines_of(armoured: bytes) -> list[bytes]:
    """The lines of the body of an armoured block, without its checksum."""
    body = armoured.partition(b"\n\n")[2].partition(b"-----END")[0]
    return [line for line in body.splitlines() if not line.startswith(b"=")]


def armour(data: bytes) -> bytes:
    return BEGIN + b"\n\n" + base64.encodebytes(data) + END + b"\n"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>not found</html>",
        BEGIN,
        BEGIN + b"\n\n",
        BEGIN + b"\n\n" + END,
        BEGIN + b"\n\nnot base64!\n" + END,
        b"\x99\x01\x0d\x04"
        + bytes(300),  # a binary key, which apt would not take from a file named .asc
        armour(b"\xc6"),
        armour(b"\xc6\xff\xff"),
        armour(b"\xc6\xe0\x04"),  # partial lengths
        armour(b"\x9b\x04"),  # an indeterminate length
        armour(b"\xc6\x01\x03"),  # version 3
        armour(b"\xc6\x01\x06"),  # version 6
        armour(b"\xc6\x00"),  # an empty key
    ],
)
def test_what_is_no_key_is_never_accepted(text: bytes) -> None:
    assert not accepted(text, ["0" * 40])


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"\xc6\xbf")
@example(b"\x98")
def test_no_packets_make_it_stumble_or_run_on(data: bytes) -> None:
    for text in (data, armour(data)):
        with suppress(ValueError, IndexError):
            assert all(len(found) == 40 for found in tlc.key_fingerprints(text))


@needs_gpg
@settings(deadline=None)
@given(where=st.integers(min_value=0), octet=st.integers(1, 255))
def test_a_key_that_was_tampered_with_has_another_fingerprint(
    one_key: tuple[bytes, list[str]], where: int, octet: int
) -> None:
    armoured, fingerprints = one_key
    data = bytearray(base64.b64decode(b"".join(lines_of(armoured))))
    at = 2 + where % data[1]  # the first packet is the key, its length one octet in both formats
    data[at] ^= octet
    assert not accepted(armour(bytes(data)), fingerprints)


# --- downloads


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    with HttpsServer(tmp_path / "web") as web:
        for name, value in {**web.env, "no_proxy": "localhost"}.items():
            monkeypatch.setenv(name, value)
        yield web


def test_a_download_follows_redirects_as_far_as_they_are_https(
    web: HttpsServer, runner: tlc.Runner
) -> None:
    web.files = {
        "/here": b"\x00\xff" * 100_000,
        "/empty": "",
        "/moved": Answer(status=302, location="/here"),
        "/far": Answer(status=301, location=f"{web.url}/moved"),
        "/plain": Answer(status=302, location=f"{web.plain_url}/here"),
        "/around": Answer(status=307, location="/plain"),
        "/file": Answer(status=302, location="file:///etc/passwd"),
        "/loop": Answer(status=302, location="/loop"),
        "/down": Answer("secret", status=503),
    }
    assert tlc.download(f"{web.url}/here", runner) == b"\x00\xff" * 100_000
    assert tlc.download(f"{web.url}/far", runner) == b"\x00\xff" * 100_000
    assert tlc.download(f"{web.url}/empty", runner) == b""
    wrong = {"/plain": "not https", "/around": "not https", "/file": "not allowed", "/loop": "302"}
    for path, reason in {**wrong, "/down": "503", "/nothing": "404: Not Found"}.items():
        with pytest.raises(tlc.TlcError, match=reason):
            tlc.download(f"{web.url}{path}", runner)
    assert "http" not in {request.scheme for request in web.requests}
    assert Request("https", "localhost", "/moved") in web.requests


@pytest.mark.parametrize("size", [2, 1000, 1_000_000])
def test_a_download_that_was_cut_off_is_none(
    web: HttpsServer, runner: tlc.Runner, size: int
) -> None:
    web.files = {"/cut": Answer("x" * size, cut=True)}
    with pytest.raises(tlc.TlcError):
        tlc.download(f"{web.url}/cut", runner)


def test_a_download_has_a_limit(web: HttpsServer, runner: tlc.Runner) -> None:
    web.files = {"/most": bytes(tlc.DOWNLOAD_LIMIT), "/more": bytes(tlc.DOWNLOAD_LIMIT + 1)}
    assert len(tlc.download(f"{web.url}/most", runner)) == tlc.DOWNLOAD_LIMIT
    with pytest.raises(tlc.TlcError, match="larger than 10,000,000 bytes"):
        tlc.download(f"{web.url}/more", runner)


@contextmanager
def dripping(web: HttpsServer) -> Iterator[str]:
    """An address whose answer comes octet by octet, 20 in a second, for a minute."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with (
                suppress(OSError),
                web.context.wrap_socket(listener.accept()[0], server_side=True) as client,
            ):
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1200\r\n\r\n")
                for _ in range(1200):
                    client.sendall(b"x")
                    if over.wait(0.05):
                        break

        listener.settimeout(20)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/"
        over.set()
        thread.join()


def test_a_download_that_drips_takes_its_time_and_no_longer(
    web: HttpsServer, runner: tlc.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tlc, "DOWNLOAD_TIME", 0.5)
    with dripping(web) as url:
        started = time.monotonic()
        with pytest.raises(tlc.TlcError, match="slower"):
            tlc.download(url, runner)
        assert time.monotonic() - started < 20


def test_a_download_ends_with_the_run(web: HttpsServer, runner: tlc.Runner) -> None:
    with dripping(web) as url:
        threading.Timer(0.5, runner.stop).start()
        started = time.monotonic()
        with pytest.raises(tlc.Interrupted):
            tlc.download(url, runner)
        assert time.monotonic() - started < 20


def test_a_server_nobody_vouches_for_and_one_that_is_down(
    web: HttpsServer, runner: tlc.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files = {"/here": "mine"}
    port = free_port()
    with pytest.raises(tlc.TlcError, match=r"cannot be fetched: .*refused"):
        tlc.download(f"https://localhost:{port}/here", runner)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(tlc.TlcError, match=r"(?i)certificate"):
        tlc.download(f"{web.url}/here", runner)


# --- installing together

NAMES = st.lists(st.sampled_from([f"p{number}" for number in range(40)]), unique=True, max_size=20)


class Installer:
    """Installs all names of a call or none: it names those it does not know, and says nothing of the `broken`."""

    def __init__(
        self,
        strange: Sequence[str] = (),
        broken: Sequence[str] = (),
        complaint: str = "E: it failed",
    ) -> None:
        self.strange, self.broken, self.complaint = set(strange), set(broken), complaint
        self.installed: list[str] = []
        self.calls: list[list[str]] = []

    def __call__(self, names: Sequence[str]) -> tlc.Completed:
        self.calls.append(list(names))
        lines = [f"E: Unable to locate package {name}" for name in names if name in self.strange]
        if not lines and self.broken & set(names):
            lines = [self.complaint]
        if not lines:
            self.installed += names
        return tlc.Completed(list(names), 100 if lines else 0, "", "\n".join(lines), 0.0)


UNKNOWN = tlc.MANAGERS["apt-get"].unknown


@settings(deadline=None)
@given(names=NAMES, strange=NAMES, broken=NAMES)
def test_exactly_the_bad_ones_fail_wherever_they_stand(
    names: list[str], strange: list[str], broken: list[str]
) -> None:
    install = Installer(strange, broken)
    results = tlc.install_together(names, install, UNKNOWN)
    bad = (set(strange) | set(broken)) & set(names)
    assert set(results) == set(names)
    assert {name for name in names if results[name].status == "failed"} == bad
    assert sorted(install.installed) == sorted(set(names) - bad)
    assert {results[name].status for name in set(names) - bad} <= {"changed"}
    for name in bad & set(strange):
        assert results[name] == tlc.UNKNOWN_PACKAGE
    for name in bad - set(strange):
        assert results[name].message == "E: it failed"


def test_a_good_list_costs_one_call_and_a_culprit_a_few() -> None:
    names = [f"p{number}" for number in range(32)]
    install = Installer()
    tlc.install_together(names, install, UNKNOWN)
    assert install.calls == [names]
    install = Installer(strange=["p3", "p20"])
    tlc.install_together(names, install, UNKNOWN)
    assert len(install.calls) == 2
    install = Installer(broken=["p3"])
    tlc.install_together(names, install, UNKNOWN)
    assert len(install.calls) <= 11
    assert tlc.install_together([], install, UNKNOWN) == {}


@pytest.mark.parametrize(
    ("complaint", "cause"),
    [
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "the disk is full"),
        (
            "E: Unmet dependencies. Try 'apt --fix-broken install' with no packages",
            "lacks a dependency",
        ),
        ("E: Conflicting values set for option Signed-By regarding source", "two apt sources"),
        (
            "E: Failed to fetch http://archive.example/x  Could not connect to archive.example:80",
            "cannot be reached",
        ),
        ("npm error code ENOTFOUND", "cannot be reached"),
        ("error: failed retrieving file 'core.db' from mirror", "cannot be reached"),
    ],
)
def test_what_is_nobodys_fault_is_not_tried_again(complaint: str, cause: str) -> None:
    install = Installer(broken=["a"], complaint=complaint)
    results = tlc.install_together(["b", "a", "c"], install, UNKNOWN)
    assert len(install.calls) == 1
    for result in results.values():
        assert result.status == "failed"
        assert cause in result.message
        assert complaint in result.detail


# --- package managers

# What the real ones said of these, of which b is not installed.
ASKED = ["a", "b", "c++", "d.e|f"]
ANSWERS = {
    "apt-get": (
        "installed a a:amd64 \ninstalled c c:amd64 c++ (= 1), cc\ninstalled f f:all \nconfig-files d.e d.e:amd64 \n",
        "",
    ),
    "dnf": (
        "a-1.0-1.fc42.noarch\nno package provides b\nc++-1.0-1.x86_64\nno package provides d.e\nf-1-1.noarch\n",
        "",
    ),
    "pacman": ("b\nd.e\n", ""),
    "brew": ("a 1.0\nc++ 1.0 2.0\nf 3\n", ""),
}


@pytest.mark.parametrize("name", tlc.MANAGERS)
def test_what_is_installed_is_read_off_each_managers_answer(name: str) -> None:
    runner = Scripted(*ANSWERS[name], code=1)
    packages = tlc.Packages(runner, name, ASKED)
    found = {each: tlc.SystemPackage(each, packages).check().status for each in ASKED}
    assert found == {"a": OK, "b": FAIL, "c++": OK, "d.e|f": OK}
    [(argv, env)] = runner.calls
    if tlc.MANAGERS[name].absent:  # the others list all they have
        assert argv[argv.index("--") + 1 :] == ["a", "b", "c++", "d.e", "f"]
    assert env.get("LC_ALL") in ("C", "C.UTF-8"), "rpm's answer is translated"


@pytest.mark.parametrize("name", tlc.MANAGERS)
def test_nothing_is_installed_where_nothing_is_said_of_it(name: str) -> None:
    if tlc.MANAGERS[name].present:
        assert tlc.Packages(Scripted(code=1), name, ASKED).list_installed() == set()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apt-get", "E: Unable to locate package nobody"),
        (
            "apt-get",
            "Package nobody is not available, ...\nE: Package 'nobody' has no installation candidate",
        ),
        ("dnf", "No match for argument: nobody\nError: Unable to find a match: nobody"),
        ("pacman", "error: target not found: nobody"),
        (
            "brew",
            'Warning: No available formula or cask with the name "nobody". Did you mean body?',
        ),
    ],
)
def test_a_name_each_manager_does_not_know_is_left_out(name: str, said: str) -> None:
    calls = []

    def install(names: Sequence[str]) -> tlc.Completed:
        calls.append(list(names))
        return tlc.Completed([], int("nobody" in names), "", said, 0.0)

    results = tlc.install_together(["a", "nobody", "b"], install, tlc.MANAGERS[name].unknown)
    assert calls == [["a", "nobody", "b"], ["a", "b"]]
    assert {each: result.status for each, result in results.items()} == {
        "a": "changed",
        "b": "changed",
    } | {"nobody": "failed"}


# Stands in for Homebrew, which cannot be had on Linux without a compiler and an hour: it keeps what is installed in a
# file, and knows the formulas git and node.
BREW = """#!/bin/sh
echo "$@" >>"$BREW_STATE.log"
case $1 in
    list) cat "$BREW_STATE" ;;
    install) shift 2
        for name; do case $name in git|node) ;; *)
            echo "Warning: No available formula or cask with the name \\"$name\\"." >&2; exit 1 ;; esac; done
        for name; do echo "$name 1.0" >>"$BREW_STATE"; done ;;
esac
"""


def test_homebrew_which_a_script_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, brew = tmp_path / "state", tmp_path / "bin" / "brew"
    brew.parent.mkdir()
    brew.write_text(BREW)
    brew.chmod(0o755)
    state.write_text("git 2.51.0\n")
    monkeypatch.setattr(sys, "platform", "darwin")
    environ = {"PATH": f"{brew.parent}:{os.environ['PATH']}", "BREW_STATE": str(state)}
    runner = tlc.Runner(environ, tlc.Log(str(tmp_path), "test"))
    names = ["git", "node", "nosuch"]
    packages = tlc.Packages(runner, tlc.get_os_info().manager, names)
    resources = [tlc.SystemPackage(name, packages) for name in names]
    assert [each.check().status for each in resources] == [OK, FAIL, FAIL]
    assert tlc.SystemPackage.privileged_batch(resources) == [], "brew refuses to run as root"
    results = tlc.SystemPackage.apply_batch(resources[1:], NO_TASK)
    assert [result.status for result in results] == ["changed", "failed"]
    packages.installed.forget()
    assert [each.check().status for each in resources] == [OK, OK, FAIL]
    assert "install -- node\n" in state.with_name("state.log").read_text()


# --- wkhtmltopdf


class Rootless(tlc.Runner):
    """A runner that keeps what root would run, and says that it ended with `code`."""

    def __init__(self, environ: Mapping[str, str], code: int = 0) -> None:
        super().__init__(environ, tlc.Log("", "test"))
        self.code = code
        self.as_root: list[list[str]] = []

    def run(self, argv: Sequence[str], *, user: str = "", **options: Any) -> tlc.Completed:
        if user != "root":
            return super().run(argv, **options)
        self.as_root.append([os.path.basename(argv[0]), *argv[1:]])
        return tlc.Completed(list(argv), self.code, "", "E: it is refused" * bool(self.code), 0.0)


def make_deb(directory: Path, name: str = "wkhtmltox") -> bytes:
    """Return a package with a program that says what the real one says."""
    root = directory / name
    program = root / "usr/local/bin/wkhtmltopdf"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 'wkhtmltopdf 0.12.6.1 (with patched qt)'\n")
    program.chmod(0o755)
    (root / "DEBIAN").mkdir()
    fields = f"Package: {name}\nVersion: 1:0.12.6.1-3\nArchitecture: all\n"
    (root / "DEBIAN/control").write_text(f"{fields}Maintainer: x <x@example.com>\nDescription: x\n")
    must("dpkg-deb", "--build", "--root-owner-group", str(root), str(directory / "x.deb"))
    return (directory / "x.deb").read_bytes()


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is Debian's and its kin's")
@pytest.mark.parametrize(
    ("case", "status", "message"),
    [
        ("right", "changed", "installed"),
        ("sha1", "changed", "installed"),
        ("wrong", "failed", "checksum mismatch"),
        ("other package", "failed", "another package"),
        ("absent", "skipped", "404"),
        ("refused", "skipped", "it is refused"),
    ],
)
def test_wkhtmltopdf_is_installed_from_the_very_file(
    web: HttpsServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    status: str,
    message: str,
) -> None:
    deb = make_deb(tmp_path, "other" if case == "other package" else "wkhtmltox")
    machine = must("dpkg", "--print-architecture").strip()
    algorithm = hashlib.sha1 if case == "sha1" else hashlib.sha256
    checksum = algorithm(deb).hexdigest() if case != "wrong" else "0" * 64
    monkeypatch.setattr(tlc, "WKHTMLTOX_URL", web.url)
    monkeypatch.setattr(tlc, "WKHTMLTOX_CHECKSUMS", {f"bookworm_{machine}": checksum})
    monkeypatch.setattr(tlc, "get_os_info", lambda: tlc.OsInfo("apt-get", "trixie"))
    name = f"wkhtmltox_0.12.6.1-3.bookworm_{machine}.deb"
    web.files = {} if case == "absent" else {f"/{name}": deb}
    empty = tmp_path / "bin"
    empty.mkdir()
    runner = Rootless({**os.environ, "PATH": f"{empty}:/usr/bin:/bin"}, int(case == "refused"))
    note = tmp_path / "tried" / "wkhtmltopdf"
    resource = tlc.PatchedWkhtmltopdf(tlc.Packages(runner, "apt-get", []), str(note))
    if tlc.PATCHED in tlc.wkhtmltopdf_version(runner):
        pytest.skip("this machine has one")
    found = resource.check()
    assert (found.status, found.action != "") == ("WARN", True)
    assert [each.argv[-1] for each in resource.privileged()][-1] == name
    result = resource.apply(NO_TASK)
    assert (result.status, message in result.message) == (status, True), result
    installs = [words for words in runner.as_root if words[:2] == ["apt-get", "install"]]
    assert len(installs) == (case in ("right", "sha1", "refused"))
    for words in installs:
        assert os.path.basename(words[-1]) == name
        assert not os.path.exists(words[-1])

    assert note.exists() == (status == "skipped")
    if status == "skipped":  # no later run tries again, nor asks for a password
        again = resource.check()
        assert (again.status, again.action) == ("WARN", "")

    # The second time, once it is there.
    program = tmp_path / "wkhtmltox/usr/local/bin/wkhtmltopdf"
    if program.exists():
        (empty / "wkhtmltopdf").symlink_to(program)
        assert resource.check().status == OK


def test_a_release_without_a_build_is_left_to_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlc, "get_os_info", lambda: tlc.OsInfo("apt-get", "bullseye"))
    assert tlc.wkhtmltox_build() == ""
    told = tlc.check_wkhtmltopdf(Scripted("amd64\n"), "")
    assert "github.com/wkhtmltopdf/packaging" in told.fix.by_hand


def test_the_distributions_wkhtmltopdf_is_not_installed_beside_it(sandbox: Sandbox) -> None:
    if tlc.get_os_info().manager != "apt-get":
        pytest.skip("only Debian and its kin have the package")
    for key, expected in (("true", 1), ("false", 1)):
        sandbox.config(
            'versions = ["18.0"]\n[tools]\nsystem_packages = ["wkhtmltopdf"]\n'
            f"wkhtmltopdf = {key}\n"
        )
        run = sandbox.tlc("--json", "--dry-run", "install-tools")
        names = [each["name"] for each in run.json()["results"]]
        assert names.count("wkhtmltopdf") == expected


# --- what apt is asked to do in one run


@pytest.mark.parametrize(
    ("source", "whose"), [(tlc.PGDG, "PostgreSQL's"), (tlc.GITHUB_CLI, "GitHub's")]
)
def test_a_package_source_is_planned_by_whose_it_is(
    source: Mapping[str, str], whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tlc, "get_os_info", lambda: tlc.OsInfo("apt-get", "trixie"))
    monkeypatch.setattr(tlc, "read_text", lambda path: "")
    packages = tlc.Packages(Scripted(), "apt-get", [])
    planned = tlc.AptSource("it", source, packages, lambda: "", "").check().action
    assert planned.startswith(f"add {whose} ")
    assert source["uri"].split("/")[2] in planned


APT = """\
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://archive.example.org/debian bookworm/main amd64 libgeos3.11.1 amd64 3.11.1-1 [792 kB]
Unpacking libgeos3.11.1:amd64 (3.11.1-1) ...
Unpacking libgeos-dev (3.11.1-1) ...
Setting up libgeos3.11.1:amd64 (3.11.1-1) ...
Setting up libgeos-dev (3.11.1-1) ...
Processing triggers for libc-bin (2.36-9+deb12u13) ...
"""


def test_apts_progress_is_counted() -> None:
    class Telling(Scripted):
        def run(self, argv: Sequence[str], *, on_line: Any = None, **more: Any) -> tlc.Completed:
            for line in APT.splitlines():
                on_line(line)
            return super().run(argv, **more)

    told: list[tuple[float, str]] = []
    task = tlc.Task(
        False, False, lambda phase, fraction=0.0, amount="": told.append((fraction, amount))
    )
    tlc.Packages(Telling(), "apt-get", []).run(["apt-get", "install"], task)
    assert [fraction for fraction, _ in told] == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert [amount for _, amount in told] == ["", "", *(f"{n} of 2" for n in (0, 1, 1, 2, 2))]


def test_a_second_apt_of_the_same_run_waits_for_the_first() -> None:
    started, go_on = threading.Event(), threading.Event()

    class Slow(Scripted):
        def run(self, argv: Sequence[str], **options: Any) -> tlc.Completed:
            started.set()
            assert go_on.wait(30)
            return super().run(argv, **options)

    runner = Slow()
    packages = tlc.Packages(runner, "apt-get", [])
    told: list[str] = []
    task = tlc.Task(False, False, lambda phase, **_more: told.append(phase))
    threads = [threading.Thread(target=packages.run, args=(["apt-get", "update"], task))]
    threads[0].start()
    assert started.wait(30)
    threads += [threading.Thread(target=packages.run, args=(["apt-get", "install"], task))]
    threads[1].start()
    soon(lambda: told == ["waiting for apt-get"])
    assert not runner.calls
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert [argv[1] for argv, _ in runner.calls] == ["update", "install"]


def test_a_uv_behind_another_that_does_not_run_needs_a_place_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version manager's shim comes first on PATH: the uv that was installed is not to be moved away."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, code in (("shims", 126), (".local/bin", 0)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "uv").write_text(f"#!/bin/sh\necho uv 1\nexit {code}\n")
        (tmp_path / name / "uv").chmod(0o755)

    def found(path: str) -> tlc.TaskResult:
        runner = tlc.Runner({"PATH": path}, tlc.Log("", "toy"))
        return tlc.Uv(runner, "", None).result("")

    hidden = found(f"{tmp_path}/shims")
    assert (hidden.status, hidden.fix) == ("failed", tlc.ADD_TO_PATH)
    assert found(f"{tmp_path}/.local/bin:{tmp_path}/shims").status == "changed"


# --- npm


def test_programs_of_windows_are_none_of_this_system(tmp_path: Path) -> None:
    """Under WSL those of Windows may be first on PATH; found is not usable."""
    places = []
    for name in ("mnt/c/Program Files/nodejs", "mnt/d/Users/me/bin", "linux"):
        (tmp_path / name).mkdir(parents=True)
        program = tmp_path / name / "npm"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        places.append(str(tmp_path / name))
    runner = tlc.Runner({"PATH": os.pathsep.join(places)}, tlc.Log("", "toy"))
    assert runner.which("npm") == f"{tmp_path}/linux/npm"
    assert not tlc.Runner({"PATH": os.pathsep.join(places[:2])}, tlc.Log("", "toy")).has("npm")


def test_npms_packages_are_those_in_its_directory(tmp_path: Path) -> None:
    for name in ("npm", "@scope/name", ".bin"):
        (tmp_path / "node_modules" / name).mkdir(parents=True)
    said = f"Now using node v20\n{tmp_path}/node_modules\n"
    assert tlc.NpmPackage.list_installed(Scripted(said)) == ({"npm", "@scope/name"}, ())
    assert tlc.NpmPackage.list_installed(Scripted("/home/x/lib/node_modules\n"))[0] == set()


@pytest.mark.parametrize("said", ["", '{\n  "name": "lib"\n}\n'])
def test_an_npm_that_lists_no_place_is_an_error(said: str) -> None:
    with pytest.raises(tlc.TlcError, match="does not say where"):
        tlc.NpmPackage.list_installed(Scripted(said))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (
            "npm error 404 Not Found - GET https://x/nosuch\nnpm error 404  'nosuch@*' is not in this registry.",
            "nosuch",
        ),
        ("npm ERR! 404  '@scope/nosuch@*' is not in this registry.", "@scope/nosuch"),
        (
            "npm error 404  The requested resource 'nosuch@*' could not be found or you do not have",
            "nosuch",
        ),
    ],
)
def test_npm_names_what_it_does_not_know(said: str, name: str) -> None:
    def install(names: Sequence[str]) -> tlc.Completed:
        return tlc.Completed([], int(name in names), "", said, 0.0)

    results = tlc.install_together(["rtlcss", name], install, tlc.NpmPackage.UNKNOWN)
    assert (results["rtlcss"].status, results[name].status) == ("changed", "failed")


# --- uv tools

LISTED = """pre-commit v4.0.0
- pre-commit
black v24.10.0 [required: >=24.0, <25] [extras: d, jupyter]
- black
- blackd
odoo-venv v2.0.1 [required: >=2, <3]
- odoo-venv
ruff v0.5.0 [required: ==0.5.0]
- ruff
"""


@pytest.mark.parametrize(
    ("spec", "status", "asked"),
    [
        ("pre-commit", OK, "pre-commit"),
        ("Pre_Commit", OK, "pre-commit"),
        ("pre-commit>=3", FAIL, "pre-commit>=3"),
        ("black", OK, "black"),
        ("black>=24.0,<25", OK, "black>=24.0,<25"),
        ("black<25,>=24.0", OK, "black<25,>=24.0"),
        ("black[d]", FAIL, "black[d]"),
        ("black[jupyter,d]", OK, "black[jupyter,d]"),
        ("black[d,jupyter]>=24.0,<25", OK, "black[d,jupyter]>=24.0,<25"),
        ("black[d]>=25", FAIL, "black[d]>=25"),
        ("odoo-venv", OK, "odoo-venv>=2,<3"),
        ("odoo_venv", OK, "odoo-venv>=2,<3"),
        ("odoo-venv==2.0.1", FAIL, "odoo-venv==2.0.1"),
        ("ruff==0.5.0", OK, "ruff==0.5.0"),
        ("ruff@0.5.0", OK, None),  # as uv's own command line has it
        ("ruff@0.6", FAIL, None),
        ("pre-commit@latest", OK, None),
        ("nosuch", FAIL, "nosuch"),
        ("zope.interface!=6.0", FAIL, "zope-interface!=6.0"),
    ],
)
def test_a_uv_tool_is_there_when_it_was_asked_for_the_same_way(
    spec: str, status: str, asked: str | None
) -> None:
    runner = Scripted(LISTED)
    tool = tlc.UvTool(spec, runner, tlc.Memo(lambda: tlc.UvTool.list_installed(runner)))
    assert tool.check().status == status
    assert tool.name == spec
    runner.calls.clear()
    assert tool.apply(NO_TASK).status == "changed"
    if asked:
        [(argv, _)] = runner.calls
        assert argv == ["uv", "tool", "install", "--", asked]


def test_odoo_venv_without_a_version_is_not_good_enough() -> None:
    runner = Scripted("odoo-venv v1.0\n- odoo-venv\n")
    tool = tlc.UvTool("odoo-venv", runner, tlc.Memo(lambda: tlc.UvTool.list_installed(runner)))
    assert tool.check().status == FAIL


@pytest.mark.parametrize("spec", ["no-such", "no-such>=1", "No.Such"])
def test_a_uv_tool_nobody_has_is_named(spec: str) -> None:
    said = "Because no-such was not found in the package registry and you require no-such, we can conclude that your"
    runner = Scripted(
        err=f"error: No solution found when resolving dependencies\n  cause: {said} ...\n", code=1
    )
    result = tlc.UvTool(spec, runner, tlc.Memo(dict)).apply(NO_TASK)
    assert (result.status, result.message) == ("failed", "no package of that name is known here")


@pytest.mark.parametrize(
    "said",
    [
        "Executable already exists: pre-commit (use `--force` to overwrite)",
        "Invalid environment at `/x`: missing",
    ],
)
def test_a_uv_tool_that_something_else_stands_in_the_way_of_has_a_mend(said: str) -> None:
    result = tlc.UvTool(
        "pre-commit", Scripted(err=f"error: {said}\n", code=2), tlc.Memo(dict)
    ).apply(NO_TASK)
    assert (result.status, said in result.message) == ("failed", True)
    assert isinstance(result.fix, tlc.Fix)
    command = result.fix.render("tlc")
    assert command == "uv tool install --force --reinstall -- pre-commit"


# --- the config's names


@pytest.mark.parametrize("name", ["sudo-", "libc6+-"])
def test_no_name_tells_apt_to_remove_a_package(name: str, sandbox: Sandbox) -> None:
    sandbox.config(f'versions = ["18.0"]\n[tools]\nsystem_packages = ["{name}"]\n')
    run = sandbox.tlc("--yes", "--dry-run", "install-tools", "--no-default-packages")
    assert run.code == 1
    assert "tools.system_packages[0]" in run.err
