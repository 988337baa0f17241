"""On which backends a test runs, and the same random numbers for every test."""

import keras
import pytest
from processes import prepare_backend

prepare_backend()


def pytest_collection_modifyitems(config, items):
    """Deselects what is not for this backend.

    A test runs on TensorFlow only, unless it or its module has the mark `backends` with the names
    of others: those that it can tell apart. What is the same on all is tested once.
    """
    present = keras.backend.backend()
    chosen, others = [], []
    for item in items:
        mark = item.get_closest_marker("backends")
        backends = mark.args if mark else ("tensorflow",)
        (chosen if present in backends else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


def pytest_sessionfinish(session, exitstatus):
    """A folder without a test for this backend is no failure."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)
