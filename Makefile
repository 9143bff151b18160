# Two commands on a fresh machine: `make demo` and `make test`. Both make their own environment first.
# Needs Python 3.11, 3.12 or 3.13 (PYTHON=… to choose one), git, and nothing else.

BIN := .venv/bin
SETUP_DONE := .venv/.complete
ARGS ?=

# Compiled modules are kept whatever the caller's shell says: the demo starts many short processes.
unexport PYTHONDONTWRITEBYTECODE

# An environment made for another folder (a moved or copied clone), or not finished, is made again.
ifneq ($(shell cat $(SETUP_DONE) 2>/dev/null),$(CURDIR))
.PHONY: $(SETUP_DONE)
endif
ifneq ($(PYTHON),)
.PHONY: $(SETUP_DONE)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage check format docs serve lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(SETUP_DONE) ## make .venv from the lock; nothing to do when lock and pyproject.toml have not changed

$(SETUP_DONE): requirements.lock requirements-bootstrap.lock requirements-build.lock pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh

demo: setup ## pictures, dataset, view, training, look-ups, verified reproduction: the whole path on 2 cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh $(ARGS)

test: setup ## all tests; ARGS='-k digest' for some
	@sh scripts/test.sh $(ARGS)

coverage: setup ## all tests, with a table of the lines and branches they do not reach
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: setup ## style, types, import rules, generated docs, nothing of one machine in the files, container files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/generate_cli.py --check
	$(BIN)/python scripts/check_committed.py
	$(BIN)/python scripts/check_compose.py

format: setup ## put the code into the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup ## write docs/cli.md from the commands' own help
	$(BIN)/python docs/generate_cli.py

serve: setup ## the service on 127.0.0.1; ARGS='--port 9000' for another port
	@$(BIN)/lineage serve $(ARGS)

# Settings of this machine (other indexes, local wheels) must not leak into the lock.
COMPILE := env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS -u UV_CONSTRAINT -u UV_OVERRIDE \
	$(BIN)/uv --no-config pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command 'make lock'

lock: setup ## pin the newest allowed versions again; ARGS='--upgrade-package torch' for one, ARGS=--upgrade for all
	$(COMPILE) --all-extras $(ARGS) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra otel --extra postgres --extra service --extra sweeps --constraints requirements.lock --output-file requirements-service.lock pyproject.toml
	$(COMPILE) --extra dvc --extra pipelines --extra postgres --extra signing --constraints requirements.lock \
		--output-file requirements-worker.lock pyproject.toml
	echo setuptools | $(COMPILE) --no-annotate --output-file requirements-build.lock -
	@{ echo '# Made by: make lock. The installer alone, as pinned in requirements.lock.'; \
	   awk '/^[^ #]/ {mine = /^uv==/} mine && !/^ *#/' requirements.lock; } > requirements-bootstrap.lock

clean: ## remove what the targets made (.venv, .demo, caches); never .lineage, which holds your records
	rm -rf .venv .demo build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find lineage service pipelines tests docs scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
