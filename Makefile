# Two commands on a fresh machine: `make demo` shows the main job, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo check test study study-digits study-mnist clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e '.[test]'
	touch $@

demo: setup
	$(BIN)/fisherscope demo

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: check
	$(BIN)/python -m pytest -n 2

STUDY = $(BIN)/fisherscope sweep --config experiments/recipes/$(1).yaml --out runs/$(2)
EXPORT = $(BIN)/fisherscope export runs/$(1) experiments/results/sweeps/$(1).zip

study: setup
	$(BIN)/python -m experiments.study

study-digits: setup
	set -e; for name in digits-resnet8 digits-mlp digits-densenet8 digits5-resnet8 digits2-resnet8; do \
		$(call STUDY,$$name,$$name); done
	$(call STUDY,digits-resnet8-dynamic,digits-resnet8)
	$(call STUDY,digits-every-step,digits-every-step)
	set -e; for name in digits-resnet8 digits-mlp digits-densenet8 digits5-resnet8 digits2-resnet8 digits-every-step; do \
		$(call EXPORT,$$name); done

study-mnist: setup
	set -e; for name in mnist-mlp mnist1000-mlp mnist-resnet8; do $(call STUDY,$$name,$$name); done
	set -e; for name in mnist-mlp-beacons mnist-mlp-dynamic; do $(call STUDY,$$name,mnist-mlp); done
	set -e; for name in mnist-mlp mnist1000-mlp mnist-resnet8; do $(call EXPORT,$$name); done

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
