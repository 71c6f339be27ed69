"""What a person sees: in a real terminal, read through a terminal emulator; and the pieces it is put together from."""

from __future__ import annotations

import datetime
import re
import shlex
import sys
import time
import tomllib
from pathlib import Path

import pytest
from conftest import PROJECT, Sandbox
from terminal import Terminal
from upstream import Upstream

import tlc

VERSIONS = 'versions = ["17.0"]\n'
REPOSITORIES = VERSIONS + '[repos]\noca = ["web", "queue", "server-tools"]\n'
LIVE = re.compile(r"\d+ of \d+ done|━|─── \d|receiving|counting|waiting")


def tlc_in_terminal(
    sandbox: Sandbox, *arguments: str, columns: int = 100, rows: int = 40
) -> Terminal:
    return Terminal(
        [sys.executable, sandbox.archive, *arguments], sandbox.env, sandbox.home, columns, rows
    )


# --- the question, and the editor


def test_the_editor_has_the_terminal_for_itself(sandbox: Sandbox) -> None:
    sandbox.config(VERSIONS)
    editor = sandbox.home / "editor"
    editor.write_text(
        '#!/bin/sh\ntest -t 0 && test -t 1 && echo "editing ${1##*/}" && read answer\n'
    )
    editor.chmod(0o755)
    sandbox.env["EDITOR"] = str(editor)
    with tlc_in_terminal(sandbox, "config", "edit") as terminal:
        terminal.wait_for("editing config.toml")
        terminal.send("\r")
        assert terminal.wait() == 0
        terminal.wait_for("is valid.")


@pytest.mark.parametrize(
    ("answer", "code"), [("n", 1), ("N", 1), ("no", 1), ("y", 0), ("", 0), ("YES", 0)]
)
def test_the_plan_is_shown_then_one_question_and_its_answer_counts(
    sandbox: Sandbox, answer: str, code: int
) -> None:
    with tlc_in_terminal(sandbox, "init") as terminal:
        terminal.wait_for("Go ahead? [Y/n/d]")
        assert terminal.lines[:4] == [
            "Make the directory tree and, if there is none, a config.toml. Nothing changes before you say yes.",
            " Ctrl-C is safe: the next run continues.",
            "~/code/",
            "├── config.toml      what this machine should have, new",
        ]
        assert terminal.lines[-1] == "Go ahead? [Y/n/d]"
        assert not sandbox.root.exists()
        terminal.send(f"{answer}\r")
        assert terminal.wait() == code
        assert terminal.text.count("[Y/n/d]") == 1
        assert ("Nothing was changed." in terminal.text) is bool(code)
        assert (sandbox.root / "venvs").is_dir() is not bool(code)


def test_ctrl_c_at_the_question_ends_with_the_closing_block_and_changes_nothing(
    sandbox: Sandbox,
) -> None:
    with tlc_in_terminal(sandbox, "init") as terminal:
        terminal.wait_for("[Y/n/d]")
        terminal.send("\x03")
        assert terminal.wait() == 130
        closing, after = terminal.lines[-2:]
        assert re.search(r"Interrupted\. ok 0  in \d+\.\d s$", closing)
        assert after.startswith("next ")
    assert not sandbox.root.exists()


def test_ctrl_d_at_the_question_is_no_answer(sandbox: Sandbox) -> None:
    with tlc_in_terminal(sandbox, "init") as terminal:
        terminal.wait_for("[Y/n/d]")
        terminal.send("\x04")
        assert terminal.wait() == 1
        assert terminal.lines[-1].startswith("→ ")
        assert "--yes" in terminal.lines[-1]
    assert not sandbox.root.exists()


# --- the live display, of real clones from a slow server


