"""The values of a recipe as text."""

import dataclasses

from keras_deit.objectives import objective_name
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import Recipe
from keras_deit.recipes.teacher_recipe import ConvnetRecipe


def recipe_table(recipe: Recipe) -> str:
    """Returns every value of a recipe, one on each line; what differs by model at the end."""
    about = dataclasses.asdict(recipe.about)
    values = recipe.objective.values
    nested = {name: v for name, v in values.items() if dataclasses.is_dataclass(v)}
    parts = {
        recipe.name: {
            "source": about["source"],
            "hardware": about["hardware"],
            "expected": recipe.expected,
        },
        "model": {
            "model": recipe.model,
            "model_values": recipe.model_values,
            "fine_tunes": recipe.fine_tunes,
            "weights": recipe.weights,
            "head_bias": recipe.head_bias,
        },
        f"objective {objective_name(type(recipe.objective))}": {
            name: value for name, value in values.items() if name not in nested
        },
        "optimization": _optimization(recipe.optimization),
        "augmentation": dataclasses.asdict(recipe.augmentation),
        "evaluation": {
            "evaluation_crop_ratio": recipe.evaluation_crop_ratio,
            "evaluation_interpolation": recipe.evaluation_interpolation,
            "validation_epochs": recipe.validation_epochs,
            "monitor": recipe.monitor,
        },
    }
    for name, value in nested.items():
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        for field, inner in fields.items():
            if dataclasses.is_dataclass(inner):
                parts[f"{name}, {field}"] = dataclasses.asdict(inner)
        parts[name] = {k: v for k, v in fields.items() if not dataclasses.is_dataclass(v)}
    lines = _lines(parts)
    for variant in recipe.variants:
        rows = {**variant.model_values, **variant.optimization, **variant.augmentation}
        if variant.evaluation_crop_ratio is not None:
            rows["evaluation_crop_ratio"] = variant.evaluation_crop_ratio
        if variant.expected:
            rows["expected"] = variant.expected
        lines += [f"for {variant.pattern}", *_rows(rows), ""]
    return "\n".join(lines[:-1])


def convnet_recipe_table(recipe: ConvnetRecipe) -> str:
    """Returns every value of a recipe of a teacher, one on each line."""
    training = {
        field.name: getattr(recipe.training, field.name)
        for field in dataclasses.fields(recipe.training)
    }
    parts = {
        recipe.name: {"source": recipe.source, "expected": recipe.expected},
        "optimization": _optimization(training.pop("optimization")),
        "augmentation": dataclasses.asdict(training.pop("augmentation")),
        "teacher": {"teacher": recipe.teacher, **training},
        "evaluation": {
            "image_size": recipe.image_size,
            "evaluation_crop_ratio": recipe.crop_ratio,
        },
    }
    return "\n".join(_lines(parts)[:-1])


def _optimization(optimization: Optimization) -> dict:
    return {
        **dataclasses.asdict(optimization),
        "peak_learning_rate": optimization.peak_learning_rate,
        "gradient_clip": optimization.gradient_clip,
    }


def _lines(parts: dict[str, dict]) -> list[str]:
    return [line for title, rows in parts.items() for line in (title, *_rows(rows), "")]


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
