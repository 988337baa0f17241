"""From the same weights, the three backends train to the same weights."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

TESTS = pathlib.Path(__file__).parents[1]


def start(backend, result) -> subprocess.Popen:
    folders = [TESTS.parent, TESTS, TESTS / "distillation"]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        # Compiling takes all the time here.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    script = TESTS / "training" / "backend_steps.py"
    return subprocess.Popen(
        [sys.executable, script, result], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="one backend starts the others")
def test_five_steps_of_sgd_end_at_the_same_weights(tmp_path):
    results = {name: tmp_path / f"{name}.npz" for name in ("tensorflow", "jax", "torch")}
    processes = [start(backend, path) for backend, path in results.items()]
    try:
        for process in processes:
            _, notes = process.communicate(timeout=400)
            assert process.returncode == 0, notes[-3000:]
    finally:
        for process in processes:
            process.kill()
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
