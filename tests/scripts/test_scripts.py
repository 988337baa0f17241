"""The commands as a user runs them: separate processes, in a folder of their own."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import cv2
import keras
import pytest

from keras_deit.data import load_dataset
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import STUDENT_ONLY
from keras_deit.teachers import pixel_format, save_teacher_model
from keras_deit.teachers.teacher import TeacherContract

_ROOT = pathlib.Path(__file__).parents[2]
# One epoch of a student and a teacher as small as they come.
_TINY = ("--epochs=1", "--teacher_epochs=1", "--depth=1", "--embed_dim=24")


def _command(script, *arguments):
    return [sys.executable, str(_ROOT / "scripts" / f"{script}.py"), *arguments]


def _environment(**extra):
    # The libraries that the tests import set how much TensorFlow logs.
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return {**inherited, "PYTHONPATH": str(_ROOT), "KERAS_BACKEND": "tensorflow", **extra}


def _run(folder, script, *arguments, **environment):
    return subprocess.run(
        _command(script, *arguments),
        cwd=folder,
        env=_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )


def _refused(result, message):
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(rf"error: .*{message}.*\n", result.stderr), result.stderr
    assert result.stdout == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(folder):
    """`train.py` on digits, teacher included."""
    result = _run(folder, "train", *_TINY)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def run_dir(first):
    return re.search(r"^Run directory: (.+)$", first.stdout, re.MULTILINE)[1]


@pytest.fixture(scope="module")
def teacher(folder):
    """A teacher file that needs neither KerasCV nor training."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    path = folder / "small.keras"
    save_teacher_model(model, TeacherContract(pixel_format("0-1", 16, 16), "logits", 10), path)
    return str(path)


def _table(text):
    return re.findall(r"^[a-z ]+ +[01]\.\d{4} +[01]\.\d{4}$", text, re.MULTILINE)


def test_training_prints_the_table_and_the_speed(first, folder, run_dir):
    rows = _table(first.stdout)
    assert [row.split("  ")[0] for row in rows] == [
        *("teacher", "class head", "distillation head", "fused")
    ]
    scores = json.loads((folder / run_dir / "summary.json").read_text())["test"]
    top1, agreement = rows[-1].split()[1:]
    assert (top1, agreement) == tuple(f"{scores['fused'][k]:.4f}" for k in ("top1", "agreement"))
    assert re.search(r"^Median step [\d.]+ ms, [\d.]+ images/s\.$", first.stdout, re.MULTILINE)


def test_there_is_a_progress_bar_for_teacher_student_and_test(first):
    for title in ("teacher", "teacher, validation", "teacher, test", "student", "test"):
        assert re.search(rf"\b{title}: 100%", first.stderr), title


