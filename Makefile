# The verbs of this repository; `make` alone lists them.

VENV ?= .venv
BIN := $(VENV)/bin
RECORDINGS ?=
PYTEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python here that is new enough; `make PYTHON=/path/to/python demo` takes another.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$candidate" && break; done)

TYPED := app agents dsp schemas migrations tests $(wildcard benchmarks examples)
YAML := docker-compose.yml .pre-commit-config.yaml .yamllint.yml deploy dsp/chains
DOCKERFILES := Dockerfile deploy/minio/Dockerfile

# One resolution for every platform and Python that is supported; files that name no index.
LOCK = build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-header \
	--no-annotate $(UPGRADE) pyproject.toml requirements/build.in

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint lint-style lint-types lint-imports lint-containers format bench bench-smoke lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.dev ## make the development environment in .venv

demo: $(VENV)/.embedded ## clean the six examples, or RECORDINGS=folder, on a stack that needs nothing else
	@$(BIN)/clearcall demo $(if $(RECORDINGS),--recordings "$(RECORDINGS)")

test: $(VENV)/.dev ## run every test that this machine can run; PYTEST_ARGS are passed on
	$(BIN)/pytest $(PYTEST_ARGS)

lint: lint-style lint-types lint-imports lint-containers ## style, types, import rules, container files

lint-style: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: $(VENV)/.dev
	$(BIN)/mypy $(TYPED)

lint-imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

lint-containers: $(VENV)/.dev
	$(BIN)/yamllint --strict $(YAML)
	$(BIN)/hadolint $(DOCKERFILES)
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: $(VENV)/.dev ## put every file into the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure the pipeline; the figures belong in benchmarks/README.md
	$(BIN)/python -m benchmarks.pipeline

bench-smoke: $(VENV)/.dev ## the same in a minute, to see that it still runs
	$(BIN)/python -m benchmarks.pipeline --smoke

lock: build/lock/bin/uv ## write requirements/ anew from pyproject.toml; UPGRADE=--upgrade takes newer versions
	$(LOCK) --output-file requirements/runtime.txt
	$(LOCK) --extra embedded --output-file requirements/embedded.txt
	$(LOCK) --extra embedded --extra dev --output-file requirements/dev.txt

clean: ## remove the environment, what the tools keep, and the demo's data
	rm -rf $(VENV) build .clearcall *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# -- The environment: exact versions, checked by hash. The demo needs less than development does, and gets less.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Clearcall needs Python 3.11 or newer with the venv module: install it," \
		"or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.embedded: requirements/embedded.txt pyproject.toml | $(BIN)/python
	@test -f $(VENV)/.dev || echo "Making the environment in $(VENV): about a minute the first time."
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/embedded.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.embedded
	@test -f $@ || echo "Adding the development tools to $(VENV)."
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

build/lock/bin/uv: requirements/lock.txt
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --require-hashes --requirement $<
	@touch $@
