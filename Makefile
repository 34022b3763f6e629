# `make help` lists the targets. On a fresh machine, `make demo` shows the main job and `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
CONSTRAINTS ?= constraints.txt
DATA ?= $(HOME)/.cache/fisherscope
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup format quick check docs test demo study study-digits study-mnist \
	campaign campaign-rows campaign-crash campaign-resume campaign-times campaign-advice campaign-dynamic campaign-ranks \
	campaign-fuzz campaign-faults campaign-spikes campaign-branches campaign-reproduce campaign-benchmarks test-torch check-pythons clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1: /p' $(MAKEFILE_LIST) | awk -F ': ' '{printf "  %-20s %s\n", $$1, $$2}'

setup: $(INSTALLED)  ## make .venv with everything that the other targets need

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e '.[test]'
	touch $@

format: setup  ## format the code and sort the imports
	$(BIN)/ruff check --select I,RUF100 --fix
	$(BIN)/ruff format

TRAINS = tests/policy/test_controller.py
QUICK = tests/test_structure.py tests/test_eigenvalues.py tests/measures tests/analysis/test_stats.py \
	tests/experiments $(filter-out $(TRAINS),$(wildcard tests/policy/test_*.py))

quick: setup  ## formatting, lint, types and the fast tests (under a minute)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 $(QUICK)

check: setup  ## formatting, lint, types, import contracts, and the site with warnings as errors
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: setup  ## the pictures of the architecture, and the site in site/
	$(BIN)/python -m experiments.pictures.architecture
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: check  ## everything that continuous integration runs (minutes)
	$(BIN)/python -m pytest -n 2

test-torch: setup  ## the core suite on another torch: make test-torch VERSION=2.14.1 (some GB; half an hour)
	$(BIN)/python -m experiments.torch_versions $(VERSION)

check-pythons: setup  ## syntax and types for Python 3.10 to 3.14
	$(BIN)/python -m experiments.torch_versions static

demo: setup  ## train a small grid on embedded data, write demo/report.html
	$(BIN)/fisherscope demo

STUDY = $(BIN)/fisherscope sweep --config experiments/recipes/$(1).yaml --out runs/$(2)
EXPORT = $(BIN)/fisherscope export runs/$(1) experiments/results/sweeps/$(1).zip

study: setup  ## compute docs/study.md again from the committed sweeps (five minutes)
	$(BIN)/python -m experiments.study

study-digits: setup  ## train the sweeps of the digits (hours)
	set -e; for name in digits-resnet8 digits-mlp digits-densenet8 digits5-resnet8 digits2-resnet8; do \
		$(call STUDY,$$name,$$name); done
	$(call STUDY,digits-resnet8-dynamic,digits-resnet8)
	$(call STUDY,digits-every-step,digits-every-step)
	set -e; for name in digits-resnet8 digits-mlp digits-densenet8 digits5-resnet8 digits2-resnet8 digits-every-step; do \
		$(call EXPORT,$$name); done

study-mnist: setup  ## train the sweeps of MNIST (hours)
	set -e; for name in mnist-mlp mnist1000-mlp mnist-resnet8; do $(call STUDY,$$name,$$name); done
	set -e; for name in mnist-mlp-beacons mnist-mlp-dynamic; do $(call STUDY,$$name,mnist-mlp); done
	set -e; for name in mnist-mlp mnist1000-mlp mnist-resnet8; do $(call EXPORT,$$name); done

# Long runs whose results are committed. They want a quiet machine; experiments/README.md says what each writes.
campaign: campaign-rows campaign-crash campaign-resume campaign-times campaign-advice campaign-dynamic campaign-ranks campaign-fuzz campaign-faults campaign-spikes campaign-branches campaign-reproduce campaign-benchmarks  ## all long runs but the sweeps (a day)

campaign-rows: setup  ## 2000 drawn models that move rows, against a loop over samples
	$(BIN)/python -m experiments.row_identity --models 2000

