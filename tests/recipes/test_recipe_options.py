"""Recipes of a user, and the values of a recipe that can be set."""

import dataclasses
import logging
from typing import Literal

import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.models import model_values
from keras_deit.objectives import Objective, Supervised
from keras_deit.objectives.objective import OBJECTIVES
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
from keras_deit.recipes.option_kinds import checked_values, field_options, unique_options
from keras_deit.recipes.teacher_recipe import STUDENT_ONLY


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Forgets the recipes that a test registers."""
    monkeypatch.setattr(recipe_module.RECIPES, "_values", dict(recipe_module.RECIPES._values))


def test_a_registered_recipe_differs_from_its_base_in_the_given_values():
    recipe = register_recipe("mine", "deit", epochs=150, mixup_alpha=0.2, embed_dim=96)
    base = get_recipe("deit")
    assert get_recipe("mine") is recipe and "mine" in list_recipes()
    assert recipe.optimization.epochs == 150
    assert recipe.optimization.warmup_epochs == base.optimization.warmup_epochs / 2
    assert recipe.augmentation == dataclasses.replace(base.augmentation, mixup_alpha=0.2)
    assert recipe.model_values == {**base.model_values, "embed_dim": 96}
    assert recipe.objective == base.objective


def test_a_registered_recipe_has_the_variants_of_its_base():
    recipe = register_recipe("mine", "deit3_1k", model="deit3_large_patch16_224", epochs=100)
    assert recipe.model == "deit3_large_patch16_224"
    for size, drop_path_rate in (("large", 0.45), ("base", 0.2)):
        of_size = recipe.for_model(f"deit3_{size}_patch16_224")
        assert of_size.model_values["drop_path_rate"] == drop_path_rate
        assert of_size.optimization.epochs == 100
    own = register_recipe("mine", "deit3_1k", drop_path_rate=0.07)
    assert own.for_model("deit3_large_patch16_224").model_values["drop_path_rate"] == 0.07


def test_a_registered_recipe_has_no_published_result():
    recipe = register_recipe("mine", "deit3_1k")
    assert recipe.expected == "" and "deit3_1k" in recipe.about.source
    assert recipe.for_model("deit3_large_patch16_224").expected == ""


class Own(Objective):
    def __init__(self, temperature: float = 0.2, teacher: str | None = None):
        self.temperature = temperature


def test_another_objective_keeps_no_values_of_the_old_one(monkeypatch):
    monkeypatch.setattr(OBJECTIVES, "_values", {**OBJECTIVES._values, "own": Own})
    recipe = register_recipe("mine", "digits", objective="own")
    assert recipe.objective == Own(0.2)
    with_teacher = apply_options(recipe, {"teacher": "some.keras"})
    assert with_teacher.objective == Own(0.2, "some.keras")


class Kinds:
    """Values of several types.

    Attributes:
        mode: a mode.
        depths: the depths.
        scale: two numbers.
        limit: a limit.
        other: nothing that a flag can hold.
    """

    mode: Literal["fast", "slow"] = "fast"
    depths: tuple[int, ...] = (2, 2)
    scale: tuple[float, float] = (0.0, 1.0)
    limit: float | None = None
    other: dict | None = None


KINDS = {o.name: o for o in field_options(dataclasses.dataclass(Kinds))}


def test_kinds_of_options():
    kinds = {name: option.kind for name, option in KINDS.items()}
    assert kinds == {"mode": str, "depths": "numbers", "scale": "bounds", "limit": float}
    assert KINDS["mode"].choices == ("fast", "slow")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("limit", 1, 1.0),
        ("limit", np.float32(0.5), 0.5),
        ("scale", [0, 1], (0.0, 1.0)),
        ("depths", [2, 6], (2, 6)),
        ("mode", "slow", "slow"),
    ],
)
def test_values_in_python_are_those_of_a_flag(name, given, value):
    found = checked_values({"limit": None, name: given}, KINDS.values())[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("limit", "1"),
        ("limit", True),
        ("scale", (1,)),
        ("scale", 1),
        ("mode", "quick"),
        ("modes", "fast"),
    ],
)
def test_other_values_in_python_are_refused(name, given):
    with pytest.raises(InputError, match=name):
        checked_values({name: given}, KINDS.values())


@pytest.mark.parametrize(
    ("base", "values", "words"),
    [
        ("diet", {}, "diet.*deit"),
        ("deit", {"model": "deit_tinny"}, "deit_tinny"),
        ("deit", {"epochs": 0}, "epochs.*0"),
        ("deit", {"epoch": 3}, "epoch.*epochs"),
        ("deit", {"epochs": "3"}, "epochs.*int.*3"),
    ],
    ids=["base", "model", "value", "name", "type"],
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
    not_options = {"num_classes", "in_channels", "kept"}
    assert set(model_values("cait_s24_224")) - not_options <= options.keys()
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
    assert default_recipe("folder:images") == "auto"
