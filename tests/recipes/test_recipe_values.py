"""A recipe whose values are out of range, or do not fit together, is refused when it is made."""

import dataclasses

import pytest

from keras_deit import InputError
from keras_deit.objectives import Distillation, Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes import DIGITS, TeacherRecipe


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "firm"}, "hard, soft, none.*'firm'"),
        ({"alpha": 1.5}, "alpha .*1.5"),
        ({"temperature": 0.0}, "temperature .*0.0"),
        ({"loss": "hinge"}, "loss 'hinge'.*binary_cross_entropy"),
    ],
)
def test_an_objective_out_of_range_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        Distillation(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"validation_epochs": 0}, "validation_epochs"),
        ({"evaluation_crop_ratio": 1.5}, "crop"),
        ({"evaluation_crop_ratio": 0.0}, "crop"),
        ({"objective": Supervised("binary_cross_entropy")}, "label_smoothing=0.1"),
    ],
)
def test_a_recipe_out_of_range_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(DIGITS, **values)


@pytest.mark.parametrize(
    "values", [{"ema_decay": 0.9}, {"trainable": "head"}, {"training_mode": False}], ids=str
)
def test_what_only_a_student_has_is_refused_for_a_teacher(values):
    with pytest.raises(InputError, match=f"{next(iter(values))} of a teacher"):
        TeacherRecipe(Optimization(**values), DIGITS.augmentation)
