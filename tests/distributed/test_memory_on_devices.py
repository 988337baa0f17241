"""The memory of Grafit on two devices is that of one device."""

import json
import pathlib

import keras
import pytest
from processes import end, start

STEPS = pathlib.Path(__file__).with_name("memory_steps.py")


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax")
def test_two_devices_remember_like_one():
    process = start(STEPS, backend=keras.backend.backend(), CUDA_VISIBLE_DEVICES="-1")
    result = json.loads(end(process).splitlines()[-1])
    assert (result["replicas"], result["seen"]) == (2, 16)
    assert max(result["memory"], result["weights"]) < 1e-5
