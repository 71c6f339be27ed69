"""config.toml: every rule, wrong and right, with the lines on which the problems stand."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Sandbox
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from person import Person
from random_configs import ANSWERS, COMMANDS, DOING, OPTIONS, Random, World

import tlc

VERSIONS = 'versions = ["17.0"]\n'
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def problems(text: str) -> list[str]:
    """The lines in which a config's problems are told, without the example below them."""
    with pytest.raises(tlc.ConfigError) as caught:
        tlc.parse_config(text)
    return caught.value.message.partition("\nA short valid example:")[0].splitlines()


def quoted(text: str) -> str:
    """A TOML basic string."""
    letters = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return f'"{"".join(letters)}"'


# --- each rule: what is refused, and how it is said

# no field takes any of these
NOT_A_VALUE = ["", "-x", "--upload-pack=x", "a\n", "\na", "a\tb", "a\x00b", "\x1b[31m"]

# field -> a config whose last line gives it VALUE, and more values it does not take, as a shell would read them
WRONG_STRINGS = {
    "init_dirs[0]": (
        "init_dirs = [VALUE]",
        r". .. ../x a/.. a/../b ./a a/./b / /a //a a//b ~ ~/a ~root 'a\b'",
    ),
    "tools.uv[0]": ("[tools]\nuv = [VALUE]", "'a b' 'a;b' '$x' git+https://x ../x é"),
    "tools.npm[0]": ("[tools]\nnpm = [VALUE]", "A ../x a/b @a/b/c @/b 'a b' ./x http://x é"),
    "tools.system_packages[0]": (
        "[tools]\nsystem_packages = [VALUE]",
        "'a b' 'a;b' ../x ./x.deb x.rpm http://x/y sudo- /x.deb a* é x/y.deb a//b a/b/c/d a/../b a/-b a=-1 a= =1 a=1- a=1/2 a.dsc a=1=2",
    ),
    "tools.script[0].name": ('[[tools.script]]\nurl = "https://x/y"\nname = VALUE', ""),
    "tools.script[0].sha256": (
        '[[tools.script]]\nurl = "https://x/y"\nsha256 = VALUE',
        f"abc {SHA256[1:]}g {SHA256}0 ' {SHA256}'",
    ),
    "repos.oca[0]": ("[repos]\noca = [VALUE]", r". .. web.git .git a/b 'a\b' 'a b' é a:b"),
    "repos.oca[0][0]": ('[repos]\noca = [[VALUE, ["main"]]]', ".. a.git a/b"),
    "repos.oca[0].name": ("[repos]\noca = [{ name = VALUE }]", ".. a.git a/b"),
    "repos.oca[0].branches[0]": (
        '[repos]\noca = [{ name = "a", branches = [VALUE] }]',
        "../x a..b a.lock",
    ),
    "repos.oca[0][1][0]": (
        '[repos]\noca = [["web", [VALUE]]]',
        r".. ../x a..b /a a/ a//b a.lock a.lock/b .a a/.b a. 'a b' 'a\b' a@{b a~1 a^ a:b a? a* a[b HEAD",
    ),
    "git.protocol": ("[git]\nprotocol = VALUE", "telnet SSH 'ssh '"),
    "git.layout": ("[git]\nlayout = VALUE", "bare"),
    "git.fork": ("[git]\nfork = VALUE", "'a b' a/b .. a.b é a@b " + "a" * 40),
    "venvs.preset": ("[venvs]\npreset = VALUE", "'a b' a/b é"),
    'venvs.python."18.0"': (
        '[venvs]\npython = { "18.0" = VALUE }',
        "3 2.7 -3.12 '3.12 ' /usr/bin/python3 python3.12 ٣.١٢",
    ),
    "postgres.user": (
        "[postgres]\nuser = VALUE",
        f"0x 'a b' 'a;b' \"a'b\" é {'a' * 64} pg_x public none",
    ),
    "postgres.host": ("[postgres]\nhost = VALUE", "'a b' /tmp a@b é"),
}


@pytest.mark.parametrize(
    ("field", "template", "value"),
    [
        pytest.param(field, template, value, id=f"{field} {value!r}")
        for field, (template, values) in WRONG_STRINGS.items()
        for value in [*NOT_A_VALUE, *shlex.split(values)]
        if (field, value) != ("git.fork", "")
    ],
)
def test_a_wrong_string_is_refused_with_what_was_found_and_what_is_allowed(
    field: str, template: str, value: str
) -> None:
    [line] = problems(VERSIONS + template.replace("VALUE", quoted(value)))
    found = json.dumps(value, ensure_ascii=False)[:50]
    assert line.startswith(f"config.toml:{2 + template.count(chr(10))}: {field}: found {found}")
    assert "; allowed: " in line


WRONG_URLS = r"""
    'ext::sh -c x' fd::17 http://example.com/x git://example.com/x HTTPS://example.com/x
    /x/y ../x 'C:\x' example.com:x 'see https://example.com/x' 'https://example.com/x y'
    https://me:secret@example.com/x https://me@example.com/x ssh://me:secret@example.com/x
    ssh://-oProxyCommand=x/y ssh://-oProxyCommand=x@example.com/y ssh://-me@example.com/x ssh://me@-x/y ssh:///x
    git@-oProxyCommand=x:y -x@example.com:y git@example.com:-x git@example.com:
    https:///x https://-x/y file://example.com/x
"""
WRONG_SCRIPTS = """
    http://example.com/x.sh ftp://example.com/x file:///etc/passwd example.com/x.sh HTTPS://example.com/x
    https:// https://-x/y 'https://a b/' https://me:secret@example.com/x.sh https://me@example.com/x.sh
"""


@pytest.mark.parametrize("url", [*NOT_A_VALUE, *shlex.split(WRONG_URLS)])
def test_an_address_that_git_could_take_for_something_else_is_refused(url: str) -> None:
    [line] = problems(f'{VERSIONS}[repos]\nx = [{{ name = "a", url = {quoted(url)} }}]')
    assert line.startswith("config.toml:3: repos.x[0].url: found ")
    assert "; allowed: an address that starts with https://" in line


@pytest.mark.parametrize("url", [*NOT_A_VALUE, *shlex.split(WRONG_SCRIPTS)])
def test_a_script_comes_over_https_only(url: str) -> None:
    [line] = problems(f"{VERSIONS}[[tools.script]]\nurl = {quoted(url)}")
    assert line.startswith("config.toml:3: tools.script[0].url: found ")
    assert "; allowed: an https:// address" in line


WRONG_ORGANISATIONS = {
    name: f'"{name}"'
    for name in ("", ".", "..", ".x", "a.git", "a/b", "../a", "/a", "~", "a b", "é", "config.toml")
} | {"-x": "-x", "a\n": '"a\\n"', "a\x1b": '"a\\u001b"', "venvs": "venvs", "conf": "conf"}


@pytest.mark.parametrize(("name", "shown"), WRONG_ORGANISATIONS.items())
def test_a_dangerous_or_reserved_organisation_is_refused(name: str, shown: str) -> None:
    [line] = problems(f'{VERSIONS}[repos]\n{quoted(name)} = ["x"]')
    assert line.startswith(f'config.toml:3: repos.{shown}: found "')
    assert "; allowed: an organisation's name" in line


