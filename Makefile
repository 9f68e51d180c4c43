# Everything a reader types. 'make' alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test torture reproduce book bench lint lock clean clean-all

PYTHON ?= python3.11
PROFILE ?= quick
# Taken as it was written: neither make nor a shell looks for commands in it.
override PROFILE := $(value PROFILE)
export PROFILE
# How many processes the tests run in: a number, or one per core. Each takes a gigabyte of memory.
WORKERS ?= auto
# What 'make torture' draws its kills and damages from.
SEED ?= 0
# 'make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu' takes the CPU-only build of torch, which
# saves gigabytes on a machine without an NVIDIA GPU. To change it later: 'make clean-all' first.
TORCH_INDEX ?=

VENV := .venv
PY := $(VENV)/bin/python
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
ENVS := benchmarks/envs
PEERS := sae-lens eai-sparsify dictionary-learning
UV_VERSION := 0.13.8
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.lock)
CPU_INDEX := https://download.pytorch.org/whl/cpu

export UV_HTTP_TIMEOUT ?= 300
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:  ## say what there is
	@echo "make setup       create .venv, install the locked packages, fetch and check the assets"
	@echo "make test        set up what is missing and run the tests    WORKERS=a number of processes (now: $(WORKERS))"
	@echo "make torture     kill, damage and misuse everything, from a seed    SEED=a number (now: $(SEED))"
	@echo "make reproduce   run every chapter and build the book    PROFILE=smoke|quick|gpu|paper (now: $$PROFILE)"
	@echo "make book        build the book again from the chapters that ran    PROFILE=..."
	@echo "make bench       measure training against other libraries on this machine"
	@echo "make lint        ruff, mypy, the order of the rooms"
	@echo "make lock        resolve requirements.lock anew from pyproject.toml"
	@echo "make clean       remove the built pages; results and .venv stay"
	@echo "make clean-all   remove .venv and _build, results included"
	@echo
	@echo "Without an NVIDIA GPU: make setup TORCH_INDEX=$(CPU_INDEX)"

setup: $(STAMPS)/package  ## the environment and the assets
	@$(BIN)/sanity fetch

# Each step leaves a stamp, so a second set-up is quick, an interrupted one goes on where it stopped,
# and an edited requirements.lock or pyproject.toml is installed again.
$(STAMPS)/venv:
	@command -v "$(PYTHON)" >/dev/null && "$(PYTHON)" -c '' 2>/dev/null || { \
	  echo "make setup: $(PYTHON) was not found. Install Python 3.11 (Debian, Ubuntu: apt install python3.11 python3.11-venv)," >&2; \
	  echo "  or name another with: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "make setup: $(PYTHON) is not Python 3.11, for which requirements.lock was resolved" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make setup: $(PYTHON) has no venv module (Debian, Ubuntu: apt install python3.11-venv)" >&2; exit 1; }
	@command -v git >/dev/null || { \
	  echo "make setup: git was not found (Debian, Ubuntu: apt install git)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# torch comes by pip and first: pip's own configuration may name a CPU build, which uv would not see.
$(STAMPS)/torch-$(TORCH_VERSION): $(STAMPS)/venv
	$(PY) -m pip install --quiet "uv==$(UV_VERSION)"
	$(PY) -m pip install --progress-bar off $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch==$(TORCH_VERSION)"
	@touch $@

$(STAMPS)/lock: requirements.lock $(STAMPS)/torch-$(TORCH_VERSION)
	$(BIN)/uv pip install --compile-bytecode --python $(PY) --no-deps -r requirements.lock
	@touch $@

$(STAMPS)/package: pyproject.toml $(STAMPS)/lock
	$(BIN)/uv pip install --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

# Each process has one thread, and whole test files, so that what a file sets up is made once. Python's cache
# of compiled files is on even where the user has it off: the tests start many interpreters.
test: export PYTHONDONTWRITEBYTECODE =
test: setup  ## every test
	$(PY) -m pytest --numprocesses "$(WORKERS)" --maxprocesses 8 --dist loadfile

torture: setup  ## kills, damages and bad calls, counted: about ten minutes
	PYTHONPATH=tests:tests/subject $(PY) -m torture.campaign --seed "$(SEED)"

reproduce: setup  ## from cells to pages
	$(BIN)/sanity reproduce --profile "$$PROFILE"

book: $(STAMPS)/package
	$(BIN)/sanity book --profile "$$PROFILE"

# Every library that training is measured against has an environment of its own, with the same torch.
$(ENVS)/%/stamp: benchmarks/peers/%.txt $(STAMPS)/torch-$(TORCH_VERSION)
	rm -rf "$(@D)"
	"$(PYTHON)" -m venv "$(@D)"
	"$(@D)/bin/python" -m pip install --progress-bar off $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch==$(TORCH_VERSION)"
	$(BIN)/uv pip install --python "$(@D)/bin/python" --no-deps -r $<
	@touch $@

bench: setup $(PEERS:%=$(ENVS)/%/stamp)  ## side by side with other libraries
	$(PY) -m benchmarks.training
	$(PY) -m benchmarks.scaling

lint: $(STAMPS)/package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch is left out of the resolution (uv would bring the CUDA packages into the lock) and put back by
# name; what torch itself needs on any platform is resolved with the rest.
lock: $(STAMPS)/package
	@$(PY) -c 'from importlib.metadata import requires; print("\n".join(r for r in requires("torch") if "extra ==" not in r and not r.startswith(("nvidia", "cuda", "triton"))))' > $(STAMPS)/torch-needs.in
	@echo torch > $(STAMPS)/excluded.in
	$(BIN)/uv pip compile --quiet --python-version 3.11 --upgrade --extra book --extra dev --no-header --no-annotate \
	  --excludes $(STAMPS)/excluded.in pyproject.toml $(STAMPS)/torch-needs.in -o $(STAMPS)/resolved.txt
	@{ sed -n '/^#/p' requirements.lock; { cat $(STAMPS)/resolved.txt; echo "torch==$(TORCH_VERSION)"; } | LC_ALL=C sort -t= -k1,1; } > $(STAMPS)/new.lock
	@mv $(STAMPS)/new.lock requirements.lock

clean:
	rm -rf _build/site _build/html _build/executed _build/.doctrees .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

clean-all:
	rm -rf $(VENV) _build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
