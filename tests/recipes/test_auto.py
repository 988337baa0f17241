"""The recipe that is chosen for the data."""

import importlib.util

import cv2
import numpy as np
import pytest
from run_files import write_run_of

from keras_deit import InputError, create_model
from keras_deit.data import DatasetSize
from keras_deit.objectives import Distillation, Supervised
from keras_deit.planning import plan_report, plan_training
from keras_deit.recipes import (
    FINE_TUNING_TEACHER_RECIPE,
    Situation,
    auto_recipe,
    default_recipe,
    get_recipe,
    register_recipe,
)
from keras_deit.training import make_job, training_options
from keras_deit.training.preparation import build_student


def chosen(examples=500, side=28, accelerator=False, **given):
    data = DatasetSize("folder:x", 7, examples, side)
    return auto_recipe(Situation(data, accelerator, **given))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of twelve images of 30×40 pixels."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in "abc":
        (path / name).mkdir()
        for index in range(12):
            image = rng.integers(0, 256, (30, 40, 3), np.uint8)
            cv2.imwrite(str(path / name / f"{index}.png"), image)
    return f"folder:{path}"


def test_it_is_the_default_of_all_data_but_the_digits(folder):
    assert default_recipe("digits") == "digits"
    assert default_recipe(folder) == default_recipe("cifar10") == "auto"
    recipe = make_job(dataset=folder).recipe
    assert recipe.name == "auto" and recipe.model_values["image_size"] == 32
    assert any(
        "24 images" in reason or "images are little" in reason for reason in recipe.about.reasons
    )


@pytest.mark.parametrize(
    ("side", "accelerator", "size", "patch"),
    [
        (8, False, 16, 2),
        (28, False, 28, 4),
        (36, False, 40, 8),
        (48, False, 48, 8),
        (50, False, 56, 8),
        (500, False, 64, 8),
        (500, True, 224, 32),
        (None, False, 64, 8),
    ],
)
def test_size_and_patches_follow_from_the_images(side, accelerator, size, patch):
    values = chosen(side=side, accelerator=accelerator).model_values
    assert (values["image_size"], values["patch_size"], values["stem"]) == (size, patch, "conv")


def test_what_is_given_is_kept():
    assert chosen(side=30, patch_size=4).model_values["image_size"] == 32
    assert chosen(image_size=50, patch_size=10).model_values["image_size"] == 50
    assert chosen(image_size=40).model_values["image_size"] == 40
    assert chosen(image_size=(32, 64)).model_values["patch_size"] == 8
    named = chosen(model="cait_xxs24_224")
    assert named.model == "cait_xxs24_224" and named.model_values == {}


@pytest.mark.parametrize(
    ("given", "size", "patch"),
    [
        (36, 36, 4),
        (72, 72, 8),
        (30, 32, 4),
        (50, 56, 8),
        (100, 112, 16),
        ((30, 60), (32, 64), 8),
    ],
)
def test_any_given_size_has_patches(given, size, patch, folder):
    recipe = make_job(dataset=folder, image_size=given).recipe
    values = recipe.model_values
    assert (values["image_size"], values["patch_size"]) == (size, patch)
    assert any("next multiple" in reason for reason in recipe.about.reasons) == (given != size)
    create_model(recipe.model, num_classes=3, **values)


def test_weights_are_fine_tuned_and_large_data_has_a_published_recipe():
    fine = chosen(weights="start.safetensors", model="deit_tiny_patch16_224")
    assert fine.weights == "start.safetensors"
    assert fine.optimization.layer_decay < 1 and "stem" not in fine.model_values
    large = chosen(examples=1_281_167, side=400)
    assert large.name == "auto" and large.optimization == get_recipe("deit").optimization


def test_steps_grow_with_the_data():
    assert [chosen(examples=n).optimization.steps for n in (500, 10_000, 100_000)] == [
        *(4_000, 12_500, 40_000),
    ]


def test_a_teacher_that_is_named_is_distilled_from_softly(folder):
    job = make_job(dataset=folder, teacher="kerascv:resnet18_v2")
    objective = job.recipe.objective
    assert isinstance(objective, Distillation) and objective.kind == "soft"
    assert "distilled" in job.recipe.model and not objective.teacher_optional
    own = objective.values["teacher_recipe"]
    assert own.image_size == 64 and own.batch_norm_momentum == 0.9


