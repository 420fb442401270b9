# Two commands do everything: `make demo` and `make test`. Nothing is installed outside .venv but by `make services`.
# the Python of the system, where it will do: boxes have it, and a Python built by hand is often a third slower
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && \
  echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)
# three workers for each processor: many tests wait for other processes for most of their time, and some have time limits
PARALLEL ?= -n $(shell expr 3 \* $(PROCESSORS))
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

.PHONY: help setup demo test compiled fast others test-fast test-random coverage check lint types prose services lock bench bench-compare bench-curves bench-parts soak chaos screenshots package sbom licences vulnerabilities fuzz clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.run ## a virtual environment with what runs

demo: setup ## two simulated plants, broker, gateways, store: watch readings travel
	@$(BIN)/lineside demo

test: $(VENV)/.dev ## install what tests need, then lint, type-check and test
	@$(MAKE) --no-print-directory --jobs=$(shell expr 1 + $(PROCESSORS)) --output-sync services compiled check
	@$(MAKE) --no-print-directory --jobs=2 fast others

compiled: $(VENV)/.dev
	@# once, and not by each worker and each process of a test: the code, and the tests as pytest changes them
	@$(BIN)/python -m compileall -q drivers gateway simulators
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --collect-only -q > /dev/null || true

# a worker for each processor: these tests hardly wait, and each worker imports and collects them all
FAST := $(BIN)/pytest -n $(PROCESSORS) --dist worksteal -m fast

# beside the others, which wait for most of their time: at a low priority, and with ports and a cache of their own
fast:
	@TEST_PORTS=9000-10000 nice $(FAST) --quiet -o cache_dir=.pytest_cache/fast > $(VENV)/fast.log 2>&1; \
	  code=$$?; cat $(VENV)/fast.log; exit $$code

others:
	$(BIN)/pytest $(PARALLEL) --dist loadfile --no-loadscope-reorder -m "not fast" --durations=25 || $(BIN)/python tools/repeat_failed.py $$?

test-fast: $(VENV)/.dev ## quick tests without processes, with few random examples, in a minute
	LINESIDE_FUZZ=20 $(FAST)

test-random: $(VENV)/.dev services ## all tests in a random order: SEED=7 repeats one
	$(BIN)/pytest $(PARALLEL) --dist worksteal --shuffle $(SEED)

coverage: $(VENV)/.dev services ## which lines the tests run, in their own process: slower than `make test`
	$(BIN)/pytest $(PARALLEL) --dist worksteal -m "not slow" --cov --cov-report=term:skip-covered

check: lint types prose ## lint, type-check, and check the prose; with --jobs=2 side by side

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

prose: $(VENV)/.dev ## check the English of documents, comments, messages and commit subjects
	$(BIN)/codespell
	$(BIN)/python tools/prose.py
	$(BIN)/python tools/prose.py --commits 2026-11-30T19:00:00Z

services: ## the real servers that tests talk to (Debian packages, and one of npm)
	@tools/install-services

# make bench ROWS="modbus-100x100 opcua-1000" RUNS=1: some rows, in a short form; RECORD=1 keeps the figures
RUNS ?= 3
SECONDS ?= 10
bench: $(VENV)/.dev ## measure the promised numbers beside other products: ROWS="..." RUNS=3 RECORD=1
	@$(BIN)/python benchmarks/bench.py $(ROWS) --runs $(RUNS) --seconds $(SECONDS) --json bench.json $(if $(RECORD),--record)

bench-compare: $(VENV)/.dev ## measure REV=<git revision> and the present tree in turn: ROWS="..." RUNS=3
	@$(BIN)/python benchmarks/compare.py $(or $(REV),$(error name a revision: REV=main)) $(ROWS) --runs $(RUNS) --seconds $(SECONDS)

bench-curves: $(VENV)/.dev ## measure processor time over the size of the plant, and draw docs/pictures/cost-curves.png
	@$(BIN)/python benchmarks/curves.py

