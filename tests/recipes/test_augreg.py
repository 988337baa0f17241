"""AugReg's recipes: levels, regularization, schedule, initial loss, Mixup, fine-tuning."""

import dataclasses
import math
import pathlib

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.data import mixing
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.views import draw_steps
from keras_deit.losses import SigmoidLabelCrossentropy
from keras_deit.models import ViT, abstract_model, list_models
from keras_deit.optimizers import build_optimizer, learning_rate_schedule
from keras_deit.pretrained import create_model, save_safetensors
from keras_deit.recipes import apply_options, get_recipe, list_recipes
from keras_deit.training import Job
from keras_deit.training.preparation import build_student

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


# Of the authors' configurations: ImageNet-1k, ImageNet-21k.
CHOSEN = {
    "tiny_patch16": ("light1", "none"),
    "small_patch32": ("medium1", "none"),
    "small_patch16": ("medium2", "light1"),
    "base_patch32": ("medium2", "light2"),
    "base_patch16": ("medium2", "light2"),
    "large_patch16": ("medium2", "medium2"),
}


@pytest.mark.parametrize("size", CHOSEN)
def test_level_by_model(size):
    recipes = (("augreg", "augreg_regularized"), ("augreg_21k", "augreg_21k_30"))
    for names, level in zip(recipes, CHOSEN[size], strict=True):
        for name in names:
            chosen = get_recipe(name).for_model(f"vit_{size}_224").augmentation
            assert chosen == get_recipe(f"augreg_{level}").augmentation, name


def test_a_student_of_deit_has_the_level_of_its_size():
    for size, level in (("tiny", "light1"), ("small", "medium2"), ("base", "medium2")):
        chosen = get_recipe("augreg").for_model(f"deit_{size}_patch16_224").augmentation
        assert chosen == get_recipe(f"augreg_{level}").augmentation, size


def test_imagenet_21k_differs_in_the_start_of_the_heads_and_the_levels():
    recipe, short = get_recipe("augreg_21k"), get_recipe("augreg_21k_30")
    assert (recipe.head_bias, recipe.optimization) == (-10.0, get_recipe("augreg").optimization)
    assert short.optimization == dataclasses.replace(recipe.optimization, epochs=30)
    same = {"name": recipe.name, "optimization": recipe.optimization}
    assert dataclasses.replace(short, **same) == recipe


def test_no_level_is_crop_and_flip_alone_and_the_lightest_is_not():
    """At magnitude 0 images become black, inverted or nearly gray."""
    none, light = (get_recipe(f"augreg_{level}").augmentation for level in ("none", "light1"))
    rng = np.random.default_rng(0)
    assert not any(draw_steps(none, rng) for _ in range(200))
    assert Augmentation.__dataclass_fields__["auto_augment"].default == none.auto_augment
    drawn = [step for _ in range(500) for step in draw_steps(light, rng)]
    assert len(drawn) == 1000
    arguments = {step.operation: step.argument for step in drawn}
    assert (arguments["Posterize"], arguments["Solarize"], arguments["Color"]) == (0, 0, 0.1)


