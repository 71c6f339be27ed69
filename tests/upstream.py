"""Real git repositories that play GitHub: bare ones in a directory, reached through git's own insteadOf."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from conftest import Sandbox


class Upstream:
    """A directory of bare repositories `{owner}/{name}.git`, and what their maintainers do to them.

    `addresses` lead to it in the sandbox.
    """

    def __init__(
        self,
        directory: Path,
        sandbox: Sandbox,
        addresses: Sequence[str] = ("git@github.com:", "https://github.com/"),
    ) -> None:
        self.directory, self.sandbox = directory, sandbox
        self.clock = 1_700_000_000  # each commit is an hour younger than the one before
        for address in addresses:
            self.git("config", "--global", "--add", f"url.file://{directory}/.insteadOf", address)

    def git(
        self, *arguments: str, cwd: Path | None = None, input: str | None = None, **environ: str
    ) -> str:
        """Run git as the sandbox's person; return its output, raise when it fails."""
        where, env = cwd or self.sandbox.home, {**self.sandbox.env, **environ}
        done = subprocess.run(
            ["git", *arguments], cwd=where, env=env, capture_output=True, text=True, input=input
        )
        assert done.returncode == 0, f"git {arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def create(self, repository: str, *branches: str) -> Path:
        """Make a bare repository `owner/name` whose branches each have two commits; return its path."""
        bare = self.directory / f"{repository}.git"
        self.git("init", "--quiet", "--bare", str(bare))
        stream = ""
        for branch in branches:
            start = {"README.md": f"{repository} {branch}\n", ".gitignore": "*.pyc\n/ignored\n"}
            module = {"module/models.py": "first = 1\n", "module/data.xml": "<odoo/>\n"}
            for files in (start, module):
                self.clock += 3600
                stream += f"commit refs/heads/{branch}\ncommitter Test <test@example.com> {self.clock} +0000\n"
                stream += "data 9\na change\n\n"
                for name, text in files.items():
                    stream += f"M 100644 inline {name}\ndata {len(text.encode())}\n{text}\n"
        self.git("fast-import", "--quiet", cwd=bare, input=stream)
        return bare

    def work(self, repository: str, branch: str = "") -> Path:
        """Return the maintainers' clone, made when it is first asked for, on a branch if one is named."""
        work = self.directory / f"{repository}.work"
        if not work.exists():
            bare = self.directory / f"{repository}.git"
            self.git("clone", "--quiet", "--no-checkout", str(bare), str(work))
        if branch:
            self.git("checkout", "--quiet", branch, "--", cwd=work)
        return work

    def commit(
        self, repository: str, branch: str, files: Mapping[str, str | None], amend: bool = False
    ) -> str:
        """Commit files (text, or None to delete) to a branch, made if need be, and push; returns the commit."""
        work = self.work(repository)
        known = self.git("branch", "--all", "--format=%(refname)", cwd=work).split()
        if {f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"} & {*known}:
            self.git("checkout", "--quiet", branch, "--", cwd=work)
        else:
            self.git("checkout", "--quiet", "--orphan", branch, cwd=work)
            self.git("rm", "-rfq", "--ignore-unmatch", ".", cwd=work)
        for name, text in files.items():
            path = work / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all", "--force", cwd=work)
        self.clock += 3600
        words = ["--quiet", "--allow-empty", "-m", "a change", *(["--amend"] if amend else [])]
        self.git("commit", *words, cwd=work, GIT_COMMITTER_DATE=f"@{self.clock} +0000")
        self.git("push", "--quiet", "--force", "origin", branch, cwd=work)
        return self.git("rev-parse", "HEAD", cwd=work)

    def tip(self, repository: str, branch: str) -> str:
        """The commit a branch is at."""
        return self.git(
            "rev-parse", f"refs/heads/{branch}", cwd=self.directory / f"{repository}.git"
        )
