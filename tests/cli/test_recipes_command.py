"""The command `recipes` prints recipes and their values."""

import pytest
from commands import call

from keras_deit.core.errors import InputError
from keras_deit.recipes import get_recipe, list_recipes, recipe_table


def test_all_recipes_are_listed_with_their_sources():
    text = call("recipes").stdout
    for name in list_recipes():
        assert name in text and get_recipe(name).about.source in text


def test_every_value_of_a_recipe_is_printed():
    assert call("recipes", "--recipe=cait").stdout == recipe_table(get_recipe("cait")) + "\n"


def test_the_values_for_a_model_are_printed():
    model = "deit3_base_patch16_224"
    table = recipe_table(get_recipe("deit3_1k").for_model(model))
    assert call("recipes", "--recipe=deit3_1k", f"--model={model}").stdout == table + "\n"
    assert table != recipe_table(get_recipe("deit3_1k"))


def test_recipes_of_teachers_are_printed():
    listed, table = call("recipes").stdout, call("recipes", "--recipe=resnet_a1").stdout
    assert all(f"resnet_{name} " in listed for name in ("a1", "a2", "a3"))
    assert "ResNet-50 80.38" in table and "target_smoothing         0.1" in table


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model=deit_tiny_patch16_224",), "--recipe"),
        (("--recipe=cite",), "cait"),
        (("--recipe=cait", "--model=cait_xs24"), "cait_xs24_384"),
    ],
)
def test_bad_input_is_rejected(flags, words):
    with pytest.raises(InputError, match=words):
        call("recipes", *flags)
