# Every target creates its own environment: .venv, .venv-models for the tests of models, .venv-libraries for those of
# tables and charts, .venv-openapi for those of OpenAPI's tools, .venv-docs for the documentation. It needs only make
# and Python 3.11 or newer. With PYTHON, the environment of serve, test and lint is another one:
# `make test PYTHON=python3.13` uses .venv-python3.13.
#
#   make serve ARGS='--port 9000'     make test ARGS='-k config'     make serve PYTHON=python3.12

PYTHON ?= python3
ARGS ?=

VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# The sources of an installation, which copies the kernelspecs.
INSTALLED_FROM := pyproject.toml $(wildcard kernels/*/*)

# The models' libraries are large, so they have a separate environment.
MODELS := .venv-models
# The tests need no CUDA; other versions may bring gigabytes of it.
TORCH := torch==2.13.0
# Packages of the examples that have their models in them, the libraries that these need, and the driver of a browser
# for their pages.
MODEL_PACKAGES := onnxruntime pandas pydantic rapidocr scikit-learn selenium silero-vad

# The libraries whose tables, charts and arrays the answers are tested with. They are too large for `make test`.
LIBRARIES := .venv-libraries
LIBRARY_PACKAGES := altair datasets duckdb geopandas jax plotly polars pyarrow scipy seaborn xarray

# The interpreters whose kernels are tested, those of them that exist, and the packages of their environments.
PYTHONS ?= python3.9 python3.10 python3.11 python3.12 python3.13 python3.14
KERNEL_PACKAGES := ipykernel matplotlib msgspec numpy pydantic

# Tools that read the OpenAPI document. Their findings and their output differ between releases.
OPENAPI := .venv-openapi
OPENAPI_TOOLS := schemathesis==4.32.5 openapi-python-client==0.29.1

# The servers that the benchmarks compare owt with; benchmarks/peers.py creates this environment.
PEERS := .venv-peers

DOCS := .venv-docs

# An environment with the newest releases, whatever pyproject.toml allows.
NEWEST := .venv-newest
BOUNDED := ipykernel ipython jupyter_client jupyter_server tornado

.PHONY: help serve test test-newest soak storm test-browser test-models test-bark test-libraries test-openapi test-pythons lint docs man picture bench bench-memory bench-kernel clean

help:
	@echo 'make serve        start the server, with a voice, and print commands to try'
	@echo 'make test         run all tests except the other targets of tests'
	@echo 'make test-newest  run them with the newest releases, also beyond the upper bounds'
	@echo 'make soak         run many clients while kernels die, for 3 minutes; ARGS=--help'
	@echo 'make storm        kill the server 100 times while clients call; ARGS=--help'
	@echo 'make test-browser run the tests that need Chromium and its driver'
	@echo 'make test-models  run the tests of models and of the examples with models'
	@echo 'make test-libraries test tables, arrays and charts of libraries, such as polars, jax and plotly'
	@echo 'make test-openapi test endpoints with Schemathesis and openapi-python-client'
	@echo 'make test-pythons test kernels of other versions of Python; PYTHONS=...: their interpreters'
	@echo 'make lint         check style and types'
	@echo 'make docs         generate the reference, check the links and build docs/ into build/docs'
	@echo 'make man          write the manual page, build/man/owt.1'
	@echo 'make picture      draw the picture in the README from a real server'
	@echo 'make bench        measure everything beside other servers, in under 10 minutes'
	@echo 'make bench-memory measure the memory of a stream whose reader stops'
	@echo 'make bench-kernel measure the cost of an idle kernel and of its start'
	@echo 'make clean        remove the environments and all build results'

serve: $(VENV)/installed-serve
	@$(BIN)/owt serve --show-examples $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python tests/stages.py $(ARGS)

test-newest: $(NEWEST)/made
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,speech,notebook]'
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	  --upgrade-strategy eager $(BOUNDED)
	$(NEWEST)/bin/python tests/stages.py $(ARGS)

soak: $(VENV)/installed-dev
	$(BIN)/python tests/soak.py $(ARGS)

storm: $(VENV)/installed-dev
	$(BIN)/python tests/storm.py $(ARGS)

test-browser: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/browser $(ARGS)

test-models: $(MODELS)/installed
	$(MODELS)/bin/python -m pytest tests/models $(ARGS)

# The name that it had.
test-bark: test-models

test-libraries: $(LIBRARIES)/installed
	$(LIBRARIES)/bin/python -m pytest tests/libraries $(ARGS)

test-pythons: $(VENV)/installed-dev
	@for python in $(PYTHONS); do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  folder=.venv-pythons/$$version; test ! -e $$folder/made || continue; \
	  echo "installing $(KERNEL_PACKAGES) into $$folder"; \
	  $$python -m venv $$folder || exit; \
	  $$folder/bin/python -m pip install --quiet --disable-pip-version-check $(KERNEL_PACKAGES) || exit; \
	  touch $$folder/made; \
	done
	$(BIN)/python -m pytest tests/pythons $(ARGS)

test-openapi: $(OPENAPI)/installed
	$(OPENAPI)/bin/python -m pytest tests/openapi $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

docs: $(DOCS)/installed
	$(DOCS)/bin/python docs/generate.py
	$(DOCS)/bin/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --nitpicky \
	  -d build/doctrees docs build/docs
	@echo 'the documentation is in build/docs/index.html'

man: $(VENV)/installed-serve
	$(BIN)/python docs/make_man.py build/man

picture: $(VENV)/installed-serve
	$(BIN)/python docs/make_picture.py

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-memory: $(VENV)/installed-dev
	$(BIN)/python benchmarks/memory.py $(ARGS)

bench-kernel: $(VENV)/installed-dev
	$(BIN)/python benchmarks/kernel.py $(ARGS)

clean:
	rm -rf .venv .venv-python* $(MODELS) $(LIBRARIES) $(OPENAPI) $(DOCS) $(NEWEST) $(PEERS) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp file, because the time of a directory is meaningless, and an interrupted start leaves no stamp.
$(VENV)/made $(MODELS)/made $(LIBRARIES)/made $(OPENAPI)/made $(NEWEST)/made $(DOCS)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'owt needs Python 3.11 or newer; name one, such as: make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	@touch $@

$(MODELS)/installed: $(INSTALLED_FROM) | $(MODELS)/made
	@echo 'installing owt-server[bark,speech] and $(MODEL_PACKAGES) into $(MODELS)'
	@$(MODELS)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)' $(MODEL_PACKAGES) pytest \
	  pytest-timeout --editable '.[bark,speech]'
	@touch $@

$(LIBRARIES)/installed: $(INSTALLED_FROM) | $(LIBRARIES)/made
	@echo 'installing owt-server, matplotlib, pandas and $(LIBRARY_PACKAGES) into $(LIBRARIES)'
	@$(LIBRARIES)/bin/python -m pip install --quiet --disable-pip-version-check $(LIBRARY_PACKAGES) matplotlib \
	  pandas pytest pytest-timeout --editable .
	@touch $@

$(OPENAPI)/installed: $(INSTALLED_FROM) | $(OPENAPI)/made
	@echo 'installing owt-server and $(OPENAPI_TOOLS) into $(OPENAPI)'
	@$(OPENAPI)/bin/python -m pip install --quiet --disable-pip-version-check $(OPENAPI_TOOLS) pytest \
	  pytest-timeout --editable .
	@touch $@

$(DOCS)/installed: $(INSTALLED_FROM) | $(DOCS)/made
	@echo 'installing owt-server[docs] into $(DOCS)'
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(VENV)/installed-serve: $(INSTALLED_FROM) | $(VENV)/made
	@echo 'installing owt-server[speech] into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[speech]'
	@touch $@

$(VENV)/installed-dev: $(INSTALLED_FROM) | $(VENV)/made
	@echo 'installing owt-server[test,speech,notebook,dev] into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,speech,notebook,dev]'
	@touch $@
