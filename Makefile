# The front door. `make demo` and `make test` install what is missing, then do their work.
.DEFAULT_GOAL := help
SHELL := /bin/bash
XDC := .venv/bin/xdc-testbed

.PHONY: help setup setup-dev demo test test-long check unit bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install Debian packages and the virtual environment
	@scripts/setup all

setup-dev:
	@scripts/setup dev

demo: setup ## Everything once: up, demo, interoperability suite, report, down, proof
	@$(XDC) demo --whole

test: setup-dev ## Every check and test that CI runs
	@scripts/test

test-long: setup-dev ## Tests that take too long for every change: all on a cloud of our own, and other Terraforms
	@scripts/test cloud contract/terraform

check: setup-dev ## Linters and type checks only
	@scripts/check

unit: setup-dev ## Unit tests only, in seconds
	@.venv/bin/python -m pytest -q tests/unit

bench: setup-dev ## Benchmarks: make bench NAME=demo, or all
	@scripts/bench $(NAME)

clean: ## Remove build products and the virtual environment of this checkout
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache
