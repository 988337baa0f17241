"""Training on JAX where TensorFlow, KerasCV, TensorFlow Datasets and TensorBoard are not there."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
ABSENT = ("tensorflow", "keras_cv", "tensorflow_datasets", "tensorboard")

# None in `sys.modules` is how Python knows a module that it must not find.
SCRIPT = """
import runpy, sys

absent = sys.argv.pop(1).split(",")
sys.modules.update(dict.fromkeys(absent))
script = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path.insert(0, script.rpartition("/")[0])
try:
    runpy.run_path(script, run_name="__main__")
finally:
    found = [name for name in sys.modules if name.split(".")[0] in absent and sys.modules[name]]
    assert not found, found
"""


def run(folder, script, *arguments, backend="jax"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", SCRIPT, ",".join(ABSENT), f"{ROOT}/scripts/{script}.py"]
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def refusal(result):
    assert (result.returncode, result.stdout) == (2, ""), result.stderr[-3000:]
    return result.stderr


def test_a_student_is_distilled_and_evaluated(tmp_path, teacher_file):
    arguments = (
        *(f"--teacher={teacher_file}", "--run_dir=run", "--epochs=2", "--validation_epochs=1"),
        *("--batch_size=400", "--depth=1", "--embed_dim=24"),
    )
    result = run(tmp_path, "train", *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 6
    assert set(summary["test"]) == {"teacher", "class", "distillation", "fused"}
    assert not (tmp_path / "run" / "tensorboard").exists()
    result = run(tmp_path, "evaluate", "--run_dir=run")
    assert result.returncode == 0, result.stderr[-3000:]
    fused = re.search(r"^fused +([\d.]+)", result.stdout, re.MULTILINE)[1]
    assert float(fused) == pytest.approx(summary["test"]["fused"]["top1"], abs=1e-4)


def test_the_default_teacher_is_refused_before_anything_is_done(tmp_path):
    error = refusal(run(tmp_path, "train"))
    assert re.fullmatch(
        r"error: Teacher kerascv:csp_darknet_tiny, of KerasCV, .*'keras-deit\[tensorflow\]'.*"
        r"--teacher applications:NAME .*--distillation none\.\n",
        error,
    ), error
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_tfds_is_refused(tmp_path):
    error = refusal(run(tmp_path, "train", "--dataset=cifar10", "--distillation=none"))
    assert re.fullmatch(
        r"error: Dataset 'cifar10', .*'keras-deit\[tfds\]'.*digits, folder:PATH\.\n", error
    ), error


@pytest.mark.parametrize("script", ["train", "export"])
def test_a_backend_that_is_not_there_is_one_line(tmp_path, script):
    """Export takes TensorFlow's whatever the environment says."""
    backend = {"train": "tensorflow", "export": "jax"}[script]
    error = refusal(run(tmp_path, script, "--run_dir=run", backend=backend))
    assert re.fullmatch(
        r"error: Keras's tensorflow backend .*'keras-deit\[tensorflow\]'.*\n", error
    ), error
