"""The engine with toy resources, and what it stands on: records, tasks side by side, child processes."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import soon

import tlc

OK = tlc.CheckResult(tlc.CheckStatus.OK, "there")
MISSING = tlc.CheckResult(tlc.CheckStatus.FAIL, "missing", "make it")


class Toy(tlc.Resource):
    """A resource that is as `found` says until it is applied, and notes what is done to it."""

    kind = "toy"

    def __init__(
        self,
        name: str,
        found: tlc.CheckResult = MISSING,
        apply: Callable[[tlc.Task], tlc.TaskResult] | None = None,
        batch: str = "",
    ) -> None:
        super().__init__(name)
        self.found, self.work, self.batch = found, apply, batch
        self.checked = 0
        self.applied: list[tlc.Task] = []

    def check(self) -> tlc.CheckResult:
        self.checked += 1
        return self.found

    def apply(self, task: tlc.Task) -> tlc.TaskResult:
        self.applied.append(task)
        result = self.work(task) if self.work else tlc.TaskResult("changed", "made")
        self.found = OK
        return result


class BatchToy(Toy):
    """Toys that are applied together."""

    calls: list[list[str]]

    @classmethod
    def apply_batch(cls, resources: Sequence[tlc.Resource], task: tlc.Task) -> list[tlc.TaskResult]:
        cls.calls.append([each.name for each in resources])
        return [tlc.TaskResult("changed", f"made {each.name}") for each in resources]


def raises(error: BaseException) -> Callable[[tlc.Task], tlc.TaskResult]:
    def work(_task: tlc.Task) -> tlc.TaskResult:
        raise error

    return work


def stops(runner: tlc.Runner) -> Callable[[tlc.Task], tlc.TaskResult]:
    """Work during which somebody types Ctrl-C, and which ends all the same."""

    def work(_task: tlc.Task) -> tlc.TaskResult:
        runner.stop()
        return tlc.TaskResult("changed", "made")

    return work


class Bench:
    """An engine that nothing asks and nobody watches, unless told otherwise."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.settings = tlc.Settings(
            **{
                "code_root": str(directory / "code"),
                "state_dir": str(directory / "state"),
                "data_dir": str(directory / "data"),
                "again": "toy",
                "program": "tlc",
                "newcomer": False,
                "yes": False,
                "dry_run": False,
                "jobs": 0,
                "json": False,
                "color": "never",
                "verbose": False,
                "quiet": False,
                "environ": dict(os.environ),
                **settings,
            }
        )
        self.interactive = False
        self.log = tlc.Log(self.settings.state_dir, "toy")
        self.runner = tlc.Runner(self.settings.environ, self.log)
        self.stack = ExitStack()

    def engine(self, force: bool = False, jobs: int = 4) -> tlc.Engine:
        terminal = tlc.Terminal(
            color="never", quiet=False, json=self.settings.json, environ={"TERM": "dumb"}
        )
        terminal.interactive = self.interactive
        return tlc.Engine(self.settings, terminal, self.runner, "toy", force, jobs, self.stack)

    def run(
        self, *stages: tlc.Stage | Toy, force: bool = False, jobs: int = 4
    ) -> tuple[int, list[tuple[str, str]]]:
        """Run stages, or toys as one stage; the exit code, and name and status of each outcome."""
        toys = [each for each in stages if isinstance(each, Toy)]
        listed = [each for each in stages if isinstance(each, tlc.Stage)] or [
            tlc.Stage("toys", toys)
        ]
        engine = self.engine(force, jobs)
        with self.stack:
            code = engine.run(listed)
        self.outcomes = engine.outcomes
        return code, [(outcome.name, outcome.status) for outcome in engine.outcomes]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> MakeBench:
    """Return a function that makes a bench with some settings changed, in `tmp_path`."""
    return partial(Bench, tmp_path)


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


@pytest.fixture
def runner(tmp_path: Path) -> tlc.Runner:
    log = tlc.Log(str(tmp_path / "state"), "toy")
    return tlc.Runner(dict(os.environ), log)


# --- one resource


def test_what_is_there_is_not_applied(bench: Bench) -> None:
    toy = Toy("a", OK)
    assert bench.run(toy) == (0, [("a", "ok")])
    assert toy.applied == []


def test_what_is_missing_is_applied_once(bench: Bench) -> None:
    toy = Toy("a")
    assert bench.run(toy) == (0, [("a", "changed")])
    assert len(toy.applied) == 1
    assert bench.run(toy) == (0, [("a", "ok")])
    assert len(toy.applied) == 1


@pytest.mark.parametrize(("found", "status", "code"), [("FAIL", "failed", 1), ("WARN", "ok", 0)])
def test_what_no_action_can_help_is_told_with_its_mend_and_never_applied(
    bench: Bench, found: str, status: str, code: int
) -> None:
    toy = Toy("a", tlc.CheckResult(found, "broken", fix=tlc.paste("repair", "it"), detail="badly"))
    assert bench.run(toy) == (code, [("a", status)])
    assert toy.applied == []
    assert (bench.outcomes[0].message, bench.outcomes[0].fix, bench.outcomes[0].detail) == (
        "broken",
        "repair it",
        "badly",
    )


