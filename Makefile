# Two commands on a fresh machine: `make demo` shows the main job, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo check test clean

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

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
