"""A short soak test: a run that is killed in each of three ways ends like an undisturbed one."""

import pathlib

import pytest
from processes import start

SOAK = pathlib.Path(__file__).parents[2] / "scripts" / "soak.py"


def soak(work_dir, *arguments):
    """Runs the script on JAX, which starts fastest; returns exit code, stdout and stderr."""
    process = start(SOAK, f"--work_dir={work_dir}", *arguments, backend="jax")
    printed, errors = process.communicate(timeout=580)
    return process.returncode, printed, errors


@pytest.mark.slow
def test_a_killed_run_ends_like_an_undisturbed_one(tmp_path):
    # With this seed the kills are of three kinds.
    code, printed, errors = soak(tmp_path, "--kills=3", "--epochs=4", "--seed=22")
    assert code == 0, printed + errors
    assert "3 kills: 1 around a step, 1 around a checkpoint, 1 around a validation" in printed
    code, printed, errors = soak(tmp_path)
    assert code == 2 and printed == "" and "--work_dir" in errors
