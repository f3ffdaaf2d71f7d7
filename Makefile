# A fresh machine needs only python3 (>= 3.11) and make; everything else is installed here, pinned.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed-
PIP := $(BIN)/python -m pip install -q -c constraints.txt

.PHONY: demo test lint docs bench clean

demo: $(INSTALLED)run
	$(BIN)/creo demo

test: $(INSTALLED)dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical $(PYTEST)

lint: $(INSTALLED)dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(INSTALLED)dev
	$(BIN)/python -m benchmarks --list

clean:
	rm -rf .venv build dist docs/_build

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(INSTALLED)run: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(INSTALLED)dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@

$(INSTALLED)docs: $(INSTALLED)dev
	$(PIP) -e '.[dev,docs]'
	@touch $@
