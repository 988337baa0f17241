"""A whole training: what it does, logs and scores, and what it refuses."""

import dataclasses
import datetime
import json
import math
import shutil

import keras
import numpy as np
import pytest
from run_files import checkpoint_names, files_below, quiet
from weight_files import stored_weights

from keras_deit import InputError
from keras_deit.evaluation import evaluate_run
from keras_deit.objectives import Supervised
from keras_deit.planning import make_plan
from keras_deit.recipes import DIGITS, get_recipe
from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model
from keras_deit.training import Job, Run, train_job
from keras_deit.training.checkpoints.file import read_checkpoint
from keras_deit.training.identity import run_identity
from keras_deit.training.trainer import default_run_dir

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]

ONE_EPOCH = {"epochs": 1, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def finished(tiny_job, tmp_path_factory, eager):
    """A finished run of the tiny job, and the lines that were printed."""
    lines = []
    run = train_job(tiny_job(), str(tmp_path_factory.mktemp("runs") / "run"), lines.append)
    return run, lines


def shown(lines):
    """Returns what was printed at the start by its title."""
    return {line[:24].strip(): line[25:] for line in lines}


def test_a_run_directory_holds_the_whole_run(finished, tiny_job):
    run, _ = finished
    assert run.config["run"] == run_identity(tiny_job())
    assert run.config["class_names"] == list("0123456789")
    environment = run.config["environment"]
    assert environment["versions"]["keras"] == keras.__version__
    assert environment["command"] and datetime.datetime.fromisoformat(environment["started"])
    assert stored_weights(run.best_weights).keys() == stored_weights(run.final_weights).keys()
    assert run.summary["checkpoints"]["written"] == 2 and run.summary["skipped_steps"] == 0
    assert run.summary["bad_images"] == []
    assert len(list(run.tensorboard.glob("*/events*"))) == 2
    assert not list(run.path.rglob("partial-*"))


def test_the_log_has_every_figure_of_each_epoch(finished):
    run, _ = finished
    assert [row["epoch"] for row in run.history] == [0, 1]
    for name in (
        *("loss", "class_loss", "distillation_loss", "learning_rate", "val_loss"),
        *("accuracy", "class_accuracy", "distillation_accuracy", "agreement", "val_accuracy"),
    ):
        assert all(math.isfinite(row[name]) for row in run.history), name
    # The rates of the first steps: warm-up takes the three steps of the first epoch.
    first, last = (row["learning_rate"] for row in run.history)
    assert first == pytest.approx(1e-6, rel=1e-5)
    assert last == pytest.approx(DIGITS.optimization.learning_rate * 400 / 512, rel=1e-5)
    for row in run.history:
        expected = (row["class_loss"] + row["distillation_loss"]) / 2
        assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_summary_scores_every_head_on_the_test_split(finished):
    run, _ = finished
    summary = run.summary
    assert summary["test_examples"] == 360
    assert summary["steps"] == 6
    assert set(summary["test"]) == {"teacher", "class", "distillation", "fused"}
    assert summary["test"]["teacher"]["agreement"] == 1.0
    for scores in summary["test"].values():
        for value in scores.values():
            assert value * 360 == pytest.approx(round(value * 360), abs=1e-3)
    assert summary["images_per_second"] > 0


def test_the_start_reports_the_effective_values(finished):
    run, lines = finished
    effective = run.config["effective"]
    # The teacher of the tiny job has random weights.
    assert effective == shown(line for line in lines if not line.startswith("WARNING"))
    assert effective["parameters"].startswith("9,428, 8,568 ")
    assert effective["steps"] == "6 (2 epochs of 3)"
    rate = DIGITS.optimization.learning_rate * 400 / 512
    assert effective["peak learning rate"] == f"{rate:.3g}"


def test_the_same_seed_gives_the_same_run_also_if_agreement_is_validated(
    finished, tiny_job, tmp_path
):
    run, _ = finished
    again = train_job(tiny_job(objective={"validate_agreement": True}), str(tmp_path), quiet)
    assert again.path != run.path
    first, second = (stored_weights(one.final_weights) for one in (run, again))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert again.summary["test"] == run.summary["test"]
    for row, other in zip(run.history, again.history, strict=True):
        assert "val_agreement" not in row and 0 <= other["val_agreement"] <= 1
        in_training = {name: value for name, value in row.items() if not name.startswith("val_")}
        assert in_training.items() <= other.items()
        assert row["val_accuracy"] == other["val_accuracy"]


def test_another_seed_gives_another_run(finished, tiny_job, tmp_path):
    run, _ = finished
    other = train_job(tiny_job(ONE_EPOCH, {"seed": 1}), str(tmp_path), quiet)
    first, second = (stored_weights(one.final_weights) for one in (run, other))
    kernels = [name for name in first if first[name].ndim > 1]
    assert kernels and not any(np.array_equal(first[name], second[name]) for name in kernels)


def test_a_directory_with_a_different_run_is_left_alone(finished, tiny_job):
    run, _ = finished
    before = files_below(run.path)
    with pytest.raises(InputError, match=r"objective\.alpha the default there, 0\.25 here"):
        train_job(tiny_job(objective={"alpha": 0.25}), str(run.path), quiet)
    assert files_below(run.path) == before


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        # The update of the second of three steps is too large: the third has no gradient.
        (400, r"step 3 \(epoch 1\)"),
        # The second step is the last one.
        (600, r"validation loss became (nan|inf) in epoch 1"),
    ],
)
def test_a_training_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tiny_job, tmp_path, batch_size, message
):
    job = tiny_job({"learning_rate": 1e30, "warmup_learning_rate": 0.0, "batch_size": batch_size})
    with pytest.raises(InputError, match=message) as error:
        train_job(job, str(tmp_path / "run"), quiet)
    run = Run(tmp_path / "run")
    (name,) = checkpoint_names(run)
    assert str(run.checkpoints / name) in str(error.value)
    tensors, metadata = read_checkpoint(run.checkpoints / name)
    assert (metadata["progress"]["epoch"], metadata["progress"]["step"]) == (0, 0)
    weights = [value for value in tensors.values() if value.dtype == np.float32]
    assert all(np.abs(value).max() < 10 for value in weights)
    assert run.summary is None


@pytest.fixture(scope="module")
def lamb(tiny_job, tmp_path_factory, eager):
    """A run with everything that an optimization has."""
    optimization = {
        "optimizer": "lamb",
        "schedule": "epoch_cosine",
        "learning_rate": 0.05,
        "learning_rate_scaling": False,
        "trainable": "attention",
        "layer_decay": 0.5,
        "ema_decay": 0.75,
        "epochs": 4,
        "warmup_epochs": 2,
    }
    augmentation = dataclasses.replace(DIGITS.augmentation, label_smoothing=0.0)
    job = tiny_job(
        optimization, objective={"loss": "binary_cross_entropy"}, augmentation=augmentation
    )
    return train_job(job, str(tmp_path_factory.mktemp("lamb")), quiet)


@pytest.mark.slow
def test_the_optimization_is_reported(lamb):
    effective = lamb.config["effective"]
    # One block's attention of width 24, a head of ten classes, 18 positions.
    assert effective["parameters"].startswith("3,082 (attention only), 2,544 ")
    for part in ("lamb", "weight decay 0.05", "clipped to 1", "layer decay 0.5", "EMA 0.75"):
        assert part in effective["optimizer"]
    for part in ("epoch_cosine", "from 1e-06", "2 epochs of", "to 1e-05"):
        assert part in effective["schedule"]


@pytest.mark.slow
def test_the_schedule_and_the_loss_are_those_of_the_recipe(lamb):
    cosine = 1e-5 + (0.05 - 1e-5) * (1 + math.cos(math.pi * 2 / 4)) / 2
    expected = [1e-6, 1e-6, (1e-6 + 0.05) / 2, cosine]
    rates = [row["learning_rate"] for row in lamb.history]
    assert rates == [pytest.approx(rate, rel=1e-5) for rate in expected]
    # The logits start near 0, where binary cross-entropy is log 2 for each class.
    assert lamb.history[0]["class_loss"] == pytest.approx(math.log(2), rel=0.05)


