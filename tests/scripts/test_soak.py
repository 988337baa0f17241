"""A short soak test: trainings and conversions that are killed end like undisturbed ones."""

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
@pytest.mark.nightly
def test_what_is_killed_ends_like_what_is_not(tmp_path):
    work = tmp_path / "work"
    flags = ("--kills=2", "--epochs=2", "--backends=jax", "--subjects", "student", "convert")
    code, printed, errors = soak(work, *flags)
    assert code == 0, printed + errors
    assert "jax student: 1 kills" in printed and "jax convert: 1 kills" in printed
    assert printed.count("identical") == 2
    assert printed.endswith("Everything equals what the undisturbed commands gave.\n")
    code, printed, errors = soak(work)
    assert code == 2 and printed == "" and "--work_dir" in errors
