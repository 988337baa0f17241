"""A target network on two devices is that of one device."""

import json
import pathlib

import keras
import pytest
from processes import end, start

STEPS = pathlib.Path(__file__).with_name("target_steps.py")


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax")
def test_two_devices_average_like_one():
    process = start(STEPS, backend=keras.backend.backend(), CUDA_VISIBLE_DEVICES="-1")
    result = json.loads(end(process).splitlines()[-1])
    for found in result.values():
        assert found["replicas"] == 2
        # The variance of two devices is a mean of squares less the squared mean.
        assert found["difference"] < 5e-5 * max(1, found["moved"])
        assert found["moved"] > 1e-3
