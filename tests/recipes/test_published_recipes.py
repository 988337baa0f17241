"""The published recipes have the values of the papers and of the published command lines."""

import dataclasses
import math

import pytest

from keras_deit import InputError
from keras_deit.models import abstract_model, list_models, model_values
from keras_deit.objectives import Dino, Distillation, Grafit, Supervised
from keras_deit.optimizers import learning_rate_schedule
from keras_deit.recipes import get_recipe, list_recipes, recipe_table
from keras_deit.training import Job
from keras_deit.training.identity import run_identity

# Recipe, model: epochs, batch size, optimizer, peak learning rate, minimum, weight decay,
# drop path, label loss. From table 9 of DeiT, tables 1 and 14 of DeiT III, tables 3.16 and 5.8 of
# the thesis and the command lines of the published READMEs.
PUBLISHED = {
    ("deit", "deit_tiny_patch16_224"): (300, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.1, "ce"),
    ("deit_distilled", "deit_base_distilled_patch16_224"): (
        *(300, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.1, "ce"),
    ),
    ("deit_distilled_1000", "deit_base_distilled_patch16_224"): (
        *(1000, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.1, "ce"),
    ),
    ("deit_finetune_384", "deit_base_patch16_384"): (
        *(30, 512, "adamw", 5e-6, 5e-6, 1e-8, 0.0, "ce"),
    ),
    ("cait", "cait_xxs24_224"): (400, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.05, "ce"),
    ("cait", "cait_m48_224"): (400, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.4, "ce"),
    ("cait_distilled", "cait_s36_224"): (400, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.2, "ce"),
    ("cait_finetune_448", "cait_m48_448"): (60, 256, "adamw", 5e-6, 1e-5, 0.05, 0.3, "ce"),
    ("binaryvit", "binary_vit_small_patch4_224"): (
        *(300, 512, "adamw", 5e-4, 1e-5, 0.0, 0.0, "ce"),
    ),
    ("layerscale", "deit_small_d36_patch16_224"): (
        *(300, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.25, "ce"),
    ),
    ("layerscale_fixup", "deit_small_patch16_224"): (
        *(300, 1024, "adamw", 1e-3, 1e-5, 0.05, 0.05, "ce"),
    ),
    ("resmlp", "resmlp_12_224"): (400, 2048, "lamb", 5e-3, 1e-5, 0.2, 0.05, "ce"),
    ("patchconvnet", "patchconvnet_s120_224"): (400, 2048, "lamb", 3e-3, 1e-5, 0.01, 0.2, "ce"),
    ("patchconvnet", "patchconvnet_b60_224"): (400, 2048, "lamb", 3e-3, 1e-5, 0.05, 0.3, "ce"),
    ("patchconvnet_finetune", "patchconvnet_b60_384"): (
        *(10, 1024, "adamw", 1e-5, 1e-5, 0.01, 0.2, "ce"),
    ),
    ("deit3_1k", "deit3_small_patch16_224"): (800, 2048, "lamb", 4e-3, 1e-5, 0.05, 0.05, "bce"),
    ("deit3_1k", "deit3_base_patch16_192"): (800, 2048, "lamb", 3e-3, 1e-5, 0.05, 0.2, "bce"),
    ("deit3_1k", "deit3_huge_patch14_154"): (800, 2048, "lamb", 3e-3, 1e-5, 0.05, 0.6, "bce"),
    ("deit3_1k_400", "deit3_large_patch16_224"): (
        *(400, 2048, "lamb", 3e-3, 1e-5, 0.02, 0.4, "bce"),
    ),
    ("deit3_1k_finetune", "deit3_huge_patch14_224"): (
        *(20, 512, "adamw", 1e-5, 1e-5, 0.1, 0.55, "ce"),
    ),
    ("deit3_21k", "deit3_huge_patch14_126"): (90, 2048, "lamb", 1e-3, 1e-5, 0.02, 0.5, "ce"),
    ("deit3_21k", "deit3_base_patch16_224"): (240, 2048, "lamb", 1e-3, 1e-5, 0.02, 0.1, "ce"),
    ("deit3_21k_finetune", "deit3_large_patch16_224"): (
        *(50, 2048, "lamb", 3e-4, 1e-5, 0.02, 0.4, "ce"),
    ),
    ("transfer_cifar10", "deit_base_patch16_224"): (
        *(1000, 768, "sgd", 0.01, 1e-5, 1e-4, 0.0, "ce"),
    ),
    ("transfer_cifar10", "resmlp_24_224"): (1000, 768, "adamw", 5e-6, 1e-5, 0.05, 0.1, "ce"),
    ("transfer_cifar100", "deit_base_patch16_224"): (
        *(1000, 768, "adamw", 5e-6, 1e-5, 0.05, 0.0, "ce"),
    ),
    ("transfer_cars", "cait_s36_224"): (1000, 1024, "adamw", 1e-4, 1e-5, 0.05, 0.2, "ce"),
    ("transfer_cifar10", "cait_xxs24_224"): (1000, 1024, "adamw", 1e-5, 1e-5, 0.05, 0.05, "ce"),
    ("transfer_inat19", "cait_s36_224"): (360, 1024, "adamw", 1e-4, 1e-5, 0.05, 0.2, "ce"),
    ("transfer_inat18", "deit_base_patch16_224"): (
        *(360, 768, "adamw", 7.5e-5, 1e-5, 0.05, 0.1, "ce"),
    ),
}
LOSSES = {"ce": "cross_entropy", "bce": "binary_cross_entropy"}


