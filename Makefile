# One verb each; CI calls only these. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help install run test lint types openapi compat fuzz bench chaos soak audit lock format clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PORT ?= 8000
BIN := .venv/bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

install: ## the virtual environment with the locked packages
	@$(PYTHON) .ci/install.py

run: install ## demo data and the service on 127.0.0.1:8000 (PORT=… for another)
	@export TUTTI_PUBLIC_URL=$${TUTTI_PUBLIC_URL:-http://127.0.0.1:$(PORT)}; \
	export TUTTI_EGRESS_ALLOW=$${TUTTI_EGRESS_ALLOW-127.0.0.0/8,::1/128}; \
	$(BIN)/tutti demo && exec $(BIN)/tutti serve --port $(PORT)

test: install ## every test but the vendor's SDK's, on a PostgreSQL of their own (ARGS='-k name' narrows them)
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install ## ruff: style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install ## let ruff mend what it can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

types: install ## mypy, strict
	@$(BIN)/mypy .

openapi: install ## openapi/*.json is what the code says, and valid
	@$(BIN)/tutti openapi --check

compat: install ## vendors' SDKs and OpenID clients against a live server (needs Node.js 20 or newer)
	@$(BIN)/pytest -n 2 --dist loadfile -m compat tests/compat $(ARGS)

bench: install ## requests and instances per second, latencies, fairness, memory, as ratios (ARGS="--only engine")
	@$(BIN)/python -m tests.benchmarks $(ARGS)

chaos: install ## processes, database and callees fail under load; then everything is checked (ARGS="--minutes 3 --seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: install ## requests made up from the OpenAPI documents, and garbage, for 5 minutes (ARGS="--minutes 30 --seed 7 --dialect maestro")
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: install ## half of the sustainable load for 30 minutes: memory, tables, files, tasks stay as they are (ARGS="--minutes 5")
	@$(BIN)/python -m tests.soak $(ARGS)

audit: install ## known vulnerabilities of the locked packages (needs the network; fails where it knows nothing of one)
	@$(BIN)/pip install --quiet uv && $(BIN)/uv tool run --quiet pip-audit --strict --require-hashes --disable-pip \
	  --requirement requirements.lock $(ARGS)

lock: install ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/pip install --quiet uv && $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --extra development --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command "make lock" --upgrade pyproject.toml --output-file requirements.lock

clean: ## remove the virtual environment, the embedded database and caches (root's data stays in /var/lib/tutti)
	@rm -rf .venv .venv.lock .tutti tests/compat/node_modules tests/compat/lint/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