@pytest.mark.parametrize(
    ("status", "code"), [("ok", 0), ("kept", 0), ("skipped", 0), ("failed", 1)]
)
def test_the_exit_code_tells_whether_anything_failed(bench: Bench, status: str, code: int) -> None:
    toy = Toy("a", apply=lambda _: tlc.TaskResult(status, "so it is"))
    assert bench.run(toy, Toy("b")) == (code, [("a", status), ("b", "changed")])


@pytest.mark.parametrize("force", [False, True])
def test_force_is_told_to_the_work_and_changes_the_plan(bench: Bench, force: bool) -> None:
    found = tlc.CheckResult(
        tlc.CheckStatus.WARN, "changed by hand", "keep it", force_action="replace it"
    )
    toy = Toy("a", found)
    [[step]] = bench.engine(force).check([tlc.Stage("toys", [toy])])
    assert step.action == ("replace it" if force else "keep it")
    bench.run(toy, force=force)
    assert toy.applied[0].force is force


def test_a_dry_run_plans_everything_and_applies_nothing(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench = make_bench(dry_run=True)
    toys = [Toy("a"), Toy("b", OK), Toy("c", tlc.CheckResult(tlc.CheckStatus.FAIL, "broken"))]
    assert bench.run(*toys) == (1, [("a", "planned"), ("b", "ok"), ("c", "failed")])
    assert [toy.applied for toy in toys] == [[], [], []]
    assert list(tmp_path.iterdir()) == []


def test_the_work_can_report_how_far_it_is(bench: Bench) -> None:
    def work(task: tlc.Task) -> tlc.TaskResult:
        task.report("half way", 0.5)
        task.report("nearly")
        return tlc.TaskResult("changed", "made")

    assert bench.run(Toy("a", apply=work)) == (0, [("a", "changed")])


@pytest.mark.parametrize(
    ("fix", "shown"),
    [
        (tlc.paste("tlc", "init"), "{} init"),
        (tlc.paste("mv", "a", "my tlc dir").then("tlc", "init"), "mv a 'my tlc dir' && {} init"),
        (tlc.paste("tlc", "init", note="tlc -v tells more"), "{} init   # tlc -v tells more"),
        (tlc.paste("a", tlc.Raw("||"), "b"), "a || b"),
        (tlc.by_hand("ask tlc's author"), "# ask tlc's author"),
    ],
)
def test_a_fix_calls_tlc_as_it_was_called_and_quotes_what_needs_it(
    make_bench: MakeBench, fix: tlc.Fix, shown: str
) -> None:
    bench = make_bench(program="python3 'my tlc.pyz'")
    bench.run(Toy("a", tlc.fail("broken", fix)))
    assert bench.outcomes[0].fix == shown.replace("{}", "python3 'my tlc.pyz'")


# --- what goes wrong


class Broken(Toy):
    """A toy whose check goes wrong."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self.error = error

    def check(self) -> tlc.CheckResult:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message", "fix"),
    [
        (tlc.TlcError("too bad", tlc.paste("try", "this")), "too bad", "try this"),
        (
            tlc.ExecutableNotFoundError("x is not installed.", tlc.paste("apt", "x")),
            "x is not installed.",
            "apt x",
        ),
        (
            OSError(28, "No space left on device", "/some/file"),
            "/some/file: No space left on device",
            "df -h /",
        ),
        (OSError(28, "No space left on device"), "No space left on device", ""),
        (OSError("odd"), "odd", ""),
    ],
)
@pytest.mark.parametrize("where", ["check", "apply"])
def test_an_expected_error_is_a_failed_result(
    bench: Bench, where: str, error: Exception, message: str, fix: str
) -> None:
    toy = Broken("a", error) if where == "check" else Toy("a", apply=raises(error))
    assert bench.run(toy, Toy("b")) == (1, [("a", "failed"), ("b", "changed")])
    assert (bench.outcomes[0].message, bench.outcomes[0].fix) == (message, fix)


@pytest.mark.parametrize("where", ["check", "apply"])
def test_an_unexpected_error_is_an_internal_error_with_its_traceback_in_the_log(
    bench: Bench, where: str
) -> None:
    error = ZeroDivisionError("odd")
    toy = Broken("a", error) if where == "check" else Toy("a", apply=raises(error))
    assert bench.run(toy, Toy("b")) == (1, [("a", "failed"), ("b", "changed")])
    assert (
        bench.outcomes[0].message
        == "internal error (ZeroDivisionError: odd); the log has the details"
    )
    log = Path(bench.log.path).read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: odd" in log


@pytest.mark.parametrize(
    ("found", "changed"),
    [(OK, False), (MISSING, True), (MISSING.replace(tentative=True), False)],
    ids=["fine", "missing", "only the network can tell"],
)
def test_a_dry_run_says_whether_anything_surely_changes(
    make_bench: MakeBench, capsys: pytest.CaptureFixture[str], found: tlc.CheckResult, changed: bool
) -> None:
    assert make_bench(dry_run=True, json=True).run(Toy("a", found))[0] == 0
    assert json.loads(capsys.readouterr().out)["changed"] is changed


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_command_that_goes_on_is_the_same_without_dry_run(
    make_bench: MakeBench, capsys: pytest.CaptureFixture[str], dry_run: bool
) -> None:
    bench = make_bench(dry_run=dry_run, again="toy --dry-run -f web")
    assert bench.run(Toy("a", MISSING))[0] == 0
    assert ("tlc toy -f web\n" in capsys.readouterr().err) is dry_run


def test_stages_with_something_to_do_are_counted(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, fine = [Toy("a"), Toy("b"), Toy("c")], Toy("d", OK)
    stages = [tlc.Stage(f"stage {each.name}", [each]) for each in (fine, *wrong, fine)]
    assert bench.run(*stages[:2], stages[4])[0] == 0
    assert " of " not in capsys.readouterr().err
    for each in wrong:
        each.found = MISSING
    assert bench.run(*stages)[0] == 0
    counts = re.findall(r"\d+ of \d+", capsys.readouterr().err)
    assert {*counts} == {"1 of 3", "2 of 3", "3 of 3"}


def test_a_login_is_nowhere_in_what_a_check_found(make_bench: MakeBench) -> None:
    login = "https://me:secret@example.com/x"
    bench = make_bench(dry_run=True)
    bench.run(Toy("a", tlc.CheckResult(tlc.CheckStatus.WARN, login, detail=login)))
    assert "secret" not in str(bench.outcomes)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_no_memory_is_no_internal_error(error: Exception) -> None:
    log = tlc.Log("", "tlc")
    shown = tlc.shown_error(error, log)
    assert (shown.message, shown.code) == ("There is no memory for one more thread.", "error")


def closing_block(text: str) -> list[str]:
    """Return the lines from the first that is no progress to the last."""
    lines = text.splitlines()
    return lines[next(n for n, line in enumerate(lines) if not re.match(r" +\d+\.\d s \[", line)) :]


def test_the_closing_block_names_each_cause_once_with_its_fix_then_the_counts_and_the_log(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    fix = tlc.paste("repair", "it")
    failed = [
        Toy(name, apply=lambda _: tlc.TaskResult("failed", "no", fix, "line 1\nline 2"))
        for name in "ab"
    ]
    bench.run(*failed, Toy("c", apply=lambda _: tlc.TaskResult("skipped", "why not")), Toy("d", OK))
    log = tlc.tilde(bench.log.path)
    block = re.sub(r"in \d+\.\d s", "in 0.0 s", capsys.readouterr().err)
    assert [line.split() for line in closing_block(block)] == [
        *(["failed", "a,", "b:", "no"], ["line", "1"], ["line", "2"], ["→", "repair", "it"]),
        ["skipped", "c:", "why", "not"],
        *(["ok", "1", "·", "skipped", "1", "·", "failed", "2", "in", "0.0", "s"], ["log", log]),
    ]


@pytest.mark.parametrize(
    ("words", "count", "expected"),
    [
        (["pull-repos", "-f"], 2, "tlc pull-repos -f 0 -f 1"),
        (["pull-repos", "-f"], 9, "tlc pull-repos"),
        (["pull-repos", "--force", "-f"], 2, "tlc pull-repos --force -f NAME"),
        (["create-venvs"], 3, "tlc create-venvs 0 1 2"),
    ],
)
def test_one_command_mends_what_is_alike_and_the_document_has_one_for_each(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    count: int,
    expected: str,
) -> None:
    def work(name: str) -> Callable[[tlc.Task], tlc.TaskResult]:
        return lambda _: tlc.TaskResult("failed", "no", tlc.paste("tlc", *words, name))

    bench.run(*(Toy(f"{index}", apply=work(f"{index}")) for index in range(count)))
    assert [line for line in capsys.readouterr().err.splitlines() if "→" in line] == [
        f"         → {expected}"
    ]
    assert bench.outcomes[1].fix == f"tlc {' '.join(words)} 1"


def test_work_that_was_kept_is_one_line_and_its_command_is_named_once_without_an_arrow(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(name: str) -> Callable[[tlc.Task], tlc.TaskResult]:
        fix = tlc.paste("tlc", "pull-repos", "--force", "-f", name)
        return lambda _: tlc.TaskResult("kept", f"on branch {name}", fix)

    bench.run(*(Toy(name, apply=work(name)) for name in "ab"))
    assert closing_block(capsys.readouterr().err)[:-1] == [
        "kept     a: on branch a; b: on branch b",
        "         tlc pull-repos --force -f NAME",
    ]


def test_one_of_many_fails_and_all_others_finish(bench: Bench) -> None:
    toys = [Toy(f"{index}") for index in range(20)]
    toys[7].work = raises(RuntimeError("odd"))
    code, outcomes = bench.run(*toys, jobs=3)
    assert code == 1
    assert outcomes == [(f"{index}", "failed" if index == 7 else "changed") for index in range(20)]


def test_a_missing_program_ends_the_run_before_anything_is_done(bench: Bench) -> None:
    toy = Toy("a")
    toy.needed_programs = ("no-such-program",)
    with pytest.raises(
        tlc.ExecutableNotFoundError, match="no-such-program is not installed"
    ) as caught:
        bench.run(toy)
    assert isinstance(caught.value.fix, tlc.Fix)
    assert caught.value.fix.render("tlc").endswith(" no-such-program")
    assert toy.checked == 0


# --- batches


def test_a_batch_is_applied_in_one_go_and_gives_a_result_for_each(bench: Bench) -> None:
    BatchToy.calls = []
    batch = [
        BatchToy("a", batch="x"),
        BatchToy("b", OK, batch="x"),
        BatchToy("c", batch="x"),
        BatchToy("d", batch="y"),
    ]
    assert bench.run(*batch, BatchToy("e", batch="z"), Toy("f")) == (
        0,
        [
            ("a", "changed"),
            ("b", "ok"),
            ("c", "changed"),
            ("d", "changed"),
            ("e", "changed"),
            ("f", "changed"),
        ],
    )
    assert sorted(BatchToy.calls) == [["a", "c"], ["d"], ["e"]]
    assert [outcome.message for outcome in bench.outcomes[:4]] == [
        "made a",
        "there",
        "made c",
        "made d",
    ]


class SinkingBatch(BatchToy):
    """A batch that goes down as a whole."""

    @classmethod
    def apply_batch(cls, resources: Sequence[tlc.Resource], task: tlc.Task) -> list[tlc.TaskResult]:
        raise tlc.TlcError("sunk")


def test_a_batch_that_raises_fails_each_of_its_resources_and_no_other(bench: Bench) -> None:
    toys = [SinkingBatch("a", batch="x"), SinkingBatch("b", batch="x"), Toy("c")]
    assert bench.run(*toys) == (1, [("a", "failed"), ("b", "failed"), ("c", "changed")])


class ShortBatch(BatchToy):
    """A batch that forgets one of its resources."""

    @classmethod
    def apply_batch(cls, resources: Sequence[tlc.Resource], task: tlc.Task) -> list[tlc.TaskResult]:
        return super().apply_batch(resources[1:], task)


def test_a_batch_with_too_few_results_is_an_internal_error_of_that_batch(bench: Bench) -> None:
    ShortBatch.calls = []
    toys = [ShortBatch("a", batch="x"), ShortBatch("b", batch="x"), Toy("c")]
    assert bench.run(*toys) == (1, [("a", "failed"), ("b", "failed"), ("c", "changed")])
    assert "internal error (AssertionError: 1 results for 2" in bench.outcomes[0].message


# --- stages


def test_a_stage_waits_for_those_it_needs_and_is_skipped_when_one_failed(bench: Bench) -> None:
    bad = Toy("bad", apply=raises(tlc.TlcError("no")))
    never, neither, other = Toy("never"), Toy("neither"), Toy("other")
    stages = [
        tlc.Stage("one", [bad, Toy("good")]),
        tlc.Stage("two", [never], needs=("one",)),
        tlc.Stage("three", [neither], needs=("two",)),
        tlc.Stage("four", [other]),
    ]
    code, outcomes = bench.run(*stages)
    assert code == 1
    assert outcomes == [
        *(("bad", "failed"), ("good", "changed"), ("never", "skipped"), ("neither", "skipped")),
        ("other", "changed"),
    ]
    assert never.applied == neither.applied == []
    assert [bench.outcomes[index].message for index in (2, 3)] == [
        "needs one, which failed",
        "needs two, which failed",
    ]


def test_a_stage_whose_need_stands_is_run_after_it(bench: Bench) -> None:
    order: list[str] = []

    def noted(name: str) -> Callable[[tlc.Task], tlc.TaskResult]:
        def work(_task: tlc.Task) -> tlc.TaskResult:
            time.sleep(0.05 if name == "first" else 0)
            order.append(name)
            return tlc.TaskResult("changed", "made")

        return work

    first, second = Toy("first", apply=noted("first")), Toy("second", apply=noted("second"))
    stages = [tlc.Stage("one", [first]), tlc.Stage("two", [second], needs=("one",))]
    assert bench.run(*stages) == (0, [("first", "changed"), ("second", "changed")])
    assert order == ["first", "second"]


def test_a_broken_resource_that_no_action_helps_breaks_what_needs_its_stage(bench: Bench) -> None:
    broken = Toy("broken", tlc.CheckResult(tlc.CheckStatus.FAIL, "broken"))
    stages = [tlc.Stage("one", [broken]), tlc.Stage("two", [Toy("b")], needs=("one",))]
    assert bench.run(*stages) == (1, [("broken", "failed"), ("b", "skipped")])


@pytest.mark.parametrize(("width", "jobs", "expected"), [(2, 8, 2), (0, 3, 3), (1, 4, 1)])
def test_as_many_are_at_work_at_once_as_the_stage_is_wide(
    bench: Bench, width: int, jobs: int, expected: int
) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work(_task: tlc.Task) -> tlc.TaskResult:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with lock:
            at_work -= 1
        return tlc.TaskResult("changed", "made")

    toys = [Toy(f"{index}", apply=work) for index in range(9)]
    code, _outcomes = bench.run(tlc.Stage("toys", toys, width=width), jobs=jobs)
    assert code == 0
    assert most == expected


# --- what lasts as long as the run, and looks that checks share


class Around(AbstractContextManager[None]):
    """Something that lasts as long as a run, and notes when it ends."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def __exit__(self, *_exception: object) -> None:
        self.notes.append("left")


def test_what_lasts_is_left_at_the_end_of_the_run_whatever_failed(bench: Bench) -> None:
    notes: list[str] = []
    bench.stack.enter_context(Around(notes))

    def work(_task: tlc.Task) -> tlc.TaskResult:
        notes.append("applied")
        raise RuntimeError("odd")

    assert bench.run(Toy("a", apply=work)) == (1, [("a", "failed")])
    assert notes == ["applied", "left"]


def test_a_look_is_made_once_for_all_checks_and_again_for_a_later_stage(bench: Bench) -> None:
    looks: list[str] = []
    memo = tlc.Memo(lambda: looks.append("look"))

    class Looking(Toy):
        def check(self) -> tlc.CheckResult:
            memo()
            return super().check()

    both = tlc.Stage("two", [Looking("b"), Looking("c")], memos=(memo,))
    code, _outcomes = bench.run(tlc.Stage("one", [Toy("a")]), both)
    assert (code, looks) == (0, ["look", "look"])  # for the plan, and when its turn came


def test_only_what_works_in_the_code_root_waits_for_another_run_there(bench: Bench) -> None:
    root = Path(bench.settings.code_root)
    root.mkdir()
    other = os.open(root, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        assert bench.run(tlc.Stage("looks", [Toy("a")])) == (0, [("a", "changed")])
        toy = Toy("b")
        thread = threading.Thread(
            target=bench.run, args=[tlc.Stage("works", [toy], exclusive=True)]
        )
        thread.start()
        time.sleep(0.3)
        assert (toy.checked, toy.applied) == (0, [])
    finally:
        os.close(other)
    thread.join(10)
    assert len(toy.applied) == 1


@pytest.mark.parametrize(("newcomer", "checks"), [(False, 1), (True, 2)])
def test_what_came_about_while_the_question_stood_there_is_left_alone(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, newcomer: bool, checks: int
) -> None:
    toy = Toy("a")

    class Typist(io.StringIO):
        def readline(self, *_size: object) -> str:  # type: ignore[override]
            toy.found = OK
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Typist())
    bench = make_bench(newcomer=newcomer)
    expected = "ok" if newcomer else "changed"
    assert bench.run(toy) == (0, [("a", expected)])
    assert (toy.checked, bool(toy.applied)) == (checks, not newcomer)


def test_ctrl_c_keeps_what_is_done_and_starts_nothing_more(bench: Bench) -> None:
    notes: list[str] = []
    bench.stack.enter_context(Around(notes))
    later = Toy("later")
    toys = [Toy("a", apply=stops(bench.runner)), *(Toy(f"{index}") for index in range(5))]
    stages = [tlc.Stage("one", toys, width=1), tlc.Stage("two", [later])]
    code, outcomes = bench.run(*stages)
    assert code == 130
    assert notes == ["left"]
    assert later.applied == []
    assert [toy.name for toy in toys if toy.applied] == ["a"]
    skipped = [*(f"{index}" for index in range(5)), "later"]
    assert outcomes == [("a", "changed"), *((name, "skipped") for name in skipped)]
    assert {each.message for each in bench.outcomes[1:]} == {"not started"}


def test_what_ctrl_c_cut_off_is_failed(bench: Bench) -> None:
    def cut_off(task: tlc.Task) -> tlc.TaskResult:
        bench.runner.stop()
        bench.runner.pause(1)
        return tlc.TaskResult("changed", "made")

    assert bench.run(Toy("a", apply=cut_off), Toy("b"), jobs=1) == (
        130,
        [("a", "failed"), ("b", "skipped")],
    )
    assert bench.outcomes[0].message == "interrupted"


def test_ctrl_c_while_looking_ends_the_run_with_its_closing_block(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(Toy):
        def check(self) -> tlc.CheckResult:
            bench.runner.stop()
            return MISSING

    toy = Interrupting("a")
    assert bench.engine().run([tlc.Stage("toys", [toy])], lambda *_: "a picture") == 130
    assert toy.applied == []
    assert "Interrupted." in capsys.readouterr().err


# --- who is asked


def answers(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What is typed."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


CAREFUL = tlc.CheckResult(tlc.CheckStatus.WARN, "yours", "replace it", needs_confirmation=True)


@pytest.mark.parametrize("answer", ["n\n", "no\n", "x\nn\n", "x\n", ""])
@pytest.mark.parametrize(
    ("newcomer", "found"), [(True, MISSING), (True, CAREFUL), (False, CAREFUL)]
)
def test_nothing_is_done_when_the_answer_is_no_or_nobody_answers(
    make_bench: MakeBench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    newcomer: bool,
    found: tlc.CheckResult,
    answer: str,
) -> None:
    answers(monkeypatch, answer)
    toys = [Toy("a", found), Toy("b")]
    with pytest.raises(tlc.DeclinedError) as caught:
        make_bench(newcomer=newcomer).run(*toys)
    assert bool(caught.value.fix) == (not answer.endswith("n\n") and answer != "no\n")
    assert [toy.applied for toy in toys] == [[], []]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", "\n"])
def test_it_is_done_when_the_answer_is_yes(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    answers(monkeypatch, answer)
    toy = Toy("a")
    assert make_bench(newcomer=True).run(toy) == (0, [("a", "changed")])
    assert toy.checked == 2  # it may have changed while the question stood there


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"newcomer": False}, MISSING),
        ({"newcomer": False, "yes": True}, CAREFUL),
        ({"newcomer": True, "yes": True}, CAREFUL),
        ({"newcomer": True}, OK),
        ({"newcomer": True, "dry_run": True}, CAREFUL),
    ],
)
def test_nobody_is_asked_where_there_is_nothing_to_ask(
    make_bench: MakeBench,
    settings: dict[str, bool],
    found: tlc.CheckResult,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _outcomes = make_bench(**settings).run(Toy("a", found))
    assert code == 0
    assert "[Y/n/d]" not in capsys.readouterr().err


def test_outside_newcomer_mode_only_what_is_asked_about_is_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, "y\n")
    bench.run(Toy("careful", CAREFUL), Toy("careless"))
    question, _, _rest = capsys.readouterr().err.partition("[Y/n/d]")
    assert "replace it: careful: yours" in question
    assert "careless" not in question


