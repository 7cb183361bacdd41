PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

# Compiled modules are kept, also where the environment says otherwise: each of the tests' processes would compile all anew,
# pytest its assertions too.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test quick docs rehearse portable faults lint clean

setup: $(VENV)/.installed

# torch first and by itself: a pinned CPU build, where pip finds one, must not be replaced by what another package asks for.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The demo has a store of its own, so that its board shows runs of this machine beside nobody else's, and computes as this
# processor is fastest: it shows the path, and nobody compares its numbers.
demo: setup
	$(BIN)/mtbench run --grid quick --arithmetic native --results $(DEMO)/results
	$(BIN)/mtbench report --results $(DEMO)/results --out $(DEMO)/reports

# Two processes, each of which takes whole files: what the tests of a file share is made once. They come in the order of
# tests/conftest.py, slow ones first. Tests use one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: setup
	$(PYTEST)

# What takes no processes, no browser and no training that learns: within a minute, between two edits.
quick: setup
	$(PYTEST) -m "not slow"

# The site, in build/docs; a warning, and anything that a page would fetch from another address, is an error.
docs: setup
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs build/docs

# Every CUDA path on a pretended GPU; skipped, and it says so, where there is no g++.
rehearse: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.rehearsal

# The proof that portable runs have the same bits on any processor: here and on four emulated ones, which takes an hour.
portable: setup
	$(BIN)/python -m tests.portable --table docs/portable.md

# The fault harness at full length: 50 kills at seeded random instants.
faults: setup
	MTBENCH_FAULTS=50 $(BIN)/python -m pytest tests/benchmark/test_faults.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build $(DEMO)
