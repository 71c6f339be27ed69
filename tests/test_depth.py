"""Stories of history: how much of it a checkout has, as the config's depth changes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Sandbox
from results import result_of, statuses
from upstream import Upstream

LAYOUTS = ["clones", "worktrees"]


@pytest.fixture
def upstream(sandbox: Sandbox, tmp_path: Path) -> Upstream:
    """OCA's web and queue, five commits each."""
    upstream = Upstream(tmp_path / "github", sandbox)
    for repository in ("OCA/web", "OCA/queue"):
        upstream.create(repository, "17.0")
        for number in range(3):
            upstream.commit(repository, "17.0", {"module/models.py": f"number = {number}\n"})
    return upstream


def pull(
    sandbox: Sandbox, depth: int, web: str = '"web"', layout: str = "clones"
) -> tuple[bool, dict[str, int]]:
    """Pull at the config's `depth`, `web` being that repository's entry.

    Return whether anything changed, and how many commits each checkout has.
    """
    sandbox.config(
        f'versions = ["17.0"]\n[git]\ndepth = {depth}\nlayout = "{layout}"\n[repos]\noca = [{web}, "queue"]\n'
    )
    run = sandbox.tlc("--yes", "--json", "pull-repos")
    assert run.code == 0, run.out
    return run.json()["changed"], {
        name: commits(sandbox.root / "oca/17.0" / name) for name in ("web", "queue")
    }


