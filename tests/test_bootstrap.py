"""bootstrap.sh on this machine: in a home and with a PATH of its own, against a real https server that has releases.

What needs a bare machine, its package manager or root is in test_bootstrap_on_machines.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pythons
from conftest import PROJECT, Run, soon
from https_server import Answer, HttpsServer, Request
from terminal import Terminal

import build
import tlc

SCRIPT = PROJECT / "bootstrap.sh"
# Any that are here: Debian's sh, and busybox in the tests on machines.
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)] or ["sh"]
# Python stands for a machine that has nothing else.
DOWNLOADERS = [*(program for program in ("curl", "wget") if shutil.which(program)), "python"]
SHA256_TOOLS = [[tool] for tool in ("sha256sum", "shasum", "openssl") if shutil.which(tool)] + [[]]
# Not that of a virtual environment.
PYTHON = Path(sys.executable).resolve()
# What is on every machine, Debian's minimal one too.
EVERYWHERE = "cat chmod env grep id ls mkdir mktemp mv readlink rm sed sleep tail uname".split()

# A release: it tells how it was handed over to.
RELEASE = b"""
import json, sys
__version__ = "9.9"
def main():
    is_terminal = sys.stdin.isatty()
    stdin = "" if is_terminal else sys.stdin.read()
    print(json.dumps({"arguments": sys.argv[1:], "terminal": is_terminal, "stdin": stdin}))
    return 0