@pytest.fixture
def slow(sandbox: Sandbox, tmp_path: Path) -> Sandbox:
    """A sandbox with three repositories to clone, each of which takes about two seconds."""
    upstream = Upstream(tmp_path / "github", sandbox)
    for name in ("web", "queue", "server-tools"):
        upstream.create(f"OCA/{name}", "17.0")
    hook = tmp_path / "slow.sh"
    hook.write_text('#!/bin/sh\nsleep 2\nexec "$@"\n')
    hook.chmod(0o755)
    upstream.git("config", "--global", "uploadpack.packObjectsHook", str(hook))
    sandbox.config(REPOSITORIES)
    return sandbox


@pytest.mark.parametrize("columns", [100, 40])
def test_the_live_display_fits_the_screen_and_leaves_nothing_behind(
    slow: Sandbox, columns: int
) -> None:
    with tlc_in_terminal(
        slow, "--yes", "--color=always", "pull-repos", columns=columns
    ) as terminal:
        terminal.wait_for("0 of 3 done, 2 s")
        shown = terminal.lines
        live = [number for number, line in enumerate(shown) if "of 3 done" in line]
        assert live == [len(shown) - 1]
        tools = "oca/server-tools@17.0" if columns == 100 else "oca/serve…ools@17.0"
        assert {line.split()[0] for line in shown[live[0] - 3 : live[0]]} == {
            *("oca/web@17.0", "oca/queue@17.0", tools)
        }
        assert terminal.wait() == 0
        lines = terminal.lines
    assert not [line for line in lines if LIVE.search(line)]
    text = " ".join(line.strip() for line in lines)
    ended = re.findall(r"● changed (\S+): cloned 17\.0  ?\d\.\d s", text)
    assert sorted(ended) == ["oca/queue@17.0", "oca/server-tools@17.0", "oca/web@17.0"]
    assert re.search(r" changed 3  in \d\.\d s", text)
    assert "" not in lines


def test_ctrl_c_takes_the_live_display_away_and_ends_soon(slow: Sandbox) -> None:
    with tlc_in_terminal(slow, "--yes", "pull-repos") as terminal:
        terminal.wait_for("0 of 3 done")
        began = time.monotonic()
        terminal.send("\x03")
        assert terminal.wait() == 130
        assert time.monotonic() - began < 20
        lines = terminal.lines
    assert not [line for line in lines if LIVE.search(line)]
    assert [line for line in lines if "Interrupted. failed 3  in " in line]
    assert lines[-1].startswith("next ")
    assert not list((slow.root / "oca/17.0").glob("*/.git"))


def test_a_dumb_terminal_gets_plain_lines(slow: Sandbox) -> None:
    slow.env["TERM"] = "dumb"
    with tlc_in_terminal(slow, "--yes", "pull-repos") as terminal:
        assert terminal.wait() == 0
    assert b"\x1b" not in terminal.raw
    assert "[3/3] ● changed oca/" in terminal.text


def test_what_goes_to_a_file_has_no_colours_though_the_messages_have(slow: Sandbox) -> None:
    command = shlex.join([sys.executable, str(slow.archive), "pull-repos", "--dry-run"])
    with Terminal(["sh", "-c", f"exec {command} > plan"], slow.env, slow.home) as terminal:
        assert terminal.wait() == 0
    assert b"\x1b[" in terminal.raw
    plan = (slow.home / "plan").read_text()
    assert "  oca/web@17.0: " in plan
    assert "\x1b" not in plan


# --- the live display, of toys

HEAD = """
import os, sys, time, tlc
def wait_for(name):
    while not os.path.exists(os.path.join(os.environ["SIGNALS"], name)):
        time.sleep(0.01)
terminal = tlc.Terminal(color="never", quiet=False, json=False, environ={"TERM": "xterm"})
"""

MANY = f"""{HEAD}
with tlc.Progress(terminal, 30) as progress:
    for number in range(20):
        progress.update(f"item-{{number:02}}", "at work, at work, at work, at work", number / 20)
    wait_for("finish")
    for number in range(20):
        progress.finish([f"item-{{number:02}}"], "changed", "made", 0)
        time.sleep(0.02)
"""

