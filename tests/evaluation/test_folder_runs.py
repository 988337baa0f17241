"""Runs on a user's own folder: how its path is written, what changes later, what is reported."""

import json
import os
import pathlib
import shutil
import types

import cv2
import numpy as np
import pytest
from jobs import train_without_page

from keras_deit import InputError
from keras_deit.evaluation import evaluate_run, final_report
from keras_deit.evaluation.measuring import answer
from keras_deit.evaluation.pruning import _prune
from keras_deit.evaluation.report import train_with_report, write_report
from keras_deit.training import load_run, make_job
from keras_deit.training.labeling import label_job

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]

COLORS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
FLAGS = {
    **{"recipe": "digits", "distillation": "none", "embed_dim": 12, "depth": 1, "num_heads": 2},
    **{"epochs": 2, "batch_size": 12, "warmup_epochs": 1, "ema_decay": 0.5},
}


def write_images(folder, name, count, color):
    rng = np.random.default_rng(count)
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = np.clip(np.array(color) + rng.integers(-30, 30, (16, 16, 3)), 0, 255)
        cv2.imwrite(str(folder / name / f"{number:02}.png"), image[..., ::-1].astype(np.uint8))


def write_splits(root, splits):
    for split, count in splits.items():
        for name, color in COLORS.items():
            write_images(root / split, name, count, color)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_splits(
        tmp_path_factory.mktemp("data") / "colors", {"train": 8, "val": 4, "test": 5}
    )


def trained(folder, run_dir, **values):
    lines = []
    run = train_without_page(
        lines.append, dataset=f"folder:{folder}", run_dir=run_dir, **{**FLAGS, **values}
    )
    return run, lines


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory, eager):
    return trained(folder, tmp_path_factory.mktemp("runs") / "run")[0]


@pytest.fixture
def copy(run, folder, tmp_path):
    """A run in a folder of its own and its data, which a test may change."""
    shutil.copytree(folder, tmp_path / "colors")
    shutil.copytree(run.path, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace(str(folder), str(tmp_path / "colors")))
    return load_run(tmp_path / "run"), tmp_path / "colors"


def test_the_start_says_how_many_images_there_are(folder, tmp_path):
    _, lines = trained(folder, tmp_path / "run")
    (line,) = [line for line in lines if line.startswith("data ")]
    assert all(words in line for words in ("train 24", "validation 12", "test 15", "3 classes"))


@pytest.mark.parametrize("what", ["labeling", "pruning"])
def test_labeling_and_pruning_say_what_a_folder_holds(folder, tmp_path, what, monkeypatch):
    def stop(*args, **values):
        raise InterruptedError

    shutil.copytree(folder, tmp_path / "colors")
    (tmp_path / "colors" / "notes.txt").touch()
    monkeypatch.setattr("keras_deit.training.labeling.build_student", stop)
    monkeypatch.setattr("keras_deit.evaluation.pruning._unpruned", stop)
    teacher = {"teacher": "applications:MobileNetV3Small", "distillation": "hard"}
    job = make_job(dataset=f"folder:{tmp_path / 'colors'}", **{**FLAGS, **teacher})
    lines = []
    with pytest.raises(InterruptedError):
        if what == "labeling":
            label_job(job, tmp_path / "labels", print_fn=lines.append)
        else:
            _prune(types.SimpleNamespace(job=job, class_names=()), lines.append)
    assert "train 24, validation 12, test 15" in lines[0] and "notes.txt" in lines[1]


