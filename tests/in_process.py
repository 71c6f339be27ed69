"""A checkout for tests that call tlc's functions in their own process, where make mutants sees them."""

from __future__ import annotations

from pathlib import Path

from conftest import Sandbox
from upstream import Upstream

import tlc

URL = "git@github.com:OCA/web.git"


class Checkout:
    """A checkout of oca/web@18.0, and the upstream it was cloned from."""

    def __init__(self, directory: Path, entry: str = '"web"') -> None:
        self.sandbox = Sandbox(directory, Path("no archive is run"))
        self.upstream = Upstream(directory / "github", self.sandbox)
        self.upstream.create("OCA/web", "17.0", "18.0")
        self.path = self.sandbox.root / "oca/18.0/web"
        config = tlc.parse_config(f'versions = ["18.0"]\n[repos]\noca = [{entry}]\n')
        [self.repository] = config.repositories
        self.runner = tlc.Runner(self.sandbox.env, tlc.Log(str(self.sandbox.state), "toy"))
        self.git = self.fresh()

    def fresh(self) -> tlc.Git:
        """Return a Git that remembers nothing."""
        store = str(self.sandbox.root / ".stores/oca/web.git")
        return tlc.Git(self.runner, str(self.path), self.repository, store)

    def clone(self, *options: str) -> None:
        words = ["clone", "-q", "--branch", "18.0", *options, URL, str(self.path)]
        self.upstream.git(*words)

    def do(self, *words: str, **environ: str) -> str:
        """Run git in the checkout, as the person does."""
        return self.upstream.git(*words, cwd=self.path, **environ)

    def write(self, **files: str) -> None:
        """Write files; in their names __ is a slash and _dot_ a dot."""
        for name, text in files.items():
            path = self.path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def move_on(self, **files: str) -> str:
        """Let upstream commit, and fetch it; return the commit."""
        named = {
            name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()
        }
        tip = self.upstream.commit("OCA/web", "18.0", named)
        self.do("fetch", "-q", "origin", "18.0:refs/remotes/origin/18.0")
        return tip

    def look(self) -> tlc.Found:
        return tlc.look(self.fresh())

    def back_up(self) -> str:
        """Record the work; return the lines that bring it back."""
        return tlc.Backup(self.fresh(), self.look()).record().render("tlc")

    @property
    def head(self) -> str:
        return self.do("rev-parse", "HEAD")

    def backups(self) -> list[str]:
        """Return the refs under which work is recorded."""
        return self.do("for-each-ref", "--format=%(refname)", "refs/tlc/backup").split()

    def tree(self) -> dict[str, str]:
        """Return all files of the work tree."""
        return {
            str(path.relative_to(self.path)): path.read_text()
            for path in self.path.rglob("*")
            if path.is_file() and ".git" not in path.relative_to(self.path).parts
        }
