"""Configs of any shape, and a world in which tlc's main() meets them by the thousand.

The world has a home and a code root, and no programs: each child that tlc would start is written
down, ends at once, and says what the test has drawn. That is what makes thousands of runs in one
process possible; real programs meet hostile configs in the stories of each section.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

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
        "/dev/null/x",
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
# The worst of them come most often, and so do the commands that could do harm with them.
WORST = ["-hostile", "--upload-pack=x", "-oProxyCommand=x", "../x", "../../x", "a/../../x"]
DOING = ["init --yes", "pull-repos --yes", "create-venvs --yes"]
GOOD: dict[str, list[Any]] = {
    "versions": ["17.0", "18.0", "20.0", "master", "12.0"],
    "branches": ["17.0", "main", "a/b", "a=b", "@x", "16.0-fix#1"],
    "name": ["web", "queue", "odoo", ".github", "a.b_c-D1", "..."],
    "url": [
        "https://example.com/a/b.git",
        "ssh://git@example.com/b",
        "file:///x/b",
        "git@example.com:a/b",
    ],
    "organisation": ["odoo", "oca", "OCA", "x", "a.b"],
    "init_dirs": ["customer", "a/b c", ".hidden", "a-b/{0}", "%s"],
    "uv": ["ruff", "black[d]>=24.0", "odoo-venv", "a==1,<2"],
    "npm": ["rtlcss", "@scope/name", "~x"],
    "system_packages": ["postgresql", "g++", "git=1:2-0+b~1", "user/tap/x@1"],
    "host": ["localhost", "127.0.0.1", "::1", "db.example.com"],
}


class Random(random.Random):
    """Draws configs; the same for the same seed."""

    def maybe(self, **fields: Callable[[], Any]) -> dict[str, Any]:
        """A table with about half of these fields."""
        return {name: draw() for name, draw in fields.items() if self.random() < 0.5}

    def some(self, kind: str) -> list[Any]:
        return self.choices(GOOD[kind], k=self.randrange(4))

    def one(self, *values: Any) -> Callable[[], Any]:
        return lambda: self.choice(values)

    def entry(self) -> Any:
        name, kind = self.choice(GOOD["name"]), self.randrange(3)
        if kind == 0:
            return name
        if kind == 1:
            return [name, self.some("branches")]
        more = self.maybe(
            branches=lambda: self.some("branches"),
            url=lambda: self.choice(GOOD["url"]),
            depth=self.one(0, 1, 5),
            fork=self.one(True, False),
        )
        return {"name": name, **more}

    def script(self) -> dict[str, Any]:
        url = self.choice(["https://example.com/i.sh?a={0}", "https://example.com/@x/i.sh"])
        name, digits = self.one("a name", "{name} %s", "é"), self.one("0" * 64)
        return {"url": url, **self.maybe(name=name, sha256=digits, install_script=self.anything)}

    def right(self) -> dict[str, Any]:
        """A config in which nothing is wrong, but that an entry may stand there twice."""
        both = self.one(True, False)
        tools = self.maybe(
            **{
                kind: lambda kind=kind: self.some(kind) for kind in ("uv", "npm", "system_packages")
            },
            wkhtmltopdf=both,
            script=lambda: [self.script() for _ in range(self.randrange(3))],
            skills=self.anything,
            github=self.anything,
        )
        organisations = {self.choice(GOOD["organisation"]) for _ in range(self.randrange(4))}
        repos = {
            name: [self.entry() for _ in range(self.randrange(3))] for name in sorted(organisations)
        }
        git = self.maybe(
            protocol=self.one("ssh", "https"),
            depth=self.one(0, 1, 5),
            layout=self.one("clones", "worktrees"),
            filter=self.one("", "", "", "blob:none"),
            fork=self.one("", "me"),
        )
        venvs = self.maybe(
            preset=self.one("demo", "local"),
            python=lambda: dict.fromkeys(self.some("versions"), "3.12"),
        )
        postgres = self.maybe(
            server=self.one("system", "own"),
            user=self.one("odoo", "me_1"),
            password=self.one(SECRET),
            host=lambda: self.choice(GOOD["host"]),
            port=self.one(5432, 5433),
        )
        return self.maybe(
            versions=lambda: self.some("versions"),
            jobs=self.one(1, 4),
            newcomer=both,
            create_launcher=both,
            init_dirs=lambda: self.some("init_dirs"),
            tools=lambda: tools,
            repos=lambda: repos,
            git=lambda: git,
            venvs=lambda: venvs,
            postgres=lambda: postgres,
        )

    def anything(self, depth: int = 0) -> Any:
        kind = self.randrange(3 if depth > 2 else 5)
        if kind == 3:
            return [self.anything(depth + 1) for _ in range(self.randrange(3))]
        if kind == 4:
            return {
                self.choice(HOSTILE): self.anything(depth + 1) for _ in range(self.randrange(3))
            }
        return self.choice([*HOSTILE, self.randint(-2, 70_000), 1.5, True])

    def config(self) -> dict[str, Any]:
        """A config in which mostly one thing is wrong: a value, or the name of a key."""
        config = self.right()
        for _ in range(self.choice([0, 1, 1, 1, 1, 2, 4])):
            paths = list(places(config))
            if not paths:
                break
            *above, last = self.choice(paths)
            inside: Any = config
            for key in above:
                inside = inside[key]
            words = self.choice([WORST, HOSTILE])
            wrong = self.choice(words) if self.random() < 0.9 else self.anything()
            if isinstance(inside, dict) and isinstance(wrong, str) and self.random() < 0.2:
                inside[wrong] = inside.pop(last)
            else:
                inside[last] = wrong
        return config

    def text(self) -> str:
        """The text of a config, in one of a dozen cases damaged."""
        text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in self.config().items())
        if self.randrange(12):
            return text
        at, junk = self.randrange(len(text) + 1), self.choice(HOSTILE)
        return text[:at] + junk + text[at + len(junk) :]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that is in a value, the inner ones too."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        pairs = (f"{toml(key)} = {toml(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        letters = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in value)
        return f'"{"".join(letters)}"'
    return str(value).lower()


COMMANDS = [
    *("init --yes", "init", "pull-repos --yes", "pull-repos --yes --force", "pull-repos --dry-run"),
    *(
        "create-venvs --yes",
        "create-venvs --dry-run --force",
        "install-tools --dry-run",
        "up --dry-run",
    ),
    *("ensure-db-user --dry-run", "doctor --offline", "doctor", "status", "status --json", ""),
    *("pull-repos -n --json", "doctor --json", "bootstrap -n", "completion bash", "config schema"),
    *(
        "generate-config odoo-dev",
        "-q up -n",
        "-v init -n",
        "create-venvs 17.0 -n",
        "status -f web",
    ),
]
ANSWERS = [
    (1, ""),
    (1, ""),
    (0, ""),
    (0, "x 1.0\n{0} y\n"),
    (128, "fatal: {name}\n"),
]  # of each child
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
        for version in ("17.0", "18.0", "master"):
            odoo = self.root / "odoo" / "odoo" / version / "odoo"
            odoo.mkdir(parents=True)
            (odoo / "release.py").write_text("version_info = (17, 0, 0, 'final', 0, '')\n")
            (odoo.parent / "odoo-bin").touch()
        self.commands.clear()
        commands, (code, output) = self.commands, answer

        class Child:
            """What stands in for a child process."""

            def __init__(self, command: Sequence[str], *_more: Any) -> None:
                commands.append([*command])
                self.process = SimpleNamespace(returncode=code)

            def communicate(self, on_line: Any, *_more: Any) -> tuple[bytes, bytes]:
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
