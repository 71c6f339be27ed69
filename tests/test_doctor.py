"""Stories of doctor: a machine that is well, broken in one way after another, and mended by what doctor says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from checkouts import many_checkouts
from conftest import Run, Sandbox
from listing import changes, listing
from person import Person
from postgres_server import PostgresServer, forget_role
from processes import must
from readme import README, blocks
from results import findings, results
from ssh_server import USER, SshAccess, SshServer
from ssh_server import missing as no_sshd
from upstream import Upstream
from workstation import Break, Workstation, breakages, fence, instead, script, without

import tlc

GROUPS = [each.replace("-", " ") for each in tlc.GROUPS]
DOCUMENT = {"tlc", "command", "ok", "changed", "results"}
RESULT = {"kind", "name", "status", "message", "detail", "fix", "seconds"}

SMALL = 'versions = ["17.0"]\n'  # needs nothing but directories


# Whoever wants to be git at GitHub is let in as the one account that can be had here.
AS_GIT = """#!/bin/sh
for word; do
    shift
    [ "$word" != git@github.com ] || word={user}@github.com
    set -- "$@" "$word"
done
exec {real} -F {config} "$@"
"""


@pytest.fixture
def empty(
    sandbox: Sandbox, request: pytest.FixtureRequest, server: PostgresServer
) -> Iterator[Workstation]:
    """A machine with a config, on which nothing was done yet."""
    machine = Workstation(sandbox, request.getfixturevalue("tools"), server)
    yield machine
    assert not (sandbox.home.parent / "fence").exists(), "a package manager was called"


class Shelf:
    """Where a machine waits for the next story; one that a failed story may have left broken does not."""

    def __init__(self) -> None:
        self.machine: Workstation | None = None


@pytest.fixture(scope="module")
def shelf(server: PostgresServer) -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    if shelf.machine:
        look_at_all(shelf.machine)


def look_at_all(machine: Workstation) -> dict[tuple[str, str], Any]:
    """Return what doctor says of a machine that is well."""
    found = machine.doctor()
    # What a machine may lack that tests on it for want of root cannot bring.
    left = {key: each for key, each in found.items() if each["status"] != "OK"}
    assert {name for _, name in left} <= {"C compiler", "wkhtmltopdf"}, left
    return found


@pytest.fixture
def machine(
    shelf: Shelf,
    server: PostgresServer,
    archive: Path,
    request: pytest.FixtureRequest,
    tmp_path_factory: Any,
) -> Iterator[Workstation]:
    """A machine that is well. It is the next story's as well, unless this one fails."""
    machine, shelf.machine = shelf.machine, None
    if not machine:
        forget_role(server)
        sandbox = Sandbox(tmp_path_factory.mktemp("machine"), archive)
        machine = Workstation(sandbox, request.getfixturevalue("tools"), server)
        run = machine.up()
        assert run.code == 0, run.out
    machine.sure = False
    yield machine
    assert not (machine.home.parent / "fence").exists(), "a package manager was called"
    if machine.sure:
        shelf.machine = machine


# --- what it shows


def test_a_machine_that_is_well(machine: Workstation) -> None:
    run = machine.tlc("doctor")
    assert run.code == 0, run.out
    assert [line for line in run.out.splitlines() if line[:1].isalpha()] == GROUPS
    assert "FAIL" not in run.out + run.err
    assert re.search(r"^ *OK \d+", run.err, re.MULTILINE)
    found = look_at_all(machine)
    assert {group for group, _ in found} == set(GROUPS)
    assert all(bool(each["fix"]) == (each["status"] != "OK") for each in found.values())
    machine.sure = True


def test_it_changes_nothing(machine: Workstation) -> None:
    for cache in [
        each for place in (machine.root, machine.home) for each in place.rglob("__pycache__")
    ]:
        shutil.rmtree(cache, ignore_errors=True)
    before = listing(machine.home)
    for options in ([], ["--offline"], ["--json"], ["--verbose"], ["--fix", "--dry-run"]):
        machine.tlc("doctor", *options)
        assert changes(before, listing(machine.home)) == [], options
    machine.sure = True


@pytest.mark.parametrize("options", [[], ["--offline"], ["--fix", "--dry-run"]])
@pytest.mark.parametrize(
    "config", ["", SMALL, "versions = [\n"], ids=["no root", "empty root", "broken config"]
)
def test_it_changes_nothing_on_a_bare_machine(
    sandbox: Sandbox, config: str, options: list[str]
) -> None:
    fence(sandbox)
    sandbox.env["UV_OFFLINE"] = "1"
    if config:
        sandbox.config(config)
    before = listing(sandbox.home)
    assert sandbox.tlc("doctor", *options).code == 1
    assert changes(before, listing(sandbox.home)) == []
    assert sandbox.root.exists() == bool(config)


