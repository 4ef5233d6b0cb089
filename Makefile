# BridgeBench. `make help` lists the targets; every target sets the project up first if need be.
PYTHON ?= python3
EXPERIMENT ?= quickstart
ARGS ?=
DATA ?= recordings
WORKERS ?= 2
# Words of make's own command line that are the benchmark's: make benchmark search.trials=20
GIVEN = $(filter-out EXPERIMENT=% PYTHON=% WORKERS=% ARGS=%,$(MAKEOVERRIDES))
VENV := .venv
BIN := $(VENV)/bin
SOURCES := benchmark search_spaces baselines analysis tests
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=30

.DEFAULT_GOAL := help
.PHONY: help setup benchmark cluster-check tables report tensorboard real utilisation chaos perf gpu perf-rows choice test test-slow lint format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo '  e.g. make benchmark EXPERIMENT=eegmat_eeg2ecg ARGS="data.root=/path/to/eegmat search.trials=20"'

setup: $(VENV)/.installed ## make .venv and install everything, pinned (the other targets do it too)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); BridgeBench needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	@echo 'Installing BridgeBench and all that it needs, as pinned, into $(VENV): some two minutes, up to 3 GB to download'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e ".[dev]"
	@touch $@

benchmark: setup ## run EXPERIMENT (default quickstart) with ARGS="key=value ..."
	@$(BIN)/python -m benchmark experiment=$(EXPERIMENT) $(or $(ARGS),$(GIVEN))

tables: setup ## write and print the tables of results/EXPERIMENT again
	@$(BIN)/python -m analysis results/$(EXPERIMENT)

report: setup ## write results/EXPERIMENT/report.html again
	@$(BIN)/python -m analysis report results/$(EXPERIMENT)

tensorboard: setup ## open the curves of results/EXPERIMENT in TensorBoard, on loopback; Ctrl-C ends it
	@$(BIN)/tensorboard --host 127.0.0.1 --logdir results/$(EXPERIMENT)/tensorboard

cluster-check: setup ## what the nodes of a cluster have and see, and what of a run with ARGS will not work on them
	@$(BIN)/python -m benchmark experiment=$(EXPERIMENT) $(or $(ARGS),$(GIVEN)) --cluster-check

perf: setup ## time the bridge at full size against the plain loop; some 20 minutes
	@$(BIN)/python -m benchmark.perf

gpu: setup ## on a machine with a GPU: the tests marked gpu, and what perf measures; exit code 3 without one
	@$(BIN)/python -m benchmark.perf.gpu

perf-rows: setup ## time tables, figures and report of a million trials, beside pandas; two minutes
	@$(BIN)/python -m benchmark.perf.rows

real: setup ## all six real directions in one table, from the recordings in DATA; resumable; 70 minutes on two quick cores
	@$(BIN)/python -m benchmark.perf.real $(DATA) $(ARGS)

utilisation: setup ## how full a search keeps 1 to 64 slots, with trials that only wait; 50 minutes
	@$(BIN)/python -m benchmark.perf.utilisation

chaos: setup ## a sweep whose processes, nodes and driver are killed, against one undisturbed; 5 to 11 minutes
	@$(BIN)/python -m benchmark.perf.chaos

choice: setup ## what the ways to choose a configuration are worth, on simulated people; some 20 minutes
	@$(BIN)/python -m benchmark.perf.choice

test: setup ## run all but the slow tests, in WORKERS processes; 14 minutes on two quick cores, 35 on slow ones
	$(PYTEST) -m "not slow"

test-slow: setup ## run the slow tests: models at full size, and what takes long to learn
	$(PYTEST) -m slow

lint: setup ## ruff, mypy, and the import rule of the rooms
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean: ## remove .venv and caches; results/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
