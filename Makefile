# Two commands do everything on a fresh Linux machine with Python 3.11:
#   make demo     set up .venv without torch, matte a shot whose truth is known, show the result
#   make test     add what the tests need (torch for the network models), run every check
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
OUT ?= demo
PYTEST_ARGS ?=

.PHONY: demo test lint bench soak clean

demo: $(VENV)/.server
	$(BIN)/mattebridge demo --out $(OUT)

test: $(VENV)/.tests lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.tests
	for name in startup bridge edge linear_light softness videomama farm_model; do \
		echo "== $$name"; $(BIN)/python tests/benchmarks/$$name.py || exit 1; done

soak: $(VENV)/.tests
	$(BIN)/python tests/faults/soak.py
	$(BIN)/python tests/faults/sweep.py

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "mattebridge's server needs Python 3.11: install it, or say PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.server: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable '.[server]'
	touch $@

$(VENV)/.tests: $(VENV)/.server
	$(PIP) --editable '.[models,dev]'
	$(PIP) --no-deps opencue_rqd==1.37.0  # it pins a psutil of its own; any will do for the tests
	touch $@

clean:
	rm -rf $(VENV) $(OUT) build dist
