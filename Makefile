# Each target does one thing; those that need it build .venv on first use.
PYTHON ?= python3
# For the CPU build of torch on Linux: make install TORCH_ARGS="--index-url <PyTorch's CPU wheel index>"
TORCH_ARGS ?=
BIN := .venv/bin

.PHONY: install demo test soak lint format type experiments gallery clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; try: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH_ARGS) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/generative-policies demo

# All experiments over three seeds: a quarter of an hour.
experiments: .venv/installed
	for seed in 0 1 2; do \
		$(BIN)/python -m generative_policies.models.experiment --experiment all --seed $$seed --output runs/experiments/seed-$$seed && \
		$(BIN)/python -m generative_policies.action_translation.experiment --seed $$seed --output runs/experiments/seed-$$seed || exit 1; \
	done

# The gallery in docs/experiments, from what the experiments wrote.
gallery: .venv/installed
	$(BIN)/python docs/gallery.py

# A worker a core; a file's tests stay together, since they share what is slow to make.
test: .venv/installed
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

# Commands killed fifty times each, and a million translated steps: half an hour.
soak: .venv/installed
	$(BIN)/python -m benchmarks.soak

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

type: .venv/installed
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
