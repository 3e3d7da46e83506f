# `make demo` and `make test` need Python 3.11 or newer and nothing else: each sets up .venv.
PYTHON ?= python3
BIN := .venv/bin
CHECKED := seqtrain seqtrain_cli tests examples benchmarks docs

.PHONY: help demo test test-fast test-runs test-faults test-distributed test-hosts benchmark soak lint types docs wheel clean

help:
	@echo "make demo              prepare real data, train 5 minutes, evaluate, show ten outputs"
	@echo "make test              all tests that CI runs (make soak: the long ones)"
	@echo "make lint types docs wheel  the other checks of CI"

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.installed
	$(BIN)/pip install -q --disable-pip-version-check --no-deps pocketsphinx
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/g2p_cmudict/demo.sh

RUNS := tests/integration tests/resume tests/cli tests/docs

test: test-fast test-runs test-faults test-distributed

# Two worker processes with one thread each are quicker than one with two.
test-fast: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(addprefix --ignore=,$(RUNS) tests/faults tests/distributed)

# Whole runs and real commands.
test-runs: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 $(RUNS)

test-faults: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 tests/faults

test-distributed: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/distributed

# Two network namespaces that lose each other; needs the right to make some, else says so.
test-hosts: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/hosts/two_hosts.py

# A minute: next to bare loops, and the Hugging Face Trainer if the extra `bench` is installed.
benchmark: .venv/.installed
	$(BIN)/python benchmarks/training.py --short

soak: .venv/.installed
	$(BIN)/python -m pytest -q -m slow

lint: .venv/.installed
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

types: .venv/.installed
	$(BIN)/mypy

# Into build/site; a link that leads nowhere is an error.
docs: .venv/.installed
	$(BIN)/mkdocs build --strict --quiet

wheel: .venv/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHON=$(PYTHON) bash .ci/check_wheel

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
