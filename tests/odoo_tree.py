"""Stand-ins for the checkouts of Odoo and OCA: small, and of the shape that the real odoo-venv and uv want.

`python3 tests/odoo_tree.py [--serving] DIRECTORY VERSION` writes an Odoo; one that is serving opens its database, and
answers HTTP until it is ended.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# Small ones, pure Python, that need nothing else and have wheels for every Python since 3.6.
REQUIREMENTS = (
    "idna==2.10 ; python_version < '3.12'",
    "idna==3.6 ; python_version >= '3.12'",
    "passlib==1.7.4  # min version = 1.7.2 (Focal with security backports)",
    "pypiwin32 ; sys_platform == 'win32'",
)

INIT = '''"""Odoo, as far as tlc needs it."""

MIN_PY_VERSION = (3, 7)
'''

RELEASE = """RELEASE_LEVELS = [ALPHA, BETA, RELEASE_CANDIDATE, FINAL] = ['alpha', 'beta', 'candidate', 'final']

# version_info format: (MAJOR, MINOR, MICRO, RELEASE_LEVEL, SERIAL)
version_info = ({major}, {minor}, 0, {level}, 0, '')
series = serie = major_version = '.'.join(str(part) for part in version_info[:2])
version = series + ('' if version_info[3] == FINAL else 'a1')
"""

SETUP = """import os
from setuptools import find_packages, setup

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'odoo', 'release.py')) as release:
    exec(release.read())

setup(
    name='odoo',
    version=version,
    packages=find_packages(),
    package_dir={{'odoo': 'odoo'}},
    include_package_data=True,
    scripts=['setup/odoo'],
    install_requires=['idna', 'passlib'],
    python_requires='{python}',
)
"""

# setuptools, made ready and started, takes longer than all else of a story: a backend of its own installs this Odoo.
PYPROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["setup"]
"""
BACKEND = """import os
import zipfile


def build_editable(directory, config_settings=None, metadata_directory=None):
    release = {{}}
    with open('odoo/release.py') as file:
        exec(file.read(), release)
    name = 'odoo-' + release['version']
    fields = ['Metadata-Version: 2.1', 'Name: odoo', 'Version: ' + release['version']]
    fields += ['Requires-Python: {python}', 'Requires-Dist: idna', 'Requires-Dist: passlib']
    with open('setup/odoo') as file:
        script = file.read().replace('/usr/bin/env python3', 'python')
    files = {{
        '__editable__.%s.pth' % name: os.getcwd(),
        name + '.data/scripts/odoo': script,
        name + '.dist-info/METADATA': '\\n'.join(fields),
        name + '.dist-info/WHEEL': 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any',
    }}
    record = name + '.dist-info/RECORD'
    files[record] = ''.join(path + ',,\\n' for path in [*files, record])
    wheel = name + '-py3-none-any.whl'
    with zipfile.ZipFile(os.path.join(directory, wheel), 'w') as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
"""

BIN = """#!/usr/bin/env python3

__import__('os').environ['TZ'] = 'UTC'
import odoo.cli

if __name__ == '__main__':
    odoo.cli.main()
"""

MAIN = """from .cli import main

main()
"""

# What the real one prints at its start comes from the same options: of the command line, then of the file.
CLI = '''"""Say what this Odoo would run with, and leave; with --serve, answer HTTP."""

import argparse
import configparser
import http.server
import sys

import idna, passlib  # noqa: of requirements.txt

from . import release

OPTIONS = {
    'addons_path': ['--addons-path'],
    'http_port': ['-p', '--http-port'],
    'data_dir': ['-D', '--data-dir'],
    'db_name': ['-d', '--database'],
    'db_user': ['-r', '--db_user'],
    'db_password': ['-w', '--db_password'],
    'db_host': ['--db_host'],
    'db_port': ['--db_port'],
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(('Odoo %s' % release.version).encode())


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('--version', action='version', version='Odoo Server %s' % release.version)
    parser.add_argument('-c', '--config')
    parser.add_argument('--serve', action='store_true')
    for name, flags in OPTIONS.items():
        parser.add_argument(*flags, dest=name)
    given, _ = parser.parse_known_args()
    config = configparser.RawConfigParser()
    if given.config:
        with open(given.config) as file:
            config.read_file(file)
    print('Odoo Server %s on Python %d.%d' % ((release.version,) + sys.version_info[:2]))
    values = {}
    for name in OPTIONS:
        values[name] = getattr(given, name) or config.get('options', name, fallback='')
        print('%s = %s' % (name, '***' if name == 'db_password' else values[name]))
    sys.stdout.flush()
    if given.serve:
        http.server.HTTPServer(('127.0.0.1', int(values['http_port'] or 8069)), Handler).serve_forever()
'''


