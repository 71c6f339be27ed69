"""The command line: options, environment, exit codes, init and generate-config, what is said where."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pythons
from conftest import PROJECT, Run, Sandbox, interrupt
from terminal import Terminal

import tlc

VERSIONS = 'versions = ["17.0"]\n'
MADE = [
    *("venvs", "odoo/odoo/17.0", "odoo/enterprise/17.0", "oca/17.0", "conf"),
    *("trobz/projects", "trobz/packages"),
]


def everything(directory: Path) -> dict[str, tuple[object, ...]]:
    """All that is below a directory: name -> type, mode, time of the last change, and content."""
    return {
        str(path.relative_to(directory)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else path.is_symlink() and os.readlink(path),
        )
        for path in [directory, *directory.rglob("*")]
    }


def logs(sandbox: Sandbox) -> list[str]:
    return sorted(path.name for path in sandbox.state.glob("*.log"))


def closing_line(run: Run) -> str:
    """The counts of the closing block."""
    counts = r"(?:^|\] |Interrupted\. )((?:\w+ \d+(?: · )?)+)  in \d+\.\d s$"
    [found] = re.findall(counts, run.err, re.MULTILINE)
    return str(found)


@pytest.fixture
def home(sandbox: Sandbox) -> Sandbox:
    """A sandbox with a config of one version."""
    sandbox.config(VERSIONS)
    return sandbox


# --- options

OPTIONS = [
    (["--newcomer"], {"newcomer": True}),
    (["--no-newcomer"], {"newcomer": False}),
    (["-y"], {"yes": True}),
    (["--yes"], {"yes": True}),
    (["-n"], {"dry_run": True}),
    (["--dry-run"], {"dry_run": True}),
    (["-j", "7"], {"jobs": "7"}),
    (["-j7"], {"jobs": "7"}),
    (["--jobs=7"], {"jobs": "7"}),
    (["--json"], {"json": True}),
    (["--color", "never"], {"color": "never"}),
    (["-v"], {"verbose": True}),
    (["--verbose"], {"verbose": True}),
    (["-q"], {"quiet": True}),
    (["--quiet"], {"quiet": True}),
    (["-yq"], {"yes": True, "quiet": True}),
]


def parsed(*arguments: str) -> dict[str, object]:
    """The command and the options that were given."""
    return {name: value for name, value in tlc.parse_arguments(arguments).items() if name != "help"}


@pytest.mark.parametrize(("options", "expected"), OPTIONS)
def test_a_global_option_means_the_same_before_and_after_the_command(
    options: list[str], expected: dict[str, object]
) -> None:
    assert parsed(*options, "init") == {"command": "init", **expected}
    assert parsed("init", *options) == {"command": "init", **expected}


def test_options_on_both_sides_add_up_and_the_last_one_counts() -> None:
    given = parsed("-y", "--newcomer", "-j1", "init", "--no-newcomer", "-j2", "-n")
    assert given == {
        "command": "init",
        "yes": True,
        "newcomer": False,
        "jobs": "2",
        "dry_run": True,
    }


@pytest.mark.parametrize(
    "arguments", [["--json", "--dry-run", "init"], ["init", "--json", "--dry-run"]]
)
def test_a_dry_run_as_json_works_on_both_sides_of_the_command(
    home: Sandbox, arguments: list[str]
) -> None:
    run = home.tlc(*arguments)
    assert run.code == 0
    assert {result["status"] for result in run.json()["results"]} == {"planned", "ok"}
    assert os.listdir(home.root) == ["config.toml"]


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--version", "init"], ["init", "--version"], ["-q", "--version"]]
)
def test_the_version_is_told_everywhere(sandbox: Sandbox, arguments: list[str]) -> None:
    run = sandbox.tlc(*arguments)
    assert (run.code, run.out, run.err) == (0, f"tlc {tlc.__version__}\n", "")


@pytest.mark.parametrize("name", tlc.COMMANDS)
def test_the_help_of_a_command_has_examples_that_run(sandbox: Sandbox, name: str) -> None:
    run = sandbox.tlc(name, "--help")
    assert run.code == 0
    assert run.out == sandbox.tlc("help", name).out
    examples = re.findall(r"^  tlc (.*)$", run.out.partition("\nexamples:\n")[2], re.MULTILINE)
    assert len(examples) == 2 or not tlc.COMMANDS[name].help_group
    sandbox.config(tlc.profiles()["odoo-dev"])
    sandbox.env["PATH"] += f":{pythons.uv().parent}"
    # What they find wrong in an empty home without a network is an answer.
    refused = name in ("doctor", "self-update", "ensure-db-user", "create-venvs", "run")
    refused |= name == "generate-config"  # there is no team
    for example in examples:
        assert example.split()[0] == name
        tried = sandbox.tlc(*shlex.split(example), "--dry-run")
        assert tried.code == 0 or (refused and tried.code == 1), tried.err
        assert not re.search(r"[\x1b\r\b]", tried.out + tried.err), "there is no terminal"


def test_the_help_names_every_command_option_and_variable(sandbox: Sandbox) -> None:
    text = sandbox.tlc("--help").out
    assert text == sandbox.tlc("help").out == sandbox.tlc("-h").out
    assert all(f"\n{group}:\n" in text for group in tlc.HELP_GROUPS)
    shown = [each.name for each in tlc.COMMANDS.values() if each.help_group]
    places = {text.index(f"\n  {name} "): name for name in shown}
    assert places[min(places)] == "up"
    for option in [flag for flags in tlc.GLOBAL_OPTIONS for flag in flags] + ["--version"]:
        assert re.search(rf"\n  .*{option}\b", text)
    for variable in ("TLC_CODE_DIR", "TLC_JOBS", "NEWCOMER_MODE", "NO_COLOR", "FORCE_COLOR"):
        assert variable in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


# --- wrong usage

WRONG = [
    (["ini"], "There is no command ini; did you mean init?"),
    (["pull-repo"], "did you mean pull-repos?"),
    (["update"], "did you mean self-update or up?"),
    (["generate_config", "odoo-dev"], "did you mean generate-config?"),
    (["xyzzy"], "There is no command xyzzy; choose from "),
    (["help", "stauts"], "did you mean status?"),
    (["init", "--yse"], "tlc init has no option --yse; did you mean --yes?"),
    (["up", "--onyl", "init"], "tlc up has no option --onyl; did you mean --only?"),
    (["--dry-runs", "init"], "did you mean --dry-run?"),
    (["pull-repos", "--forced"], "did you mean --force?"),
    (["pull-repos", "--filter"], "--filter needs NAME"),
    (["pull-repos", "--lock"], "--lock needs FILE"),
    (["pull-repos", "--full-histroy"], "did you mean --full-history?"),
    (["freez"], "did you mean freeze?"),
    (["pull-repos", "web"], "did you mean -f web?"),
    (["up", "--only"], "--only needs STAGE: bootstrap, init, "),
    (["up", "--only", "venvs"], "There is no stage venvs; did you mean create-venvs?"),
    (["up", "--skip", "create-venv"], "did you mean create-venvs?"),
    (["bootstrap", "--only", "gti"], "did you mean git?"),
    (["init", "extra"], "tlc init has no argument extra"),
    (["generate-config"], "tlc generate-config needs PROFILE"),
    (["generate-config", "odoo-dv"], "did you mean odoo-dev?"),
    (["generate-config", "oca-contributer"], "did you mean oca-contributor?"),
    (["generate-config", "minimal"], "did you mean odoo-minimal?"),
    (["generate-config", "xyzzy"], "choose from odoo-minimal, odoo-dev, oca-contributor"),
    (["run"], "tlc run needs VERSION\n"),
    (["completion", "bsh"], "did you mean bash?"),
    (["--color", "sometimes", "init"], "choose from auto, always, never"),
    (["init", "--jobs"], "--jobs needs N"),
    *(
        (place, "allowed: a number from 1 to 64")
        for jobs in ("0", "65", "-1", "abc", "1.5", "٣", "9" * 5000, "")
        for place in (["--jobs", jobs, "init"], ["init", f"--jobs={jobs}"])
    ),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_usage_is_told_with_the_way_out_and_exit_code_2(
    home: Sandbox, arguments: list[str], said: str
) -> None:
    before = everything(home.home)
    run = home.tlc("--yes", *arguments)
    assert run.code == 2
    assert run.out == ""
    assert said in run.err
    # Where the words to choose from are named, nothing that could be pasted helps more.
    enough = "choose from" in run.err or "allowed:" in run.err
    assert enough or re.search(r"^→ python3 \S+ \S", run.err, re.MULTILINE)
    assert everything(home.home) == before


@pytest.mark.parametrize("command", ["create-venvs", "run"])
def test_a_version_that_the_config_lacks_is_told_without_a_guess(
    sandbox: Sandbox, command: str
) -> None:
    sandbox.config('versions = ["18.0", "19.0"]\n')
    run = sandbox.tlc(command, "17.0")
    told = "tlc: The config has no version 17.0; it has 18.0, 19.0\n"
    assert (run.code, run.err) == (
        2,
        f'{told}add "17.0" to versions in config.toml, then run tlc up\n',
    )


def test_words_count_in_any_case(sandbox: Sandbox) -> None:
    run = sandbox.tlc("generate-config", "Odoo-Dev", "--dry-run", "--color", "NEVER")
    assert (run.code, "write ~/code/config.toml" in run.out) == (0, True)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "NEWCOMER_MODE",
            "maybe",
            "NEWCOMER_MODE is 'maybe'; allowed: true, t, 1, yes, y, on, false, f, 0, no, n, off",
        ),
        ("TLC_JOBS", "0", "allowed: a number from 1 to 64"),
        ("TLC_JOBS", "65", "allowed: a number from 1 to 64"),
        ("TLC_JOBS", "abc", "allowed: a number from 1 to 64"),
    ],
)
def test_a_wrong_variable_is_told_with_exit_code_2(
    home: Sandbox, variable: str, value: str, said: str
) -> None:
    run = home.tlc("init", "--dry-run", env={variable: value})
    assert (run.code, run.out) == (2, "")
    assert variable in run.err
    assert said in run.err


@pytest.mark.parametrize(
    ("arguments", "env", "code"),
    [
        (["-j", "1"], {}, 1),
        (["-j", "64"], {"TLC_JOBS": "2"}, 64),
        ([], {"TLC_JOBS": "2"}, 2),
        ([], {"TLC_JOBS": ""}, 0),
        ([], {}, 0),
    ],
)
def test_the_option_for_jobs_goes_before_the_variable(
    arguments: list[str], env: dict[str, str], code: int
) -> None:
    assert tlc.make_settings(tlc.parse_arguments(["init", *arguments]), env).jobs == code


ASKS = dict.fromkeys(["", "true", "t", "1", "yes", "y", "on", "TRUE", " Yes "], True)
ASKS |= dict.fromkeys(["false", "f", "0", "no", "n", "off", "False", "OFF"], False)


@pytest.mark.parametrize(("value", "asks"), ASKS.items())
def test_the_variable_says_whether_newcomer_mode_is_on(value: str, asks: bool) -> None:
    for given, expected in (({}, asks), ({"newcomer": True}, True), ({"newcomer": False}, False)):
        assert (
            tlc.make_settings({"command": "init", **given}, {"NEWCOMER_MODE": value}).newcomer
            is expected
        )


@pytest.mark.parametrize(("value", "code"), [("off", 0), ("on", 1)])
def test_outside_newcomer_mode_nobody_is_asked(home: Sandbox, value: str, code: int) -> None:
    run = home.tlc("init", env={"NEWCOMER_MODE": value})
    assert run.code == code
    assert ("[Y/n/d]" in run.err) is bool(code)


@pytest.mark.parametrize(
    "arguments", [["--bogus"], ["init", "--bogus"], ["bogus"], ["init", "-j", "0"]]
)
def test_wrong_usage_is_an_error_document_with_json(sandbox: Sandbox, arguments: list[str]) -> None:
    for place in (["--json", *arguments], [*arguments, "--json"]):
        run = sandbox.tlc(*place)
        assert run.code == 2
        assert run.json()["ok"] is False
        assert run.json()["error"]["code"] == "usage"


def test_the_code_root_may_be_given_with_a_tilde(home: Sandbox) -> None:
    run = home.tlc("--yes", "init", env={"TLC_CODE_DIR": "~/work here"})
    assert run.code == 0
    assert (home.home / "work here" / "config.toml").is_file()
    assert not (home.root / "venvs").exists()
    assert "~/work here/" in run.out


def test_a_code_root_below_a_home_that_is_not_there(home: Sandbox) -> None:
    before = everything(home.home)
    run = home.tlc("--yes", "init", env={"TLC_CODE_DIR": "~nobody-of-that-name/code"})
    assert (run.code, "~nobody-of-that-name/code: no home directory" in run.err) == (2, True)
    assert everything(home.home) == before


def test_the_code_root_may_be_relative(home: Sandbox) -> None:
    assert home.tlc("--yes", "init", env={"TLC_CODE_DIR": "here"}).code == 0
    assert (home.home / "here" / "config.toml").is_file()


# --- tlc alone


def next_command(run: Run, prefix: str) -> list[str]:
    [line] = re.findall(rf"^{prefix} +(.*)$", run.out + run.err, re.MULTILINE)
    return shlex.split(line)


def test_tlc_alone_leads_a_newcomer_from_nothing_to_the_repositories(sandbox: Sandbox) -> None:
    python = ["python3", str(sandbox.archive)]
    run = sandbox.tlc()
    assert run.code == 0
    assert "usage: tlc" in run.out
    assert "No ~/code/config.toml yet." in run.out
    assert next_command(run, "next:") == [*python, "up"]
    assert not sandbox.root.exists()

    sandbox.config(VERSIONS + '[repos]\noca = ["web", "queue"]\n')
    made = sandbox.tlc("--yes", "init")
    assert next_command(made, "next") == [*python, "up"]
    run = sandbox.tlc()
    assert "~/code: 0 of 2 repositories are cloned, 0 of 1 environments are built." in run.out
    assert next_command(run, "next:") == [*python, "up"]

    subprocess.run(["git", "init", "-q", sandbox.root / "oca/17.0/web"], check=True)
    assert "~/code: 1 of 2 repositories are cloned," in sandbox.tlc().out


def test_tlc_alone_tells_what_is_wrong_with_the_config(sandbox: Sandbox) -> None:
    sandbox.config("jobs = 0")
    run = sandbox.tlc()
    assert run.code == 0
    assert "usage: tlc" in run.out
    assert "config.toml:1: jobs: found 0" in run.out
    assert next_command(run, "next:")[-2:] == ["config", "edit"]


def test_tlc_alone_leaves_no_trace(home: Sandbox) -> None:
    before = everything(home.home)
    home.tlc()
    assert everything(home.home) == before


def test_tlc_alone_as_json_prints_one_document(home: Sandbox) -> None:
    assert isinstance(home.tlc("--json").json(), dict)


# --- colours

COLOURS: list[tuple[str, bool, dict[str, str], bool]] = [
    ("auto", True, {}, True),
    ("auto", False, {}, False),
    ("auto", True, {"NO_COLOR": "1"}, False),
    ("auto", True, {"NO_COLOR": ""}, True),
    ("auto", True, {"TERM": "dumb"}, False),
    ("auto", True, {"TERM": "xterm"}, True),
    ("auto", False, {"FORCE_COLOR": "1"}, True),
    ("auto", False, {"FORCE_COLOR": ""}, False),
    ("auto", False, {"CLICOLOR_FORCE": "1"}, True),
    ("auto", False, {"CLICOLOR_FORCE": "0"}, False),
    ("auto", False, {"CLICOLOR_FORCE": ""}, False),
    ("auto", False, {"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True),
    ("always", False, {}, True),
    ("always", False, {"NO_COLOR": "1", "TERM": "dumb"}, True),
    ("never", True, {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
]


@pytest.mark.parametrize(("mode", "is_terminal", "environ", "expected"), COLOURS)
def test_the_option_goes_before_the_variables_and_these_before_the_terminal(
    mode: str, is_terminal: bool, environ: Mapping[str, str], expected: bool
) -> None:
    assert tlc.wants_colour(mode, is_terminal, environ) is expected


@pytest.mark.parametrize(
    ("arguments", "env", "coloured"),
    [
        ([], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "1"}, True),
        (["--color=never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_a_run_is_as_colourful_as_asked(
    home: Sandbox, arguments: list[str], env: dict[str, str], coloured: bool
) -> None:
    run = home.tlc("--no-newcomer", "init", *arguments, env=env)
    assert run.code == 0
    assert ("\x1b[" in run.err) is coloured


# --- more and less to read


def test_quiet_leaves_only_the_closing_block(home: Sandbox) -> None:
    for counts in ("ok 1 · changed 7", "ok 8"):
        run = home.tlc("--quiet", "--yes", "init")
        assert (run.code, run.out) == (0, "")
        assert closing_line(run) == counts
        assert len(run.err.splitlines()) == 2  # with the next command


def test_quiet_still_shows_failures_with_their_mend(home: Sandbox) -> None:
    (home.root / "conf.old").mkdir(parents=True)
    (home.root / "conf").touch()
    run = home.tlc("--quiet", "--yes", "init")
    assert run.code == 1
    assert "conf: something that is not a directory is in the way" in run.err
    assert "→ mv ~/code/conf ~/code/conf.old.old && " in run.err


def test_quiet_never_asks_without_saying_what(home: Sandbox) -> None:
    run = home.tlc("--quiet", "init", input="n\n")
    assert run.code == 1
    question, asked, _ = run.err.partition("[Y/n/d]")
    assert asked
    assert "venvs/" in question


def test_verbose_shows_each_command_with_its_duration(home: Sandbox) -> None:
    home.config(VERSIONS + '[repos]\noca = ["web"]\n')
    subprocess.run(["git", "init", "-q", home.root / "oca/17.0/web"], check=True)
    command = re.compile(r"^\$ \S*/git .*status .*  # \d+\.\d\d s$", re.MULTILINE)
    assert command.search(home.tlc("pull-repos", "--dry-run", "--verbose").err)
    assert not command.search(home.tlc("pull-repos", "--dry-run").err)


# --- init


def test_a_dry_run_of_init_shows_the_tree_and_changes_nothing_at_all(sandbox: Sandbox) -> None:
    before = everything(sandbox.home)
    run = sandbox.tlc("init", "--dry-run")
    assert run.code == 0
    assert everything(sandbox.home) == before
    assert closing_line(run) == "planned 8"
    assert "[Y/n/d]" not in run.err
    version = tlc.NEWEST_ODOO
    assert run.out.splitlines()[:6] == [
        "~/code/",
        "├── config.toml      what this machine should have, new",
        "├── venvs/           virtual environments, one for each version, new",
        "├── odoo/",
        "│   ├── odoo/",
        f"│   │   └── {version}/    Odoo Community, new",
    ]


@pytest.mark.parametrize(
    ("answer", "said"), [("n\n", "Nothing was changed."), (None, "--yes"), ("", "--yes")]
)
def test_init_without_a_yes_changes_nothing_and_fails(
    sandbox: Sandbox, answer: str | None, said: str
) -> None:
    before = everything(sandbox.home)
    run = sandbox.tlc("init", input=answer)
    assert run.code == 1
    assert run.err.count("[Y/n/d]") == 1
    assert said in run.err
    assert everything(sandbox.home) == before


def test_an_answer_that_is_no_text_is_asked_for_again(sandbox: Sandbox) -> None:
    run = sandbox.tlc("init", input="é\n", env={"PYTHONIOENCODING": "ascii:strict"})
    assert (run.code, "Please answer y or n" in run.err) == (1, True)


def test_a_question_nobody_answers_is_an_error_document_with_json(sandbox: Sandbox) -> None:
    run = sandbox.tlc("init", "--json")
    assert run.code == 1
    assert run.json()["error"]["code"] == "declined"
    assert "[Y/n/d]" in run.err


def test_init_makes_the_tree_shows_it_and_a_second_run_changes_nothing(sandbox: Sandbox) -> None:
    sandbox.config('versions = ["17.0", "master"]\ninit_dirs = ["customer/a b", "été"]\n')
    first = sandbox.tlc("init", input="y\n")
    assert first.code == 0
    assert closing_line(first) == "ok 1 · changed 12"
    for path in [*MADE, *(path.replace("17.0", "master") for path in MADE), "customer/a b", "été"]:
        assert (sandbox.root / path).is_dir()
    for line in (
        "│   └── master/      OCA repositories, new",
        "│   └── a b/         new",
        "└── été/             new",
    ):
        assert line in first.out

    before = {
        name: state
        for name, state in everything(sandbox.home).items()
        if not name.startswith(".local")
    }
    again = sandbox.tlc("init")
    assert again.code == 0
    assert closing_line(again) == "ok 13"
    assert "[Y/n/d]" not in again.err
    assert again.out.startswith("~/code/\n├── config.toml")
    assert "new" not in again.out
    after = {
        name: state
        for name, state in everything(sandbox.home).items()
        if not name.startswith(".local")
    }
    assert after == before


def test_init_writes_the_smallest_profile_where_there_is_no_config(sandbox: Sandbox) -> None:
    assert sandbox.tlc("init", "--yes").code == 0
    assert (sandbox.root / "config.toml").read_text() == tlc.profiles()["odoo-minimal"]


def test_init_leaves_a_config_alone(home: Sandbox) -> None:
    home.tlc("init", "--yes")
    assert (home.root / "config.toml").read_text() == VERSIONS


def test_a_file_in_the_way_fails_with_its_mend_and_the_others_are_made(home: Sandbox) -> None:
    (home.root / "oca").write_text("mine")
    (home.root / "conf").symlink_to("nowhere")
    run = home.tlc("init", "--yes", "--json")
    assert run.code == 1
    status = {result["name"]: result for result in run.json()["results"]}
    assert [name for name, result in status.items() if result["status"] == "failed"] == [
        "oca/17.0",
        "conf",
    ]
    assert status["conf"]["fix"].startswith("mv ~/code/conf ")
    assert "oca" in status["oca/17.0"]["message"]
    assert (home.root / "oca").read_text() == "mine"
    for path in MADE:
        assert (home.root / path).is_dir() is (path not in ("oca/17.0", "conf"))
    assert "log      ~/.local/state/tlc/" in run.err


def test_a_code_root_that_cannot_be_made_is_told_in_words(sandbox: Sandbox) -> None:
    (sandbox.home / "file").touch()
    run = sandbox.tlc("init", "--yes", env={"TLC_CODE_DIR": "~/file/code"})
    assert run.code == 1
    assert "Not a directory" in run.err
    assert "internal error" not in run.err.lower()
    assert "~/file/code" in run.err


def test_a_state_directory_that_cannot_be_made_stops_nobody(home: Sandbox) -> None:
    (home.home / "file").touch()
    run = home.tlc("init", "--yes", env={"XDG_STATE_HOME": str(home.home / "file")})
    assert (run.code, closing_line(run)) == (0, "ok 1 · changed 7")


# --- generate-config


@pytest.mark.parametrize("name", tlc.profiles())
def test_a_profile_is_written_as_it_is_and_valid(sandbox: Sandbox, name: str) -> None:
    run = sandbox.tlc("generate-config", name, input="y\n")
    assert run.code == 0
    assert (sandbox.root / "config.toml").read_text() == tlc.profiles()[name]
    assert sandbox.tlc("pull-repos", "--dry-run").code == 0
    again = sandbox.tlc("generate-config", name)
    assert (again.code, closing_line(again)) == (0, "ok 1")
    assert os.listdir(sandbox.root) == ["config.toml"]


@pytest.mark.parametrize("arguments", [[], ["--no-newcomer"]])
@pytest.mark.parametrize("answer", ["n\n", None])
def test_another_config_is_never_replaced_without_a_yes(
    home: Sandbox, arguments: list[str], answer: str | None
) -> None:
    before = everything(home.home)
    run = home.tlc("generate-config", "odoo-dev", *arguments, input=answer)
    assert run.code == 1
    assert "replace ~/code/config.toml" in run.err.partition("[Y/n/d]")[0]
    assert everything(home.home) == before


@pytest.mark.parametrize(
    ("arguments", "answer"), [(["--no-newcomer"], "y\n"), (["--yes"], None), ([], "\n")]
)
def test_a_replaced_config_is_kept_beside_the_new_one(
    home: Sandbox, arguments: list[str], answer: str | None
) -> None:
    old = b"# mine: \xff\r\n"
    (home.root / "config.toml").write_bytes(old)
    run = home.tlc("generate-config", "odoo-dev", *arguments, input=answer)
    assert run.code == 0
    assert (home.root / "config.toml").read_text() == tlc.profiles()["odoo-dev"]
    [kept] = home.root.glob("config.toml.*")
    assert kept.read_bytes() == old
    assert f"the old one is ~/code/{kept.name}" in run.err


def test_replacements_in_one_second_keep_every_old_one(home: Sandbox) -> None:
    for profile in ("odoo-dev", "odoo-minimal", "oca-contributor"):
        assert home.tlc("generate-config", profile, "--yes").code == 0
    kept = {path.read_text() for path in home.root.glob("config.toml.*")}
    assert kept == {VERSIONS, tlc.profiles()["odoo-dev"], tlc.profiles()["odoo-minimal"]}


def test_a_config_that_is_a_link_is_written_through(home: Sandbox) -> None:
    dotfiles = home.home / "dotfiles" / "tlc.toml"
    dotfiles.parent.mkdir()
    (home.root / "config.toml").rename(dotfiles)
    (home.root / "config.toml").symlink_to(dotfiles)
    assert home.tlc("generate-config", "odoo-dev", "--yes").code == 0
    assert (home.root / "config.toml").is_symlink()
    assert dotfiles.read_text() == tlc.profiles()["odoo-dev"]
    assert [path.read_text() for path in home.root.glob("config.toml.*")] == [VERSIONS]
    assert os.listdir(dotfiles.parent) == ["tlc.toml"]


def test_a_link_to_nowhere_is_written_through_too(sandbox: Sandbox) -> None:
    sandbox.root.mkdir()
    (sandbox.root / "config.toml").symlink_to(sandbox.home / "dotfiles" / "tlc.toml")
    assert sandbox.tlc("generate-config", "odoo-dev", "--yes").code == 0
    assert (sandbox.home / "dotfiles" / "tlc.toml").read_text() == tlc.profiles()["odoo-dev"]


def test_a_directory_in_the_place_of_the_config_is_told_in_words(sandbox: Sandbox) -> None:
    (sandbox.root / "config.toml").mkdir(parents=True)
    run = sandbox.tlc("generate-config", "odoo-dev", "--yes")
    assert run.code == 1
    assert "Is a directory" in run.err or "not a file" in run.err
    assert "internal error" not in run.err.lower()


# --- logs


def test_only_the_last_ten_logs_are_kept_and_nothing_else_is_touched(home: Sandbox) -> None:
    assert home.tlc("init", "--yes").code == 0
    assert home.state.stat().st_mode & 0o777 == 0o700
    assert len(logs(home)) == 1
    for number in range(12):
        (home.state / f"20200101-0000{number:02}-init-1.log").touch()
    (home.state / "notes.txt").touch()
    assert home.tlc("generate-config", "odoo-dev", "--yes").code == 0
    assert len(logs(home)) == 10
    assert [name for name in logs(home) if name.startswith("2020")] == [
        f"20200101-0000{number:02}-init-1.log" for number in range(4, 12)
    ]
    assert (home.state / "notes.txt").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "--dry-run"],
        ["pull-repos", "--dry-run"],
        ["generate-config", "odoo-dev", "--dry-run"],
        ["--help"],
    ],
)
def test_what_changes_nothing_leaves_no_log(home: Sandbox, arguments: list[str]) -> None:
    assert home.tlc(*arguments).code == 0
    assert not (home.home / ".local").exists()


# --- JSON

RESULT = ["kind", "name", "status", "message", "detail", "fix", "seconds"]
DOCUMENT = ["tlc", "command", "ok", "changed", "results"]


@pytest.mark.parametrize("options", [["--yes"], ["--dry-run"], ["--no-newcomer"]])
def test_the_shape_of_a_document_is_frozen(home: Sandbox, options: list[str]) -> None:
    (home.root / "conf").touch()
    run = home.tlc("init", "--json", *options)
    document = run.json()
    assert list(document) == DOCUMENT
    assert (document["tlc"], document["command"]) == (tlc.__version__, "init")
    assert document["ok"] is False
    assert document["changed"] is True  # a dry run tells that something would be
    assert run.code == 1
    assert [result["name"] for result in document["results"]] == ["config.toml", *MADE]
    for result in document["results"]:
        assert list(result) == RESULT
        assert isinstance(result["seconds"], float)
        assert all(isinstance(result[key], str) for key in RESULT[:-1])
    statuses = {result["name"]: result["status"] for result in document["results"]}
    assert statuses == {
        name: "planned" if options == ["--dry-run"] else "changed" for name in MADE
    } | {
        "config.toml": "ok",
        "conf": "failed",
    }


def test_the_shape_of_an_error_is_frozen(sandbox: Sandbox) -> None:
    document = sandbox.tlc("pull-repos", "--json").json()
    assert list(document) == ["ok", "error"]
    assert list(document["error"]) == ["code", "message", "fix"]
    assert all(isinstance(value, str) for value in document["error"].values())


# --- what becomes of the output


def redirected(
    sandbox: Sandbox, *arguments: str, **streams: Any
) -> subprocess.CompletedProcess[str]:
    """A run whose stdout and stderr go where `streams` say; no traceback, no complaint of Python's."""
    done = subprocess.run(
        [sys.executable, str(sandbox.archive), *arguments],
        env=sandbox.env,
        cwd=sandbox.home,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    said = (done.stdout or "") + (done.stderr or "")
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    return done


SHOWING = [
    ["--help"],
    [],
    ["init", "--help"],
    ["init", "--dry-run"],
    ["init", "--dry-run", "--json"],
]


@pytest.mark.parametrize("arguments", SHOWING)
def test_a_full_disk_under_the_output_is_told(home: Sandbox, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = redirected(home, *arguments, stdout=full)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_a_version_that_cannot_be_written_is_a_failure(sandbox: Sandbox) -> None:
    with open("/dev/full", "w") as full:
        assert redirected(sandbox, "--version", stdout=full).returncode == 1


@pytest.mark.parametrize("arguments", SHOWING)
def test_whoever_reads_the_output_may_stop_early(home: Sandbox, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert redirected(home, *arguments, stdout=writing).returncode == 0
    finally:
        os.close(writing)


def test_a_piped_head_gets_its_line(home: Sandbox) -> None:
    script = (
        f"{shlex.quote(sys.executable)} {shlex.quote(str(home.archive))} init --dry-run | head -n 1"
    )
    done = subprocess.run(
        ["sh", "-c", script], env=home.env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "~/code/\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [*SHOWING, ["init", "--yes"]])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_closed_streams_stop_nobody(home: Sandbox, arguments: list[str], closed: str) -> None:
    command = shlex.join([sys.executable, str(home.archive), *arguments])
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"],
        env=home.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stdout + done.stderr
    assert (home.root / "venvs").is_dir() is (arguments == ["init", "--yes"])


@pytest.mark.parametrize("arguments", SHOWING)
def test_a_terminal_that_knows_only_ascii_is_enough(home: Sandbox, arguments: list[str]) -> None:
    home.config(VERSIONS + 'init_dirs = ["été"]\n')
    run = home.tlc(*arguments, env={"PYTHONIOENCODING": "ascii"})
    assert run.code == 0
    assert (run.out + run.err).isascii()
    if "--json" in arguments:
        assert "été" in [result["name"] for result in run.json()["results"]]


# --- two runs at once, and interrupted ones


@contextmanager
def started(sandbox: Sandbox, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run in the background, ended at the latest with the block."""
    with sandbox.start(*arguments) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """What another run at work there looks like."""
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def test_a_second_run_waits_for_the_first_says_so_and_looks_again(home: Sandbox) -> None:
    with locked(home.root) as lock, started(home, "init", "--yes", "--json") as process:
        assert process.stderr
        while "waiting for it" not in (line := process.stderr.readline()):
            assert line, "it ended without waiting"
        assert "Another tlc is at work in ~/code" in line
        assert not (home.root / "venvs").exists()
        (home.root / "conf").mkdir()
        fcntl.flock(lock, fcntl.LOCK_UN)
        out, _err = process.communicate(timeout=60)
    assert process.returncode == 0
    statuses = {result["name"]: result["status"] for result in json.loads(out)["results"]}
    assert statuses == dict.fromkeys(MADE, "changed") | {"config.toml": "ok", "conf": "ok"}


def test_a_dry_run_waits_for_nobody(home: Sandbox) -> None:
    with locked(home.root):
        assert home.tlc("init", "--dry-run", timeout=60).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_waiting_run_can_be_interrupted(home: Sandbox, number: signal.Signals) -> None:
    with locked(home.root), started(home, "init", "--yes") as process:
        assert process.stderr
        while "waiting for it" not in process.stderr.readline():
            assert process.poll() is None
        assert interrupt(process, number).startswith("Interrupted. ")
    assert not (home.root / "venvs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_question_ends_the_run_with_its_closing_block(
    sandbox: Sandbox, number: signal.Signals
) -> None:
    before = everything(sandbox.home)
    with Terminal([sys.executable, sandbox.archive, "init"], sandbox.env, sandbox.home) as terminal:
        terminal.wait_for("[Y/n/d]")
        began = time.monotonic()
        os.kill(terminal.process.pid, number)
        assert terminal.wait() == 130
        assert time.monotonic() - began < 20
        assert "Interrupted. ok 0  in " in terminal.text
        assert terminal.lines[-1].startswith("next ")
        assert terminal.lines[-1].endswith(" init")
    assert everything(sandbox.home) == before


# --- config edit


def editor(sandbox: Sandbox, text: str) -> str:
    """Return an editor that puts text into the file it is given, and needs a word of its own."""
    path = sandbox.home / "my editor"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --wait ] || exit 9\nprintf "%s" {shlex.quote(text)} >"$2"\n'
    )
    path.chmod(0o755)
    return f"{shlex.quote(str(path))} --wait"


@pytest.mark.parametrize("command", [["config", "edit"], ["edit-config"]])
def test_the_config_in_the_editor_is_checked_afterwards(home: Sandbox, command: list[str]) -> None:
    run = home.tlc(*command, env={"EDITOR": editor(home, VERSIONS + "jobs = 3\n")})
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines()[0] == "~/code/config.toml is valid."
    assert next_command(run, "next:")[-1] == "up"
    assert "jobs = 3" in (home.root / "config.toml").read_text()

    wrong = home.tlc(*command, env={"VISUAL": editor(home, "jobs = 0\n"), "EDITOR": "false"})
    assert (wrong.code, "config.toml:1: jobs: found 0" in wrong.err) == (1, True)
    failed = home.tlc(*command, env={"EDITOR": "false"})
    assert (failed.code, "false ended with exit code 1" in failed.err) == (1, True)
    missing = home.tlc(*command, env={"EDITOR": "no-such-editor"})
    assert (missing.code, "'no-such-editor' is no editor here" in missing.err) == (1, True)


def test_without_a_config_there_is_nothing_to_edit(sandbox: Sandbox) -> None:
    run = sandbox.tlc("config", "edit", env={"EDITOR": "false"})
    assert (run.code, "There is no ~/code/config.toml yet" in run.err) == (1, True)
    assert not sandbox.root.exists()


# --- how tlc names itself, and what is next


def test_fixes_call_tlc_by_its_name_only_where_that_is_this_very_file(home: Sandbox) -> None:
    installed = home.home / "bin/tlc"
    installed.parent.mkdir()
    installed.symlink_to(home.archive)
    path = f"{installed.parent}:{home.env['PATH']}"
    assert "→ tlc init\n" in home.tlc("ini", env={"PATH": path}).err
    assert "→ python3 " in home.tlc("ini").err
    installed.unlink()
    installed.write_text("#!/bin/sh\nexit 1\n")
    installed.chmod(0o755)
    assert "→ python3 " in home.tlc("ini", env={"PATH": path}).err


@pytest.mark.parametrize("place", [".local/bin", "own"])
def test_an_installed_tlc_that_the_shell_would_not_find_says_the_line_for_path_first(
    sandbox: Sandbox, place: str
) -> None:
    installed = sandbox.home / place / "tlc"
    installed.parent.mkdir(parents=True)
    installed.symlink_to(sandbox.archive)
    sandbox.archive = installed
    run = sandbox.tlc("generate-config", "odoo-minimal", "--yes")
    line = run.err.splitlines()[-1]
    command, _, note = line.removeprefix("next     ").partition("   # ")
    assert command == f'export PATH="$HOME/{place}:$PATH" && tlc up'
    assert "profile" in note
    assert command in sandbox.tlc().out
    pasted = subprocess.run(
        ["sh", "-c", f"{command} --dry-run --only init"],
        env=sandbox.env,
        capture_output=True,
        text=True,
    )
    # An archive that begins with its own #! line, or a shell that does not know what to do with it
    assert "not found" not in pasted.stderr


def test_after_a_failure_the_last_line_says_how_to_go_on(home: Sandbox) -> None:
    (home.root / "conf").touch()
    run = home.tlc("--yes", "init")
    assert run.code == 1
    last = run.err.splitlines()[-1]
    assert re.fullmatch(r"next +fix what failed above, then: python3 \S+ up", last)


def test_where_another_program_updates_tlc_the_check_is_no_failure(sandbox: Sandbox) -> None:
    words = [sys.executable, str(PROJECT / "tlc.py"), "--json", "self-update", "--check"]
    done = subprocess.run(words, env=sandbox.env, capture_output=True, text=True)
    [result] = json.loads(done.stdout)["results"]
    assert (done.returncode, result["status"]) == (0, "skipped")
    assert result["fix"].startswith("git -C ") or result["fix"].startswith("uv tool upgrade")


# --- options of the published tlc


@pytest.mark.parametrize(
    ("options", "with_defaults"),
    [
        ([], True),
        (["--no-default-packages"], False),
        (["--no-install-default-system-packages"], False),
        (["--install-default-system-packages"], True),
    ],
)
def test_the_published_names_of_options(
    home: Sandbox, options: list[str], with_defaults: bool
) -> None:
    given = tlc.parse_arguments(["install-tools", *options])
    assert given["no_default_packages"] is not with_defaults
    assert "default-system" not in home.tlc("help", "install-tools").out


def test_the_log_says_what_was_called_where_when_and_how_it_ended(sandbox: Sandbox) -> None:
    run = sandbox.tlc("--yes", "init")
    assert run.code == 0, run.err
    [log] = sandbox.state.rglob("*.log")
    called, system, *lines = log.read_text().splitlines()
    assert called == f"tlc {tlc.__version__} --yes init"
    assert time.strftime("%Y") in system
    assert f"{os.uname().release} " in system
    assert sys.version.split()[0] in system
    assert any(line.startswith("changed venvs: ") for line in lines), lines
