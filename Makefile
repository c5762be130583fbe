# One set of commands for people and CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Which torch `make install-train` takes: "index" is the package index's own, "cpu" the small build for Linux.
TORCH ?= index
TORCH_PINS := constraints/torch$(if $(filter cpu,$(TORCH)),-cpu).txt

.PHONY: help install install-train demo up test check lint types imports format bench constraints clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(VENV)/.installed  ## set up .venv from the pinned, hashed constraints

# The stamp holds the inputs' newest state: a changed pin or entry point reinstalls, nothing else does.
$(VENV)/.installed: constraints.txt pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Losscast needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) from the package index, once: about 1 GB on disk, a minute or more without a word."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e client
	@touch $@

install-train: install  ## add torch, for `losscast train-pfn` alone; TORCH=cpu for the small build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r constraints/train.txt -r $(TORCH_PINS)

demo: install  ## set up, start everything and replay real runs; open the printed address
	$(BIN)/losscast demo

up: install  ## set up and start the service with its own Postgres
	$(BIN)/losscast up

# By file, so that what a file's tests share is made once; each process has a Postgres of its own.
test: install check  ## set up, then every check and test, one process of tests a core
	$(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

check: install lint types imports  ## ruff, mypy --strict, import-linter

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	PYTHONPATH=.:client $(BIN)/lint-imports

format: install  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## benchmarks/: tables of speed and memory beside a peer
	$(BIN)/python -m benchmarks

constraints:  ## pin every dependency again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --extra embedded --extra dev --no-emit-index-url \
		--no-header --no-annotate --quiet pyproject.toml -o constraints.txt

clean:  ## remove .venv and caches; data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
