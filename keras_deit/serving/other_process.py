"""An export in a process of its own, where Keras runs on TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

from keras_deit.core.errors import InputError
from keras_deit.models import registered_families

# It prints JSON objects: a line for the user, an error or the result.
_PROGRAM = """
import importlib.util, json, os, sys

# What libraries print goes elsewhere.
answers = os.fdopen(os.dup(1), "w", 1)
os.dup2(2, 1)
files, arguments = json.loads(sys.argv[1])

from keras_deit.core.errors import InputError
from keras_deit.serving import export_model

def say(**values):
    print(json.dumps(values), file=answers)

try:
    for name, file in files.items():
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    paths = export_model(**arguments, print_fn=lambda line: say(line=line))
except InputError as error:
    say(error=str(error))
else:
    say(paths={name: str(path) for name, path in paths.items()})
"""


def export_on_tensorflow(
    arguments: dict, print_fn: Callable[[str], None]
) -> dict[str, pathlib.Path]:
    """Calls `export_model` in a process whose Keras runs on TensorFlow.

    Model families of a user's own modules are registered there too.

    Args:
        arguments: those of `export_model`, JSON values, without `print_fn`.
        print_fn: called with each line for the user.

    Raises:
        InputError: the export has raised it.
        RuntimeError: the process has ended without a result.
    """
    request = json.dumps([_own_modules(), arguments])
    # The process finds what this one does.
    path = os.pathsep.join(folder or os.curdir for folder in sys.path)
    environment = {
        **{"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
        **{"KERAS_BACKEND": "tensorflow", "PYTHONPATH": path},
    }
    with tempfile.TemporaryFile("w+") as notes:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, request],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=notes,
            text=True,
        )
        try:
            answer = _last_answer(process, print_fn)
        finally:
            process.kill()
            process.wait()
        if "error" in answer:
            raise InputError(answer["error"])
        if "paths" not in answer:
            notes.seek(0)
            raise RuntimeError(f"The export has failed: {notes.read()[-3000:]}")
    return {name: pathlib.Path(path) for name, path in answer["paths"].items()}


def _last_answer(process: subprocess.Popen, print_fn: Callable[[str], None]) -> dict:
    answer = {}
    for text in process.stdout:
        answer = json.loads(text)
        if "line" in answer:
            print_fn(answer["line"])
    return answer


def _own_modules() -> dict[str, str]:
    """Returns the files of modules outside of this package that have registered a family."""
    modules = {family.__module__ for family in registered_families()}
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in modules}
    return {
        name: file
        for name, file in files.items()
        if file and name != "__main__" and not name.startswith("keras_deit.")
    }