LONG = f"""{HEAD}
with tlc.Progress(terminal, 3) as progress:
    progress.update("organisation/a-very-long-name-of-a-repository@feature/of-the-year", "receiving", 1.0)
    progress.update("b", "Resolving deltas " * 10)
    wait_for("finish one")
    progress.finish(["c"], "failed", "a message that is longer than the screen is wide " * 3, 1)
    terminal.say("said in between")
    wait_for("finish")
    progress.finish(["b"], "ok", "nothing to do", 1)
"""


def toy(script: str, signals: Path, columns: int, rows: int, redirection: str = "") -> Terminal:
    """Run a script that waits for files in `signals`."""
    command = f"exec {shlex.join([sys.executable, '-c', script])} {redirection}"
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    env["SIGNALS"] = str(signals)
    return Terminal(["sh", "-c", command], env, PROJECT, columns, rows)


@pytest.mark.parametrize("rows", [40, 10])
def test_more_items_than_the_screen_has_lines_leave_nothing_behind(
    tmp_path: Path, rows: int
) -> None:
    with toy(MANY, tmp_path, 80, rows) as terminal:
        terminal.wait_for("0 of 30 done")
        (tmp_path / "finish").touch()
        assert terminal.wait() == 0
        assert terminal.lines == [f"● changed item-{number:02}: made" for number in range(20)]


@pytest.mark.parametrize("redirection", ["", ">/dev/null"])
def test_long_names_and_phases_are_cut_and_long_messages_are_not(
    tmp_path: Path, redirection: str
) -> None:
    with toy(LONG, tmp_path, 40, 20, redirection) as terminal:
        terminal.wait_for("0 of 3 done, ")
        name, phase, total = terminal.lines
        assert name.startswith("  organisat…-the-year  ━━━━━━━━ 100%")
        assert phase.startswith("  b ")
        assert "Resolving deltas" in phase
        assert total.startswith("  ━━────── 0 of 3 done, ")
        (tmp_path / "finish one").touch()
        terminal.wait_for("1 of 3 done")
        assert sum("of 3 done" in line for line in terminal.lines) == 1
        (tmp_path / "finish").touch()
        assert terminal.wait() == 0
        lines = terminal.lines
    assert lines[:3] == [
        "✗ failed  c: a message that is longer",
        "          than the screen is wide a",
        "          message that is longer than",
    ]
    assert lines[-1] == "said in between"
    assert not [line for line in lines if LIVE.search(line)]


QUICK = f"""{HEAD}
with tlc.Progress(terminal, 1) as progress:
    progress.update("a", "at work", 0.5)
    time.sleep(0.3)
    progress.finish(["a"], "changed", "made", 0.3)
"""

STILL = f"""{HEAD}
write, written = terminal.stderr.write, []
terminal.stderr.write = lambda text: (written.append(text), write(text))
with tlc.Progress(terminal, 9, title="stage") as progress:
    progress.update("日本/リポジトリ@17.0", "receiving", 0.3, amount="1.20 MiB", rate="2.00 MiB/s")
    progress.update("b", "for its turn", waiting=True)
    progress.update("c", "receiving", 0.9)
    progress.update("c", "trying again", 0.0)
    wait_for("finish")
    terminal.say(f"{{len(written)}} pictures, {{max(written.count(each) for each in written)}} alike")
    terminal.say(f"{{progress.active['b'].seconds:.0f}} s of work in b")
"""