@pytest.mark.parametrize("teacher", ["auto", "kerascv:resnet18_v2"])
@pytest.mark.parametrize("examples", [500, 1_281_167])
@pytest.mark.parametrize("weights", [None, "hf://timm/deit_tiny_patch16_224.fb_in1k"])
def test_a_teacher_is_distilled_from_in_every_situation(teacher, examples, weights):
    size = DatasetSize("folder:x", 7, examples, 200)
    job = make_job(size, dataset="cifar10", teacher=teacher, weights=weights)
    objective, reasons = job.recipe.objective, " ".join(job.recipe.about.reasons)
    assert objective.kind == ("soft" if weights or examples == 500 else "hard")
    assert objective.teacher_request.name.startswith("kerascv:") and "distilled" in reasons
    # A student that starts from weights has their heads.
    assert ("distilled" in job.recipe.model) == (weights is None)


def test_a_teacher_with_weights_is_fine_tuned():
    size = DatasetSize("folder:x", 7, 500, 48)
    teacher = {"teacher": "applications:ResNet50", "teacher_weights": "imagenet"}
    objective = make_job(size, dataset="cifar10", **teacher).recipe.objective
    assert objective.values["teacher_recipe"] == FINE_TUNING_TEACHER_RECIPE


def test_the_teacher_auto_is_optional_and_none_without_keras_cv(folder, monkeypatch):
    job = make_job(dataset=folder, teacher="auto")
    assert job.recipe.objective.teacher_optional
    assert job.recipe.objective.teacher_request.name == "kerascv:csp_darknet_tiny"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    job = make_job(dataset=folder, teacher="auto")
    assert isinstance(job.recipe.objective, Supervised)
    assert job.recipe.objective.teacher_request is None
    assert any("keras-cv is not installed" in reason for reason in job.recipe.about.reasons)


def test_a_plan_has_the_reasons_and_needs_no_data(folder):
    text = plan_report(plan_training(dataset=folder))
    assert "convolutional stem" in text
    plan = plan_training(dataset="cifar10", plan_examples=50_000, plan_classes=10)
    assert plan.job.recipe.model_values["image_size"] == 64


def test_the_name_is_reserved():
    assert "auto" in next(o for o in training_options() if o.name == "recipe").help
    with pytest.raises(InputError, match="chosen for the data"):
        register_recipe("auto", "deit")
    with pytest.raises(InputError, match="chosen for the data"):
        get_recipe("auto")


def test_weights_of_a_run_are_fine_tuned_in_its_model(folder, tmp_path):
    sizes = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = create_model("deit_tiny_patch16_224", num_classes=7, stem="conv", **sizes)
    write_run_of(model, tmp_path)
    for weights in (tmp_path, tmp_path / "final.weights.h5"):
        job = make_job(dataset=folder, weights=str(weights))
        assert job.recipe.model == "deit_tiny_patch16_224"
        assert {**sizes, "stem": "conv"}.items() <= job.recipe.model_values.items()
        assert any("embed_dim 24" in reason for reason in job.recipe.about.reasons)
    larger = build_student(make_job(dataset=folder, weights=str(tmp_path), image_size=32), 3)
    assert larger.input_shape[1] == 32 and larger.num_classes == 3
    kernels = [next(v for v in m.variables if "qkv" in v.path) for m in (model, larger)]
    np.testing.assert_array_equal(*kernels)
    distilled = "deit_tiny_distilled_patch16_224"
    named = make_job(dataset=folder, weights=str(tmp_path), model=distilled).recipe
    assert named.model == distilled and named.model_values["embed_dim"] == 24


def test_other_weights_say_their_model_or_need_it_named(folder, tmp_path):
    job = make_job(dataset=folder, weights="hf://facebook/deit-small-patch16-224")
    assert job.recipe.model == "deit_small_patch16_224"
    assert "embed_dim" not in job.recipe.model_values
    with pytest.raises(InputError, match=r"me/pets does not say.*--model"):
        make_job(dataset=folder, weights="hf://me/pets")
    with pytest.raises(InputError, match="no weights file"):
        make_job(dataset=folder, weights=str(tmp_path / "gone.safetensors"))
