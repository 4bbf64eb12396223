# Everything a contributor types. `make` alone lists the targets. Each target sets itself up: the virtual
# environment is made on first use and again only when pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
COVERAGE_FLOOR ?= 85

BIN := $(VENV)/bin
STAMP := $(VENV)/.podgym-installed

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-quick test lint format format-check typecheck layers unit check wheel-test \
        gates promises cluster-test bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(STAMP) ## make the virtual environment (.venv) with everything needed

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "podgym needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "Installing podgym and its tools into $(VENV) (about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## the whole way once: forecast, plan, training, comparison, report (under five minutes)
	@$(BIN)/podgym demo

demo-quick: $(STAMP) ## the same in its short form
	@$(BIN)/podgym demo --quick

test: check ## run every gate: lint, format, types, layers, tests with coverage

check: lint format-check typecheck layers unit

lint: $(STAMP) ## check the code against the lint rules
	@$(BIN)/ruff check

format: $(STAMP) ## rewrite the code in the house format and mend what the linter can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

format-check: $(STAMP)
	@$(BIN)/ruff format --check

typecheck: $(STAMP) ## check the types (mypy, strict)
	@$(BIN)/mypy

layers: $(STAMP) ## check who imports whom (import-linter)
	@$(BIN)/lint-imports --no-logo

# No coverage table here, to keep the output short: `.venv/bin/coverage report` shows it afterwards.
unit: $(STAMP) ## run the tests with the coverage floor; PYTEST_ARGS=... to choose among them
	@$(BIN)/python -m pytest -q -n auto --dist loadfile --cov --cov-report= \
	  --cov-fail-under=$(COVERAGE_FLOOR) $(PYTEST_ARGS)

wheel-test: $(STAMP) ## build the wheel and run the tests against it, outside the repository
	@VENV=$(VENV) scripts/wheel_test.sh

gates: $(STAMP) ## prove that every gate can fail
	@VENV=$(VENV) scripts/prove_gates.sh

promises: $(STAMP) ## prove that each promise of the real cluster can be broken and is noticed (some minutes)
	@$(BIN)/python scripts/prove_promises.py --processes 2

cluster-test: $(STAMP) ## test against the cluster of KUBECONFIG, or a server of the binaries in KUBEBUILDER_ASSETS
	@test -n "$(KUBECONFIG)$(KUBEBUILDER_ASSETS)" && test -z "$(and $(KUBECONFIG),$(KUBEBUILDER_ASSETS))" || { \
	  echo "Name either a cluster, KUBECONFIG=FILE, or a folder of binaries, KUBEBUILDER_ASSETS=FOLDER." >&2; exit 2; }
	@$(if $(KUBEBUILDER_ASSETS),scripts/with_api_server.sh "$(KUBEBUILDER_ASSETS)") \
	  $(BIN)/python -m pytest -q -m cluster tests/cluster $(PYTEST_ARGS)

bench: $(STAMP) ## measure the speed of the simulator
	@$(BIN)/podgym bench

clean: ## remove build products and caches; keeps .venv and results/
	rm -rf build dist *.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
