#!/usr/bin/env python3
"""Pack tlc.py into one file that any Python can be asked to run.

    python3 build.py          dist/tlc.pyz        what users get
    python3 build.py --shiv   dist/tlc-shiv.pyz   the same program packed by shiv

tlc.pyz is a zipapp, a `#!` line and a zip archive of

    __main__.py          run first, by whichever Python was asked; compiled at every start, so it is tiny
    newer_python.py      imported only by a Python that is too old: runs the archive again under a newer one
    tlc.py               the program, for a Python that has no byte code here
    cpython-3XX/tlc.pyc  the program compiled by each supported CPython found on the building machine

zipimport looks for byte code beside the source only, not in `__pycache__`: so each sort has a directory of
its own, named by `sys.implementation.cache_tag`, which `__main__.py` puts first on `sys.path`. It is of the
UNCHECKED_HASH kind, as one checked by timestamp goes stale when the archive goes to another time zone.

Names are sorted, times and modes are constant: one commit built twice on one machine gives the same bytes. An
archive is written beside its place and renamed, so nobody ever sees half of one.

The shiv archive has the check of the Python version put before shiv's own `__main__.py`.
"""

import argparse
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("build.py needs Python 3.11 or newer; this is Python " + sys.version.split()[0])

HERE = Path(__file__).resolve().parent
SHEBANG = b"#!/usr/bin/env python3\n"
# The earliest time a zip entry can carry.
EPOCH = (1980, 1, 1, 0, 0, 0)
# `python3` comes last: it also stands for versions newer than this list.
PYTHON_NAMES = ("python3.14", "python3.13", "python3.12", "python3.11", "python3")

# Both start files are parsed by every Python from 2.7 on.
GUARD = """\
import sys
if sys.version_info < (3, 11):
    import newer_python
    newer_python.run()
"""

MAIN = (
    GUARD
    + """\
import _signal  # Ctrl-C ends this without a traceback, until the program handles it
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
if sys.argv[1:] == ["--version"]:  # answered without reading the program
    import os
    try:
        sys.exit(os.write(1, b"tlc @version@\\n") == 0)
    except OSError:
        sys.exit(1)
sys.path.insert(0, "%s/%s" % (sys.path[0], sys.implementation.cache_tag))
try:
    import tlc
except ImportError:  # a pre-release of this Python, whose byte code was another
    del sys.path[0]
    import tlc
sys.exit(tlc.main())
"""
)

NEWER_PYTHON = f'''\
"""Run this archive again under a Python that is new enough. Python 2.7 must be able to run this file."""
import os
import subprocess
import sys

NAMES = {PYTHON_NAMES!r}
IS_NEW_ENOUGH = "import sys; print(sys.version_info >= (3, 11))"


def output(*command):
    """What the command prints, "" when it fails: a version manager's shim may be there and not work."""
    with open(os.devnull, "r+") as null:
        try:
            process = subprocess.Popen(
                command, stdin=null, stdout=subprocess.PIPE, stderr=null, universal_newlines=True,
                env=dict(os.environ, UV_PYTHON_DOWNLOADS="never"))
        except OSError:
            return ""
        text = process.communicate()[0].strip()
    return text if process.returncode == 0 else ""


def on_path(name):
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    files = [os.path.join(directory, name) for directory in directories if directory]
    return [file for file in files if os.path.isfile(file) and os.access(file, os.X_OK)]


def pythons(uvs):
    for name in NAMES:
        for file in on_path(name):
            yield file
    for uv in uvs:
        yield output(uv, "python", "find", "--system", ">=3.11")


def run():
    # uv's installer puts it into ~/.local/bin, which is on PATH only in the next shell.
    uvs = on_path("uv") + [os.path.expanduser("~/.local/bin/uv")]
    try:
        for python in pythons(uvs):
            if python and output(python, "-c", IS_NEW_ENOUGH) == "True":
                os.execv(python, [python] + sys.argv)
        uvs = [uv for uv in uvs if output(uv, "--version")]
    except KeyboardInterrupt:
        sys.exit(130)
    uv = uvs[0] if uvs else "curl -LsSf https://astral.sh/uv/install.sh | sh; ~/.local/bin/uv"
    sys.exit(
        "tlc needs Python 3.11 or newer; this is Python %s (%s), and neither PATH nor uv has a newer one.\\n"
        "Install python3.11 or newer with your package manager, or: %s python install 3.12"
        % (sys.version.split()[0], sys.executable, uv))
'''

PROBE = """\
import sys
final = sys.version_info >= (3, 11) and sys.version_info.releaselevel == "final"
print(sys.implementation.cache_tag if final and sys.implementation.name == "cpython" else "")
"""

