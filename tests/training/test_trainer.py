"""A whole training: what it leaves behind, that it repeats itself, and how it refuses."""

import csv
import dataclasses
import json
import math

import keras
import numpy as np
import pytest
from run_files import quiet, stored_weights

from keras_deit.core.errors import InputError
from keras_deit.evaluation import evaluate_run, final_report
from keras_deit.optimizers import Optimization
from keras_deit.recipes import DIGITS, TeacherRecipe
from keras_deit.training import RunDirectory, train
from keras_deit.training.checkpoints import CheckpointStore
from keras_deit.training.checkpoints.file import read_checkpoint


@pytest.fixture(scope="module")
def finished(tiny_job, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    lines = []
    summary, where = train(tiny_job(), str(path), lines.append)
    assert where == path
    return summary, RunDirectory(path), lines


def test_a_run_directory_holds_the_whole_run(finished, tiny_job):
    summary, run, _ = finished
    assert run.read_summary() == summary
    assert run.read_config()["run"] == json.loads(json.dumps(tiny_job().identity()))
    assert run.read_config()["class_names"] == list("0123456789")
    assert stored_weights(run.best_weights).keys() == stored_weights(run.final_weights).keys()
    assert summary["checkpoints"]["written"] == 2 and summary["skipped_steps"] == 0
    assert summary["bad_images"] == []
    assert len(list(run.tensorboard.glob("*/events*"))) == 2
    assert not [path for path in run.path.rglob("partial-*")]


def test_the_log_has_a_row_an_epoch_with_every_figure(finished):
    _, run, _ = finished
    rows = list(csv.DictReader(run.metrics_file.open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for name in (
        *("loss", "class_loss", "distillation_loss", "learning_rate", "val_loss"),
        *("accuracy", "class_accuracy", "distillation_accuracy", "agreement", "val_accuracy"),
    ):
        assert all(math.isfinite(float(row[name])) for row in rows), name
    first, last = (float(row["learning_rate"]) for row in rows)
    # Those of the epochs' first steps: one of three in warm-up, one of three in the cosine.
    assert first == pytest.approx(1e-6, rel=1e-5)
    assert last == pytest.approx(DIGITS.optimization.learning_rate * 400 / 512, rel=1e-5)
    for row in rows:
        half_and_half = (float(row["class_loss"]) + float(row["distillation_loss"])) / 2
        assert float(row["loss"]) == pytest.approx(half_and_half, rel=1e-5)


def test_the_summary_scores_every_head_on_the_test_split(finished):
    summary, run, _ = finished
    assert summary["test_examples"] == 360
    assert summary["steps"] == 6
    assert set(summary["test"]) == {"teacher", "class", "distillation", "fused"}
    assert summary["test"]["teacher"]["agreement"] == 1.0
    # Every share is one of so many 360ths.
    for scores in summary["test"].values():
        for value in scores.values():
            assert value * 360 == pytest.approx(round(value * 360), abs=1e-3)
    assert summary["images_per_second"] > 0
    assert evaluate_run(run.path)["scores"] == summary["test"]


def test_evaluation_knows_the_splits(finished):
    _, run, _ = finished
    assert evaluate_run(run.path, "validation")["examples"] == 180
    with pytest.raises(InputError, match="validation, test"):
        evaluate_run(run.path, "train")


def test_the_start_reports_what_is_effective(finished):
    _, run, lines = finished
    config = run.read_config()
    shown = dict(line.split(None, 1) for line in lines)
    assert shown["parameters"].startswith("9,428, 8,568")
    assert "6 (2 epochs of 3)" in config["effective"]["steps"]
    assert (
        config["effective"]["peak learning rate"]
        == f"{DIGITS.optimization.learning_rate * 400 / 512:.3g}"
    )


def test_the_same_seed_gives_the_same_run_and_another_does_not(finished, tiny_job, tmp_path):
    _, run, _ = finished
    summary, again = train(tiny_job(), str(tmp_path / "again"), quiet)
    _, other = train(tiny_job(job={"seed": 1}), str(tmp_path / "other"), quiet)
    first, second, third = (
        stored_weights(path / run.final_weights.name) for path in (run.path, again, other)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not all(np.array_equal(first[name], third[name]) for name in first)
    assert (again / "metrics.csv").read_text() == run.metrics_file.read_text()
    assert summary["test"] == run.read_summary()["test"]


def test_a_finished_run_is_not_repeated(finished, tiny_job):
    summary, run, _ = finished
    before = run.final_weights.stat().st_mtime_ns
    lines = []
    assert train(tiny_job(), str(run.path), lines.append)[0] == summary
    assert "finished" in lines[0]
    assert run.final_weights.stat().st_mtime_ns == before


def test_a_directory_with_a_different_run_is_left_alone(finished, tiny_job):
    _, run, _ = finished
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"different run \(.*alpha 0.5 there, 0.25 here") as error:
        train(tiny_job(alpha=0.25), str(run.path), quiet)
    assert "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before


def test_a_directory_with_other_files_is_left_alone(tiny_job, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no run's"):
        train(tiny_job(), str(tmp_path), quiet)


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        # Of three steps in the epoch the second's update is too large: the third has no gradient.
        (400, r"gradients were not finite at step 3 \(epoch 1\)"),
        # Of two steps the second's is the last.
        (600, r"validation loss became (nan|inf) in epoch 1"),
    ],
)
def test_leaving_the_finite_numbers_stops_and_keeps_the_last_checkpoint(
    tiny_job, tmp_path, batch_size, message
):
    job = tiny_job({"learning_rate": 1e30, "warmup_learning_rate": 0.0, "batch_size": batch_size})
    with pytest.raises(InputError, match=message) as error:
        train(job, str(tmp_path / "run"), quiet)
    run = RunDirectory(tmp_path / "run")
    (path,) = CheckpointStore(run.checkpoints).paths()
    assert f"The last checkpoint is {path}." in str(error.value)
    tensors, record = read_checkpoint(path)
    assert record["place"]["step"] == 0 and record["place"]["epoch"] == 0
    weights = [value for value in tensors.values() if value.dtype == np.float32]
    assert all(np.abs(value).max() < 10 for value in weights)
    assert run.read_summary() is None
    with pytest.raises(InputError, match=r"not finished.*goes on"):
        evaluate_run(run.path)


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"run": {}}', '{"model": 1, "name": "another program\'s"}']
)
def test_another_programs_config_is_not_a_run(tiny_job, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for use in (lambda: train(tiny_job(), str(tmp_path), quiet), lambda: evaluate_run(tmp_path)):
        with pytest.raises(InputError, match="not a run directory") as error:
            use()
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="not a"):
        evaluate_run(tmp_path / "config.json")


