# Needs Python >= 3.10 with pip, and make. Everything else goes into .venv, at the versions of constraints.txt.
#
#   make train                                    train the example on scanned digits
#   make train ARGS="init=lecun_selu model=mlp"   the same, with Hydra overrides (the last word wins)
#   make test                                     run the tests
#   make bench                                    time the trace beside torch.export
#   make zoo                                      hold the tracer against models of timm and transformers
#   make check                                    what CI runs: test, lint, types, layers

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt

# Debian keeps ensurepip in a package of its own; the pip that is there can fill the environment as well.
WITHOUT_ENSUREPIP := $(PYTHON) -m venv --clear --without-pip $(VENV) \
	&& $(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt pip

.DELETE_ON_ERROR:
.PHONY: help train test zoo bench check lint format types layers schema wheel clean

help:
	@sed -n 's/^#  *make/make/p' Makefile

train: $(VENV)/.examples
	$(BIN)/python examples/train.py init=he_relu $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

check: ARGS += --cov
# Both sets of extras; every model, a few minutes.
zoo: $(VENV)/.dev $(VENV)/.parity
	INITPOLICY_ZOO=1 $(BIN)/python -m pytest tests/zoo $(ARGS)

bench: $(VENV)/.dev $(VENV)/.parity
	$(BIN)/python benchmarks/trace.py $(ARGS)

check: test lint types layers

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

schema: $(VENV)/.dev
	$(BIN)/python -m initpolicy.schema > conf/schema.json

wheel: $(VENV)/.dev
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The build tools are pinned too, so nothing is built in an environment of its own.
$(VENV)/.tools: $(INPUTS)
	$(PYTHON) -m venv $(VENV) || { $(WITHOUT_ENSUREPIP); }
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) editables hatchling
	@touch $@

$(VENV)/.examples $(VENV)/.dev $(VENV)/.parity: $(VENV)/.%: $(VENV)/.tools
	$(PIP) --no-build-isolation --editable ".[$*]"
	@touch $@
