"""The built archive: on every sort of Python, from every sort of place, and built twice."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import pythons
from conftest import PROJECT, Run, Sandbox

import build

PACKINGS = [pytest.param((), id="zipapp"), pytest.param(("--shiv",), id="shiv")]

VERSION = re.findall(
    r'^__version__ = "(.+)"$', (PROJECT / "tlc.py").read_text(encoding="utf-8"), re.MULTILINE
)[0]

# Stands for tlc.py where a test must see what reaches it.
PROBE = b"""
import sys
def main():
    print(sys.version_info >= (3, 11), sys.argv[1:])
    return 7
"""
ARGUMENTS = ["pull-repos", "two words", "", "--filter=été", "$(exit 3)", "*"]


def repacked(archive: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive to `target`, each member with the content `change(name, content)`; None drops it."""
    with zipfile.ZipFile(archive) as packed:
        changed = {name: change(name, packed.read(name)) for name in packed.namelist()}
    build.write_archive(
        target, {name: content for name, content in changed.items() if content is not None}
    )
    return target


def directory_with(directory: Path, **programs: Path | str) -> str:
    """Make a directory for PATH that holds links to the given programs, and scripts where a text is given."""
    directory.mkdir(parents=True)
    for name, program in programs.items():
        file = directory / name.replace("_", ".")
        if isinstance(program, Path):
            file.symlink_to(program)
        else:
            file.write_text(program, encoding="utf-8")
            file.chmod(0o755)
    return str(directory)


def succeeded(run: Run) -> bool:
    return (run.code, run.out.split(), run.err) == (0, ["tlc", VERSION], "")


