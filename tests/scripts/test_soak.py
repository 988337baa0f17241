"""The soak script's short form: killed in each of its three ways, the run ends as if never."""

import os
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]


def _soak(work_dir, *arguments):
    # JAX: it starts the fastest.
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, _ROOT / "scripts" / "soak.py", f"--work_dir={work_dir}"]
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path):
    result = _soak(tmp_path, "--kills=3", "--epochs=4", "--seed=22")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 kills: 1 around a step, 1 around a checkpoint, 1 around a validation" in result.stdout
    assert "to the bit" in result.stdout
    again = _soak(tmp_path)
    assert again.returncode == 2 and "give another --work_dir" in again.stderr