def test_what_is_done_in_half_a_second_has_no_live_display(tmp_path: Path) -> None:
    with toy(QUICK, tmp_path, 80, 24) as terminal:
        assert terminal.wait() == 0
        assert terminal.lines == ["● changed a: made  0.3 s"]
    assert b"\x1b" not in terminal.raw


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50), (40, 24)])
def test_the_live_display_says_what_works_and_counts_what_waits(
    tmp_path: Path, columns: int, rows: int
) -> None:
    with toy(STILL, tmp_path, columns, rows) as terminal:
        terminal.wait_for("0 of 9 done, 2 s")
        wide, again, total = terminal.lines
        bar = {80: 16, 200: 24, 40: 8}[columns]
        # The emulator has an empty cell after each wide sign.
        assert wide.replace("\x00", "").startswith("  日本/")
        assert (
            f"{'━' * int(0.3 * bar)}{'─' * (bar - int(0.3 * bar))}  30%  receiving"[: columns - 26]
            in wide
        )
        assert ("1.20 MiB  2.00 MiB/s" in wide) is (columns > 40)
        # What is tried again does not fall back.
        assert re.match(r"  c +━+─+  90%  t", again)
        assert total.startswith(
            f"  {'━' * int(bar * 1.2 / 9)}{'─' * (bar - int(bar * 1.2 / 9))} 0 of 9 done, 2 s; 7 waiting"[
                : columns - 1
            ]
        )
        assert ("; 2.0 MiB/s" in total) is (columns > 40)
        terminal.resize(columns - 8, rows)
        terminal.wait_for("0 of 9 done, 4 s")
        assert all(len(line) < columns - 8 for line in terminal.lines)
        (tmp_path / "finish").touch()
        assert terminal.wait() == 0
        lines = terminal.lines
    # Once a second the time changes; what has not changed is not written again.
    pictures, alike = map(int, re.findall(r"\d+", lines[-2]))
    assert (pictures <= 15, alike, lines[-1]) == (True, 1, "0 s of work in b")
    assert not [line for line in lines if LIVE.search(line)]


CRASH = f"""{HEAD}
with tlc.Progress(terminal, 1) as progress:
    progress.update("a", "at work", 0.5)
    wait_for("finish")
    sys.exit("an error that nobody expected")
"""


def test_a_crash_leaves_a_clean_terminal(tmp_path: Path) -> None:
    with toy(CRASH, tmp_path, 80, 24) as terminal:
        terminal.wait_for("0 of 1 done")
        (tmp_path / "finish").touch()
        assert terminal.wait() == 1
        assert terminal.lines == ["an error that nobody expected"]


def test_a_name_is_cut_in_the_middle_and_wide_signs_take_two_columns() -> None:
    assert tlc.padded("oca/account-financial-tools@18.0", 20) == "oca/accou…tools@18.0"
    assert tlc.padded("日本語日本語", 9) == "日本…本語"
    assert tlc.padded("日本", 6) == "日本  "
    assert tlc.clipped("a日本", 4) == "a日"


# --- off a terminal


def test_off_a_terminal_each_event_is_a_plain_line_with_the_time(slow: Sandbox) -> None:
    run = slow.tlc("--yes", "pull-repos")
    lines = run.err.splitlines()
    assert not [line for line in lines if "\x1b" in line or "\r" in line]
    ended = [
        re.fullmatch(r" +\d+\.\d s \[\d/3\] ● changed oca/\S+: cloned 17\.0  \d\.\d s", line)
        for line in lines[1:4]
    ]
    assert all(ended), lines


def test_github_actions_gets_groups_and_errors_and_no_orders_of_a_childs(slow: Sandbox) -> None:
    hook = slow.home / "orders.sh"
    hook.write_text(
        "#!/bin/sh\necho '::set-output name=x::y' >&2\necho '##[error]no' >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    slow.tlc("--yes", "pull-repos", "-f", "web")
    env = {"GITHUB_ACTIONS": "true", "GIT_SSH_COMMAND": str(hook)}
    text = REPOSITORIES.replace('["web"', '[{ name = "no", url = "git@example.com:no.git" }, "web"')
    slow.config(text)
    run = slow.tlc("--yes", "pull-repos", "-f", "web", "-f", "no", env=env)
    lines = run.err.splitlines()
    assert (lines.count("::group::repositories"), lines.count("::endgroup::")) == (1, 1)
    [error] = [line for line in lines if line.startswith("::error::")]
    assert error.startswith("::error::oca/no@17.0: ")
    orders = [line for line in lines if line.startswith(("::", "##["))]
    assert len(orders) == 3
    assert "##[" not in run.err
    assert run.out == ""


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "POSIX"}])
def test_a_locale_without_more_than_ascii_gets_ascii(
    sandbox: Sandbox, locale: dict[str, str]
) -> None:
    run = sandbox.tlc("init", "--yes", env=locale)
    assert (run.out + run.err).isascii()
    assert "|-- config.toml" in run.out and "`-- trobz/" in run.out
    sandbox.config(REPOSITORIES)
    run = sandbox.tlc("status", env=locale)
    assert "-> " in run.err and (run.out + run.err).isascii()


