# make help lists the targets. Nothing is needed beforehand but Python >= 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
BENCH ?= all

.DEFAULT_GOAL := help
.PHONY: help train test lint type bench figures lock wheels clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

train: $(VENV)/.runtime ## set up .venv and train; ARGS="optimizer=nesterov scheduler=step" chooses
	@$(BIN)/python train.py $(ARGS)

test: $(VENV)/.dev ## the whole test suite
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev type ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

type: $(VENV)/.dev ## mypy alone
	@$(BIN)/mypy

bench: $(VENV)/.dev ## measurements with their baselines; BENCH=name chooses one
	@$(BIN)/python -m bench $(BENCH)

figures: $(VENV)/.runtime ## redraw the pictures of the README
	@$(BIN)/python tools/figures.py docs/figures

lock: ## resolve the newest versions into requirements*.lock
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install -q uv
	@tools/lock.sh $(VENV)-lock/bin/uv

wheels: $(VENV)/.runtime ## the packages for a machine without a network; ARGS="3.12 scipy" names its Python and what it has
	@$(BIN)/python tools/wheels.py wheels $(or $(ARGS),3.12)

clean: ## remove the environment and caches
	rm -rf $(VENV) $(VENV)-lock .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kasoku needs Python 3.11 or newer, %s is %s; name another: make PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies into $(VENV) (once)"
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "installing the locked test and lint tools into $(VENV) (once)"
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements-dev.lock
	@touch $@
