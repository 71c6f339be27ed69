"""Configs of any shape, and a world in which tlc's main() meets them by the thousand.

The world has a home and a code root, and no programs: each child that tlc would start is written
down, ends at once, and says what the test has drawn. That is what makes thousands of runs in one
process possible; real programs meet hostile configs in the stories of each section.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import strategies as st

import tlc

SECRET = "-hunter2{0}%s"  # a password as good as any, and nothing else looks like it

# What somebody could try who wants out of the code root, into a shell, or at a program's options.
HOSTILE = [
    *(
        "",
        " ",
        "-hostile",
        "--upload-pack=x",
        "-oProxyCommand=x",
        "..",
        "../x",
        "../../x",
        "a/../../x",
        "/etc/x",
        "~",
        "~/x",
    ),
    *(
        "a\n",
        "a\nb",
        "\x00",
        "\x1b[31m",
        "\u202e",
        "é",
        "a b",
        "a\\b",
        "'",
        '"',
        "$(x)",
        "`x`",
        "a;b",
        "a|b",
        "*",
        "%s",
    ),
    *(
        "{0}",
        "{name}",
        "{",
        "}",
        ".git",
        "a.git",
        "HEAD",
        "@{u}",
        "a.lock",
        "x" * 300,
        "::set-env x::y",
        "None",
    ),
    *(
        "ext::sh -c x",
        "fd::17",
        "file:///x",
        "http://x/y",
        "https://me:hunter2@x/y",
        "https://-x/y",
        "git@-x:y",
        "C:\\x",
    ),
]
OPTIONS = {SECRET, *(word for word in HOSTILE if word.startswith("-"))}
WORDS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=6))
SCALARS = st.one_of(WORDS, st.integers(-2, 70_000), st.booleans(), st.floats(allow_nan=False))
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def usually(*good: Any) -> st.SearchStrategy[Any]:
    """One of some right values, or in one case of a dozen a hostile one, or anything at all."""
    right, wrong = st.sampled_from(good), WORDS | ANYTHING
    return st.integers(0, 11).flatmap(lambda number: right if number else wrong)


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly a list."""
    lists = st.lists(items, max_size=3)
    return st.integers(0, 30).flatmap(lambda number: lists if number else ANYTHING)


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly a table with some of these keys."""
    tables = st.fixed_dictionaries({}, optional=fields)
    odd = st.tuples(tables, st.dictionaries(WORDS, ANYTHING, max_size=1)).map(
        lambda two: two[0] | two[1]
    )
    kinds = [*[tables] * 20, odd, ANYTHING]
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


VERSIONS = usually("17.0", "18.0", "20.0", "master", "12.0")
BRANCHES = some(usually("17.0", "main", "a/b", "a=b", "@x", "16.0-fix#1"))
NAMES = usually("web", "queue", "odoo", ".github", "a.b_c-D1", "...")
URLS = usually(
    "https://example.com/a/b.git", "ssh://git@example.com/b", "file:///x/b", "git@example.com:a/b"
)
ENTRY = st.one_of(
    NAMES,
    NAMES,
    st.tuples(NAMES, BRANCHES).map(list),
    table(name=NAMES, branches=BRANCHES, url=URLS, depth=usually(0, 1, 5), fork=st.booleans()),
)
ORGANISATIONS = st.one_of(st.sampled_from(["odoo", "oca", "OCA", "x", "a.b"]), WORDS)
SCRIPT = table(
    url=usually("https://example.com/i.sh?a={0}", "https://example.com/@x/i.sh"),
    name=usually("a name", "{name} %s", "é"),
    sha256=usually("0" * 64),
    install_script=ANYTHING,
)
CONFIG = table(
    versions=some(VERSIONS),
    jobs=usually(1, 4),
    newcomer=usually(True, False),
    create_launcher=usually(True, False),
    init_dirs=some(usually("customer", "a/b c", ".hidden", "a-b/{0}", "%s")),
    tools=table(
        uv=some(usually("ruff", "black[d]>=24.0", "odoo-venv", "a==1,<2")),
        npm=some(usually("rtlcss", "@scope/name", "~x")),
        system_packages=some(usually("postgresql", "g++", "git=1:2-0+b~1", "user/tap/x@1")),
        wkhtmltopdf=usually(True, False),
        script=some(SCRIPT),
        skills=ANYTHING,
        github=ANYTHING,
    ),
    repos=st.dictionaries(ORGANISATIONS, some(ENTRY), max_size=3),
    git=table(
        protocol=usually("ssh", "https"),
        depth=usually(0, 1, 5),
        layout=usually("clones", "worktrees"),
        filter=usually("", "blob:none"),
        fork=usually("", "me"),
    ),
    venvs=table(
        preset=usually("demo", "local"), python=st.dictionaries(VERSIONS.map(str), usually("3.12"))
    ),
    postgres=table(
        server=usually("system", "own"),
        user=usually("odoo", "me_1"),
        password=usually(SECRET),
        host=usually("localhost", "127.0.0.1", "::1", "db.example.com"),
        port=usually(5432, 5433),
    ),
)


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        pairs = (f"{toml(str(key))} = {toml(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True).encode("utf-8", "replace").decode()
    return str(value).lower()


def document(config: Any) -> str:
    """A config as the text of a file; what is no table is no valid one either."""
    if not isinstance(config, dict):
        return f"versions = {toml(config)}\n"
    return "".join(f"{toml(str(key))} = {toml(value)}\n" for key, value in config.items())


def damaged(text: str, place: int, junk: str) -> str:
    """A text with junk somewhere in it, instead of as much that was there."""
    place %= len(text) + 1
    return text[:place] + junk + text[place + len(junk) :]


TEXTS = st.one_of(
    *[CONFIG.map(document)] * 8,
    st.builds(damaged, CONFIG.map(document), st.integers(0, 500), WORDS),
    st.text(max_size=40),
)
COMMANDS = st.sampled_from(
    [
        *(
            "init --yes",
            "init",
            "pull-repos --yes",
            "pull-repos --yes --force",
            "pull-repos --dry-run",
        ),
        *(
            "create-venvs --yes",
            "create-venvs --dry-run --force",
            "install-tools --dry-run",
            "up --dry-run",
        ),
        *("ensure-db-user --dry-run", "doctor --offline", "doctor", "status", "status --json", ""),
        *(
            "pull-repos -n --json",
            "doctor --json",
            "bootstrap -n",
            "completion bash",
            "config schema",
        ),
        *(
            "generate-config odoo-dev",
            "-q up -n",
            "-v init -n",
            "create-venvs 17.0 -n",
            "status -f web",
        ),
    ]
)
PROGRAMS = "git gh uv npm node ssh ssh-keygen ssh-keyscan sudo env apt-get apt-cache dpkg-query dpkg cc psql pg_isready".split()


class World:
    """A home in which main() runs with one config after the other. `commands`: what it started."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "a" / "b" / "home"  # so that ../../.. stays where it is looked for
        self.root, self.outside = self.home / "c" / "d" / "code", directory
        self.commands: list[list[str]] = []
        self.bin = self.home / "bin"
        self.root.mkdir(parents=True)
        for name in PROGRAMS:
            program = self.bin / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch(mode=0o755)
        self.env = {
            "HOME": str(self.home),
            "PATH": str(self.bin),
            "LANG": "C.UTF-8",
            "TLC_CODE_DIR": str(self.root),
            "https_proxy": "http://127.0.0.1:9",  # nobody is there
        }

    def files(self) -> set[Path]:
        """All there is but in the code root, and in the places of tlc's own in a home."""
        own = {self.home / name for name in (".local", ".cache", ".ssh")}
        found: set[Path] = set()
        for directory, names, files in os.walk(self.outside):
            here = Path(directory)
            names[:] = [name for name in names if here / name not in {self.root, *own}]
            found |= {here / name for name in (*names, *files)}
        return found

    def run(
        self, text: str, local: str, argv: Sequence[str], answer: tuple[int, str]
    ) -> tuple[int, str, str]:
        """Run main() with this config; return exit code, stdout and stderr."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        for name, content in (("config.toml", text), ("config.local.toml", local)):
            if content:
                data = content.encode(errors="surrogatepass")
                (self.root / name).write_bytes(data)
        self.commands.clear()
        commands, (code, output) = self.commands, answer

        class Child:
            """What stands in for a child process."""

            def __init__(
                self,
                command: Sequence[str],
                stdin: str,
                terminal: bool,
                options: Mapping[str, Any],
                runner: tlc.Runner,
            ) -> None:
                commands.append([*command])
                self.process = SimpleNamespace(returncode=code)

            def communicate(self, on_line: Any, at_end: bool) -> tuple[bytes, bytes]:
                for line in output.splitlines() if on_line else ():
                    on_line(line)
                return output.encode(), output.encode()

        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.env, clear=True),
            mock.patch.object(tlc, "Child", Child),
            mock.patch("sys.stdin", io.StringIO()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            signals_kept(),
        ):
            ended = tlc.main(list(argv))
        return ended, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """Put back the handlers of signals that main() has set."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
