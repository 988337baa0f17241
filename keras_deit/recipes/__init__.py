"""Recipes: published ways to train, as data."""

from keras_deit.errors import unknown_name
from keras_deit.recipes.deit import DEIT
from keras_deit.recipes.digits import DIGITS
from keras_deit.recipes.recipe import STUDENT_ONLY, Optimisation, Recipe, TeacherRecipe

RECIPES = {recipe.name: recipe for recipe in (DEIT, DIGITS)}


def get_recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        InputError: no recipe has this name.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


__all__ = [
    "RECIPES",
    "STUDENT_ONLY",
    "Optimisation",
    "Recipe",
    "TeacherRecipe",
    "get_recipe",
]