def test_names_and_sizes_are_checked_before_the_data_is_read(tiny_job, tmp_path):
    changes = [
        ({"model": "deit_huge"}, "Unknown model"),
        ({"model_values": {"patch_size": 5}}, "not a multiple of patch_size 5"),
        ({"teacher": "kerascv:resnet"}, "Unknown teacher"),
    ]
    for change, message in changes:
        job = dataclasses.replace(tiny_job(**change), dataset="folder:nowhere")
        with pytest.raises(InputError, match=message):
            train(job, str(tmp_path / "run"), quiet)


def test_a_learning_rate_scales_with_the_batch_or_not():
    values = {"learning_rate": 3e-3, "batch_size": 2048}
    assert Optimization(**values).peak_learning_rate == pytest.approx(1.2e-2)
    assert Optimization(**values, learning_rate_scaling=False).peak_learning_rate == 3e-3


def test_gradients_are_clipped_where_lamb_or_the_recipe_says_so():
    clips = {
        (name, clip): Optimization(optimizer=name, clip_norm=clip).gradient_clip
        for name in ("adamw", "lamb", "sgd")
        for clip in (None, 0.0, 2.5)
    }
    default = {name: clips.pop((name, None)) for name in ("adamw", "lamb", "sgd")}
    assert default == {"adamw": 0.0, "lamb": 1.0, "sgd": 0.0}
    assert all(value == clip for (_, clip), value in clips.items())


@pytest.mark.parametrize(
    "values", [{"ema_decay": 0.9}, {"trainable": "head"}, {"training_mode": False}], ids=str
)
def test_what_only_a_student_can_be_asked_is_refused_for_a_teacher(values):
    message = f"{next(iter(values))} of a teacher's training should be"
    with pytest.raises(InputError, match=message):
        TeacherRecipe(Optimization(**values), DIGITS.augmentation)


