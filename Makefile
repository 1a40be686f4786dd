# Good Standing: two commands are enough to begin: make run, make demo. `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# Newest first, among those the locked wheels exist for; override with `make PYTHON=/path/to/python3.12 run`.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install --quiet --require-hashes
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
# Extra words for both test runs, for example `make test PYTEST="-x -k standing"`.
PYTEST ?=

.PHONY: help run demo setup setup-dev lock lint fmt docs screenshots test test-sqlite test-postgres bench fuzz \
	schemathesis torture audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: setup ## Start everything: migrations, first admin and source, broker, web, worker, beat, policyd
	@exec $(BIN)/python manage.py serve

demo: setup ## The same in a folder of its own (data-demo), with a believable day of mail
	@export GS_DATA_DIR="$${GS_DATA_DIR:-data-demo}"; exec $(BIN)/python manage.py demo

setup: $(VENV)/.installed ## Make .venv with the locked packages (does nothing the second time)

setup-dev: $(VENV)/.installed-dev ## The same with what tests and linters need, and Debian's postfix and chromium
	@.ci/system-packages

# The environment; made anew when its Python has gone or is too old.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found (python3 is: $$(python3 --version 2>&1))." \
		"Install one, or name it: make PYTHON=/path/to/python3.11 run" >&2; exit 1; }
	@rm -rf $(VENV)
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The environment could not be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# A stamp is newer than the lock it was installed from; the dev lock holds everything the plain one does.
$(VENV)/.installed: requirements.lock | $(BIN)/python
	@echo "Installing the locked packages"
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock requirements.lock | $(BIN)/python
	@echo "Installing the locked packages, tests and linters included"
	@$(PIP) -r requirements-dev.lock
	@touch $@ $(VENV)/.installed

lock: setup-dev ## Write both lock files anew from pyproject.toml (add UPGRADE=1 for newer versions)
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock
	$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

lint: setup-dev ## Style, types, the walls between the floors, container files, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		GS_DATA_DIR="$$folder" $(BIN)/python manage.py makemigrations --check --dry-run

fmt: setup-dev ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## Write what the documentation takes from the code: settings, thresholds, the OpenAPI document
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		GS_DATA_DIR="$$folder" DATABASE_URL=sqlite:///:memory: $(BIN)/python manage.py reference

screenshots: setup-dev ## Take the pictures of the README anew, from a demo of its own
	$(BIN)/python -m tests.docs.screenshots

test: lint test-sqlite test-postgres ## Everything CI asks for, on both databases

test-sqlite: setup-dev ## The suite on SQLite
	$(BIN)/python -m pytest --db=sqlite -n 2 $(PYTEST)

test-postgres: setup-dev ## The suite on a real PostgreSQL
	$(BIN)/python -m pytest --db=postgres -n 2 -m "not one_database" $(PYTEST)

bench: setup-dev ## Speed on both databases, beside raw limits in the same run (BENCH="--quick ingest" for less)
	$(BIN)/python -m bench $(BENCH)

fuzz: setup-dev ## Every parser against hostile input, by coverage and by schema, two at a time (FUZZ_SECONDS=600 each)
	@for name in $$($(BIN)/python -c "from tests.fuzz.seeds import NAMES; print(*NAMES)"); do \
		for engine in atheris hypothesis; do echo "$$name --engine $$engine"; done; \
	done | GS_DATA_DIR=$$(mktemp -d) xargs -P 2 -L 1 $(BIN)/python -m tests.fuzz --seconds $${FUZZ_SECONDS:-600}

schemathesis: setup-dev ## The whole OpenAPI document played against the real server (SCHEMATHESIS_SECONDS=600, DB=postgres)
	$(BIN)/python -m tests.contract --seconds $${SCHEMATHESIS_SECONDS:-600} --db $${DB:-sqlite} $(SCHEMATHESIS)

torture: setup-dev ## Kill, stop and starve every part under load, on both databases (TORTURE="--quick" for less)
	$(BIN)/python -m tests.torture $(TORTURE)

# Asks the advisory databases, so it needs the network and is no part of `make test`.
audit: setup-dev ## Look the locked packages up among those with known holes (needs the network)
	$(BIN)/uvx pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	$(BIN)/uvx pip-audit --strict --require-hashes --disable-pip -r requirements-dev.lock

clean: ## Remove the environment and the caches; data folders stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