def test_the_second_time_nothing_is_trained(first, folder, run_dir):
    files = {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*")}
    again = _run(folder, "train", *_TINY)
    assert again.returncode == 0
    assert f"{run_dir} holds this run, finished" in again.stdout
    assert _table(again.stdout) == _table(first.stdout)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*")} == files


def test_another_run_finds_the_teacher(first, folder):
    (teacher,) = folder.glob("runs/teachers/*.keras")
    made = teacher.stat().st_mtime_ns
    result = _run(folder, "train", *_TINY, "--seed=1", "--distillation=soft")
    assert result.returncode == 0, result.stderr
    assert "teacher: " not in result.stderr
    assert teacher.stat().st_mtime_ns == made
    assert _table(result.stdout)[0] == _table(first.stdout)[0]


def test_evaluation_gives_the_table_again(first, folder, run_dir):
    result = _run(folder, "evaluate", f"--run_dir={run_dir}")
    assert result.returncode == 0, result.stderr
    assert _table(result.stdout) == _table(first.stdout)


def test_export_makes_a_numbered_savedmodel(first, folder, run_dir):
    result = _run(folder, "export", f"--run_dir={run_dir}", "--name=digits")
    assert result.returncode == 0, result.stderr
    assert (folder / "savedmodels" / "digits" / "1" / "saved_model.pb").is_file()


def test_a_folder_of_images_is_trained_on(folder, teacher):
    digits = load_dataset("digits")
    for index in range(300):
        image, label = digits.train[index]
        path = folder / "images" / f"class_{label}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    arguments = ("--dataset=folder:images", "--recipe=digits", f"--teacher={teacher}")
    result = _run(folder, "train", *_TINY, *arguments, "--run_dir=from_images")
    assert result.returncode == 0, result.stderr
    config = json.loads((folder / "from_images" / "config.json").read_text())
    assert config["class_names"] == [f"class_{digit}" for digit in range(10)]
    # The same data with one file cut short.
    broken = folder / "images" / "class_3" / "cut.png"
    broken.write_bytes(b"\x89PNG")
    result = _run(folder, "train", *_TINY, *arguments, "--run_dir=never")
    assert result.returncode == 2
    assert "cut.png" in result.stderr.splitlines()[-1]
    assert not (folder / "never").exists()


def test_two_replicas_train_teacher_and_student(folder):
    arguments = ("--strategy=mirrored", "--virtual_devices=2", "--teacher_dir=on_two")
    result = _run(folder, "train", *_TINY, *arguments, "--run_dir=mirrored")
    assert result.returncode == 0, result.stderr
    assert "64 on 2 device(s)" in result.stdout
    rows = _table(result.stdout)
    assert len(rows) == 4
    # What the teacher's training measured on the test split is what the table says of it.
    (record,) = folder.glob("on_two/*.json")
    top1 = json.loads(record.read_text())["top1"]["test"]
    assert rows[0].split()[1] == f"{top1:.4f}"


def test_a_teacher_is_trained_by_itself(folder, teacher):
    arguments = (f"--teacher={teacher}", "--output=tuned.keras", "--epochs=1")
    result = _run(folder, "train_teacher", *arguments)
    assert result.returncode == 0, result.stderr
    assert re.search(r"Top-1: validation 0\.\d+, test 0\.\d+\.", result.stdout)
    assert (folder / "tuned.keras").is_file() and (folder / "tuned.json").is_file()
    _refused(_run(folder, "train_teacher", *arguments), "tuned.keras is there already")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_and_keeps_everything(folder, teacher, number):
    name = f"stopped-{number}"
    arguments = ("--epochs=1000", f"--teacher={teacher}", f"--run_dir={name}")
    process = subprocess.Popen(
        _command("train", *arguments),
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("backend"):
            break
    checkpoints = folder / name / "checkpoints"
    # One is written before the first step.
    while not any(checkpoints.glob("epoch-*")) and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    (last,) = re.findall(r"^Stopped in epoch \d+ after step \d+\. .*$", errors, re.MULTILINE)
    newest = max(checkpoints.glob("epoch-*"))
    assert f"Everything is kept in {newest.relative_to(folder)}" in last
    assert "Traceback" not in errors
    assert not (folder / name / "summary.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epoch=3",), "epochs"),
        (("--epochs=three",), "epochs"),
        (("epochs=3",), "Unknown argument 'epochs=3'"),
        (("--crop_scale=1",), "two numbers"),
        (("--optimizer=lion",), "Unknown optimizer 'lion'"),
        (("--loss=binary_cross_entropy",), "label_smoothing 0"),
        (("--strategy=mirrored",), "found no GPU"),
        (("--strategy=tpu",), "found no TPU"),
        (("--dataset=folder:nowhere",), "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, teacher, arguments, message):
    _refused(_run(folder, "train", f"--teacher={teacher}", *arguments), message)


def test_tensorflow_strategies_need_tensorflow(folder, teacher):
    arguments = (f"--teacher={teacher}", "--strategy=mirrored")
    _refused(_run(folder, "train", *arguments, KERAS_BACKEND="torch"), "TensorFlow backend")


def test_help_lists_the_flags(folder):
    result = _run(folder, "train", "--help")
    flags = set(re.findall(r"--(?:\[no\])?(\w+):", result.stdout))
    fields = {field.name for field in dataclasses.fields(Optimization)}
    assert fields | {"model", "teacher", "embed_dim", "mixup_alpha", "run_dir", "strategy"} <= flags
    of_teacher = {name for name in fields if f"teacher_{name}" in flags}
    assert fields - of_teacher == set(STUDENT_ONLY)
