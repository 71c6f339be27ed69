"""A real signed apt repository of tiny packages, made with Debian's own tools."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from processes import must


class Key:
    """A throwaway signing key: `.public` is armoured, `.fingerprint` has 40 hexadecimal digits."""

    def __init__(self, name: str) -> None:
        self.secret = ""
        with self._home() as gpg:
            must(*gpg, "--quick-generate-key", name, "ed25519", "sign", "never")
            self.public = must(*gpg, "--armor", "--export")
            self.secret = must(*gpg, "--armor", "--export-secret-keys")
            lines = must(*gpg, "--with-colons", "--fingerprint").splitlines()
        self.fingerprint = next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    @contextmanager
    def _home(self) -> Iterator[list[str]]:
        """The gpg command for a home of its own, whose path is short enough for the agent's socket."""
        with tempfile.TemporaryDirectory(prefix="gpg") as home:
            gpg = [
                "gpg",
                "--homedir",
                home,
                "--batch",
                "--quiet",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ]
            try:
                if self.secret:
                    subprocess.run([*gpg, "--import"], input=self.secret, text=True, check=True)
                yield gpg
            finally:
                must("gpgconf", "--homedir", home, "--kill", "all")

    def sign(self, text: str) -> str:
        """Return the text with a signature around it."""
        with self._home() as gpg:
            return subprocess.run(
                [*gpg, "--clear-sign"], input=text, capture_output=True, text=True, check=True
            ).stdout


class AptArchive:
    """An archive in a directory, with one suite and its component main.

    To play PGDG's: AptArchive(directory, key, "bookworm-pgdg"), served at apt.postgresql.org/pub/repos/apt.
    """

    def __init__(self, directory: Path, key: Key, suite: str) -> None:
        self.directory, self.key, self.suite = directory, key, suite
        self.pool = directory / "pool"
        self.pool.mkdir(parents=True)

    def add(
        self,
        name: str,
        version: str = "1.0",
        depends: str = "",
        files: Mapping[str, str] | None = None,
        postinst: str = "",
    ) -> None:
        """Build a package. It has a file /usr/share/offered/NAME, and the given ones (path -> text, executable).

        `postinst` is the text of a shell script: "sleep 5" makes a slow package, "exit 1" a broken one.
        """
        with tempfile.TemporaryDirectory() as directory:
            tree = Path(directory)
            tree.chmod(0o755)
            control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.com>\n"
            control += (f"Depends: {depends}\n" if depends else "") + f"Description: {name}\n"
            texts = {"DEBIAN/control": control, f"usr/share/offered/{name}": "", **(files or {})}
            if postinst:
                texts["DEBIAN/postinst"] = f"#!/bin/sh\nset -e\n{postinst}\n"
            for path, text in texts.items():
                file = tree / path.lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                file.chmod(0o644 if path == "DEBIAN/control" else 0o755)
            must(
                "dpkg-deb",
                "--build",
                "--root-owner-group",
                tree,
                self.pool / f"{name}_{version}_all.deb",
            )

    def publish(self, key: Key | None = None) -> None:
        """Write the indexes of what was added, signed with the archive's key or another one."""
        suite = self.directory / "dists" / self.suite
        shutil.rmtree(suite, ignore_errors=True)
        index = suite / "main" / f"binary-{must('dpkg', '--print-architecture').strip()}"
        index.mkdir(parents=True)
        inside = ["env", "-C", str(self.directory), "apt-ftparchive"]
        (index / "Packages").write_text(must(*inside, "packages", "pool"))
        options = {
            "Origin": "test",
            "Suite": self.suite,
            "Codename": self.suite,
            "Components": "main",
        }
        settings = [
            f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in options.items()
        ]
        settings.append(
            f"-oAPT::FTPArchive::Release::Architectures={index.name.removeprefix('binary-')}"
        )
        release = must(*inside, *settings, "release", f"dists/{self.suite}")
        (suite / "InRelease").write_text((key or self.key).sign(release))
