"""`prune`: the trained gates, a pruned run for each rate, resuming, and bad input."""

import dataclasses
import json
import types

import keras
import numpy as np
import pytest

from keras_deit import InputError, evaluate_run, load_run
from keras_deit.evaluation import prune
from keras_deit.evaluation.pruning import relative_speed
from keras_deit.models import count_macs
from keras_deit.optimizers import Optimization
from keras_deit.pretrained.conversion import model_from, save_model
from keras_deit.training import dataset_of, pruning, train_job

ONE_EPOCH = {"gate_epochs": 1, "finetune_epochs": 1}


@pytest.fixture(scope="module")
def trained(tiny_job, eager, tmp_path_factory):
    job = tiny_job({"epochs": 1}, job={"seed": 3})
    return train_job(job, tmp_path_factory.mktemp("prune") / "base", print)


@pytest.fixture(scope="module")
def result(trained):
    options = {"distillation": "soft", "accept_teacher": True, **ONE_EPOCH}
    lines = []
    return {
        "options": {"run_dir": trained.path, "rate": ["0.4"], "learning_rate": 0.1, **options},
        "lines": lines,
        "rows": prune(lines.append, run_dir=trained.path, rate=[0.4], learning_rate=0.1, **options)[
            "rows"
        ],
    }


def test_a_rate_becomes_a_smaller_run(trained, result):
    whole, row = result["rows"]
    run = load_run(row["run_dir"])
    model = run.model()
    assert run.path == trained.path.with_name("base-pruned") / "rate0.4"
    assert (row["parameters"], row["macs"]) == (model.count_params(), count_macs(model))
    assert row["parameters"] < 0.75 * whole["parameters"] and row["macs"] < 0.75 * whole["macs"]
    assert row["top1"] == run.summary["test"]["fused"]["top1"]
    assert whole["top1"] == pytest.approx(trained.summary["test"]["fused"]["top1"])
    assert row["validation"] == run.history[-1]["val_accuracy"]
    assert row["images_per_second"] > 0 and whole["times_as_fast"] == 1
    table = result["lines"][-2]
    assert f"{row['parameters']:,}" in table and "times as fast" in table
    teacher = run.config["teacher"]
    assert teacher.endswith("unpruned.keras")
    assert run.summary["test"]["teacher"]["top1"] == pytest.approx(whole["top1"])
    gates = load_run(run.path.with_name("gates"))
    assert gates.config["run"]["objective"] == {"name": "sparsity"}
    assert gates.history[-1]["gate_loss"] > 0


def test_the_pruned_run_is_evaluated_and_its_file_keeps_the_widths(result, tmp_path):
    row = result["rows"][1]
    found = evaluate_run(row["run_dir"], print_fn=lambda line: None)
    assert found["scores"]["fused"]["top1"] == row["top1"] and found["of_run"]
    model = load_run(row["run_dir"]).model()
    save_model(model, tmp_path / "pruned.keras")
    read = model_from(tmp_path / "pruned.keras")
    assert read.get_config()["kept"] == model.get_config()["kept"]
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(read(images), model(images))


def test_the_same_command_repeats_nothing(result):
    files = [load_run(row["run_dir"]).final_weights for row in result["rows"][1:]]
    before = [file.stat().st_mtime_ns for file in files]
    again = prune(lambda line: None, **result["options"])
    assert again["rows"] == result["rows"]
    assert [file.stat().st_mtime_ns for file in files] == before
    stored = json.loads((files[0].parents[1] / "pruning.json").read_text())
    assert stored == again
    with pytest.raises(InputError, match=r"gates holds a different run \(objective.l1"):
        prune(lambda line: None, **{**result["options"], "l1": 0.5})


def test_speed_is_measured_by_turns():
    images = np.zeros((4, 8), "float32")
    wide, narrow = (
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(units)]) for units in (3, 2)
    )
    calls = []
    for model, name in ((wide, "wide"), (narrow, "narrow")):
        step = model.predict_on_batch
        model.predict_on_batch = lambda x, step=step, name=name: (calls.append(name), step(x))[1]
    speed = relative_speed(narrow, wide, images)
    assert speed["images_per_second"] > 0 and speed["times_as_fast"] > 0
    assert calls[4:8] == ["narrow", "wide", "narrow", "wide"]


def test_other_classes_than_those_of_the_run_are_refused(trained, monkeypatch, tmp_path):
    data = dataset_of(pruning.make_pruning(run_dir=trained.path, rate=[0.4]).job)
    names = tuple(trained.config["class_names"])
    for changed, message in (
        (names[::-1], "Their order differs"),
        (("other", *names[1:]), "Only one of the two has: .*other"),
    ):
        other = dataclasses.replace(data, class_names=changed)
        monkeypatch.setattr("keras_deit.evaluation.pruning.dataset_of", lambda job, d=other: d)
        with pytest.raises(InputError, match=message):
            prune(lambda line: None, run_dir=trained.path, rate=[0.4], output=tmp_path / "out")
    assert not (tmp_path / "out" / "gates").exists()


def test_bad_input_is_one_line_before_anything_is_trained(trained, tmp_path):
    run = {"run_dir": trained.path, "output": tmp_path / "out"}
    for options, message in (
        ({**run, "rate": []}, "rate is required"),
        ({**run, "rate": ["much"]}, "rate should be one number or several"),
        ({**run, "rate": [0.4, 1]}, r"rate should be above 0 and below 1.*1"),
        ({**run, "rate": [0.99]}, "the rate can be at most 0.9"),
        ({**run, "rate": [0.4], "model": "deit_tiny_patch16_224"}, "--run_dir is given"),
        ({**run, "rate": [0.4], "alpha": 0.5}, "--alpha needs --distillation"),
        ({**run, "rate": [0.4], "weights": "last"}, r"final, best, ema.*last"),
        ({**run, "rate": [0.4], "l1": -1}, "l1"),
        ({"run_dir": tmp_path / "none", "rate": [0.4]}, "not a run directory"),
        ({"rate": [0.4]}, "--run_dir, or --model and --weights"),
        (
            {"model": "resmlp_12_224", "weights": "file", "rate": [0.4]},
            "ResMLP cannot be pruned",
        ),
        (
            {"model": "deit_tiny_patch16_224", "weights": tmp_path / "no.pth", "rate": [0.4]},
            "no.pth",
        ),
    ):
        with pytest.raises(InputError, match=message) as error:
            prune(lambda line: None, **options)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "summary", "minutes", "expected"),
    [
        ({"epochs": 30}, {"steps": 900}, None, {"epochs": 10}),
        ({"steps": 600}, {"steps": 585}, None, {"steps": 195}),
        ({"epochs": 300}, {"steps": 90}, 10.0, {"steps": 30}),
    ],
)
def test_a_phase_has_a_third_of_the_length_of_the_training(values, summary, minutes, expected):
    run = types.SimpleNamespace(summary=summary, config={"run": {"minutes": minutes}})
    assert pruning._length(Optimization(**values), run) == expected