# what a config says, below its versions -> what is said of its last line
REFUSED = {
    "jobs = 0": "jobs: found 0; allowed: a number from 1 to 64",
    "jobs = 65": "jobs: found 65; allowed: a number from 1 to 64",
    "jobs = -1": "jobs: found -1; allowed",
    'jobs = "4"': 'jobs: found "4", text; write it without quotes',
    "jobs = true": "jobs: found true",
    "jobs = 4.0": "jobs: found 4.0, a number; allowed",
    "jobs = [4]": "jobs: found [4], a list; allowed",
    "jobs = 2024-01-01": "jobs: found 2024-01-01, a date; allowed",
    "jobs = 07:00:00": "jobs: found 07:00:00, ",
    'create_launcher = "true"': 'create_launcher: found "true", text; write true or false, without quotes',
    "create_launcher = 1": "create_launcher: found 1, a whole number; allowed: true or false",
    'init_dirs = "a"': 'init_dirs: found "a", text; write a list: ["a"]',
    "init_dirs = [1]": 'init_dirs[0]: found 1, a whole number; write it in quotes: "1"',
    'tools = ["uv"]': 'tools: found ["uv"], a list; allowed: a table',
    '[tools]\nuv = "ruff"': 'tools.uv: found "ruff", text; write a list: ["ruff"]',
    '[tools]\nscript = ["https://x/y"]': 'tools.script[0]: found "https://x/y", text; allowed: a table',
    '[tools]\nscript = { url = "https://x/y" }': "tools.script: found ",
    '[tools]\nscript = [{ name = "x" }]': "tools.script[0].url: missing; allowed: an https:// address",
    'repos = ["odoo"]': 'repos: found ["odoo"], a list; allowed: a table of organisations',
    '[repos]\noca = "web"': 'repos.oca: found "web", text; write a list: ["web"]',
    '[repos]\noca = { name = "web" }': "repos.oca: found ",
    "[repos]\noca = [1]": "repos.oca[0]: found 1",
    "[repos]\noca = [true]": "repos.oca[0]: found true",
    "[repos]\noca = [2024-01-01]": "repos.oca[0]: found 2024-01-01",
    "[repos]\noca = [[]]": "repos.oca[0]: found []; allowed: [name, [branch, ...]]",
    '[repos]\noca = [["web"]]': 'repos.oca[0]: found ["web"]; allowed: [name, [branch, ...]]',
    '[repos]\noca = [["web", ["main"], 1]]': 'repos.oca[0]: found ["web", ["main"], 1]; allowed',
    '[repos]\noca = [["web", "main"]]': 'repos.oca[0][1]: found "main", text; write a list: ["main"]',
    '[repos]\noca = [["web", [17.0]]]': "repos.oca[0][1][0]: found 17.0, a number; write it in quotes",
    "[repos]\noca = [{ depth = 1 }]": "repos.oca[0].name: missing; allowed",
    "[repos]\noca = [{ name = 1 }]": "repos.oca[0].name: found 1, a whole number; write it in quotes",
    '[repos]\noca = [{ name = "web", depth = -1 }]': "repos.oca[0].depth: found -1; allowed",
    '[repos]\noca = [{ name = "web", depth = "1" }]': "repos.oca[0].depth: found ",
    'newcomer = "no"': 'newcomer: found "no", text; write true or false, without quotes',
    "[tools]\nwkhtmltopdf = 0": "tools.wkhtmltopdf: found 0, a whole number; allowed: true or false",
    '[git]\nfilter = "blob:nine"': 'git.filter: found "blob:nine"; allowed: "" or "blob:none"; did',
    '[git]\nfilter = "tree:0"': 'git.filter: found "tree:0"; allowed: "" or "blob:none"',
    '[git]\nfilter = "blob:none"\ndepth = 1': (
        "git.depth: found 1 beside git.filter, which brings all of history; allowed: 0"
    ),
    '[git]\nfilter = "blob:none"\n[repos]\nx = ["a", { name = "y", depth = 3 }]': (
        "repos.x[1].depth: found 3 beside git.filter, which brings all of history; allowed: 0"
    ),
    '[repos]\nx = [{ name = "y", fork = "me" }]': 'repos.x[0].fork: found "me", text; write true',
    '[postgres]\nserver = "mine"': 'postgres.server: found "mine"; allowed: "system" or "own"',
    "git = 1": "git: found 1, a whole number; allowed: a table",
    '[git]\nprotocol = "htps"': 'git.protocol: found "htps"; allowed: "ssh" or "https"; did',
    "[git]\nprotocol = 1": "git.protocol: found 1",
    '[git]\nprotocol = ["ssh"]': "git.protocol: found ",
    '[git]\nlayout = "worktree"': 'git.layout: found "worktree"; allowed: "clones" or "worktrees"; did',
    "[git]\ndepth = -1": "git.depth: found -1; allowed: a number of commits, 0 for the full history",
    '[git]\ndepth = "1"': 'git.depth: found "1", text; write it without quotes',
    '[venvs]\npython = { "18.0" = 3.10 }': 'venvs.python."18.0": found 3.10, a number; write it in quotes',
    '[venvs]\npython = { "18" = "3.12" }': 'venvs.python.18: found "18"; allowed: a version',
    '[venvs]\npython = "3.12"': 'venvs.python: found "3.12", text; allowed: a table of versions',
    '[postgres]\npassword = ""': "postgres.password: found the value; allowed",
    '[postgres]\npassword = "a\\nb"': "postgres.password: found the value; allowed",
    '[postgres]\npassword = " a"': "postgres.password: found the value; allowed",
    '[postgres]\npassword = "None"': "postgres.password: found the value; allowed",
    "[postgres]\nport = 0": "postgres.port: found 0; allowed: a port from 1 to 65535",
    "[postgres]\nport = 65536": "postgres.port: found 65536; allowed",
    '[postgres]\nport = "5432"': 'postgres.port: found "5432", text; write it without quotes',
}


@pytest.mark.parametrize(("fragment", "said"), REFUSED.items())
def test_a_wrong_value_is_refused_with_what_was_found_and_what_is_allowed(
    fragment: str, said: str
) -> None:
    [line] = problems(VERSIONS + fragment)
    assert line.startswith(f"config.toml:{2 + fragment.count(chr(10))}: {said}")
    assert re.search(r"; (allowed: \S|write )", line)


