"""The recipe of CViT has the values of its authors' code."""

import dataclasses

import numpy as np

from keras_deit.data.policies import parse_policy
from keras_deit.data.strong_augmentation import StrongAugmentation
from keras_deit.models import get_spec
from keras_deit.optimizers import Adam, build_optimizer, learning_rate_schedule
from keras_deit.pretrained import create_model
from keras_deit.recipes import apply_options, get_recipe, recipe_table
from keras_deit.training import Job

RECIPE = get_recipe("cvit")
# 112,378 faces in batches of 32.
STEPS = 3511


def test_the_learning_rate_is_a_tenth_after_every_fifteen_epochs():
    schedule = learning_rate_schedule(RECIPE.optimization, STEPS)
    rates = [float(schedule(epoch * STEPS)) for epoch in (0, 14, 15, 29, 30, 44, 45, 49)]
    expected = np.repeat([1e-4, 1e-5, 1e-6, 1e-7], 2)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    shorter = apply_options(RECIPE, {"epochs": 10}).optimization
    assert (shorter.epochs, shorter.decay_epochs) == (10, 3)
    assert RECIPE.optimization.batch_size == 32 and RECIPE.optimization.epochs == 50


def test_the_optimizer_is_adam_with_l2_of_every_variable():
    model = create_model(
        "cvit_224", image_size=8, patch_size=2, embed_dim=8, depth=1, num_heads=2,
        stem_depths=(1, 1), stem_channels=(2, 2),
    )  # fmt: skip
    optimizer = build_optimizer(model, RECIPE.optimization, STEPS)
    assert type(optimizer) is Adam
    assert (optimizer.weight_decay, optimizer.no_weight_decay) == (1e-7, ())
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
    assert not optimizer.global_clipnorm


def test_images_get_the_authors_augmentation_and_nothing_else():
    augmentation = RECIPE.augmentation
    assert isinstance(parse_policy(augmentation.auto_augment), StrongAugmentation)
    assert (augmentation.crop, augmentation.flip_probability) == ("none", 0.0)
    for name in ("mixup_alpha", "cutmix_alpha", "label_smoothing", "erase_probability"):
        assert getattr(augmentation, name) == 0, name
    assert RECIPE.crop_ratio == 1.0 and get_spec(RECIPE.model).std == (0.229, 0.224, 0.225)


def test_the_best_weights_have_the_smallest_loss_unless_the_user_says_otherwise():
    assert Job("digits", RECIPE).monitor == "loss"
    assert Job("digits", RECIPE, monitor="accuracy").monitor == "accuracy"
    assert Job("digits", dataclasses.replace(RECIPE, monitor=None)).monitor is None


def test_the_recipe_says_what_was_published():
    table = recipe_table(RECIPE)
    assert "accuracy 91.5, AUC 0.91, log loss 0.32" in table and "monitor" in table
    assert RECIPE.objective.loss == "cross_entropy"
