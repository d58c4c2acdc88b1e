# Every target makes its own environment in .venv, the tests of models in .venv-bark; all that is needed is
# make and a Python 3.11 or newer.
#
#   make serve ARGS='--port 9000'     make test ARGS='-k config'     make serve PYTHON=python3.12

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
# What an installation is made from: the kernelspecs are copied by it.
INSTALLED_FROM := pyproject.toml $(wildcard kernels/*/*)

# The models' libraries are large, so they have an environment of their own.
BARK := .venv-bark
# The tests need no CUDA, and other versions may come with gigabytes of it.
TORCH := torch==2.13.0

.PHONY: help serve test test-browser test-bark lint bench bench-memory bench-kernel clean

help:
	@echo 'make serve        start the server, with a voice, and show what to try'
	@echo 'make test         run all tests but those that follow'
	@echo 'make test-browser run the tests in Chromium, which must be there, and its driver'
	@echo 'make test-bark    run the tests of the models, which need the extra bark'
	@echo 'make lint         check style and types'
	@echo 'make bench        measure, and compare with the floors'
	@echo 'make bench-memory measure the memory of a stream whose reader stands still'
	@echo 'make bench-kernel measure what an idle kernel and the start of one cost'
	@echo 'make clean        remove the environments and everything that was built'

serve: .venv/installed-serve
	@$(BIN)/owt serve --show-examples $(ARGS)

test: .venv/installed-dev
	$(BIN)/python -m pytest $(ARGS)

test-browser: .venv/installed-dev
	$(BIN)/python -m pytest tests/browser $(ARGS)

test-bark: $(BARK)/installed
	$(BARK)/bin/python -m pytest tests/bark $(ARGS)

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

bench: .venv/installed-dev
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-memory: .venv/installed-dev
	$(BIN)/python benchmarks/memory.py $(ARGS)

bench-kernel: .venv/installed-dev
	$(BIN)/python benchmarks/kernel.py $(ARGS)

clean:
	rm -rf .venv $(BARK) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp, not .venv itself: a directory's time says nothing, and an interrupted start leaves no stamp.
.venv/made $(BARK)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'owt needs Python 3.11 or newer; name one, such as: make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	@touch $@

$(BARK)/installed: $(INSTALLED_FROM) | $(BARK)/made
	@echo 'installing owt[bark] into $(BARK)'
	@$(BARK)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)' pytest pytest-timeout \
	  --editable '.[bark]'
	@touch $@

.venv/installed-serve: $(INSTALLED_FROM) | .venv/made
	@echo 'installing owt[speech] into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[speech]'
	@touch $@

.venv/installed-dev: $(INSTALLED_FROM) | .venv/made
	@echo 'installing owt[test,speech,notebook,dev] into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,speech,notebook,dev]'
	@touch $@
