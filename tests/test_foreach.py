"""Stories of foreach: a program in every checkout, at once, and its output in the config's order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from checkouts import CONFIG, WEB, CheckoutOwner
from conftest import Sandbox, interrupt
from results import result_of, statuses
from workstation import script

in_both_layouts = pytest.mark.parametrize("me", ["clones", "worktrees"], indirect=True)


@pytest.fixture
def me(sandbox: Sandbox, request: pytest.FixtureRequest) -> CheckoutOwner:
    """Where the layout plays no part, worktrees, whose .git is a file."""
    layout = getattr(request, "param", "worktrees")
    return CheckoutOwner(sandbox, f'{CONFIG}[git]\nlayout = "{layout}"\n')


ALL = ["odoo/odoo@17.0", WEB, "oca/web@18.0"]


@in_both_layouts
def test_a_program_of_the_persons_runs_in_each(me: CheckoutOwner) -> None:
    run = me.tlc("foreach", "-f", "oca", "--", "git", "log", "-1", "--format=%H")
    tips = [me.upstream.tip("OCA/web", version) for version in ("17.0", "18.0")]
    assert run.code == 0, run.err
    assert run.out.split() == [WEB, tips[0], "oca/web@18.0", tips[1]]
    assert run.err.startswith("ok 2")


def test_what_it_is_told(me: CheckoutOwner) -> None:
    told = 'echo "$TLC_ORGANISATION $TLC_REPOSITORY $TLC_BRANCH $TLC_PATH"; pwd -P; cat; echo "$@"'
    run = me.tlc("foreach", "sh", "-c", told, "--json", "-f", "a b*", "$HOME", input="nothing\n")
    assert run.code == 0, run.err
    path = me.root / "oca/17.0/web"
    expected = f"{WEB}\noca web 17.0 {path}\n{path}\n-f a b* $HOME\n"
    assert expected in run.out
    assert "nothing" not in run.out


def test_all_that_follows_its_own_options_is_the_programs(me: CheckoutOwner) -> None:
    for words in (["-j2", "-q"], ["-j", "2", "--quiet", "--"], ["-f", "web", "-f", "odoo/"]):
        run = me.tlc("foreach", *words, "echo", "-f", "--json", "--", "-n", "--help")
        assert run.code == 0, run.err
        assert run.out.count("-f --json -- -n --help\n") == (
            0 if "-q" in "".join(words) or "--quiet" in words else 3
        )
    assert me.tlc("foreach", "--bogus", "echo").code == 2
    assert "needs a program" in me.tlc("foreach", "-f", "web").err


def test_the_order_is_the_configs_and_each_output_whole(me: CheckoutOwner) -> None:
    slow = 'case $TLC_ORGANISATION in odoo) sleep 1 ;; esac; seq 3; echo "$TLC_BRANCH" >&2; seq 3'
    run = me.tlc("foreach", "-j4", "sh", "-c", slow)
    lines = [str(number) for number in (1, 2, 3, 1, 2, 3)]
    versions = [name.partition("@")[2] for name in ALL]
    expected = [[name, *lines, version] for name, version in zip(ALL, versions, strict=True)]
    assert run.out.split() == [word for each in expected for word in each]


def test_as_many_at_once_as_jobs_says(me: CheckoutOwner) -> None:
    """Each waits until three are at work, which one after the other never are."""
    meet = f'echo >>{me.home}/here; n=0; until [ "$(wc -l <{me.home}/here)" -ge 3 ]; do n=$((n+1));'
    meet += " [ $n -lt 40 ] || exit 1; sleep 0.1; done"
    assert me.tlc("foreach", "-j3", "sh", "-c", meet).code == 0
    (me.home / "here").unlink()
    assert me.tlc("foreach", "-j1", "sh", "-c", meet.replace("40", "3")).code == 1


def test_one_that_fails_is_named_and_stops_no_other(me: CheckoutOwner) -> None:
    fails = 'echo "at $TLC_BRANCH"; [ "$TLC_REPOSITORY@$TLC_BRANCH" != web@17.0 ] || exit 3'
    run = me.tlc("foreach", "sh", "-c", fails)
    assert (run.code, run.out.count("at 1")) == (1, 3)
    assert f"failed   {WEB}: exit code 3" in run.err
    assert "ok 2 · failed 1" in run.err
    quiet = me.tlc("-q", "foreach", "sh", "-c", fails)
    assert (quiet.code, quiet.out) == (1, f"{WEB}\nat 17.0\n")


def test_what_is_no_program(me: CheckoutOwner) -> None:
    run = me.tlc("foreach", "no-such-program")
    assert run.code == 1
    assert "no-such-program is not installed" in run.err
    relative = me.tlc("foreach", "./module/models.py")
    assert (relative.code, "Permission denied" in relative.err) == (1, True)
    script(me.web / "here.sh", "#!/bin/sh\necho found\n")
    assert me.tlc("foreach", "-f", WEB, "./here.sh").out == f"{WEB}\nfound\n"


def test_as_a_document(me: CheckoutOwner) -> None:
    run = me.tlc("--json", "foreach", "sh", "-c", 'echo "on $TLC_BRANCH"; [ $TLC_BRANCH = 17.0 ]')
    assert run.code == 1
    assert statuses(run) == dict(zip(ALL, ["ok", "ok", "failed"], strict=True))
    assert result_of(run, "oca/web@18.0")["detail"] == "on 18.0\n"
    document = run.json()
    assert (document["ok"], document["changed"], document["command"]) == (False, False, "foreach")


def test_output_that_is_no_text(me: CheckoutOwner) -> None:
    """A name in an old encoding comes out as it went in; the document has a sign for it."""
    words = ["sh", "-c", r"printf 'caf\351\n'"]
    command = [sys.executable, str(me.sandbox.archive), "foreach", "-f", WEB, *words]
    done = subprocess.run(command, env=me.env, capture_output=True)
    assert (done.returncode, done.stdout) == (0, WEB.encode() + b"\ncaf\xe9\n")
    document = me.tlc("--json", "foreach", "-f", WEB, *words)
    assert json.loads(document.out)["results"][0]["detail"] == "caf�\n"


def test_a_dry_run_shows_what_would_run(me: CheckoutOwner) -> None:
    run = me.tlc("--dry-run", "foreach", "touch", "a b")
    assert run.code == 0
    assert "/touch 'a b' (3)" in run.out
    assert f"{WEB}: ~/code/oca/17.0/web" in run.out
    assert not (me.web / "a b").exists()
    assert me.tlc("--dry-run", "--json", "foreach", "true").json()["changed"] is False


@in_both_layouts
def test_what_is_not_cloned_is_skipped(me: CheckoutOwner) -> None:
    os.rename(me.web, me.home / "elsewhere")
    run = me.tlc("foreach", "-f", "oca", "echo", "here")
    assert (run.code, run.out) == (0, "oca/web@18.0\nhere\n")
    assert f"skipped  {WEB}: not there" in run.err
    assert f"pull-repos -f {WEB}" in run.err


def test_offline_and_with_a_checkout_that_is_broken(me: CheckoutOwner) -> None:
    """Nothing is asked of a remote, and what the program cannot do there it says itself."""
    os.rename(me.upstream.directory, me.home / "away")
    git = me.git("rev-parse", "--path-format=absolute", "--git-dir")
    os.truncate(f"{git}/HEAD", 0)
    run = me.tlc("foreach", "git", "rev-parse", "--abbrev-ref", "HEAD")
    assert run.code == 1
    assert f"failed   {WEB}: exit code 128" in run.err
    assert "oca/web@18.0\n18.0\n" in run.out and "not a git repository" in run.out
    assert statuses(me.tlc("--json", "foreach", "true")) == dict.fromkeys(ALL, "ok")


def test_it_asks_nothing_and_waits_for_no_other_run(me: CheckoutOwner) -> None:
    import fcntl

    fd = os.open(me.root, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert me.tlc("foreach", "true", timeout=60).code == 0
    os.close(fd)


def test_colours_are_kept_on_a_terminal(me: CheckoutOwner) -> None:
    """A program takes its output for a terminal, starts no pager, and a pipe inside it has no colours."""
    me.git("config", "--global", "color.ui", "auto")
    words = ["foreach", "-f", WEB, "git", "log", "-1", "--format=%C(red)%h%n%C(auto)%d"]
    with me.terminal(*words) as terminal:
        terminal.wait_for("ok 1")
        assert b"\x1b[31m" in terminal.raw
    assert "\x1b" not in me.tlc(*words).out
    with me.terminal("--color", "never", *words) as terminal:
        terminal.wait_for("ok 1")
        assert b"\x1b[31m" not in terminal.raw


@pytest.mark.parametrize("number", [1, 3])
def test_interrupted(me: CheckoutOwner, number: int) -> None:
    """What runs is ended, with all that it has started; what has ended is shown."""
    pids = me.home / "pids"
    wait = f'echo "here $TLC_PATH"; [ $TLC_ORGANISATION = odoo ] || {{ sleep 60 & echo $! >>{pids}; wait; }}'
    run = me.start("foreach", f"-j{number}", "sh", "-c", wait)
    deadline = time.monotonic() + 60
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    err = interrupt(run)
    assert "interrupted" in err
    assert ("not started" in err) == (number == 1)
    for pid in pids.read_text().split():
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
        assert state.stdout.strip()[:1] in ("", "Z")
