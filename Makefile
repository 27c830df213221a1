# Every command that a contributor needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-newest lint format reference lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.runtime ## Build a sample app, serve it, send it a photo (ONCE=1: end by itself)
	@$(BIN)/python scripts/demo.py $(if $(ONCE),--once)

test: $(VENV)/.dev ## Lint, type-check and test, as CI does
	@scripts/run-tests.sh

test-full: $(VENV)/.dev ## The same, with the long tests
	@scripts/run-tests.sh --full

test-newest: ## Test with the newest packages that pyproject.toml allows (TESTS=tests/graph: only these)
	@scripts/install.sh newest
	@scripts/run-tests.sh --newest $(TESTS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format .

reference: $(VENV)/.dev ## Write the pages of docs/ that follow from the code
	$(BIN)/python scripts/write_reference.py

lock: $(VENV)/.dev ## Resolve the dependencies again and write requirements/
	$(BIN)/python scripts/lock_requirements.py

clean: ## Remove everything that these commands made
	rm -rf $(VENV) $(VENV)-newest demo .mypy_cache .pytest_cache .ruff_cache dist

# A virtual environment with exactly the locked versions, checked by hash.
$(VENV)/.runtime: requirements/runtime.txt pyproject.toml
	@scripts/install.sh runtime

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@scripts/install.sh dev