def commits(checkout: Path) -> int:
    """How many commits a checkout has of its branch."""
    command = ["git", "-C", str(checkout), "rev-list", "--count", "HEAD"]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_depth_that_grows_deepens_and_one_that_shrinks_takes_nothing_away(
    sandbox: Sandbox, upstream: Upstream, layout: str
) -> None:
    seen = []
    for depth in (1, 3, 3, 2, 0, 0, 1):
        changed, found = pull(sandbox, depth, layout=layout)
        assert found["web"] == found["queue"]
        seen.append((depth, found["web"], changed))
    assert seen == [
        (1, 1, True), (3, 3, True), (3, 3, False), (2, 3, False), (0, 5, True), (0, 5, False), (1, 5, False)
    ]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repositorys_own_depth_goes_before_the_general_one(
    sandbox: Sandbox, upstream: Upstream, layout: str
) -> None:
    for own, expected in ((2, 2), (4, 4), (1, 4), (0, 5)):
        web = f'{{ name = "web", depth = {own} }}'
        assert pull(sandbox, 1, web, layout)[1] == {"web": expected, "queue": 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_move_upstream_keeps_what_history_there_is(
    sandbox: Sandbox, upstream: Upstream, layout: str
) -> None:
    assert pull(sandbox, 3, layout=layout)[1]["web"] == 3
    tip = upstream.commit("OCA/web", "17.0", {"module/models.py": "moved\n"})
    assert pull(sandbox, 1, layout=layout)[1]["web"] >= 3
    assert upstream.git("rev-parse", "HEAD", cwd=sandbox.root / "oca/17.0/web") == tip


@pytest.mark.parametrize("with_work", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_branch_of_ones_own_can_be_rebased_after_an_update(
    sandbox: Sandbox, upstream: Upstream, layout: str, with_work: bool
) -> None:
    pull(sandbox, 1, layout=layout)
    web = sandbox.root / "oca/17.0/web"
    upstream.git("checkout", "-q", "-b", "fix/origin/this", cwd=web)
    if with_work:
        (web / "mine.py").write_text("mine = 1\n")
        upstream.git("add", "mine.py", cwd=web)
        upstream.git("commit", "-q", "-m", "mine", cwd=web)
    upstream.git("checkout", "-q", "17.0", cwd=web)
    for number in range(2):
        upstream.commit("OCA/web", "17.0", {"module/models.py": f"moved = {number}\n"})
    assert pull(sandbox, 1, layout=layout)[0]
    upstream.git("checkout", "-q", "fix/origin/this", cwd=web)
    upstream.git("rebase", "-q", "17.0", cwd=web)
    assert upstream.git("rev-list", "--count", "17.0..fix/origin/this", cwd=web) == str(
        int(with_work)
    )
    assert (web / "module/models.py").read_text() == "moved = 1\n"


# --- history that a person needs next


@dataclass(frozen=True)
class Story:
    """A checkout of OCA's web at depth 1 in one of the layouts, and its upstream."""

    sandbox: Sandbox
    upstream: Upstream
    web: Path
    layout: str

    def git(self, *words: str) -> str:
        return self.upstream.git(*words, cwd=self.web)

    def configure(self, git: str, repos: str = 'oca = ["web"]') -> None:
        self.sandbox.config(
            f'versions = ["17.0"]\n[git]\n{git}\nlayout = "{self.layout}"\n[repos]\n{repos}\n'
        )

    def pull(self, depth: int = 1, *options: str) -> dict[str, str]:
        """Pull; return the result of web."""
        self.configure(f"depth = {depth}")
        run = self.sandbox.tlc("--yes", "--json", "pull-repos", *options)
        return result_of(run, "oca/web@17.0")

    def move(self, count: int = 2) -> None:
        for number in range(count):
            self.upstream.commit("OCA/web", "17.0", {f"other_{number}.py": f"{number}\n"})

    def rewrite(self, *words: str) -> None:
        """Force-push upstream's branch after a command of git's in its maintainer's clone."""
        work = self.upstream.work("OCA/web", "17.0")
        self.upstream.git(*words, cwd=work)
        self.move(1)


@pytest.fixture(params=LAYOUTS)
def story(request: pytest.FixtureRequest, sandbox: Sandbox, upstream: Upstream) -> Story:
    story = Story(sandbox, upstream, sandbox.root / "oca/17.0/web", request.param)
    assert story.pull()["status"] == "changed"
    return story


def test_edited_pulled_committed_and_rebased_without_a_conflict(story: Story) -> None:
    (story.web / "mine.py").write_text("mine = 1\n")
    (story.web / "module/data.xml").write_text("<mine/>\n")
    for _ in range(2):
        story.move()
        assert story.pull()["status"] == "kept"
        status = story.sandbox.tlc("status").out
        assert "behind" in status and "ahead" not in status
    story.git("add", "--all")
    story.git("commit", "-qm", "mine")
    story.git("rebase", "-q", "origin/17.0")
    assert story.git("rev-list", "--count", "origin/17.0..HEAD") == "1"
    assert story.pull()["status"] == "kept"


def test_a_feature_branch_that_was_pushed_has_its_base(story: Story) -> None:
    story.git("checkout", "-q", "-b", "feature")
    (story.web / "mine.py").write_text("mine = 1\n")
    story.git("add", "mine.py")
    story.git("commit", "-qm", "mine")
    base = story.git("rev-parse", "HEAD~1")
    story.move()
    assert story.pull()["status"] == "kept"
    assert story.git("merge-base", "feature", "origin/17.0") == base


def test_a_force_push_costs_no_history(story: Story) -> None:
    for _ in range(2):
        story.rewrite("reset", "-q", "--hard", "HEAD~1")
        assert story.pull()["status"] == "changed"
        assert int(story.git("rev-list", "--count", "HEAD")) <= 2


def test_where_there_is_work_a_force_push_leaves_a_common_ancestor(story: Story) -> None:
    (story.web / "mine.py").write_text("mine = 1\n")
    story.git("add", "mine.py")
    story.git("commit", "-qm", "mine")
    story.rewrite("reset", "-q", "--hard", "HEAD~2")
    kept = story.pull()
    assert (kept["status"], "rewritten" in kept["message"]) == ("kept", False)
    story.git("merge-base", "HEAD", "origin/17.0")


def test_a_force_push_back_is_followed_and_with_work_has_a_common_ancestor(story: Story) -> None:
    story.move()
    assert story.pull()["status"] == "changed"
    (story.web / "mine.py").write_text("mine = 1\n")
    story.git("add", "mine.py")
    work = story.upstream.work("OCA/web", "17.0")
    story.upstream.git("push", "-qf", "origin", "HEAD~4:refs/heads/17.0", cwd=work)
    assert story.pull()["status"] == "kept"
    story.git("merge-base", "HEAD", "origin/17.0")
    story.git("rm", "-qf", "mine.py")
    assert story.pull()["status"] == "changed"
    assert story.git("rev-parse", "HEAD") == story.upstream.tip("OCA/web", "17.0")


def test_an_upstream_that_was_rewritten_is_said_and_the_work_kept(story: Story) -> None:
    (story.web / "mine.py").write_text("mine = 1\n")
    story.git("add", "mine.py")
    story.git("commit", "-qm", "mine")
    head = story.git("rev-parse", "HEAD")
    work = story.upstream.work("OCA/web", "17.0")
    for words in (
        ["checkout", "--orphan", "anew"],
        ["commit", "-m", "anew"],
        ["branch", "-M", "17.0"],
    ):
        story.upstream.git(words[0], "-q", *words[1:], cwd=work)
    story.move(3)
    for _ in range(2):
        kept = story.pull()
        assert (kept["status"], story.git("rev-parse", "HEAD")) == ("kept", head)
        assert "upstream was rewritten" in kept["message"]
    story.git("reset", "-q", "--hard", "HEAD~1")
    assert story.pull()["status"] == "changed"


def test_what_tlc_put_there_is_nobodys_work_whatever_upstream_becomes(story: Story) -> None:
    story.move()
    assert story.pull()["status"] == "changed"
    for log in Path(story.git("rev-parse", "--path-format=absolute", "--git-common-dir")).glob(
        "logs/refs/remotes/origin/*"
    ):
        log.unlink()  # as after `git reflog expire`
    story.rewrite("reset", "-q", "--hard", "HEAD~3")
    assert story.pull()["status"] == "changed"


def test_a_depth_above_a_short_line_of_first_parents_is_idle(story: Story) -> None:
    work = story.upstream.work("OCA/web", "17.0")
    story.upstream.git("checkout", "-q", "--orphan", "short", cwd=work)
    story.upstream.git("commit", "-qm", "short", cwd=work)
    story.upstream.git("merge", "-q", "--allow-unrelated-histories", "-X", "ours", "17.0", cwd=work)
    story.upstream.git("branch", "-qM", "short", "17.0", cwd=work)
    story.move(0)
    story.upstream.git("push", "-qf", "origin", "17.0", cwd=work)
    assert story.pull(4)["status"] == "changed"
    assert story.pull(4)["status"] == "ok"


# --- all of history, in place, and contents when they are needed


def test_the_full_history_completes_what_is_there_with_work_too(story: Story) -> None:
    planned = story.sandbox.tlc("--dry-run", "pull-repos", "--full-history")
    assert "update, with all of its history" in planned.out
    document = story.sandbox.tlc("-n", "--json", "pull-repos", "--full-history").json()
    assert document["changed"]
    (story.web / "module/models.py").write_text("mine\n")
    assert commits(story.web) == 1
    assert story.pull(1, "--full-history")["status"] == "kept"
    assert commits(story.web) == 5
    assert (story.web / "module/models.py").read_text() == "mine\n"
    story.git("checkout", "-q", "--", ".")
    assert story.pull(1, "--full-history")["status"] == "ok"
    story.move()
    assert story.pull(1, "--full-history")["status"] == "changed"
    assert commits(story.web) == 7
    # The next plain pull cuts nothing.
    assert story.pull()["status"] == "ok"
    assert commits(story.web) == 7


def test_a_clean_checkout_is_completed_though_nothing_moved(story: Story) -> None:
    done = story.pull(1, "--full-history")
    assert (done["status"], done["message"]) == ("changed", "history deepened")
    assert commits(story.web) == 5


def test_the_size_is_in_the_plan_where_it_is_known(sandbox: Sandbox, upstream: Upstream) -> None:
    sandbox.config('versions = ["17.0"]\n[repos]\nodoo = ["odoo"]\noca = ["web"]\n')
    plan = sandbox.tlc("--dry-run", "pull-repos", "--full-history").out
    assert "clone, with all of its history (about 5 GB)\n  odoo/odoo@17.0" in plan
    assert "clone, with all of its history\n  oca/web@17.0" in plan


def blobs(checkout: Path) -> int:
    """How many contents of files are there."""
    words = ["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)", "--unordered"]
    command = ["git", "-C", str(checkout), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split().count("blob")


def test_a_filter_is_for_new_checkouts_and_contents_come_when_they_are_needed(
    story: Story,
) -> None:
    for name in ("web", "queue"):
        bare = story.upstream.directory / f"OCA/{name}.git"
        story.upstream.git("config", "uploadpack.allowFilter", "true", cwd=bare)
    story.configure('filter = "blob:none"', 'oca = ["web", "queue"]')
    pull = ["--yes", "--json", "pull-repos"]
    assert statuses(story.sandbox.tlc(*pull)) == {"oca/web@17.0": "ok", "oca/queue@17.0": "changed"}
    queue = story.sandbox.root / "oca/17.0/queue"
    assert (commits(story.web), commits(queue), blobs(queue)) == (1, 5, 4)
    story.upstream.commit("OCA/queue", "17.0", {"module/models.py": "moved\n"})
    assert statuses(story.sandbox.tlc(*pull))["oca/queue@17.0"] == "changed"
    assert (queue / "module/models.py").read_text() == "moved\n"
    assert blobs(queue) == 5
    # Offline the rest of it is out of reach, and that is what is said.
    story.upstream.git("mv", "README.md", "READ.md", cwd=queue)
    assert story.sandbox.tlc("status", "-f", "queue").code == 0
    bare = story.upstream.directory / "OCA/queue.git"
    story.upstream.git("fetch", "-q", "origin", cwd=queue)
    tip = story.upstream.commit("OCA/queue", "17.0", {"new.py": "new\n"})
    story.upstream.git("fetch", "-q", "origin", cwd=queue)
    story.upstream.git("reset", "-q", "--hard", cwd=queue)
    bare.rename(bare.with_suffix(".away"))
    lock = story.sandbox.home / "tlc.lock"
    lock.write_text(f'"oca/queue@17.0" = "{tip}"\n')
    run = story.sandbox.tlc(*pull, "--lock", str(lock))
    said = result_of(run, "oca/queue@17.0")
    assert (run.code, said["status"]) == (1, "failed")
    assert "could not fetch" not in said["message"]


def test_the_full_history_of_a_checkout_beside_a_filter(story: Story) -> None:
    story.configure('filter = "blob:none"')
    run = story.sandbox.tlc("--yes", "--json", "pull-repos", "--full-history")
    assert statuses(run) == {"oca/web@17.0": "changed"}
    assert commits(story.web) == 5