def test_regularization_is_dropout_and_stochastic_depth_of_a_tenth():
    for name in (name for name in list_recipes() if name.startswith("augreg")):
        recipe = get_recipe(name)
        config = abstract_model(recipe.model, **{**recipe.model_values, "depth": 1}).get_config()
        rate = 0.1 if name == "augreg_regularized" else 0.0
        assert config["dropout_rate"] == config["drop_path_rate"] == rate, name


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
    model = ViT(image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3)
    optimization = dataclasses.replace(get_recipe("augreg").optimization, warmup_steps=0)
    optimizer = build_optimizer(model, optimization, steps_per_epoch=10)
    assert optimizer.global_clipnorm == 1.0
    by_path = {variable.path: variable for variable in model.trainable_variables}
    kernel = by_path["block_0/mlp/expand/kernel"]
    names = ("position_embedding/positions", "class_token/token", "norm/gamma", "class_head/bias")
    others = [by_path[name] for name in names]
    others[-1].assign(keras.ops.ones(3))
    before = numpy(kernel), *map(numpy, others)
    optimizer.apply(
        [keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables
    )
    np.testing.assert_allclose(numpy(kernel), (1 - 1e-3 * 0.1) * before[0], rtol=1e-6)
    for variable, value in zip(others, before[1:], strict=True):
        np.testing.assert_array_equal(numpy(variable), value)


@pytest.mark.parametrize("classes", [1000, 10])
def test_initial_loss_follows_from_the_head_bias(classes):
    keras.utils.set_random_seed(0)
    model = ViT(image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=classes)
    model.init_head_bias(get_recipe("augreg").head_bias)
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
    logits = model(images)
    np.testing.assert_array_equal(numpy(logits), np.full((5, classes), -6.9, "float32"))
    loss = float(SigmoidLabelCrossentropy()(np.arange(5), logits))
    assert loss == pytest.approx(classes * math.log(1 + math.exp(-6.9)) + 6.9, rel=1e-5)


@pytest.mark.parametrize("level", ["light2", "medium2", "strong2"])
def test_every_image_keeps_at_least_half_of_itself_and_takes_the_rest_of_the_one_before(level):
    augmentation = get_recipe(f"augreg_{level}").augmentation
    rng = np.random.default_rng(0)
    for _ in range(50):
        images = rng.normal(size=(5, 2, 2, 3)).astype("float32")
        mixed, targets = mixing.mix_batch(images.copy(), np.arange(5), 5, augmentation, rng)
        kept = targets.diagonal()
        assert 0.5 <= kept[0] <= 1 and set(kept) == {kept[0]}
        expected = kept[0] * images + (1 - kept[0]) * np.roll(images, 1, axis=0)
        np.testing.assert_allclose(mixed, expected, atol=1e-6)


def test_fine_tuning_is_sgd_with_plain_momentum_for_some_steps():
    expected = {
        "augreg_finetune": (20_000, 500, 0.03),
        "augreg_finetune_cifar100": (10_000, 500, 0.01),
        "augreg_finetune_pets": (500, 100, 0.003),
    }
    for name, (steps, warmup, rate) in expected.items():
        recipe = get_recipe(name)
        values = recipe.optimization
        assert (values.steps, values.warmup_steps, values.peak_learning_rate) == (
            *(steps, warmup, rate),
        )
        assert (values.optimizer, values.momentum, values.nesterov) == ("sgd", 0.9, False)
        assert (values.batch_size, values.gradient_clip, values.weight_decay) == (512, 1.0, 0.0)
        assert (values.warmup_learning_rate, values.min_learning_rate) == (0.0, 0.0)
        assert recipe.fine_tunes and recipe.head_bias == 0.0
        assert recipe.augmentation == get_recipe("augreg_none").augmentation
        assert recipe.objective.loss == "cross_entropy"
        assert recipe.crop_ratio == 384 / 448
    # Of 5,000 images in CIFAR's first 500 steps: an epoch is 100 steps, and the warm-up stays.
    epochs, per_epoch = get_recipe("augreg_finetune_pets").optimization.in_epochs(10)
    schedule = learning_rate_schedule(epochs, per_epoch)
    for step, rate in {0: 0.0, 50: 0.0015, 100: 0.003, 300: 0.0015, 500: 0.0}.items():
        assert float(schedule(step)) == pytest.approx(rate, abs=1e-9), step


def test_fewer_steps_have_the_authors_warm_up():
    recipe = get_recipe("augreg_finetune_cifar100")
    for steps, warmup in ((500, 100), (2_500, 500), (10_000, 500)):
        assert apply_options(recipe, {"steps": steps}).optimization.warmup_steps == warmup


def test_fine_tuning_starts_with_new_heads_although_the_classes_are_as_many(tmp_path):
    sizes = {"image_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
    trained = create_model("vit_small_patch16_384", num_classes=3, **sizes)
    trained.init_head_bias(0.5)
    save_safetensors(trained, tmp_path / "trained.safetensors")
    recipe = get_recipe("augreg_finetune").for_model("vit_small_patch16_384")
    values = {"weights": str(tmp_path / "trained.safetensors"), "model_values": sizes}
    for head_bias, expected in ((0.0, 0.0), (None, 0.5)):
        chosen = dataclasses.replace(recipe, **values, head_bias=head_bias)
        student = build_student(Job("digits", chosen), num_classes=3)
        np.testing.assert_array_equal(numpy(student.head_layers["class"].bias), [expected] * 3)
        assert student.image_format.mean == (0.5, 0.5, 0.5)


def test_the_authors_file_is_fine_tuned_at_another_size():
    """Everything but the heads is the file's, and positions are resized."""
    folder = pathlib.Path(__file__).parents[1] / "models" / "parity_systems_data"
    sizes = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
    students = {}
    for side in (32, 48):
        recipe = dataclasses.replace(
            get_recipe("augreg_finetune").for_model("vit_tiny_patch16_384"),
            weights=str(folder / "augreg_vit.weights.npz"),
            model_values={**sizes, "image_size": side},
        )
        students[side] = build_student(Job("digits", recipe), num_classes=10)
    small, large = ({v.path: numpy(v) for v in m.weights} for m in students.values())
    positions = "position_embedding/positions"
    for path in small.keys() - {positions}:
        np.testing.assert_array_equal(small[path], large[path], err_msg=path)
    grid = small[positions][0, 1:].reshape(4, 4, 24)
    resized = large[positions][0, 1:].reshape(6, 6, 24)
    # Corners stay where they are.
    np.testing.assert_allclose(resized[::5, ::5], grid[::3, ::3], atol=1e-6)
    assert not large["class_head/kernel"].any() and np.abs(large["norm/gamma"]).min() > 0


def test_every_model_of_the_paper_can_be_trained():
    models = list_models("vit_*_224")
    assert len(models) == 10
    for name in models:
        assert get_recipe("augreg").for_model(name).model == name


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
