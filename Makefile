# Everything a reader types. 'make' alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup triton test test-newest test-cluster torture reproduce book measure serve address bench bench-gpu lint lock clean clean-all

# Empty: the first Python of 3.11 to 3.13 that is found, or one that uv brings.
PYTHON ?=
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
# Every step that installs takes packages from where pip is configured to, and puts them where it is told.
INSTALL := $(PY) sanity/assets/indexes.py
NEWEST := .venv-newest
# 'make test-newest WITH=torch==2.13.0' holds a package back, such as one whose newest build is too large.
WITH ?=
PORT ?= 8000
STAMPS := $(VENV)/stamps
ENVS := benchmarks/envs
PEERS := sae-lens eai-sparsify dictionary-learning
UV_VERSION := 0.13.8
# Triton, in whose interpreter the tests run the card's kernels: 0.7 GB that nothing else needs, and so apart.
TRITON := $(VENV)/triton
TRITON_VERSION := 3.7.0
# What object stores are tested with, and apart: it wants other versions of packages that are in the lock.
S3 := $(VENV)/s3
MOTO_VERSION := 5.2.5
FSSPEC_VERSION := $(shell sed -n 's/^fsspec==//p' requirements.lock)
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.lock)
CPU_INDEX := https://download.pytorch.org/whl/cpu

export UV_HTTP_TIMEOUT ?= 300
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:  ## say what there is
	@echo "make setup       create .venv, install the locked packages, fetch and check the assets"
	@echo "make test        set up what is missing and run the tests    WORKERS=a number of processes (now: $(WORKERS))"
	@echo "make test-newest run the tests with the newest packages that pyproject.toml allows"
	@echo "make torture     kill, damage and misuse everything, from a seed    SEED=a number (now: $(SEED))"
	@echo "make test-cluster  cells on a Dask cluster of this machine, and results in an S3 server's store"
	@echo "make reproduce   run every chapter and build the book    PROFILE=demo|smoke|quick|overnight|card|gpu|paper, or my.yaml (now: $$PROFILE)"
	@echo "make book        build the book again from the chapters that ran    PROFILE=..."
	@echo "make measure     look at the built book in Chromium: faults, sizes, weights, what can be moved"
	@echo "make serve       show the built book on 127.0.0.1    PORT=... (now: $(PORT))"
	@echo "make address     write this checkout's remote into the chapters, for Colab"
	@echo "make bench       measure training against other libraries on this machine"
	@echo "make bench-gpu   measure training steps on a graphics card"
	@echo "make lint        ruff, mypy, the order of the rooms"
	@echo "make lock        resolve requirements.lock again from pyproject.toml"
	@echo "make clean       remove the built pages; results and .venv stay"
	@echo "make clean-all   remove .venv and _build, results included"
	@echo
	@echo "Without an NVIDIA GPU: make setup TORCH_INDEX=$(CPU_INDEX)"

setup: $(STAMPS)/package  ## the environment and the assets
	@$(BIN)/sanity fetch

# Each step leaves a stamp, so a second set-up is quick, an interrupted one goes on where it stopped,
# and an edited requirements.lock or pyproject.toml is installed again.
$(STAMPS)/venv:
	@PYTHON="$(PYTHON)" $(SHELL) .ci/venv "$(VENV)" "$(UV_VERSION)"
	@mkdir -p $(STAMPS) && touch $@

# torch comes by pip and first: a set-up that named a CPU build of it keeps that build.
$(STAMPS)/torch-$(TORCH_VERSION): $(STAMPS)/venv
	$(INSTALL) $(PY) -m pip install --quiet "uv==$(UV_VERSION)"
	$(INSTALL) $(PY) -m pip install --progress-bar off $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch==$(TORCH_VERSION)"
	@touch $@

$(STAMPS)/lock: requirements.lock $(STAMPS)/torch-$(TORCH_VERSION)
	$(INSTALL) $(BIN)/uv pip install --compile-bytecode --python $(PY) --no-deps -r requirements.lock
	@touch $@

$(STAMPS)/package: pyproject.toml $(STAMPS)/lock
	$(INSTALL) $(BIN)/uv pip install --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

# A torch that was built for cards brings it; where there is none, those tests are skipped and say so.
triton: $(STAMPS)/package
	@test -e $(STAMPS)/triton-$(TRITON_VERSION) || $(PY) -c "import triton" 2>/dev/null || \
	  { $(INSTALL) $(PY) -m pip install --quiet --no-deps --upgrade --target "$(TRITON)" "triton==$(TRITON_VERSION)" && \
	  touch $(STAMPS)/triton-$(TRITON_VERSION); } || echo "no Triton here: the tests of the card's kernels are skipped"

