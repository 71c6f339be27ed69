"""Change tlc.py in small ways, one at a time, and see which changes no test notices: `make mutants`.

    mutants.py [--all] [NAME]...     functions and classes of tlc.py, or sections; default: CHOSEN

Without --all it tries a sample: a few changes of each function, the same ones at each run. A run takes a copy of the
project in build/mutants; `mutmut results` and `mutmut show NAME` there name the survivors. mutmut would change all of
tlc.py, which takes it the better part of an hour before the first test: in the copy all but what was chosen is marked
as not to be changed. Noticed is what a test of CHOSEN notices: those that call the code in their own process, as mutmut
does not see into what a story starts.
"""

from __future__ import annotations

import ast
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COPY = PROJECT / "build" / "mutants"

# Sections, and of the repositories what decides and what keeps work safe -> the tests that are to notice.
IN_PROCESS = ["test_decide.py", "test_look.py", "test_backup.py"]
CHOSEN = {
    "config": ["test_config.py"],
    "engine": ["test_engine.py"],
    **dict.fromkeys(["decide", "look", "look_(unborn|for_work)", "Backup"], IN_PROCESS),
}
A_FEW = 3

CONFIG = """
[tool.mutmut]
source_paths = ["tlc.py"]
also_copy = ["build.py", "bootstrap.sh", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "tests"]
pytest_add_cli_args_test_selection = [{tests}]
pytest_add_cli_args = ["-q", "-x", "-m", "not machines and not sweep and not faults"]
"""


def sections(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each banner and its section's name."""
    for banner in re.finditer(r"^# -{5,}\n# (\w[\w ]*)\n", source, re.MULTILINE):
        yield source.count("\n", 0, banner.start()) + 1, banner[1]


def marked(source: str, chosen: Sequence[str]) -> tuple[str, list[str]]:
    """Return the source with all but what was chosen marked for mutmut to leave alone, and what was chosen."""
    banners = [*sections(source)]
    lines = source.splitlines(keepends=True)
    taken = []
    for node in reversed(ast.parse(source).body):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        section = [name for line, name in banners if line < node.lineno][-1:]
        if any(re.fullmatch(one, name) for one in chosen for name in (node.name, *section)):
            taken.append(node.name)
        else:
            # mutmut reads it where the head of a definition ends.
            at = next(
                n for n in range(node.lineno - 1, len(lines)) if re.search(":(  #.*)?$", lines[n])
            )
            lines[at] = f"{lines[at][:-1]}  # pragma: no mutate block\n"
    return "".join(lines), taken[::-1]


def mutmut(*words: str) -> str:
    """Run mutmut in the copy; return what it printed."""
    program = Path(sys.executable).with_name("mutmut")
    done = subprocess.run([program, *words], cwd=COPY, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:])
    return done.stdout


def results() -> dict[str, str]:
    """Return the name of each mutant -> "killed", "survived", "not checked" ..."""
    lines = mutmut("results", "--all", "true").splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if "__mutmut_" in line)


def sample(names: Sequence[str]) -> list[str]:
    """Return a few of each function's, the same ones at each run.

    Not of those that write the schema: they ran when tlc was imported, before a change comes into force.
    """
    functions: dict[str, list[str]] = {}
    for name in names:
        if not name.startswith("tlc.x__"):
            functions.setdefault(name.partition("__mutmut_")[0], []).append(name)
    return [
        each
        for function, own in functions.items()
        for each in random.Random(function).sample(own, min(A_FEW, len(own)))
    ]


def main() -> int:
    """Make the copy, run mutmut there and print the score; return 0."""
    every = "--all" in sys.argv
    chosen = [word for word in sys.argv[1:] if word != "--all"] or [*CHOSEN]
    shutil.rmtree(COPY, ignore_errors=True)
    leave_out = shutil.ignore_patterns("build", "dist", ".*", "__pycache__")
    shutil.copytree(PROJECT, COPY, ignore=leave_out)
    source, taken = marked((PROJECT / "tlc.py").read_text(), chosen)
    if not taken:
        sys.exit("nothing of that name in tlc.py")
    (COPY / "tlc.py").write_text(source)
    all_tests = sorted({name for names in CHOSEN.values() for name in names})
    names = {name for each in chosen for name in CHOSEN.get(each, all_tests)}
    tests = [f'"tests/{name}"' for name in sorted(names)]
    with (COPY / "pyproject.toml").open("a") as config:
        config.write(CONFIG.format(tests=", ".join(tests)))
    print(f"mutants of {', '.join(taken)}; noticed by {', '.join(tests)}", flush=True)
    mutmut("run", f"*{taken[0]}*__mutmut_1")  # makes all
    mutants = list(results())
    tried = mutants if every else sample(mutants)
    mutmut("run", *tried)
    found = results()
    counts = Counter(found[name] for name in tried)
    print(*sorted(f"{name}: {found[name]}" for name in tried if found[name] != "killed"), sep="\n")
    print(f"{len(tried)} of {len(mutants)} changes: {dict(counts)}")
    noticed = counts["killed"] + counts["timeout"]
    print(f"noticed {100 * noticed / len(tried):.0f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