@pytest.mark.slow
def test_only_what_is_trained_differs_from_its_average(lamb):
    last, average = (stored_weights(file) for file in (lamb.final_weights, lamb.ema_weights))
    differ = {name for name in last if not np.array_equal(last[name], average[name])}
    assert 0 < len(differ) < len(last)
    assert set(lamb.summary["test_ema"]) == set(lamb.summary["test"])


def test_a_student_without_a_distillation_token_is_distilled_on_its_one_head(tiny_job, tmp_path):
    job = tiny_job(ONE_EPOCH, objective={"kind": "soft"}, model="deit_tiny_patch16_224")
    run = train_job(job, str(tmp_path), quiet)
    assert set(run.summary["test"]) == {"teacher", "class", "fused"}
    assert run.summary["test"]["class"] == run.summary["test"]["fused"]
    assert "distillation_loss" in run.history[0]


def test_without_distillation_a_teacher_is_compared_with_if_that_is_asked_for(tiny_job, tmp_path):
    job = tiny_job(ONE_EPOCH, objective={"kind": "none", "validate_agreement": True})
    run = train_job(job, str(tmp_path), quiet)
    assert "distillation_loss" not in run.history[0]
    assert "agreement" in run.summary["test"]["fused"]


def test_without_distillation_no_teacher_is_trained_or_loaded(tiny_job, tmp_path):
    teacher = {"kind": "none", "teacher": "kerascv:resnet18_v2"}
    job = tiny_job(ONE_EPOCH, {"teacher_dir": str(tmp_path / "teachers")}, teacher)
    assert not make_plan(job).trains_teacher
    run = train_job(job, str(tmp_path / "run"), quiet)
    assert run.config["teacher"] is None and "teacher" not in run.summary["test"]
    assert not (tmp_path / "teachers").exists()
    scores = evaluate_run(run.path, print_fn=quiet)["scores"]
    assert scores["fused"] == run.summary["test"]["fused"]


@pytest.fixture(scope="module")
def supervised(tiny_job, tmp_path_factory, eager):
    """A supervised run with few images in mixed precision."""
    values = {"train_examples": 250, "mixed_precision": "mixed_bfloat16"}
    job = tiny_job({**ONE_EPOCH, "batch_size": 200}, values, Supervised())
    return train_job(job, str(tmp_path_factory.mktemp("supervised")), quiet)


def test_without_a_teacher_there_is_no_agreement(supervised):
    assert set(supervised.summary["test"]) == {"class", "distillation", "fused"}
    assert set(supervised.summary["test"]["fused"]) == {"top1"}


def test_fewer_training_examples_keep_the_number_of_steps(supervised):
    assert supervised.summary["steps"] == 1257 // 200


def test_mixed_precision_ends_with_the_training(supervised):
    assert supervised.config["model"]["dtype"] == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "deit_tiny_distiled_patch16_224"}, "model.*deit_tiny_distilled"),
        ({"model_values": {"image_size": 18}}, "image_size 18.* patch_size 4"),
        ({"model_values": {"num_heads": 5}}, "embed_dim 24.* num_heads 5"),
        ({"objective": {"teacher": "kerascv:resnet18v2"}}, "teacher.*kerascv:resnet18_v2"),
    ],
)
def test_names_and_sizes_are_checked_before_the_data_is_read(tiny_job, tmp_path, changes, message):
    job = dataclasses.replace(tiny_job(**changes), dataset="folder:nowhere")
    with pytest.raises(InputError, match=message):
        train_job(job, str(tmp_path / "run"), quiet)


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    """The file of a teacher with another number of classes than the digits."""
    path = tmp_path_factory.mktemp("teacher") / "three.keras"
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    save_teacher_model(model, TeacherContract(pixel_format("0-1", 8, 8), "logits", 3), path)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"teacher": "gone.keras"}}, r"gone\.keras"),
        ({"objective": {"teacher": "three classes"}}, "3 classes.* 10.*train-teacher"),
        ({"objective": {"teacher": None}}, "needs a teacher"),
        ({"optimization": {"batch_size": 2000}}, "batch_size 2000 .*1257"),
        ({"job": {"train_examples": 2000}}, "2000 of 1257"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    tiny_job, three_classes, tmp_path, changes, message
):
    if changes.get("objective", {}).get("teacher") == "three classes":
        changes = {"objective": {"teacher": three_classes}}
    job = tiny_job(**changes)
    with pytest.raises(InputError, match=message) as error:
        train_job(job, str(tmp_path / "run"), quiet)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_directory_of_a_run_is_named_after_its_identity(tiny_job):
    job = tiny_job()
    name = default_run_dir(job)
    assert name == default_run_dir(dataclasses.replace(job, data_dir="elsewhere"))
    assert name != default_run_dir(dataclasses.replace(job, seed=1))
    assert name != default_run_dir(tiny_job(objective={"alpha": 0.4}))
    assert name.startswith("runs/deit_tiny_distilled_patch16_224-digits-hard-seed0-")


