# The verbs of this repository; `make` alone lists them.

VENV ?= .venv
BIN := $(VENV)/bin
RECORDINGS ?=
SCORER ?=
DATA ?=
PYTEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python here that is new enough; `make PYTHON=/path/to/python demo` takes another.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$candidate" && break; done)

TYPED := app agents dsp schemas migrations tests build_backend.py setup.py $(wildcard benchmarks examples)
KERNELS := setup.py build_backend.py $(wildcard dsp/native/*.c dsp/native/*.h)
YAML := docker-compose.yml .pre-commit-config.yaml .yamllint.yml deploy dsp/chains
DOCKERFILES := Dockerfile deploy/minio/Dockerfile

# One resolution for every platform and Python that is supported; files that name no index.
COMPILE = build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate $(UPGRADE)
LOCK = $(COMPILE) pyproject.toml requirements/build.in

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint lint-style lint-types lint-imports lint-containers format bench bench-engine bench-smoke score \
	pictures lock clean

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

bench-engine: $(VENV)/.dev ## measure the engine beside its peers: half an hour, 8 GB on disk
	$(BIN)/python -m benchmarks.engine

bench-smoke: $(VENV)/.dev ## both in a minute or two, to see that they still run
	$(BIN)/python -m benchmarks.pipeline --smoke
	$(BIN)/python -m benchmarks.engine --smoke

# SCORER: command of a scorer that builds calls from recordings (`build DATA FOLDER`) and scores cleaned ones (`score
# FOLDER CLEANED`); it has an environment of its own. DATA: its speech and noise.
score: $(VENV)/.dev ## score both renditions of the default chain: SCORER='python score.py' DATA=folder
	@test -n "$(SCORER)" -a -n "$(DATA)" || { echo "Say which scorer, and where its speech and noise are:" \
		"make score SCORER='python /path/to/score.py' DATA=/path/to/data" >&2; exit 1; }
	$(SCORER) build "$(DATA)" build/score
	@rm -rf build/score/listen build/score/asr
	$(BIN)/clearcall clean build/score/in --out build/score/listen --rendition listen
	$(BIN)/clearcall clean build/score/in --out build/score/asr --rendition asr
	$(SCORER) score build/score build/score/listen --json build/score/listen.json
	$(SCORER) score build/score build/score/asr --json build/score/asr.json

pictures: $(VENV)/.dev ## draw docs/pictures/ again
	$(BIN)/python examples/make_pictures.py

lock: build/lock/bin/uv ## write requirements/ anew from pyproject.toml; UPGRADE=--upgrade takes newer versions
	$(LOCK) --output-file requirements/runtime.txt
	$(LOCK) --extra embedded --output-file requirements/embedded.txt
	$(LOCK) --extra embedded --extra dev --output-file requirements/dev.txt
	$(COMPILE) requirements/compiler.in --output-file requirements/compiler.txt

clean: ## remove the environment, what the tools keep, and the demo's data
	rm -rf $(VENV) build dsp/native/*.so .clearcall *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# -- The environment: exact versions, checked by hash. The demo needs less than development does, and gets less.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Clearcall needs Python 3.11 or newer with the venv module: install it," \
		"or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.packages: requirements/embedded.txt | $(BIN)/python
	@test -f $@ || echo "Making the environment in $(VENV): about a minute the first time."
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/embedded.txt
	@touch $@

# Clearcall itself: its files stay where they are; what is built is the kernels.
$(VENV)/.embedded: pyproject.toml $(KERNELS) $(VENV)/.packages
	@$(WITH_COMPILER) $(BIN)/python -m build_backend >/dev/null 2>&1 || $(MAKE) --no-print-directory build/compiler
	$(WITH_COMPILER) $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tools: requirements/dev.txt $(VENV)/.packages
	@test -f $@ || echo "Adding the development tools to $(VENV)."
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.embedded $(VENV)/.tools
	@touch $@

# Only where the kernels are built, and only where the machine has no C compiler that works.
WITH_COMPILER := PYTHONPATH="$(CURDIR)/build/compiler"
build/compiler: requirements/compiler.txt
	@echo "There is no C compiler here: taking one as a Python package, about 100 MB, into $@."
	@rm -rf $@
	$(BIN)/pip install --quiet --require-hashes --target $@ --requirement $<
	@touch $@

build/lock/bin/uv: requirements/lock.txt
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --require-hashes --requirement $<
	@touch $@