def test_a_plan_shows_what_runs_as_root_once(
    make_bench: MakeBench, capsys: pytest.CaptureFixture[str]
) -> None:
    command = tlc.Privileged("root", ["apt-get", "install", "-y", "x"])

    class Installed(Toy):
        def privileged(self) -> Sequence[tlc.Privileged]:
            return [command]

    make_bench(dry_run=True).run(Installed("a"), Installed("b"), Installed("c", OK))
    assert capsys.readouterr().out.partition("as root\n")[2] == f"  {command.render()}\n"


# --- what needs the terminal


def needs_terminal(task: tlc.Task) -> tlc.TaskResult:
    if task.terminal:
        return tlc.TaskResult("changed", "made with a passphrase")
    return tlc.TaskResult(
        "failed", "wants a passphrase", tlc.paste("ssh-add"), needs_terminal="key"
    )


@pytest.mark.parametrize(
    ("interactive", "expected"),
    [
        (True, (0, [("a", "changed"), ("b", "changed")])),
        (False, (1, [("a", "failed"), ("b", "changed")])),
    ],
)
def test_what_needs_the_terminal_runs_again_only_where_there_is_one(
    bench: Bench, interactive: bool, expected: tuple[int, list[tuple[str, str]]]
) -> None:
    bench.interactive = interactive
    toy, plain = Toy("a", apply=needs_terminal), Toy("b")
    assert bench.run(toy, plain) == expected
    assert [task.terminal for task in toy.applied] == [False, True][: 1 + interactive]
    assert [task.terminal for task in plain.applied] == [False]


