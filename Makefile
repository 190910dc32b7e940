# Everything a person or a machine does with this checkout. `make help` lists it.

PYTHON ?= python3
DATA ?= ./data
WORKERS ?= auto
VENV := .venv
INSTALLED := $(VENV)/installed
LOCK_VENV := build/lock
PEER_LOCK := bench/hordak/requirements.lock
COMPILE = $(LOCK_VENV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform linux --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup run test soak check lock bench demo-bank clean venv-module

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(INSTALLED) ## Make .venv, with the pinned dependencies and the fundledger command in it

run: setup ## Serve on http://127.0.0.1:8080, with PostgreSQL in DATA (./data); ARGS go to fundledger serve
	@exec $(VENV)/bin/fundledger serve --data $(DATA) $(ARGS)

test: setup ## Run the tests, on all cores (WORKERS=1: on one); ARGS go to pytest
	@exec $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

soak: setup ## Repeat every fault for MINUTES (5) and print what was lost, doubled or wrong; ARGS go to tests/soak.py
	@exec $(VENV)/bin/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

check: setup ## Look for what tests do not show: style, types, imports that run the wrong way
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup ## Measure every speed claim; QUICK=1 for a first look
	@exec $(VENV)/bin/python -m bench $(if $(QUICK),--quick) $(ARGS)

demo-bank: setup ## Feed 25,170 real bank operations to the running service; ARGS go to bench/demo_bank.py
	@exec $(VENV)/bin/python -m bench.demo_bank --data $(DATA) $(ARGS)

lock: ## Resolve requirements.lock and the bench's anew, keeping pins where they fit; ARGS=--upgrade takes the newest
	$(PYTHON) -m venv --clear $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip install --quiet uv
	$(COMPILE) --all-extras --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraints requirements.lock --output-file $(PEER_LOCK) $(PEER_LOCK:.lock=.in)
	@! grep -n '://' requirements.lock $(PEER_LOCK)
	rm -rf $(LOCK_VENV)

clean: ## Remove what was made, but no data
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock names hashes of everything that is downloaded; the checkout itself is built with what it pins.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fundledger needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory venv-module
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Debian keeps the part of Python that makes virtual environments in a package of its own.
venv-module:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Python's venv module is missing: installing python3-venv"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv \
			>/dev/null; \
	else \
		echo "Python's venv module is missing; on Debian: sudo apt-get install python3-venv" >&2; exit 1; \
	fi
