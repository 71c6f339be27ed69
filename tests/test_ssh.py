"""Stories of repositories that are reached over ssh: connections shared and not, and every way in which they fail."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Run, Sandbox, interrupt, soon
from ports import free_port
from relay import Relay
from results import statuses
from ssh_server import USER, SshAccess, SshServer, make_key, missing
from terminal import Terminal
from upstream import Upstream


@dataclass(frozen=True)
class GitHub:
    """OCA's repositories behind a real sshd, and the person who may fetch them."""

    sandbox: Sandbox
    upstream: Upstream
    server: SshServer
    person: SshAccess

    def repositories(self, count: int) -> list[str]:
        """Have `count` repositories alike, in the config too; return their items' names."""
        names = [f"repo{number}" for number in range(count)]
        self.upstream.create("OCA/repo0", "17.0")
        for name in names[1:]:
            shutil.copytree(
                self.upstream.directory / "OCA/repo0.git",
                self.upstream.directory / f"OCA/{name}.git",
            )
        quoted = ", ".join(f'"{name}"' for name in names)
        self.sandbox.config(f'versions = ["17.0"]\n[repos]\noca = [{quoted}]\n')
        return [f"oca/{name}@17.0" for name in names]

    def big_repository(self, text: str = "") -> str:
        """Have one repository with 6 MB of noise, or of `text`; return its item's name."""
        [name] = self.repositories(1)
        noise = random.Random(1)
        files = {f"big/{n}.txt": text or noise.randbytes(30_000).hex() for n in range(100)}
        self.upstream.commit("OCA/repo0", "17.0", files)
        return name

    def pull(self, *options: str) -> Run:
        return self.sandbox.tlc("--yes", "--json", "pull-repos", *options)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start pull-repos and wait until its first command runs on the server."""
        self.server.forget()
        process = self.sandbox.start("--yes", "pull-repos", *options)
        soon(lambda: self.server.visits().sessions > 0)
        return process

    def terminal(self, *options: str) -> Terminal:
        """pull-repos on a terminal of its own."""
        command: list[str | Path] = [
            sys.executable,
            self.sandbox.archive,
            "--yes",
            "pull-repos",
            *options,
        ]
        return Terminal(command, self.sandbox.env, cwd=self.sandbox.home)

    def checkout(self, number: int) -> Path:
        return self.sandbox.root / f"oca/17.0/repo{number}"

    def control(self) -> list[str]:
        """The options about sharing that tlc gave to any ssh."""
        return [word for call in self.person.calls() for word in call.split() if "Control" in word]

    def sockets(self) -> set[Path]:
        """The private directories in which tlc kept its sockets."""
        paths = [word.partition("=")[2] for word in self.control() if "ControlPath=/" in word]
        return {Path(*Path(path).parts[:3]) for path in paths}

    def nothing_left(self) -> bool:
        """Whether no connection is open and no socket's directory is there, both to become so soon."""
        return not self.server.live() and not any(path.exists() for path in self.sockets())