def test_a_path_written_in_another_way_is_the_same_run(run, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for path in ("colors", "./colors", "colors/"):
        again, lines = trained(path, run.path)
        assert "finished" in lines[0] and again.summary == run.summary


def test_names_that_are_not_utf_8(folder, tmp_path, monkeypatch):
    """The folder of the data, those of the classes, their images, and that of the run."""
    monkeypatch.chdir(tmp_path)
    root = pathlib.Path(shutil.copytree(folder, os.fsdecode(b"caf\xe9")))
    for path in [*root.glob("*/*/*.png"), *root.glob("*/red")]:
        path.rename(path.with_name(os.fsdecode(b"\xe9") + path.name))
    options = {**FLAGS, "dataset": f"folder:{root}", "epochs": 1}
    for values in ({}, {"run_dir": os.fsdecode(b"runs/\xff")}):
        lines = []
        run = train_with_report(make_job(**options, **values), values.get("run_dir"), lines.append)
        assert any("folder:" in line and "café, 3 classes" in line for line in lines)
        assert os.fsencode(run.config["run"]["dataset"]).endswith(b"caf\xe9")
        assert evaluate_run(run.path, print_fn=lines.append)["scores"] == run.summary["test"]
        run.mistakes_file.unlink(missing_ok=True)
        page = write_report(run.path, print_fn=lines.append, evaluate=True).read_text("utf-8")
        assert "café" in page and "test/" in page
        assert run.log_file.read_text("utf-8")
        _, again = trained(root, run.path, epochs=1)
        assert "finished" in again[0]
    assert sum("-café-" in path.name for path in pathlib.Path("runs").iterdir()) == 1


def test_a_run_is_evaluated_from_any_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    relative, _ = trained("colors", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert evaluate_run(relative.path)["scores"] == relative.summary["test"]


def test_without_a_test_split_the_validation_split_is_reported(tmp_path):
    data = write_splits(tmp_path / "two", {"train": 8, "val": 4})
    run, lines = trained(data, tmp_path / "run")
    assert "test" not in run.summary and run.summary["validation_examples"] == 12
    assert any("test_share" in line for line in lines)
    assert final_report(run).startswith("Validation split, 12 images")
    found = evaluate_run(run.path)
    assert (found["split"], found["scores"]) == ("validation", run.summary["validation"])
    with pytest.raises(InputError, match="no test split"):
        evaluate_run(run.path, "test")
    with_test, _ = trained(data, tmp_path / "other", test_share=0.25)
    assert with_test.summary["test_examples"] == 6
    assert evaluate_run(with_test.path)["scores"] == with_test.summary["test"]


def test_any_weights_of_a_run_are_evaluated(run):
    found = {
        weights: evaluate_run(run.path, weights=weights) for weights in ("best", "final", "ema")
    }
    assert found["final"]["scores"] == run.summary["test"]
    assert found["ema"]["scores"] == run.summary["test_ema"]
    assert not any("ema_scores" in result for result in found.values())
    best = evaluate_run(run.path, "validation", weights="best")["scores"]["fused"]["top1"]
    assert best == pytest.approx(run.summary["best"]["val_accuracy"], abs=1e-6)


def evaluated(run, data, **options):
    """Returns what an evaluation on other data finds, and the lines that it prints."""
    lines = []
    return evaluate_run(run.path, dataset=f"folder:{data}", print_fn=lines.append, **options), lines


@pytest.mark.parametrize("place", ["", "test", "Val"])
def test_a_new_test_set_is_taken_whole(run, tmp_path, place, monkeypatch):
    """However few images it has; the temperatures stay those of the run."""
    sources = []

    def spy(model, source, *rest):
        sources.append(source)
        return answer(model, source, *rest)

    monkeypatch.setattr("keras_deit.evaluation.evaluate.answer", spy)
    write_images(tmp_path / "new" / place, "red", 3, COLORS["red"])
    write_images(tmp_path / "new" / place, "blue", 2, COLORS["blue"])
    (tmp_path / "new" / "notes.txt").write_text("no image")
    found, lines = evaluated(run, tmp_path / "new")
    split = "validation" if place == "Val" else "test"
    assert (found["split"], found["examples"], found["of_run"]) == (split, 5, False)
    assert np.sum(found["confusion"]["fused"], axis=1).tolist() == [2, 0, 3]
    assert any(f"images: {split} 5" in line for line in lines)
    assert any("1 file" in line and "notes.txt" in line for line in lines)
    assert "Without images, 1 of 3 classes: green." in lines
    own = evaluate_run(run.path, print_fn=lines.append)
    for row, figures in own["figures"].items():
        assert found["figures"][row]["temperature"] == figures["temperature"]
    assert [len(source) for source in sources] == [5, 12, 15, 12]


def test_classes_that_a_run_does_not_have_are_refused(run, tmp_path):
    write_images(tmp_path / "new", "red", 2, COLORS["red"])
    (tmp_path / "new" / "empty").mkdir()
    assert evaluated(run, tmp_path / "new")[0]["examples"] == 2
    with pytest.raises(InputError, match="no validation split"):
        evaluated(run, tmp_path / "new", split="validation")
    write_images(tmp_path / "new", "aaa", 2, (0, 0, 0))
    with pytest.raises(InputError, match=r"other classes.*aaa"):
        evaluated(run, tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "new" / "red").mkdir(parents=True)
    with pytest.raises(InputError, match="No images"):
        evaluated(run, tmp_path / "new")


def test_without_the_data_of_the_run_a_new_test_set_has_no_temperatures(copy, tmp_path):
    changed, data = copy
    data.rename(tmp_path / "gone")
    write_images(tmp_path / "new", "red", 3, COLORS["red"])
    found, lines = evaluated(changed, tmp_path / "new")
    assert not any("temperature" in figures for figures in found["figures"].values())
    assert found["examples"] == 3 and any("No temperatures" in line for line in lines)
    # The same files at another place have been trained on.
    again, lines = evaluated(changed, tmp_path / "gone")
    assert again["scores"] == changed.summary["test"] and "holds the data of the run" in lines[0]


def test_images_that_the_run_knows_are_said(run, folder, tmp_path):
    new = pathlib.Path(shutil.copytree(folder / "train", tmp_path / "new"))
    write_images(new, "green", 2, COLORS["green"])
    found, lines = evaluated(run, new)
    assert found["examples"] == 24
    (warning,) = [line for line in lines if line.startswith("Warning: ")]
    assert "22 of 24 files" in warning and "not those of new images" in warning


def test_splits_of_other_data_are_taken_as_they_are(run, tmp_path):
    """A test split may lack classes of train, of which too few images for another split stay."""
    for name in COLORS:
        write_images(tmp_path / "new" / "train", name, 3, COLORS[name])
    write_images(tmp_path / "new" / "test", "green", 2, COLORS["green"])
    found, lines = evaluated(run, tmp_path / "new")
    assert found["examples"] == 2 and "temperature" in found["figures"]["fused"]
    assert any("train 9, test 2" in line for line in lines)


def test_classes_in_another_order_are_mapped(copy, monkeypatch):
    """As a data set of TensorFlow Datasets may list them."""
    changed, _ = copy
    config = json.loads(changed.config_file.read_text())
    config["class_names"] = config["class_names"][::-1]
    changed.config_file.write_text(json.dumps(config))
    changed.finish(changed.summary)
    sources = []

    def spy(model, source, *rest):
        sources.append(source)
        return answer(model, source, *rest)

    monkeypatch.setattr("keras_deit.evaluation.evaluate.answer", spy)
    found = evaluate_run(changed.path)
    assert found["class_names"] == ["red", "green", "blue"]
    test = sources[0]
    np.testing.assert_array_equal(test.labels, np.repeat([2, 1, 0], 5))
    for index in (0, 7, 14):
        image, label = test[index]
        assert np.argmax(image.mean((0, 1))) == label


def test_a_new_class_folder_is_refused_and_said_when_the_command_is_given_again(copy):
    changed, data = copy
    for split in ("train", "val", "test"):
        write_images(data / split, "aaa", 3, (9, 9, 9))
    with pytest.raises(InputError, match=r"other classes.*aaa"):
        evaluate_run(changed.path)
    _, lines = trained(data, changed.path)
    assert "9 new files (test/aaa/00.png, test/aaa/01.png, test/aaa/02.png, ...)" in lines[1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_only_unreadable_images_of_the_split_itself_stop_an_evaluation(copy, split):
    changed, data = copy
    (data / split / "red" / "03.png").write_bytes(b"no image")
    if split == "train":
        assert evaluate_run(changed.path)["scores"] == changed.summary["test"]
        return
    with pytest.raises(InputError, match=r"1 unreadable.*test/red/03.png"):
        evaluate_run(changed.path)
    lines = []
    evaluate_run(changed.path, on_bad_image="skip", print_fn=lines.append)
    assert "1" in lines[0]


def test_a_run_that_skipped_unreadable_images_is_evaluated_so_too(folder, tmp_path):
    data = tmp_path / "colors"
    shutil.copytree(folder, data)
    for split in ("train", "test"):
        (data / split / "red" / "03.png").write_bytes(b"no image")
    run, _ = trained(data, tmp_path / "run", on_bad_image="skip")
    assert evaluate_run(run.path)["scores"] == run.summary["test"]