def run_build(*options: str, python: str = sys.executable, project: Path = PROJECT) -> Run:
    """Run a checkout's build.py."""
    command = [*python.split(), str(project / "build.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what building and installing need."""
    directory = tmp_path / "a checkout"
    directory.mkdir()
    for name in ("tlc.py", "build.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, directory)
    return directory


# --- Pythons that are new enough


def test_oldest_and_newest_python_run_it(sandbox: Sandbox) -> None:
    supported = pythons.supported()
    for python in {supported[0], supported[-1]}:
        assert succeeded(sandbox.tlc("--version", python=python.path)), python


LOADED_FROM = """
import runpy, sys
sys.argv[1:] = ["-q", "--version"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    print(sys.modules["tlc"].__file__)
"""


def loaded_from(archive: Path, python: Path) -> str:
    """Run `tlc --version`; return the archive's member that the program was loaded from."""
    command = [str(python), "-c", f"import sys; sys.argv = ['{archive}']\n{LOADED_FROM}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()[-1].removeprefix(f"{archive}/")


def test_the_byte_code_of_each_released_cpython_is_used(built: Callable[..., Path]) -> None:
    compiled = build.supported_pythons()
    assert sys.implementation.cache_tag in compiled
    for tag, python in compiled.items():
        assert loaded_from(built(), Path(python)) == f"{tag}/tlc.pyc"


@pytest.mark.parametrize("damage", ["none", "of another Python"])
def test_without_byte_code_the_source_runs(
    built: Callable[..., Path], tmp_path: Path, damage: str
) -> None:
    def change(name: str, content: bytes) -> bytes | None:
        if not name.endswith(".pyc"):
            return content
        return None if damage == "none" else b"\0\0\0\0" + content[4:]

    archive = repacked(built(), tmp_path / "tlc.pyz", change)
    assert loaded_from(archive, Path(sys.executable)) == "tlc.py"


# --- Pythons that are too old


@pytest.fixture(params=PACKINGS)
def probe(
    request: pytest.FixtureRequest, built: Callable[..., Path], sandbox: Sandbox, tmp_path: Path
) -> Sandbox:
    """A sandbox whose archive has PROBE for its program; PATH leads nowhere."""

    def change(name: str, content: bytes) -> bytes | None:
        if name.endswith("tlc.pyc"):
            return None
        return PROBE if Path(name).name == "tlc.py" else content

    sandbox.archive = repacked(built(*request.param), tmp_path / "probe.pyz", change)
    sandbox.env["PATH"] = str(tmp_path / "nowhere")
    return sandbox


@pytest.fixture
def too_old() -> list[pythons.Interpreter]:
    found = pythons.too_old()
    if not found:
        pytest.skip(
            "no Python older than 3.11 here: apt-get install pypy3 brings one up to Debian 12"
        )
    return found


def test_too_old_runs_again_under_a_newer_one(
    probe: Sandbox, too_old: list[pythons.Interpreter], tmp_path: Path
) -> None:
    newest = pythons.supported()[-1]
    name = "python3_{1}".format(*newest.version)
    path = directory_with(tmp_path / "bin", **{name: newest.path})
    for python in too_old:
        run = probe.tlc(*ARGUMENTS, python=python.path, env={"PATH": path})
        assert (run.code, run.out, run.err) == (7, f"True {ARGUMENTS}\n", ""), python


def test_too_old_passes_over_what_does_not_run(
    probe: Sandbox, too_old: list[pythons.Interpreter], tmp_path: Path
) -> None:
    shim = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"
    broken = directory_with(
        tmp_path / "shims",
        python3_14=shim,
        python3_13="not a program",
        python3_12="#!/bin/true\n",
        python3=shim,
    )
    still_old = directory_with(tmp_path / "old", python3=too_old[-1].path)
    good = directory_with(tmp_path / "good", python3=pythons.supported()[0].path)
    for python in too_old:
        run = probe.tlc(
            *ARGUMENTS, python=python.path, env={"PATH": f"{broken}::{still_old}:{good}"}
        )
        assert (run.code, run.out, run.err) == (7, f"True {ARGUMENTS}\n", ""), python


@pytest.mark.parametrize("place", ["on PATH", "where its installer puts it"])
def test_too_old_asks_uv(
    probe: Sandbox, too_old: list[pythons.Interpreter], tmp_path: Path, place: str
) -> None:
    newest = next(
        python for python in reversed(pythons.supported()) if python.implementation == "CPython"
    )
    prefix = Path(build.output(str(newest.path), "-c", "import sys; print(sys.prefix)").strip())
    # The shape of what `uv python install` leaves.
    managed = tmp_path / "uv-pythons"
    version = "{}.{}.{}".format(*newest.version)
    for part in ("bin", "lib"):
        link = managed / f"cpython-{version}-linux-{platform.machine()}-gnu" / part
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(prefix / part)
    directory_with(
        tmp_path / "bin" if place == "on PATH" else probe.home / ".local" / "bin", uv=pythons.uv()
    )
    env = {"PATH": str(tmp_path / "bin"), "UV_PYTHON_INSTALL_DIR": str(managed)}
    for python in too_old:
        run = probe.tlc(*ARGUMENTS, python=python.path, env=env)
        assert (run.code, run.out, run.err) == (7, f"True {ARGUMENTS}\n", ""), python


def test_too_old_and_no_other_says_so_in_two_lines(
    probe: Sandbox, too_old: list[pythons.Interpreter], tmp_path: Path
) -> None:
    with_uv = directory_with(tmp_path / "uv-only", uv=pythons.uv())
    for python in too_old:
        version = "Python {}.{}.{}".format(*python.version)
        for path, mend in [
            (probe.env["PATH"], "uv/install.sh"),
            (with_uv, f"{with_uv}/uv python install 3.12"),
        ]:
            run = probe.tlc("--version", python=python.path, env={"PATH": path})
            needs, get = run.err.splitlines()
            assert (run.code, run.out) == (1, "")
            assert needs.startswith("tlc needs Python 3.11 or newer; ")
            assert version in needs
            assert mend in get


def test_build_under_a_python_that_is_too_old_says_so_in_one_line(
    too_old: list[pythons.Interpreter], tmp_path: Path
) -> None:
    for python in too_old:
        if python.version >= (3,):  # type hints are beyond Python 2
            run = run_build("--output", str(tmp_path / "tlc.pyz"), python=str(python.path))
            assert (run.code, run.out, len(run.err.splitlines())) == (1, "", 1), python
            assert "needs Python 3.11" in run.err


# --- Places


def test_from_anywhere_and_under_any_name(sandbox: Sandbox, archive: Path, tmp_path: Path) -> None:
    directory = tmp_path / "with spaces, été"
    directory.mkdir()
    shutil.copy(archive, directory / "my tlc")
    for sandbox.archive in (
        directory / "my tlc",
        Path("my tlc"),
        Path("../with spaces, été/my tlc"),
    ):
        assert succeeded(sandbox.tlc("--version", cwd=directory))
    sandbox.archive = directory / "my tlc"
    assert succeeded(sandbox.tlc("--version", cwd=Path("/")))


def test_by_its_first_line(sandbox: Sandbox, archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive, tmp_path / "tlc.pyz")
    path = directory_with(tmp_path / "bin", python3=pythons.supported()[0].path)
    done = subprocess.run(
        ["./tlc.pyz", "--version"],
        cwd=tmp_path,
        env={**sandbox.env, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert succeeded(Run(done.returncode, done.stdout, done.stderr))


def test_read_only_home(sandbox: Sandbox, tmp_path: Path) -> None:
    # Permissions do not bind root; a path below a file binds everybody.
    (tmp_path / "file").touch()
    home = {
        name: f"{tmp_path}/file/home"
        for name in sandbox.env
        if name == "HOME" or name.startswith("XDG_")
    }
    assert succeeded(sandbox.tlc("--version", env=home))
    assert sandbox.tlc("--help", env=home).code == 0
    run = sandbox.tlc("--yes", "init", env=home)
    assert run.code == 1
    assert "Not a directory" in run.err


def test_imported_as_a_module(sandbox: Sandbox, built: Callable[..., Path]) -> None:
    for python in pythons.supported():
        done = subprocess.run(
            [python.path, "-c", "import tlc; print(tlc.__version__)"],
            env={**sandbox.env, "PYTHONPATH": str(built())},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == (f"{VERSION}\n", "")


def test_shiv_unpacks_where_it_is_told(
    sandbox: Sandbox, built: Callable[..., Path], tmp_path: Path
) -> None:
    sandbox.archive = built("--shiv")
    for _ in range(2):
        assert succeeded(sandbox.tlc("--version", env={"SHIV_ROOT": str(tmp_path / "unpacked")}))
    assert len(list((tmp_path / "unpacked").glob("*/site-packages/tlc.py"))) == 1
    assert list(sandbox.home.iterdir()) == []


@pytest.mark.parametrize("installer", ["uv", "pipx", "pip"])
def test_installed_from_a_checkout(
    sandbox: Sandbox, checkout: Path, tmp_path: Path, installer: str
) -> None:
    target = tmp_path / "installed"
    command, env, tlc = {
        "uv": (
            [
                str(pythons.uv()),
                "tool",
                "install",
                "--quiet",
                "--python",
                sys.executable,
                str(checkout),
            ],
            {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(target)},
            target / "tlc",
        ),
        "pipx": (
            [sys.executable, "-m", "pipx", "install", "--python", sys.executable, str(checkout)],
            {"PIPX_HOME": str(tmp_path / "tools"), "PIPX_BIN_DIR": str(target)},
            target / "tlc",
        ),
        "pip": (
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--target",
                str(target),
                str(checkout),
            ],
            {"PYTHONPATH": str(target)},
            target / "bin" / "tlc",
        ),
    }[installer]
    env = {**sandbox.env, **env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([tlc, "--version"], env=env, capture_output=True, text=True, timeout=60)
    assert succeeded(Run(done.returncode, done.stdout, done.stderr))


# --- Building


@pytest.mark.parametrize("options", PACKINGS)
def test_two_builds_give_the_same_bytes(
    options: tuple[str, ...], checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = []
    for seed, mask, time, project in [
        ("1", 0o022, "1", PROJECT),
        ("2", 0o077, "1700000000", checkout),
    ]:
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
        archive = tmp_path / f"{seed}.pyz"
        before = os.umask(mask)
        try:
            run = run_build("--output", str(archive), *options, project=project)
        finally:
            os.umask(before)
        assert (run.code, run.err, len(run.out.splitlines())) == (0, "", 1)
        assert str(archive) in run.out
        assert archive.stat().st_mode & 0o777 == 0o755
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]


def test_a_failed_build_leaves_the_last_archive_alone(checkout: Path) -> None:
    assert run_build(project=checkout).code == 0
    before = (checkout / "dist" / "tlc.pyz").read_bytes()
    (checkout / "tlc.py").write_text("def main(:\n")
    run = run_build(project=checkout)
    assert (run.code, run.out, len(run.err.splitlines())) == (1, "", 1)
    assert "SyntaxError" in run.err
    assert [file.name for file in (checkout / "dist").iterdir()] == ["tlc.pyz"]
    assert (checkout / "dist" / "tlc.pyz").read_bytes() == before


def test_without_shiv_the_build_says_how_to_get_it(tmp_path: Path) -> None:
    # -S leaves out site-packages, and shiv with them.
    run = run_build("--shiv", "--output", str(tmp_path / "tlc.pyz"), python=f"{sys.executable} -S")
    assert (run.code, run.out, len(run.err.splitlines())) == (1, "", 1)
    assert "make .venv" in run.err


# Types Ctrl-C when the program is about to import a module.
INTERRUPTING = """
import os, signal, sys

def hook(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        signal.raise_signal(signal.SIGINT)

sys.addaudithook(hook)
"""


@pytest.mark.parametrize(
    ("module", "codes"),
    [
        *((name, {-2}) for name in ("tlc", "shlex", "threading")),
        *((name, {130}) for name in ("argparse", "gettext", "shutil", "tomllib")),
    ],
)
def test_ctrl_c_while_it_starts_is_no_traceback(
    archive: Path, sandbox: Sandbox, module: str, codes: set[int]
) -> None:
    if "shiv" in archive.name:
        pytest.skip("shiv's own start is its own; the zipapp is what is released")
    sandbox.config('versions = ["18.0"]\n[repos]\nodoo = ["odoo"]\n')
    (sandbox.home / "site").mkdir()
    (sandbox.home / "site" / "sitecustomize.py").write_text(INTERRUPTING)
    environ = {"PYTHONPATH": str(sandbox.home / "site"), "INTERRUPT_AT": module}
    run = sandbox.tlc("status", env=environ)
    assert (run.code in codes, "Traceback" in run.err) == (True, False), run.err
