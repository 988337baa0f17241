"""Registries: the package's names are protected, the user's own are not."""

import pytest

from keras_deit import (
    InputError,
    Supervised,
    register_model,
    register_objective,
    register_recipe,
)
from keras_deit.core.registry import Registry
from keras_deit.models import get_spec


@pytest.fixture
def registry():
    registry = Registry("model")
    registry.add("small", 1)
    registry.protect()
    return registry


def test_a_value_of_the_package_cannot_be_replaced(registry):
    with pytest.raises(InputError, match=r"'small'.*model"):
        registry.add("small", 2)
    assert registry["small"] == 1


def test_a_value_of_the_user_can_be_replaced(registry):
    registry.add("mine", 2)
    registry.add("mine", 3)
    assert registry["mine"] == 3
    assert list(registry) == ["small", "mine"] and registry.values() == [1, 3]
    assert "mine" in registry and "other" not in registry


def test_an_unknown_name_is_refused_with_close_ones(registry):
    with pytest.raises(InputError, match=r"'smal'.*small"):
        registry["smal"]


def register_supervised():
    register_objective(type("Supervised", (Supervised,), {}))


@pytest.mark.parametrize(
    "register",
    [
        lambda: register_recipe("deit", "digits"),
        lambda: register_model(
            "deit_tiny_patch16_224", get_spec("deit_tiny_patch16_224").family, embed_dim=12
        ),
        register_supervised,
    ],
    ids=["recipe", "model", "objective"],
)
def test_nothing_of_the_package_is_replaced(register):
    with pytest.raises(InputError, match="keras_deit"):
        register()


def test_what_the_user_registered_can_be_registered_again():
    for epochs in (3, 4):
        recipe = register_recipe("again", "digits", epochs=epochs)
        assert recipe.optimization.epochs == epochs
    for width in (12, 24):
        register_model("again", get_spec("deit_tiny_patch16_224").family, embed_dim=width)
        assert get_spec("again").config["embed_dim"] == width
