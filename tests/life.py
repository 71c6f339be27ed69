"""The life of two checkouts, told in a home with a person's settings; and the same by plain git alone.

What happens must not depend on the settings, but for what stands in a list with its reason (test_sweep).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import Run, Sandbox
from upstream import Upstream

LAYOUTS = ("clones", "worktrees")
CONFIG = """versions = ["17.0", "18.0"]
[repos]
oca = ["web"]
[git]
layout = "{layout}"
"""
# Whatever a person has set, this git has not.
PLAIN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}

Story = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A setting of git's, or with `variable` one of the environment, and a value."""

    name: str
    value: str
    variable: bool = False

    def __str__(self) -> str:
        return f"{self.name}={self.value}"

    def lines(self) -> str:
        """Return the lines of a gitconfig that set it."""
        section, _, rest = self.name.partition(".")
        subsection, _, key = rest.rpartition(".")
        header = f'[{section} "{subsection}"]' if subsection else f"[{section}]"
        value = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{header}\n\t{key} = "{value}"\n'


class Life:
    """A home with settings, in `directory`, and the repository of others that it follows."""

    def __init__(self, directory: Path, archive: Path, settings: Sequence[Setting]) -> None:
        self.directory = directory
        self.me = Sandbox(directory / "me", archive)
        self.others = Sandbox(directory / "others", archive)
        self.others.env |= PLAIN
        self.upstream = Upstream(directory / "github", self.others, addresses=())
        self.upstream.create("OCA/web", "17.0", "18.0")
        home = str(self.me.home)
        settings = [
            Setting(each.name, each.value.replace("HERE", home), each.variable) for each in settings
        ]
        self.variables = {each.name: each.value for each in settings if each.variable}
        redirection = Setting(f"url.file://{directory}/github/.insteadOf", "git@github.com:")
        own = [each for each in settings if not each.variable]
        (self.me.home / ".gitconfig").write_text(
            "".join(each.lines() for each in [redirection, *own])
        )

    def git(self, where: Path, *words: str, plain: bool = False) -> str:
        """Run git as the person, or as one without settings; return its output, raise where it fails."""
        env = {**self.me.env, **(PLAIN if plain else {})}
        done = subprocess.run(
            ["git", "-C", str(where), *words],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
        return done.stdout

    # --- by plain git

    def by_git(self) -> None:
        """Live it by plain git, with the variables too; an AssertionError where git cannot."""
        self.me.env |= self.variables
        home, url = self.me.home, "git@github.com:OCA/web.git"
        web = home / "web"
        self.git(home, "clone", "-q", "--depth=1", "--branch=17.0", url, "web")
        self.upstream.commit("OCA/web", "17.0", {"moved.py": "moved = 1\n"})
        self.git(web, "-c", "fetch.unpackLimit=1", "fetch", "origin", "17.0")
        self.git(web, "checkout", "-q", "17.0")
        self.git(web, "reset", "-q", "--hard", "origin/17.0")
        assert (web / "moved.py").exists(), "what was fetched is not there"
        assert self.git(web, "status", "--porcelain") == ""
        (web / "module/models.py").write_text("mine = 1\n")
        assert "models.py" in self.git(web, "status", "--porcelain")
        (web / "staged.py").write_text("mine = 2\n")
        self.git(web, "add", "staged.py")
        for words in ("stash -q", "stash apply -q --index", "diff", "add --all"):
            self.git(web, *words.split())
        self.git(web, "commit", "-q", "-m", "mine")
        for words in ("rebase -q origin/17.0", "log -1", "checkout -q -B other", "branch"):
            self.git(web, *words.split())
        self.git(home, "clone", "-q", "--bare", url, "store")
        add = ("--git-dir=store", "worktree", "add", "-q", "-B", "other")
        self.git(home, *add, str(home / "tree"), "18.0")
        assert (home / "tree/module/models.py").exists()

    # --- by tlc

    def tell(self) -> Story:
        """Live it by tlc, in both layouts; return what it said and what stood there, step by step."""
        story: Story = {}
        for layout in LAYOUTS:
            (self.root(layout)).mkdir()
            (self.root(layout) / "config.toml").write_text(CONFIG.format(layout=layout))

        self.step(story, "cloned", "--yes", "pull-repos")
        self.upstream.commit("OCA/web", "17.0", {"moved.py": "moved = 1\n"})
        self.step(story, "moved", "--yes", "pull-repos")
        self.upstream.commit("OCA/web", "17.0", {"moved.py": "moved = 2\n"}, amend=True)
        self.step(story, "rewritten", "--yes", "pull-repos")
        self.step(story, "nothing moved", "--yes", "pull-repos")
        for layout in LAYOUTS:
            web = self.web(layout)
            (web / "module/models.py").write_text("mine = 1\n")
            (web / "modèle.py").write_text("mine = 2 \n")
            self.git(web, "add", "modèle.py", plain=True)
        self.upstream.commit("OCA/web", "17.0", {"module/models.py": "theirs = 1\n"})
        self.step(story, "work kept", "--yes", "pull-repos")
        self.step(story, "planned", "--dry-run", "pull-repos", "--force")
        forced = self.step(story, "forced", "--yes", "pull-repos", "--force")
        for layout in LAYOUTS:
            self.paste(layout, forced[layout])
            story[f"restored, {layout}"] = self.state(self.web(layout))
            own = self.web(layout, "18.0")
            (own / "own.py").write_text("own = 1\n")
            self.git(own, "add", "own.py", plain=True)
            self.git(own, "commit", "-q", "-m", "own", plain=True)
        self.step(story, "own commit", "--yes", "pull-repos")
        self.step(story, "status", "status")
        self.step(story, "doctor", "doctor", "repositories", "--offline")
        story["home"] = sorted(path.name for path in self.me.home.iterdir())
        return story

    def root(self, layout: str) -> Path:
        return self.me.home / layout

    def web(self, layout: str, version: str = "17.0") -> Path:
        return self.root(layout) / "oca" / version / "web"

    def step(self, story: Story, name: str, *words: str) -> dict[str, Run]:
        """Run tlc in both layouts and write down what came of it; return the runs."""
        runs = {}
        for layout in LAYOUTS:
            env = {**self.variables, "TLC_CODE_DIR": str(self.root(layout))}
            run = runs[layout] = self.me.tlc("--json", *words, env=env)
            results = run.json().get("results", run.json())
            assert results, f"{name}: {run.out}{run.err}"
            story[f"{name}, {layout}"] = {
                "code": run.code,
                "said": self.without_chance(
                    [
                        [each[key] for key in ("name", "status", "message", "fix")]
                        for each in results
                    ]
                    if isinstance(results, list)
                    else results
                ),
                **{version: self.state(self.web(layout, version)) for version in ("17.0", "18.0")},
            }
        return runs

    def paste(self, layout: str, forced: Run) -> None:
        """Run what was printed to get the work back."""
        [fix] = [each["fix"] for each in forced.json()["results"] if each["fix"]]
        env = {**self.me.env, "TLC_CODE_DIR": str(self.root(layout))}
        subprocess.run(["sh", "-c", fix], env=env, check=True, capture_output=True)

    def state(self, web: Path) -> dict[str, Any]:
        """Return all that a person would miss, as a git without settings sees it."""
        files = {
            str(path.relative_to(web)): path.read_text().replace("\r\n", "\n")
            for path in sorted(web.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(web).parts
        }
        assert files, f"nothing is there: {web}"
        return {
            "files": files,
            "on": self.git(web, "rev-parse", "--abbrev-ref", "HEAD", plain=True),
            "at": self.git(web, "show", "-s", "--format=%s", "HEAD", plain=True),
            "staged": self.git(web, "diff", "--cached", "--name-only", "HEAD", plain=True),
        }

    def without_chance(self, value: Any) -> Any:
        """Take out what differs from run to run: places, commits, times."""
        if isinstance(value, str):
            value = value.replace(str(self.directory), "HERE")
            value = re.sub(r"\b\d{8}-\d{6}x*\b", "TIME", value)
            return re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b", "COMMIT", value)
        if isinstance(value, dict):
            return {key: self.without_chance(each) for key, each in value.items()}
        return [self.without_chance(each) for each in value] if isinstance(value, list) else value


@contextlib.contextmanager
def life(directory: Path, archive: Path, settings: Sequence[Setting]) -> Iterator[Life]:
    """A life in a directory of its own, which is removed."""
    shutil.rmtree(directory, ignore_errors=True)
    try:
        yield Life(directory, archive, settings)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def difference(one: Any, other: Any, at: str = "") -> str:
    """Say where two stories first part, "" where they do not."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        found = (difference(one[key], other[key], f"{at} / {key}") for key in one)
        return next(filter(None, found), "")
    return "" if one == other else f"{at}: {one!r} became {other!r}"
