"""Two replicas of TensorFlow's MirroredStrategy compute what one device computes."""

import json
import pathlib

import pytest
from processes import end, start

STEPS = pathlib.Path(__file__).with_name("mirrored_steps.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results():
    """What the process found, by case."""
    process = start(STEPS, backend="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    return json.loads(end(process).splitlines()[-1])


# Gradients are clipped by the norm of what all replicas have, not each replica's own.
@pytest.mark.parametrize("case", ["sgd", "clipped", "lamb"])
def test_two_replicas_train_like_one_device(results, case):
    result = results[case]
    assert result["replicas"] == [2, 1]
    # Ten steps, their epoch and an evaluation.
    assert result["logged"] == 12
    assert result["step_names"] == ["class_loss", "distillation_loss", "loss"]
    assert {"accuracy", "agreement", *result["step_names"]} <= set(result["epoch_names"])
    assert result["moved"] > 1e-2
    assert result["weights"] < 1e-5
    assert result["averages"] < 1e-5
    assert result["averages_behind"] > 1e-2
    assert result["logs"] < 1e-5


@pytest.mark.parametrize("case", ["clipped", "lamb"])
def test_an_image_of_one_replica_that_is_not_finite_skips_the_step_of_both(results, case):
    assert results[case]["skipped"] == [0.0, 1, 10]


def test_the_cpu_must_be_split_before_it_is_used(results):
    assert "--virtual_devices" in results["split again"]