bench-parts: $(VENV)/.dev ## measure the parts one by one: steps, commands, spool, ingest, reload, outage, OPC UA, simulated machines
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/steps.py --codecs
	$(BIN)/python benchmarks/configuration.py
	$(BIN)/python benchmarks/commands.py
	$(BIN)/python benchmarks/spool.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/query.py --days 3
	$(BIN)/python benchmarks/modbus_schedule.py
	$(BIN)/python benchmarks/modbus_recovery.py
	$(BIN)/python benchmarks/metrics.py --runs 1
	$(BIN)/python benchmarks/metrics.py --tls --runs 1
	$(BIN)/python benchmarks/reload.py
	$(BIN)/python benchmarks/backlog.py
	$(BIN)/python benchmarks/opcua_changes.py
	$(BIN)/python benchmarks/opcua_steps.py
	$(BIN)/python benchmarks/opcua_steps.py --cold
	$(BIN)/python benchmarks/opcua_subscribe.py
	$(BIN)/python benchmarks/opcua_gateway.py --nodes 2000
	$(BIN)/python benchmarks/simulated_machines.py
	$(BIN)/python benchmarks/simulated_machines.py --steps
	$(BIN)/python benchmarks/simulated_machines.py --opcua --machines 20
	$(BIN)/python benchmarks/opcua_servers.py

FOR ?= 1h
soak: $(VENV)/.dev ## run for an hour with outages, and look for growth and losses: FOR=5m is shorter
	@$(BIN)/python benchmarks/soak.py --for $(FOR)

chaos: $(VENV)/.dev services ## break everything for ten minutes, and count what was lost
	cd tests && ../$(BIN)/python -m chaos.run

screenshots: $(VENV)/.dev services ## run the demo for some minutes, and take the pictures of the page: docs/pictures/page
	$(BIN)/python tools/screenshots.py

package: $(VENV)/.dev ## build the wheel, Debian packages, the bundle for boxes without a network, and the bill of materials: dist/; SIGN_KEY=FILE signs, DATABASE=FOLDER refuses known vulnerabilities
	@$(BIN)/python tools/release$(if $(SIGN_KEY), --sign-key '$(SIGN_KEY)')$(if $(NEXT_KEY), --next-key '$(NEXT_KEY)')$(if $(DATABASE), --database '$(DATABASE)')$(if $(ACCEPT), --accept '$(ACCEPT)')$(if $(UNCHECKED), --unchecked)

sbom licences: $(VENV)/.dev ## write the bill of materials (CycloneDX) and the licences of all dependencies: dist/
	@$(BIN)/python tools/release documents

# the folder is a mirror of https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip, unpacked or not
vulnerabilities: $(VENV)/.dev ## compare what a plant installs with a mirror of the OSV database: DATABASE=FOLDER
	@$(BIN)/python tools/vulnerabilities.py --database $(or $(DATABASE),$(error name a mirror: DATABASE=FOLDER)) $(if $(ACCEPT),--accept $(ACCEPT))

FUZZ ?= 20000
fuzz: $(VENV)/.dev ## run FUZZ damaged inputs through each parser (docs/fuzzing.md)
	LINESIDE_FUZZ=$(FUZZ) $(BIN)/pytest -n $(PROCESSORS) --dist worksteal -m fuzz tests/unit

lock: $(VENV)/.dev ## pin and hash the dependencies anew
	tools/lock $(BIN)/uv

clean: ## remove the virtual environment, packages and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/peers/opcua/node_modules

# an environment whose Python is gone, or has another version since an upgrade of the system, is made again
ifneq ($(shell $(BIN)/python -c 'import pip; print("works")' 2> /dev/null),works)
.PHONY: new-environment
new-environment:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
	  if command -v $(PYTHON) > /dev/null; then found=$$($(PYTHON) --version 2>&1); else found='not there'; fi; \
	  echo "Lineside needs Python 3.11 or newer, and $(PYTHON) is $$found: name another, as in: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	  exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.run: new-environment
endif

# --no-build-isolation: the build backend is pinned and hashed like everything else
$(VENV)/.run: requirements.txt pyproject.toml
	tools/install-packages $(VENV) requirements.txt --compile
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q drivers gateway simulators  # a demo starts six processes
	@# of which some are OPC UA servers
	@$(BIN)/python -m simulators.opcua.standard_nodes
	@touch $@

# --no-compile: `make compiled` imports what tests use, a third of it
$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	tools/install-packages $(VENV) requirements-dev.txt
	@touch $@