@pytest.mark.parametrize(("name", "model"), PUBLISHED, ids=str)
def test_numbers_of_a_recipe_for_a_model(name, model):
    recipe = get_recipe(name).for_model(model)
    optimization = recipe.optimization
    assert recipe.model == model
    assert (
        optimization.epochs,
        optimization.batch_size,
        optimization.optimizer,
        pytest.approx(optimization.peak_learning_rate, rel=1e-6),
        optimization.min_learning_rate,
        optimization.weight_decay,
        recipe.model_values.get("drop_path_rate", 0.0),
        recipe.objective.loss,
    ) == (*PUBLISHED[name, model][:-1], LOSSES[PUBLISHED[name, model][-1]])
    warmup = 0 if name == "binaryvit" else 5
    assert (optimization.warmup_epochs, optimization.warmup_learning_rate) == (warmup, 1e-6)
    assert optimization.schedule == "epoch_cosine"


# Thesis, table 3.16.
CAIT_DROP_PATH = {
    **{"xxs24": 0.05, "xxs36": 0.1, "xs24": 0.05, "xs36": 0.1, "s24": 0.1, "s36": 0.2},
    **{"s48": 0.3, "m24": 0.2, "m36": 0.3, "m48": 0.4},
}
# Thesis, table 5.8.
PATCHCONVNET_DROP_PATH = {
    **{"s20": 0.0, "s36": 0.05, "s60": 0.15, "s120": 0.2, "b36": 0.2, "b60": 0.3, "b120": 0.4}
}


def drop_path(recipe, model):
    return get_recipe(recipe).for_model(model).model_values.get("drop_path_rate")


@pytest.mark.parametrize("size", CAIT_DROP_PATH)
@pytest.mark.parametrize("recipe", ["cait", "cait_distilled", "transfer_cifar10"])
def test_stochastic_depth_of_cait(recipe, size):
    assert drop_path(recipe, f"cait_{size}_224") == CAIT_DROP_PATH[size]


@pytest.mark.parametrize("size", PATCHCONVNET_DROP_PATH)
def test_stochastic_depth_of_patchconvnet(size):
    """It is 0.1 lower in fine-tuning and with ImageNet-21k (§5.2.3)."""
    rate = PATCHCONVNET_DROP_PATH[size]
    assert drop_path("patchconvnet", f"patchconvnet_{size}_224") == rate
    lower = pytest.approx(max(rate - 0.1, 0))
    for model in set(list_models(f"patchconvnet_{size}_???")) - {f"patchconvnet_{size}_224"}:
        assert drop_path("patchconvnet_finetune", model) == lower
    assert drop_path("patchconvnet_21k", f"patchconvnet_{size}_224") == lower
    assert drop_path("patchconvnet_21k_finetune", f"patchconvnet_{size}_224") == lower


def test_size_at_which_deit3_trains():
    for size, side in (("small_patch16", 224), ("base_patch16", 192), ("large_patch16", 192)):
        recipe = get_recipe("deit3_1k").for_model(f"deit3_{size}_224")
        model = abstract_model(recipe.model, **{**recipe.model_values, "depth": 1})
        assert model.image_format.height == side
    huge = get_recipe("deit3_1k").for_model("deit3_huge_patch14_224")
    assert huge.model_values["image_size"] == 154


