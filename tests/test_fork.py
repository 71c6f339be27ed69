"""Stories of `[git] fork`: the remote to which a person's pushes go."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from conftest import Sandbox
from person import Person
from results import Result
from upstream import Upstream
from workstation import script

CONFIG = """versions = ["17.0", "18.0"]
[git]
layout = "{layout}"
{fork}
[repos]
odoo = [["odoo", ["17.0"]]]
oca = ["web"]
me = [{{ name = "mine", branches = ["17.0"], fork = true }}]
trobz = [
    {{ name = "tool", branches = ["17.0"], fork = true }},
    {{ name = "inner", branches = ["17.0"] }},
]
"""
FORKED = ["odoo/odoo/17.0", "oca/17.0/web", "oca/18.0/web", "trobz/17.0/tool"]
NOT_FORKED = ["me/17.0/mine", "trobz/17.0/inner"]


class Contributor(Person):
    """A person with a fork of OCA's web, and checkouts that know nothing of it yet."""

    def __init__(self, sandbox: Sandbox, layout: str) -> None:
        super().__init__(sandbox)
        self.upstream, self.layout = Upstream(sandbox.home / "github", sandbox), layout
        for name in ("odoo/odoo", "OCA/web", "me/mine", "trobz/tool", "trobz/inner"):
            self.upstream.create(name, "17.0", "18.0")
        self.fork("OCA/web")
        self.configure("")
        assert self.yes("pull-repos").code == 0
        self.configure('fork = "me"')

    def configure(self, fork: str) -> None:
        self.sandbox.config(CONFIG.format(layout=self.layout, fork=fork))

    def fork(self, name: str) -> None:
        hub = self.upstream.directory
        shutil.copytree(hub / f"{name}.git", hub / f"me/{name.partition('/')[2]}.git")

    def git(self, path: str, *words: str) -> str:
        return self.upstream.git(*words, cwd=self.root / path)

    def remotes(self, path: str) -> tuple[str, str]:
        """The address of the fork, and where git pushes."""
        words = ["config", "--default", "", "--get"]
        return self.git(path, *words, "remote.fork.url"), self.git(
            path, *words, "remote.pushDefault"
        )

    def said(self) -> dict[str, Result]:
        """What doctor says of forks."""
        found = self.doctor("repositories").items()
        return {name.removeprefix("fork of "): each for (_, name), each in found if "fork" in name}


@pytest.fixture(params=["clones", "worktrees"])
def me(request: pytest.FixtureRequest, sandbox: Sandbox) -> Contributor:
    return Contributor(sandbox, request.param)


def test_what_is_pushed_goes_to_the_fork_from_every_checkout_that_wants_one(
    me: Contributor,
) -> None:
    web = me.root / "oca/17.0/web"
    (web / "module/models.py").write_text("mine = 1\n")
    me.git("oca/17.0/web", "commit", "-qam", "mine")
    planned = me.tlc("--dry-run", "pull-repos").out
    assert "add the remote fork, for git push (4)" in planned
    run = me.yes("pull-repos")
    assert run.code == 0 and run.json()["changed"]
    for path in FORKED:
        name = path.replace("/17.0", "").replace("/18.0", "").rpartition("/")[2]
        assert me.remotes(path) == (f"git@github.com:me/{name}.git", "fork")
    for path in NOT_FORKED:
        assert me.remotes(path) == ("", "")
    # The one with work was kept, and has it too.
    me.git("oca/17.0/web", "push", "-q")
    head = me.git("oca/17.0/web", "rev-parse", "HEAD")
    assert me.upstream.tip("me/web", "17.0") == head != me.upstream.tip("OCA/web", "17.0")
    again = me.yes("pull-repos")
    assert again.code == 0 and not again.json()["changed"]
    # Without the key nothing changes in the checkouts.
    me.configure("")
    assert not me.yes("pull-repos").json()["changed"]
    assert me.remotes("oca/17.0/web")[1] == "fork"


def test_a_new_checkout_has_it_from_the_beginning(me: Contributor) -> None:
    shutil.rmtree(me.root / "oca/17.0/web")
    assert me.yes("pull-repos", "-f", "web@17.0").code == 0
    assert me.remotes("oca/17.0/web") == ("git@github.com:me/web.git", "fork")
    shutil.rmtree(me.root / "odoo/odoo/17.0")
    away = me.upstream.directory / "odoo/odoo.git"
    away.rename(away.with_suffix(".away"))
    run = me.yes("pull-repos", "-f", "odoo/odoo")
    assert {each["status"] for each in run.json()["results"]} == {"failed", "skipped"}


def other_remote(me: Contributor) -> tuple[str, str]:
    me.git("odoo/odoo/17.0", "remote", "add", "fork", "git@github.com:you/odoo.git")
    return "git@github.com:you/odoo.git", ""


def other_default(me: Contributor) -> tuple[str, str]:
    me.git("odoo/odoo/17.0", "config", "remote.pushDefault", "origin")
    return "git@github.com:me/odoo.git", "origin"


@pytest.mark.parametrize("arrange", [other_remote, other_default])
def test_what_a_person_has_arranged_stays_and_doctor_names_it(
    me: Contributor, arrange: Callable[[Contributor], tuple[str, str]]
) -> None:
    left = arrange(me)
    assert me.yes("pull-repos").code == 0
    assert me.remotes("odoo/odoo/17.0") == left
    said = me.said()["odoo/odoo@17.0"]
    assert said["status"] == "WARN" and (
        "you/odoo" in said["message"] or "pushDefault" in said["message"]
    )
    assert me.paste(said["fix"]).returncode == 0
    assert me.yes("pull-repos").code == 0
    assert me.remotes("odoo/odoo/17.0") == ("git@github.com:me/odoo.git", "fork")


def test_doctor_says_which_forks_are_not_there_and_how_to_make_them(me: Contributor) -> None:
    said = me.said()
    assert (
        "pull-repos"
        in me.doctor("repositories", "--offline")["Repositories", "fork of oca/web@17.0"]["fix"]
    )
    assert me.yes("pull-repos").code == 0
    said = me.said()
    assert said["oca/web@17.0"]["status"] == "OK"
    missing = said["trobz/tool@17.0"]
    assert (missing["status"], missing["fix"]) == ("WARN", "gh repo fork trobz/tool --clone=false")
    assert "me/tool is not at GitHub" in missing["message"]
    # Its gh makes the fork where GitHub would.
    hub = me.upstream.directory
    gh = script(
        me.home / "bin/gh",
        f'#!/bin/sh\n[ "$1 $2 $4" = "repo fork --clone=false" ] && cp -R {hub}/"$3".git {hub}/me/\n',
    )
    path = f"{gh.parent}:{me.env['PATH']}"
    assert me.paste(missing["fix"], env={"PATH": path}).returncode == 0
    assert me.said()["trobz/tool@17.0"]["status"] == "OK"


def test_a_checkout_of_another_origin_is_not_touched(me: Contributor) -> None:
    me.git("oca/17.0/web", "remote", "set-url", "origin", "git@github.com:trobz/tool.git")
    assert me.yes("pull-repos", "-f", "web@17.0").code == 1
    if me.layout == "clones":
        assert me.remotes("oca/17.0/web") == ("", "")
