"""The comparison behind LayerScale: DeiT-S with 12 to 36 blocks, and how its branches are weighted.

H. Touvron's thesis, §3.5, tables 3.11 and 3.12: DeiT's recipe with stochastic depth of one rate for
all blocks, adapted to the depth. The thesis adapts it for each method and gives the rates of the
baseline alone, which all have here.
"""

import dataclasses

from keras_deit.recipes.deit import DEIT
from keras_deit.recipes.recipe import About, Recipe, Variant

_SOURCE = "thesis, §3.5 and tables 3.11 and 3.12"
# By model: the rate of stochastic depth.
_RATES = {
    "deit_small_patch16_224": 0.05,
    "deit_small_d18_patch16_224": 0.1,
    "deit_small_d24_patch16_224": 0.2,
    "deit_small_d36_patch16_224": 0.25,
}
# By the end of the recipe's name: `residual` of the model, and top-1 with 12, 18, 24 and 36 blocks.
METHODS = {
    "": ("layer_scale", (80.5, 81.7, 82.4, 82.9)),
    "_baseline": ("none", (79.9, 80.7, 81.0, 81.9)),
    "_rezero": ("rezero", (78.3, 80.1, 80.8, 81.6)),
    "_t_fixup": ("t_fixup", (79.4, 81.7, 81.5, 82.1)),
    "_fixup": ("fixup", (80.7, 82.0, 82.3, 82.4)),
    "_scalar": ("scalar", (80.4, 81.6, 81.1, 81.6)),
    "_zero": ("layer_scale_zero", (79.7, 81.5, 82.1, 82.7)),
    "_uniform": ("layer_scale_uniform", (80.2, 80.8, 82.1, 82.6)),
}


def _recipe(suffix: str, residual: str, results: tuple[float, ...]) -> Recipe:
    variants = [
        Variant(name, model_values={"drop_path_rate": rate}, expected=f"{top1:.1f}")
        for (name, rate), top1 in zip(_RATES.items(), results, strict=True)
    ]
    expected = f"S with 36 blocks: {results[-1]:.1f}"
    return dataclasses.replace(
        DEIT,
        name=f"layerscale{suffix}",
        about=About(source=_SOURCE, hardware="not stated", expected=expected),
        model="deit_small_d36_patch16_224",
        model_values={"residual": residual, "uniform_drop_path": True},
        variants=tuple(variants),
    )


LAYER_SCALE_RECIPES = tuple(_recipe(suffix, *values) for suffix, values in METHODS.items())
