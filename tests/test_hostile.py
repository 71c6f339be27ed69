"""What strangers could try: escapes in what programs print, odd names, planted links; and secrets that are told.

docs/security.md lists the threats, and the tests of other sections that hold the rest.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import Sandbox
from postgres_server import PostgresServer, forget_role
from processes import watched
from results import result_of
from upstream import Upstream
from workstation import Workstation, script

# Colours, a title, what a click would open, another screen, a bell, backspaces, and C1's own beginning of all that.
STEERING = "\x1b[31mred\x1b]0;title\x07\x1b]8;;http://x/\x1b\\link\x1b[?1049h\x07\b\x08\x9b2J\x7f"
# Newlines are tlc's own.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def github(sandbox: Sandbox) -> Upstream:
    found = Upstream(sandbox.home / "github", sandbox)
    found.create("OCA/web", "18.0")
    sandbox.config('versions = ["18.0"]\n[repos]\noca = ["web"]\n')
    return found


def told(sandbox: Sandbox, *words: str, code: int | None = None) -> str:
    """Run tlc in words and as JSON; return all that it told and logged, which steers no terminal."""
    said = ""
    for options in ([], ["--json"], ["--verbose"]):
        run = sandbox.tlc("--yes", *options, *words)
        assert code is None or run.code == code, run.out + run.err
        if options == ["--json"]:
            said += "".join(str(each) for each in run.json()["results"])
        else:
            said += run.out
        said += run.err
    logs = "".join(path.read_text() for path in sandbox.state.rglob("*.log"))
    for line in (said + logs).split("\n"):
        assert not CONTROL.search(line), ascii(line)
    return said + logs


# --- what children print


def test_a_hook_of_git_cannot_steer_the_terminal(sandbox: Sandbox, github: Upstream) -> None:
    hooks = sandbox.home / "hooks"
    script(hooks / "post-checkout", f"#!/bin/sh\nprintf '%s' '{STEERING}hooked' >&2\nexit 1\n")
    github.git("config", "--global", "core.hooksPath", str(hooks))
    assert "hooked" in told(sandbox, "pull-repos")


@pytest.mark.parametrize("ending", ["", "\n", "\r", "\r\n"])
def test_a_host_cannot_steer_the_terminal(sandbox: Sandbox, github: Upstream, ending: str) -> None:
    """Whatever comes before the protocol, and instead of it, is shown as git shows it: from the other side."""
    ssh = f"#!/bin/sh\nprintf '%s' 'no {STEERING}entry{ending}' >&2\nexit 255\n"
    sandbox.env["GIT_SSH_COMMAND"] = str(script(sandbox.home / "bin/ssh", ssh))
    github.git("config", "--global", "--unset-all", f"url.file://{github.directory}/.insteadOf")
    assert "entry" in told(sandbox, "pull-repos", code=1)


def test_a_program_cannot_steer_the_terminal(sandbox: Sandbox, github: Upstream) -> None:
    """Each program that doctor asks for its version answers with more than that; scripts play them."""
    programs = ("git", "uv", "psql", "pg_isready", "npm", "gh", "cc", "wkhtmltopdf", "ssh-keygen")
    for name in programs:
        script(
            sandbox.home / "bin" / name, f"#!/bin/sh\nprintf '%s' '{STEERING}{name} 9'; exit 3\n"
        )
    sandbox.env["PATH"] = f"{sandbox.home}/bin:{sandbox.env['PATH']}"
    told(sandbox, "doctor", "--offline")
    told(sandbox, "up", "--dry-run")


# --- names

NAMES = ["\x1b[31mred.py", "a\nb.py", "\x07bell", "back\b\b\b", "\u202egnp.py", "-rf", "$(touch x)"]


def test_names_of_files_cannot_steer_the_terminal(sandbox: Sandbox, github: Upstream) -> None:
    github.commit("OCA/web", "18.0", dict.fromkeys(NAMES, "theirs\n"))
    assert sandbox.tlc("--yes", "pull-repos").code == 0
    web = sandbox.root / "oca/18.0/web"
    for name in NAMES:
        (web / name).write_text("mine\n")
    github.commit("OCA/web", "18.0", {"more": "theirs\n", "new\x1b[31m": "theirs\n"})
    (web / "new\x1b[31m").write_text("mine, and in the way\n")
    assert "kept" in told(sandbox, "pull-repos")
    told(sandbox, "status")
    run = sandbox.tlc("--yes", "--json", "pull-repos", "--force")
    [backup] = [result_of(run, "oca/web@18.0", "repository")["fix"]]
    assert not CONTROL.search(run.err.replace("\n", "")), ascii(run.err)
    done = subprocess.run(
        ["bash", "-c", backup], env=sandbox.env, cwd=sandbox.home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {(web / name).read_text() for name in NAMES} == {"mine\n"}
    assert not (sandbox.home / "x").exists() and not (web / "x").exists()


def test_a_code_root_of_an_odd_name(sandbox: Sandbox, github: Upstream) -> None:
    """Each line that is printed to be pasted means that very directory."""
    odd = sandbox.home / "-a 'b' $(touch x) \x1b[31m;c"
    sandbox.root.rename(odd)
    sandbox.env["TLC_CODE_DIR"] = str(odd)
    told(sandbox, "pull-repos", code=0)
    assert (odd / "oca/18.0/web/README.md").exists()
    assert not (sandbox.home / "x").exists()


# --- links


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_links_that_a_repository_brings_lead_no_write_out(
    sandbox: Sandbox, github: Upstream, tmp_path: Path
) -> None:
    """Upstream turns a link into a directory of that name, and back; tlc writes and backs up on this side alone."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not theirs\n")
    before = everything(outside)
    work = github.work("OCA/web", "18.0")
    for number in range(3):
        link = work / "link"
        if number % 2:
            link.unlink()
            github.commit("OCA/web", "18.0", {"link/file": "theirs\n"})
        else:
            if link.is_dir() and not link.is_symlink():
                (link / "file").unlink()
                link.rmdir()
            link.symlink_to(outside)
            github.commit("OCA/web", "18.0", {})
        run = sandbox.tlc("--yes", "--json", "pull-repos", *(["--force"] if number else []))
        assert run.code == 0, run.err
        assert everything(outside) == before
        web = sandbox.root / "oca/18.0/web"
        assert (web / "link").is_symlink() == (number % 2 == 0)
        (web / "README.md").write_text(f"work {number}\n")