WRONG_VERSIONS = [
    ('versions = "16.0"', 'versions: found "16.0", text; write a list: ["16.0"]'),
    ("versions = 16.0", "versions: found 16.0, a number; allowed: a list of versions"),
    ("versions = {}", "versions: found {}, a table; allowed: a list of versions"),
    ("versions = [16]", 'versions[0]: found 16, a whole number; write it in quotes: "16"'),
    ("versions = [16.10]", 'versions[0]: found 16.10, a number; write it in quotes: "16.10"'),
    ("versions = [true]", "versions[0]: found true"),
    ("versions = [2024-01-01]", "versions[0]: found 2024-01-01, a date; allowed"),
    ("versions = [[16.10]]", "versions[0]: found [16.10], a list; allowed"),
    ("versions = [[2024-01-01]]", "versions[0]: found [2024-01-01], a list; allowed"),
    ('versions = ["16.0\\n"]', 'versions[0]: found "16.0\\n"; allowed: a version such as'),
    *(
        (f'versions = ["{version}"]', f'versions[0]: found "{version}"; allowed: a version such as')
        for version in [
            "",
            "16.0 ",
            *"16 16.0.1 v16.0 saas-17.4 Master 16.0-x ../16.0 -16.0 ١٦.٠".split(),
        ]
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG_VERSIONS)
def test_wrong_versions_are_refused(text: str, said: str) -> None:
    [line] = problems(text)
    assert line.startswith(f"config.toml:1: {said}")


ACCEPTED = [
    "jobs = 1",
    "jobs = 64",
    "create_launcher = false",
    "init_dirs = []",
    'init_dirs = ["customer", "a/b/c", ".hidden", "a b", "a-b", "a/...", "été"]',
    '[tools]\nuv = ["odoo-venv", "pre-commit", "black[d]>=24.0", "ruff==0.5"]',
    '[tools]\nnpm = ["rtlcss", "@scope/name", "less"]',
    '[tools]\nsystem_packages = ["postgresql", "g++", "libpq5:amd64", "python3.12-dev"]',
    '[tools]\nsystem_packages = ["git=1:2.39.5-0+deb12u2", "mongodb/brew/mongodb-community@7.0", "a=1.0~rc1"]',
    "newcomer = false",
    "[tools]\nwkhtmltopdf = false",
    '[git]\nfilter = "blob:none"',
    '[git]\nfilter = ""\ndepth = 5',
    '[git]\nfilter = "blob:none"\ndepth = 0',
    '[git]\nfork = "my-Name1"',
    '[git]\nfork = ""',
    '[repos]\nx = [{ name = "y", fork = true }]',
    '[postgres]\nserver = "own"',
    '[repos]\noca = [["web", []], { name = "queue", branches = [] }]',
    f'[[tools.script]]\nurl = "https://example.com/i.sh?a=b"\nname = "a name"\nsha256 = "{SHA256.upper()}"',
    '[[tools.script]]\nurl = "https://cdn.example.com/tool@1.2/install.sh"',
    '[repos]\nodoo = ["odoo", "enterprise"]\noca = ["web", ["oca-port", ["main"]]]',
    '[repos]\noca = ["a", ".github", "a.b_c-D1", "...", "git"]',
    '[repos]\n"a.b" = ["x"]\nODOO-x_1 = ["x"]\n0x = ["x"]',
    "[repos]\nempty = []",
    '[repos]\nx = [{ name = "y", branches = ["17.0", "main"], url = "git@example.com:y.git", depth = 0 }]',
    '[repos]\nx = [["y", ["feature/a_b+c@d#1", "17.0-fix", "a=b"]]]',
    *(
        f'[repos]\nx = [{{ name = "y", url = "{url}" }}]'
        for url in """
            https://example.com/a/b.git https://example.com:8443/b https://gitlab.example.com/~me/b
            ssh://git@example.com/b ssh://example.com:2222/b file:///srv/b.git
            git@example.com:b git@example.com:a/b.git me.x-y@example.com:~/b
        """.split()
    ),
    '[git]\nprotocol = "https"\ndepth = 0\nlayout = "worktrees"',
    '[venvs]\npreset = "full-1_a"\npython = { "18.0" = "3.12", master = "3.13.1" }',
    '[postgres]\nuser = "_me-1"\npassword = "a \'b\\" $c"\nhost = "db.example.com"\nport = 1',
    '[postgres]\nhost = "127.0.0.1"\nport = 65535',
    '[postgres]\nhost = "::1"',
]


@pytest.mark.parametrize("fragment", ACCEPTED)
def test_a_right_value_is_accepted_without_a_warning(fragment: str) -> None:
    assert tlc.parse_config(VERSIONS + fragment).warnings == []


@pytest.mark.parametrize(
    ("wrong", "near"), [("protocol = 'htps'", "https"), ("layout = 'worktree'", "worktrees")]
)
def test_the_nearest_allowed_word_is_named(wrong: str, near: str) -> None:
    [line] = problems(f"{VERSIONS}git.{wrong}")
    assert line.endswith(f'; did you mean "{near}"?')


def test_all_kinds_of_versions_keep_their_order() -> None:
    assert tlc.parse_config('versions = ["18.0", "master", "9.0"]').versions == [
        "18.0",
        "master",
        "9.0",
    ]


def test_what_is_not_said_has_the_documented_default() -> None:
    data = tlc.parse_config(VERSIONS).data
    assert data["create_launcher"] is True
    assert data["git"] == {
        "protocol": "ssh",
        "depth": 1,
        "layout": "clones",
        "filter": "",
        "fork": "",
    }
    assert data["postgres"] == {
        "server": "system",
        "user": "odoo",
        "password": "odoo",
        "host": "localhost",
        "port": 5432,
    }
    assert data["venvs"] == {"preset": "demo", "python": {}}
    assert data["tools"] == {
        **{name: [] for name in ("uv", "npm", "system_packages", "script")},
        "wkhtmltopdf": True,
    }


REPOSITORIES = [
    ('odoo = ["odoo"]', "odoo/odoo@17.0 odoo/odoo/17.0 git@github.com:odoo/odoo.git", 1),
    ('oca = ["web"]', "oca/web@17.0 oca/17.0/web git@github.com:OCA/web.git", 1),
    ('oca = [["web", ["main"]]]', "oca/web@main oca/main/web git@github.com:OCA/web.git", 1),
    ('trobz = ["x"]', "trobz/x@17.0 trobz/17.0/x git@github.com:trobz/x.git", 1),
    (
        'trobz = [{ name = "x", branches = ["a/b"], url = "file:///x", depth = 0 }]',
        "trobz/x@a/b trobz/a/b/x file:///x",
        0,
    ),
    (
        'oca = ["web"]\n[git]\nprotocol = "https"\ndepth = 3',
        "oca/web@17.0 oca/17.0/web https://github.com/OCA/web.git",
        3,
    ),
]


@pytest.mark.parametrize(("repos", "item_path_url", "depth"), REPOSITORIES)
def test_an_entry_says_where_its_checkout_stands_and_where_it_comes_from(
    repos: str, item_path_url: str, depth: int
) -> None:
    [found] = tlc.parse_config(f"{VERSIONS}[repos]\n{repos}").repositories
    assert f"{found.item} {found.path} {found.url}" == item_path_url
    assert found.depth == depth


def test_a_filter_without_a_depth_means_the_full_history() -> None:
    config = tlc.parse_config(f'{VERSIONS}[git]\nfilter = "blob:none"\n[repos]\noca = ["web"]')
    assert config.data["git"]["depth"] == config.repositories[0].depth == 0


def test_what_stands_twice_in_a_list_counts_once() -> None:
    config = tlc.parse_config(
        'versions = ["17.0", "16.0", "17.0"]\ninit_dirs = ["a", "a"]\n'
        '[tools]\nuv = ["ruff", "ruff"]\nnpm = ["less", "less"]\nsystem_packages = ["gcc", "gcc"]\n'
        + '[[tools.script]]\nurl = "https://x/y"\n' * 2
        + '[repos]\noca = ["web", "web", { name = "web" }, ["queue", ["a", "a"]]]\nx = ["y", "y"]\n'
    )
    data = config.data
    assert (config.versions, data["init_dirs"]) == (["17.0", "16.0"], ["a"])
    lists = [data["tools"][name] for name in ("uv", "npm", "system_packages", "script")]
    assert [len(each) for each in lists] == [1, 1, 1, 1]
    names = "oca/web@17.0 oca/web@16.0 oca/queue@a x/y@17.0 x/y@16.0".split()
    assert [each.item for each in config.repositories] == names


@pytest.mark.parametrize("name", ["OCA", "Oca", "oca"])
def test_a_known_organisation_is_known_in_any_case(name: str) -> None:
    text = f'{VERSIONS}[repos]\n{name} = ["web"]\nODOO = ["odoo"]\nTrobz = ["x"]'
    assert [
        f"{each.item} {each.path} {each.url}" for each in tlc.parse_config(text).repositories
    ] == [
        "oca/web@17.0 oca/17.0/web git@github.com:OCA/web.git",
        "odoo/odoo@17.0 odoo/odoo/17.0 git@github.com:odoo/odoo.git",
        "Trobz/x@17.0 Trobz/17.0/x git@github.com:Trobz/x.git",
    ]


def test_two_spellings_of_an_organisation_are_one() -> None:
    config = tlc.parse_config(f'{VERSIONS}[repos]\nOCA = ["web", "queue"]\noca = ["web", "hr"]')
    names = ["oca/web@17.0", "oca/queue@17.0", "oca/hr@17.0"]
    assert [each.item for each in config.repositories] == names


def test_an_empty_list_of_branches_is_no_checkout() -> None:
    config = tlc.parse_config(
        f'{VERSIONS}[repos]\noca = [["a", []], {{ name = "b", branches = [] }}, "c"]'
    )
    assert [each.item for each in config.repositories] == ["oca/c@17.0"]


def test_a_config_of_the_published_tlc_loads_in_silence() -> None:
    config = tlc.parse_config(
        '[tools]\nskills = ["https://example.com/x.git"]\ngithub = { any = "thing" }\n'
        '[[tools.script]]\nurl = "https://x/y"\ninstall_script = true\n'
        '[repos]\nOCA = [["web", ["17.0", "18.0"]], ["queue", []]]\n'
    )
    assert config.warnings == []
    assert [each.item for each in config.repositories] == ["oca/web@17.0", "oca/web@18.0"]


def test_a_key_without_a_meaning_is_no_suggestion() -> None:
    [warning] = tlc.parse_config("[tools]\nskill = []").warnings
    assert "skills" not in warning and "github" not in warning


def test_without_versions_there_are_the_branches_that_entries_name() -> None:
    text = '[repos]\noca = [["web", ["main"]], "queue"]\nx = ["y"]'
    config = tlc.parse_config(text)
    assert tlc.parse_config(f"versions = []\n{text}").versions == []
    assert [each.item for each in config.repositories] == ["oca/web@main"]
    assert (config.versions, config.unversioned) == ([], ["oca/queue", "x/y"])


FORKED = [
    ("oca = ['web']", True),
    ("x = ['y']", False),
    ("x = [{ name = 'y', fork = true }]", True),
]


@pytest.mark.parametrize(
    ("repos", "fork"), [*FORKED, ("oca = [{ name = 'y', fork = false }]", False)]
)
def test_a_fork_is_for_the_known_organisations_and_where_a_table_says_so(
    repos: str, fork: bool
) -> None:
    [found] = tlc.parse_config(f"{VERSIONS}[repos]\n{repos}").repositories
    assert found.fork is fork


def test_a_name_alone_means_every_version() -> None:
    config = tlc.parse_config('versions = ["16.0", "17.0"]\n[repos]\noca = ["web"]')
    assert [each.item for each in config.repositories] == ["oca/web@16.0", "oca/web@17.0"]


MISPLACED = [
    (
        'oca = ["web", ["web", ["17.0"]]]',
        'repos.oca[1]: "web" is listed twice, with different branches',
    ),
    (
        'oca = [["web", ["main"]], { name = "web", branches = ["main"], depth = 0 }]',
        'repos.oca[1]: "web" is listed twice, with different values of depth',
    ),
    (
        'oca = ["web", { name = "web", fork = false }]',
        'repos.oca[1]: "web" is listed twice, with different values of fork',
    ),
    (
        'OCA = ["queue", "web"]\noca = [["web", ["17.0", "main"]]]',
        'repos.oca[0]: "web" is listed twice, with different branches',
    ),
    (
        'x = [["a", ["b"]], { name = "a", branches = ["c"], url = "file:///x/y" }]',
        "repos.x[1]: x/a@c has another url than git@github.com:x/a.git elsewhere",
    ),
    (
        'x = [["a", ["b"]], ["c", ["b/a"]]]',
        "repos.x[1]: x/c@b/a would stand inside the checkout of x/a@b",
    ),
    (
        'x = [["c", ["b/a"]], ["a", ["b"]]]',
        "repos.x[0]: x/c@b/a would stand inside the checkout of x/a@b",
    ),
    (
        'odoo = [["odoo", ["a", "a/b"]]]',
        "repos.odoo[0]: odoo/odoo@a/b would stand inside the checkout of odoo/odoo@a",
    ),
]


@pytest.mark.parametrize(("repos", "said"), MISPLACED)
def test_two_checkouts_never_share_a_place(repos: str, said: str) -> None:
    [line] = problems(f"{VERSIONS}[repos]\n{repos}")
    assert line.startswith(f"config.toml:{3 + repos.count(chr(10))}: {said}")


def test_entries_that_differ_in_a_key_nobody_knows_are_a_problem() -> None:
    repos = 'oca = ["web", { name = "web", nobody-knows = 1 }]'
    unknown, twice = problems(f"{VERSIONS}[repos]\n{repos}")
    assert "nobody-knows: unknown key" in unknown
    assert (
        twice
        == 'config.toml:3: repos.oca[1]: "web" is listed twice, with different values of nobody-knows'
    )


@pytest.mark.parametrize("path", ["oca/17.0/web", "oca/17.0/web/addons", "oca/17.0/web/a/b"])
def test_no_directory_of_the_tree_stands_inside_a_checkout(path: str) -> None:
    [line] = problems(f'{VERSIONS}init_dirs = ["x", "{path}"]\n[repos]\noca = ["web"]')
    assert (
        line
        == f"config.toml:2: init_dirs[1]: {path} would stand inside the checkout of oca/web@17.0"
    )


def test_a_directory_beside_or_around_checkouts_is_fine() -> None:
    tlc.parse_config(
        f'{VERSIONS}init_dirs = ["oca", "oca/17.0", "oca/17.0/web2"]\n[repos]\noca = ["web"]'
    )


BRANCHES = ["17.0", "main", "feature/a_b+c@d#1", "17.0-fix", "a=b", "a.b/c-d", "x/lock", "@x", "0"]


@pytest.mark.parametrize("name", BRANCHES)
def test_an_accepted_branch_is_one_that_git_accepts(name: str) -> None:
    tlc.parse_config(f'{VERSIONS}[repos]\noca = [["web", ["{name}"]]]')
    subprocess.run(
        ["git", "check-ref-format", "--branch", name], check=True, stdout=subprocess.DEVNULL
    )


# --- secrets

SECRETS = [
    '[postgres]\npassword = "hunter2\\n"',
    '[postgres]\npassword = ["hunter2"]',
    '[postgres]\npassword = { x = "hunter2" }',
    '[[postgres]]\npassword = "hunter2"',
    '[postgres]\nuser = "-"\npassword = "hunter2"',
    "[postgres]\npassword = hunter2",
    '[tools]\nnpm = { "https://me:hunter2@example.com/a" = 1 }',
    'jobs = "me:hunter2@x/y"',
    'venvs = "me:hunt/er2@hunter2@x"',
    '[repos]\n"me:hunter2@x/y" = ["a"]',
    'jobs = 0\n"https://me:hunter2@example.com/a" = 1',
    '[postgres]\npassword = "hunter2',
    '[postgres]\npasword = "hunter2"\nport = 0',
    '[repos]\nx = [{ name = "a", url = "https://me:hunter2@example.com/a" }]',
    '[repos]\nx = [{ name = "a", url = "ssh://me:hunter2@example.com/a" }]',
    '[[tools.script]]\nurl = "https://me:hunter2@example.com/a"',
]


@pytest.mark.parametrize("fragment", SECRETS)
def test_a_password_is_never_shown(fragment: str) -> None:
    assert "hunter2" not in "\n".join(problems(VERSIONS + fragment))


@pytest.mark.parametrize(
    ("role", "shown"),
    [
        ('[postgres]\npassword = "hunter2"', "password = ..."),
        ('postgres = { pasword = "hunter2" }', "postgres = ..."),
    ],
)
def test_no_secret_is_shown_by_what_replaces_a_config(
    sandbox: Sandbox, role: str, shown: str
) -> None:
    sandbox.config(f'url = "https://me:hunter2@x/y"\n{role}\n')
    for options in ([], ["--json"]):
        run = sandbox.tlc(*options, "--dry-run", "generate-config", "odoo-minimal")
        assert "https://***@x/y" in run.out and shown in run.out
        assert "hunter2" not in run.out + run.err


def test_not_even_a_password_without_quotes_is_shown() -> None:
    [line] = problems(f"{VERSIONS}[postgres]\npassword = 20252026")
    assert "20252026" not in line
    assert line.startswith("config.toml:3: postgres.password: found ")
    assert "quotes" in line


# --- config.local.toml

SHARED = """\
versions = ["17.0"]
init_dirs = ["a"]
[tools]
uv = ["ruff"]
[repos]
OCA = ["web", ["queue", ["main"]], "hr"]
[git]
depth = 1
protocol = "https"
[venvs.python]
"17.0" = "3.10"
"""


def local(text: str, shared: str = SHARED) -> tlc.Config:
    return tlc.parse_config(shared, "/x/config.toml", text)


def test_tables_merge_and_all_else_is_replaced() -> None:
    data = local(
        'versions = ["18.0"]\ninit_dirs = ["b"]\njobs = 2\n'
        '[git]\ndepth = 0\n[venvs]\npreset = "local"\npython = { "18.0" = "3.12" }\n'
    ).data
    assert (data["versions"], data["init_dirs"], data["jobs"]) == (["18.0"], ["b"], 2)
    assert (data["git"]["depth"], data["git"]["protocol"]) == (0, "https")
    assert data["venvs"] == {"preset": "local", "python": {"17.0": "3.10", "18.0": "3.12"}}


def test_lists_of_tools_are_added_to() -> None:
    tools = local('[tools]\nuv = ["black", "ruff"]\nnpm = ["less"]\nwkhtmltopdf = false').data[
        "tools"
    ]
    assert (tools["uv"], tools["npm"]) == (["ruff", "black"], ["less"])
    assert tools["wkhtmltopdf"] is False


def test_a_key_without_a_meaning_may_be_a_list_here_and_a_table_there() -> None:
    config = local(
        "[tools]\ngithub = { a = 1 }",
        "[tools]\ngithub = ['x']\n" + VERSIONS.replace("versions", "skills"),
    )
    assert config.warnings == []


def test_an_entry_of_a_name_that_is_there_replaces_it_and_others_are_added() -> None:
    config = local('[repos]\noca = ["queue", { name = "new", depth = 0 }]\nme = ["x"]')
    names = "oca/web@17.0 oca/hr@17.0 oca/queue@17.0 oca/new@17.0 me/x@17.0".split()
    assert [each.item for each in config.repositories] == names


def test_nothing_laid_over_changes_nothing() -> None:
    assert repr(local("# nothing yet\n")) == repr(local(""))


def test_a_depth_of_the_teams_is_undone_for_a_filter() -> None:
    assert local('[git]\ndepth = 0\nfilter = "blob:none"').repositories[0].depth == 0


LOCAL_PROBLEMS = [
    ("jobs = 0", "config.local.toml:1: jobs: found 0"),
    ("\n[git]\nprotocol = 1", "config.local.toml:3: git.protocol: found 1"),
    ("jobs = ", "config.local.toml:1:8: Invalid value"),
    ('[git]\nfilter = "blob:none"', "config.toml:8: git.depth: found 1 beside git.filter"),
    ('[git]\n\ndepth = 2\nfilter = "blob:none"', "config.local.toml:3: git.depth: found 2 beside"),
    (
        '\n[repos]\noca = ["x", ["x", ["17.0"]]]',
        'config.local.toml:3: repos.oca[1]: "x" is listed twice',
    ),
    (
        'init_dirs = ["b", "oca/17.0/web/b"]',
        "config.local.toml:1: init_dirs[1]: oca/17.0/web/b would",
    ),
]


@pytest.mark.parametrize(("text", "said"), LOCAL_PROBLEMS)
def test_a_problem_is_told_with_the_file_in_which_it_stands(text: str, said: str) -> None:
    with pytest.raises(tlc.ConfigError) as caught:
        local(text)
    assert caught.value.message.startswith(said)
    [name, *_] = said.split(":")
    fix = caught.value.fix.render("tlc")
    by_hand = f"# correct /x/{name}"
    assert fix == ("tlc config edit" if name == "config.toml" else by_hand)


def test_problems_of_both_files_are_told_at_once_each_files_together() -> None:
    with pytest.raises(tlc.ConfigError) as caught:
        local("jobs = 0\njob = 1", "\n\n\n\njobs = 0\nnewcomer = 1\n")
    told = [line.split(": ")[0] for line in caught.value.message.splitlines()[:4]]
    assert told == ["config.local.toml:2", "config.toml:5", "config.toml:6", "config.local.toml:1"]


def test_a_warning_has_the_name_of_its_file() -> None:
    assert local("job = 3").warnings == [
        'config.local.toml:1: job: unknown key, ignored; did you mean "jobs"?'
    ]


# --- unknown keys

UNKNOWN = [
    ("job = 3", 'job: unknown key, ignored; did you mean "jobs"?'),
    ("zzzz = 3", "zzzz: unknown key, ignored; known here: versions, jobs, newcomer, create"),
    ("[tool]\nuv = []", 'tool: unknown key, ignored; did you mean "tools"?'),
    ('[git]\nprotcol = "x"', 'git.protcol: unknown key, ignored; did you mean "protocol"?'),
    ('[postgres]\nhots = "x"', 'postgres.hots: unknown key, ignored; did you mean "host"?'),
    (
        '[repos]\nx = [{ name = "y", branch = "z" }]',
        "repos.x[0].branch: unknown key, ignored; did you mean",
    ),
    (
        '[[tools.script]]\nurl = "https://x/y"\nsha265 = "z"',
        "tools.script[0].sha265: unknown key, ignored; did you mean",
    ),
    ('"a b" = 1', '"a b": unknown key, ignored'),
]


@pytest.mark.parametrize(("fragment", "said"), UNKNOWN)
def test_an_unknown_key_is_a_warning_with_the_nearest_known_one(fragment: str, said: str) -> None:
    [warning] = tlc.parse_config(VERSIONS + fragment).warnings
    line = 1 + len(fragment.splitlines()) - (fragment.startswith("[tool]"))
    assert warning.startswith(f"config.toml:{line}: {said}")


# --- several problems, and the lines on which they stand

DOCUMENTS = {
    "an array over several lines": (
        'versions = [\n  "16.0", # good\n\n  17.0,\n  "x",\n]\njobs = 0\n',
        ["4: versions[1]", "5: versions[2]", "7: jobs"],
    ),
    "an inline table": (
        VERSIONS + '[repos]\nx = [\n  { name = "a" }, { name = "..", branches = [\n"a..b"] },\n]\n',
        ["4: repos.x[1].name", "5: repos.x[1].branches[0]"],
    ),
    "an array of tables": (
        VERSIONS
        + '[[tools.script]]\nurl = "https://x/y"\n\n[[tools.script]]\nurl = "http://x/y"\n[[tools.script]]\n',
        ["6: tools.script[1].url", "7: tools.script[2].url"],
    ),
    "dotted keys": (
        VERSIONS + 'git.depth = -1\ngit . "protocol" = "x"\npostgres.port = 0\n',
        ["2: git.depth", "3: git.protocol", "4: postgres.port"],
    ),
    "quoted keys": (
        VERSIONS + '"jobs" = 0\n[\'git\']\n"depth" = -1\n[venvs."python"]\n\'18.0\' = 3.12\n',
        ["2: jobs", "4: git.depth", '6: venvs.python."18.0"'],
    ),
    "Windows line ends": (
        'versions = [\r\n  "16.0",\r\n  17.0,\r\n]\r\njobs = 0\r\n',
        ["3: versions[1]", "5: jobs"],
    ),
    "strings over several lines": (
        VERSIONS
        + '[postgres]\npassword = """\na\n[x]\n# b = \\"""\n"""\nhost = \'\'\'\n-\'\'\'\nport = 0\n',
        ["3: postgres.password", "8: postgres.host", "10: postgres.port"],
    ),
    "strings that look like TOML": (
        VERSIONS
        + 'init_dirs = ["a]", "#", "\\"", \'\\\', "[["]\njobs = 0 # = [\n[git]\ndepth = -1',
        ["2: init_dirs[3]", "3: jobs", "5: git.depth"],
    ),
    "tables out of order": (
        "[git]\ndepth = -1\n[postgres]\nport = 0\n",
        ["2: git.depth", "4: postgres.port"],
    ),
    "more than ten in one line": (
        f"versions = {[*range(12)]}",
        [f"1: versions[{index}]" for index in range(12)],
    ),
}


@pytest.mark.parametrize(("text", "places"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_all_problems_are_told_at_once_each_with_its_line(text: str, places: list[str]) -> None:
    found = [line.split(": ")[:2] for line in problems(text)]
    assert [f"{file.removeprefix('config.toml:')}: {field}" for file, field in found] == places


def test_a_warning_is_told_beside_the_problems() -> None:
    assert [line.split(":")[1] for line in problems(VERSIONS + "job = 1\njobs = 0")] == ["2", "3"]


def test_the_example_below_the_problems_is_short_and_itself_valid() -> None:
    with pytest.raises(tlc.ConfigError) as caught:
        tlc.parse_config("jobs = 0")
    _, found, example_text = caught.value.message.partition("\nA short valid example:\n")
    assert found
    lines = [line.strip() for line in example_text.splitlines()]
    assert len(lines) < 15
    assert tlc.parse_config("\n".join(lines)).warnings == []


SYNTAX = [
    ("versions = 16.0.0", 1, 16),
    ("versions = [\n", 2, 1),
    ("versions = [", 1, 13),
    ('versions = ["16.0', 1, 18),
    ("\nversions = [\n  17.0\n  x", 4, 3),
    (VERSIONS + "jobs = x", 2, 8),
    (VERSIONS.replace("\n", "\r\n") + "jobs = x", 2, 8),
]


@pytest.mark.parametrize(("text", "line", "column"), SYNTAX)
def test_a_syntax_error_has_its_line_and_column(text: str, line: int, column: int) -> None:
    [said] = problems(text)
    assert re.match(rf"config\.toml:{line}:{column}: [A-Z]", said)
    assert "(at " not in said


@pytest.mark.parametrize("text", [VERSIONS + "jobs = 1\njobs = 2", VERSIONS + "[git]\n[git]"])
def test_a_key_that_is_there_twice_is_a_syntax_error_with_its_line(text: str) -> None:
    [said] = problems(text)
    assert re.match(r"config\.toml:3:\d+: [A-Z]", said)


@pytest.mark.parametrize("name", tlc.profiles())
def test_every_profile_is_valid_and_without_warnings(name: str) -> None:
    config = tlc.parse_config(tlc.profiles()[name])
    assert config.warnings == []
    assert "odoo/odoo" in {f"{each.organisation}/{each.name}" for each in config.repositories}


def test_the_smallest_profile_needs_no_account() -> None:
    config = tlc.parse_config(tlc.profiles()["odoo-minimal"])
    assert [each.url for each in config.repositories] == ["https://github.com/odoo/odoo.git"]


# --- the file itself


def load_error(path: Path) -> str:
    with pytest.raises(tlc.ConfigError) as caught:
        tlc.load_config(str(path))
    assert caught.value.fix
    return caught.value.message


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbfjobs = 2\r\nversions = ['17.0']\r\n")
    assert tlc.load_config(str(path)).versions == ["17.0"]


def test_lines_are_counted_the_same_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbfversions = ['17.0']\r\njobs = 0\r\n")
    assert load_error(path).startswith("config.toml:2: jobs: found 0")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"versions = ['17.0'] # \xe9t\xe9\n")
    assert load_error(path) == "config.toml: byte 22 is not UTF-8."


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    assert load_error(tmp_path).endswith(f"/{tmp_path.name} is not a file.")


@pytest.mark.parametrize("name", ["config.toml", "config.local.toml"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
def test_what_is_no_file_is_not_waited_for_and_its_fix_mends(
    sandbox: Sandbox, name: str, make: Callable[[Path], None]
) -> None:
    me = Person(sandbox)
    sandbox.config("versions = []\n")
    path = sandbox.root / name
    path.unlink(missing_ok=True)
    make(path)
    for words in ("status", "doctor --offline Configuration", "generate-config odoo-minimal"):
        run = me.tlc("--yes", *words.split(), timeout=20)
        own = "generate-config" not in words or name == "config.toml"
        assert (run.code, "is not a file" in run.out + run.err) == (int(own), own)
    run = me.tlc("--json", "init", timeout=20)
    me.paste(run.json()["error"]["fix"])
    assert me.yes("generate-config", "odoo-minimal").code == 0
    assert path.with_name(f"{name}.old").exists()


@pytest.mark.parametrize("editor", ["vi 'a", "  ", "/nowhere/ed", "no-such-editor -w"])
def test_an_editor_that_is_none_is_told(sandbox: Sandbox, editor: str) -> None:
    sandbox.config("versions = []\n")
    run = sandbox.tlc("--json", "config", "edit", env={"VISUAL": editor})
    error = run.json()["error"]
    assert (run.code, error["message"]) == (1, f"{editor!r} is no editor here.")
    assert error["fix"] == "# set VISUAL or EDITOR to an editor that is installed"


def test_a_lock_file_may_be_a_pipe(sandbox: Sandbox) -> None:
    sandbox.config("versions = []\n")
    words = [
        sys.executable,
        str(sandbox.archive),
        "--dry-run",
        "pull-repos",
        "--lock",
        "/dev/stdin",
    ]
    run = subprocess.run(words, env=sandbox.env, input="", capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_file_that_cannot_be_reached_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert load_error(tmp_path / "file" / "config.toml").endswith(
        "/file/config.toml cannot be read: Not a directory."
    )


def test_a_missing_file_is_told_in_one_line_with_the_two_ways_out(tmp_path: Path) -> None:
    message = load_error(tmp_path / "config.toml")
    assert "\n" not in message
    assert "`tlc init`" in message
    assert "`tlc generate-config" in message


def test_config_local_toml_is_read_beside_config_toml(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(VERSIONS)
    (tmp_path / "config.local.toml").write_text("\ufeffjobs = 7")
    assert tlc.load_config(str(path)).data["jobs"] == 7
    (tmp_path / "config.local.toml").write_bytes(b"# \xe9\n")
    assert load_error(path) == "config.local.toml: byte 2 is not UTF-8."
    (tmp_path / "config.local.toml").unlink()
    (tmp_path / "config.local.toml").mkdir()
    assert load_error(path).endswith("/config.local.toml is not a file.")


def test_config_local_toml_alone_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "config.local.toml").write_text(VERSIONS)
    assert load_error(tmp_path / "config.toml").startswith("There is no ")


# --- the lines of any TOML document

LITERALS = "1 -1 +1_000 0xff 0o7 1.5 6e-7 -inf nan true 1979-05-27 07:32:00 1979-05-27T07:32:00.5+01:00".split()
LITERALS += ["1979-05-27 07:32:00Z"]
KEYS = [*"a b c-d_1 1 17.0 x]y [z = # , { é".split(), "", "a b", 'q"q', "q'q", "\\", "\t", "\x7f"]


def random_value(choice: random.Random, depth: int = 0) -> Any:
    """A list, a table, or (kind, text) for a scalar."""
    kind = choice.choice(["literal", "string", "list", "table", "tables"][: 2 if depth > 3 else 5])
    if kind == "literal":
        return kind, choice.choice(LITERALS)
    if kind == "string":
        return kind, "".join(choice.choices("ab \"'\\#[]{}=,.\n\té", k=choice.randrange(7)))
    if kind == "list":
        return [random_value(choice, depth + 1) for _ in range(choice.randrange(4))]
    if kind == "table":
        return random_table(choice, depth + 1)
    return [random_table(choice, depth + 1) for _ in range(choice.randrange(1, 3))]


def random_table(choice: random.Random, depth: int = 0) -> dict[str, Any]:
    names = choice.sample(KEYS, k=choice.randrange(4))
    return {name: random_value(choice, depth + 1) for name in names}


class Document:
    """A TOML document in the making, in a style drawn at random; it notes the line of each path.

    A path stands where it is first named: keys where they are written, items where they begin.
    """

    def __init__(self, choice: random.Random, data: dict[str, Any]) -> None:
        self.choice, self.text = choice, ""
        self.lines: dict[tuple[str | int, ...], int] = {(): 1}
        self.space()
        self.table((), data)
        if self.one_of(False, True):
            self.text = self.text.rstrip(
                "\n"
            )  # never inside a string, as lines are ended with a comment then
        if self.one_of(False, True):
            self.text = self.text.replace("\n", "\r\n")

    def one_of(self, *options: Any) -> Any:
        return self.choice.choice(options)

    def mark(self, path: tuple[str | int, ...]) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def space(self) -> None:
        """Blank lines and comments, as they may stand between statements and in arrays."""
        self.text += self.one_of("", "", "\n", " # a = [\n", "\t\n  #\"'\n\n")

    def end(self) -> None:
        self.text += self.one_of("\n", "  # } ] = '\n", "\t\n")
        self.space()

    def key(self, name: str) -> None:
        styles = [quoted(name)]
        if re.fullmatch(r"[A-Za-z0-9_-]+", name):
            styles += [name, name]
        if name.isprintable() and "'" not in name:
            styles.append(f"'{name}'")
        self.text += self.one_of(*styles)

    def keys(self, path: tuple[str | int, ...], names: list[str]) -> tuple[str | int, ...]:
        """A dotted key below a path; returns the whole path."""
        for index, name in enumerate(names):
            path = (*path, name)
            self.text += self.one_of(".", " . ", ".\t") if index else ""
            self.mark(path)
            self.key(name)
        return path

    def pair(self, path: tuple[str | int, ...], names: list[str], value: Any) -> None:
        self.text += self.one_of("", "  ")
        path = self.keys(path, names)
        self.text += self.one_of(" = ", "=")
        self.value(path, value)

    def pairs(self, path: tuple[str | int, ...], names: list[str], value: Any) -> Iterator[None]:
        """A pair, or many with dotted keys; pauses after each."""
        if isinstance(value, dict) and value and self.one_of(False, True):
            for name, item in value.items():
                yield from self.pairs(path, [*names, name], item)
        else:
            self.pair(path, names, value)
            yield

    def value(self, path: tuple[str | int, ...], value: Any) -> None:
        self.mark(path)
        if isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self.text += "," if index else ""
                self.space()
                self.value((*path, index), item)
                self.space()
            self.text += self.one_of(",", "") if value else ""
            self.space()
            self.text += "]"
        elif isinstance(value, dict):
            self.text += self.one_of("{", "{ ")
            first = True
            for name, item in value.items():
                for _ in self.pairs(path, [name], item):
                    self.text += " , "
                first = False
            if not first:
                self.text = self.text.removesuffix(" , ")
            self.text += self.one_of("}", " }")
        else:
            kind, text = value
            self.text += self.string(text) if kind == "string" else text

    def string(self, text: str) -> str:
        styles = [quoted(text)]
        if "'" not in text and "\n" not in text:
            styles.append(f"'{text}'")
        if "'''" not in text:
            styles += (
                [f"'''\n{text}'''", f"'''{text}'''"]
                if text[:1] != "\n" and text[-3:] != "'''"
                else []
            )
        if '"""' not in text and text[:1] != "\n":
            escaped = text.replace("\\", "\\\\")
            styles += [f'"""{escaped}"""', f'"""\n{escaped}"""', f'"""\\\n \n{escaped}"""']
        style: str = self.one_of(*styles)
        return style

    def table(
        self, path: tuple[str | int, ...], table: dict[str, Any], headers_only: bool = False
    ) -> None:
        """The pairs of a table, then its tables with headers of their own."""
        later: list[str] = []
        for name, value in table.items():
            is_tables = (
                isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            )
            if (isinstance(value, dict) or is_tables) and (
                headers_only or self.one_of(False, True)
            ):
                later.append(name)
            else:
                for _ in self.pairs(path, [name], value):
                    self.end()
        for name in later:
            value, below = table[name], (*path, name)
            if isinstance(value, list):
                for index, item in enumerate(value):
                    self.header((*below, index), "[[", "]]")
                    self.table((*below, index), item)
                continue
            implicit = (
                bool(value)
                and all(isinstance(item, dict) for item in value.values())
                and self.one_of(False, True)
            )
            if not implicit:
                self.header(below, "[", "]")
            self.table(below, value, headers_only=implicit)

    def header(self, path: tuple[str | int, ...], opening: str, closing: str) -> None:
        self.text += opening + self.one_of("", " ")
        for index, part in enumerate(path):
            self.mark(path[: index + 1])
            if isinstance(part, str):
                self.text += " . " if index else ""
                self.key(part)
        self.text += closing
        self.end()


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from paths(item, (*path, key))


@pytest.mark.parametrize("seed", range(20))
def test_the_line_of_every_key_and_item_of_any_document_is_known(seed: int) -> None:
    choice = random.Random(seed)
    for number in range(100):
        document = Document(choice, random_table(choice))
        text, lines = document.text, document.lines
        told = f"document {number} of seed {seed}:\n{text}"
        assert set(lines) == set(paths(tomllib.loads(text))), f"the test itself is wrong: {told}"
        assert tlc.TomlLines(text).lines == lines, told


# --- nothing a config says may write outside the code root, or become an option

PIECES = st.sampled_from(["..", "17.0", ".git", ".lock", "{version}", *"aaa../-~\\: \n@é"])
NAMES = st.one_of(
    st.lists(PIECES, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@settings(max_examples=300, deadline=None)
@example(organisation="x", name="a", branch="b/c", directory="d/e")
@example(organisation="odoo", name="a", branch="b/../../../c", directory="d")
@example(organisation="odoo", name="a", branch="b", directory="d/../../e")
@given(
    organisation=st.sampled_from(["odoo", "oca", "x"]) | NAMES,
    name=st.just("a") | NAMES,
    branch=st.just("b") | NAMES,
    directory=NAMES,
)
def test_nothing_a_config_says_leads_out_of_the_code_root(
    organisation: str, name: str, branch: str, directory: str
) -> None:
    fields = [
        f"init_dirs = [{quoted(directory)}]\n",
        f"[repos]\n{quoted(organisation)} = [[{quoted(name)}, [{quoted(branch)}]]]\n",
    ]
    for fragment in [*fields, "".join(fields)]:
        try:
            config = tlc.parse_config(VERSIONS + fragment)
        except tlc.ConfigError:
            continue
        event(f"accepted {fragment.split()[0]}")
        places = [each.path for each in config.repositories]
        places += [each.name for each in tlc.directories_of(config, "/srv/code")]
        for place in places:
            assert os.path.normpath(f"/srv/code/{place}") == f"/srv/code/{place}"
            assert not place.startswith("-")
        for each in config.repositories:
            words = [each.organisation, each.name, each.branch, each.path, each.url]
            assert not any(word.startswith("-") for word in words)
            assert each.path.count("/") == 2 + branch.count("/")


# --- any config through main()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def meet(world: World, choice: Random) -> None:
    """Run a command with a config that is drawn, and look at what it did and said."""
    text, local = choice.text(), choice.choice(["", "", choice.text()])
    command, answer = choice.choice(choice.choice([DOING, COMMANDS])), choice.choice(ANSWERS)
    before = world.files()
    code, out, err = world.run(text, local, command.split(), answer)
    said = out + err
    assert code in ((0, 1, 2, 3) if command.startswith("ensure-db-user") else (0, 1, 2))
    assert "Traceback" not in said and "nternal error" not in said
    assert code == 0 or err.strip() or json.loads(out)
    assert world.files() == before, "something was written outside the code root"
    values = set(strings(text)) | set(strings(local))
    for arguments in world.commands:
        ends = arguments.index("--") if "--" in arguments else len(arguments)
        options = [word for word in arguments[1:ends] if word.startswith("-")]
        assert not values & set(options), f"a value became an option: {arguments}"
        assert not any("hunter2" in word for word in arguments), f"a secret is told: {arguments}"
        for word in arguments:
            if word.startswith(str(world.outside)):
                inside = os.path.normpath(word)
                assert inside.startswith(str(world.home)), f"a path leads out: {arguments}"
    assert "hunter2" not in said


def strings(text: str) -> Iterator[str]:
    """All that a config says that a program could take for an option."""
    try:
        todo: list[Any] = [tomllib.loads(text)]
    except (ValueError, RecursionError):
        return
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            if value in OPTIONS:
                yield value
        elif isinstance(value, dict):
            todo += [*value, *value.values()]
        elif isinstance(value, list):
            todo += value


@pytest.mark.parametrize("number", range(5))
def test_no_config_breaks_tlc_leads_it_astray_or_leaves_it_without_words(
    world: World, number: int
) -> None:
    for seed in range(number * 100, number * 100 + 100):
        with told(f"seed {seed}"):
            meet(world, Random(seed))


@pytest.mark.sweep
@pytest.mark.parametrize("number", range(20))
def test_not_one_of_twenty_thousand_configs_breaks_tlc(world: World, number: int) -> None:
    for seed in range(1000 + number * 1000, 2000 + number * 1000):
        with told(f"seed {seed}"):
            meet(world, Random(seed))


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Say what was being tried when something fails."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise


# --- as a user meets it

BROKEN = 'versions = [\n  "17.0",\n  18.0,\n]\njobs = 0\n[repos]\noca = ["..", { nam = "web" }]\n'


def test_a_run_with_a_broken_config_tells_all_problems_and_touches_nothing(
    sandbox: Sandbox,
) -> None:
    sandbox.config(BROKEN)
    run = sandbox.tlc("pull-repos", "--dry-run")
    assert run.code == 1
    for place in (
        "3: versions[1]",
        "5: jobs",
        "7: repos.oca[0]",
        "7: repos.oca[1].name",
        "7: repos.oca[1].nam",
    ):
        assert f"config.toml:{place}: " in run.err
    assert "A short valid example:" in run.err
    assert re.search(r"^→ .* config edit$", run.err, re.MULTILINE)
    assert run.out == ""
    assert os.listdir(sandbox.root) == ["config.toml"]


def test_a_broken_config_is_an_error_document_with_json(sandbox: Sandbox) -> None:
    sandbox.config(BROKEN)
    run = sandbox.tlc("pull-repos", "--dry-run", "--json")
    assert run.code == 1
    document = run.json()
    assert (document["ok"], document["error"]["code"]) == (False, "config")
    assert document["error"]["message"].count("config.toml:") == 5
    assert document["error"]["fix"].endswith(" config edit")


@pytest.mark.parametrize(
    "arguments", [["pull-repos"], ["pull-repos", "--dry-run"], ["--yes", "pull-repos"]]
)
def test_a_run_without_a_config_names_the_two_ways_to_one(
    sandbox: Sandbox, arguments: list[str]
) -> None:
    run = sandbox.tlc(*arguments)
    assert run.code == 1
    assert "There is no ~/code/config.toml yet" in run.err
    assert "`tlc init`" in run.err
    assert "`tlc generate-config" in run.err
    assert not sandbox.root.exists()


def test_an_unknown_key_does_not_stop_a_run(sandbox: Sandbox) -> None:
    sandbox.config(VERSIONS + "job = 3\n")
    run = sandbox.tlc("init", "--dry-run")
    assert run.code == 0
    assert 'config.toml:2: job: unknown key, ignored; did you mean "jobs"?' in run.err


def test_a_warning_stays_out_of_a_json_document(sandbox: Sandbox) -> None:
    sandbox.config(VERSIONS + "job = 3\n")
    run = sandbox.tlc("init", "--dry-run", "--json")
    assert run.json()["ok"] is True
    assert "config.toml:2: job: unknown key" in run.err


def test_the_jobs_of_the_config_are_checked_before_anything_is_done(sandbox: Sandbox) -> None:
    sandbox.config(VERSIONS + "jobs = 0\n")
    run = sandbox.tlc("--yes", "init")
    assert run.code == 1
    assert "config.toml:2: jobs: found 0" in run.err
    assert os.listdir(sandbox.root) == ["config.toml"]


@pytest.mark.parametrize("before", ["", VERSIONS])
def test_a_config_that_changes_while_the_question_stands_is_not_replaced(
    sandbox: Sandbox, before: str
) -> None:
    if before:
        sandbox.config(before)
    with Person(sandbox).terminal("generate-config", "odoo-dev") as terminal:
        terminal.wait_for("Go ahead?")
        written = sandbox.config("# mine, just now\n" + VERSIONS)
        terminal.send("y\r")
        assert terminal.wait() == 1
    assert written.read_text() == "# mine, just now\n" + VERSIONS
    assert os.listdir(sandbox.root) == ["config.toml"]
    assert "changed after the plan was shown" in terminal.text


ONLY_BRANCHES = '[repos]\noca = [["web", []], "queue"]\n'


def test_without_versions_the_tree_and_the_plans_of_tools_come_all_the_same(
    sandbox: Sandbox,
) -> None:
    sandbox.config(ONLY_BRANCHES)
    assert sandbox.tlc("--yes", "init").code == 0
    assert {path.name for path in sandbox.root.iterdir()} >= {"venvs", "conf", "trobz"}
    for command in ("install-tools", "up", "ensure-db-user"):
        run = sandbox.tlc("--dry-run", command)
        assert "internal" not in run.err.lower(), run.err
    assert "no versions; repositories: 0" in sandbox.tlc("doctor", "Configuration", "--offline").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create-venvs"], "there is no environment to make"),
        (["create-venvs", "17.0"], "there is no environment to make"),
        (["pull-repos"], "these have no branch: oca/queue"),
        (["pull-repos", "-f", "queue"], "these have no branch: oca/queue"),
        (["status"], "these have no branch: oca/queue"),
    ],
)
def test_a_command_that_needs_a_version_says_so(
    sandbox: Sandbox, arguments: list[str], said: str
) -> None:
    sandbox.config(ONLY_BRANCHES)
    run = sandbox.tlc(*arguments)
    assert run.code == 1
    assert f"config.toml names no versions, so {said}." in run.err
    assert f'# versions = ["{tlc.NEWEST_ODOO}"]' in run.err


def test_what_has_branches_of_its_own_is_pulled_without_versions(sandbox: Sandbox) -> None:
    sandbox.config('[repos]\noca = [["web", ["main"]], "queue"]\n')
    run = sandbox.tlc("--dry-run", "--json", "pull-repos")
    assert [each["name"] for each in run.json()["results"]] == ["oca/web@main"]
    assert "these have no branch: oca/queue" in run.err
    assert sandbox.tlc("pull-repos", "-f", "queue").code == 1


@pytest.mark.parametrize("name", ["OCA/web", "oca/web", "Oca/web@17.0"])
def test_a_filter_knows_an_organisation_in_any_case(sandbox: Sandbox, name: str) -> None:
    sandbox.config(VERSIONS + '[repos]\nOCA = ["web", "queue"]\n')
    run = sandbox.tlc("--dry-run", "--json", "pull-repos", "-f", name)
    assert [each["name"] for each in run.json()["results"]] == ["oca/web@17.0"]


NEWCOMER = [
    ("", {}, [], True),
    ("newcomer = true", {}, [], True),
    ("newcomer = false", {}, [], False),
    ("newcomer = false", {"NEWCOMER_MODE": "true"}, [], True),
    ("newcomer = true", {"NEWCOMER_MODE": "false"}, [], False),
    ("newcomer = false", {"NEWCOMER_MODE": ""}, [], False),
    ("newcomer = false", {}, ["--newcomer"], True),
    ("newcomer = true", {"NEWCOMER_MODE": "true"}, ["--no-newcomer"], False),
]


@pytest.mark.parametrize(("text", "env", "options", "asks"), NEWCOMER)
def test_newcomer_is_an_options_else_a_variables_else_the_configs(
    sandbox: Sandbox, text: str, env: dict[str, str], options: list[str], asks: bool
) -> None:
    sandbox.config(f"{VERSIONS}{text}\n")
    run = sandbox.tlc("init", *options, env=env)
    assert run.code == int(asks)
    assert (sandbox.root / "venvs").exists() is not asks


def test_newcomer_counts_for_a_command_that_needs_no_config_too(sandbox: Sandbox) -> None:
    path = sandbox.config(f"{VERSIONS}newcomer = false\n")
    run = sandbox.tlc("generate-config", "odoo-minimal")
    assert run.code == 1  # replacing what a person wrote is asked about all the same
    path.write_text("newcomer = false\n" + tlc.profiles()["odoo-minimal"])
    (sandbox.root / "config.local.toml").write_text("newcomer = true\n")
    assert sandbox.tlc("init").code == 1


def test_a_broken_config_changes_nothing_about_commands_that_need_none(sandbox: Sandbox) -> None:
    sandbox.config("newcomer = 0\n")
    assert sandbox.tlc("--yes", "generate-config", "odoo-minimal").code == 0


def test_config_local_toml_counts_in_a_run(sandbox: Sandbox) -> None:
    sandbox.config(VERSIONS)
    (sandbox.root / "config.local.toml").write_text("[repos]\nme = ['x']\n")
    run = sandbox.tlc("--dry-run", "--json", "pull-repos")
    assert [each["name"] for each in run.json()["results"]] == ["me/x@17.0"]
    (sandbox.root / "config.local.toml").write_text("[repos]\nme = ['..']\n")
    broken = sandbox.tlc("pull-repos")
    assert broken.code == 1
    assert "config.local.toml:2: repos.me[0]: found" in broken.err
    assert "\ncorrect ~/code/config.local.toml" in broken.err


def test_init_writes_its_config_beside_a_local_one(sandbox: Sandbox) -> None:
    sandbox.root.mkdir()
    (sandbox.root / "config.local.toml").write_text('versions = ["17.0"]\n')
    assert sandbox.tlc("--yes", "init").code == 0
    assert (sandbox.root / "config.toml").read_text() == tlc.profiles()["odoo-minimal"]
    assert (sandbox.root / "oca" / "17.0").is_dir()
