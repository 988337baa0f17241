"""Shows the recipes, or every value of one.

python scripts/list_recipes.py
python scripts/list_recipes.py --recipe deit3_1k --model deit3_base_patch16_224
"""

import command  # isort: skip  (loads Keras without the noise)
from absl import flags

from keras_deit.errors import InputError
from keras_deit.models import get_spec
from keras_deit.recipes import RECIPES, get_recipe, recipe_table

_RECIPE = flags.DEFINE_string("recipe", None, "Show every value of this one.")
_MODEL = flags.DEFINE_string("model", None, "Show the values for this model.")


def main() -> None:
    if _RECIPE.value is not None:
        recipe = get_recipe(_RECIPE.value)
        if _MODEL.value is not None:
            recipe = recipe.for_model(get_spec(_MODEL.value).name)
        print(recipe_table(recipe))
    elif _MODEL.value is not None:
        raise InputError("--model shows one recipe's values for a model: give --recipe, too.")
    else:
        for recipe in RECIPES.values():
            print(f"{recipe.name:28} {recipe.about.expected}\n{'':28} {recipe.about.source}")


if __name__ == "__main__":
    command.run(main)
