"""Every value that a user can set, in Python and by flags."""

import dataclasses
import importlib
import logging
import pathlib

import cv2
import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.cli.main import run_command
from keras_deit.distributed import Devices
from keras_deit.evaluation import train
from keras_deit.objectives import Distillation, Supervised
from keras_deit.recipes import DIGITS, get_recipe, register_recipe
from keras_deit.training import (
    Job,
    Run,
    make_job,
    teacher_training_options,
    train_teacher,
    training_options,
)
from keras_deit.training.earlier_formats import run_digests


def test_without_options_a_job_is_the_recipe_of_the_digits():
    job = make_job()
    assert job == Job("digits", DIGITS.for_model(DIGITS.model))
    # None stands for the default.
    assert make_job(epochs=None, strategy=None, run_dir=None) == job


def test_each_part_of_a_job_gets_its_options():
    job = make_job(
        **{"dataset": "folder:images", "recipe": "deit", "model": "deit_small_patch16_224"},
        **{"seed": 7, "mixed_precision": "bfloat16", "on_nan": "skip", "virtual_devices": 2},
        **{"strategy": "mirrored", "epochs": 100, "mixup_alpha": 0.3, "embed_dim": 96},
        **{"teacher": "applications:MobileNetV3Small", "teacher_epochs": 4, "alpha": 0.2},
    )
    recipe = job.recipe
    assert (job.dataset, job.seed, job.on_nan) == (f"folder:{pathlib.Path.cwd()}/images", 7, "skip")
    assert job.mixed_precision == "mixed_bfloat16"
    assert job.devices == Devices("mirrored", virtual_devices=2)
    assert (recipe.name, recipe.model) == ("deit", "deit_small_patch16_224")
    assert (recipe.optimization.epochs, recipe.augmentation.mixup_alpha) == (100, 0.3)
    assert recipe.model_values["embed_dim"] == 96
    objective = recipe.objective
    assert (objective.alpha, objective.teacher_request.name) == (
        0.2,
        "applications:MobileNetV3Small",
    )
    assert objective.values["teacher_recipe"].optimization.epochs == 4


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"epoch": 3}, "epoch.*epochs"),
        ({"optimizer": "lamp"}, "optimizer.*lamb"),
        ({"strategy": "mirored"}, "strategy.*mirrored"),
        ({"recipe": "digit"}, "recipe.*digits"),
        ({"model": "deit_tiny_patch16_225"}, "model.*deit_tiny_patch16_224"),
        ({"objective": "distilation"}, "objective.*distillation"),
        ({"on_nan": "stop"}, "on_nan.*skip"),
    ],
)
def test_an_unknown_name_is_refused_with_close_ones(given, names):
    with pytest.raises(InputError, match=names) as error:
        make_job(**given)
    assert "\n" not in str(error.value)


def test_an_old_name_is_accepted_with_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        job = make_job(rematerialise=True)
    assert job.activation_checkpointing
    (record,) = caplog.records
    assert {"rematerialise", "activation_checkpointing"} <= set(record.args)
    assert make_job(activation_checkpointing=True) == job


@pytest.mark.parametrize(
    ("given", "epochs", "steps"),
    [
        ({}, 10, None),
        ({"epochs": 11}, 1, None),
        ({"epochs": 1}, 10 / 110, None),
        # A longer training has the same warm-up.
        ({"epochs": 220}, 10, None),
        ({"epochs": 11, "warmup_epochs": 5}, 5, None),
        ({"recipe": "augreg"}, 0, 10_000),
        ({"recipe": "augreg", "epochs": 30}, 0, 1_000),
        ({"recipe": "augreg", "epochs": 600}, 0, 10_000),
        ({"recipe": "augreg", "epochs": 30, "warmup_steps": 7}, 0, 7),
        # Epochs take the place of steps.
        ({"recipe": "augreg", "warmup_epochs": 2}, 2, None),
        ({"recipe": "augreg", "epochs": 30, "warmup_epochs": 2}, 2, None),
        ({"recipe": "deit", "schedule": "cosine", "warmup_steps": 9}, 5, 9),
    ],
)
def test_a_shorter_training_has_a_shorter_warm_up(given, epochs, steps):
    optimization = make_job(**given).recipe.optimization
    assert optimization.warmup_epochs == pytest.approx(epochs)
    assert optimization.warmup_steps == steps


