# Two commands do everything: `make demo` and `make test`. Nothing is installed outside .venv but by `make services`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# two workers for each processor: most tests wait for other processes for more than half of their time
PARALLEL ?= -n $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN)) --dist worksteal
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

.PHONY: help setup demo test test-fast test-random coverage check prose services lock bench chaos clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.run ## a virtual environment with what runs

demo: setup ## two simulated plants, broker, gateways, store: watch readings travel
	@$(BIN)/lineside demo

test: $(VENV)/.dev services ## install what tests need, then lint, type-check and test
	$(MAKE) --no-print-directory check
	@# compiled once, and not by each worker
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --collect-only -q > /dev/null || true
	$(BIN)/pytest $(PARALLEL) --durations=25

test-fast: $(VENV)/.dev ## the tests that start no process, in less than a minute
	$(BIN)/pytest -n $(shell getconf _NPROCESSORS_ONLN) --dist worksteal -m fast tests/unit

test-random: $(VENV)/.dev services ## all tests in a random order: SEED=7 repeats one
	$(BIN)/pytest $(PARALLEL) --shuffle $(SEED)

coverage: $(VENV)/.dev services ## which lines the tests run, in their own process: slower than `make test`
	$(BIN)/pytest $(PARALLEL) -m "not slow" --cov --cov-report=term:skip-covered

check: $(VENV)/.dev ## lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory prose

prose: $(VENV)/.dev ## check the English of documents, comments, messages and commit subjects
	$(BIN)/codespell
	$(BIN)/python tools/prose.py
	$(BIN)/python tools/prose.py --commits 2026-11-30T19:00:00Z

services: ## the real servers that tests talk to (Debian packages, and one of npm)
	@tools/install-services

bench: $(VENV)/.dev ## measure the numbers in docs/numbers.md
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/steps.py --codecs
	$(BIN)/python benchmarks/configuration.py
	$(BIN)/python benchmarks/spool.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/modbus_100x100.py
	$(BIN)/python benchmarks/modbus_flat_out.py
	$(BIN)/python benchmarks/modbus_schedule.py
	$(BIN)/python benchmarks/modbus_recovery.py
	$(BIN)/python benchmarks/reload.py
	$(BIN)/python benchmarks/backlog.py
	$(BIN)/python benchmarks/opcua_changes.py
	$(BIN)/python benchmarks/opcua_subscribe.py
	$(BIN)/python benchmarks/opcua_gateway.py --nodes 2000
	$(BIN)/python benchmarks/simulated_machines.py
	$(BIN)/python benchmarks/simulated_machines.py --steps
	$(BIN)/python benchmarks/simulated_machines.py --opcua --machines 20
	$(BIN)/python benchmarks/opcua_servers.py

chaos: $(VENV)/.dev services ## break everything for ten minutes, and count what was lost
	cd tests && ../$(BIN)/python -m chaos.run

lock: ## pin and hash the dependencies anew
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	tools/lock $(VENV)/lock/bin/uv

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/peers/opcua/node_modules

# --no-build-isolation: the build backend is pinned and hashed like everything else
$(VENV)/.run: requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q drivers gateway simulators  # a demo starts six processes
	@# of which some are OPC UA servers
	@$(BIN)/python -m simulators.opcua.standard_nodes
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@
