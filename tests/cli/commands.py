"""Runs commands in this process and in separate ones."""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

from keras_deit.cli.main import run_command

ROOT = pathlib.Path(__file__).parents[2]
# The smallest student.
SMALL = ("--depth=1", "--embed_dim=24")
# What the console script `keras-deit` does.
_MAIN = "import sys; sys.argv[0] = 'keras-deit'; from keras_deit.cli.main import main; main()"


class Output(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str


def call(*arguments) -> Output:
    """Runs a command in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        run_command([str(argument) for argument in arguments])
    return Output(out.getvalue(), errors.getvalue())


def start_command(folder, *arguments, backend="tensorflow", program=_MAIN) -> subprocess.Popen:
    """Starts a command in a process whose working directory is `folder`."""
    # Libraries that the tests import set how much TensorFlow logs.
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_process(folder, *arguments, code=0, **options) -> Output:
    """Runs a command in a process, and checks its exit code."""
    process = start_command(folder, *arguments, **options)
    output = Output(*process.communicate(timeout=400))
    assert process.returncode == code, output.stderr[-3000:]
    return output


def table_rows(text: str) -> list[str]:
    """Returns the rows of a table of scores."""
    return re.findall(r"^[a-z ]+ +[01]\.\d{4} +[01]\.\d{4}$", text, re.MULTILINE)
