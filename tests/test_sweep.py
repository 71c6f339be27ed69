"""No setting and no variable of a person's changes what tlc decides: one life, told with each of them.

Settings are tried in groups, a group that makes a difference is halved. What may differ stands in ALLOWED.
`make sweep` tries all, `make test` a sample.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Sandbox
from life import PLAIN, Setting, Story, difference, life
from postgres_server import PostgresServer, forget_role
from results import statuses_by_item
from workstation import Workstation

GROUP = 40

# Setting or variable, as it is or with its value -> why the life may differ with it.
ALLOWED = {
    "branch.17.0.merge": "it says of which branch the person's own status and pull speak",
    **{
        f"safe.bareRepository={value}": "no value of git's: it refuses every store"
        for value in ("true", "false", "always", "1")
    },
}

PLACES = {
    "branch.<name>": "branch.17.0",
    "remote.<name>": "remote.origin",
    "<driver>": "driver",
    "<tool>": "tool",
    "<format>": "openpgp",
    "<pattern>": "refs/remotes/*",
    "<base>": "https://example.com/",
    "<condition>": "gitdir:~/nowhere/",
    "<task>": "gc",
    "<msg-id>": "missingEmail",
    "<command>": "rebase",
    "<cmd>": "status",
    "<name>": "file",
    "<id>": "id",
    "<url>": "https://github.com",
    "<slot>": "slot",
}
VALUES = ["true", "false", "always", "1"]
# More, for those of which it is known that they change what git prints or does.
MORE = {
    "apply.whitespace": ["error", "fix"],
    "branch.sort": ["-committerdate"],
    "commit.cleanup": ["scissors"],
    "core.abbrev": ["4", "40"],
    "core.attributesFile": ["~/.gitattributes-none"],
    "core.autocrlf": ["input"],
    "core.checkStat": ["minimal"],
    "core.compression": ["0"],
    "core.eol": ["crlf", "lf"],
    "core.excludesFile": ["~/.gitconfig"],
    "core.fsync": ["none", "all"],
    "core.hooksPath": ["HERE/nowhere"],
    "core.pager": ["cat"],
    "core.quotePath": ["false"],
    "core.sharedRepository": ["group"],
    "diff.algorithm": ["patience"],
    "diff.ignoreSubmodules": ["all", "dirty"],
    "diff.renames": ["copies"],
    "fetch.output": ["compact"],
    "fetch.parallel": ["8"],
    "fetch.prune": ["true"],
    "format.pretty": ["oneline", "%an"],
    "i18n.commitEncoding": ["ISO-8859-1"],
    "i18n.logOutputEncoding": ["ISO-8859-1"],
    "index.version": ["2", "4"],
    "init.defaultBranch": ["trunk"],
    "init.defaultObjectFormat": ["sha256"],
    "init.templateDir": ["HERE/nowhere"],
    "log.date": ["iso", "relative"],
    "log.decorate": ["full"],
    "merge.conflictStyle": ["diff3"],
    "merge.ff": ["only"],
    "protocol.version": ["0", "1", "2"],
    "pull.rebase": ["merges"],
    "push.default": ["nothing", "matching"],
    "safe.bareRepository": ["explicit"],
    "status.showUntrackedFiles": ["no", "all"],
    "submodule.fetchJobs": ["4"],
    "tag.sort": ["-creatordate"],
    "transfer.hideRefs": ["refs/tlc"],
}

# Of git(1). HERE is the person's home: a path outside of it is not for a test, which may run as root, to name: git
# renames a file over whatever GIT_CONFIG leads to. The values are what a shell of a person's, a hook or an editor may well have set.
VARIABLES = {
    "CLICOLOR_FORCE": ["1"],
    "EMAIL": ["someone@example.com"],
    "GIT_ADVICE": ["0", "1"],
    "GIT_ALLOW_PROTOCOL": ["file:https:ssh"],
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": ["HERE/nowhere"],
    "GIT_ASKPASS": ["true"],
    "GIT_ATTR_SOURCE": ["HEAD"],
    "GIT_CEILING_DIRECTORIES": ["/"],
    "GIT_COMMITTER_DATE": ["2001-01-01T00:00:00Z"],
    "GIT_AUTHOR_DATE": ["2001-01-01T00:00:00Z"],
    "GIT_COMMIT_GRAPH_PARANOIA": ["1"],
    "GIT_COMMON_DIR": ["HERE/nowhere"],
    "GIT_CONFIG": ["HERE/other-config"],
    "GIT_CONFIG_COUNT": ["0"],
    "GIT_CONFIG_PARAMETERS": ["'log.showsignature=true' 'color.ui=always'"],
    "GIT_DEFAULT_HASH": ["sha256"],
    "GIT_DIFF_OPTS": ["--unified=0"],
    "GIT_DIR": [".git", "HERE/nowhere"],
    "GIT_DISCOVERY_ACROSS_FILESYSTEM": ["1"],
    "GIT_EDITOR": ["false"],
    "GIT_EXTERNAL_DIFF": ["true"],
    "GIT_FLUSH": ["0", "1"],
    "GIT_GLOB_PATHSPECS": ["1"],
    "GIT_ICASE_PATHSPECS": ["1"],
    "GIT_IMPLICIT_WORK_TREE": ["0"],
    "GIT_INDEX_FILE": [".git/index", "HERE/nowhere/index"],
    "GIT_INDEX_VERSION": ["4"],
    "GIT_LITERAL_PATHSPECS": ["1"],
    "GIT_MERGE_VERBOSITY": ["5"],
    "GIT_NAMESPACE": ["other"],
    "GIT_NOGLOB_PATHSPECS": ["1"],
    "GIT_NO_LAZY_FETCH": ["1"],
    "GIT_NO_REPLACE_OBJECTS": ["1"],
    "GIT_OBJECT_DIRECTORY": ["HERE/nowhere"],
    "GIT_OPTIONAL_LOCKS": ["0", "1"],
    "GIT_PAGER": ["false"],
    "GIT_PREFIX": ["module/"],
    "GIT_PRINT_SHA1_ELLIPSIS": ["yes"],
    "GIT_PROGRESS_DELAY": ["0"],
    "GIT_PROTOCOL": ["version=1"],
    "GIT_PROTOCOL_FROM_USER": ["1"],
    "GIT_QUARANTINE_PATH": ["HERE/nowhere"],
    "GIT_REFLOG_ACTION": ["mine"],
    "GIT_REF_PARANOIA": ["0", "1"],
    "GIT_REPLACE_REF_BASE": ["refs/other/"],
    "GIT_SEQUENCE_EDITOR": ["false"],
    "GIT_SHALLOW_FILE": ["HERE/nowhere"],
    "GIT_SKIP_TREE_IN_PATH": ["1"],
    "GIT_TEMPLATE_DIR": ["HERE/nowhere"],
    "GIT_TERMINAL_PROMPT": ["0", "1"],
    "GIT_TRACE": ["1"],
    "GIT_TRACE2": ["1"],
    "GIT_TRACE2_EVENT": ["1"],
    "GIT_TRACE2_PERF": ["1"],
    "GIT_TRACE_PACKET": ["1"],
    "GIT_TRACE_PACK_ACCESS": ["1"],
    "GIT_TRACE_PERFORMANCE": ["1"],
    "GIT_TRACE_REFS": ["1"],
    "GIT_TRACE_SETUP": ["1"],
    "GIT_TRACE_SHALLOW": ["1"],
    "GIT_WORK_TREE": [".", "HERE/nowhere"],
    "LANGUAGE": ["de"],
    "LC_ALL": ["de_DE.UTF-8", "C", "tr_TR.UTF-8"],
    "LESS": ["-R"],
    "PAGER": ["false"],
    "SSH_ASKPASS": ["true"],
    "TZ": ["Asia/Kathmandu"],
    "XDG_CONFIG_HOME": ["HERE/nowhere"],
}
# A hook's: with these plain git itself looks elsewhere, but tlc names its places.
OF_HOOKS = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|COMMON_DIR|OBJECT_DIRECTORY|NAMESPACE|SHALLOW_FILE|QUARANTINE_PATH"
    r"|PREFIX|CONFIG|DEFAULT_HASH|ATTR_SOURCE|IMPLICIT_WORK_TREE|SKIP_TREE_IN_PATH)$"
)


def settings() -> list[Setting]:
    """Return every setting that this git lists, with each value that stands to reason."""
    listed = subprocess.run(
        ["git", "help", "--config"], env=PLAIN | {"PATH": "/usr/bin:/bin"}, capture_output=True
    )
    found = []
    for name in listed.stdout.decode().split("\n"):
        if not re.fullmatch(r"[\w<>.*-]+", name):
            continue
        for place, instead in PLACES.items():
            name = name.replace(place, instead)
        if "*" not in name:
            values = dict.fromkeys([*VALUES, *MORE.get(name, [])])
            found += [Setting(name, value) for value in values]
    # The n-th value of each: no setting stands twice in a group.
    rounds = {setting: found[:at] for at, setting in enumerate(found)}
    return sorted(found, key=lambda each: sum(one.name == each.name for one in rounds[each]))


def variables() -> list[Setting]:
    found = [Setting(name, value, True) for name, values in VARIABLES.items() for value in values]
    return sorted(found, key=lambda each: VARIABLES[each.name].index(each.value))


def groups(of: Sequence[Setting]) -> list[list[Setting]]:
    """Split into groups in which no name stands twice."""
    found: list[list[Setting]] = []
    for each in of:
        fits = (
            group
            for group in found
            if len(group) < GROUP and each.name not in {one.name for one in group}
        )
        group = next(fits, None)
        if group is None:
            found.append([each])
        else:
            group.append(each)
    return found


Try = Callable[[Sequence[Setting]], str]


def guilty(group: Sequence[Setting], attempt: Try) -> dict[tuple[Setting, ...], str]:
    """Return the smallest parts of a group for which an attempt returns something, with that."""
    said = attempt(group)
    if not said or len(group) <= 1:
        return {tuple(group): said} if said else {}
    middle = len(group) // 2
    found = guilty(group[:middle], attempt) | guilty(group[middle:], attempt)
    return found or {tuple(group): said}  # only together


class Sweep:
    """Tells the life with groups of settings, and compares it with the life without any."""

    def __init__(self, directory: Path, archive: Path) -> None:
        self.directory, self.archive = directory, archive
        self.without: Story = {}

    def by_git(self, group: Sequence[Setting]) -> str:
        """Say why plain git cannot live with these, "" where it can."""
        asked = [each for each in group if not (each.variable and OF_HOOKS.match(each.name))]
        with life(self.directory / "git", self.archive, asked) as told:
            try:
                told.by_git()
            except AssertionError as error:
                return str(error)
        return ""

    def by_tlc(self, group: Sequence[Setting]) -> str:
        """Say what becomes different with these, "" for nothing."""
        if not self.without:
            with life(self.directory / "tlc", self.archive, []) as told:
                self.without = told.tell()
        with life(self.directory / "tlc", self.archive, group) as told:
            try:
                return difference(self.without, told.tell())
            except (AssertionError, subprocess.CalledProcessError) as error:
                return f"{type(error).__name__}: {error}"

    def findings(self, group: Sequence[Setting]) -> dict[str, str]:
        """Return what of a group, that plain git can live with, changes what tlc does, and how."""
        dead: set[Setting] = set()
        # Two that are dead together only are found once those that are dead alone are out.
        while found := guilty([each for each in group if each not in dead], self.by_git):
            dead |= {each for part in found for each in part}
        print(f"plain git cannot live with {', '.join(map(str, dead)) or 'none'}")
        alive = [
            each
            for each in group
            if each not in dead and not ALLOWED.keys() & {each.name, str(each)}
        ]
        differ = guilty(alive, self.by_tlc) if alive else {}
        return {" ".join(map(str, part)): said for part, said in differ.items()}


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("sweep"), archive)


# The parts of `make sweep`, for as many workers as there are.
GROUPS = groups(settings()) + groups(variables())


@pytest.mark.sweep
@pytest.mark.parametrize("number", range(len(GROUPS)))
def test_no_setting_changes_what_tlc_does(sweep: Sweep, number: int) -> None:
    assert sweep.findings(GROUPS[number]) == {}


# Those that made a difference once, or that are the likeliest to.
KNOWN = """color.ui=always color.branch=always core.quotePath=true diff.ignoreSubmodules=all fetch.output=compact
    format.pretty=oneline log.date=iso log.showSignature=true core.autocrlf=true safe.bareRepository=explicit
    status.showUntrackedFiles=no fetch.prune=true core.abbrev=4 init.defaultBranch=trunk core.eol=crlf
    core.logAllRefUpdates=false core.preferSymlinkRefs=true column.ui=always status.branch=true
    status.showStash=true diff.mnemonicPrefix=true branch.autoSetupMerge=false clone.rejectShallow=true"""


def of_text(text: str) -> list[Setting]:
    return [Setting(name, value) for name, _, value in (one.partition("=") for one in text.split())]


def test_a_sample_of_settings_and_variables_changes_nothing(
    sweep: Sweep, moments: random.Random
) -> None:
    known = {each.name: each for each in of_text(KNOWN)}
    rest = {each.name: each for each in settings() if each.name not in known}
    drawn = moments.sample([*rest.values()], GROUP - len(known))
    drawn += moments.sample(groups(variables())[0], 20)
    assert sweep.findings([*known.values(), *drawn]) == {}


def test_no_value_leads_out_of_the_sandbox() -> None:
    values = {
        value for table in (MORE, VARIABLES) for several in table.values() for value in several
    } | {value for table in OTHERS.values() for value in table.values()}
    assert {value for value in values if value.startswith("/")} == {"/"}  # a ceiling is only read
    assert VARIABLES["GIT_CEILING_DIRECTORIES"] == ["/"]


def test_the_list_of_settings_is_git_s_own() -> None:
    names = {each.name for each in settings()}
    assert len(names) > 300
    assert {each.name for each in of_text(KNOWN)} <= names
    assert set(ALLOWED) <= names | {str(each) for each in [*settings(), *variables()]}


# --- the variables of the other programs

# HERE is the person's home. What leads such a program elsewhere by its very purpose is the person's to say, and left
# out: PGHOST and PGUSER (the administrator), UV_TOOL_DIR, UV_CACHE_DIR, indexes, npm_config_prefix.
OTHERS = {
    "libpq": {
        "PGAPPNAME": "mine",
        "PGCHANNELBINDING": "require",
        "PGCLIENTENCODING": "LATIN1",
        "PGCONNECT_TIMEOUT": "2",
        "PGDATABASE": "other",
        "PGDATESTYLE": "German",
        "PGGSSENCMODE": "require",
        "PGOPTIONS": "-c search_path=other -c default_transaction_read_only=on",
        "PGPASSFILE": "HERE/nowhere",
        "PGPASSWORD": "wrong",
        "PGPORT": "1",
        "PGREQUIREAUTH": "none",
        "PGSERVICE": "other",
        "PGSERVICEFILE": "HERE/nowhere",
        "PGSSLMODE": "allow",
        "PGSSLROOTCERT": "HERE/nowhere",
        "PGTARGETSESSIONATTRS": "standby",
        "PGTZ": "Asia/Kathmandu",
        "PG_COLOR": "always",
        "PSQLRC": "HERE/psqlrc",
        "PSQL_PAGER": "false",
    },
    "uv": {
        "CLICOLOR_FORCE": "1",
        "CONDA_PREFIX": "HERE/nowhere",
        "FORCE_COLOR": "1",
        "RUST_LOG": "uv=debug",
        "UV_COMPILE_BYTECODE": "1",
        "UV_CONCURRENT_BUILDS": "1",
        "UV_ENV_FILE": ".env",
        "UV_LINK_MODE": "copy",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PROJECT": "HERE/nowhere",
        "UV_PROJECT_ENVIRONMENT": "HERE/nowhere",
        "UV_PYTHON": "3.99",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_REQUIRE_HASHES": "1",
        "UV_SYSTEM_PYTHON": "1",
        "UV_WORKING_DIR": "HERE/nowhere",
        "VIRTUAL_ENV": "HERE/nowhere",
        "XDG_BIN_HOME": "HERE/.local/bin",
    },
    "pip and Python": {
        "PIP_CONFIG_FILE": "HERE/nowhere",
        "PIP_NO_INDEX": "1",
        "PIP_PREFIX": "HERE/nowhere",
        "PIP_QUIET": "3",
        "PIP_REQUIRE_HASHES": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_TARGET": "HERE/nowhere",
        "PIP_USER": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "ascii",
        "PYTHONNOUSERSITE": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONPATH": "HERE/nowhere",
        "PYTHONSAFEPATH": "1",
        "PYTHONSTARTUP": "HERE/nowhere",
        "PYTHONUTF8": "0",
        "PYTHONWARNINGS": "always",
    },
    "npm": {
        "NODE_NO_WARNINGS": "0",
        "NODE_OPTIONS": "--trace-warnings",
        "NPM_CONFIG_GLOBAL": "true",
        "npm_config_color": "always",
        "npm_config_depth": "3",
        "npm_config_json": "false",
        "npm_config_long": "true",
        "npm_config_loglevel": "silly",
        "npm_config_omit": "dev",
        "npm_config_parseable": "true",
        "npm_config_unicode": "false",
        "npm_config_userconfig": "HERE/nowhere",
    },
}


# What of `up` calls them.
CALLED_BY = {
    "libpq": ["ensure-db-user"],
    "npm": ["install-tools"],
    "uv": ["install-tools", "create-venvs"],
    "pip and Python": ["create-venvs"],
}


class ToolsStory:
    """A machine on which a part of `up` begins from nothing, with variables; and what comes of it."""

    def __init__(self, machine: Workstation) -> None:
        self.machine = machine
        package = machine.home / "npm/lib/node_modules/rtlcss/package.json"
        package.parent.mkdir(parents=True)
        package.write_text('{"name": "rtlcss", "version": "4.3.0"}\n')
        psqlrc = "\\set ON_ERROR_STOP off\n\\pset format html\n\\timing on\n"
        (machine.home / "psqlrc").write_text(psqlrc)
        for stage in ("pull-repos", "install-tools"):
            assert machine.yes("up", "--only", stage).code == 0

    def tell(self, stages: Sequence[str], env: dict[str, str]) -> dict[Any, Any]:
        machine = self.machine
        forget_role(machine.server)
        for name in ("venvs", "conf"):
            shutil.rmtree(machine.root / name, ignore_errors=True)
        (machine.home / ".local/bin/odoo-v18").unlink(missing_ok=True)
        only = [word for stage in stages for word in ("--only", stage)]
        first, again = (machine.yes("up", *only, env=env) for _ in range(2))
        told: dict[Any, Any] = dict(statuses_by_item(first))
        told["codes"] = (first.code, again.code)
        told["again"] = set(statuses_by_item(again).values())
        told["python"] = [path.name for path in machine.venv.glob("lib/python*")]
        conf = machine.root / "conf/odoo-18.0.conf"
        return told | {"conf": conf.read_bytes() if conf.exists() else b""}

    def compare(self, stages: Sequence[str], group: Sequence[Setting]) -> dict[str, str]:
        """Return the smallest parts of a group that make a difference, with that."""
        here = str(self.machine.home)
        without = self.tell(stages, {})
        assert without["codes"] == (0, 0) and without["again"] == {"ok"}, without

        def differs(part: Sequence[Setting]) -> str:
            env = {each.name: each.value.replace("HERE", here) for each in part}
            said = difference(without, self.tell(stages, env))
            print(f"{len(part)} variables: {said or 'same'}", flush=True)
            return said

        found = guilty(group, differs)
        return {" ".join(map(str, part)): said for part, said in found.items()}


@pytest.fixture
def tools_story(
    sandbox: Sandbox, request: pytest.FixtureRequest, server: PostgresServer
) -> ToolsStory:
    if not shutil.which("npm"):
        pytest.skip("npm is missing: sudo apt-get install npm")
    tools = request.getfixturevalue("tools")
    return ToolsStory(Workstation(sandbox, tools, server, 'npm = ["rtlcss"]\n'))


@pytest.mark.sweep
@pytest.mark.parametrize("program", OTHERS)
def test_no_variable_of_another_program_changes_what_tlc_does(
    tools_story: ToolsStory, program: str
) -> None:
    group = [Setting(name, value, True) for name, value in OTHERS[program].items()]
    assert tools_story.compare(CALLED_BY[program], group) == {}
