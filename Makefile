# Everything runs in .venv/, made here from nothing: Python >= 3.11 and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check load bench docs grafana clean

help:  ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/'

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "outbox needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: .venv/.installed  ## Deliver a backlog of 1,200 messages to a strict simulator, and say what happened
	@$(BIN)/outbox demo

test: .venv/.installed  ## Run the whole suite on a real PostgreSQL
	@$(BIN)/pytest

check: .venv/.installed  ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

load: .venv/.installed  ## The long runs: limits, faults, killed workers, outages (34 minutes; SEED=7 ONLY=chaos)
	@$(BIN)/python -m bench load --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY))

bench: .venv/.installed  ## Every figure of docs/performance.md
	@$(BIN)/python -m bench all

docs: .venv/.installed  ## Write docs/sql.md from the comments in the database, docs/metrics.md from the code
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/generate_metrics.py

grafana: .venv/.installed  ## Write the dashboards and alert rules of grafana/ from grafana/build and the thresholds
	@$(BIN)/python -m grafana.build

clean:  ## Remove the virtual environment
	rm -rf .venv