# --- pieces


def test_a_tree_shows_each_directory_once_with_its_remarks_in_a_column() -> None:
    entries = {
        "config.toml": "the config",
        "a/b/": "one",
        "a/c/d/": "",
        "e f/": "two",
        "a/b/g/": "three",
    }
    assert tlc.render_tree("~/code", entries).splitlines() == [
        "~/code/",
        "├── config.toml  the config",
        "├── a/",
        "│   ├── b/       one",
        "│   │   └── g/   three",
        "│   └── c/",
        "│       └── d/",
        "└── e f/         two",
    ]


def test_an_empty_tree_is_its_root() -> None:
    assert tlc.render_tree("/x", {}) == "/x/"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "the file"),
        (("jobs",), "jobs"),
        (("repos", "oca", 2), "repos.oca[2]"),
        (("repos", "oca", 0, 1, 10), "repos.oca[0][1][10]"),
        (("venvs", "python", "18.0"), 'venvs.python."18.0"'),
        (("a-b", "c_d", "0"), "a-b.c_d.0"),
        (("a b",), '"a b"'),
        (("",), '""'),
        (('q"q',), r'"q\"q"'),
        (("a\nb",), r'"a\nb"'),
        (("\x1b[31m",), r'"\u001b[31m"'),
    ],
)
def test_a_field_is_named_as_people_write_it(path: tuple[str | int, ...], name: str) -> None:
    assert tlc.field_name(path) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("été\n", '"été\\n"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        (1, "1"),
        (True, "true"),
        (tlc.TomlFloat("16.10"), "16.10"),
        ([], "[]"),
        (["a", 1, [False]], '["a", 1, [false]]'),
        ([tlc.TomlFloat("16.10")], "[16.10]"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        ([datetime.time(7, 32)], "[07:32:00]"),
        ({}, "{}"),
    ],
)
def test_a_value_is_shown_as_a_person_would_write_it(value: object, text: str) -> None:
    assert tlc.toml_text(value) == text


def test_a_table_is_shown_as_toml() -> None:
    table = {"name": "web", "branches": ["17.0"], "a b": 1}
    assert tomllib.loads(f"x = {tlc.toml_text(table)}") == {"x": table}


@pytest.mark.parametrize(
    "value", ["x" * 500, ["abc"] * 100, {f"key{number}": number for number in range(100)}]
)
def test_a_long_value_is_shortened(value: object) -> None:
    assert len(tlc.toml_text(value)) == 60
    assert tlc.toml_text(value).endswith("...")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("pull-repo", "pull-repos"),
        ("ini", "init"),
        ("generate", "generate-config"),
        ("init", "init"),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_the_nearest_word_is_found_where_one_is_near(word: str, near: str) -> None:
    assert tlc.nearest(word, ["generate-config", "init", "pull-repos"]) == near
    assert tlc.nearest(word, iter([])) == ""


@pytest.mark.parametrize(
    ("home", "path", "shown"),
    [
        ("/home/me", "/home/me", "~"),
        ("/home/me", "/home/me/code/x", "~/code/x"),
        ("/home/me/", "/home/me/code", "~/code"),
        ("/home/me", "/home/me2/code", "/home/me2/code"),
        ("/home/me", "/srv/home/me", "/srv/home/me"),
        ("/", "/code", "/code"),
    ],
)
def test_the_home_directory_is_shown_as_a_tilde(
    monkeypatch: pytest.MonkeyPatch, home: str, path: str, shown: str
) -> None:
    monkeypatch.setenv("HOME", home)
    assert tlc.tilde(path) == shown
