# `make` alone shows what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
.DEFAULT_GOAL := help

.PHONY: help run test lint bench bench-usage bench-keys bench-bodies crash fuzz reload-storm webhook-crash
.PHONY: check-browser check-deploy check-webhooks schema requirements clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/embedded.stamp ## Run everything on this machine: databases, backends, gateway (ARGS="--port 8081")
	@exec $(BIN)/gateway demo $(ARGS)

# Most tests wait for something now and then: half as many processes again as there are cores keep those busy.
AT_ONCE := $(shell echo $$((($$(nproc 2>/dev/null || echo 2) * 3 + 1) / 2)))

# Tests start many processes: each is a third cheaper when it finds its modules compiled.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/dev.stamp ## Run all tests (ARGS="tests/unit -k bucket")
	@$(BIN)/pytest -q -n $(AT_ONCE) $(ARGS)

lint: $(VENV)/dev.stamp ## Check format, lint, types and the layers
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell gateway tests config deploy *.md
	@$(BIN)/vulture gateway --min-confidence 80 --ignore-names traceback,ctx

bench: $(VENV)/embedded.stamp ## Measure the gateway beside the bare upstream and a bare pass-through
	@$(BIN)/python -m tests.bench $(ARGS)

bench-usage: $(VENV)/embedded.stamp ## Measure usage events, from the journal to statistics of 10 million (ARGS="--part sink")
	@$(BIN)/python -m tests.bench.usage $(ARGS)

bench-bodies: $(VENV)/embedded.stamp ## Measure 2 GiB up and down beside a bare pass-through (ARGS="--mebibytes 256")
	@$(BIN)/python -m tests.bench.bodies $(ARGS)

crash: $(VENV)/dev.stamp ## Kill everything 50 times under load, and count (ARGS="--times 5 --seed 1 --outage-s 600")
	@$(BIN)/pytest -q -s tests/faults/test_crashes.py tests/faults/test_outage.py $(or $(ARGS),--times 50 --outage-s 60)

fuzz: $(VENV)/dev.stamp ## Try the gateway with a million hostile requests (ARGS="--cases 100000")
	@$(BIN)/pytest -q -n auto tests/hazards/test_fuzz.py $(or $(ARGS),--cases 1000000)

reload-storm: $(VENV)/dev.stamp ## Reload 100 times and replace the workers 20 times under load, and count (ARGS="--reloads 9")
	@$(BIN)/pytest -q -s tests/faults/test_reload_storm.py $(or $(ARGS),--reloads 100 --restarts 20)

webhook-crash: $(VENV)/dev.stamp ## Kill the gateway while it delivers a thousand webhooks, and count (ARGS="--events 100")
	@$(BIN)/pytest -q -s tests/faults/test_webhooks.py $(or $(ARGS),--events 1000)

bench-keys: $(VENV)/embedded.stamp ## Measure keys by the million, and how soon a change is in force (ARGS="--keys 100000")
	@$(BIN)/python -m tests.bench.keys $(ARGS)

check-browser: $(VENV)/dev.stamp ## Use the gateway from a page in Chromium (needs chromium: apt install chromium)
	@$(BIN)/pytest -q tests/browser/check_fetch.py $(ARGS)

check-webhooks: $(VENV)/dev.stamp ## Verify deliveries of webhooks with svix (needs Node.js and npm)
	@$(BIN)/pytest -q tests/receivers/check_svix.py $(ARGS)

check-deploy: $(VENV)/dev.stamp ## Validate everything in deploy/ without a container engine
	@$(BIN)/python -m deploy.check

schema: $(VENV)/dev.stamp ## Write config/gateway.schema.json again
	@$(BIN)/python -m gateway.settings.jsonschema

requirements: ## Pin the dependencies again (needs uv)
	uv pip compile -q --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	uv pip compile -q --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --extra embedded --group build pyproject.toml -o requirements-embedded.txt
	uv pip compile -q --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --extra embedded --extra grpc --group build --group dev pyproject.toml -o requirements-dev.txt

clean: ## Forget the demo's state and everything that was built
	@if [ -L .gateway/postgres ]; then rm -rf "$$(readlink .gateway/postgres)"; fi
	@rm -rf .gateway $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(PYTHON) is missing or older than 3.11: install Python 3.11 or later, or say PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/embedded.stamp: requirements-embedded.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the gateway and its embedded parts (once, about half a minute)"
	@$(BIN)/pip install $$(test -t 2 || echo -q) --disable-pip-version-check --require-hashes -r requirements-embedded.txt
	@$(BIN)/pip install $$(test -t 2 || echo -q) --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/embedded.stamp
	@echo "installing the tools for development (once, about half a minute)"
	@$(BIN)/pip install $$(test -t 2 || echo -q) --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
