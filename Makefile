# make help lists the targets. Nothing is needed beforehand but Python >= 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
BENCH ?= all

.DEFAULT_GOAL := help
.PHONY: help train test proof lint type bench figures reference lock wheels clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

train: $(VENV)/.runtime ## set up .venv and train; ARGS="optimizer=nesterov scheduler=step" chooses
	@$(BIN)/python train.py $(ARGS)

test: $(VENV)/.dev ## the tests, with a sample of the exhaustive ones
	@$(BIN)/python -m pytest $(ARGS)

proof: $(VENV)/.dev ## the exhaustive tests: every cut, every option, simulations at full size
	@$(BIN)/python -m pytest -m proof -n 3 $(ARGS)  # many of them wait

lint: $(VENV)/.dev type docs ## ruff, mypy, import-linter, the picture of the rooms, the reference, the site
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python tools/rooms.py --check
	@$(BIN)/python tools/reference.py --check

type: $(VENV)/.dev ## mypy alone
	@$(BIN)/mypy

docs: $(VENV)/.dev ## the documents as a site in site/, which opens without a network: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev ## measurements with their baselines; BENCH=name chooses one
	@$(BIN)/python -m bench $(BENCH)

figures: $(VENV)/.runtime ## redraw the pictures of the README
	@$(BIN)/python tools/figures.py docs/figures

reference: $(VENV)/.runtime ## rewrite docs/reference from conf/ and the signatures
	@$(BIN)/python tools/reference.py

lock: ## resolve the newest versions into requirements*.lock
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install -q uv
	@tools/lock.sh $(VENV)-lock/bin/uv

wheels: $(VENV)/.runtime ## the packages for a machine without a network; ARGS="3.12 scipy" names its Python and what it has
	@$(BIN)/python tools/wheels.py wheels $(or $(ARGS),3.12)

clean: ## remove the environment and caches
	rm -rf $(VENV) $(VENV)-lock site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

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