LAMB_RUN = {
    "optimizer": "lamb",
    "schedule": "epoch_cosine",
    "learning_rate": 0.05,
    "learning_rate_scaling": False,
    "loss": "binary_cross_entropy",
    "trainable": "attention",
    "layer_decay": 0.5,
    "ema_decay": 0.75,
    "epochs": 4,
    "warmup_epochs": 2,
}


def test_a_run_with_everything_of_the_optimization(tiny_job, tmp_path):
    augmentation = dataclasses.replace(DIGITS.augmentation, label_smoothing=0.0)
    lines = []
    job = tiny_job(LAMB_RUN, augmentation=augmentation)
    summary, where = train(job, str(tmp_path / "run"), lines.append)
    shown = dict(line.split(None, 1) for line in lines)
    # One block's attention of width 24, a head of ten classes, 18 positions.
    assert shown["parameters"] == "3,082 (attention only), 2,544 with weight decay and 538 without"
    assert shown["optimizer"] == (
        "lamb, weight decay 0.05, gradients clipped to 1, layer decay 0.5, EMA 0.75"
    )
    assert shown["schedule"] == "epoch_cosine, from 1e-06 over 2 epochs of warm-up to 1e-05"
    rows = list(csv.DictReader((where / "metrics.csv").open()))
    cosine = 1e-5 + (0.05 - 1e-5) * (1 + math.cos(math.pi * 2 / 4)) / 2
    expected = [1e-6, 1e-6, (1e-6 + 0.05) / 2, cosine]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == [pytest.approx(rate, rel=1e-5) for rate in expected]
    # The first step of BCE is at log 2 for each of ten classes of logits near 0.
    assert float(rows[0]["class_loss"]) == pytest.approx(math.log(2), rel=0.05)
    last, average = (stored_weights(where / f"{name}.weights.h5") for name in ("final", "ema"))
    differ = {name for name in last if not np.array_equal(last[name], average[name])}
    assert 0 < len(differ) < len(last)
    assert set(summary["test_ema"]) == set(summary["test"])
    found = evaluate_run(where)
    assert found["scores"] == summary["test"] and found["ema_scores"] == summary["test_ema"]
    table = final_report(summary, where).splitlines()
    (row,) = [line for line in table if line.startswith("fused, EMA ")]
    assert row.split()[2] == f"{summary['test_ema']['fused']['top1']:.4f}"
    assert sum(line.startswith("teacher") for line in table) == 1


@pytest.mark.parametrize("kind", ["soft", "none"])
def test_the_other_kinds_of_distillation_train(tiny_job, tmp_path, kind):
    job = tiny_job(distillation=kind)
    summary, where = train(job, str(tmp_path), quiet)
    with (where / "metrics.csv").open() as file:
        logged = next(csv.DictReader(file))
    assert ("distillation_loss" in logged) == (kind == "soft")
    assert "agreement" in summary["test"]["fused"]


def test_validation_runs_the_teacher_only_where_agreement_is_asked_for(
    finished, tiny_job, tmp_path
):
    _, run, _ = finished
    _, where = train(tiny_job(validate_agreement=True), str(tmp_path), quiet)
    plain, asked = (
        list(csv.DictReader((path / "metrics.csv").open())) for path in (run.path, where)
    )
    assert "val_agreement" not in plain[-1]
    assert 0 <= float(asked[-1]["val_agreement"]) <= 1
    # It changes nothing else.
    assert asked[-1]["loss"] == plain[-1]["loss"]


def test_a_student_without_a_token_is_distilled_on_its_one_head(tiny_job, tmp_path):
    job = tiny_job(model="deit_tiny_patch16_224")
    summary, where = train(job, str(tmp_path), quiet)
    assert set(summary["test"]) == {"teacher", "class", "fused"}
    assert summary["test"]["class"] == summary["test"]["fused"]
    with (where / "metrics.csv").open() as file:
        assert "distillation_loss" in next(csv.DictReader(file))