def test_what_was_refused_once_is_not_asked_for_again(bench: Bench) -> None:
    def refused(task: tlc.Task) -> tlc.TaskResult:
        return tlc.TaskResult("failed", "wrong passphrase", needs_terminal="key")

    bench.interactive = True
    toys = [Toy("a", apply=refused), Toy("b", apply=refused), Toy("c", apply=refused)]
    assert bench.run(*toys) == (1, [("a", "failed"), ("b", "failed"), ("c", "failed")])
    assert [[task.terminal for task in toy.applied] for toy in toys] == [
        [False, True],
        [False],
        [False],
    ]


def test_ctrl_c_at_a_question_spoils_no_other_result(bench: Bench) -> None:
    def interrupted(task: tlc.Task) -> tlc.TaskResult:
        if task.terminal:
            bench.runner.stop()
            bench.runner.pause(1)
        return needs_terminal(task)

    bench.interactive = True
    toys = [
        Toy("a"),
        Toy("b", apply=interrupted),
        Toy("c"),
        Toy("d", apply=needs_terminal),
        Toy("e", OK),
    ]
    expected = [("a", "changed"), ("b", "failed"), ("c", "changed"), ("d", "failed"), ("e", "ok")]
    assert bench.run(*toys) == (130, expected)


# --- tasks side by side


