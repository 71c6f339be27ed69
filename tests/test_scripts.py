"""The scripts of install-tools: fetched by the real curl, wget or Python, and run, on the terminal where there is one."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Sandbox
from https_server import Answer, HttpsServer
from person import Person
from processes import must
from results import Result, results

PROGRAMS = ["curl", "wget", "python"]
MINE = "echo ran >>~/ran\n"


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    if request.param != "python" and not shutil.which(request.param):
        pytest.skip(f"{request.param} is missing: sudo apt-get install {request.param}")
    return str(request.param)


class ScriptOwner(Person):
    """A person with scripts in their config, on whose PATH stands one program that fetches."""

    def __init__(self, sandbox: Sandbox, web: HttpsServer) -> None:
        super().__init__(sandbox)
        self.web = web
        self.env |= {**web.env, "no_proxy": "localhost"}
        self.bin = self.home.parent / "bin"
        self.bin.mkdir()
        for name in ("sh", "sleep", "cat", "seq", "chmod", "mkdir"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.temporary = self.home.parent / "temporary"
        self.temporary.mkdir()
        self.env |= {"PATH": str(self.bin), "TMPDIR": str(self.temporary)}

    def have(self, program: str) -> None:
        """Have this program alone; wget knows no variable for the authority to trust."""
        if program != "python":
            options = f"--ca-certificate={self.web.authority}" if program == "wget" else ""
            path = self.bin / program
            path.write_text(f'#!/bin/sh\nexec {shutil.which(program)} {options} "$@"\n')
            path.chmod(0o755)

    def config(self, *paths: str, **more: str) -> None:
        """Write a config with the scripts at these paths of the server; `more`: of each."""
        fields = "".join(f'{name} = "{value}"\n' for name, value in more.items())
        tables = (f'[[tools.script]]\nurl = "{self.web.url}{path}"\n{fields}' for path in paths)
        self.sandbox.config('versions = ["18.0"]\n' + "".join(tables))

    def install(self, *arguments: str, code: int = 0) -> list[Result]:
        run = self.yes("install-tools", "--no-default-packages", *arguments, timeout=120)
        assert run.code == code, run.out + run.err
        assert list(self.temporary.iterdir()) == []
        return results(run)

    def failed(self, path: str) -> str:
        """Return why the script at a path fails."""
        self.config(path)
        [result] = self.install(code=1)
        assert result["status"] == "failed"
        assert not (self.home / "ran").exists()
        return str(result["message"])


@pytest.fixture
def me(sandbox: Sandbox, tmp_path: Path) -> Iterator[ScriptOwner]:
    with HttpsServer(tmp_path / "web") as web:
        yield ScriptOwner(sandbox, web)


def test_each_program_fetches_through_redirects_of_https(me: ScriptOwner, program: str) -> None:
    me.have(program)
    me.web.files = {
        "/far": Answer(status=301, location=f"{me.web.url}/moved"),
        "/moved": Answer(status=302, location="/mine"),
        "/mine": MINE,
    }
    me.config("/far", sha256=hashlib.sha256(MINE.encode()).hexdigest())
    assert [each["status"] for each in me.install()] == ["changed"]
    assert (me.home / "ran").read_text() == "ran\n"
    assert [request.path for request in me.web.requests] == ["/far", "/moved", "/mine"]
    assert [each["status"] for each in me.install()] == ["ok"]
    assert len(me.web.requests) == 3


def test_a_redirect_to_http_is_not_followed(me: ScriptOwner, program: str) -> None:
    me.have(program)
    me.web.files = {
        "/mine": MINE,
        "/plain": Answer(status=302, location=f"{me.web.plain_url}/mine"),
    }
    assert "http" in me.failed("/plain")
    assert {request.scheme for request in me.web.requests} == {"https"}


def test_redirects_without_an_end(me: ScriptOwner, program: str) -> None:
    me.have(program)
    me.web.files = {"/loop": Answer(status=302, location="/loop")}
    me.failed("/loop")
    assert len(me.web.requests) < 60


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(MINE * 100, cut=True), ""),
        (Answer(MINE * 100_000, endless=True), "is larger than 10,000,000 bytes"),
        (Answer(MINE + "#" * 10_000_000), "is larger than 10,000,000 bytes"),
        (Answer(MINE, status=503), "503"),
        (Answer(MINE, status=404), "404"),
    ],
    ids=["cut", "endless", "large", "503", "404"],
)
def test_what_is_not_the_script_is_not_run(
    me: ScriptOwner, program: str, answer: Answer, said: str
) -> None:
    me.have(program)
    me.web.files = {"/mine": answer}
    assert said in me.failed("/mine")


@pytest.mark.parametrize("program", ["curl", "wget"])  # what fetches by Python reads no ~/.netrc
def test_a_login_in_netrc_is_given(me: ScriptOwner, program: str) -> None:
    me.have(program)
    me.web.files = {"/mine": Answer(MINE, login="me:hidden7")}
    assert "401" in me.failed("/mine") or program == "wget"
    netrc = me.home / ".netrc"
    netrc.write_text("machine localhost login me password hidden7\n")
    netrc.chmod(0o600)
    assert [each["status"] for each in me.install()] == ["changed"]
    assert "hidden7" not in me.log()


def test_a_host_that_refuses_pythons_name(me: ScriptOwner, program: str) -> None:
    me.have(program)
    me.web.files = {"/mine": Answer(MINE, refuses="Python-urllib")}
    me.config("/mine")
    [result] = me.install(code=int(program == "python"))
    assert result["status"] == ("failed" if program == "python" else "changed")


def test_settings_of_wget_are_not_heeded(me: ScriptOwner) -> None:
    if not shutil.which("wget"):
        pytest.skip("wget is missing: sudo apt-get install wget")
    me.have("wget")
    me.web.files = {
        "/mine": MINE,
        "/plain": Answer(status=302, location=f"{me.web.plain_url}/mine"),
    }
    (me.home / ".wgetrc").write_text("max_redirect = 20\noutput_document = elsewhere\n")
    me.failed("/plain")
    me.config("/mine")
    assert [each["status"] for each in me.install()] == ["changed"]
    assert not (me.home / "elsewhere").exists()


def test_the_plan_shows_each_address_and_force_runs_them_again(me: ScriptOwner) -> None:
    me.have("curl")
    me.web.files = {"/mine": MINE}
    me.config("/mine", name="the first")
    plan = me.tlc("--dry-run", "install-tools", "--no-default-packages")
    assert "run scripts, each once" in plan.out
    assert f"the first: has not run: {me.web.url}/mine, without a sha256" in plan.out
    assert not me.web.requests

    run = me.tlc("--yes", "install-tools", "--no-default-packages")
    assert run.code == 0
    assert "tlc install-tools --force runs all of them again" in run.err
    assert "→" not in run.err
    me.config("/mine", name="another name")
    assert [each["status"] for each in me.install()] == ["ok"]
    assert [each["status"] for each in me.install("--force")] == ["changed"]
    assert (me.home / "ran").read_text() == "ran\n" * 2
    me.config("/mine", sha256=hashlib.sha256(MINE.encode()).hexdigest())
    plan = me.tlc("--dry-run", "install-tools", "--no-default-packages")
    assert f"{me.web.url}/mine: has not run: with its sha256" in plan.out
    assert [each["status"] for each in me.install()] == ["changed"], "another checksum"


ASKS = """
echo "on $(tty)" >>~/ran
printf 'Your name? '
read name
echo "hello $name" >>~/ran
echo "it was $name"
"""


def test_scripts_ask_on_the_terminal_one_after_another(me: ScriptOwner) -> None:
    me.have("curl")
    (me.bin / "tty").symlink_to(shutil.which("tty") or "tty")
    me.web.files = {"/one": ASKS, "/two": ASKS}
    me.config("/one", "/two")
    with me.terminal("--yes", "install-tools", "--no-default-packages") as terminal:
        for number, name in enumerate(("Ada", "Grace"), 1):
            terminal.wait_for("Your name?", times=number)
            terminal.send(f"{name}\r")
        assert terminal.wait() == 0, terminal.text
    lines = (me.home / "ran").read_text().splitlines()
    assert [line for line in lines if line.startswith("hello")] == ["hello Ada", "hello Grace"]
    assert lines[0].startswith("on /dev/")
    assert "it was Grace" in terminal.text
    assert re.search(r"(?m)^\[\S+/one\] .*it was Ada$", me.log())


def test_without_a_terminal_nobody_is_asked(me: ScriptOwner) -> None:
    me.have("curl")
    me.web.files = {"/one": "read name || echo nobody >>~/ran\n"}
    me.config("/one")
    assert [each["status"] for each in me.install()] == ["changed"]
    assert (me.home / "ran").read_text() == "nobody\n"


def test_ctrl_c_on_the_terminal_ends_all_that_a_script_started(me: ScriptOwner) -> None:
    me.have("curl")
    me.web.files = {"/slow": "sleep 1017 & echo $! >~/first; sleep 1018\n"}
    me.config("/slow")
    with me.terminal("--yes", "install-tools", "--no-default-packages") as terminal:
        deadline = time.monotonic() + 60
        while not (me.home / "first").exists() or not (me.home / "first").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        started = time.monotonic()
        terminal.send("\x03")
        assert terminal.wait() == 130
        assert time.monotonic() - started < 20
    lines = must("ps", "-A", "-o", "pid=,stat=,args=").splitlines()
    left = [line for line in lines if f" {int((me.home / 'first').read_text())} " in f" {line} "]
    assert not [line for line in left if line.split()[1][0] != "Z"], left