def test_without_a_teacher_there_is_no_agreement(tiny_job, tmp_path):
    job = tiny_job(distillation="none", teacher=None)
    summary, _ = train(job, str(tmp_path), quiet)
    assert set(summary["test"]) == {"class", "distillation", "fused"}
    assert set(summary["test"]["fused"]) == {"top1"}


def test_fewer_training_examples_keep_the_number_of_steps(tiny_job, tmp_path):
    job = tiny_job({"batch_size": 100}, job={"train_examples": 300})
    summary, _ = train(job, str(tmp_path), quiet)
    assert summary["steps"] == 2 * (1257 // 100)


def test_mixed_precision_trains_and_is_over_afterwards(tiny_job, tmp_path):
    job = tiny_job(job={"mixed_precision": "mixed_bfloat16"})
    summary, _ = train(job, str(tmp_path), quiet)
    assert 0 <= summary["test"]["fused"]["top1"] <= 1
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "deit_tiny_distiled_patch16_224"}, "Unknown model.*deit_tiny_distilled"),
        ({"model_values": {"image_size": 18}}, "image_size 18 is not a multiple of patch_size 4"),
        ({"model_values": {"num_heads": 5}}, "embed_dim 24 is not a multiple of num_heads 5"),
        ({"teacher": "kerascv:resnet18v2"}, "Unknown teacher.*kerascv:resnet18_v2"),
        ({"teacher": "gone.keras"}, "gone.keras does not exist"),
        (
            {"teacher": "kerascv:efficientnetv2_s_imagenet_classifier"},
            "has 1000 classes, dataset digits has 10: fine-tune it with `python "
            "scripts/train_teacher.py",
        ),
        ({"optimization": {"batch_size": 2000}}, "batch_size 2000 is larger than the 1257"),
        ({"job": {"train_examples": 2000}}, "2000 of 1257"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(tiny_job, tmp_path, changes, message):
    job = tiny_job(**changes)
    with pytest.raises(InputError, match=message) as error:
        train(job, str(tmp_path / "run"), quiet)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distillation": "firm"}, "hard, soft, none"),
        ({"alpha": 1.5}, "alpha"),
        ({"temperature": 0.0}, "temperature"),
        ({"teacher": None}, "needs a teacher"),
        ({"validation_epochs": 0}, "validation_epochs"),
        ({"evaluation_crop_ratio": 1.5}, "crop"),
        ({"evaluation_crop_ratio": 0.0}, "crop"),
        ({"optimization": {"epochs": 0}}, "epochs"),
        ({"optimization": {"warmup_epochs": 5}}, "warmup_epochs"),
        ({"optimization": {"weight_decay": -1.0}}, "weight_decay"),
        ({"optimization": {"optimizer": "lamp"}}, "Unknown optimizer 'lamp'.*lamb"),
        ({"optimization": {"schedule": "linear"}}, "Unknown schedule 'linear'.*cosine"),
        ({"optimization": {"loss": "hinge"}}, "Unknown loss 'hinge'.*binary_cross_entropy"),
        ({"optimization": {"trainable": "none"}}, "Unknown trainable 'none'.*attention"),
        ({"optimization": {"momentum": 1.0}}, "momentum should be at least 0 and below 1"),
        ({"optimization": {"ema_decay": 1.0}}, "ema_decay should be at least 0 and below 1"),
        ({"optimization": {"clip_norm": -1.0}}, "clip_norm should be 0 or more"),
        ({"optimization": {"layer_decay": 0.0}}, r"layer_decay should be in \(0, 1\]"),
        (
            {"optimization": {"loss": "binary_cross_entropy"}},
            r"needs label_smoothing 0: .* Received: label_smoothing=0\.1",
        ),
        ({"job": {"seed": -1}}, "seed"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_when_it_is_made(tiny_job, changes, message):
    with pytest.raises(InputError, match=message):
        tiny_job(**changes)


def test_the_directory_of_a_run_is_named_by_what_identifies_it(tiny_job):
    job = tiny_job()
    name = job.default_run_dir()
    assert name == dataclasses.replace(job, data_dir="elsewhere").default_run_dir()
    assert name != dataclasses.replace(job, seed=1).default_run_dir()
    assert name != tiny_job(alpha=0.4).default_run_dir()
    assert name.startswith("runs/deit_tiny_distilled_patch16_224-digits-hard-seed0-")