# One that is serving: pure Python speaks to the database, as nothing shall be compiled.
DRIVER = "pg8000==1.31.2"
SERVING = """
import pg8000.native


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        [[database, role, server]] = self.server.database.run(
            "SELECT current_database(), current_user, current_setting('server_version')"
        )
        page = 'Odoo %s, on database %s of PostgreSQL %s, as role %s\\n'
        self.send_response(200)
        self.end_headers()
        self.wfile.write((page % (release.version, database, server, role)).encode())

    def log_message(self, *_arguments):
        pass


def serve(values):
    login = {'user': values['db_user'], 'password': values['db_password'], 'host': values['db_host'],
             'port': int(values['db_port']), 'ssl_context': False}
    name, first = values['db_name'], pg8000.native.Connection(database='postgres', **login)
    if not first.run('SELECT 1 FROM pg_database WHERE datname = :name', name=name):
        first.run('CREATE DATABASE "%s"' % name)
    server = http.server.HTTPServer(('127.0.0.1', int(values['http_port'])), Page)
    server.database = pg8000.native.Connection(database=name, **login)
    server.database.run('CREATE TABLE IF NOT EXISTS ir_module_module (name varchar)')
    server.serve_forever()
"""


def manifest(name: str, version: str, python: Sequence[str] = ()) -> str:
    """The text of an addon's manifest that wants these packages."""
    external = f"    'external_dependencies': {{'python': {list(python)!r}}},\n" if python else ""
    return f"{{\n    'name': {name!r},\n    'version': '{version}.1.0.0',\n    'depends': ['base'],\n{external}}}\n"


def write(path: Path, files: Mapping[str, str]) -> Path:
    """Write files below a directory, which may be there; return it."""
    for name, text in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        if text.startswith("#!"):
            file.chmod(0o755)
    return path


def odoo_files(
    version: str,
    requirements: Sequence[str] = REQUIREMENTS,
    addons: Mapping[str, Sequence[str]] | None = None,
    python: str = ">=3.7",
    setuptools: bool = False,
) -> dict[str, str]:
    """The files of an Odoo of a version like "18.0", or "20.0a1" for one that is not released.

    `requirements` are its lines of requirements.txt, `addons` its addons with the packages their manifests name,
    `python` is what setup.py says about Pythons. With `setuptools` it is installed by that, as the real one is.
    """
    major, minor = version.removesuffix("a1").split(".")
    level = "ALPHA" if version.endswith("a1") else "FINAL"
    series = f"{major}.{minor}"
    manifests = {
        f"addons/{name}/__manifest__.py": manifest(name, series, packages)
        for name, packages in (
            addons if addons is not None else {"mail": [], "auth_ldap": ["python-ldap"]}
        ).items()
    }
    own = {"pyproject.toml": PYPROJECT, "setup/backend.py": BACKEND.format(python=python)}
    return {
        "odoo/__init__.py": INIT,
        "odoo/__main__.py": MAIN,
        "odoo/release.py": RELEASE.format(major=major, minor=minor, level=level),
        "odoo/cli.py": CLI,
        "odoo/addons/base/__manifest__.py": manifest("base", series),
        "setup.py": SETUP.format(python=python),
        **({} if setuptools else own),
        "setup/odoo": BIN,
        "odoo-bin": BIN,
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
        **manifests,
    }


def make_odoo(
    path: Path,
    version: str,
    requirements: Sequence[str] = REQUIREMENTS,
    addons: Mapping[str, Sequence[str]] | None = None,
    python: str = ">=3.7",
    setuptools: bool = False,
) -> Path:
    """Write odoo_files() to a directory; return it."""
    return write(path, odoo_files(version, requirements, addons, python, setuptools))


def make_oca(
    path: Path, version: str, python: Sequence[str] = ("stdnum",), requirements: Sequence[str] = ()
) -> Path:
    """Write an OCA repository with an addon whose manifest names these packages (or modules: both are seen)."""
    files = {f"{path.name}_extra/__manifest__.py": manifest(f"{path.name}_extra", version, python)}
    if requirements:
        files["requirements.txt"] = "".join(f"{line}\n" for line in requirements)
    return write(path, files)


def unbuildable(directory: Path, header: str = "ldap.h", name: str = "tlc-header") -> str:
    """A line of requirements.txt for a package whose compilation fails, as that header is not there.

    The compiler is told to look nowhere, so that it does not matter which headers the machine has.
    """
    module = name.replace("-", "_")
    extension = f"Extension({module!r}, ['header.c'], extra_compile_args=['-nostdinc', '-I.'])"
    files = {
        "setup.py": "from setuptools import Extension, setup\n"
        f"setup(name={name!r}, version='1.0', ext_modules=[{extension}])\n",
        "header.c": f"#include <{header}>\n",
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
        "PKG-INFO": f"Metadata-Version: 1.2\nName: {name}\nVersion: 1.0\n",
    }
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / f"{module}-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{module}-1.0/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return archive.as_uri()


def serving(files: Mapping[str, str]) -> dict[str, str]:
    """Return an Odoo's files so that it opens its database and answers HTTP, as the real one does when it is started."""
    start = "    if given.serve:\n"
    before, found, _ = files["odoo/cli.py"].partition(start)
    assert found
    return {
        **files,
        "odoo/cli.py": before.replace("\ndef main():", f"{SERVING}\n\ndef main():")
        + "    serve(values)\n",
        "requirements.txt": f"{files['requirements.txt']}{DRIVER}\n",
        "setup.py": files["setup.py"].replace(
            "'passlib'", f"'passlib', '{DRIVER.partition('=')[0]}'"
        ),
    }


if __name__ == "__main__":
    *options, place, release = sys.argv[1:]
    made = odoo_files(release, setuptools=True)
    write(Path(place), serving(made) if options == ["--serving"] else made)
