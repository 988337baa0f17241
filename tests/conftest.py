"""Chooses the tests for a backend, and gives each test the same random numbers."""

import gc

import keras
import pytest
from processes import prepare_backend

from keras_deit.models.registry import FAMILIES, SPECS
from keras_deit.objectives.objective import OBJECTIVES
from keras_deit.recipes.recipe import RECIPES

prepare_backend()
# Looking for garbage among millions of objects took a twentieth of the time.
gc.freeze()
gc.set_threshold(10_000, 10, 10)


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="Runs what is marked nightly, too.")


def pytest_ignore_collect(collection_path):
    """Leaves out the files that do not name this backend, and so have no tests for it."""
    present = keras.backend.backend()
    if present == "tensorflow" or not collection_path.match("test_*.py"):
        return None
    return True if f'"{present}"' not in collection_path.read_text("utf-8") else None


def pytest_collection_modifyitems(config, items):
    """Deselects what is not for this backend, and what is marked nightly unless asked for.

    A test runs on TensorFlow only, unless it or its module has the mark `backends` with the names
    of others: those that it can tell apart. What is the same on all is tested once. The mark
    `nightly` may have names of backends too, and then is for these alone.
    """
    present = keras.backend.backend()
    nightly = config.getoption("nightly")
    chosen, others = [], []
    for item in items:
        # That of a parameter is behind that of its function, and counts instead of it.
        own = [mark for mark in item.own_markers if mark.name == "backends"]
        mark = own[-1] if own else item.get_closest_marker("backends")
        backends = mark.args if mark else ("tensorflow",)
        if unknown := {*backends} - {"tensorflow", "jax", "torch"}:
            raise pytest.UsageError(f"{item.nodeid}: there is no backend {unknown}")
        rare = not nightly and any(
            not mark.args or present in mark.args for mark in item.iter_markers("nightly")
        )
        (chosen if present in backends and not rare else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


@pytest.fixture(autouse=True, scope="module")
def registries():
    """Forgets what the tests of a module have registered."""
    all_registries = (FAMILIES, SPECS, OBJECTIVES, RECIPES)
    before = {registry: dict(registry._values) for registry in all_registries}
    yield
    for registry, values in before.items():
        registry._values = values


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)
