"""AugReg's recipes: levels, regularization, schedule, initial loss, Mixup's lambda."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.data import mixing
from keras_deit.losses import SigmoidLabelCrossentropy
from keras_deit.models import DeiT, abstract_model
from keras_deit.optimizers import build_optimizer, learning_rate_schedule
from keras_deit.recipes import get_recipe, list_recipes

# RandAugment's operations and magnitude, Mixup's alpha.
LEVELS = {
    "none": ("none", 0.0),
    "light1": ("tfrand-m0-n2", 0.0),
    "light2": ("tfrand-m10-n2", 0.2),
    "medium1": ("tfrand-m15-n2", 0.2),
    "medium2": ("tfrand-m15-n2", 0.5),
    "strong1": ("tfrand-m20-n2", 0.5),
    "strong2": ("tfrand-m20-n2", 0.8),
}


@pytest.mark.parametrize("level", LEVELS)
def test_levels_differ_in_augmentation_only(level):
    recipe = get_recipe(f"augreg_{level}")
    augmentation = recipe.augmentation
    assert (augmentation.auto_augment, augmentation.mixup_alpha) == LEVELS[level]
    off = ("cutmix_alpha", "erase_probability", "color_jitter", "label_smoothing")
    assert {getattr(augmentation, field) for field in off} == {0.0}
    assert (augmentation.crop, augmentation.crop_scale) == ("random_resized_crop", (0.05, 1.0))
    assert augmentation.flip_probability == 0.5 and augmentation.repeated_augmentation == 1
    assert (augmentation.geometric_interpolation, augmentation.geometric_fill) == (
        *("nearest", "gray"),
    )
    medium2 = get_recipe("augreg_medium2")
    own = ("name", "about", "augmentation")
    same = {field: getattr(medium2, field) for field in own}
    assert dataclasses.replace(recipe, **same) == medium2


def test_level_by_size_of_the_model():
    for name in ("augreg", "augreg_regularized"):
        recipe = get_recipe(name)
        for size, level in (("tiny", "light1"), ("small", "medium2"), ("base", "medium2")):
            chosen = recipe.for_model(f"deit_{size}_patch16_224").augmentation
            assert chosen == get_recipe(f"augreg_{level}").augmentation, size


def test_regularization_is_dropout_and_stochastic_depth_of_a_tenth():
    for name in (name for name in list_recipes() if name.startswith("augreg")):
        recipe = get_recipe(name)
        config = abstract_model(recipe.model, **{**recipe.model_values, "depth": 1}).get_config()
        rate = 0.1 if name == "augreg_regularized" else 0.0
        assert config["dropout_rate"] == config["drop_path_rate"] == rate


def test_learning_rate_rises_from_0_for_10000_steps_and_falls_to_0():
    optimization = get_recipe("augreg").optimization
    steps = int(1_281_167 * 0.99) // 4096
    rate = learning_rate_schedule(optimization, steps)
    total = 300 * steps
    expected = {
        0: 0.0,
        2_500: 2.5e-4,
        10_000: 1e-3,
        (10_000 + total) // 2: 5e-4,
        total: 0.0,
    }
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-8), step


def test_gradients_are_clipped_and_the_decay_is_a_tenth_of_the_learning_rate():
    model = DeiT(image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3)
    optimization = dataclasses.replace(get_recipe("augreg").optimization, warmup_steps=0)
    optimizer = build_optimizer(model, optimization, steps_per_epoch=10)
    assert optimizer.global_clipnorm == 1.0
    by_path = {variable.path: variable for variable in model.trainable_variables}
    kernel = by_path["block_0/mlp/expand/kernel"]
    positions = by_path["position_embedding/positions"]
    before = numpy(kernel), numpy(positions)
    optimizer.apply(
        [keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables
    )
    np.testing.assert_allclose(numpy(kernel), (1 - 1e-3 * 0.1) * before[0], rtol=1e-6)
    np.testing.assert_array_equal(numpy(positions), before[1])


@pytest.mark.parametrize("classes", [1000, 10])
def test_initial_loss_follows_from_the_head_bias(classes):
    keras.utils.set_random_seed(0)
    model = DeiT(image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=classes)
    model.init_head_bias(get_recipe("augreg").head_bias)
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
    logits = model(images)
    np.testing.assert_array_equal(numpy(logits), np.full((5, classes), -6.9, "float32"))
    loss = float(SigmoidLabelCrossentropy()(np.arange(5), logits))
    assert loss == pytest.approx(classes * math.log(1 + math.exp(-6.9)) + 6.9, rel=1e-5)


@pytest.mark.parametrize("count", [4, 6])
def test_lambda_and_its_complement_mix_the_same_batch(count):
    """Therefore AugReg's λ ← max(λ, 1 − λ) would change nothing."""
    batch = np.random.default_rng(0).normal(size=(count, 4, 4, 3)).astype("float32")
    results = []
    for kept in (0.3, 0.7):
        images = batch.copy()
        mixing.mix_images(images, [mixing.Mix(kept)] * count)
        results.append(images)
    np.testing.assert_allclose(results[0], results[1][::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_steps": -1}, r"warmup_steps.*-1"),
        (
            {"warmup_steps": 5, "schedule": "epoch_cosine"},
            r"schedule.*epoch_cosine",
        ),
    ],
)
def test_impossible_warm_up_in_steps(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(get_recipe("augreg").optimization, **changes)


def test_a_training_shorter_than_its_warm_up_is_an_error():
    with pytest.raises(InputError, match="9300"):
        learning_rate_schedule(get_recipe("augreg").optimization, 31)
