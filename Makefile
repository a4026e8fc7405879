# Needs Python >= 3.10 with pip, and make. Everything else goes into .venv, at the versions of constraints.txt.
#
#   make train                                    train the example on scanned digits
#   make train ARGS="init=lecun_selu model=mlp"   the same, with Hydra overrides (the last word wins)
#   make test                                     run the tests
#   make bench                                    time planning, applying, drawing and tracing beside what else there is
#   make zoo                                      hold the tracer against models of timm and transformers
#   make parity                                   hold every preset against its reference, and write docs/parity.md
#   make presets                                  write docs/presets.md
#   make check                                    what CI runs: test, lint, types, layers

PYTHON ?= python3
VENV   ?= .venv
BENCH  ?= .bench
ARGS   ?=

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt

# Debian keeps ensurepip in a package of its own; the pip that is there can fill the environment as well.
WITHOUT_ENSUREPIP := $(PYTHON) -m venv --clear --without-pip $(VENV) \
	&& $(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt pip

.DELETE_ON_ERROR:
.PHONY: help train test zoo parity presets bench check lint format types layers schema wheel clean

help:
	@sed -n 's/^#  *make/make/p' Makefile

train: $(VENV)/.examples
	$(BIN)/python examples/train.py init=he_relu $(ARGS)

test: $(VENV)/.dev $(VENV)/.parity
	$(BIN)/python -m pytest $(ARGS)

check: ARGS += --cov
# Both sets of extras; every model, a few minutes.
zoo: $(VENV)/.dev $(VENV)/.parity
	INITPOLICY_ZOO=1 $(BIN)/python -m pytest tests/zoo $(ARGS)

# Every case and every wrong constant, a quarter of an hour; the page is kept where one fails.
parity: $(VENV)/.dev $(VENV)/.parity
	INITPOLICY_PARITY=1 PYTHONPATH=tests $(BIN)/python -m parity.report > $(VENV)/parity.md
	cp $(VENV)/parity.md docs/parity.md

presets: $(VENV)/.dev $(VENV)/.parity
	PYTHONPATH=tests $(BIN)/python -m parity.catalogue > docs/presets.md

# Some ten minutes; the benchmarks' figures are those of a machine that does nothing else.
bench: $(VENV)/.dev $(VENV)/.parity $(BENCH)/.peers
	$(BIN)/python benchmarks/plan.py
	$(BENCH)/bin/python benchmarks/apply.py
	$(BIN)/python benchmarks/draw.py
	$(BIN)/python benchmarks/mesh.py
	$(BENCH)/bin/python benchmarks/trace.py

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
	rm -rf $(VENV) $(BENCH) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The build tools are pinned too, so nothing is built in an environment of its own.
$(VENV)/.tools: $(INPUTS)
	$(PYTHON) -m venv $(VENV) || { $(WITHOUT_ENSUREPIP); }
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) editables hatchling
	@touch $@

$(VENV)/.examples $(VENV)/.dev: $(VENV)/.%: $(VENV)/.tools
	$(PIP) --no-build-isolation --editable ".[$*]"
	@touch $@

# torchvision's wheel is built against CUDA. Beside a torch for the CPU it cannot be imported without help (tests/zoo/
# operators.py), and whatever imports it because it is installed, as Lightning does, fails too. So timm, torchvision and
# transformers lie in a folder of their own, which the tests that need them add to their path.
$(VENV)/.parity: $(VENV)/.dev
	sed '1,/extra `parity`/d' constraints.txt > $(VENV)/parity.txt
	$(PIP) --no-deps --upgrade --target $(VENV)/parity --requirement $(VENV)/parity.txt
	@touch $@

# What one would use instead of initpolicy, beside all that $(VENV) has; one that does not install is named in the table.
$(BENCH)/.peers: $(VENV)/.dev
	$(BIN)/python -m venv --clear --without-pip $(BENCH)
	$(BIN)/python -c "import sys, sysconfig; print(sysconfig.get_path('purelib'), sys.prefix + '/parity', sep='\n')" \
		> "$$($(BENCH)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth"
	for peer in anyinit==0.4.0 mmengine-lite==0.10.7 skorch==1.4.0; do \
		$(BIN)/python -m pip --python $(BENCH)/bin/python --disable-pip-version-check install --quiet $$peer || true; \
	done
	@touch $@
