"""From the same weights, the three backends train to the same weights."""

import pathlib

import keras
import numpy as np
import pytest
from processes import end_all, start_training

SCRIPT = pathlib.Path(__file__).with_name("backend_steps.py")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="one backend starts the others")
def test_five_steps_of_sgd_end_at_the_same_weights(tmp_path):
    results = {name: tmp_path / f"{name}.npz" for name in ("tensorflow", "jax", "torch")}
    end_all([start_training(SCRIPT, path, backend=name) for name, path in results.items()])
    kept = {backend: np.load(path) for backend, path in results.items()}
    before, after = (
        {
            b: [file[name] for name in file.files if name.startswith(when)]
            for b, file in kept.items()
        }
        for when in ("before", "after")
    )
    for backend in ("jax", "torch"):
        for one, other in zip(before["tensorflow"], before[backend], strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(after["tensorflow"], after[backend], strict=True):
            np.testing.assert_allclose(other, one, atol=1e-4, rtol=0, err_msg=backend)
    # The weights come first, their averages after them.
    pairs = zip(before["jax"], after["jax"], strict=False)
    assert np.median([np.abs(one - other).max() for one, other in pairs]) > 1e-2
