# `make demo` and `make test` are all a newcomer needs; each makes the environment first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Bytecode is kept, whatever the environment says: from it a command starts in half of the time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo tour test coverage lint test-slow test-export test-arm64 bench bench-photos real-network gpu-study results docs dist clean

help:  ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## Make .venv and install the project with its development tools

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## The main job: from digits to a gated INT8 model, with a report
	$(BIN)/compress run digits

tour: $(STAMP)  ## A search of 12 trials on digits, its front, and the one to ship with its report
	$(BIN)/compress search digits-search
	$(BIN)/compress search runs/digits-search --pick "size<=0.5MB"
	$(BIN)/compress report "$$(sed -n 's/^ *"folder": "\(.*\)",$$/\1/p' runs/digits-search/picks.json | tail -1)"

# A process a core, each with one thread: more would wait for each other.
test: lint  ## Style, types, walls and tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --dist=worksteal

coverage: $(STAMP)  ## The same tests, and which lines and branches they reach
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --dist=worksteal --cov --cov-report=term

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-slow: $(STAMP)  ## The proofs that take minutes
	$(BIN)/pytest -m slow

test-export: $(STAMP)  ## Eight networks × two formats × FP32 and INT8, and the table of them
	$(BIN)/pytest -m matrix tests/export/test_matrix.py

test-arm64: demo  ## The demo's student on emulated Raspberry Pis (needs qemu-user-static)
	$(BIN)/pytest -m arm64 tests/deploy_targets/emulation

bench: demo  ## Speed of training, commands and INT8 as ratios (about 7 minutes after the demo)
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/command_times.py runs/digits
	$(BIN)/python benchmarks/int8_speed.py

bench-photos: $(STAMP)  ## Loading the photos in PHOTOS=FOLDER, beside torchvision's way (minutes)
	$(BIN)/python benchmarks/photo_loading.py "$(PHOTOS)"
	$(BIN)/python benchmarks/photo_loading.py "$(PHOTOS)" --policy trivialaugment
	$(BIN)/python benchmarks/photo_loading.py "$(PHOTOS)" --memory

real-network: $(STAMP)  ## A real network on the photos in PHOTOS=FOLDER, beside others' INT8 (minutes)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,photos]'
	$(BIN)/python benchmarks/real_network.py "$(PHOTOS)"

OUT     ?= runs/gpu-study
MINUTES ?= 15

gpu-study: $(STAMP)  ## SMSKD at 240 epochs on a GPU and the class folders in DATA=FOLDER (MINUTES=15; goes on)
	$(BIN)/python benchmarks/gpu_study.py --data "$(DATA)" --out "$(OUT)" --minutes $(MINUTES)

results: $(STAMP)  ## The first figures of docs/results.md (about 20 minutes on 2 cores)
	$(BIN)/compress study digits-study --seeds 8

docs: $(STAMP)  ## The site of the docs, in site/index.html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html -d build/doctrees docs site

dist: $(STAMP)  ## A wheel and an sdist in dist/, checked
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:  ## Take away the environment and caches; runs stay
	rm -rf $(VENV) dist site docs/reference build/doctrees .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage* *.egg-info
