"""Data and teachers that are not those of the training any more: nothing goes on without a word."""

import gzip
import json
import os
import shutil

import cv2
import keras
import numpy as np
import pytest
from run_files import Killed, before_call, files_below, kill, quiet

from keras_deit import InputError, train
from keras_deit.core.files import exclusive_lock
from keras_deit.evaluation import evaluate_run
from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model
from keras_deit.training import Run, teachers, train_teacher

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]

NAMES = ("blue", "green", "red")
FLAGS = {
    **{"recipe": "digits", "epochs": 2, "warmup_epochs": 0, "batch_size": 12, "image_size": 16},
    **{"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "validation_epochs": 1},
}


@pytest.fixture
def folder(tmp_path):
    """Images whose color says the class."""
    for split, count in (("train", 8), ("val", 6), ("test", 5)):
        for channel, name in enumerate(NAMES):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                image = np.random.default_rng(number).integers(0, 99, (16, 16, 3), np.uint8)
                image[..., channel] += 150
                cv2.imwrite(str(tmp_path / "data" / split / name / f"{number}.png"), image)
    return tmp_path / "data"


def write_teacher(path, classes=NAMES, gain=1.0, record=True):
    """Writes a teacher that knows the color, which its classes, in this order, are named after."""
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    )
    # The pixels are in the order red, green, blue.
    kernel = np.zeros((3, 3))
    for output, name in enumerate(classes):
        kernel[("red", "green", "blue").index(name), output] = gain
    model.set_weights([kernel, np.zeros(3)])
    contract = TeacherContract(pixel_format("0-1", 16, 16), "logits", 3)
    save_teacher_model(model, contract, path, **({"classes": list(classes)} if record else {}))
    return str(path)


def begin(folder, run_dir, print_fn=quiet, **values):
    values = {"distillation": "none", "teacher": None, **FLAGS, **values}
    values["validate_agreement"] = values["teacher"] is not None
    return train(print_fn, dataset=f"folder:{folder}", run_dir=run_dir, **values)


def begin_and_kill(folder, run_dir, monkeypatch, **values):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "train_epoch", 1, kill)
        begin(folder, run_dir, checkpoint_seconds=0.0, **values)


def swap(folder, split):
    os.rename(folder / split / "red", folder / split / "other")
    os.rename(folder / split / "green", folder / split / "red")
    os.rename(folder / split / "other", folder / split / "green")