# --- secrets

WORD = "hunter2"
SECRETS = {
    "https_proxy": f"http://me:proxy-{WORD}@127.0.0.1:9",
    "HTTPS_PROXY": f"http://me:proxy-{WORD}@127.0.0.1:9",
    "UV_INDEX_URL": f"https://me:index-{WORD}@127.0.0.1:9/simple",
    "PIP_INDEX_URL": f"https://me:index-{WORD}@127.0.0.1:9/simple",
    "GH_TOKEN": f"gh-{WORD}",
    "GITHUB_TOKEN": f"gh-{WORD}",
}


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="only Linux has /proc")
def test_a_full_run_tells_no_secret(
    sandbox: Sandbox, request: pytest.FixtureRequest, server: PostgresServer
) -> None:
    """Proxies, indexes, tokens, the role's password, and a token in git's own insteadOf, which then fails."""
    forget_role(server)
    machine = Workstation(sandbox, request.getfixturevalue("tools"), server)
    text = machine.good.replace('oca = ["web"]', 'oca = ["web", "queue"]')
    machine.config.write_text(f'{text}password = "role-{WORD}"\n')
    machine.upstream.git(
        *("config", "--global", f"url.https://me:git-{WORD}@127.0.0.1:9/.insteadOf"),
        "git@github.com:OCA/queue",
    )
    with watched() as seen:
        runs = [
            machine.tlc("--yes", *words.split(), env=SECRETS)
            for words in ("-v up", "--json up", "--json doctor", "status", "-v pull-repos --force")
        ]
    told = "".join(run.out + run.err for run in runs)
    assert "oca/queue@18.0" in told and "role odoo" in told
    assert WORD not in told
    assert any(b"ensure-db-user" in line or b"psql" in line for line in seen)
    # git itself hands an address to its helper so, whoever calls it.
    ours = {line for line in seen if not re.search(rb"git-core/git.remote-http", line)}
    assert [line for line in ours if WORD.encode() in line] == []
    # Whose very purpose it is to hold it, and closed to others.
    mine = {machine.config, machine.root / "conf/odoo-18.0.conf", machine.home / ".gitconfig"}
    assert (machine.root / "conf/odoo-18.0.conf").stat().st_mode & 0o077 == 0
    for path in machine.home.rglob("*"):
        if path.is_file() and not path.is_symlink() and path not in mine:
            assert WORD.encode() not in path.read_bytes(), path
