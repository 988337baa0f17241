"""The installed package trains outside of the repository, by its command and in Python."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from commands import ROOT

VALUES = {"distillation": "none", "depth": 1, "embed_dim": 24, "epochs": 1, "batch_size": 400}
IN_PYTHON = """
import sys
import keras_deit

print(keras_deit.__file__)
keras_deit.train({values}, run_dir=sys.argv[1])
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the installed package, which was built from a copy of the sources."""
    sources, wheels, folder = map(tmp_path_factory.mktemp, ("sources", "wheels", "installed"))
    shutil.copytree(ROOT / "keras_deit", sources / "keras_deit")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    offline = ("--no-index", "--no-deps")
    pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, sources)
    pip("install", *offline, "--target", folder, *wheels.glob("*.whl"))
    return folder


def run_outside(installed, cwd, *command):
    """Runs a program that finds the installed package only, and returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def figures(run_dir):
    summary = json.loads((run_dir / "summary.json").read_text())
    return summary["test"], summary["steps"]


@pytest.mark.slow
def test_command_and_function_of_the_installed_package_train_to_the_same_figures(
    installed, tmp_path
):
    by_command, in_python = tmp_path / "command", tmp_path / "python"
    flags = [f"--{name}={value}" for name, value in VALUES.items()]
    script = installed / "bin" / "keras-deit"
    run_outside(installed, tmp_path, script, "train", *flags, f"--run_dir={by_command}")
    values = ", ".join(f"{name}={value!r}" for name, value in VALUES.items())
    code = IN_PYTHON.format(values=values)
    printed = run_outside(installed, tmp_path, sys.executable, "-c", code, in_python)
    file = pathlib.Path(printed.splitlines()[0])
    assert file.is_relative_to(installed)
    assert figures(by_command) == figures(in_python)
