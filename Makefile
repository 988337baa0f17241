# README's two commands. They make their own environment in .venv; the rest is for developers.
#
#   make train                      train on the embedded digits, evaluate, print a table
#   make train ARGS="--seed 1"      any flag of keras-deit train
#   make test                       the whole test suite, on TensorFlow, JAX and PyTorch
#   make test-all                   with the tests that are marked nightly: before a release
#   make check                      lint and the fast tests, on TensorFlow
#   make newest                     the test suite with the newest versions that pyproject.toml allows
#   make docs                       the generated table in docs/models.md
#   make soak                       kills, damaged files, 5,000 requests: some hours

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=
# The exact versions of all packages; empty for the newest ones that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
INSTALL = $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS)) --editable

# Marks say on which backends a test runs (tests/conftest.py). On TensorFlow the large folders have
# a process of their own each, because TensorFlow keeps whatever it has compiled until its process
# ends. The others have two each, so that none is the last one for long. + stands between paths.
empty :=
space := $(empty) $(empty)
together = $(subst $(space),+,$(strip $(1)))
FOLDERS = $(sort $(dir $(wildcard tests/*/test_*.py)))
FILES = $(wildcard tests/test_*.py)
SMALL = $(foreach name,benchmarking compatibility core losses planning recipes scripts sequence \
	studies teachers,tests/$(name)/) $(FILES)
NUMERICS = $(foreach name,layers losses models objectives optimizers pretrained sequence \
	teachers,tests/$(name)/)
OTHERS = $(filter-out $(NUMERICS),$(FOLDERS)) $(FILES)
HALVES = $(foreach backend,jax torch,$(backend)@$(call together,$(NUMERICS)) \
	$(backend)@$(call together,$(OTHERS)))
RUNS = $(addprefix tensorflow@,$(filter-out $(SMALL),$(FOLDERS)) $(call together,$(SMALL))) \
	$(HALVES)
# The longest first, so that they do not end alone.
FIRST = $(HALVES) $(foreach name,cli training objectives,tensorflow@tests/$(name)/) \
	tensorflow@$(call together,$(SMALL))
# So many at once, also on two cores, because processes wait for each other and for files. All together
# take up to 10 GB of memory. The output of each is kept together.
JOBS ?= 3
SYNC = $(if $(filter output-sync,$(.FEATURES)),--output-sync)

# What `make soak` does, each with a work directory of its own; `make soak-kills` does one of them.
SOAKS = soak-kills soak-files soak-requests
SOAK_DIR ?= /tmp/keras-deit-soak
SEED ?= 0
KILLS ?= 50

.PHONY: train test test-all check lint docs newest clean soak $(SOAKS) $(RUNS)

train: $(VENV)/installed
	$(BIN)/keras-deit train $(ARGS)

test: $(VENV)/installed-test lint
	@echo "$(JOBS) at once. The output of each is printed when it ends, the first after some minutes."
	@$(MAKE) --no-print-directory --jobs=$(JOBS) --keep-going $(SYNC) \
		$(FIRST) $(filter-out $(FIRST),$(RUNS))

test-all:
	PYTEST_ADDOPTS="$(PYTEST_ADDOPTS) --nightly" $(MAKE) test

$(RUNS):
	KERAS_BACKEND=$(firstword $(subst @, ,$@)) $(BIN)/python -m pytest \
		$(subst +, ,$(lastword $(subst @, ,$@)))

check: $(VENV)/installed-test lint
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/installed
	$(BIN)/keras-deit models --into docs/models.md

soak: $(SOAKS)

soak-kills: $(VENV)/installed-test
	$(BIN)/python scripts/soak.py --kills $(KILLS) --seed $(SEED) --work_dir $(SOAK_DIR)/kills

soak-files: $(VENV)/installed-test
	KERAS_BACKEND=jax $(BIN)/python scripts/soak_files.py --seed $(SEED) --work_dir $(SOAK_DIR)/files

# Once a month, and before a release: if it passes, the last lines become constraints.txt, with
# torch as in pyproject.toml.
newest:
	$(MAKE) VENV=.venv-newest CONSTRAINTS= test
	@.venv-newest/bin/python -m pip freeze --exclude-editable

soak-requests: $(VENV)/installed
	$(BIN)/python scripts/soak_requests.py --requests 5000 --seed $(SEED)

clean:
	rm -rf $(VENV) .venv-newest .pytest_cache .ruff_cache build *.egg-info

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	@echo "Installing into $(VENV): a few minutes, about 3 GB."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) ".[tensorflow,tfds]"
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing what the tests need into $(VENV)."
	$(INSTALL) ".[test]"
	@touch $@