def test_tasks_give_their_results_in_order(runner: tlc.Runner) -> None:
    def task(index: int) -> int:
        time.sleep(0.02 * (3 - index))
        return index

    tasks = [partial(task, index) for index in range(4)]
    assert tlc.run_tasks(tasks, 4, runner) == [0, 1, 2, 3]
    assert tlc.run_tasks([], 4, runner) == []


def test_an_interrupted_task_has_no_result_and_spoils_no_other(runner: tlc.Runner) -> None:
    def interrupted() -> int:
        raise tlc.Interrupted

    assert tlc.run_tasks([lambda: 1, interrupted, lambda: 3], 1, runner) == [1, None, 3]


def test_an_error_of_a_task_is_not_swallowed(runner: tlc.Runner) -> None:
    def odd() -> int:
        raise IndexError("odd")

    with pytest.raises(IndexError, match="odd"):
        tlc.run_tasks([lambda: 1, odd], 2, runner)


def test_a_stopped_run_starts_no_more_tasks(runner: tlc.Runner) -> None:
    started = []

    def task(index: int) -> int:
        started.append(index)
        runner.stop()
        return index

    results = tlc.run_tasks([partial(task, index) for index in range(9)], 1, runner)
    assert results == [0, *[None] * 8]
    assert started == [0]


