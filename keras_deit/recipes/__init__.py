"""Recipes: published ways to train, as data."""

from keras_deit.recipes.augreg import AUGREG_RECIPES
from keras_deit.recipes.auto import (
    AUTO,
    FINE_TUNED_MODEL,
    Situation,
    auto_recipe,
    with_auto_teacher,
)
from keras_deit.recipes.binaryvit import BINARYVIT
from keras_deit.recipes.cait import CAIT_RECIPES
from keras_deit.recipes.cvit import CVIT
from keras_deit.recipes.deit import DEIT_RECIPES
from keras_deit.recipes.deit3 import DEIT3_RECIPES
from keras_deit.recipes.digits import DIGITS
from keras_deit.recipes.dino import DINO_RECIPES
from keras_deit.recipes.grafit import GRAFIT_RECIPES
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
    RECIPES,
    About,
    Recipe,
    Variant,
    add_recipe,
    get_recipe,
    list_recipes,
)
from keras_deit.recipes.resmlp import RESMLP_RECIPES
from keras_deit.recipes.resnet_strikes_back import RESNET_RECIPES
from keras_deit.recipes.spt_lsa import SPT_LSA_RECIPES
from keras_deit.recipes.tables import convnet_recipe_table, recipe_table
from keras_deit.recipes.teacher_recipe import (
    CONVNET_RECIPES,
    FINE_TUNING_TEACHER_RECIPE,
    FROM_SCRATCH_TEACHER_RECIPE,
    ConvnetRecipe,
    TeacherRecipe,
    default_teacher_recipe,
)
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
    BINARYVIT,
    CVIT,
    *DINO_RECIPES,
    *TRANSFER_RECIPES,
    *GRAFIT_RECIPES,
):
    add_recipe(_recipe)
RECIPES.protect()
for _convnet_recipe in RESNET_RECIPES:
    CONVNET_RECIPES.add(_convnet_recipe.name, _convnet_recipe)
CONVNET_RECIPES.protect()

__all__ = [
    "AUTO",
    "CONVNET_RECIPES",
    "DIGITS",
    "FINE_TUNED_MODEL",
    "FINE_TUNING_TEACHER_RECIPE",
    "FROM_SCRATCH_TEACHER_RECIPE",
    "About",
    "ConvnetRecipe",
    "Option",
    "Recipe",
    "Situation",
    "TeacherRecipe",
    "Variant",
    "add_recipe",
    "apply_options",
    "auto_recipe",
    "convnet_recipe_table",
    "default_recipe",
    "default_teacher_recipe",
    "get_recipe",
    "list_recipes",
    "recipe_options",
    "recipe_table",
    "register_recipe",
    "with_auto_teacher",
]
