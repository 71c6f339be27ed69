"""What a run answered, as its JSON has it. Each of these fails where nothing came back."""

from __future__ import annotations

from typing import Any

from conftest import Run

Result = dict[str, Any]


def results(run: Run, *kinds: str) -> list[Result]:
    """Return the results of a run, of these kinds only where any is given; none at all is a failure."""
    found = [each for each in run.json()["results"] if not kinds or each["kind"] in kinds]
    assert found, f"no result {kinds}:\n{run.out}{run.err}"
    return found


def result_of(run: Run, name: str, *kinds: str) -> Result:
    """Return the one result of this name."""
    [found] = [each for each in results(run, *kinds) if each["name"] == name]
    return found


def statuses(run: Run, *kinds: str) -> dict[str, str]:
    """Return name -> status."""
    found = results(run, *kinds)
    statuses = {each["name"]: str(each["status"]) for each in found}
    assert len(statuses) == len(found), f"one name twice: {found}"
    return statuses


def results_by_kind(run: Run) -> dict[str, Result]:
    """Return kind -> its result, where there is one of each."""
    found = results(run)
    by_kind = {each["kind"]: each for each in found}
    assert len(by_kind) == len(found), f"one kind twice: {found}"
    return by_kind


def statuses_by_kind(run: Run) -> dict[str, str]:
    """Return kind -> its result's status, where there is one of each."""
    return {kind: str(each["status"]) for kind, each in results_by_kind(run).items()}


def statuses_by_item(run: Run, *kinds: str) -> dict[tuple[str, str], str]:
    """Return kind and name -> status."""
    return {(each["kind"], each["name"]): str(each["status"]) for each in results(run, *kinds)}


def findings(run: Run) -> dict[tuple[str, str], Result]:
    """Return group and name -> what doctor says of it, the worst where there are several of that name."""
    severity = ["OK", "WARN", "FAIL"].index
    found = sorted(results(run), key=lambda each: severity(each["status"]))
    return {(each["kind"], each["name"]): each for each in found}