"""


def sha256_file(archive: bytes) -> str:
    return f"{hashlib.sha256(archive).hexdigest()}  tlc.pyz\n"


def first_line(file: Path) -> str:
    return file.read_bytes().partition(b"\n")[0].decode()


class Newcomer:
    """A person without tlc: their home, the programs on their PATH (`bin`), and a server (`web`) with a release."""

    def __init__(self, directory: Path, web: HttpsServer) -> None:
        self.web, self.home, self.bin, self.tmp = (
            web,
            directory / "home",
            directory / "bin",
            directory / "tmp",
        )
        for made in (self.home, self.bin, self.tmp):
            made.mkdir()
        self.tlc = self.home / ".local" / "bin" / "tlc"
        for program in [*SHELLS, "sh", "sha256sum", *EVERYWHERE]:
            self.have(program)
        self.have("python3", PYTHON)
        main = build.MAIN.replace("@version@", "9.9").encode()
        build.write_archive(directory / "tlc.pyz", {"__main__.py": main, "tlc.py": RELEASE})
        self.release = (directory / "tlc.pyz").read_bytes()
        web.files = {"/v9/tlc.pyz": self.release, "/v9/tlc.pyz.sha256": sha256_file(self.release)}
        # Some builds of wget read nothing but their own file.
        (directory / "wgetrc").write_text(f"ca_certificate = {web.authority}\n")
        self.env = {
            **web.env,
            "HOME": str(self.home),
            "PATH": str(self.bin),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "WGETRC": str(directory / "wgetrc"),
            "TLC_DOWNLOAD_URL": f"{web.url}/v9",
            "no_proxy": "localhost",
        }

    def have(self, program: str, path: Path | str = "") -> None:
        """Put a program on PATH: a link to `path` or to this machine's, or a script where a text is given."""
        place = self.bin / program
        place.unlink(missing_ok=True)
        if isinstance(path, str) and path:
            place.write_text(path)
            place.chmod(0o755)
        else:
            place.symlink_to(path or shutil.which(program) or "/nowhere")

    def download_by(self, program: str) -> None:
        if program != "python":
            self.have(program)

    def popen(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a command, without a terminal."""
        return subprocess.Popen(
            words,
            env=self.env | env,
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, shell: str = SHELLS[0], script: Path | None = None, **env: str
    ) -> Run:
        """Run the script, from a pipe where no file is given. No traceback, nothing left in the temporary directory."""
        with self.popen(
            str(self.bin / shell), *([str(script)] if script else ["-s", "--"]), *arguments, **env
        ) as it:
            out, err = it.communicate(None if script else SCRIPT.read_text(), timeout=60)
        assert "Traceback" not in err
        assert "not found" not in err.replace("404", ""), err
        assert list(self.tmp.iterdir()) == []
        return Run(it.returncode, out, err)

    def files(self) -> list[str]:
        """All that is in the home."""
        return sorted(
            str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.is_dir()
        )

    def handed_over(self, run: Run) -> Any:
        """What the release was started with, after an installation that went well."""
        assert run.code == 0, run.err
        assert self.files() == [".local/bin/tlc"]
        assert self.tlc.stat().st_mode & 0o777 == 0o755
        return run.json()

    def refused(self, run: Run, why: str) -> None:
        """Nothing was installed, and the person was told why."""
        assert (run.code, run.out) == (1, ""), run.err
        assert re.search(why, run.err), run.err
        assert self.files() == []


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Newcomer]:
    with HttpsServer(tmp_path / "web") as web:
        yield Newcomer(tmp_path, web)


# --- the file


def test_it_is_short_and_clean() -> None:
    assert SCRIPT.read_text().count("\n") < 280
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, "--shell=sh", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_download_that_was_cut_off_does_nothing(me: Newcomer, shell: str) -> None:
    """Cut at and around the end of each line and in many other places; all of them are tried on a machine."""
    script = SCRIPT.read_text()
    ends = [match.end() for match in re.finditer("\n", script)]
    # Without its last line end it is whole.
    cuts = {cut + off for cut in ends for off in (-1, 0)} | set(range(0, len(script), 40))
    program = shutil.which(shell) or shell

    def run(cut: int) -> tuple[int, str]:
        options: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }
        done = subprocess.run([program], input=script[:cut], env=me.env, cwd=me.home, **options)
        return cut, done.stdout

    with ThreadPoolExecutor(4) as pool:
        said = dict(pool.map(run, sorted(cut for cut in cuts if cut < len(script) - 1)))
    complaint = r"yntax error|unexpected EOF|nterminated"
    assert {
        cut: text for cut, text in said.items() if text and not re.search(complaint, text)
    } == {}
    assert (me.files(), list(me.tmp.iterdir()), me.web.requests) == ([], [], [])


# --- the way it goes


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("downloader", DOWNLOADERS)
def test_from_a_pipe_and_again(me: Newcomer, shell: str, downloader: str) -> None:
    me.download_by(downloader)
    run = me.run("--only", "two words", shell=shell)
    told = {
        "arguments": ["bootstrap", "--yes", "--only", "two words"],
        "terminal": False,
        "stdin": "",
    }
    assert me.handed_over(run) == told
    assert f"Installing tlc from {me.web.url}/v9 as {me.tlc}" in run.err.splitlines()[0]
    assert "tlc 9.9 is installed" in run.err
    assert first_line(me.tlc).removeprefix("#!").strip() == str(me.bin / "python3")
    assert [request.path for request in me.web.requests] == ["/v9/tlc.pyz", "/v9/tlc.pyz.sha256"]

    before = me.tlc.stat()
    run = me.run(shell=shell)
    assert me.handed_over(run)["arguments"] == ["bootstrap", "--yes"]
    assert "tlc 9.9 is there already" in run.err
    assert me.tlc.stat() == before or me.tlc.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("downloader", DOWNLOADERS)
def test_a_redirect_to_https_is_followed(me: Newcomer, downloader: str) -> None:
    me.download_by(downloader)
    me.web.files["/v9/tlc.pyz"] = Answer(status=302, location=f"{me.web.url}/store/1")
    me.web.files["/store/1"] = Answer(status=301, location=f"{me.web.url}/store/2")
    me.web.files["/store/2"] = me.release
    me.handed_over(me.run())


@pytest.mark.parametrize("downloader", DOWNLOADERS)
def test_a_redirect_to_http_is_not(me: Newcomer, downloader: str) -> None:
    me.download_by(downloader)
    me.web.files["/v9/tlc.pyz"] = Answer(status=302, location=f"{me.web.plain_url}/plain")
    me.web.files["/plain"] = me.release
    me.refused(me.run(), "cannot be fetched")
    assert Request("http", "localhost", "/plain") not in me.web.requests


@pytest.mark.parametrize("downloader", DOWNLOADERS)
@pytest.mark.parametrize("what", ["cut off", "absent", "unknown authority", "server down"])
def test_what_cannot_be_fetched_is_not_installed(me: Newcomer, downloader: str, what: str) -> None:
    me.download_by(downloader)
    match what:
        case "cut off":
            me.web.files["/v9/tlc.pyz"] = Answer(me.release, cut=True)
        case "absent":
            del me.web.files["/v9/tlc.pyz.sha256"]
        case "unknown authority":
            with HttpsServer(me.home.parent / "stranger") as web:
                me.env |= {**web.env, "WGETRC": "/dev/null"}
        case _:
            me.env["TLC_DOWNLOAD_URL"] = "https://localhost:1/v9"
    me.refused(me.run(), "cannot be fetched|has the sha256")


@pytest.mark.parametrize("url", ["http://localhost/v9", "file:///v9", "HTTPS.example.com"])
def test_only_https(me: Newcomer, url: str) -> None:
    me.refused(me.run(TLC_DOWNLOAD_URL=url), "not https")


@pytest.mark.parametrize("tools", SHA256_TOOLS, ids=lambda tools: "-".join(tools) or "python")
def test_the_checksum_counts_whatever_computes_it(me: Newcomer, tools: list[str]) -> None:
    (me.bin / "sha256sum").unlink()
    for tool in tools:
        me.have(tool)
    right = sha256_file(me.release)
    for wrong in (
        "0" * 64 + "  tlc.pyz\n",
        *("", "\n", right[:63], "<html>", f"x{right}") * (tools == SHA256_TOOLS[0]),
    ):
        me.web.files["/v9/tlc.pyz.sha256"] = wrong
        me.refused(me.run(), "has the sha256 [0-9a-f]{64}, not")
    me.web.files["/v9/tlc.pyz.sha256"] = right
    me.handed_over(me.run())


@pytest.mark.parametrize("broken", ["exit 1", "exit 0", "echo", "echo -"])
def test_a_checksum_that_cannot_be_computed_is_no_checksum(me: Newcomer, broken: str) -> None:
    me.have("sha256sum", f"#!/bin/sh\n{broken}\n")
    me.web.files["/v9/tlc.pyz.sha256"] = "\n"
    me.refused(me.run(), "has the sha256")


def test_interrupted_it_leaves_nothing(me: Newcomer) -> None:
    me.web.files["/v9/tlc.pyz"] = Answer(me.release, pause=30)
    with me.popen(str(me.bin / "sh"), str(SCRIPT)) as it:
        soon(lambda: me.web.requests)
        os.killpg(it.pid, signal.SIGINT)
        assert it.communicate(timeout=60)[0] == ""
    assert it.returncode == 130
    assert (me.files(), list(me.tmp.iterdir())) == ([], [])


# --- places


def test_a_home_with_all_sorts_of_signs(me: Newcomer) -> None:
    home = me.home = me.home.with_name('Ann\'s $(exit) "home" é')
    home.mkdir()
    me.tlc = home / ".local" / "bin" / "tlc"
    (home.parent / "python's").mkdir()
    python = home.parent / "python's" / "python3"
    python.symlink_to(PYTHON)
    (me.bin / "python3").unlink()
    path = f"{python.parent}:{me.bin}"
    for _ in range(2):
        me.handed_over(me.run(HOME=str(home), PATH=path))
    with me.popen(
        str(me.tlc), "pull-repos", "two  words", "", "'", HOME=str(home), PATH="/usr/bin:/bin"
    ) as it:
        out, err = it.communicate("", timeout=60)
    assert (json.loads(out)["arguments"], err) == (["pull-repos", "two  words", "", "'"], "")


def test_a_python_with_a_long_path(me: Newcomer) -> None:
    place = me.home.parent / ("long" * 40)
    place.mkdir()
    (me.bin / "python3").rename(place / "python3")
    me.handed_over(me.run(PATH=f"{me.bin}:{place}"))


@pytest.mark.parametrize("given", ["tools", "/elsewhere"])
def test_another_directory(me: Newcomer, given: str) -> None:
    directory = me.home / given if given == "tools" else me.home.parent / "elsewhere"
    run = me.run(TLC_INSTALL_DIR=given if given == "tools" else str(directory))
    assert (run.code, run.json()["arguments"]) == (0, ["bootstrap", "--yes"])
    assert (directory / "tlc").exists()
    assert not (me.home / ".local").exists()


def test_what_path_says(me: Newcomer, tmp_path: Path) -> None:
    warning = "Another tlc comes first"
    assert warning not in me.run(PATH=f"{me.bin}:{me.tlc.parent}").err
    me.have("tlc", "#!/bin/sh\nexit 7\n")
    run = me.run(PATH=f"{me.bin}:{me.tlc.parent}")
    assert warning in run.err
    assert run.json()["arguments"] == ["bootstrap", "--yes"]
    assert warning not in me.run(PATH=f"{me.tlc.parent}:{me.bin}").err
    me.run(GITHUB_PATH=str(tmp_path / "paths"))
    assert (tmp_path / "paths").read_text() == f"{me.tlc.parent}\n"


@pytest.mark.parametrize(
    ("leads_to", "first"),
    [
        (".local/share/uv/tools/trobz-local/bin/tlc", "uv tool uninstall trobz-local"),
        (".local/pipx/venvs/trobz-local/bin/tlc", "pipx uninstall trobz-local"),
        ("mine/tlc", "rm {tlc}"),
    ],
)
def test_another_installers_link_is_not_replaced_and_the_command_to_run_first_is_named(
    me: Newcomer, leads_to: str, first: str
) -> None:
    other = me.home / leads_to
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\nexit 7\n")
    me.tlc.parent.mkdir(parents=True, exist_ok=True)
    me.tlc.symlink_to(other)
    run = me.run()
    assert (run.code, run.out) == (1, "")
    assert f"another installer's: a link to {other}" in run.err
    assert f"→ {first.format(tlc=me.tlc)}\n" in run.err
    assert me.tlc.readlink() == other
    assert other.read_text() == "#!/bin/sh\nexit 7\n"


def test_a_directory_in_the_place_is_not_replaced(me: Newcomer) -> None:
    (me.tlc / "kept").mkdir(parents=True)
    me.refused(me.run(), "is a directory")
    assert (me.tlc / "kept").exists()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        *((each, "| sh -s -- [OPTIONS OF tlc bootstrap]") for each in ("-h", "--help")),
        *((each, "Nothing was installed: this is a dry run.") for each in ("-n", "--dry-run")),
    ],
)
def test_help_and_a_dry_run_install_nothing(me: Newcomer, option: str, says: str) -> None:
    run = me.run("--only", "uv", option)
    assert run.code == 0
    assert says in run.out + run.err
    assert me.files() == []
    assert me.web.requests == []


def test_a_place_that_cannot_be_written_to(me: Newcomer) -> None:
    # Permissions do not bind root; a path below a file binds everybody.
    (me.home.parent / "file").touch()
    me.refused(me.run(TLC_INSTALL_DIR=f"{me.home.parent}/file/bin"), "this failed: mkdir")


# --- Pythons


OLD = "#!/bin/sh\nexit 1\n"
SHIM = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"


def test_without_a_python_it_says_what_to_install(me: Newcomer) -> None:
    me.have("python3", OLD)
    run = me.run()
    me.refused(run, r"tlc needs Python 3\.11 or newer; there is none here")
    assert "→ install a python3.11 or newer with your package manager" in run.err
    assert list(me.home.iterdir()) == []


def test_shims_and_old_ones_are_passed_over(me: Newcomer, tmp_path: Path) -> None:
    me.have("python3", OLD)
    me.have("python3.14", SHIM)
    me.have("python3.12", "not a program")
    good = tmp_path / "good"
    good.mkdir()
    (good / "python3.12").symlink_to(PYTHON)
    run = me.run(PATH=f"{me.bin}::{good}")
    me.handed_over(run)
    assert f"(it uses {good}/python3.12)" in run.err


def test_a_virtual_environment_is_not_what_tlc_hangs_on(me: Newcomer, tmp_path: Path) -> None:
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    me.handed_over(me.run(PATH=f"{tmp_path}/venv/bin:{me.bin}"))
    assert str(tmp_path / "venv") not in first_line(me.tlc)


@pytest.mark.parametrize("place", ["on PATH", "where its installer puts it"])
def test_a_python_of_uv(me: Newcomer, tmp_path: Path, place: str) -> None:
    me.have("python3", OLD)
    for part in ("bin", "lib"):  # the shape of what `uv python install` leaves
        link = (
            tmp_path
            / "pythons"
            / f"cpython-{platform.python_version()}-linux-{platform.machine()}-gnu"
            / part
        )
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(sys.base_prefix) / part)
    directory = me.bin if place == "on PATH" else me.tlc.parent
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "uv").symlink_to(pythons.uv())
    me.env |= {
        "UV_PYTHON_INSTALL_DIR": str(tmp_path / "pythons"),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }
    run = me.run()
    assert (run.code, run.json()["arguments"]) == (0, ["bootstrap", "--yes"]), run.err


# --- terminals and checkouts


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_question_can_be_answered_where_there_is_a_terminal(me: Newcomer, ci: str) -> None:
    piped = f"cat '{SCRIPT}' | sh -s -- --only ssh"
    with Terminal(
        ["/bin/sh", "-c", piped], me.env | {"CI": ci}, cwd=me.home, columns=300
    ) as terminal:
        terminal.wait_for('"arguments"')
        assert terminal.wait() == 0
    told = json.loads(terminal.lines[-1])
    if ci:
        assert (told["arguments"], told["terminal"]) == (
            ["bootstrap", "--yes", "--only", "ssh"],
            False,
        )
    else:
        assert (told["arguments"], told["terminal"]) == (["bootstrap", "--only", "ssh"], True)


def test_from_a_checkout_without_network(me: Newcomer, tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("tlc.py", "build.py", "bootstrap.sh"):
        shutil.copy(PROJECT / name, checkout)
    del me.env["TLC_DOWNLOAD_URL"]
    run = me.run("--only", "ssh", script=checkout / "bootstrap.sh")
    assert run.code == 0, run.err
    assert "Installing tlc from this checkout" in run.err
    assert (me.home / ".ssh" / "known_hosts").read_text().startswith("github.com ssh-ed25519 ")
    assert sorted(path.name for path in checkout.iterdir()) == [
        "bootstrap.sh",
        "build.py",
        "tlc.py",
    ]
    before = me.tlc.stat()
    run = me.run("--only", "ssh", script=checkout / "bootstrap.sh")
    assert (run.code, "is there already" in run.err, me.tlc.stat()) == (0, True, before)
    assert me.web.requests == []

    # One that says which release means that release.
    run = me.run(script=checkout / "bootstrap.sh", TLC_DOWNLOAD_URL=f"{me.web.url}/v9")
    assert run.json()["arguments"] == ["bootstrap", "--yes"]


@pytest.mark.parametrize("place", ["bin", "a place"])
def test_what_it_installs_updates_itself(
    me: Newcomer, archive: Path, tmp_path: Path, place: str
) -> None:
    """The lines before the archive are not the release's: they name this machine's Python, and stay."""
    if archive.name.startswith("tlc-shiv"):
        pytest.skip("releases are zipapps")

    def publish(release: bytes) -> None:
        me.web.files |= {"/v9/tlc.pyz": release, "/v9/tlc.pyz.sha256": sha256_file(release)}

    def update(*words: str) -> tuple[int, str]:
        with me.popen(*(words or (str(me.tlc), "--yes", "--json", "self-update"))) as it:
            out, err = it.communicate("", timeout=60)
        assert out, err
        [result] = json.loads(out)["results"]
        return it.returncode, result["fix"] or result["status"]

    (tmp_path / place).mkdir(exist_ok=True)
    (me.bin / "python3").rename(tmp_path / place / "python3")
    me.env["PATH"] += f":{tmp_path / place}"
    publish(archive.read_bytes())
    assert me.run("--only", "ssh").code == 0
    before = me.tlc.read_bytes()
    assert update() == (0, "ok")
    assert me.tlc.read_bytes() == before
    publish(me.release)
    code, fix = update(str(me.tlc), "--json", "self-update", "--check")
    assert update("/bin/sh", "-c", f"{fix} --yes --json") == (0, "changed"), (code, fix)
    with me.popen(str(me.tlc), "--version", PATH="/usr/bin:/bin") as it:
        assert it.communicate("", timeout=60)[0] == "tlc 9.9\n"
    assert before.startswith(me.tlc.read_bytes().partition(b"PK")[0])


@pytest.mark.parametrize(
    ("version", "options", "status", "message"),
    [
        ("0.0.9", [], "ok", "is newer than the release, 0.0.9"),
        (tlc.__version__, [], "ok", "is the newest"),
        (tlc.__version__, ["--check"], "ok", "is the newest"),
        ("99.10", ["--check"], "skipped", "99.10 is out"),
        ("", [], "failed", "names no version"),
    ],
)
def test_only_a_newer_release_counts_and_a_look_runs_nothing(
    me: Newcomer, archive: Path, version: str, options: list[str], status: str, message: str
) -> None:
    """The release here leaves a file in the home when it is run."""
    if archive.name.startswith("tlc-shiv"):
        pytest.skip("releases are zipapps")
    me.tlc.parent.mkdir(parents=True)
    shutil.copy(archive, me.tlc)
    text = f"__version__ = {version!r}\n" if version else ""
    text = text.replace("'", '"') + "import os\nopen(os.environ['HOME'] + '/ran', 'w').close()\n"
    build.write_archive(
        me.home.parent / "other.pyz", {"__main__.py": text.encode(), "tlc.py": text.encode()}
    )
    release = (me.home.parent / "other.pyz").read_bytes()
    me.web.files |= {"/v9/tlc.pyz": release, "/v9/tlc.pyz.sha256": sha256_file(release)}
    words = [sys.executable, str(me.tlc), "--yes", "--json", "self-update", *options]
    with me.popen(*words) as process:
        out, err = process.communicate("", timeout=60)
    [result] = json.loads(out)["results"]
    assert (result["status"], message in result["message"]) == (status, True), out + err
    assert me.tlc.read_bytes() == archive.read_bytes()
    assert not (me.home / "ran").exists()


def test_versions_compare_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tlc.OwnArchive(tlc.Runner({}, tlc.Log("", "test")))
    monkeypatch.setattr(tlc, "__version__", "0.9.0")
    told = {version: ours.newest(version) for version in ("0.8.10", "0.9.0", "0.10.0", "10.0")}
    assert [*map(bool, told.values())] == [True, True, False, False], told
