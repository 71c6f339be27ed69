"""Checkouts of OCA's repositories, and a person who works in them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil

from conftest import Sandbox
from person import Person
from upstream import Upstream

CONFIG = """versions = ["17.0", "18.0"]
[repos]
odoo = [["odoo", ["17.0"]]]
oca = ["web"]
"""
WEB = "oca/web@17.0"


class CheckoutOwner(Person):
    """A person with three checkouts, fresh from `pull-repos`."""

    def __init__(self, sandbox: Sandbox, config: str = CONFIG) -> None:
        super().__init__(sandbox)
        self.upstream = Upstream(sandbox.home / "github", sandbox)
        self.upstream.create("odoo/odoo", "17.0")
        self.upstream.create("OCA/web", "17.0", "18.0")
        sandbox.config(config)
        assert self.tlc("--yes", "pull-repos").code == 0
        self.web = sandbox.root / "oca/17.0/web"

    def git(self, *words: str) -> str:
        """Run git in the checkout of web at 17.0."""
        return self.upstream.git(*words, cwd=self.web)

    def commit(self, text: str) -> None:
        (self.web / "module/models.py").write_text(text)
        self.git("commit", "-qam", text)

    def conflict(self, *command: str) -> None:
        """Run into a conflict with the branch mine."""
        self.git("checkout", "-q", "-b", "mine")
        self.commit("mine\n")
        self.git("checkout", "-q", "17.0")
        self.commit("theirs\n")
        with contextlib.suppress(AssertionError):
            self.git(*command, "mine")

    def status(self, *arguments: str) -> dict[str, str]:
        """Name of each repository -> the rest of its line."""
        run = self.tlc("status", *arguments)
        assert run.code == 0
        assert run.out, "no repository is shown"
        return dict(re.split(r"\s+", line, maxsplit=1) for line in run.out.splitlines())


def many_checkouts(sandbox: Sandbox, count: int) -> None:
    """Have a config of so many repositories of OCA's, and their checkouts, at 17.0."""
    upstream = Upstream(sandbox.home / "github", sandbox)
    upstream.create("OCA/repository", "17.0")
    names = [f"repository-{number}" for number in range(count)]
    sandbox.config(f'versions = ["17.0"]\n[repos]\noca = {json.dumps(names)}\n')
    first = sandbox.root / "oca/17.0" / names[0]
    first.parent.mkdir(parents=True)
    upstream.git("clone", "-q", "-b", "17.0", "git@github.com:OCA/repository.git", str(first))
    upstream.git("branch", "-q", "--set-upstream-to", "origin/17.0", cwd=first)
    for name in reversed(names):
        if name != names[0]:
            shutil.copytree(first, first.with_name(name), symlinks=True)
        config = first.with_name(name) / ".git/config"
        config.write_text(config.read_text().replace("OCA/repository.git", f"OCA/{name}.git"))