COMPILE = """\
import py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
py_compile.compile(sys.argv[1], sys.argv[2], dfile="tlc.py", doraise=True, invalidation_mode=mode)
"""


def output(*command: str) -> str:
    """Run a command; return what it printed, "" when it is missing or fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def candidates() -> Iterator[str]:
    """Yield all places where a Python may be: on PATH (a broken shim may hide a good one), uv's, this one."""
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    yield from (
        f"{directory}/{name}" for name in PYTHON_NAMES for directory in directories if directory
    )
    if shutil.which("uv"):
        listed = output("uv", "python", "list", "--only-installed", "--output-format", "json")
        yield from (entry["path"] for entry in json.loads(listed or "[]"))
    yield sys.executable


def supported_pythons() -> dict[str, str]:
    """Return the released CPythons >= 3.11 of this machine as {cache tag: executable}, one of each."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for python in candidates():
        real = os.path.realpath(python)
        if real not in seen and os.path.isfile(real):
            seen.add(real)
            found.setdefault(output(python, "-c", PROBE).strip(), python)
    found.pop("", None)
    return dict(sorted(found.items()))


def compiled(python: str, source: Path) -> bytes:
    """Return `source` compiled by that Python, or exit with the compiler's message."""
    # The order of a set constant in byte code follows the hash seed.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "tlc.pyc")
        command = [python, "-c", COMPILE, str(source), str(target)]
        done = subprocess.run(
            command, env=env | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(
                f"{python} cannot compile {source.name}: {done.stderr.strip().splitlines()[-1]}"
            )
        return target.read_bytes()


def write_archive(target: Path, members: Mapping[str, bytes]) -> None:
    """Write {name: content} to `target`, an executable archive; the same members give the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as directory:
        beside = Path(directory, target.name)
        packed = io.BytesIO()  # offsets from here on: another `#!` line may be put before it
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in sorted(members.items()):
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.create_system = 3  # Unix, so that the mode counts
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
        beside.write_bytes(SHEBANG + packed.getvalue())
        beside.chmod(0o755)
        beside.replace(target)


def zipapp_members(pythons: Mapping[str, str]) -> dict[str, bytes]:
    """Return the members of tlc.pyz, with byte code by the given {cache tag: executable}."""
    source = HERE / "tlc.py"
    version = source.read_text(encoding="utf-8").partition('__version__ = "')[2].partition('"')[0]
    return {
        "__main__.py": MAIN.replace("@version@", version).encode(),
        "newer_python.py": NEWER_PYTHON.encode(),
        "tlc.py": source.read_bytes(),
        **{f"{tag}/tlc.pyc": compiled(python, source) for tag, python in pythons.items()},
    }


def shiv_members() -> dict[str, bytes]:
    """Return the members of shiv's archive of tlc.py, or exit when there is no shiv."""
    if importlib.util.find_spec("shiv") is None:
        sys.exit("shiv is missing here: run `make .venv`, then `.venv/bin/python build.py --shiv`")
    with tempfile.TemporaryDirectory() as directory:
        packages, packed = Path(directory, "packages"), Path(directory, "packed.pyz")
        packages.mkdir()
        shutil.copyfile(HERE / "tlc.py", packages / "tlc.py")
        (packages / "tlc.py").chmod(0o644)
        command = [
            sys.executable,
            "-m",
            "shiv",
            "--reproducible",
            "--compile-pyc",
            "--entry-point=tlc:main",
        ]
        command += [f"--site-packages={packages}", f"--output-file={packed}"]
        # shiv prefers that variable's time to a constant one.
        env = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"shiv failed: {(done.stderr or done.stdout).strip()}")
        with zipfile.ZipFile(packed) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    members["__main__.py"] = GUARD.encode() + members["__main__.py"]
    return members | {"newer_python.py": NEWER_PYTHON.encode()}


def main() -> None:
    """Build one archive and print one line about it."""
    parser = argparse.ArgumentParser(description="Pack tlc.py into one executable file.")
    parser.add_argument("--shiv", action="store_true", help="pack with shiv (needs `make .venv`)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="instead of the file in dist/"
    )
    args = parser.parse_args()
    target: Path = args.output or HERE / "dist" / ("tlc-shiv.pyz" if args.shiv else "tlc.pyz")
    if args.shiv:
        write_archive(target, shiv_members())
        how = "packed by shiv, unpacked and compiled at its first run"
    else:
        pythons = supported_pythons()
        write_archive(target, zipapp_members(pythons))
        how = "compiled for " + (", ".join(pythons) or "no Python: it will run from source")
    shown = os.path.relpath(target) if target.is_relative_to(Path.cwd()) else target
    print(f"{shown}: {target.stat().st_size / 1000:.1f} kB, {how}")


if __name__ == "__main__":
    main()