@pytest.mark.parametrize(
    ("given", "cls", "values"),
    [
        ({"distillation": "none"}, Supervised, {"loss": "cross_entropy"}),
        (
            {"objective": "supervised", "loss": "sigmoid_cross_entropy"},
            Supervised,
            {"loss": "sigmoid_cross_entropy"},
        ),
        (
            {"distillation": "none", "teacher": "t.keras", "validate_agreement": True},
            Distillation,
            {"kind": "none"},
        ),
        ({"recipe": "deit", "teacher": "t.keras"}, Distillation, {"kind": "hard"}),
        (
            {"distillation": "soft", "temperature": 2.0},
            Distillation,
            {"kind": "soft", "temperature": 2.0},
        ),
    ],
)
def test_options_choose_the_objective(given, cls, values):
    objective = make_job(**given).recipe.objective
    assert type(objective) is cls
    assert values.items() <= objective.values.items()


@pytest.mark.parametrize("teacher", ["t.keras", "kerascv:resnet18_v2", "auto"])
def test_a_teacher_that_nothing_is_learned_from_is_refused(teacher):
    with pytest.raises(InputError, match=rf"--distillation none.*--teacher {teacher}"):
        make_job(distillation="none", teacher=teacher)
    with pytest.raises(InputError, match="--distillation none"):
        register_recipe("compared", "digits", distillation="none", teacher=teacher)


@pytest.fixture
def trained(monkeypatch):
    """Collects the jobs and directories that are trained, instead of training."""
    calls = []

    def collect(job, run_dir=None, *_, **__):
        calls.append((job, run_dir))
        return Run(run_dir or "runs/none")

    for module in ("evaluation.report", "cli.commands"):
        name = "train_with_report"
        monkeypatch.setattr(importlib.import_module(f"keras_deit.{module}"), name, collect)
    monkeypatch.setattr("keras_deit.cli.commands.final_report", lambda run: "")
    return calls


FLAGS = {
    "dataset": "folder:images",
    "recipe": "deit",
    "model": "deit_tiny_distilled_patch16_224",
    "epochs": 7,
    "learning_rate": 3e-4,
    "crop_scale": (0.2, 0.9),
    # Whole numbers are the same with and without a point.
    "mixup_alpha": 0,
    "teacher_warmup_epochs": 2,
    "image_size": (64, 32),
    "patch_size": 8,
    "learning_rate_scaling": False,
    "distillation": "soft",
    "teacher": "teacher.keras",
    "teacher_batch_size": 32,
    "mixed_precision": "bfloat16",
    "run_dir": "runs/mine",
    "on_bad_image": "skip",
}


def as_flag(name, value):
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    separator = "x" if name == "image_size" else ","
    text = separator.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"--{name}={text}"


def test_train_does_the_job_of_the_command(trained):
    train(**FLAGS)
    run_command(["train", *(as_flag(*item) for item in FLAGS.items())])
    run_command(["train"])
    train()
    assert trained[0] == trained[1]
    assert run_digests(trained[0][0]) == run_digests(trained[1][0])
    assert trained[2] == trained[3] == (make_job(), None)
    job, run_dir = trained[0]
    assert run_dir == "runs/mine"
    assert job.recipe.augmentation.crop_scale == (0.2, 0.9)
    assert not job.recipe.optimization.learning_rate_scaling
    assert job.recipe.objective.values["teacher_recipe"].optimization.batch_size == 32


def test_every_field_of_a_job_and_its_devices_is_an_option():
    names = {option.name for option in training_options()}
    fields = {field.name for cls in (Job, Devices) for field in dataclasses.fields(cls)}
    assert fields - names == {"devices"}
    assert all(option.help for option in training_options())