def paste(github: GitHub, fix: str) -> None:
    """Run a fix that was printed, as it stands, and answer yes to what tlc asks."""
    env = {**github.sandbox.env, "NEWCOMER_MODE": "false"}
    done = subprocess.run(["sh", "-c", fix], env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{fix}\n{done.stdout}{done.stderr}"


@pytest.fixture
def github(sandbox: Sandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GitHub]:
    """A GitHub of our own; `indirect` parameters are SshServer's options."""
    if reason := missing():
        pytest.skip(reason)
    upstream = Upstream(tmp_path / "github", sandbox, ["https://github.com/"])
    with SshServer(
        tmp_path / "sshd", upstream.directory, **getattr(request, "param", {})
    ) as server:
        github = GitHub(sandbox, upstream, server, SshAccess(sandbox.home, sandbox.env, server))
        yield github
    for directory in github.sockets():  # a test that failed, or killed tlc, may leave some
        shutil.rmtree(directory, ignore_errors=True)


# --- one connection for all


def test_many_repositories_share_one_connection_and_nothing_of_it_stays(github: GitHub) -> None:
    names = github.repositories(12)
    for status in ("changed", "ok"):
        github.server.forget()
        run = github.pull("-j4")
        assert statuses(run) == dict.fromkeys(names, status), run.err
        visits = github.server.visits()
        assert visits.sessions >= 12
        assert visits.authentications == visits.connections == 2  # 12 are asked at once, 8 on each
        soon(github.nothing_left)
    assert github.sockets()
    assert not any("tlc" in line for line in run.err.splitlines() if "ssh" in line)


def test_the_versions_of_a_repository_are_worktrees_that_come_in_one_fetch(github: GitHub) -> None:
    github.repositories(3)
    for number in range(3):
        github.upstream.commit(f"OCA/repo{number}", "18.0", {"README.md": "18.0\n"})
    config = github.sandbox.root / "config.toml"
    config.write_text(
        config.read_text().replace('["17.0"]', '["17.0", "18.0"]\n[git]\nlayout = "worktrees"', 1)
    )
    names = [f"oca/repo{number}@{version}" for number in range(3) for version in ("17.0", "18.0")]
    for status, most in (("changed", 2), ("ok", 1)):  # a look at upstream, and a fetch
        github.server.forget()
        run = github.pull()
        assert statuses(run) == dict.fromkeys(names, status), run.out
        visits = github.server.visits()
        assert visits.authentications == 1
        assert 3 <= visits.sessions <= 3 * most
    soon(github.nothing_left)


@pytest.mark.parametrize("options", [["--dry-run"], []], ids=["planned", "not agreed to"])
def test_nothing_connects_for_what_is_not_done(github: GitHub, options: list[str]) -> None:
    github.repositories(3)
    github.sandbox.tlc("pull-repos", *options)
    soon(github.nothing_left)
    assert github.server.visits().sessions == 0
    if options:
        assert github.server.visits().connections == 0


def test_more_workers_than_one_connection_carries_are_spread(github: GitHub) -> None:
    names = github.repositories(20)
    assert statuses(github.pull("-j16")) == dict.fromkeys(names, "changed")
    assert github.server.visits().authentications <= 3  # 20 ask at once, 8 on a connection
    soon(github.nothing_left)


def test_the_sockets_are_private_and_their_paths_short(github: GitHub) -> None:
    github.repositories(6)
    with Relay(github.server.port, delay=100) as relay:
        github.person.configure(relay.port)
        process = github.start()
        [directory] = github.sockets()
        assert directory.stat().st_mode & 0o777 == 0o700
        # sun_path holds 104 bytes on macOS, and ssh adds a random ending of 17 while it binds
        assert max(len(str(path)) for path in directory.rglob("*")) + 17 < 104
        process.communicate(timeout=60)
        assert process.returncode == 0
    soon(github.nothing_left)


def test_interrupted_it_closes_the_shared_connection(github: GitHub) -> None:
    names = github.repositories(12)
    with Relay(github.server.port, delay=200) as relay:
        github.person.configure(relay.port)
        process = github.start("-j4")
        interrupt(process)
        assert github.sockets()
        soon(github.nothing_left)
        relay.set(delay=0)
        assert set(statuses(github.pull())) == set(names)


def test_interrupted_while_it_connects_it_leaves_nothing(github: GitHub) -> None:
    github.repositories(4)
    with Relay(github.server.port, delay=4000) as relay:
        github.person.configure(relay.port)
        process = github.sandbox.start("--yes", "pull-repos")
        soon(lambda: relay.counts.connections)
        interrupt(process)
    assert github.sockets()
    soon(github.nothing_left)


def test_killed_it_leaves_a_connection_that_ends_by_itself(github: GitHub) -> None:
    names = github.repositories(12)
    with Relay(github.server.port, delay=200) as relay:
        github.person.configure(relay.port)
        process = github.start("-j4")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        # That it does so is ssh's affair (ssh_config(5), ControlPersist): here only that it is told to.
        [persist] = {
            word.partition("=")[2] for word in github.control() if "ControlPersist" in word
        }
        assert 1 <= int(persist) <= 90
        relay.set(delay=0)
        run = github.pull()
        assert set(statuses(run)) == set(names) and run.code == 0, run.err


@pytest.mark.parametrize("github", [{"max_sessions": 2}], indirect=True)
def test_a_server_that_allows_few_sessions_costs_no_failure_and_no_noise(github: GitHub) -> None:
    names = github.repositories(12)
    run = github.sandbox.tlc("--yes", "--quiet", "pull-repos", "-j8")
    assert run.code == 0, run.err
    assert re.fullmatch(rf"changed {len(names)}  in .* s\nnext .*\n", run.err)
    assert github.server.visits().authentications > 1  # it was too few, then
    soon(github.nothing_left)


# --- never where the person has arranged ssh themselves


@pytest.fixture
def own_ssh(github: GitHub) -> Path:
    """An ssh of the person's own choice: the usual one, but each use is noted in a file beside it."""
    path = github.sandbox.home / "own" / "ssh"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho "$*" >>{path}.used\nexec {github.person.ssh} "$@"\n')
    path.chmod(0o755)
    return path


def uses(own_ssh: Path) -> list[str]:
    """The fetches that went through it."""
    used = own_ssh.with_name("ssh.used")
    return (
        [line for line in used.read_text().splitlines() if "upload-pack" in line]
        if used.exists()
        else []
    )


@pytest.mark.parametrize("variable", ["GIT_SSH", "GIT_SSH_COMMAND"])
def test_an_ssh_from_the_environment_is_used_as_it_is(
    github: GitHub, own_ssh: Path, variable: str
) -> None:
    names = github.repositories(3)
    github.sandbox.env[variable] = str(own_ssh)
    assert statuses(github.pull()) == dict.fromkeys(names, "changed")
    # a question and a clone for each
    assert len(uses(own_ssh)) == github.server.visits().authentications == 6
    assert not github.control()


def test_an_ssh_from_gits_configuration_is_used_as_it_is(github: GitHub, own_ssh: Path) -> None:
    names = github.repositories(3)
    github.upstream.git("config", "--global", "core.sshCommand", str(own_ssh))
    for status in ("changed", "ok"):
        assert statuses(github.pull()) == dict.fromkeys(names, status)
    assert len(uses(own_ssh)) == github.server.visits().authentications >= 6
    assert not github.control()


def test_an_ssh_for_one_checkout_is_used_for_that_one_alone(github: GitHub, own_ssh: Path) -> None:
    names = github.repositories(4)
    assert github.pull().code == 0
    github.upstream.git("config", "core.sshCommand", str(own_ssh), cwd=github.checkout(1))
    github.upstream.commit("OCA/repo1", "17.0", {"module/models.py": "moved\n"})
    github.server.forget()
    assert statuses(github.pull()) == {
        name: "changed" if "repo1@" in name else "ok" for name in names
    }
    assert uses(own_ssh) and all(
        "repo1.git" in use and "Control" not in use for use in uses(own_ssh)
    )
    assert github.server.visits().authentications == len(uses(own_ssh)) + 1


@pytest.mark.parametrize(
    "path", ["{home}/included", "included"], ids=["absolute", "relative to the file"]
)
def test_an_ssh_for_a_directory_is_used_there_for_clones_too(
    github: GitHub, own_ssh: Path, path: str
) -> None:
    names = github.repositories(3)
    home = github.sandbox.home
    github.upstream.git("config", "--file", str(home / "included"), "core.sshCommand", str(own_ssh))
    condition = f"includeIf.gitdir:{github.sandbox.root}/oca/.path"
    github.upstream.git("config", "--global", condition, path.format(home=home))
    for status in ("changed", "ok"):
        run = github.sandbox.tlc("--yes", "--json", "pull-repos", cwd=github.sandbox.root)
        assert statuses(run) == dict.fromkeys(names, status)
    assert len(uses(own_ssh)) >= 6
    assert not any("Control" in use for use in uses(own_ssh))


@pytest.mark.parametrize("master", ["auto", "no"])
def test_the_persons_own_shared_connection_is_left_to_them(
    github: GitHub, master: str, tmp_path: Path
) -> None:
    names = github.repositories(3)
    # A socket's path may be no longer than about 100 bytes.
    path = Path("/tmp") / f"own-{os.getpid()}-{os.urandom(4).hex()}"
    github.person.configure(
        github.server.port, f"ControlMaster {master}", f"ControlPath {path}", "ControlPersist 30"
    )
    try:
        run = github.pull("-j1")
        assert statuses(run) == dict.fromkeys(names, "changed"), run.err
        assert not github.control()
        assert github.server.visits().authentications == (1 if master == "auto" else 6)
        if master == "no":
            soon(lambda: not github.server.live())
        assert path.exists() == bool(github.server.live()) == (master == "auto")  # theirs stays
    finally:
        subprocess.run(
            ["ssh", "-O", "exit", "github.com"], env=github.sandbox.env, capture_output=True
        )


# --- what fails, why, and what mends it


def no_key(github: GitHub) -> None:
    github.server.admit("")


def no_key_and_ssh_silenced(github: GitHub) -> None:
    """As people do it against a host's banner."""
    github.person.configure(github.server.port, "LogLevel QUIET")
    no_key(github)


def unknown_host(github: GitHub) -> None:
    github.person.know()


def unknown_mirror(github: GitHub, *lines: str) -> None:
    """Have git lead to another host, whose key nobody knows, though github.com's is known."""
    host = ["Host mirror.test", "HostName 127.0.0.1", "HostKeyAlias mirror.test"]
    port = github.server.port
    github.person.configure(port, *lines, *host, f"Port {port}")
    rule = f"url.ssh://{USER}@mirror.test/OCA/.insteadOf"
    github.upstream.git("config", "--global", rule, "git@github.com:OCA/")


def strict_about_a_mirror(github: GitHub) -> None:
    unknown_mirror(github, "StrictHostKeyChecking yes")


def changed_host(github: GitHub, *lines: str) -> None:
    github.person.know(make_key(github.sandbox.home / "other"))
    github.person.configure(github.server.port, *lines)


def trusting_but_changed_host(github: GitHub) -> None:
    changed_host(github, "StrictHostKeyChecking accept-new")


def open_key(github: GitHub) -> None:
    github.person.key.chmod(0o644)


def no_such_repository(github: GitHub) -> None:
    shutil.rmtree(github.upstream.directory / "OCA/repo0.git")


def port_closed(github: GitHub) -> None:
    github.person.configure(free_port())


def no_such_name(github: GitHub) -> None:
    github.sandbox.env["RES_OPTIONS"] = "timeout:1 attempts:1"  # where the resolver answers nobody
    url = "git@github.invalid:OCA/repo0.git"
    github.sandbox.config(
        f'versions = ["17.0"]\n[repos]\noca = [{{ name = "repo0", branches = ["17.0"], url = "{url}" }}]\n'
    )


# What happened; what is said of it; the mend; connections that may be made. A refusal is not tried again: the
# shared connection is refused, and git's own at most.
REFUSALS: list[tuple[Callable[[GitHub], None], str, str, int]] = [
    (no_key, "github.com accepts none of your ssh keys", "ssh-add || gh auth login -p ssh", 2),
    (no_key_and_ssh_silenced, "github.com accepts none of your ssh keys", "ssh-add || gh auth", 2),
    (
        unknown_host,
        "the ssh host key of github.com is not known here",
        "git ls-remote git@github.com:OCA/repo0.git",
        2,
    ),
    (
        unknown_mirror,
        "the ssh host key of mirror.test is not known here",
        "git ls-remote git@github.com:OCA/repo0.git",
        2,
    ),
    (
        strict_about_a_mirror,
        "the ssh host key of mirror.test is not known here",
        "# add it to ~/.ssh/known_hosts",
        2,
    ),
    (
        changed_host,
        "github.com shows another ssh host key than the one known for it",
        "-R github.com   # only once you have made sure that the new key is right",
        2,
    ),
    (
        no_such_repository,
        "no such repository, or you have no access to it",
        "# check its name in config.toml, and whether github.com lets you read it",
        2,
    ),
]
FAILURES: list[tuple[Callable[[GitHub], None], str, str, int]] = [
    (
        port_closed,
        "the connection to github.com failed or was cut",
        "pull-repos -f oca/repo0@17.0",
        0,
    ),
    (no_such_name, "the name github.invalid cannot be resolved", "pull-repos -f oca/repo0@17.0", 0),
]


def fails(github: GitHub, message: str, fix: str, connections: int) -> None:
    """Pull the one repository there is, which must fail just so."""
    github.server.forget()
    run = github.pull()
    [result] = run.json()["results"]
    assert (run.code, result["status"], result["message"]) == (1, "failed", message), run.out
    assert fix in result["fix"]
    assert github.server.visits().connections <= connections
    soon(github.nothing_left)


@pytest.mark.parametrize(("happen", "message", "fix", "connections"), [*REFUSALS, *FAILURES])
def test_each_cause_is_told_in_one_line_with_its_mend(
    github: GitHub, happen: Callable[[GitHub], None], message: str, fix: str, connections: int
) -> None:
    github.repositories(1)
    happen(github)
    fails(github, message, fix, connections)
    assert not github.checkout(0).parent.exists()


@pytest.mark.parametrize(("happen", "message", "fix", "connections"), REFUSALS)
def test_each_cause_is_told_of_an_update_too_and_nothing_is_touched(
    github: GitHub, happen: Callable[[GitHub], None], message: str, fix: str, connections: int
) -> None:
    github.repositories(1)
    assert github.pull().code == 0
    happen(github)
    fails(github, message, fix, connections)
    assert github.upstream.git("status", "--porcelain", cwd=github.checkout(0)) == ""


def fix_of(github: GitHub, happen: Callable[[GitHub], None]) -> tuple[str, str]:
    """Have something happen before a first pull; return the item that fails by it, and its fix."""
    [name] = github.repositories(1)
    happen(github)
    [failed] = github.pull().json()["results"]
    assert failed["status"] == "failed"
    return name, failed["fix"]


@pytest.mark.parametrize("happen", [open_key, trusting_but_changed_host])
def test_what_ssh_refuses_goes_by_the_printed_fix(
    github: GitHub, happen: Callable[[GitHub], None]
) -> None:
    name, fix = fix_of(github, happen)
    paste(github, fix)
    assert statuses(github.pull()) == {name: "changed"}


@pytest.mark.parametrize("happen", [unknown_host, unknown_mirror])
def test_a_host_that_is_not_known_is_confirmed_by_the_printed_fix(
    github: GitHub, happen: Callable[[GitHub], None]
) -> None:
    name, fix = fix_of(github, happen)
    with Terminal(["sh", "-c", fix], github.sandbox.env) as terminal:
        terminal.wait_for("Are you sure you want to continue connecting")
        terminal.send("yes\r")
        assert terminal.wait() == 0, terminal.text
    assert statuses(github.pull()) == {name: "changed"}


def test_a_connection_cut_in_the_middle_of_a_pack_is_tried_again(github: GitHub) -> None:
    name = github.big_repository()
    with Relay(github.server.port, cut_after=1_000_000, cuts=1) as relay:
        github.person.configure(relay.port)
        run = github.pull()
        assert statuses(run) == {name: "changed"}, run.out
        assert relay.counts.cut == 1 and relay.counts.connections >= 2
    assert github.upstream.git("rev-parse", "HEAD", cwd=github.checkout(0)) == github.upstream.tip(
        "OCA/repo0", "17.0"
    )
    soon(github.nothing_left)


def test_a_connection_that_is_always_cut_fails_after_three_tries(github: GitHub) -> None:
    name = github.big_repository()
    with Relay(github.server.port, cut_after=1_000_000) as relay:
        github.person.configure(relay.port)
        run = github.pull()
        [result] = run.json()["results"]
        assert (result["name"], result["status"]) == (name, "failed")
        assert result["message"] == "the connection to github.com failed or was cut", run.out
        assert "pull-repos -f" in result["fix"]
        assert relay.counts.cut == 3, relay.counts
    assert os.listdir(github.checkout(0).parent) == []
    soon(github.nothing_left)


@pytest.mark.parametrize("layout", ["clones", "worktrees"])
def test_a_blobless_checkout_that_is_offline_says_so(github: GitHub, layout: str) -> None:
    [name] = github.repositories(1)
    config = github.sandbox.root / "config.toml"
    git = f'[git]\nlayout = "{layout}"\nfilter = "blob:none"\n'
    github.sandbox.config(config.read_text() + git)
    assert statuses(github.pull()) == {name: "changed"}
    checkout, upstream = github.checkout(0), github.upstream
    before = upstream.git("rev-parse", "HEAD", cwd=checkout)
    tip = upstream.commit("OCA/repo0", "17.0", {"module/models.py": "not here yet\n"})
    upstream.git("fetch", "-q", "origin", cwd=checkout)  # the commit, not what is in it
    lock = github.sandbox.home / "tlc.lock"
    lock.write_text(f'"{name}" = "{tip}"\n')
    github.person.configure(free_port())

    run = github.pull("--lock", str(lock))
    [said] = run.json()["results"]
    assert (run.code, said["status"]) == (1, "failed")
    assert said["message"].startswith("this checkout lacks files, which ")
    assert "github.com" in said["message"]
    assert upstream.git("rev-parse", "HEAD", cwd=checkout) == before
    assert upstream.git("status", "--porcelain", cwd=checkout) == ""
    github.person.configure(github.server.port)
    paste(github, said["fix"])
    assert upstream.git("rev-parse", "HEAD", cwd=checkout) == tip
    assert (checkout / "module/models.py").read_text() == "not here yet\n"
    soon(github.nothing_left)


@pytest.mark.parametrize(("shared", "refused"), [(True, 1), (True, 2), (False, 3)])
def test_a_connection_that_is_refused_sinks_nothing(
    github: GitHub, own_ssh: Path, shared: bool, refused: int
) -> None:
    names = github.repositories(20 if shared else 4)
    if not shared:
        github.sandbox.env["GIT_SSH"] = str(own_ssh)
    with Relay(github.server.port, refuse=[refused]) as relay:
        github.person.configure(relay.port)
        run = github.pull("-j16")
        assert statuses(run) == dict.fromkeys(names, "changed"), run.out
        assert shared or relay.counts.connections == 2 * len(names) + 1
    soon(github.nothing_left)


@pytest.mark.parametrize(
    ("size", "text", "sessions"),
    [("2m", "", 2), ("2m", "x" * 60_000, 2), ("12k", "", 1)],
    ids=["fetching", "checking out", "making the repository"],
)
def test_a_full_disk_is_told_as_such_and_the_next_run_completes(
    github: GitHub, size: str, text: str, sessions: int
) -> None:
    name = github.big_repository(text)
    parent = github.checkout(0).parent
    parent.mkdir(parents=True)
    # In a mount namespace of its own, so that nothing is left mounted however this test ends.
    script = f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(parent))} && "
    namespace = [
        "unshare",
        "--mount",
        *([] if os.getuid() == 0 else ["--map-root-user"]),
        "sh",
        "-c",
    ]
    if subprocess.run([*namespace, script + "true"], capture_output=True).returncode:
        pytest.skip(
            "a small disk needs a mount namespace: Linux, as root or with user namespaces allowed"
        )
    done = subprocess.run(
        [
            *namespace,
            script + 'exec "$@"',
            "sh",
            sys.executable,
            github.sandbox.archive,
            "--yes",
            "pull-repos",
        ],
        env=github.sandbox.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert f"{name}: the disk is full" in done.stderr
    assert f"free some disk space, then run tlc pull-repos -f {name} again" in done.stderr
    assert "Traceback" not in done.stderr
    assert github.server.visits().sessions == sessions, "a full disk is not tried again"
    assert statuses(github.pull()) == {name: "changed"}
    soon(github.nothing_left)


# --- what only a person can answer


def test_without_a_terminal_a_passphrase_is_not_asked_for(github: GitHub) -> None:
    names = github.repositories(3)
    github.person.new_key("secret")
    began = time.monotonic()
    run = github.pull()
    assert time.monotonic() - began < 25
    assert run.code == 1
    assert statuses(run) == dict.fromkeys(names, "failed")
    assert "passphrase for" not in run.err
    for result in run.json()["results"]:
        assert "ssh" in result["message"] and "ssh" in result["fix"], result


def test_on_a_terminal_a_passphrase_is_asked_once_before_the_work(github: GitHub) -> None:
    names = github.repositories(6)
    github.person.new_key("secret")
    with github.terminal("-j4") as terminal:
        terminal.wait_for("Enter passphrase for")
        assert not list(github.sandbox.root.rglob(".git"))
        terminal.send("secret\r")
        assert terminal.wait() == 0, terminal.text
        assert terminal.raw.count(b"Enter passphrase for") == 1
        assert f"changed {len(names)}" in terminal.text
    assert github.server.visits().authentications == 1
    soon(github.nothing_left)


def test_a_passphrase_that_is_not_given_is_not_asked_for_again_for_each_repository(
    github: GitHub,
) -> None:
    github.repositories(6)
    github.person.new_key("secret")
    asked = 0
    with github.terminal() as terminal:
        with contextlib.suppress(AssertionError):  # the program ended without asking again
            for asked in range(20):
                terminal.wait_for("Enter passphrase for", timeout=60, times=asked + 1)
                terminal.send("\r")
        assert terminal.wait() == 1, terminal.text
        assert "failed 6" in terminal.text
        assert "ssh-add || gh auth login" in terminal.text
    assert 1 <= asked <= 2
    soon(github.nothing_left)


def test_on_a_terminal_an_unknown_host_is_confirmed_once(github: GitHub) -> None:
    names = github.repositories(6)
    github.person.know()
    with github.terminal("-j4") as terminal:
        terminal.wait_for("Are you sure you want to continue connecting")
        terminal.send("yes\r")
        assert terminal.wait() == 0, terminal.text
        assert terminal.raw.count(b"Are you sure") == 1
        assert f"changed {len(names)}" in terminal.text
    assert github.server.host_key in github.person.known_hosts.read_text()
    soon(github.nothing_left)


def test_ctrl_c_at_the_passphrase_ends_it(github: GitHub) -> None:
    github.repositories(2)
    github.person.new_key("secret")
    with github.terminal() as terminal:
        terminal.wait_for("Enter passphrase for")
        began = time.monotonic()
        terminal.send("\x03")
        assert terminal.wait() == 130, terminal.text
        assert time.monotonic() - began < 20
    soon(github.nothing_left)


# --- what ssh itself says, and silence


def own_words(github: GitHub, *lines: str) -> dict[str, str]:
    """Pull with an ssh that says this and fails; return the result."""
    path = github.sandbox.home / "saying"
    said = "\n".join(lines)
    path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 255\n")
    path.chmod(0o755)
    github.repositories(1)
    github.sandbox.env["GIT_SSH"] = str(path)
    [result] = github.pull().json()["results"]
    assert result["status"] == "failed"
    return {"message": result["message"], "fix": result["fix"]}


# What ssh and hosts say, as OpenSSH 9.2, GitLab and GitHub have it -> what is said of it, and the fix.
SAID = [
    (
        ["Bad owner or permissions on /home/me/.ssh/config"],
        "ssh rejects /home/me/.ssh/config: others may use it",
        "chmod 600 /home/me/.ssh/config",
    ),
    (
        [
            "Permissions 0644 for '/home/me/.ssh/id_ed25519' are too open.",
            'Load key "/home/me/.ssh/id_ed25519": bad permissions',
            "git@github.com: Permission denied (publickey).",
        ],
        "ssh rejects /home/me/.ssh/id_ed25519: others may use it",
        "chmod 600 /home/me/.ssh/id_ed25519",
    ),
    (
        [
            "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa"
        ],
        "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa",
        "",
    ),
    (
        [
            "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it."
        ],
        "no such repository, or you have no access to it",
        "# check its name",
    ),
    (
        [
            "ERROR: The acme organization has enabled or enforced SAML SSO. To access this repository, you must ..."
        ],
        "The acme organization has enabled or enforced SAML SSO",
        "# authorize your ssh key",
    ),
    (
        ["ERROR: This repository is closed for maintenance."],
        "This repository is closed for maintenance.",
        "",
    ),
    (
        [
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures",
            "Disconnected from 192.0.2.1 port 22",
        ],
        "Too many authentication failures",
        "",
    ),
    (
        [
            "/home/me/.ssh/config: line 3: Bad configuration option: usekeychain",
            "/home/me/.ssh/config: terminating, 1 bad configuration options",
        ],
        "/home/me/.ssh/config: line 3: Bad configuration option: usekeychain",
        "",
    ),
    (
        ["bash: line 1: git-upload-pack: command not found"],
        "bash: line 1: git-upload-pack: command not found",
        "",
    ),
    (
        ["kex_exchange_identification: read: no such luck"],
        "kex_exchange_identification: read: no such luck",
        "",
    ),
]


@pytest.mark.parametrize(("said", "message", "fix"), SAID)
def test_the_reason_is_in_the_words_of_who_knows(
    github: GitHub, said: list[str], message: str, fix: str
) -> None:
    found = own_words(github, *said)
    assert found["message"] == message
    assert found["fix"].startswith(fix)


def test_a_host_that_accepts_and_stays_silent_ends_the_run(github: GitHub, own_ssh: Path) -> None:
    """One repository or two, over a shared connection or by an ssh of one's own; all at once, as each is 30 s."""
    github.repositories(2)
    config = (github.sandbox.root / "config.toml").read_text()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        github.person.configure(silent.getsockname()[1])
        began, runs = time.monotonic(), []
        for count, ssh in itertools.product([1, 2], [{}, {"GIT_SSH": str(own_ssh)}]):
            root = github.sandbox.home / f"{count} {'own' if ssh else 'shared'}"
            root.mkdir()
            (root / "config.toml").write_text(config)
            only = ["-f", "repo0"] if count == 1 else []
            env = {**ssh, "TLC_CODE_DIR": str(root)}
            words = ["--yes", "--json", "pull-repos", *only]
            runs.append((count, github.sandbox.start(*words, env=env)))
        for count, process in runs:
            out, _err = process.communicate(timeout=120)
            said = [each["message"] for each in json.loads(out)["results"]]
            assert said == ["github.com does not answer"] * count
        assert time.monotonic() - began < 90


def test_a_host_that_failed_all_its_tries_is_not_asked_again(github: GitHub) -> None:
    github.repositories(40)
    github.person.configure(free_port())
    github.sandbox.env["GIT_SSH"] = str(github.person.ssh)  # each question opens its own
    began = time.monotonic()
    run = github.pull("-j4")
    assert set(statuses(run).values()) == {"failed"}
    calls = [call for call in github.person.calls() if "upload-pack" in call]
    assert 3 <= len(calls) <= 3 * 16
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("github", [{"max_startups": "10:30:100"}], indirect=True)
def test_a_server_with_its_default_of_startups_is_not_overrun(
    github: GitHub, own_ssh: Path
) -> None:
    names = github.repositories(24)
    github.sandbox.env["GIT_SSH"] = str(own_ssh)
    run = github.pull("-j16")
    assert statuses(run) == dict.fromkeys(names, "changed"), run.err
    assert len(uses(own_ssh)) == 2 * 24  # a question and a clone for each: nothing was tried again
