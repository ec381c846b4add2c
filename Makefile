# Each target does one thing; those that need it build .venv on first use.
PYTHON ?= python3
# For the CPU build of torch on Linux: make install TORCH_ARGS="--index-url <PyTorch's CPU wheel index>"
TORCH_ARGS ?=
BIN := .venv/bin

.PHONY: install demo test lint format type docs experiments gallery fuzz soak matrix clean

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

# Twelve thousand broken and hostile files, and four thousand models that hypothesis describes: minutes.
fuzz: .venv/installed
	$(BIN)/python -m benchmarks.fuzz

# Commands killed fifty times each, and a million translated steps: half an hour.
soak: .venv/installed
	$(BIN)/python -m benchmarks.soak

# The tests with the lowest and the newest versions allowed, each in an environment of its own: gigabytes, half an hour.
matrix: .venv/installed
	$(BIN)/python -m benchmarks.compatibility

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site in docs/_build/html. Code on pages that changed since they were last built runs first, minutes for all.
docs: .venv/installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --builder html docs docs/_build/html

type: .venv/installed
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