def test_exit_codes_and_groups(sandbox: Sandbox) -> None:
    sandbox.config(SMALL)
    run = sandbox.tlc("doctor", "Configuration", "--offline")
    assert (run.code, "FAIL" in run.out) == (1, True)
    assert sandbox.tlc("--yes", "init").code == 0
    run = sandbox.tlc("doctor", "Configuration", "--offline")
    assert (run.code, "Tools" in run.out) == (0, False)
    sandbox.config(SMALL + "gti = 1\n")
    run = sandbox.tlc("doctor", "Configuration", "--offline", "--json")
    assert (run.code, run.json()["ok"], run.json()["changed"]) == (0, True, False)
    warned = findings(run)["Configuration", "config.toml"]
    assert (warned["status"], 'did you mean "git"' in warned["message"]) == ("WARN", True)


@pytest.mark.parametrize(
    "name", ["Virtual Environments", "virtual-environments", "VIRTUAL ENVIRONMENTS"]
)
def test_a_group_however_it_is_written(sandbox: Sandbox, name: str) -> None:
    sandbox.config(SMALL)
    found = findings(sandbox.tlc("doctor", "--json", "--offline", name, "configuration"))
    assert {group for group, _ in found} == {"Virtual Environments", "Configuration"}


def test_an_unknown_group(sandbox: Sandbox) -> None:
    sandbox.config(SMALL)
    run = sandbox.tlc("doctor", "Tolls", "--json")
    assert run.code == 2
    assert run.json()["error"]["fix"].endswith(".pyz doctor Tools")
    run = sandbox.tlc("doctor", "xyzzy")
    assert run.code == 2
    assert all(group.replace(" ", "-") in run.err for group in GROUPS)


def test_no_config(sandbox: Sandbox) -> None:
    run = sandbox.tlc("doctor", "--offline", "--json")
    found = findings(run)
    assert run.code == 1
    config = found["Configuration", "config.toml"]
    assert (config["status"], config["fix"].endswith("init")) == ("FAIL", True)
    assert found["Tools", "git"]["status"] == "OK"


def test_an_environment_of_a_version_that_the_config_no_longer_names(sandbox: Sandbox) -> None:
    sandbox.config('versions = ["18.0"]\n')
    for name in ("16.0", "18.0", "mine"):
        (sandbox.root / "venvs" / name).mkdir(parents=True)
    found = findings(sandbox.tlc("doctor", "virtual-environments", "--json"))
    left = found["Virtual Environments", "other versions"]
    assert (left["status"], left["message"]) == ("WARN", "not in the config any more: 16.0")
    assert left["fix"].endswith(" prune --dry-run")


def test_a_version_that_odoo_never_had(sandbox: Sandbox) -> None:
    sandbox.config('versions = ["18.0", "99.0", "17.5"]\n')
    found = findings(sandbox.tlc("doctor", "Configuration", "--json"))
    config = found["Configuration", "config.toml"]
    assert (config["status"], "no Odoo 99.0, 17.5" in config["message"]) == ("WARN", True)
    assert config["fix"].endswith(" config edit")