@pytest.fixture
def tuned(monkeypatch):
    """Collects the arguments of trainings of a teacher, instead of training."""
    calls = []

    def fine_tune_teacher(*args, **kwargs):
        calls.append((*args, kwargs))
        return {"validation": 0.5, "test": 0.25}

    monkeypatch.setattr("keras_deit.training.options.fine_tune_teacher", fine_tune_teacher)
    return calls


def test_train_teacher_does_what_the_command_does(tuned, tmp_path):
    given = {
        "teacher": "applications:MobileNetV3Small",
        "output": str(tmp_path / "teacher.keras"),
        "epochs": 3,
        "flip_probability": 0.25,
        "teacher_image_size": 48,
        "image_size": 32,
        "checkpoint_seconds": 20.0,
    }
    assert train_teacher(**given) == {"validation": 0.5, "test": 0.25}
    run_command(["train-teacher", *(as_flag(*item) for item in given.items())])
    (name, dataset, recipe, pipeline, path, options), other = tuned
    assert (name, dataset.name, path) == (given["teacher"], "digits", tmp_path / "teacher.keras")
    assert (recipe.optimization.epochs, recipe.image_size) == (3, 48)
    assert recipe.augmentation.flip_probability == 0.25
    assert (pipeline.image_format.height, pipeline.num_classes) == (32, 10)
    unset = dict.fromkeys(("weights", "pixels", "outputs"))
    assert options == {**unset, "checkpoint_seconds": 20.0, "accept_changed_data": False}
    assert (other[0], other[2], other[4:]) == (name, recipe, (path, options))


def test_a_teacher_takes_folders_as_a_training_does(tuned, tmp_path, capsys):
    """Of two splits a third is held out, unreadable images are skipped, and what is there said."""
    for split, count in (("train", 8), ("val", 2)):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / split / name / f"{number}.png"
                path.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1])
    path.write_bytes(b"no image")
    given = {
        "teacher": "applications:MobileNetV3Small",
        "output": str(tmp_path / "teacher.keras"),
        "dataset": f"folder:{tmp_path}",
        "recipe": "digits",
        "image_size": 32,
    }
    with pytest.raises(InputError, match="1 unreadable"):
        train_teacher(**given)
    assert not tuned
    train_teacher(**given, on_bad_image="skip", test_share=0.25)
    ((_, dataset, _, pipeline, _, _),) = tuned
    assert dataset.examples == {"train": 12, "validation": 4, "test": 4}
    assert pipeline.bad_images.policy == "skip"
    printed = capsys.readouterr().out
    assert "train 12, validation 4, test 4" in printed and "test: held out of train" in printed


def test_train_teacher_refuses_what_is_not_its_own(tuned, tmp_path):
    (tmp_path / "there.keras").touch()
    for given, message in (
        ({"output": str(tmp_path / "there.keras")}, "there.keras exists"),
        ({"output": str(tmp_path / "teacher.h5")}, r"\.keras file"),
        ({"epoch": 3}, "epoch.*epochs"),
        ({"teacher": "kerascv:resnet"}, "teacher.*kerascv:resnet18"),
        ({"teacher": None}, "teacher"),
    ):
        values = {
            "teacher": "applications:MobileNetV3Small",
            "output": str(tmp_path / "new.keras"),
            **given,
        }
        with pytest.raises(InputError, match=message):
            train_teacher(**values)
    assert not tuned
    assert not {"alpha", "mixed_precision"} & {o.name for o in teacher_training_options()}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"seed": -1}, "seed"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds"),
        ({"keep_checkpoints": 0}, "keep_checkpoints"),
        ({"on_nan": "stop"}, "on_nan"),
        ({"recipe": get_recipe("deit_finetune_384")}, "--weights"),
    ],
)
def test_a_job_out_of_range_is_refused(values, word):
    with pytest.raises(InputError, match=word):
        Job("digits", **{"recipe": DIGITS, **values})
