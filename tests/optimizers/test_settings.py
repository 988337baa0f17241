"""The settings of an optimization: what follows from them, and which are refused."""

import dataclasses

import pytest

from keras_deit import InputError
from keras_deit.optimizers import Optimization


def test_a_learning_rate_scales_with_the_batch_unless_the_recipe_says_otherwise():
    values = {"learning_rate": 3e-3, "batch_size": 2048}
    assert Optimization(**values).peak_learning_rate == pytest.approx(1.2e-2)
    assert Optimization(**values, learning_rate_scaling=False).peak_learning_rate == 3e-3


def test_only_lamb_clips_gradients_unless_the_recipe_says_otherwise():
    clips = {
        (name, clip): Optimization(optimizer=name, clip_norm=clip).gradient_clip
        for name in ("adamw", "lamb", "sgd")
        for clip in (None, 0.0, 2.5)
    }
    default = {name: clips.pop((name, None)) for name in ("adamw", "lamb", "sgd")}
    assert default == {"adamw": 0.0, "lamb": 1.0, "sgd": 0.0}
    assert all(value == clip for (_, clip), value in clips.items())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "epochs .*above 0"),
        ({"steps": 0}, "steps .*1 or more"),
        ({"passes_per_epoch": 0}, "passes_per_epoch .*1 or more"),
        ({"weight_decay_on": "none"}, "weight_decay_on 'none'.*all, kernels"),
        ({"epochs": 2, "warmup_epochs": 5}, "warmup_epochs .*epochs=2"),
        ({"weight_decay": -1.0}, "weight_decay .*0 or more"),
        ({"optimizer": "lamp"}, "optimizer 'lamp'.*lamb"),
        ({"schedule": "linear"}, "schedule 'linear'.*cosine"),
        ({"trainable": "none"}, "trainable 'none'.*attention"),
        ({"momentum": 1.0}, "momentum .*below 1"),
        ({"ema_decay": 1.0}, "ema_decay .*below 1"),
        ({"clip_norm": -1.0}, "clip_norm .*0 or more"),
        ({"layer_decay": 0.0}, r"layer_decay .*\(0, 1\]"),
        ({"batch_size": 10, "accumulation_steps": 4}, "accumulation_steps .*batch_size=10"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        Optimization(**values)


def test_steps_are_whole_epochs_of_at_least_100_or_one_short_epoch():
    optimization = Optimization(epochs=300, warmup_epochs=5, batch_size=10)
    assert optimization.in_epochs(7) == (optimization, 7)
    for steps, epochs, per_epoch in ((70, 1, 70), (210, 2, 105), (1000, 9, 105), (1, 1, 1)):
        found, length = dataclasses.replace(optimization, steps=steps).in_epochs(7)
        assert (found.epochs, length, found.steps) == (epochs, per_epoch, None)
        assert found.warmup_epochs == pytest.approx(5 * epochs / 300)
    found, length = dataclasses.replace(optimization, steps=600).in_epochs(250)
    assert (found.epochs, length) == (2, 250)


def test_more_epochs_of_fewer_steps_have_as_long_a_warm_up():
    optimization = Optimization(
        epochs=300, warmup_epochs=5, batch_size=10, steps=600, schedule="step", decay_epochs=30
    )
    found, length = optimization.in_epochs(250, min_epochs=10)
    assert (found.epochs, length) == (10, 60)
    whole, whole_length = optimization.in_epochs(250)
    for name in ("warmup_epochs", "decay_epochs"):
        expected = getattr(whole, name) * whole_length
        assert getattr(found, name) * length == pytest.approx(expected)
    rising = dataclasses.replace(optimization, epochs=5, steps=105, schedule="cosine")
    assert rising.in_epochs(7, min_epochs=10)[0].warmup_epochs == 10
    enough = dataclasses.replace(optimization, steps=5000)
    assert enough.in_epochs(250, min_epochs=10) == enough.in_epochs(250)


def test_another_number_of_steps_has_a_shorter_warm_up():
    optimization = Optimization(warmup_steps=200)
    assert optimization.with_steps(4000, 0.2).warmup_steps == 200
    assert optimization.with_steps(100, 0.2).warmup_steps == 20
    assert Optimization().with_steps(100, 0.2).warmup_steps is None