@pytest.mark.parametrize("text", ["versions = [\n", 'versions = [16.0]\njobs = "4"\n', "\udcff"])
def test_a_broken_config_does_not_stop_the_rest(sandbox: Sandbox, text: str) -> None:
    sandbox.root.mkdir()
    (sandbox.root / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    run = sandbox.tlc("doctor", "--offline", "--json")
    found = findings(run)
    assert (run.code, found["Configuration", "config.toml"]["status"]) == (1, "FAIL")
    assert found["Tools", "git"]["status"] == "OK"
    assert ("Connectivity", "github.com") in found
    assert "config.toml:" in sandbox.tlc("doctor", "--offline").out


def test_home_is_shown_as_a_tilde(empty: Workstation) -> None:
    """Also in mends, where a shell understands it."""
    (empty.root / "conf").write_text("")
    (empty.root / "oca/18.0/web").mkdir(parents=True)
    (empty.root / "oca/18.0/web/file").write_text("")
    (empty.root / "venvs/18.0/bin").mkdir(parents=True)
    script(empty.home / ".local/bin/odoo-v18", "#!/bin/sh\n")
    script(empty.home / "bin/odoo-v18", "#!/bin/sh\n")
    empty.config.write_text(empty.good + "\n[gti]\n")
    empty.sandbox.env["PATH"] = f"{empty.home}/bin:{empty.sandbox.env['PATH']}"
    shown = empty.tlc("doctor", "--offline").out
    assert "~/code" in shown
    assert [line for line in shown.splitlines() if str(empty.home) in line] == []


def test_200_repositories(sandbox: Sandbox, tmp_path: Path) -> None:
    many_checkouts(sandbox, 200)
    run = sandbox.tlc("doctor", "Repositories", "--offline", "--json")
    assert (run.code, len(run.json()["results"])) == (0, 200)
    [group, row] = sandbox.tlc("doctor", "Repositories", "--offline").out.splitlines()
    assert (group, "and 190 more" in row) == ("Repositories", True)
    # What is alike is one line, with one command.
    for number in range(20):
        (sandbox.root / f"oca/17.0/repository-{number}/README.md").write_text("changed\n")
    shown = sandbox.tlc("doctor", "Repositories", "--offline").out
    [warning] = [line for line in shown.splitlines() if "WARN" in line]
    assert "and 10 more" in warning
    # Problems stand before what is well.
    assert [line[:6].strip() for line in shown.splitlines()] == ["Reposi", "WARN", "OK"]


def test_1472_missing_checkouts_are_one_line_and_one_command(sandbox: Sandbox) -> None:
    versions = [f"{number}.0" for number in range(12, 20)]
    names = ", ".join(f'"repo-{number}"' for number in range(184))
    sandbox.config(f"versions = {json.dumps(versions)}\n[repos]\noca = [{names}]\n")
    run = sandbox.tlc("doctor", "repositories", "--offline")
    assert [line.split()[0] for line in run.out.splitlines()] == ["Repositories", "FAIL", "→"]
    [_, row, fix] = run.out.splitlines()
    assert row.startswith(f"  FAIL  oca/repo-0 {' '.join(versions)}, oca/repo-1 12.0 ")
    assert row.endswith("and 1456 more: not there")
    assert fix.endswith("tlc.pyz pull-repos")
    run = sandbox.tlc("status")
    assert run.out == ""
    [note, fix, counts] = run.err.splitlines()
    assert note.startswith("note     oca/repo-0 12.0 13.0 ") and note.endswith(": not there")
    assert fix.endswith("tlc.pyz pull-repos")
    assert counts.startswith("note 1472  in ")
    fixes = [result["fix"] for result in sandbox.tlc("--json", "status").json()["results"]]
    assert fixes[9].endswith("pull-repos -f oca/repo-1@13.0") and len(set(fixes)) == 1472


# --- a machine broken in many ways, one at a time


def git(machine: Workstation, *words: str) -> None:
    """Run git in the checkout of web."""
    machine.upstream.git(*words, cwd=machine.web)


def half_cloned(machine: Workstation) -> None:
    shutil.rmtree(machine.web)
    machine.upstream.git("init", "-q", str(machine.web))
    git(machine, "remote", "add", "origin", "git@github.com:OCA/web.git")


def merging(machine: Workstation) -> None:
    git(machine, "checkout", "-q", "-B", "mine")
    (machine.web / "module/models.py").write_text("first = 2\n")
    git(machine, "commit", "-qam", "mine")
    git(machine, "checkout", "-q", "18.0")
    (machine.web / "module/models.py").write_text("first = 3\n")
    git(machine, "commit", "-qam", "theirs")
    with contextlib.suppress(AssertionError):
        git(machine, "merge", "-q", "mine")


def moved_on(machine: Workstation) -> None:
    machine.upstream.commit("OCA/web", "18.0", {"module/new.py": f"x = {os.urandom(4).hex()!r}\n"})


def other_host_key(machine: Workstation) -> None:
    key = tlc.GITHUB_KEY.split()
    Path(machine.home, ".ssh/known_hosts").write_text(f"{key[0]} {key[1]} {key[2][:-8]}AAAAAAAA\n")


def sql(query: str) -> Break:
    return lambda machine: print(machine.server.sql(query))


def no_tool(machine: Workstation) -> None:
    must("uv", "tool", "uninstall", "odoo-venv", env=machine.sandbox.env)


def file_in_the_way(machine: Workstation) -> None:
    (machine.root / "trobz/projects").rmdir()
    (machine.root / "trobz/projects").write_text("")


def thesis_in_the_way(machine: Workstation) -> None:
    shutil.rmtree(machine.venv)
    machine.venv.mkdir()
    (machine.venv / "thesis.txt").write_text("three years of work\n")


TOML = "code/venvs/18.0/.odoo-venv.toml"
# what is broken -> how, the item that doctor names for it, and what it says
BROKEN: dict[str, tuple[Break, tuple[str, str], str]] = {
    "directory missing": (
        without("code/trobz/packages"),
        ("Configuration", "trobz/packages"),
        "FAIL missing",
    ),
    "file in the way of a directory": (
        file_in_the_way,
        ("Configuration", "trobz/projects"),
        "FAIL .*in the way",
    ),
    "unknown key": (
        instead("code/config.toml", "[venvs]", "[gti]\n[venvs]"),
        ("Configuration", "config.toml"),
        'WARN .*gti.*did you mean "git"',
    ),
    "broken config": (
        instead("code/config.toml", '["18.0"]', '"18.0"'),
        ("Configuration", "config.toml"),
        "FAIL ",
    ),
    "no host key": (
        without(".ssh/known_hosts"),
        ("Connectivity", "github.com"),
        "FAIL .*not known",
    ),
    "wrong host key": (other_host_key, ("Connectivity", "github.com"), "FAIL .*not GitHub's"),
    "uv tool missing": (no_tool, ("Tools", "odoo-venv"), "WARN not installed"),
    "no role": (sql("DROP ROLE odoo"), ("PostgreSQL", "odoo"), "FAIL .*does not exist"),
    "role without CREATEDB": (
        sql("ALTER ROLE odoo NOCREATEDB"),
        ("PostgreSQL", "odoo"),
        "FAIL .*not create",
    ),
    "role without LOGIN": (
        sql("ALTER ROLE odoo NOLOGIN"),
        ("PostgreSQL", "odoo"),
        "FAIL .*not log in",
    ),
    "other password": (
        sql("ALTER ROLE odoo PASSWORD 'x'"),
        ("PostgreSQL", "odoo"),
        "FAIL .*password",
    ),
    "superuser": (sql("ALTER ROLE odoo SUPERUSER"), ("PostgreSQL", "odoo"), "WARN .*superuser"),
    "checkout missing": (
        without("code/oca/18.0/web"),
        ("Repositories", "oca/web@18.0"),
        "FAIL not there",
    ),
    "checkout behind": (moved_on, ("Repositories", "oca/web@18.0"), "WARN behind"),
    "half cloned": (half_cloned, ("Repositories", "oca/web@18.0"), "FAIL not there"),
    "no HEAD": (
        without("code/oca/18.0/web/.git/HEAD"),
        ("Repositories", "oca/web@18.0"),
        "FAIL not a git",
    ),
    "no .git": (
        without("code/oca/18.0/web/.git"),
        ("Repositories", "oca/web@18.0"),
        "FAIL not a git",
    ),
    "no commit": (
        lambda machine: git(machine, "checkout", "-q", "--orphan", "new"),
        ("Repositories", "oca/web@18.0"),
        "FAIL no commit",
    ),
    "other origin": (
        lambda machine: git(machine, "remote", "set-url", "origin", "git@github.com:me/web.git"),
        ("Repositories", "oca/web@18.0"),
        "FAIL its origin is git@github.com:me/web",
    ),
    "no environment": (
        without("code/venvs/18.0"),
        ("Virtual Environments", "18.0"),
        "FAIL not built yet",
    ),
    "no Odoo": (
        without("code/odoo/odoo/18.0"),
        ("Virtual Environments", "18.0"),
        "FAIL .*Odoo, which is not checked out",
    ),
    "something else for an environment": (
        thesis_in_the_way,
        ("Virtual Environments", "18.0"),
        "FAIL .*not a virtual environment",
    ),
    "environment cut off": (without(TOML), ("Virtual Environments", "18.0"), "FAIL incomplete"),
    "its Python gone": (
        without("code/venvs/18.0/bin/python*"),
        ("Virtual Environments", "18.0"),
        "FAIL incomplete.*Python",
    ),
    "outdated": (
        instead(TOML, 'preset = "common"', 'preset = "ci"'),
        ("Virtual Environments", "18.0"),
        "FAIL outdated.*preset",
    ),
    "Odoo not importable": (
        without("{site}/*odoo*"),
        ("Virtual Environments", "modules of 18.0"),
        "FAIL .*No module named 'odoo'",
    ),
    "requirement missing": (
        without("{site}/passlib"),
        ("Virtual Environments", "modules of 18.0"),
        "FAIL .*No module named 'passlib'",
    ),
    "no launcher": (
        without(".local/bin/odoo-v18"),
        ("Virtual Environments", "odoo-v18"),
        "FAIL .*missing",
    ),
    "launcher of something else": (
        instead(".local/bin/odoo-v18", 'VENV_DIR="', 'VENV_DIR="/elsewhere'),
        ("Virtual Environments", "odoo-v18"),
        "WARN .*something else",
    ),
    "no configuration": (
        without("code/conf/odoo-18.0.conf"),
        ("Virtual Environments", "conf/odoo-18.0.conf"),
        "FAIL missing",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_named_and_mended(machine: Workstation, name: str) -> None:
    broken, item, said = BROKEN[name]
    broken(machine)
    found = machine.doctor(item[0])[item]
    assert re.match(said, f"{found['status']} {found['message']}"), found
    pasted = machine.paste(found["fix"])
    # Of the other groups when all stories are over.
    after = machine.doctor(item[0])
    left = {key: each for key, each in after.items() if each["status"] != "OK"}
    assert {name for _, name in left} <= {"C compiler", "wkhtmltopdf"}, (pasted, left)
    assert item in after
    machine.sure = True


def mine(machine: Workstation) -> None:
    instead("code/oca/18.0/web/module/models.py", "1", "2")(machine)
    git(machine, "commit", "-q", "--allow-empty", "-m", "mine")


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (mine, "1 changed file (module/models.py); 1 commit not on origin/18.0"),
        (merging, "an unfinished merge (git merge --continue or --abort)"),
        (lambda machine: git(machine, "checkout", "-q", "-B", "mine"), "on branch mine"),
        (lambda machine: git(machine, "checkout", "-q", "--detach"), "detached"),
    ],
)
def test_work_of_ones_own_is_named_without_a_command(
    machine: Workstation, work: Callable[[Workstation], object], said: str
) -> None:
    work(machine)
    found = machine.doctor("Repositories")["Repositories", "oca/web@18.0"]
    assert (found["status"], found["fix"]) == ("WARN", "")
    assert said in found["message"]
    assert machine.yes("pull-repos", "--force", "-f", "web@18.0").code == 0
    machine.sure = True


@pytest.mark.parametrize("story", ["not on PATH", "shadowed"])
def test_the_directory_of_programs_on_path(machine: Workstation, story: str) -> None:
    local, path = f"{machine.home}/.local/bin", machine.sandbox.env["PATH"]
    other = script(machine.home / "other/odoo-v18", "#!/bin/sh\n").parent
    path = path.replace(f"{local}:", "") if story == "not on PATH" else f"{other}:{path}"
    found = machine.doctor("tools", "--offline", env={"PATH": path})["Tools", "~/.local/bin"]
    assert (
        found["status"],
        ("not on PATH" if story == "not on PATH" else "odoo-v18") in found["message"],
    ) == (
        "WARN",
        True,
    )
    shell = machine.paste(
        f"export PATH='{path}'", found["fix"], "tlc --json doctor tools --offline"
    )
    assert findings(Run(0, shell.stdout, ""))["Tools", "~/.local/bin"]["status"] == "OK"
    machine.sure = True


def test_the_server_is_down(machine: Workstation) -> None:
    machine.server.stop()
    try:
        found = machine.doctor("postgresql")
    finally:
        machine.server.start()
    assert {each["status"] for each in found.values()} == {"FAIL"}
    [server] = [each for (_, name), each in found.items() if name.startswith("localhost:")]
    assert "does not run" in server["message"]
    # What starts it starts the machine's own, which is not for a test to do.
    assert re.search(r"(systemctl|service|brew services) (start|postgresql)", server["fix"])
    assert {each["status"] for each in machine.doctor("postgresql").values()} == {"OK"}
    machine.sure = True


# --- ssh


@pytest.fixture
def person(sandbox: Sandbox, tmp_path: Path) -> Iterator[SshAccess]:
    """Someone whose git@github.com: is an sshd with odoo and enterprise."""
    if reason := no_sshd():
        pytest.skip(reason)
    upstream = Upstream(tmp_path / "github", sandbox, addresses=())
    for repository in ("odoo/odoo", "odoo/enterprise", "OCA/web"):
        upstream.create(repository, "18.0")
    with SshServer(tmp_path / "sshd", upstream.directory) as server:
        sandbox.config(
            'versions = ["18.0"]\n[repos]\nodoo = ["odoo", "enterprise"]\noca = ["web"]\n'
        )
        person = SshAccess(sandbox.home, sandbox.env, server)
        must(
            "git",
            "config",
            "--global",
            "--unset",
            f"url.ssh://{USER}@github.com/.insteadOf",
            env=sandbox.env,
        )
        real = shutil.which("ssh", path=os.environ["PATH"])
        script(person.ssh, AS_GIT.format(user=USER, real=real, config=person.directory / "config"))
        yield person


def test_a_login_that_is_refused(sandbox: Sandbox, person: SshAccess) -> None:
    items = [
        ("Connectivity", name)
        for name in ("ssh to github.com", "access to odoo/enterprise", "access to oca")
    ]

    def doctor() -> dict[tuple[str, str], dict[str, Any]]:
        return findings(sandbox.tlc("doctor", "connectivity", "--json"))

    found = doctor()
    assert {found[item]["status"] for item in items} == {"OK"}
    person.server.admit("")
    found = doctor()
    for item in items:
        refused = found[item]
        assert (refused["status"], refused["message"]) == (
            "FAIL",
            "github.com accepts none of your ssh keys",
        )
        assert refused["fix"] == tlc.LOGIN.render("tlc")
    person.new_key()
    found = doctor()
    assert {found[item]["status"] for item in items} == {"OK"}


def test_quietly_a_group_without_a_finding_has_no_title(sandbox: Sandbox) -> None:
    sandbox.config(SMALL)
    groups = ["configuration", "repositories", "--offline"]
    assert "Repositories" not in sandbox.tlc("-q", "doctor", *groups).out
    assert "Configuration\n  FAIL  " in sandbox.tlc("-q", "doctor", *groups).out


def test_on_a_terminal_that_tells_no_size(sandbox: Sandbox) -> None:
    """As `script` makes it where its own input is none."""
    master, slave = os.openpty()
    command = [sys.executable, str(sandbox.archive), "doctor", "configuration", "--offline"]
    done = subprocess.run(command, env=sandbox.env, stdout=subprocess.PIPE, stderr=slave, text=True)
    os.close(master)
    os.close(slave)
    assert done.returncode == 1 and "config.toml" in done.stdout


def test_a_key_with_a_passphrase_is_no_failure(sandbox: Sandbox, person: SshAccess) -> None:
    person.new_key("secret")
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    for name in ("ssh to github.com", "access to odoo/enterprise", "access to oca"):
        refused = found["Connectivity", name]
        assert (refused["status"], "has a passphrase" in refused["message"]) == ("WARN", True)
        assert refused["fix"].startswith('eval "$(ssh-agent)" && ssh-add ')
    # Pasted, with the passphrase given, it opens the key to what is run in that shell.
    gives = script(sandbox.home / "gives", "#!/bin/sh\necho secret\n")
    asked = {"SSH_ASKPASS": str(gives), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    again = shlex.join([sys.executable, str(sandbox.archive), "--json", "doctor", "connectivity"])
    done = Person(sandbox).paste(refused["fix"], f"{again} > answer", "ssh-agent -k", env=asked)
    assert done.returncode == 0, done.stderr
    answer = json.loads((sandbox.home / "answer").read_text())
    told = {each["name"]: each["status"] for each in answer["results"]}
    assert told["ssh to github.com"] == told["access to oca"] == "OK", told


def test_no_access_to_enterprise(sandbox: Sandbox, person: SshAccess, tmp_path: Path) -> None:
    private = tmp_path / "github/odoo/enterprise.git"
    private.rename(tmp_path / "private.git")
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    refused = found["Connectivity", "access to odoo/enterprise"]
    assert (refused["status"], "no access" in refused["message"]) == ("FAIL", True)
    assert found["Connectivity", "access to oca"]["status"] == "OK"
    (tmp_path / "private.git").rename(private)
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    assert found["Connectivity", "access to odoo/enterprise"]["status"] == "OK"


def test_a_repository_that_is_missing_says_nothing_of_the_others(
    sandbox: Sandbox, person: SshAccess
) -> None:
    sandbox.config('versions = ["18.0"]\n[repos]\noca = ["no-such", "web"]\n')
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    assert found["Connectivity", "access to oca"]["status"] == "OK"
    sandbox.config('versions = ["18.0"]\n[repos]\noca = ["no-such", "nor-this"]\n')
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    assert found["Connectivity", "access to oca"]["status"] == "FAIL"


def test_offline_asks_nobody(sandbox: Sandbox, person: SshAccess) -> None:
    sandbox.tlc("doctor", "--offline")
    assert person.server.visits().connections == 0
    assert "access to" not in sandbox.tlc("doctor", "--offline").out


def test_without_a_config_githubs_ssh_is_looked_at(sandbox: Sandbox, person: SshAccess) -> None:
    (sandbox.root / "config.toml").unlink()
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    assert found["Connectivity", "ssh to github.com"]["status"] == "OK"
    person.server.admit("")
    found = findings(sandbox.tlc("doctor", "connectivity", "--json"))
    assert found["Connectivity", "ssh to github.com"]["status"] == "FAIL"


def test_a_host_key_counts_wherever_ssh_reads_it(sandbox: Sandbox) -> None:
    sandbox.config('versions = ["18.0"]\n[repos]\nodoo = ["odoo"]\n')
    real = shutil.which("ssh", path=sandbox.env["PATH"])
    if not real:
        pytest.skip("ssh is missing: sudo apt-get install openssh-client, or your system's package")
    elsewhere, config = sandbox.home / "etc/known_hosts", sandbox.home / "ssh_config"
    elsewhere.parent.mkdir()
    config.write_text(f"GlobalKnownHostsFile {sandbox.home}/none {elsewhere}\n")
    # The real one takes ~ from the password database, not from HOME.
    script(sandbox.home / "bin/ssh", f'#!/bin/sh\nexec {real} -F {config} "$@"\n')
    sandbox.env["PATH"] = f"{sandbox.home}/bin:{sandbox.env['PATH']}"

    def known() -> str:
        found = findings(sandbox.tlc("doctor", "connectivity", "--offline", "--json"))
        return str(found["Connectivity", "github.com"]["status"])

    assert known() == "FAIL"
    elsewhere.write_text(f"{tlc.GITHUB_KEY}\n")
    assert known() == "OK"
    assert not sandbox.tlc("--yes", "--json", "bootstrap", "--only", "ssh").json()["changed"]
    elsewhere.write_text(f"{tlc.GITHUB_KEY[:-8]}AAAAAAAA\n")
    assert known() == "FAIL"


# --- --fix


def test_fix_asks_and_does_nothing_without_an_answer(machine: Workstation) -> None:
    breakages(machine)
    before = listing(machine.root)
    run = machine.tlc("doctor", "--fix", "--offline")
    assert (run.code, "Go ahead?" in run.err) == (1, True)
    assert changes(before, listing(machine.root)) == []
    run = machine.tlc("doctor", "--fix", "--offline", "--dry-run")
    assert ("Go ahead?" in run.err, "clone" in run.out) == (False, True)
    assert changes(before, listing(machine.root)) == []

    run = machine.tlc("doctor", "--fix", "--offline", input="y\n")
    assert run.code == 0, run.out + run.err
    assert run.err.count("Go ahead?") == 1
    assert machine.doctor()["Repositories", "oca/web@18.0"]["status"] == "OK"
    machine.sure = True


def test_fix_with_yes_and_json_is_one_document(machine: Workstation) -> None:
    breakages(machine)
    run = machine.tlc("doctor", "--fix", "--yes", "--json")
    document = run.json()
    assert (run.code, document["ok"], set(document)) == (0, True, DOCUMENT)
    assert document["changed"] is True
    assert {each["status"] for each in results(run)} <= {"OK", "WARN"}
    machine.sure = True


def test_fix_rebuilds_an_environment_that_is_broken_inside(machine: Workstation) -> None:
    item = ("Virtual Environments", "modules of 18.0")
    without("{site}/passlib")(machine)
    run = machine.tlc("doctor", "virtual-environments", "--offline")
    assert (run.code, "tlc doctor --fix" in run.err.splitlines()[-1]) == (1, True)
    assert machine.doctor(item[0], "--fix", "--yes", "--offline")[item]["status"] == "OK"
    run = machine.tlc("doctor", "virtual-environments", "--offline")
    assert (run.code, "--fix" in run.err) == (0, False)
    machine.sure = True


def test_a_python_that_dies_silently_is_named_and_rebuilt(machine: Workstation) -> None:
    item = ("Virtual Environments", "modules of 18.0")
    (machine.site_packages / "silent.pth").write_text("import os; os._exit(7)\n")
    found = machine.doctor(item[0], "--offline")[item]
    assert (found["status"], found["message"]) == ("FAIL", "its Python ends with exit code 7")
    assert machine.doctor(item[0], "--fix", "--yes", "--offline")[item]["status"] == "OK"
    machine.sure = True


def test_fix_of_one_group_leaves_the_others(machine: Workstation) -> None:
    breakages(machine)
    assert machine.tlc("doctor", "--fix", "--yes", "connectivity", "--offline").code == 0
    found = machine.doctor("--offline")
    assert found["Connectivity", "github.com"]["status"] == "OK"
    assert found["Repositories", "oca/web@18.0"]["status"] == "FAIL"
    assert found["PostgreSQL", "odoo"]["status"] == "FAIL"
    assert machine.tlc("doctor", "--fix", "--yes", "--offline").code == 0
    machine.sure = True


def test_fix_where_nothing_is_wrong_asks_nothing(machine: Workstation) -> None:
    run = machine.tlc("doctor", "--fix", "Configuration", "Repositories", "PostgreSQL", "--offline")
    assert (run.code, "Go ahead?" in run.err) == (0, False)
    machine.sure = True


# --- json, of every command


def example_of(command: str) -> list[str]:
    """The words of a command's first example, of one that asks no network where there is one."""
    examples = tlc.COMMANDS[command].examples
    quiet = [each for each in examples if "--offline" in each or "--check" in each]
    return shlex.split([*quiet, *examples][0])[1:]


@pytest.mark.parametrize("command", tlc.COMMANDS)
def test_the_keys_of_each_commands_document_are_frozen(machine: Workstation, command: str) -> None:
    run = machine.tlc(
        "--json",
        "--dry-run",
        *example_of(command),
        env={"https_proxy": "http://127.0.0.1:9"},
    )
    document = run.json()
    assert (set(document), document["command"]) == (DOCUMENT, command)
    # Some only print, and of what prune removes there is nothing.
    silent = ("completion", "config", "edit-config", "help", "prune", "run")
    assert document["results"] or command in silent
    assert all(set(result) == RESULT for result in document["results"])
    allowed = (
        {"OK", "WARN", "FAIL"}
        if command == "doctor"
        else set("ok changed kept skipped failed planned".split())
    )
    assert {result["status"] for result in document["results"]} <= allowed
    if command == "doctor":
        assert {result["kind"] for result in document["results"]} <= set(GROUPS)
    wrong = machine.tlc("--json", command, "--no-such-option").json()
    assert (set(wrong), set(wrong["error"])) == ({"ok", "error"}, {"code", "message", "fix"})
    machine.sure = True


# --- in scripts, as the README has it


def lines_with_jq() -> list[str]:
    """The README's lines that pipe a command into jq."""
    return re.findall(r"(?m)^    (tlc .*\| jq .*)$", README)


@pytest.mark.parametrize("line", lines_with_jq())
def test_the_readmes_lines_with_jq(machine: Workstation, line: str) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq is missing: sudo apt-get install jq, or your system's package")
    if "doctor" in line:
        moved_on(machine)
    else:
        instead("code/oca/18.0/web/module/models.py", "1", "2")(machine)
    pasted = machine.paste(line)
    lines = pasted.stdout.splitlines()
    if "doctor" in line:
        at = lines.index("Repositories: oca/web@18.0: behind origin")
        assert lines[at + 1].strip().startswith("tlc pull-repos -f oca/web@18.0")
        assert machine.paste(lines[at + 1].strip()).returncode == 0
    else:
        assert lines == ["oca/web@18.0"]
        git(machine, "checkout", "-q", ".")
    machine.sure = True


def test_the_readmes_ansible_task(machine: Workstation) -> None:
    """Its command is run, and its conditions are asked of Jinja, as Ansible does."""
    [task] = blocks("yaml")
    fields = dict(re.findall(r"(?m)^  ([\w.]+): (.*)$", task))
    conditions = jinja2.Environment(autoescape=False)  # noqa: S701  no page is made of it
    conditions.filters["from_json"] = json.loads  # Ansible's own

    def run() -> dict[str, Any]:
        command = fields["ansible.builtin.command"].split()
        done = subprocess.run(
            command,
            env=machine.sandbox.env,
            cwd=machine.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        variables = {fields["register"]: {"stdout": done.stdout, "rc": done.returncode}}
        return {
            name: conditions.compile_expression(fields[name])(variables)
            for name in ("changed_when", "failed_when")
        }

    without("code/trobz/packages")(machine)
    assert run() == {"changed_when": True, "failed_when": False}
    assert run() == {"changed_when": False, "failed_when": False}
    (machine.root / "trobz/packages").rmdir()
    (machine.root / "trobz/packages").write_text("")
    assert run()["failed_when"] is True
    (machine.root / "trobz/packages").unlink()
    assert run() == {"changed_when": True, "failed_when": False}
    machine.sure = True
