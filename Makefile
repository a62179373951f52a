# `make demo` and `make test` do all set-up themselves: a virtual environment in .venv, every version pinned.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS_READY := .venv/.ready-docs

# A worker for each core, up to four, with one thread each; a file's tests share a worker and what they made.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

export PYTHONUNBUFFERED := 1
export NO_MKDOCS_2_WARNING := 1

.DELETE_ON_ERROR:
.PHONY: help demo test check docs format constraints clean

help:
	@echo "make demo    distill real handwritten digits with and without concepts, offline, and write a page"
	@echo "make test    run the tests"
	@echo "make check   formatting, lint, types, import layers, tests and docs: what a change must pass"
	@echo "make docs    build the documentation into site/"
	@echo "make format  format the code"
	@echo "make clean   remove the virtual environment, the built docs and caches (runs and trained models stay)"

demo: $(READY)
	$(BIN)/potstill demo

test: $(READY)
	$(TESTS)

check: $(READY) $(DOCS_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright src
	$(BIN)/lint-imports --no-logo
	$(TESTS)
	$(BIN)/mkdocs build --strict --quiet

docs: $(DOCS_READY)
	$(BIN)/mkdocs build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch goes first and alone: what is installed of it then stays, whichever build the index gave.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "potstill needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install torch==2.13.0
	$(BIN)/pip install -c constraints.txt -e '.[test,worlds]'
	touch $@

$(DOCS_READY): $(READY)
	$(BIN)/pip install -c constraints.txt -e '.[docs]'
	touch $@

# Pins what is installed now. The local tag of torch (+cpu, +cu128) is left out, so that the pin resolves anywhere.
constraints: $(READY) $(DOCS_READY)
	{ echo '# Every version that the tests ran with. Written by `make constraints`.'; \
	  $(BIN)/pip freeze --exclude potstill | sed 's/^\(torch==[0-9.]*\)+.*/\1/'; } > constraints.txt.new
	mv constraints.txt.new constraints.txt
	touch $(READY) $(DOCS_READY)

clean:
	rm -rf .venv dist site .import_linter_cache .pytest_cache .ruff_cache .hypothesis