# Each process has one thread, and whole test files, so that what a file sets up is made once. Python's cache
# of compiled files is on even where the user has it off: the tests start many interpreters.
test test-newest: export PYTHONDONTWRITEBYTECODE =
# An encoding that the package leaves to the locale is an error in tests, and nothing in what they start.
test test-newest: export PYTHONWARNDEFAULTENCODING = 1
test test-newest: export PYTHONWARNINGS = ignore::EncodingWarning
test: export SANITY_TEST_TRITON = $(abspath $(TRITON))
test: setup triton  ## every test
	$(PY) -m pytest --numprocesses "$(WORKERS)" --maxprocesses 8 --dist loadfile

torture: setup  ## kills, damages and bad calls, counted: about ten minutes
	PYTHONPATH=tests:tests/subject $(PY) -m torture.campaign --seed "$(SEED)"

$(STAMPS)/s3-$(FSSPEC_VERSION)-$(MOTO_VERSION): $(STAMPS)/package
	$(INSTALL) $(BIN)/uv pip install --quiet --python $(PY) --target "$(S3)" \
	  "s3fs==$(FSSPEC_VERSION)" "moto[s3]==$(MOTO_VERSION)" flask flask-cors
	@touch $@

test-cluster: setup $(STAMPS)/s3-$(FSSPEC_VERSION)-$(MOTO_VERSION)  ## Dask and an S3 server, of this machine's processes
	SANITY_TEST_CLUSTER=1 PYTHONPATH="$(abspath $(S3))" \
	  $(PY) -m pytest -n0 tests/engine/test_cluster.py tests/engine/test_remote_store.py

# An environment of its own, in which every declared range is taken to its upper end.
test-newest: setup  ## every test, with the newest packages
	$(BIN)/uv venv --seed --clear --python $(PY) $(NEWEST)
	$(INSTALL) $(BIN)/uv pip install --python $(NEWEST)/bin/python $(if $(TORCH_INDEX),--index "$(TORCH_INDEX)") --editable ".[book,dev]" $(WITH)
	$(NEWEST)/bin/python -m pytest --numprocesses "$(WORKERS)" --maxprocesses 8 --dist loadfile

reproduce: setup  ## from cells to pages
	$(BIN)/sanity reproduce --profile "$$PROFILE"

book: $(STAMPS)/package
	$(BIN)/sanity book --profile "$$PROFILE"

measure: setup  ## the built book in a browser, as a table
	PYTHONPATH=tests $(PY) -m browser.measure _build/html

serve:  ## the built book, on this machine only
	@test -f _build/html/index.html || { echo "make serve: there are no pages yet: make reproduce" >&2; exit 1; }
	@echo "The book is at http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(PY) -m http.server "$(PORT)" --bind 127.0.0.1 --directory _build/html >/dev/null

address: $(STAMPS)/package
	$(PY) -c "from sanity.publishing.remote import write_address; print(write_address())"

# Every library that training is measured against has an environment of its own, with the same torch.
$(ENVS)/%/stamp: benchmarks/peers/%.txt $(STAMPS)/torch-$(TORCH_VERSION)
	rm -rf "$(@D)"
	$(BIN)/uv venv --seed --python $(PY) "$(@D)"
	$(INSTALL) "$(@D)/bin/python" -m pip install --progress-bar off $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch==$(TORCH_VERSION)"
	$(INSTALL) $(BIN)/uv pip install --python "$(@D)/bin/python" --no-deps -r $<
	@touch $@

bench: setup $(PEERS:%=$(ENVS)/%/stamp)  ## side by side with other libraries
	$(PY) -m benchmarks.training
	$(PY) -m benchmarks.scaling

bench-gpu: triton  ## training steps on a graphics card, in under four minutes
	PYTHONPATH="$(abspath $(TRITON))" $(PY) -m benchmarks.gpu

lint: $(STAMPS)/package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch is left out of the resolution (uv would bring the CUDA packages into the lock) and put back by
# name; what torch itself needs on any platform is resolved with the rest. One lock serves Python 3.11 to 3.13.
lock: $(STAMPS)/package
	@$(PY) -c 'from importlib.metadata import requires; print("\n".join(r for r in requires("torch") if "extra ==" not in r and not r.startswith(("nvidia", "cuda", "triton"))))' > $(STAMPS)/torch-needs.in
	@echo torch > $(STAMPS)/excluded.in
	$(INSTALL) $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra book --extra dev --no-header --no-annotate \
	  --excludes $(STAMPS)/excluded.in pyproject.toml $(STAMPS)/torch-needs.in -o $(STAMPS)/resolved.txt
	@{ sed -n '/^#/p' requirements.lock; { cat $(STAMPS)/resolved.txt; echo "torch==$(TORCH_VERSION)"; } | LC_ALL=C sort -t= -k1,1; } > $(STAMPS)/new.lock
	@mv $(STAMPS)/new.lock requirements.lock

clean:
	rm -rf _build/site _build/html _build/unrun _build/executed _build/.doctrees _build/jupyter_execute .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

clean-all:
	rm -rf $(VENV) $(NEWEST) _build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
