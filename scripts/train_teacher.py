"""Trains or fine-tunes a teacher and keeps it as a `.keras` file for `train.py --teacher FILE`.

    python scripts/train_teacher.py --teacher kerascv:resnet18_v2 --output teacher.keras
    python scripts/train_teacher.py --teacher other.keras --dataset folder:PATH --output mine.keras

A head with another number of classes than the data's is replaced by a new one.
"""

import command  # isort: skip  (loads Keras without the noise)
import dataclasses
import pathlib

import recipe_flags
from absl import flags

from keras_deit.data import Augmentation, load_dataset
from keras_deit.distillation.teachers import check_teacher_name
from keras_deit.recipes import Optimisation, Recipe
from keras_deit.training import (
    Reading,
    check_output,
    evaluation_crop_ratio,
    evaluation_interpolation,
    fine_tune_teacher,
    student_format,
)

_TEACHER = flags.DEFINE_string("teacher", None, "Name or .keras file.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The .keras file to write.", required=True)
_WEIGHTS = flags.DEFINE_string(
    "weights", None, '"imagenet" for a keras.applications name that starts from them.'
)
_TEACHER_IMAGE_SIZE = flags.DEFINE_integer(
    "teacher_image_size", None, "Side in pixels of what a teacher by name takes."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels of what the student will take, and so the teacher is shown."
)
recipe_flags.define_data()
recipe_flags.define_fields(Optimisation, recipe_flags.TEACHER_OPTIMISATION)
recipe_flags.define_fields(Augmentation)
flags.adopt_module_key_flags(recipe_flags)


def main() -> None:
    recipe = recipe_flags.chosen_recipe()
    teacher_recipe = dataclasses.replace(
        recipe.teacher_recipe,
        optimisation=recipe_flags.replaced(
            recipe.teacher_recipe.optimisation, recipe_flags.TEACHER_OPTIMISATION
        ),
        augmentation=recipe_flags.replaced(recipe.teacher_recipe.augmentation),
        image_size=_TEACHER_IMAGE_SIZE.value or recipe.teacher_recipe.image_size,
    )
    shown = student_format(_with_image_size(recipe))
    output = pathlib.Path(_OUTPUT.value)
    check_output(output)
    check_teacher_name(_TEACHER.value)
    dataset = load_dataset(flags.FLAGS.dataset, flags.FLAGS.data_dir)
    view = (evaluation_crop_ratio(recipe), evaluation_interpolation(recipe))
    scores = fine_tune_teacher(
        _TEACHER.value,
        dataset,
        teacher_recipe,
        Reading(shown, dataset.num_classes, view),
        output,
        weights=_WEIGHTS.value,
        pixels=flags.FLAGS.teacher_pixels,
        outputs=flags.FLAGS.teacher_outputs,
    )
    print(f"Top-1: validation {scores['validation']:.4f}, test {scores['test']:.4f}.")
    print(f"Kept in {_OUTPUT.value}; use it with --teacher {_OUTPUT.value}.")


def _with_image_size(recipe: Recipe) -> Recipe:
    if _IMAGE_SIZE.value is None:
        return recipe
    values = {**recipe.model_values, "image_size": _IMAGE_SIZE.value}
    return dataclasses.replace(recipe, model_values=values)


if __name__ == "__main__":
    command.run(main)