def test_a_training_resumes_with_the_same_data_only(folder, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    begin_and_kill(folder, run.path, monkeypatch)
    swap(folder, "train")
    before = files_below(run.path)
    with pytest.raises(InputError, match=r"16 files with other contents \(train/green/0\.png,"):
        begin(folder, run.path)
    assert files_below(run.path) == before
    (folder / "train" / "red" / "new.png").write_bytes(b"no image")
    swap(folder, "train")
    # An image more, which cannot be read.
    accepted = {"accept_changed_data": True, "on_bad_image": "skip"}
    lines = []
    begin(folder, run.path, lines.append, **accepted)
    assert run.summary is not None
    assert any("1 new file (train/green/new.png)" in line for line in lines)
    assert run.config["accepted_data_changes"] == ["1 new file (train/green/new.png)"]


def test_a_copy_at_another_place_is_the_same_data(folder, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    begin_and_kill(folder, run.path, monkeypatch)
    place = tmp_path / "copied"
    shutil.copytree(folder, place, copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    begin(place, run.path)
    assert run.summary is not None and run.config["run"]["dataset"] == f"folder:{place}"
    assert "data_changes" not in evaluate_run(run.path, print_fn=quiet)
    listing = run.listing.read_bytes()
    for values in ({"files": []}, {"files": {"a.png": 3}}):
        with gzip.open(run.listing, "wt") as file:
            json.dump(values, file)
        with pytest.raises(InputError, match=r"data\.json\.gz is corrupt"):
            begin(place, run.path)
    run.listing.write_bytes(listing)
    # A finished run has its result without them.
    shutil.rmtree(place)
    lines = []
    assert begin(place, run.path, lines.append).summary == run.summary
    assert any("The data has changed since" in line and str(place) in line for line in lines)


def test_an_evaluation_says_that_the_data_and_the_teacher_are_others(folder, tmp_path):
    teacher = write_teacher(tmp_path / "teacher.keras")
    run = begin(folder, tmp_path / "run", teacher=teacher)
    assert run.config["data"]["place"] == str(folder) and run.config["data"]["files"] == 57
    lines = []
    same = evaluate_run(run.path, print_fn=lines.append)
    # Only what the folder holds is said.
    assert (
        len(lines) == 1 and lines[0].startswith("data ") and same["scores"] == run.summary["test"]
    )
    assert same["data"] == run.config["data"]
    swap(folder, "test")
    write_teacher(tmp_path / "teacher.keras", ("green", "red", "blue"))
    found = evaluate_run(run.path, print_fn=lines.append)
    assert found["data_changes"].startswith("10 files with other contents (test/green/0.png,")
    assert "teacher.keras is another one than in the training" in found["teacher_changes"]
    assert found["teacher_changes"] in lines
    assert found["scores"] != same["scores"]
    before, now = found["differs_from_summary"]["test teacher.top1"]
    assert before == 1.0 and now == found["scores"]["teacher"]["top1"]
    (tmp_path / "teacher.keras").write_bytes(b"no teacher")
    lines.clear()
    without = evaluate_run(run.path, print_fn=lines.append)
    assert "teacher" not in without["scores"] and "cannot be used; no agreement" in lines[0]


def test_the_classes_of_a_teacher_are_put_into_the_order_of_the_data(folder, tmp_path):
    order = ("red", "blue", "green")
    teacher = write_teacher(tmp_path / "teacher.keras", order)
    lines = []
    run = begin(folder, tmp_path / "run", lines.append, teacher=teacher)
    assert run.config["teacher_class_order"] == [1, 2, 0]
    assert any("another order" in line for line in lines)
    assert any("top-1 1.000 on 18 validation images" in line for line in lines)
    assert run.summary["test"]["teacher"]["top1"] == 1.0
    assert evaluate_run(run.path, print_fn=quiet)["scores"] == run.summary["test"]
    write_teacher(tmp_path / "teacher.keras")
    path = tmp_path / "teacher.json"
    path.write_text(path.read_text().replace('"blue"', '"cyan"'))
    with pytest.raises(InputError, match=r"other classes.*Only one of the two has: blue, cyan"):
        begin(folder, tmp_path / "other", teacher=teacher)


def test_a_teacher_that_is_no_better_than_a_guess_stops_the_run(folder, tmp_path):
    """Its classes are in another order, and nothing says so."""
    teacher = write_teacher(
        tmp_path / "teacher.keras", ("green", "red", "blue")[::-1], record=False
    )
    with pytest.raises(InputError, match=r"no better than a guess.*0\.333.*--accept_teacher"):
        begin(folder, tmp_path / "run", teacher=teacher)
    assert not (tmp_path / "run").exists()
    lines = []
    begin(folder, tmp_path / "run", lines.append, teacher=teacher, accept_teacher=True)
    assert any(line.startswith("WARNING: the teacher is no better") for line in lines)


def test_a_training_resumes_with_a_teacher_that_takes_and_returns_the_same(
    folder, tmp_path, monkeypatch
):
    teacher = write_teacher(tmp_path / "teacher.keras")
    (tmp_path / "teacher.json").unlink()
    run, given = Run(tmp_path / "run"), {"teacher": teacher, "teacher_outputs": "logits"}
    begin_and_kill(folder, run.path, monkeypatch, **given, teacher_pixels="0-1")
    before = files_below(run.path)
    with pytest.raises(InputError, match=r"teacher_pixels 0-1 there, 0-255 here"):
        begin(folder, run.path, **given, teacher_pixels="0-255")
    assert files_below(run.path) == before
    # A run of the first version did not store these values, and a record may come to the file.
    config = json.loads(run.config_file.read_text())
    for name in ("teacher_pixels", "teacher_outputs"):
        del config["run"]["objective"][name]
    run.config_file.write_text(json.dumps(config))
    record = tmp_path / "teacher.json"
    contract = TeacherContract(pixel_format("-1-1", 16, 16), "logits", 3)
    record.write_text(json.dumps({"contract": contract.to_dict()}))
    with pytest.raises(InputError, match=r"image_format\.mean \[0\.0, .*there, \[0\.5, "):
        begin(folder, run.path, teacher=teacher)
    write_teacher(tmp_path / "teacher.keras", gain=2.0)
    with pytest.raises(InputError, match=r"its teacher was [0-9a-f]+ and is"):
        begin(folder, run.path, teacher=teacher)
    write_teacher(tmp_path / "teacher.keras")
    begin(folder, run.path, teacher=teacher)
    assert run.summary is not None


def test_the_training_of_a_teacher_resumes_with_the_same_data_only(folder, tmp_path, monkeypatch):
    write_teacher(tmp_path / "teacher.keras")
    values = {"teacher": str(tmp_path / "teacher.keras"), "output": str(tmp_path / "tuned.keras")}
    values |= {"dataset": f"folder:{folder}", "recipe": "digits", "image_size": 16}
    values |= {"epochs": 2, "warmup_epochs": 0, "batch_size": 12}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "train_epoch", 1, kill)
        train_teacher(**values)
    swap(folder, "val")
    with pytest.raises(InputError, match=r"12 files with other contents.*--accept_changed_data"):
        train_teacher(**values)
    train_teacher(**values, accept_changed_data=True)
    record = json.loads((tmp_path / "tuned.json").read_text())
    assert record["classes"] == list(NAMES) and record["data"]["files"] == 57
    assert (tmp_path / "tuned.data.json.gz").is_file()


def by_name(tmp_path):
    kept = {"teacher": "kerascv:resnet18_v2", "teacher_dir": str(tmp_path / "teachers")}
    return {**kept, "teacher_batch_size": 12}


@pytest.fixture
def trained_teachers(monkeypatch):
    """Stands for the training of a teacher; collects the files."""
    paths = []

    def fit(model, contract, dataset, recipe, pipeline, path, source, **options):
        write_teacher(path)
        record = json.loads(path.with_suffix(".json").read_text())
        record |= {"recipe": teachers.teacher_recipe_identity(recipe)}
        record["data"] = dataset.fingerprint.summary
        path.with_suffix(".json").write_text(json.dumps(record))
        dataset.fingerprint.save(teachers.listing_beside(path))
        paths.append(path)

    monkeypatch.setattr(teachers, "fit_teacher", fit)
    monkeypatch.setattr(teachers, "build_teacher_model", lambda *arguments: (None, None))
    return paths


def test_a_kept_teacher_belongs_to_the_contents_of_its_data(folder, tmp_path, trained_teachers):
    values = by_name(tmp_path)
    begin(folder, tmp_path / "first", **values)
    shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    begin(tmp_path / "copied", tmp_path / "second", **values)
    assert len(trained_teachers) == 1
    swap(folder, "train")
    lines = []
    begin(folder, tmp_path / "third", lines.append, **values)
    assert len({*trained_teachers}) == 2
    assert any("A new teacher is trained" in line and "16 files" in line for line in lines)


def test_a_training_waits_for_the_teacher_that_another_one_makes(
    folder, tmp_path, trained_teachers, monkeypatch
):
    """The other training ends while this one waits."""
    values = by_name(tmp_path)
    begin(folder, tmp_path / "first", **values)
    (path,) = trained_teachers
    hidden, lock, lines = tmp_path / "hidden.keras", teachers.lock_file(path), []
    path.rename(hidden)
    other = exclusive_lock(lock)
    other.__enter__()

    def sleep(seconds):
        hidden.rename(path)
        other.__exit__(None, None, None)

    monkeypatch.setattr("keras_deit.core.files.time.sleep", sleep)
    begin(folder, tmp_path / "second", lines.append, **values, seed=1)
    assert len(trained_teachers) == 1 and not lock.parent.exists()
    (line,) = [line for line in lines if line.startswith("Waiting for the teacher")]
    assert str(path) in line and f"process {os.getpid()}" in line


def test_ctrl_c_ends_the_waiting(folder, tmp_path, trained_teachers, monkeypatch):
    values = by_name(tmp_path)
    begin(folder, tmp_path / "first", **values)
    (path,) = trained_teachers
    path.unlink()

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_deit.core.files.time.sleep", interrupt)
    with exclusive_lock(teachers.lock_file(path)), pytest.raises(KeyboardInterrupt):
        begin(folder, tmp_path / "second", **values)
    assert len(trained_teachers) == 1
