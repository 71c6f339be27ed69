"""Completion, asked of the real shells, and the JSON Schema that completes config.toml in an editor."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Sandbox
from readme import blocks
from terminal import Terminal

import tlc

CONFIG = """versions = ["17.0", "18.0"]
[repos]
odoo = ["odoo"]
oca = ["web", ["oca-port", ["main"]]]
"""
# All that a config may say that a shell could take for something else.
STRANGE = """versions = ["17.0", "master"]
[repos]
"Org.x-1" = [
    { name = "_a.b-c", branches = ["17.0-fix/x+y@z=1#2", "up", "feature/#1"] },
    "status",
]
oca = ["doctor", "17.0"]
"""

# Bash inserts all that it would offer, and so can be asked for it: M-* is readline's insert-completions.
BASH = r"""
PS1='ready> '
source {script}
tlc() {{ printf '<%s>' "$@"; echo '<end>'; }}
"""
ZSH = r"""
PS1='ready> '
setopt interactivecomments
autoload -Uz compinit && compinit -D -u
source {script}
zle -C all-matches complete-word _generic
bindkey '\e*' all-matches
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
tlc() {{ printf '<%s>' "$@"; echo '<end>' }}
"""


class Shell:
    """A shell that has read tlc's completion of a sandbox. Nothing called python or tlc runs in it unseen."""

    def __init__(self, name: str, sandbox: Sandbox, config: str = CONFIG) -> None:
        self.name, self.sandbox = name, sandbox
        if not shutil.which(name):
            pytest.skip(f"{name} is missing: sudo apt-get install {name}, or your system's package")
        if config:
            sandbox.config(config)
        run = sandbox.tlc("completion", name)
        assert (run.code, run.err) == (0, "")
        self.script = sandbox.home / f"completion.{name}"
        self.script.write_text(run.out)
        self.started = sandbox.home / "started"
        for program in ("tlc", "python", "python3"):
            path = sandbox.home / "bin" / program
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\necho {program} >>{self.started}\n")
            path.chmod(0o755)
        sandbox.env["PATH"] = f"{sandbox.home}/bin:{sandbox.env['PATH']}"
        self.terminal: Terminal | None = None
        self.asked = 0

    def __enter__(self) -> Shell:
        if self.name != "fish":
            setup = self.sandbox.home / f"setup.{self.name}"
            setup.write_text((BASH if self.name == "bash" else ZSH).format(script=self.script))
            command = (
                ["bash", "--norc", "--noprofile", "-i"]
                if self.name == "bash"
                else ["zsh", "-f", "-i"]
            )
            self.terminal = Terminal(
                command, self.sandbox.env, cwd=self.sandbox.home, columns=2000, rows=50
            )
            self.terminal.send(f". {setup}\r")
            self.terminal.wait_for("ready>")
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal:
            self.terminal.__exit__()
        assert not self.started.exists(), f"a Tab started {self.started.read_text()}"

    def offers(self, line: str) -> set[str]:
        """What the shell offers for the last word of a line."""
        return self.offers_for(line)[line]

    def offers_for(self, *lines: str) -> dict[str, set[str]]:
        """What the shell offers for the last word of each line."""
        if self.terminal:
            return {line: self.inserts(self.terminal, line) for line in lines}
        asked = "".join(f"; complete -C {line!r}; echo '<end>'" for line in lines)
        done = subprocess.run(
            ["fish", "-N", "-c", f"source {self.script}{asked}"],
            env=self.sandbox.env,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        offered = done.stdout.split("<end>\n")
        assert len(offered) == len(lines) + 1
        return {
            line: {each.partition("\t")[0] for each in text.splitlines()}
            for line, text in zip(lines, offered, strict=False)
        }

    def inserts(self, terminal: Terminal, line: str) -> set[str]:
        """What bash or zsh inserts when it is asked to insert all that it offers."""
        *given, last = line.split(" ")[1:]
        self.asked += 1
        terminal.send(f"{line}\x1b*\r")
        terminal.wait_for("<end>", times=self.asked)
        printed = [each for each in terminal.lines if re.fullmatch("<.*><end>", each)][
            self.asked - 1
        ]
        words = re.findall("<(.*?)>", printed)[:-1]
        assert words[: len(given)] == given, printed
        # Of several that bash would show, which go on behind an @, it inserts all but the first as shown.
        head = last.rpartition("@")[0] if self.name == "bash" else ""
        return {
            head + word if head and word[0] == "@" else word
            for word in words[len(given) :]
            if word != last
        }


SHELLS = ["bash", "zsh", "fish"]
COMMANDS = {each.name for each in tlc.COMMANDS.values() if each.help_group}
STAGES = set(tlc.UP)
GROUPS = {group.replace(" ", "-") for group in tlc.GROUPS}
NAMES = {
    *("odoo", "odoo/odoo", "odoo@17.0", "odoo@18.0", "odoo/odoo@17.0", "odoo/odoo@18.0"),
    *("oca", "web", "oca/web", "web@17.0", "web@18.0", "oca/web@17.0", "oca/web@18.0"),
    *("oca-port", "oca/oca-port", "oca-port@main", "oca/oca-port@main"),
}
# what was typed -> what is offered; options only behind a -
LINES: dict[str, set[str]] = {
    "tlc ": COMMANDS,
    "tlc pu": {"pull-repos"},
    "tlc --json pu": {"pull-repos"},
    "tlc --color ": {"auto", "always", "never"},
    "tlc status --color a": {"auto", "always"},
    "tlc pull-repos -f ": NAMES,
    "tlc pull-repos -f we": {"web", "web@17.0", "web@18.0"},
    "tlc pull-repos -f web@": {"web@17.0", "web@18.0"},
    "tlc pull-repos -f oca/web@": {"oca/web@17.0", "oca/web@18.0"},
    "tlc pull-repos -f oca/web@17": {"oca/web@17.0"},
    "tlc -n pull-repos --force --filter oca/oca-port@": {"oca/oca-port@main"},
    "tlc freeze -f oca/web@17": {"oca/web@17.0"},
    "tlc status -f web -f odoo/": {"odoo/odoo", "odoo/odoo@17.0", "odoo/odoo@18.0"},
    "tlc create-venvs ": {"17.0", "18.0"},
    "tlc create-venvs 17.0 18": {"18.0"},
    "tlc run ": {"17.0", "18.0"},
    "tlc foreach -f we": {"web", "web@17.0", "web@18.0"},
    "tlc foreach --filter oca/web@17": {"oca/web@17.0"},
    "tlc prune ": {"17.0", "18.0"},
    "tlc generate-config ": set(tlc.profiles()),
    "tlc generate-config oca": {"oca-contributor"},
    "tlc up --only ": STAGES,
    "tlc up --skip init --skip doc": {"doctor"},
    "tlc bootstrap --only ": {"git", "gh", "uv", "ssh"},
    "tlc doctor ": GROUPS,
    "tlc doctor Tools Vi": {"Virtual-Environments"},
    "tlc completion ": set(SHELLS),
    "tlc config ": {"edit", "schema"},
    "tlc help pu": {"pull-repos"},
}
OPTIONS = {
    "tlc --": {
        "--help",
        "--version",
        "--json",
        "--no-newcomer",
        "--yes",
        "--dry-run",
        "--jobs",
        "--color",
        "--quiet",
    },
    "tlc pull-repos --": {"--force", "--filter", "--json", "--dry-run", "--lock", "--full-history"},
    "tlc freeze --": {"--filter", "--json"},
    "tlc doctor --": {"--offline", "--fix", "--json"},
    "tlc foreach --": {"--filter", "--jobs", "--json", "--dry-run"},
    "tlc up --s": {"--skip"},
    "tlc install-tools --no-d": {"--no-default-packages"},
}


def plain(words: set[str]) -> set[str]:
    """Without options."""
    return {word for word in words if not word.startswith("-")}


@pytest.mark.parametrize("name", SHELLS)
def test_what_is_offered(sandbox: Sandbox, name: str) -> None:
    with Shell(name, sandbox) as shell:
        offered = shell.offers_for(*LINES, *OPTIONS)
        assert {line: offered[line] for line in LINES} == LINES
        for line, options in OPTIONS.items():
            assert options <= offered[line], line


@pytest.mark.parametrize("name", SHELLS)
def test_the_first_tab_is_as_good_as_the_next(sandbox: Sandbox, name: str) -> None:
    with Shell(name, sandbox) as shell:
        assert shell.offers("tlc status -f oca/web@17") == {"oca/web@17.0"}


@pytest.mark.parametrize("name", SHELLS)
def test_names_that_a_shell_could_take_for_something_else(sandbox: Sandbox, name: str) -> None:
    config = tlc.parse_config(STRANGE)
    with Shell(name, sandbox, STRANGE) as shell:
        items = {f"Org.x-1/{each}" for each in ("_a.b-c", "status", "status@17.0", "status@master")}
        items |= {
            f"Org.x-1/_a.b-c@{branch}" for branch in ("17.0-fix/x+y@z=1#2", "up", "feature/#1")
        }
        assert items <= {f"{each.organisation}/{each.name}" for each in config.repositories} | {
            each.item for each in config.repositories
        }
        assert shell.offers("tlc pull-repos -f Org.x-1/") == items
        assert shell.offers("tlc pull-repos -f Org.x-1/_a.b-c@fe") == {"Org.x-1/_a.b-c@feature/#1"}
        assert shell.offers("tlc pull-repos -f Org.x-1/_a.b-c@17.0-fix/x+y@z=") == {
            "Org.x-1/_a.b-c@17.0-fix/x+y@z=1#2"
        }
        # A repository called as a command is none.
        assert plain(shell.offers("tlc pull-repos -f status -f oca/d")) == {
            *("oca/doctor", "oca/doctor@17.0", "oca/doctor@master")
        }
        assert plain(shell.offers("tlc create-venvs ")) == {"17.0", "master"}


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("config", ["", "versions = [\n"], ids=["no config", "broken config"])
def test_without_a_valid_config(sandbox: Sandbox, name: str, config: str) -> None:
    with Shell(name, sandbox, config) as shell:
        assert plain(shell.offers("tlc ")) == COMMANDS
        assert plain(shell.offers("tlc create-venvs ")) == set()


@pytest.mark.parametrize("name", SHELLS)
def test_what_the_config_says_later_is_offered_too(sandbox: Sandbox, name: str) -> None:
    """A script that was made before there was a config; no tlc is started by a Tab."""
    with Shell(name, sandbox, "") as shell:
        assert plain(shell.offers("tlc create-venvs ")) == set()
        for version in ("17.0", "18.0"):
            sandbox.config(CONFIG.replace('"17.0", "18.0"', f'"{version}"'))
            assert sandbox.tlc("--yes", "init").code == 0
            assert plain(shell.offers("tlc create-venvs ")) == {version}
            assert plain(shell.offers("tlc status -f web@")) == {f"web@{version}"}


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_the_shell_is_left_as_it_was(sandbox: Sandbox, name: str) -> None:
    """Completing for tlc changes nothing for other commands."""
    with Shell(name, sandbox) as shell:
        assert shell.terminal
        variables = (
            "[$COMP_WORDBREAKS][$words][$options][$kept][$each][$previous][$current][$command]"
        )
        shown: list[str] = []
        for _ in range(2):
            shell.terminal.send(f'echo "{variables}"; echo "shown"\r')
            shell.terminal.wait_for("\nshown", times=len(shown) + 1)
            shown.append([line for line in shell.terminal.lines if line.startswith("[")][-1])
            shell.offers("tlc pull-repos -f oca/web@")
        assert shown[0] == shown[1]


def test_a_shell_that_is_none(sandbox: Sandbox) -> None:
    run = sandbox.tlc("completion", "csh")
    assert (run.code, "did you mean zsh?" in run.err) == (2, True)


# --- config schema


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """The schema as an editor has it."""
    schema: dict[str, Any] = json.loads(json.dumps(tlc.SCHEMA))
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_one(sandbox: Sandbox, validator: jsonschema.Draft202012Validator) -> None:
    run = sandbox.tlc("config", "schema")
    schema = json.loads(run.out)
    assert (run.code, schema["$schema"]) == (0, "https://json-schema.org/draft/2020-12/schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {key: schema[key] for key in tlc.SCHEMA} == validator.schema
    # Words that are no JSON Schema's would be a typing error: `secret` is tlc's own.
    assert set(words_of(schema)) - set(jsonschema.Draft202012Validator.VALIDATORS) <= {
        *("$schema", "title", "description", "default", "deprecated", "secret")
    }


def words_of(schema: dict[str, Any]) -> set[str]:
    """The keywords of a schema and all in it."""
    found = set(schema)
    inner = [
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", []),
        *schema.get("prefixItems", []),
    ]
    inner += [
        schema[key] for key in ("items", "propertyNames", "additionalProperties") if key in schema
    ]
    for each in inner:
        if isinstance(each, dict):
            found |= words_of(each)
    return found


@pytest.mark.parametrize("name", [*tlc.profiles(), "README"])
def test_it_accepts(validator: jsonschema.Draft202012Validator, name: str) -> None:
    text = blocks("toml")[0] if name == "README" else tlc.profiles()[name]
    assert [error.message for error in validator.iter_errors(tomllib.loads(text))] == []


WRONG = [
    "versions = [17.0]",
    'versions = "17.0"',
    'versions = ["v17"]',
    'versions = ["17.0"]\njobs = 0',
    'versions = ["17.0"]\njobs = "4"',
    'versions = ["17.0"]\ncreate_launcher = "yes"',
    'versions = ["17.0"]\ninit_dirs = ["../x"]',
    'versions = ["17.0"]\nunknown = 1',
    'versions = ["17.0"]\n[gti]\ndepth = 1',
    'versions = ["17.0"]\n[git]\nprotocol = "http"',
    'versions = ["17.0"]\n[git]\ndepth = -1',
    'versions = ["17.0"]\n[git]\nlayout = "worktree"',
    'versions = ["17.0"]\n[repos]\noca = "web"',
    'versions = ["17.0"]\n[repos]\noca = ["-x"]',
    'versions = ["17.0"]\n[repos]\noca = ["web.git"]',
    'versions = ["17.0"]\n[repos]\noca = [["web", ["../x"]]]',
    'versions = ["17.0"]\n[repos]\noca = [{ branches = ["17.0"] }]',
    'versions = ["17.0"]\n[repos]\noca = [{ name = "x", url = "ext::sh" }]',
    'versions = ["17.0"]\n[repos]\nconf = ["x"]',
    'versions = ["17.0"]\n[tools]\nuv = ["a b"]',
    'versions = ["17.0"]\n[tools]\nnpm = ["A"]',
    'versions = ["17.0"]\n[tools]\nsystem_packages = ["sudo-"]',
    'versions = ["17.0"]\n[[tools.script]]\nname = "x"',
    'versions = ["17.0"]\n[[tools.script]]\nurl = "http://x/y"',
    'versions = ["17.0"]\n[[tools.script]]\nurl = "https://x/y"\nsha256 = "abc"',
    'versions = ["17.0"]\n[venvs]\npython = { "18" = "3.12" }',
    'versions = ["17.0"]\n[venvs]\npython = { "18.0" = "2.7" }',
    'versions = ["17.0"]\n[postgres]\nuser = "a b"',
    'versions = ["17.0"]\n[postgres]\nport = 0',
]


@pytest.mark.parametrize("text", WRONG)
def test_it_refuses_what_tlc_refuses_or_warns_of(
    validator: jsonschema.Draft202012Validator, text: str
) -> None:
    assert not validator.is_valid(tomllib.loads(text))
    with contextlib.suppress(tlc.ConfigError):
        assert tlc.parse_config(text).warnings


def test_generated_configs_name_the_schema(sandbox: Sandbox, tmp_path: Path) -> None:
    for profile in tlc.profiles():
        assert sandbox.tlc("--yes", "generate-config", profile).code == 0
        first = (sandbox.root / "config.toml").read_text().splitlines()[0]
        assert re.fullmatch(r"#:schema https://\S+\.json", first)
    sandbox.env["TLC_CODE_DIR"] = str(tmp_path / "other")
    assert sandbox.tlc("--yes", "init").code == 0
    assert (tmp_path / "other/config.toml").read_text().startswith("#:schema https://")
