"""The recipe of the transformers for small data has the values of the authors' code."""

import dataclasses

import keras
import numpy as np
import pytest
from harness import numpy
from scipy import stats

from keras_deit import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import mixing
from keras_deit.data.pipeline import train_pipeline
from keras_deit.data.source import ArraySource
from keras_deit.models import abstract_model
from keras_deit.optimizers import build_optimizer, learning_rate_schedule
from keras_deit.planning import plan_report, plan_training
from keras_deit.pretrained import create_model
from keras_deit.recipes import get_recipe
from keras_deit.training.steps import count_steps

RECIPES = ("spt_lsa", "spt_lsa_cifar100", "spt_lsa_svhn")
# Policy, mean and std by recipe and model.
DATA = {
    ("spt_lsa", "32"): ("cifar10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ("spt_lsa_cifar100", "32"): ("cifar10", (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ("spt_lsa_svhn", "32"): ("svhn", (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    ("spt_lsa", "64"): ("imagenet", (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
}
SIZES = {"32": "sl_vit_patch4_32", "64": "sl_vit_patch8_64"}


@pytest.mark.parametrize(("name", "size"), DATA)
def test_policy_and_normalization_by_data(name, size):
    recipe = get_recipe(name).for_model(SIZES[size])
    values = abstract_model(recipe.model, **{**recipe.model_values, "depth": 1})
    found = values.image_format
    assert (recipe.augmentation.auto_augment, found.mean, found.std) == DATA[name, size]
    assert values.get_config()["drop_path_rate"] == 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_augmentation(name):
    augmentation = get_recipe(name).augmentation
    expected = {
        **{"crop": "random_crop", "crop_padding": 4, "flip_probability": 0.5},
        **{"erase_probability": 0.25, "erase_mode": "mean", "erase_area": (0.02, 0.4)},
        **{"erase_aspect": (0.3, 1 / 0.3), "erase_count": 1, "label_smoothing": 0.1},
        **{"mixup_alpha": 1.0, "cutmix_alpha": 1.0, "mix_probability": 0.5},
        **{"mix_switch_probability": 0.5, "mix_mode": "batch", "repeated_augmentation": 1},
        **{"geometric_fill": "gray", "color_jitter": 0.0},
    }
    found = dataclasses.asdict(augmentation)
    assert {key: found[key] for key in expected} == expected


def test_half_of_the_batches_are_mixed_one_half_of_these_by_cutmix():
    augmentation, rng = get_recipe("spt_lsa").augmentation, np.random.default_rng(0)
    drawn = [mixing.draw_mix(32, 32, augmentation, rng) for _ in range(4000)]
    cut = sum(mix.box is not None for mix in drawn)
    blended = [mix.lam for mix in drawn if mix.box is None and mix.lam < 1]
    counts = [cut, len(blended), 4000 - cut - len(blended)]
    assert stats.chisquare(counts, [1000, 1000, 2000]).pvalue > 1e-3
    assert stats.kstest(blended, "uniform").pvalue > 1e-3


def test_learning_rate_of_100_epochs_of_three_passes():
    """CIFAR: 1,171 steps in an epoch, warm-up and cosine step by step from 1e-6 to 1e-6."""
    optimization, steps = count_steps(get_recipe("spt_lsa").optimization, "cifar10", 50_000, 1)
    assert (optimization.epochs, steps) == (100, 1171)
    rate = learning_rate_schedule(optimization, steps)
    warm, total = 11_710, 117_100
    for step in (0, 1, 1171, warm - 1):
        assert float(rate(step)) == pytest.approx(1e-6 + (1e-3 - 1e-6) * step / warm, rel=1e-5)
    for step in (warm, warm + 1171, (warm + total) // 2, total - 1):
        part = (1 + np.cos(np.pi * (step - warm) / (total - warm))) / 2
        assert float(rate(step)) == pytest.approx(1e-6 + (1e-3 - 1e-6) * part, rel=1e-4)


def test_an_epoch_has_every_image_three_times_and_a_batch_none_twice():
    """But for the batches in which a pass ends and the next one begins."""
    labels = np.arange(60)
    images = np.tile(labels[:, None, None, None], (1, 4, 4, 3)).astype("uint8")
    source = ArraySource(images, labels)
    augmentation = dataclasses.replace(
        get_recipe("spt_lsa").augmentation, mixup_alpha=0.0, cutmix_alpha=0.0
    )
    _, steps = count_steps(
        dataclasses.replace(get_recipe("spt_lsa").optimization, batch_size=20), "x", 60, 1
    )
    batches = train_pipeline(source, ImageFormat(4, 4), augmentation, 60, 20, seed=0, stop=steps)
    seen = [targets.argmax(1) for _, targets in batches]
    assert len(seen) == steps == 9
    assert all(len(set(batch)) == 20 for batch in seen)
    np.testing.assert_array_equal(np.bincount(np.concatenate(seen)), np.full(60, 3))
    passes = [tuple(np.concatenate(seen[first : first + 3])) for first in (0, 3, 6)]
    assert len(set(passes)) == 3


def test_every_variable_has_weight_decay():
    recipe = get_recipe("spt_lsa")
    assert (recipe.optimization.optimizer, recipe.optimization.gradient_clip) == ("adamw", 0.0)
    optimization = dataclasses.replace(recipe.optimization, warmup_epochs=0)
    model = create_model(recipe.model, **{**recipe.model_values, "depth": 1})
    for variable in model.trainable_variables:
        variable.assign(keras.ops.ones(variable.shape))
    optimizer = build_optimizer(model, optimization, steps_per_epoch=10)
    gradients = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    for variable in model.trainable_variables:
        np.testing.assert_allclose(numpy(variable), 1 - 5e-5, rtol=1e-6, err_msg=variable.path)


def test_a_plan_says_so():
    values = {"dataset": "cifar10", "plan_examples": 50_000, "plan_classes": 10}
    plan = plan_training(recipe="spt_lsa", **values)
    assert plan.parameters == "2,729,878, all with weight decay"
    assert "117,100 (100 epochs of 1,171)" in plan_report(plan)


def test_published_results_by_data():
    assert "ViT 93.58, SL-ViT 94.53" in get_recipe("spt_lsa").expected
    assert "CaiT 76.89, SL-CaiT 80.32" in get_recipe("spt_lsa_cifar100").expected
    assert "Swin 97.72, SL-Swin 97.92" in get_recipe("spt_lsa_svhn").expected
    tiny = get_recipe("spt_lsa").for_model("sl_vit_patch8_64").expected
    assert "T2T 60.57, SL-T2T 61.83" in tiny


def test_another_normalization_is_refused():
    with pytest.raises(InputError, match=r"normalization 'cifar'.*cifar10"):
        create_model("deit_tiny_patch16_224", normalization="cifar", depth=1)
