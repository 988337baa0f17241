"""Recipes: published ways to train, as data."""

from keras_deit.errors import unknown_name
from keras_deit.recipes.augreg import AUGREG_RECIPES
from keras_deit.recipes.cait import CAIT_RECIPES
from keras_deit.recipes.deit import DEIT_RECIPES
from keras_deit.recipes.deit3 import DEIT3_RECIPES
from keras_deit.recipes.digits import DIGITS
from keras_deit.recipes.listing import recipe_table
from keras_deit.recipes.patchconvnet import PATCHCONVNET_RECIPES
from keras_deit.recipes.recipe import (
    STUDENT_ONLY,
    About,
    Optimisation,
    Recipe,
    TeacherRecipe,
    Variant,
)
from keras_deit.recipes.resmlp import RESMLP_RECIPES
from keras_deit.recipes.transfer import TRANSFER_RECIPES

RECIPES = {
    recipe.name: recipe
    for recipe in (
        DIGITS,
        *DEIT_RECIPES,
        *CAIT_RECIPES,
        *RESMLP_RECIPES,
        *PATCHCONVNET_RECIPES,
        *DEIT3_RECIPES,
        *AUGREG_RECIPES,
        *TRANSFER_RECIPES,
    )
}


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
    "About",
    "Optimisation",
    "Recipe",
    "TeacherRecipe",
    "Variant",
    "get_recipe",
    "recipe_table",
]
