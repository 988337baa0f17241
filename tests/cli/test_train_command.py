"""The commands `train` and `train-teacher` train, resume and refuse bad input."""

import json
import pathlib
import re
import signal
import time

import cv2
import pytest
from commands import SMALL, call, run_process, start_command, table_rows

from keras_deit.core.errors import InputError
from keras_deit.data import load_dataset

# One epoch of a teacher is no better than a guess.
ONE_EPOCH = ("--epochs=1", "--teacher_epochs=1", "--accept_teacher", *SMALL)


def epoch_lines(text):
    """Returns the titles of the epochs that were done, in order."""
    return re.findall(r"^([a-z, ]+): epoch \d+ of \d+, step [\d,]+, .*loss .* s$", text, re.M)


def test_training_prints_the_scores_and_the_run_directory(trained):
    rows = table_rows(trained.output.stdout)
    names = [re.split(" {2,}", row)[0] for row in rows]
    assert names == ["teacher", "class head", "distillation head", "fused"]
    scores = json.loads((trained.path / "summary.json").read_text())["test"]
    expected = [f"{scores['fused'][key]:.4f}" for key in ("top1", "agreement")]
    assert rows[-1].split()[1:] == expected
    assert re.search(r"^Median step [\d.]+ ms, [\d.]+ images/s", trained.output.stdout, re.M)
    *_, directory, page = trained.output.stdout.splitlines()
    assert directory.endswith(str(trained.path))
    assert page.endswith(str(trained.path / "report.html"))


def test_a_file_gets_a_line_for_each_epoch_and_no_bar(trained):
    assert epoch_lines(trained.output.stderr)[-1] == "student"
    assert "\r" not in trained.output.stderr + trained.output.stdout
    log = (trained.path / "train.log").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\d [\d:]{8} student: epoch 1 of ", log, re.M)
    assert "class head" not in log and "finished: {" in log.splitlines()[-1]
    assert trained.output.stdout.splitlines()[0] in log


def test_a_finished_run_is_not_repeated(trained):
    files = {path: path.stat().st_mtime_ns for path in trained.path.rglob("*")}
    again = call(*trained.arguments)
    assert str(trained.path) in again.stdout.splitlines()[0]
    assert table_rows(again.stdout) == table_rows(trained.output.stdout)
    assert epoch_lines(again.stderr) == []
    assert {path: path.stat().st_mtime_ns for path in trained.path.rglob("*")} == files


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--optimizer=lion",), "optimizer 'lion'"),
        (("--loss=binary_cross_entropy",), "label_smoothing 0"),
        (("--dataset=folder:nowhere",), "nowhere"),
        (("--plan_devices=2",), "plan_devices.*--plan"),
    ],
)
def test_bad_input_is_rejected_before_anything_is_written(
    flags, words, teacher_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words) as error:
        call("train", f"--teacher={teacher_file}", *flags)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def default_run(home):
    """The training of a user who gives no data, teacher and directory, in another folder.

    It is on two replicas, in a process of its own, because TensorFlow splits the CPU only before
    the CPU is used.
    """
    return run_process(home, "train", *ONE_EPOCH, "--strategy=mirrored", "--virtual_devices=2")


@pytest.mark.slow
def test_the_default_teacher_is_trained_first(default_run, home):
    assert epoch_lines(default_run.stderr) == ["teacher", "student"]
    assert len(table_rows(default_run.stdout)) == 4
    path = pathlib.Path(re.search(r"^Run directory: (.+)$", default_run.stdout, re.M)[1])
    assert (home / path / "summary.json").is_file() and not path.is_absolute()


@pytest.mark.slow
def test_two_replicas_train_teacher_and_student(default_run, home):
    assert "64 on 2 device(s)" in default_run.stdout
    # The training of the teacher and the evaluation of the run measured the same accuracy.
    (record,) = home.glob("runs/teachers/*.json")
    top1 = json.loads(record.read_text())["top1"]["test"]
    assert table_rows(default_run.stdout)[0].split()[1] == f"{top1:.4f}"


@pytest.mark.slow
def test_another_run_uses_the_same_teacher(default_run, home, monkeypatch):
    monkeypatch.chdir(home)
    (teacher,) = home.glob("runs/teachers/*.keras")
    written = teacher.stat().st_mtime_ns
    output = call("train", *ONE_EPOCH, "--seed=1", "--distillation=soft")
    assert epoch_lines(output.stderr) == ["student"]
    assert teacher.stat().st_mtime_ns == written
    assert table_rows(output.stdout)[0] == table_rows(default_run.stdout)[0]


@pytest.mark.slow
def test_a_folder_of_images_is_trained_on(tmp_path, teacher_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = load_dataset("digits")
    for index in range(300):
        image, label = digits.train[index]
        path = tmp_path / "images" / f"class_{label}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    arguments = ("--dataset=folder:images", "--recipe=digits", f"--teacher={teacher_file}")
    arguments += ("--accept_teacher",)
    call("train", *ONE_EPOCH, *arguments, "--run_dir=run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["class_names"] == [f"class_{digit}" for digit in range(10)]
    (tmp_path / "images" / "class_3" / "truncated.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"truncated\.png"):
        call("train", *ONE_EPOCH, *arguments, "--run_dir=never")
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_a_teacher_is_fine_tuned_and_kept(tmp_path, teacher_file):
    tuned = tmp_path / "tuned.keras"
    arguments = ("train-teacher", f"--teacher={teacher_file}", f"--output={tuned}", "--epochs=1")
    output = call(*arguments)
    record = json.loads(tuned.with_suffix(".json").read_text())
    for split in ("validation", "test"):
        assert f"{split} {record['top1'][split]:.4f}" in output.stdout
    assert f"--teacher {tuned}" in output.stdout
    with pytest.raises(InputError, match=r"tuned\.keras exists"):
        call(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_training_with_one_line_and_keeps_everything(
    number, tmp_path, teacher_file
):
    arguments = (
        "--epochs=100000",
        f"--teacher={teacher_file}",
        "--accept_teacher",
        "--run_dir=run",
    )
    process = start_command(tmp_path, "train", *SMALL, *arguments)
    for line in process.stdout:
        if line.startswith("backend"):
            break
    checkpoints = tmp_path / "run" / "checkpoints"
    # The first checkpoint is written before the first step.
    while not any(checkpoints.glob("epoch-*")):
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    (line,) = re.findall(r"^Stopped in epoch \d+ after step \d+\..*$", errors, re.M)
    newest = max(checkpoints.glob("epoch-*"))
    assert str(newest.relative_to(tmp_path)) in line
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "summary.json").exists()