def test_a_task_that_does_not_end_holds_a_stopped_run_up_for_three_seconds_at_most(
    runner: tlc.Runner,
) -> None:
    over = threading.Event()

    def endless() -> int:
        runner.stop()
        over.wait(30)
        return 1

    began = time.monotonic()
    try:
        assert tlc.run_tasks([lambda: 0, endless], 2, runner) == [0, None]
        assert time.monotonic() - began < 20
    finally:
        over.set()


# --- records


class Point(tlc.Record):
    """A record with and without a default."""

    x: int
    y: int = 2
    names: tuple[str, ...] = ()


def test_a_record_takes_its_fields_by_place_or_by_name() -> None:
    assert Point(1).as_dict() == {"x": 1, "y": 2, "names": ()}
    assert Point(1, 3, names=("a",)).as_dict() == {"x": 1, "y": 3, "names": ("a",)}
    assert repr(Point(x=1)) == "Point({'x': 1, 'y': 2, 'names': ()})"


def test_a_record_never_changes_but_can_be_copied_with_changes() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is frozen"):
        point.x = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Point is frozen"):
        point.z = 5
    assert point.replace(y=7).as_dict() == {"x": 1, "y": 7, "names": ()}
    assert point.as_dict() == {"x": 1, "y": 2, "names": ()}


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((), {"y": 1}), ((1,), {"z": 1}), ((1, 2, (), 4), {}), ((), {"x": 1, "z": 2})],
)
def test_a_record_refuses_missing_and_unknown_fields(
    values: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match="Point: missing or unknown fields"):
        Point(*values, **named)
    with pytest.raises(TypeError, match="missing or unknown"):
        Point(1).replace(z=1)


