# README's two commands. They make their own environment in .venv; the rest is for developers.
#
#   make train                      train on the embedded digits, evaluate, print a table
#   make train ARGS="--seed 1"      any flag of scripts/train.py
#   make test                       the whole test suite

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=
# A process each: TensorFlow keeps whatever it has compiled until its process ends.
PARTS = $(sort $(dir $(wildcard tests/*/test_*.py))) $(wildcard tests/test_*.py)
# What runs on every backend; the rest is TensorFlow's (tf.distribute, SavedModel) or needs none.
MODELS = tests/layers tests/models tests/pretrained tests/distillation
TRAINING = tests/training/optimisation $(addprefix tests/training/test_,backends.py callbacks.py \
	checkpoints.py distributed.py families.py mixed_precision.py other_devices.py \
	planning_devices.py resume.py strategies.py)
# Among that, what is the same on all: the model table's rows, the commands.
ONCE = --ignore=tests/models/test_specs.py --ignore=tests/models/test_cait_specs.py \
	--ignore=tests/pretrained/test_convert_script.py

# So many at once; each takes up to 8 GB of memory. What one prints is kept together.
JOBS ?= 2
SYNC = $(if $(filter output-sync,$(.FEATURES)),--output-sync)
TENSORFLOW = $(addprefix tensorflow@,$(PARTS))
# The longest among the first.
FIRST = tensorflow@tests/data/ tensorflow@tests/training/ jax@training jax@models
RUNS = $(FIRST) $(filter-out $(FIRST),$(TENSORFLOW)) torch@training torch@models

.PHONY: train test lint readme clean $(RUNS)

train: $(VENV)/installed
	$(BIN)/python scripts/train.py $(ARGS)

test: $(VENV)/installed-test lint
	@echo "$(JOBS) at once. What each prints comes when it ends, the first after some minutes."
	@$(MAKE) --no-print-directory --jobs=$(JOBS) --keep-going $(SYNC) $(RUNS)

$(TENSORFLOW):
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest $(patsubst tensorflow@%,%,$@)

jax@models torch@models:
	KERAS_BACKEND=$(patsubst %@models,%,$@) $(BIN)/python -m pytest $(MODELS) $(ONCE)

jax@training torch@training:
	KERAS_BACKEND=$(patsubst %@training,%,$@) $(BIN)/python -m pytest $(TRAINING)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# After a change of the model table.
readme: $(VENV)/installed
	$(BIN)/python scripts/list_models.py --into README.md

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info

$(VENV)/installed: pyproject.toml
	@echo "Installing into $(VENV): a few minutes, about 3 GB."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[tensorflow,tfds]"
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing what the tests need into $(VENV)."
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@
