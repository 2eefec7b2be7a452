# Everything from a bare machine with Python 3.11 or newer, make and the package registries.
# PYTHON names the interpreter, VENV the folder of the virtual environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install quickstart test slow lint docs

# A real model, real English and a search, in under 10 minutes on two cores. Run it again to go on where it ended.
quickstart: $(INSTALLED)
	$(BIN)/eicompress search --model builtin:minilm --data builtin:docstrings \
	  --budget 2MB --latency 5ms --timeout 6m --teacher-training probe --study quickstart

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# A quarter of the time of these tests is waiting: for what is killed, for Ray and for browsers.
slow: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )) --dist worksteal --durations 25 -m "slow and not gpu"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in build/docs; a warning is an error.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build --fail-on-warning --keep-going docs build/docs
	test -f build/docs/reference/commands.html

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "eicompress needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,dashboard,postgres,quickstart,ray]'
	touch $@