# Crop, policy, jitter, erasing, Mixup, CutMix, smoothing, copies.
AUGMENTATIONS = {
    "deit": ("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.25, 0.8, 1.0, 0.1, 3),
    "cait": ("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.25, 0.8, 1.0, 0.1, 3),
    "resmlp": ("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.25, 0.8, 1.0, 0.1, 3),
    "patchconvnet": ("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.0, 0.8, 1.0, 0.1, 3),
    "patchconvnet_21k": (
        *("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.0, 0.8, 1.0, 0.1, 1),
    ),
    "deit3_1k": ("random_resized_crop", "3a", 0.3, 0.0, 0.8, 1.0, 0.0, 3),
    "deit3_1k_finetune": (
        *("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.0, 0.8, 1.0, 0.1, 1),
    ),
    "deit3_21k": ("simple_random_crop", "3a", 0.3, 0.0, 0.0, 1.0, 0.1, 1),
    "deit3_21k_finetune": ("simple_random_crop", "3a", 0.3, 0.0, 0.0, 1.0, 0.1, 1),
    "transfer_cifar10": (
        *("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.0, 0.8, 1.0, 0.1, 3),
    ),
    "transfer_inat19": (
        *("random_resized_crop", "rand-m9-mstd0.5-inc1", 0.0, 0.1, 0.8, 1.0, 0.1, 3),
    ),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation(name):
    augmentation = get_recipe(name).augmentation
    assert (
        augmentation.crop,
        augmentation.auto_augment,
        augmentation.color_jitter,
        augmentation.erase_probability,
        augmentation.mixup_alpha,
        augmentation.cutmix_alpha,
        augmentation.label_smoothing,
        augmentation.repeated_augmentation,
    ) == AUGMENTATIONS[name]


def test_cait_is_transferred_with_the_augmentation_of_its_training():
    own = get_recipe("cait").for_model("cait_s36_224").augmentation
    for name in ("cifar10", "cifar100", "cars", "flowers", "inat18", "inat19"):
        recipe = get_recipe(f"transfer_{name}")
        assert recipe.for_model("cait_s36_224").augmentation == own, name
        assert recipe.for_model("cait_s36_224").crop_ratio == 0.875
        assert recipe.for_model("deit3_base_patch16_224").crop_ratio == 1.0


def test_deit3_trains_only_its_attention_on_flowers():
    flowers = get_recipe("transfer_flowers")
    assert flowers.for_model("deit3_large_patch16_224").optimization.trainable == "attention"
    assert flowers.for_model("cait_s36_224").optimization.trainable == "all"


def test_evaluation_is_that_of_the_model_unless_the_recipe_has_another():
    deit = get_recipe("deit")
    assert (deit.crop_ratio, deit.interpolation) == (0.875, "bicubic")
    linear = dataclasses.replace(deit.augmentation, interpolation="bilinear")
    assert dataclasses.replace(deit, augmentation=linear).interpolation == "bicubic"
    own = dataclasses.replace(deit, evaluation_interpolation="bilinear")
    assert own.interpolation == "bilinear"
    assert get_recipe("deit3_1k").interpolation == "bicubic"
    assert get_recipe("augreg").interpolation == "bilinear"
    with pytest.raises(InputError, match="nearest"):
        dataclasses.replace(deit, evaluation_interpolation="nearest")


def test_modes_of_fine_tuning():
    assert not get_recipe("deit_finetune_384").optimization.training_mode
    assert get_recipe("deit3_1k_finetune").optimization.training_mode
    assert get_recipe("attention_only").optimization.trainable == "attention"
    tuned = {name for name in list_recipes() if get_recipe(name).fine_tunes}
    named = {name for name in list_recipes() if "finetune" in name or name.startswith("transfer_")}
    assert tuned == named | {"attention_only"}


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_fits_its_models(name):
    """Its model builds, and its variants name models and values that exist."""
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.about.source and recipe.about.hardware and recipe.expected
    chosen = recipe.for_model(recipe.model)
    assert not chosen.variants
    values = abstract_model(recipe.model, **{**chosen.model_values, "depth": 1}).get_config()
    assert values["drop_path_rate"] == chosen.model_values.get("drop_path_rate", 0)
    for variant in recipe.variants:
        models = list_models(variant.pattern)
        assert models, variant.pattern
        for model in models:
            known = {*model_values(model), "normalization"}
            assert variant.model_values.keys() <= known
            recipe.for_model(model)
    job = Job("digits", dataclasses.replace(recipe, weights="some.safetensors"))
    assert run_identity(job)["recipe"] == name


def test_only_distillation_has_a_teacher():
    for name in list_recipes():
        distills = "distilled" in name or name in ("digits", "cait_finetune_448", "binaryvit")
        objective = get_recipe(name).objective
        expected = Distillation if distills else Supervised
        if name.startswith(("dino", "grafit")) or name == "snca_plus":
            expected = Dino if name.startswith("dino") else Grafit
        assert type(objective) is expected
        assert (objective.teacher_request is not None) == distills
        assert not distills or objective.kind == ("soft" if name == "binaryvit" else "hard")


def test_binaryvit_learns_the_distribution_of_a_deit_s_alone():
    recipe = get_recipe("binaryvit")
    values = recipe.objective.values
    assert (values["alpha"], values["temperature"]) == (1.0, 1.0)
    assert (values["teacher"], values["teacher_weights"]) == ("deit_small_patch16_224", "imagenet")
    augmentation = recipe.augmentation
    assert augmentation.crop == "random_resized_crop" and augmentation.flip_probability == 0.5
    assert augmentation.auto_augment == "none" and augmentation.repeated_augmentation == 1
    others = ("mixup_alpha", "cutmix_alpha", "erase_probability", "color_jitter", "label_smoothing")
    assert not any(getattr(augmentation, name) for name in others)
    optimization = recipe.optimization
    assert (optimization.warmup_epochs, optimization.gradient_clip) == (0, 0)
    assert optimization.ema_decay == 0 and not recipe.fine_tunes
    rate = learning_rate_schedule(optimization, 2502)
    assert float(rate(0)) == pytest.approx(5e-4)
    # The schedule is one epoch late.
    last = 1e-5 + (5e-4 - 1e-5) * (1 + math.cos(math.pi * 298 / 300)) / 2
    assert float(rate(300 * 2502 - 1)) == pytest.approx(last, rel=1e-4)
    for name, top1 in {
        "binary_vit_small_patch4_224": "67.7",
        "binary_vit_small_patch4_star_224": "70.6",
        "binary_deit_small_patch16_224": "48.5",
        "binary_deit_small_patch16_gap_224": "56.4",
    }.items():
        assert f"{name} {top1}" in recipe.expected


def test_fine_tuning_without_weights_is_an_error():
    with pytest.raises(InputError, match=r"deit3_1k_finetune.*--weights"):
        Job("digits", get_recipe("deit3_1k_finetune"))


def test_expected_results_are_taken_from_the_models():
    assert "deit_tiny_patch16_224 72.2" in get_recipe("deit").expected
    assert get_recipe("deit3_1k").for_model("deit3_base_patch16_224").expected


def test_texts_about_a_recipe_are_not_part_of_a_run():
    recipe = get_recipe("deit")
    about = dataclasses.replace(recipe.about, expected="something else")
    other = dataclasses.replace(recipe, about=about)
    assert run_identity(Job("digits", recipe)) == run_identity(Job("digits", other))


def test_table_shows_every_value():
    recipe = get_recipe("deit3_1k")
    lines = recipe_table(recipe).splitlines()
    fields = [*dataclasses.fields(recipe.optimization), *dataclasses.fields(recipe.augmentation)]
    names = {field.name for field in fields} | set(recipe.objective.values)
    assert names | {"source", "hardware", "expected"} <= {line.split()[0] for line in lines if line}
    assert "for deit3_base_*" in lines
    assert "  learning_rate            0.003" in lines
    resolved = recipe_table(recipe.for_model("deit3_small_patch16_224")).splitlines()
    assert "  learning_rate            0.004" in resolved
    assert not any(line.startswith("for ") for line in resolved)


def test_grafit_has_the_values_of_the_paper():
    """§4.1: cosine from 0.1 for 256 images, 600 epochs of batches of 1,024; table 2: the heads."""
    recipe = get_recipe("grafit")
    optimization = recipe.optimization
    assert optimization.peak_learning_rate == pytest.approx(0.1 * 1024 / 256)
    assert (optimization.epochs, optimization.batch_size) == (600, 1024)
    assert (optimization.optimizer, optimization.nesterov) == ("sgd", True)
    fc, plus = (get_recipe(name).objective.values for name in ("grafit_fc", "snca_plus"))
    assert (fc["projector"], fc["projection_dim"]) == ("linear", 128)
    assert (plus["projector"], plus["instance_weight"], plus["sigma"]) == ("mlp", 0.0, 0.05)
