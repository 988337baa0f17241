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
    for case, found in result.items():
        assert found["replicas"] == 2
        # In DINO's head the variance of two devices is a mean of squares less the squared mean.
        bound = 5e-5 if case == "dino" else 1e-5
        assert found["difference"] < bound * max(1, found["moved"])
        assert found["moved"] > 1e-3
