# make serve   a demo server on 127.0.0.1:8000, nothing else needed
# make test    the tests, with Python alone (ARGS='-m slow' for the long ones)
# make lint    ruff, mypy --strict, import-linter
# make install what the tests need, and nothing else
# make check   all that CI runs
# make conformance   every case of the Autobahn TestSuite against both WebSocket engines
# make coverage      whether the tests of the protocol reach every branch of its frames

PYTHON ?= python3
# What is read again and again is compiled once, whatever the surroundings say: pytest would rewrite every test
# anew in every worker.
unexport PYTHONDONTWRITEBYTECODE
# What to install beside the server: dev for the tests, dev,browser for those in a browser too.
EXTRAS ?= dev
comma  := ,
# Tests wait for disks, sockets and processes half of their time: two at once on a core.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
# mypy and import-linter look packages up by folder, and ours stand one level above
# their import name; this is a folder in which they stand where the name says.
TYPES  := build/types

.PHONY: serve install test lint check conformance coverage format clean

# What serves needs nothing of what tests.
serve: $(VENV)/.installed
	@$(BIN)/tidings serve --demo $(ARGS)

install: $(STAMP)

test: $(STAMP)
	$(BIN)/pytest -m "not slow" -n $(WORKERS) $(ARGS)

check:
	.ci/run

conformance: $(STAMP)
	@$(BIN)/python tests/conformance/run.py $(ARGS)

# Every branch of what reads and writes frames, by the tests of the protocol alone; and of these without the generated
# ones: three quarters of the time, for what must not depend on their luck.
FRAMES := frames headers frame_watch masking parser extensions deflate upgrade
FRAMES := $(subst $(eval ) ,$(comma),$(FRAMES:%=*/protocol/%.py))
coverage: $(STAMP)
	$(BIN)/coverage run --branch --data-file=build/.coverage --include='$(FRAMES)' -m pytest -q \
	    -m "not slow and not hypothesis" $(ARGS) tests/protocol/test_frame*.py \
	    tests/protocol/test_masking.py tests/protocol/test_upgrade.py \
	    tests/protocol/test_extensions_grammar.py tests/protocol/test_inflater.py \
	    tests/protocol/test_parser_*.py tests/protocol/test_deflate_*.py
	$(BIN)/coverage report -m --data-file=build/.coverage --fail-under=100 --include='$(FRAMES)'

lint: $(STAMP) $(TYPES)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(TYPES):tests $(BIN)/mypy $(TYPES)/tidings tests
	PYTHONPATH=$(TYPES) $(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Compiled when it is first imported: most of it never is. What setuptools advises its users is none of the newcomer's.
INSTALL = PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

$(STAMP): pyproject.toml constraints.txt | $(VENV)
	@echo "installing into $(VENV) …"
	@$(INSTALL) -e '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)
	@echo "installing into $(VENV) …"
	@$(INSTALL) -e .
	@touch $@

# Made anew where an earlier attempt was left half done, as without Debian's python3-venv.
.PHONY: $(VENV)
$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tidings needs Python 3.11 or newer")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)

$(TYPES): Makefile
	@mkdir -p $(TYPES)/tidings
	@for part in server protocol client bench; do ln -sfn ../../../$$part $(TYPES)/tidings/$$part; done
	@touch $(TYPES)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