def augreg_job(weights=None, **optimization):
    """Returns a job of AugReg's recipe on the digits."""
    recipe = get_recipe("augreg_regularized")
    sizes = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 3}
    training = {"epochs": 2, "batch_size": 400, "warmup_steps": 4, **optimization}
    recipe = dataclasses.replace(
        recipe,
        weights=weights,
        model_values={**recipe.model_values, **sizes},
        optimization=dataclasses.replace(recipe.optimization, **training),
    )
    return Job("digits", recipe)


@pytest.fixture(scope="module")
def augreg(tmp_path_factory, eager):
    return train_job(augreg_job(), str(tmp_path_factory.mktemp("augreg")), quiet)


@pytest.mark.slow
def test_heads_without_kernels_start_at_the_loss_of_their_bias(augreg):
    effective = augreg.config["effective"]
    assert "over 4 steps" in effective["schedule"]
    assert "sigmoid_cross_entropy" in effective["objective"]
    assert "clipped to 1" in effective["optimizer"]
    # The recipe has its authors' evaluation, which is not that of timm's files.
    assert (augreg.config["crop_ratio"], augreg.config["interpolation"]) == (0.875, "bilinear")
    start = 10 * math.log(1 + math.exp(-6.9)) + 6.9
    first, second = (row["class_loss"] for row in augreg.history)
    assert 0.95 * start < first < start and second < first


@pytest.mark.slow
def test_trained_heads_keep_their_weights_at_the_start(augreg, tmp_path):
    # A training without a learning rate changes nothing.
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1, "warmup_steps": 1}
    job = augreg_job(str(augreg.final_weights), **still)
    assert job.recipe.head_bias is not None
    run = train_job(job, str(tmp_path), quiet)
    assert run.summary["test"] == augreg.summary["test"]


def test_a_run_starts_from_another_and_keeps_its_normalization(finished, tiny_job, tmp_path):
    """The images of the first run were normalized otherwise, as its configuration says."""
    first, _ = finished
    start = shutil.copytree(first.path, tmp_path / "start")
    statistics = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    config = {**json.loads(first.config_file.read_text()), **statistics}
    (start / "config.json").write_text(json.dumps(config))
    Run(start).finish(first.summary)
    slow = {"learning_rate": 1e-6, **ONE_EPOCH}
    job = tiny_job(slow, weights=f"{start}#best")
    run = train_job(job, str(tmp_path / "run"), quiet)
    before, after = stored_weights(first.best_weights), stored_weights(run.final_weights)
    floats = [name for name, values in before.items() if values.dtype.kind == "f"]
    assert floats and all(np.allclose(before[n], after[n], atol=1e-4) for n in floats)
    image_format = run.model().image_format
    assert (image_format.mean, image_format.std) == ((0.5,) * 3, (0.25,) * 3)
    # Other images give other figures.
    assert run.summary["test"]["class"] != first.summary["test"]["class"]


def test_a_warm_up_that_is_longer_than_the_training_is_refused_before_it_starts(tmp_path):
    with pytest.raises(InputError, match=r"warmup_steps .*6"):
        train_job(augreg_job(warmup_steps=7), str(tmp_path / "run"), quiet)
    assert not (tmp_path / "run").exists()
