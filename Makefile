# Bare `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP_FLAGS := --disable-pip-version-check --quiet --quiet --require-hashes
ROOMS := protos protocol clients endpoints model_server rest_gateway stack comparison

.DEFAULT_GOAL := help
.PHONY: help run test test-all check fmt proto proto-check models compare native lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing; on Debian and Ubuntu it is the package python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/.%: requirements/%.txt | .venv/bin/python
	@echo "installing requirements/$*.txt into .venv (once)"
	@$(BIN)/pip install $(PIP_FLAGS) -r $<
	@touch $@

.venv-clients/.clients: requirements/clients.txt
	@echo "installing requirements/clients.txt into .venv-clients (once)"
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/pip install $(PIP_FLAGS) -r $<
	@touch $@

native: | .venv/bin/python  ## build the native parts; without a compiler or headers Python is used instead
	@$(BIN)/python protocol/native/build.py

# An environment variable given to `make run` wins: `:-` gives a value only where there is none.
run: .venv/.serve native  ## start the model server and the gateway; Ctrl-C stops both
	@GATEWAY_REPOSITORY_CONTROL=$${GATEWAY_REPOSITORY_CONTROL:-1} GATEWAY_UPSTREAM_HEADER=$${GATEWAY_UPSTREAM_HEADER:-1} \
	 GATEWAY_TIMING=$${GATEWAY_TIMING:-1} exec $(BIN)/python -m stack

compare: .venv/.lab native  ## measure gRPC against REST (about five minutes); ARGS=... are passed on
	@exec $(BIN)/python -m comparison run $(ARGS)

check: .venv/.dev native  ## lint, types, layers, generated code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(wildcard $(ROOMS))
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python protos/generate.py --check

test: check .venv-clients/.clients  ## check, then every test but the slow ones (under 8 minutes)
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: check .venv-clients/.clients  ## check, then every test
	@$(BIN)/python -m pytest $(ARGS)

fmt: .venv/.dev  ## format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

proto: .venv/.dev  ## generate protos/ from the .proto files
	@$(BIN)/python protos/generate.py

proto-check: .venv/.dev  ## is what is committed what the .proto files say?
	@$(BIN)/python protos/generate.py --check

models: requirements/models.txt | .venv/bin/python  ## train and build the committed models again
	@test -x .venv-models/bin/python || $(PYTHON) -m venv .venv-models
	@.venv-models/bin/pip install $(PIP_FLAGS) -r requirements/models.txt
	@.venv-models/bin/python models/make.py

lock:  ## pin requirements/*.in again (needs uv)
	@for name in serve lab dev clients models postgres; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-header requirements/$$name.in -o requirements/$$name.txt || exit 1; done

clean:  ## remove environments, caches and built parts
	@rm -rf .venv .venv-clients .venv-models .*_cache .hypothesis protocol/native/*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
