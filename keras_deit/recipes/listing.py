"""Recipes as text."""

import dataclasses

from keras_deit.recipes.recipe import Recipe


def recipe_table(recipe: Recipe) -> str:
    """Every value of a recipe, one a line, by part; what differs by model at the end."""
    own = {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(recipe)
        if field.name not in ("about", "optimisation", "augmentation", "teacher_recipe", "variants")
    }
    parts = {
        recipe.name: dataclasses.asdict(recipe.about),
        "student and teacher": own,
        "optimisation": {
            **dataclasses.asdict(recipe.optimisation),
            "peak_learning_rate": recipe.optimisation.peak_learning_rate,
            "gradient_clip": recipe.optimisation.gradient_clip,
        },
        "augmentation": dataclasses.asdict(recipe.augmentation),
    }
    if recipe.teacher is not None:
        parts["training of the teacher, where it needs one"] = {
            **dataclasses.asdict(recipe.teacher_recipe.optimisation),
            "image_size": recipe.teacher_recipe.image_size,
        }
    lines = [line for title, values in parts.items() for line in (title, *_rows(values), "")]
    for variant in recipe.variants:
        values = {**variant.model_values, **variant.optimisation, **variant.augmentation}
        if variant.evaluation_crop_ratio is not None:
            values["evaluation_crop_ratio"] = variant.evaluation_crop_ratio
        if variant.expected:
            values["expected"] = variant.expected
        lines += [f"for {variant.pattern}", *_rows(values), ""]
    return "\n".join(lines[:-1])


def _rows(values: dict) -> list[str]:
    return [f"  {name:24} {_text(value)}" for name, value in values.items()]


def _text(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, (tuple, list)):
        return " to ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