campaign-crash: setup  ## kill real training processes 50 times, compare bit for bit (results/crash.json has the summary)
	FISHERSCOPE_KILLS=50 $(BIN)/python -m pytest tests/training/test_loop.py -k killed --junitxml=runs/crash.xml

campaign-times: setup  ## seconds a step at every size of the committed sweeps (a quiet machine; an hour)
	set -e; for file in experiments/results/sweeps/*.zip; do $(BIN)/fisherscope times $$file --data-dir $(DATA); done

campaign-resume: setup  ## resume trainings by Lightning and Trainer from every checkpoint, compare bit for bit
	$(BIN)/python -W ignore -m experiments.resume --lightning 30 --transformers 10

campaign-advice: setup  ## coverage of the noise scale's interval; the advised size against trials
	$(BIN)/python -m experiments.advice.coverage --data-dir $(DATA)
	$(BIN)/python -m experiments.advice.fastest --data-dir $(DATA)

campaign-dynamic: setup  ## the comparison of dynamic sampling, and why C̄ falls on MLPs
	set -e; for task in digits/mlp digits/resnet8 mnist/mlp mnist/resnet8; do \
		$(BIN)/python -m experiments.dynamic $$task --out runs/dynamic --data $(DATA); done
	$(BIN)/python -m experiments.dynamic.page
	$(BIN)/python -m experiments.study.fitted
	$(BIN)/python -m experiments.choosing

campaign-ranks: setup  ## several processes: exactness, bytes, and failures of one of them
	$(BIN)/python -m experiments.ranks.exchange
	$(BIN)/python -m experiments.ranks.failures --trials 50

campaign-fuzz: setup  ## mutated runs, exports, settings and command lines: no traceback, no hang
	$(BIN)/python -m experiments.fuzz --inputs 10000 --lines 2000

campaign-spikes: setup  ## plant 300 spikes of the gradient's norm: is the cause named first?
	$(BIN)/python -m experiments.spikes --trials 100

campaign-branches: setup  ## the critical batch size by branches; its interval against longer ones (two hours)
	$(BIN)/python -m experiments.branching
	$(BIN)/python -m experiments.branching.coverage --seeds 4 --repetitions 5

campaign-faults: setup  ## every internal function made to raise, in a loop, Lightning and Trainer (an hour)
	$(BIN)/python -m experiments.faults

campaign-benchmarks: setup  ## every file of benchmarks/results (needs the extra bench)
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e '.[test,bench]'
	OMP_NUM_THREADS=2 $(BIN)/fisherscope bench gram --threads 2 --out benchmarks/results/gram-cpu.json
	$(BIN)/python benchmarks/loop.py --out benchmarks/results/loop.json
	set -e; for name in policy reading report sweep; do $(BIN)/python benchmarks/$$name.py; done
	$(BIN)/python benchmarks/readme.py

MNIST_FULL = $(BIN)/fisherscope train mnist/$(1) --batch-size $(2) --lr $(3) --paper --seed 0 --threads 1 --data-dir $(DATA) --out runs/mnist
campaign-reproduce: setup  ## the paper's recipes at a share, and three MNIST settings at full length (four hours), docs/reproduce.md
	$(call MNIST_FULL,mlp,32,0.05)
	$(call MNIST_FULL,resnet8,16,0.1)
	$(call MNIST_FULL,densenet8,32,0.4)
	$(BIN)/fisherscope reproduce mnist-mlp --scale 0.002 --data-dir $(DATA) --out runs/mnist-mlp
	$(BIN)/fisherscope reproduce cifar10-resnet110 --scale 3.2e-6 --data-dir $(DATA) --out runs/cifar10-resnet110
	$(BIN)/fisherscope export runs/mnist-mlp/runs experiments/results/reproduce/mnist-mlp-0.002.zip
	$(BIN)/python -m experiments.reproduce full=runs/mnist mnist-mlp-0.002=runs/mnist-mlp/runs \
		cifar10-resnet110-3.2e-6=runs/cifar10-resnet110/runs

clean:  ## remove the environment, caches and builds
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
