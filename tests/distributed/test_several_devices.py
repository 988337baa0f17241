"""On JAX, one device, many devices and several processes compute the same training."""

import json
import pathlib

import numpy as np
import pytest
from processes import end_all, free_port, start

STEPS = pathlib.Path(__file__).with_name("distributed_steps.py")

pytestmark = [pytest.mark.backends("jax"), pytest.mark.slow]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """The arrays and the facts of each training, by name."""
    folder = tmp_path_factory.mktemp("steps")
    address = f"127.0.0.1:{free_port()}"
    commands = [("on_one_machine",), *(("as_a_process", address, str(i)) for i in range(2))]
    end_all([start(STEPS, folder, *command, backend="jax") for command in commands])
    return {path.stem: np.load(path) for path in folder.iterdir()}


def arrays(training, kind):
    return [training[name] for name in training.files if name.startswith(kind)]


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


def facts(training):
    return json.loads(str(training["facts"]))


# The number of replicas, and index and number of the process.
CASES = {
    "eight": (8, (0, 1)),
    "two of four": (2, (0, 1)),
    "process 0": (4, (0, 2)),
    "process 1": (4, (1, 2)),
    "process 0, a model on two devices": (2, (0, 2)),
    "process 1, a model on two devices": (2, (1, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_many_devices_train_like_one(trainings, name):
    """Ten steps of the same batches give the same weights, averages and logs."""
    one, many = trainings["one"], trainings[name]
    expected, found = facts(one), facts(many)
    assert (found["replicas"], tuple(found["process"])) == CASES[name]
    assert (expected["replicas"], expected["process"]) == (1, [0, 1])
    assert largest_difference(arrays(one, "start"), arrays(many, "start")) == 0
    assert largest_difference(arrays(one, "start"), arrays(one, "weight")) > 0.1
    assert largest_difference(arrays(one, "average"), arrays(one, "weight")) > 0.01
    assert largest_difference(arrays(one, "weight"), arrays(many, "weight")) < 1e-5
    assert largest_difference(arrays(one, "average"), arrays(many, "average")) < 1e-5
    assert len(found["logs"]) == 11
    for one_log, other in zip(expected["logs"], found["logs"], strict=True):
        assert {"loss", "distillation_loss", "accuracy", "agreement"} <= set(one_log)
        assert other == pytest.approx(one_log, abs=1e-5)


def test_slots_and_averages_are_split_like_their_variables(trainings):
    parallel = facts(trainings["two of four"])
    block = "block_0/"
    assert parallel["split"] == [
        f"{block}attention/qkv/kernel",
        f"{block}attention/qkv/bias",
        f"{block}attention/projection/kernel",
        f"{block}mlp/expand/kernel",
        f"{block}mlp/expand/bias",
        f"{block}mlp/contract/kernel",
    ]
    assert parallel["misplaced"] == []
    assert facts(trainings["eight"])["split"] == []
