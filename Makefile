# Each target makes what it needs: a virtual environment in .venv, and the package in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP ?= $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test stress lint types examples docs bench bench-gpu check clean

help:
	@echo "make demo      train a character model on real text and write samples (about 4 minutes)"
	@echo "make examples  run all examples in their quick form"
	@echo "make test      run the whole suite (4 to 9 minutes on 2 cores)"
	@echo "make stress    kill, interrupt and fork processes and damage files, and report what is lost (minutes; ARGS=kills)"
	@echo "make check     lint, types, tests and the examples in their quick form"
	@echo "make docs      run the guide and build the site in build/docs"
	@echo "make bench     time layers and training steps beside PyTorch, JAX and others (ARGS=--short)"
	@echo "make bench-gpu time an LSTM's training step on a GPU beside cuDNN and PyTorch's cells"
	@echo "make clean     remove what the other targets made"

# A stamp per extra: installed anew when pyproject.toml changes.
$(VENV)/made-%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tinygrad_seq needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -e '.[$*]'
	@touch $@

demo: $(VENV)/made-examples,jit
	$(BIN)/python examples/05_char_lm.py

# In two processes, each on one core.
test: $(VENV)/made-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

stress: $(VENV)/made-test
	cd tests && ../$(BIN)/python -m stress $(ARGS)

lint: $(VENV)/made-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# What the public types say to mypy and pyright is tested in tests/typing.
types: $(VENV)/made-dev,test
	$(BIN)/mypy

# Two at a time, each on one core; what one prints comes out in one piece, when it ends.
examples: $(VENV)/made-examples
	printf '%s\n' examples/[0-9]*.py | OMP_NUM_THREADS=1 xargs -P 2 -I SCRIPT sh -c \
		'said=$$($(BIN)/python SCRIPT --quick --out runs/quick 2>&1); status=$$?; \
		printf "== SCRIPT\n%s\n" "$$said"; exit $$status'

docs: $(VENV)/made-docs
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs build/docs

bench: $(VENV)/made-bench
	$(PIP) install torch==2.13.0
	$(BIN)/python benchmarks/recurrent.py $(ARGS)
	$(BIN)/python benchmarks/steps.py $(ARGS)

bench-gpu: $(VENV)/made-cuda12
	$(PIP) install torch
	$(BIN)/python benchmarks/gpu.py $(ARGS)

check: lint types test examples

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
