"""Recipes of a user, and the values of a recipe that can be set."""

import dataclasses
import logging

import pytest

from keras_deit import InputError
from keras_deit.models import model_values
from keras_deit.objectives import Supervised
from keras_deit.recipes import (
    DIGITS,
    Option,
    apply_options,
    default_recipe,
    get_recipe,
    list_recipes,
    recipe_options,
    register_recipe,
)
from keras_deit.recipes import recipe as recipe_module
from keras_deit.recipes.options import unique_options
from keras_deit.recipes.recipe import STUDENT_ONLY


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Forgets the recipes that a test registers."""
    monkeypatch.setattr(recipe_module, "_RECIPES", dict(recipe_module._RECIPES))


def test_a_registered_recipe_differs_from_its_base_in_the_given_values():
    recipe = register_recipe("mine", "deit", epochs=150, mixup_alpha=0.2, embed_dim=96)
    base = get_recipe("deit")
    assert get_recipe("mine") is recipe and "mine" in list_recipes()
    assert recipe.optimization.epochs == 150
    assert recipe.optimization.warmup_epochs == base.optimization.warmup_epochs / 2
    assert recipe.augmentation == dataclasses.replace(base.augmentation, mixup_alpha=0.2)
    assert recipe.model_values == {**base.model_values, "embed_dim": 96}
    assert recipe.objective == base.objective


def test_a_registered_recipe_has_the_variants_of_its_model():
    recipe = register_recipe("mine", "deit3_1k", model="deit3_large_patch16_224")
    assert (recipe.model, recipe.variants) == ("deit3_large_patch16_224", ())
    assert recipe.model_values == {"drop_path_rate": 0.45, "image_size": 192}


@pytest.mark.parametrize(
    ("base", "values", "words"),
    [
        ("diet", {}, "diet.*deit"),
        ("deit", {"model": "deit_tinny"}, "deit_tinny"),
        ("deit", {"epochs": 0}, "epochs.*0"),
    ],
    ids=["base", "model", "value"],
)
def test_recipes_that_cannot_be_registered(base, values, words):
    with pytest.raises(InputError, match=words):
        register_recipe("mine", base, **values)
    assert "mine" not in list_recipes()


def test_an_old_name_of_a_recipe():
    assert get_recipe("augreg_regularised") is get_recipe("augreg_regularized")


def test_every_value_of_a_recipe_is_an_option_with_a_help():
    options = {option.name: option for option in recipe_options()}
    for part in (DIGITS.optimization, DIGITS.augmentation):
        assert {field.name for field in dataclasses.fields(part)} <= options.keys()
    assert set(model_values("cait_s24_224")) - {"num_classes"} <= options.keys()
    assert {"objective", "distillation", "alpha", "temperature", "teacher"} <= options.keys()
    own = {field.name for field in dataclasses.fields(DIGITS.optimization)} - set(STUDENT_ONLY)
    assert {f"teacher_{name}" for name in own} <= options.keys()
    assert not {f"teacher_{name}" for name in STUDENT_ONLY} & options.keys()
    # A help that says only whose value it is comes from a docstring without the attribute.
    vague = [option.name for option in options.values() if option.help.startswith("Value of Opt")]
    assert not vague


def test_two_options_of_one_name_are_an_error():
    with pytest.raises(InputError, match="depth"):
        unique_options(
            [Option("depth", int, ""), Option("rate", float, ""), Option("depth", int, "")]
        )


def test_options_of_other_parts_of_a_training_are_ignored():
    recipe = get_recipe("deit")
    assert apply_options(recipe, {}) == recipe
    assert apply_options(recipe, {"seed": 3, "run_dir": "runs/a"}) == recipe


def test_values_of_another_objective_are_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "keras_deit"):
        changed = apply_options(get_recipe("deit"), {"teacher_epochs": 3})
    assert type(changed.objective) is Supervised
    (record,) = caplog.records
    assert "teacher_epochs" in record.getMessage() and "supervised" in record.getMessage()


def test_default_recipes():
    assert default_recipe("digits") == "digits"
    assert default_recipe("folder:images") in list_recipes()
