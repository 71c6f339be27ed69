.DEFAULT_GOAL := help
.PHONY: help demo build check format test test-shiv test-machines sweep faults mutants bench pictures golden clean system-packages

# Any of these may be given on the command line: make test ARGS='-k archive' WORKERS=4
ARGS =
WORKERS = auto
# What of the tests neither takes root nor long.
QUICK = not machines and not sweep and not faults
# Looked for at its first use, as a command may install it before.
PYTHON ?= $(eval PYTHON := $(shell sh tests/find-python.sh))$(or $(PYTHON),$(error tlc needs Python 3.11 or newer; see README.md))

SCRIPTS = $(wildcard *.sh tests/*.sh .ci/run)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: build ## see tlc at work in a throwaway .demo/: no account, and no network but for Python packages
	PYTHON="$(PYTHON)" sh tests/demo.sh

build: ## build dist/tlc.pyz
	$(PYTHON) build.py

check: .venv ## lint, format check, types, shell scripts
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/shellcheck $(SCRIPTS)

format: .venv ## let ruff mend what it can
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

# Two more than processors, as stories wait a lot: for a limit, a lock, a line that is slow.
test test-shiv: WORKERS = $(shell expr 2 + $$(getconf _NPROCESSORS_ONLN))
test: .venv ## run all tests but those of the targets below on a freshly built tlc.pyz
	.venv/bin/pytest -n $(WORKERS) --dist worksteal -m '$(QUICK)' $(ARGS)

test-shiv: .venv ## run the same tests on the archive packed by shiv
	.venv/bin/python build.py --shiv
	TLC_ARCHIVE=dist/tlc-shiv.pyz .venv/bin/pytest -n $(WORKERS) --dist worksteal -m '$(QUICK)' $(ARGS)

test-machines: .venv ## run the stories on throwaway machines: as root, with the real package managers and indexes
	@sh tests/system-packages.sh machines
	.venv/bin/pytest -n $(WORKERS) -m machines $(ARGS)

sweep: .venv ## try every setting of git, and random configs by the thousand
	.venv/bin/pytest -n $(WORKERS) -m sweep $(ARGS)

faults: .venv ## kill, fill, cut and crowd it at random moments; print what was lost
	.venv/bin/pytest -n $(WORKERS) -m faults $(ARGS)

mutants: .venv ## change the code in small ways and see whether a test notices (mutmut)
	.venv/bin/python tests/mutants.py $(ARGS)

bench: .venv ## measure against the bars; in parts: make bench ARGS="start plan"
	PYTHONPATH=. .venv/bin/python tests/bench.py $(ARGS)

pictures: .venv build ## take the README's pictures anew: real runs in a real terminal, into docs/
	PYTHONPATH=. .venv/bin/python tests/pictures.py

golden: .venv ## write anew what each command shows in a terminal, into tests/golden/; see what changed
	TLC_GOLDEN=new .venv/bin/pytest -n $(WORKERS) tests/test_golden.py

clean: ## remove all that make has made
	rm -rf .demo .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache __pycache__ tests/__pycache__

# The development environment: made anew when pyproject.toml changes.
.PHONY: .venv
.venv: .venv/stamp
.venv/stamp: pyproject.toml | system-packages
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --upgrade 'pip>=25.1'
	.venv/bin/pip install --quiet --group dev
	touch $@

system-packages:
	@sh tests/system-packages.sh
