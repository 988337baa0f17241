"""`scripts/export.py` as a command."""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")
ROOT = pathlib.Path(__file__).parents[2]


def export(*flags: str, cwd: pathlib.Path) -> subprocess.CompletedProcess:
    # Another backend in the environment makes no difference.
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    # The libraries that the tests import set how much TensorFlow logs.
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "export.py", *flags],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )


def test_exports_and_says_how_to_serve(make_run, tmp_path):
    make_run(tmp_path / "runs" / "tiny")
    done = export("--run_dir=runs/tiny", "--name=pets", "--top_k=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("savedmodels/pets/1\n")
    assert "gives top_labels: string (any, 1)" in done.stdout
    assert f"-v {tmp_path.resolve()}/savedmodels/pets:/models/pets" in done.stdout
    assert "localhost:8501/v1/models/pets:predict" in done.stdout
    assert (tmp_path / "savedmodels" / "pets" / "1" / "saved_model.pb").is_file()


def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    done = export("--run_dir=absent", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: absent is not a run directory: config.json cannot be read "
        "(No such file or directory).\n"
    )
    assert done.stdout == "" and list(tmp_path.iterdir()) == []
