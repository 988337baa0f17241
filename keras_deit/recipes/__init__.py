"""Recipes: published ways to train, as data."""

from keras_deit.recipes.augreg import AUGREG_RECIPES
from keras_deit.recipes.auto import AUTO, Situation, auto_recipe, with_auto_teacher
from keras_deit.recipes.cait import CAIT_RECIPES
from keras_deit.recipes.cvit import CVIT
from keras_deit.recipes.deit import DEIT_RECIPES
from keras_deit.recipes.deit3 import DEIT3_RECIPES
from keras_deit.recipes.digits import DIGITS
from keras_deit.recipes.layer_scale import LAYER_SCALE_RECIPES
from keras_deit.recipes.options import (
    Option,
    apply_options,
    default_recipe,
    recipe_options,
    register_recipe,
)
from keras_deit.recipes.patchconvnet import PATCHCONVNET_RECIPES
from keras_deit.recipes.recipe import (
    FINE_TUNING_TEACHER_RECIPE,
    FROM_SCRATCH_TEACHER_RECIPE,
    RECIPES,
    About,
    Recipe,
    TeacherRecipe,
    Variant,
    add_recipe,
    default_teacher_recipe,
    get_recipe,
    list_recipes,
    recipe_table,
)
from keras_deit.recipes.resmlp import RESMLP_RECIPES
from keras_deit.recipes.spt_lsa import SPT_LSA_RECIPES
from keras_deit.recipes.transfer import TRANSFER_RECIPES

for _recipe in (
    DIGITS,
    *DEIT_RECIPES,
    *CAIT_RECIPES,
    *LAYER_SCALE_RECIPES,
    *RESMLP_RECIPES,
    *PATCHCONVNET_RECIPES,
    *DEIT3_RECIPES,
    *AUGREG_RECIPES,
    *SPT_LSA_RECIPES,
    CVIT,
    *TRANSFER_RECIPES,
):
    add_recipe(_recipe)
RECIPES.protect()

__all__ = [
    "AUTO",
    "DIGITS",
    "FINE_TUNING_TEACHER_RECIPE",
    "FROM_SCRATCH_TEACHER_RECIPE",
    "About",
    "Option",
    "Recipe",
    "Situation",
    "TeacherRecipe",
    "Variant",
    "add_recipe",
    "apply_options",
    "auto_recipe",
    "default_recipe",
    "default_teacher_recipe",
    "get_recipe",
    "list_recipes",
    "recipe_options",
    "recipe_table",
    "register_recipe",
    "with_auto_teacher",
]
