"""CaiT's recipes.

"Going deeper with Image Transformers" (Touvron et al., 2021), §4.1; thesis, §3.5 and table 3.16;
issue 108 of the published repository.
"""

import dataclasses

from keras_deit.models.cait_specs import CAIT_MODELS
from keras_deit.recipes.common import DEIT_AUGMENTATION, DISTILLED, EMA_DECAY, UNDISTILLED
from keras_deit.recipes.recipe import About, Optimisation, Recipe, Variant

# Stochastic depth is uniform and grows with the model; LayerScale's start is in the model's row.
CAIT_DROP_PATH = tuple(
    Variant(spec.name, model_values={"drop_path_rate": spec.published_drop_path})
    for spec in CAIT_MODELS
    if spec.image_size == 224
)

CAIT = Recipe(
    name="cait",
    about=About(
        source="thesis, §3.5 and table 3.16; issue 108",
        hardware="not stated; fp16",
        expected="XXS24 77.6, XXS36 79.1, XS24 81.8, S24 82.7, S36 83.3, M36 83.8 at 224",
    ),
    model="cait_s24_224",
    model_values={},
    optimisation=Optimisation(epochs=400, schedule="epoch_cosine", ema_decay=EMA_DECAY),
    augmentation=DEIT_AUGMENTATION,
    variants=CAIT_DROP_PATH,
    **UNDISTILLED,
)

# Without a distillation token: the one head learns from the mean of both losses.
CAIT_DISTILLED = dataclasses.replace(
    CAIT,
    name="cait_distilled",
    about=About(
        source="thesis, tables 3.14 and 3.15",
        hardware="not stated; fp16",
        expected="from a RegNetY-16GF: XXS24 78.4, XXS36 79.7, XS24 82.0, S24 83.5, S36 84.0",
    ),
    **DISTILLED,
)

CAIT_FINETUNE_448 = dataclasses.replace(
    CAIT_DISTILLED,
    name="cait_finetune_448",
    about=About(
        source="issue 108; the settings of the 384 fine-tuning are not published",
        hardware="not stated",
        expected="M48 86.5",
    ),
    model="cait_m48_448",
    model_values={"drop_path_rate": 0.3},
    optimisation=Optimisation(
        epochs=60,
        batch_size=256,
        learning_rate=5e-6,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        ema_decay=EMA_DECAY,
    ),
    variants=(),
    fine_tunes=True,
)

CAIT_RECIPES = (CAIT, CAIT_DISTILLED, CAIT_FINETUNE_448)
