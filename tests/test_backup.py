"""What a forced update records, and that the printed line brings all of it back; in the tests' own process."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import Checkout

import tlc


@pytest.fixture
def web(tmp_path: Path) -> Checkout:
    """A checkout whose upstream has moved on."""
    found = Checkout(tmp_path)
    found.clone()
    found.move_on(more="theirs\n", module__models_dot_py="second = 2\n")
    return found


def standing(web: Checkout) -> tuple[object, ...]:
    """Return all of a person's that can be seen."""
    branch = web.do("rev-parse", "--abbrev-ref", "HEAD")
    staged = web.do("diff", "--cached", "--name-status", "HEAD")
    return branch, web.head, staged, web.do("ls-files", "-v"), web.tree()


def update(web: Checkout) -> None:
    """Do to the checkout what an update does once the work is recorded."""
    for name in ("MERGE_HEAD", "CHERRY_PICK_HEAD"):
        (web.path / ".git" / name).unlink(missing_ok=True)
    web.do("checkout", "-q", "--force", "-B", "18.0", "origin/18.0")


def restore(web: Checkout, fix: str) -> None:
    done = subprocess.run(
        ["sh", "-c", fix], env=web.sandbox.env, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, f"{fix}\n{done.stdout}{done.stderr}"


def staged_and_changed_again(web: Checkout) -> None:
    web.write(README_dot_md="staged\n")
    web.do("add", "README.md")
    web.write(README_dot_md="changed\n")


def renamed(web: Checkout) -> None:
    web.do("mv", "README.md", "READ")
    web.write(READ="mine\n")


def own_commits(web: Checkout) -> None:
    web.write(own="1\n")
    web.do("add", "own")
    web.do("commit", "-q", "-m", "own")


def on_a_branch(web: Checkout) -> None:
    web.do("checkout", "-q", "-b", "mine")
    own_commits(web)
    web.write(own="2\n")


def staged(web: Checkout) -> None:
    web.write(new="mine\n")
    web.do("add", "new")


def detached(web: Checkout) -> None:
    web.do("checkout", "-q", "--detach")
    own_commits(web)


def odd_names(web: Checkout) -> None:
    web.write(**{"-rf": "1\n", "a b": "2\n", "ä\n": "3\n"})
    web.do("add", "--all")


def hidden(web: Checkout, bit: str) -> None:
    web.write(README_dot_md="mine\n", module__data_dot_xml="mine too\n")
    web.do("update-index", f"--{bit}", "README.md")


WORK: dict[str, Callable[[Checkout], object]] = {
    "a changed file": lambda web: web.write(README_dot_md="mine\n"),
    "one that upstream changed too": lambda web: web.write(module__models_dot_py="mine = 1\n"),
    "a deleted file": lambda web: (web.path / "README.md").unlink(),
    "a staged deletion": lambda web: web.do("rm", "-q", "README.md"),
    "a staged file": staged,
    "a file staged and changed again": staged_and_changed_again,
    "a renamed file": renamed,
    "a file in the way": lambda web: web.write(more="mine\n"),
    "an ignored file in the way": lambda web: web.write(
        more="mine\n", _dot_git__info__exclude="more\n"
    ),
    "a directory in the way": lambda web: web.write(more__deep__file="mine\n"),
    "a changed mode": lambda web: (web.path / "README.md").chmod(0o755),
    "own commits": own_commits,
    "another branch": on_a_branch,
    "a detached HEAD": detached,
    "a file said to be unchanged": lambda web: hidden(web, "assume-unchanged"),
    "a file that is skipped": lambda web: hidden(web, "skip-worktree"),
    "odd names": odd_names,
}


@pytest.mark.parametrize("name", WORK)
def test_work_is_recorded_and_comes_back(web: Checkout, name: str) -> None:
    WORK[name](web)
    before = standing(web)
    fix = web.back_up()
    assert standing(web)[:3] == before[:3], "recording changes nothing"
    assert standing(web)[4] == before[4]
    ref, *branch = web.backups()
    assert ref.startswith("refs/tlc/backup/2")
    assert branch == ([f"{ref}-branch"] if before[0] != "18.0" else [])
    assert not (web.path / ".git/tlc-index").exists()
    for path in web.path.glob("more*"):
        if path.is_dir():
            (path / "deep/file").unlink()
            (path / "deep").rmdir()
            path.rmdir()
    update(web)
    assert web.tree()["more"] == "theirs\n"
    (web.path / "more").unlink()
    restore(web, fix)
    after = standing(web)
    assert after == before


def test_the_branch_that_another_one_hides_is_recorded_too(web: Checkout) -> None:
    own_commits(web)
    own = web.head
    web.do("checkout", "-q", "-b", "mine", "origin/18.0")
    fix = web.back_up()
    kept = {ref: web.do("rev-parse", ref) for ref in web.backups()}
    assert own in kept.values()
    update(web)
    restore(web, fix)
    assert web.do("rev-parse", "18.0") == own
    assert web.do("rev-parse", "--abbrev-ref", "HEAD") == "mine"


def test_a_merge_with_conflicts_comes_back(web: Checkout) -> None:
    web.write(module__models_dot_py="mine = 1\n")
    web.do("commit", "-qam", "mine")
    merged = subprocess.run(
        ["git", "merge", "-q", "origin/18.0"],
        cwd=web.path,
        env=web.sandbox.env,
        capture_output=True,
    )
    assert merged.returncode == 1
    conflicts, tree = web.do("ls-files", "--unmerged"), web.tree()
    fix = web.back_up()
    assert any(ref.endswith("-merge_head") for ref in web.backups())
    web.do("reset", "-q", "--hard")
    update(web)
    restore(web, fix)
    assert web.do("ls-files", "--unmerged") == conflicts
    assert web.tree() == tree
    assert (web.path / ".git/MERGE_HEAD").exists()


def test_two_records_in_one_second_are_two(web: Checkout) -> None:
    web.write(README_dot_md="mine\n")
    for _ in range(3):
        web.back_up()
    assert len(web.backups()) == 3


def test_a_repository_of_its_own_in_the_way_stops_it(web: Checkout) -> None:
    (web.path / "more").mkdir()
    web.upstream.git("init", "-q", cwd=web.path / "more")
    web.upstream.git("commit", "-q", "--allow-empty", "-m", "1", cwd=web.path / "more")
    with pytest.raises(tlc.TlcError, match="is a repository of its own") as caught:
        web.back_up()
    assert caught.value.fix.render("tlc") == f"mv {web.path}/more {web.path}/more.old"
    assert web.backups() == []
    assert not (web.path / ".git/tlc-index").exists()


def test_untracked_files_that_are_not_in_the_way_are_left_alone(web: Checkout) -> None:
    web.write(README_dot_md="mine\n", notes="mine\n")
    web.back_up()
    [ref] = web.backups()
    recorded = web.do("ls-tree", "-r", "--name-only", ref).split()
    assert "notes" not in recorded and "README.md" in recorded
    assert len(web.do("rev-list", "--parents", "-1", ref).split()) == 3, "no third parent"
    assert os.path.exists(web.path / "notes")


def test_who_has_told_git_no_name_has_backups_too(web: Checkout) -> None:
    nameless = {
        name: value
        for name, value in web.sandbox.env.items()
        if not name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))
    }
    web.runner = tlc.Runner(nameless, tlc.Log(str(web.sandbox.state), "toy"))
    web.do("config", "user.useConfigOnly", "true")
    web.write(README_dot_md="mine\n")
    web.back_up()
    assert web.backups()


def test_what_a_sparse_checkout_leaves_out_is_no_deletion(web: Checkout) -> None:
    web.do("update-index", "--skip-worktree", "README.md")
    (web.path / "README.md").unlink()
    web.write(module__models_dot_py="mine = 1\n")
    web.back_up()
    [ref] = web.backups()
    assert "README.md" in web.do("ls-tree", "-r", "--name-only", ref).splitlines()
    assert web.do("show", f"{ref}:module/models.py") == "mine = 1"


def test_what_a_rebase_has_put_aside_is_kept_from_the_next_gc(web: Checkout) -> None:
    own_commits(web)
    web.write(README_dot_md="put aside\n", module__models_dot_py="mine = 1\n")
    web.do("commit", "-q", "-m", "mine", "module/models.py")
    with contextlib.suppress(AssertionError):  # a conflict
        web.do("rebase", "-q", "--autostash", "origin/18.0")
    aside = (web.path / ".git/rebase-merge/autostash").read_text().strip()
    web.back_up()
    kept = web.do("for-each-ref", "--format=%(objectname) %(refname)", "refs/tlc/backup")
    assert re.search(f"^{aside} .*-autostash$", kept, re.MULTILINE)