# --- child processes


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("at https://me:p@ss@host/x", "at https://***@host/x"),
        ("socks5://me:secret@host", "socks5://***@host"),
        ("ssh://git:secret@host/x", "ssh://git:***@host/x"),
        (
            "ssh://git@host/x git@host:x https://host/@scope",
            "ssh://git@host/x git@host:x https://host/@scope",
        ),
        ("a\x1b[31m red\x1b[0m\a one", "a red one"),
    ],
)
def test_no_login_of_an_address_and_no_steering_of_the_terminal_is_shown(
    said: str, shown: str
) -> None:
    assert tlc.redact(said) == shown


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that its parent has yet to bury counts as gone."""
    state = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with suppress(ProcessLookupError, FileNotFoundError):
        return state.read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_a_child_gives_its_output_and_exit_code(runner: tlc.Runner) -> None:
    done = runner.run(shell("echo out; echo err >&2; exit 3"))
    assert (done.out, done.err, done.code, done.ok) == ("out\n", "err\n", 3, False)
    assert runner.run(shell("exit 0")).ok
    assert runner.run(shell("kill -9 $$")).code == -9


@pytest.mark.parametrize(
    "content", [b"\x7fELF for another machine", b"#!/nowhere/python\n", b"#!/bin/sh\nexit 1\n"]
)
def test_a_program_that_does_not_run_is_as_good_as_none(
    runner: tlc.Runner, tmp_path: Path, content: bytes
) -> None:
    program = tmp_path / "uv"
    program.write_bytes(content)
    program.chmod(0o755)
    runner = tlc.Runner({"PATH": str(tmp_path)}, runner.log)
    with pytest.raises(tlc.ExecutableNotFoundError, match="uv does not run: ") as raised:
        runner.version_of("uv")
    assert isinstance(raised.value.fix, tlc.Fix)
    assert raised.value.fix.render("tlc") == "tlc bootstrap --only uv"


def test_output_that_is_not_utf8_comes_back_as_it_was(runner: tlc.Runner) -> None:
    assert os.fsencode(runner.run(shell(r"printf 'a\377b'")).out) == b"a\xffb"


def test_a_child_reads_its_input_and_more_output_than_a_pipe_holds_blocks_nobody(
    runner: tlc.Runner,
) -> None:
    text = "0123456789é\n" * 100_000
    done = runner.run(shell("tee /dev/stderr"), stdin=text)
    assert done.out == text
    assert done.err == text


def test_a_child_without_input_finds_its_end(runner: tlc.Runner) -> None:
    assert runner.run(["/bin/cat"]).out == ""


def test_a_child_has_a_cleaned_environment(runner: tlc.Runner) -> None:
    environ = {
        **os.environ,
        "GIT_DIR": "x",
        "GIT_INDEX_FILE": "x",
        "PYTHONPATH": "x",
        "PYTHONHOME": "x",
        "KEPT": "y",
    }
    runner = tlc.Runner(environ, runner.log)
    done = runner.run(shell("env"), env={"ADDED": "z"})
    lines = done.out.splitlines()
    assert {"KEPT=y", "ADDED=z"} < set(lines)
    assert not [
        line
        for line in lines
        if line.partition("=")[0] in environ.keys() - {"KEPT"} and line.endswith("=x")
    ]


def test_every_command_is_told_and_stands_in_the_log_with_its_output(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    log = tlc.Log(str(tmp_path), "toy")
    runner = tlc.Runner(
        dict(os.environ), log, lambda command, seconds: told.append((command, seconds))
    )
    argv = shell("echo out; printf '10%%\\r20%%\\rerr\\nsaid by ssh\\r\\n' >&2; exit 3")
    runner.run(argv)
    log.open()
    assert told[0][0] == shlex.join(argv)
    assert 0 <= told[0][1] < 60
    text = Path(log.path).read_text()
    assert text.startswith(f"$ {shlex.join(argv)}\nout\nerr\nsaid by ssh\n# exit 3, ")


def test_lines_are_passed_on_as_they_come(runner: tlc.Runner) -> None:
    came: list[tuple[str, float]] = []
    script = "printf 'a\\nc' >&2; sleep 0.5; printf 'b\\nd\\re'"
    runner.run(shell(script), on_line=lambda line: came.append((line, time.monotonic())))
    assert [line for line, _ in came] in (["a", "b", "d", "e", "c"], ["a", "b", "d", "c", "e"])
    assert dict(came)["b"] - dict(came)["a"] > 0.3


def test_a_named_childs_lines_stand_in_the_log_as_they_come(tmp_path: Path) -> None:
    log = tlc.Log(str(tmp_path), "toy")
    log.open()
    runner = tlc.Runner(dict(os.environ), log)
    seen: list[str] = []
    runner.run(
        shell("echo a; echo b"),
        log_as="x",
        on_line=lambda _: seen.append(Path(log.path).read_text()),
    )
    assert seen[0].endswith("[x] a\n")
    assert Path(log.path).read_text().count("[x] ") == 4


def test_a_program_that_cannot_be_started_is_an_os_error(
    runner: tlc.Runner, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        runner.run([str(tmp_path / "none")])
    with pytest.raises(PermissionError):
        runner.run([str(tmp_path)])


def test_a_program_is_found_by_its_full_path_or_missing_with_its_install_command(
    runner: tlc.Runner,
) -> None:
    assert os.path.isabs(runner.which("sh"))
    with pytest.raises(
        tlc.ExecutableNotFoundError, match="no-such-program is not installed"
    ) as caught:
        runner.which("no-such-program")
    assert isinstance(caught.value.fix, tlc.Fix)
    assert caught.value.fix.render("tlc").endswith("no-such-program")


def test_a_grandchild_that_keeps_the_pipes_open_holds_nobody_up(runner: tlc.Runner) -> None:
    began = time.monotonic()
    done = runner.run(shell("sleep 30 & echo $!"))
    try:
        assert time.monotonic() - began < 20
    finally:
        os.kill(int(done.out), signal.SIGKILL)


# What a child may do about SIGTERM; each writes the ids of all its processes to the file $1.
STUBBORN = {
    "obeys": "sleep 60 & echo $$ $! >$1.new; mv $1.new $1; wait",
    "ignores it": "trap '' TERM; sleep 60 & echo $$ $! >$1.new; mv $1.new $1; wait",
    "ignores it and closes its output": "trap '' TERM; exec >&- 2>&-; echo $$ >$1.new; mv $1.new $1; exec sleep 60",
    "leaves a grandchild that ignores it": (
        "(trap '' TERM; exec sleep 60) & sleep 0.2; echo $$ $! >$1.new; mv $1.new $1; wait"
    ),
    "leaves a grandchild that ignores it and closes its output": (
        "(trap '' TERM; exec sleep 60 >&- 2>&-) & sleep 0.2; echo $$ $! >$1.new; mv $1.new $1; wait"
    ),
}


@pytest.mark.parametrize("script", STUBBORN.values(), ids=STUBBORN)
def test_stopping_ends_whole_process_groups_within_three_seconds(
    runner: tlc.Runner, tmp_path: Path, script: str
) -> None:
    file = tmp_path / "ids"
    ended: list[BaseException] = []

    def work() -> None:
        try:
            runner.run([*shell(script), "sh", str(file)])
        except tlc.Interrupted as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    soon(file.exists)
    ids = [int(word) for word in file.read_text().split()]
    try:
        began = time.monotonic()
        runner.stop()
        thread.join(5)
        soon(lambda: all(map(is_gone, ids)), 3 - (time.monotonic() - began))
        assert not thread.is_alive()
        assert [type(error) for error in ended] == [tlc.Interrupted]
    finally:
        for pid in ids:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)


def test_after_stopping_nothing_is_started(runner: tlc.Runner, tmp_path: Path) -> None:
    runner.stop()
    with pytest.raises(tlc.Interrupted):
        runner.run(["/usr/bin/touch", str(tmp_path / "file")])
    assert list(tmp_path.iterdir()) == []
