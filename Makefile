# Needs Python 3.11 (or newer) and make. The first target that runs sets everything up in .venv; later runs need no network.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := sdk kernel cli registry $(sort $(patsubst %/,%,$(dir $(wildcard builtin_plugins/*/pyproject.toml))))
ARGS ?=

# An index that is configured for pip alone is meant for uv too. What points pip or uv at another environment is not.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_HASHES UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT UV_PYTHON
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench format lock

help:  ## show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.members  ## create .venv with everything pinned (the other targets do it by themselves)
	@:

demo: setup  ## the main job in one command; ARGS="--feed DIR --json" are passed on
	@$(BIN)/rustcare demo $(ARGS)

# A process for each core; the tests of a file stay together, since some share a server that takes a while to start.
test: setup  ## all tests; ARGS="kernel/tests -k bus" narrows them, ARGS="-n 0" runs them in one process
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup  ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup  ## measure against the bare libraries, in one run
	@$(BIN)/python -m tests.benchmarks $(ARGS)

format: setup  ## let ruff put the code in order
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

# Neither file records an address, a path or a machine: only names, versions and hashes.
lock: setup  ## resolve the pins again (needs the network)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --python-version 3.11 --universal --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet \
	  $(foreach member,$(MEMBERS),--no-emit-package $(shell sed -n 's/^name = "\(.*\)"/\1/p' $(member)/pyproject.toml)) \
	  --output-file requirements.lock
	@echo uv | $(BIN)/uv pip compile - --python-version 3.11 --universal --upgrade --generate-hashes --no-annotate \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet --output-file requirements-uv.lock

# Three steps, each with its stamp: the environment with a pinned uv, the pinned dependencies, our own members (editable).
$(VENV)/.uv: requirements-uv.lock
	@test -n "$(PYTHON)" || { echo "no Python found: install Python 3.11, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + \
	  sys.version.split()[0] + ": name another with make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.locked: $(VENV)/.uv requirements.lock
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock || { \
	  echo "uv could not reach what pip can; once more with pip" >&2; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }
	@touch $@

$(VENV)/.members: $(VENV)/.locked $(MEMBERS:%=%/pyproject.toml)
	@$(BIN)/uv pip install --quiet --offline --no-deps --no-build-isolation --python $(BIN)/python $(MEMBERS:%=--editable %)
	@touch $@
