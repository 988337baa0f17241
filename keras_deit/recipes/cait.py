"""CaiT's recipes.

"Going deeper with Image Transformers" (Touvron et al., 2021), §4.1; thesis, §3.5 and table 3.16;
issue 108 of the published repository.
"""

import dataclasses

from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.common import DEIT_AUGMENTATION, DISTILLATION, EMA_DECAY
from keras_deit.recipes.recipe import About, Recipe, Variant

# Thesis, table 3.16: stochastic depth is uniform and grows with the model.
_DROP_PATH = {
    "xxs24": 0.05,
    "xxs36": 0.1,
    "xs24": 0.05,
    "xs36": 0.1,
    "s24": 0.1,
    "s36": 0.2,
    "s48": 0.3,
    "m24": 0.2,
    "m36": 0.3,
    "m48": 0.4,
}
CAIT_DROP_PATH = tuple(
    Variant(f"cait_{size}_224", model_values={"drop_path_rate": rate})
    for size, rate in _DROP_PATH.items()
)

CAIT = Recipe(
    name="cait",
    about=About(
        source="thesis, §3.5 and table 3.16; issue 108",
        hardware="not stated; fp16",
        training="1k",
        models=("cait_*_224",),
    ),
    model="cait_s24_224",
    model_values={},
    optimization=Optimization(epochs=400, schedule="epoch_cosine", ema_decay=EMA_DECAY),
    augmentation=DEIT_AUGMENTATION,
    variants=CAIT_DROP_PATH,
    objective=Supervised(),
)

# Without a distillation token: the one head learns from the mean of both losses.
CAIT_DISTILLED = dataclasses.replace(
    CAIT,
    name="cait_distilled",
    about=About(
        source="thesis, tables 3.14 and 3.15",
        hardware="not stated; fp16",
        training="1k distilled",
        models=("cait_*_224",),
        expected="from a RegNetY-16GF",
    ),
    objective=DISTILLATION,
)

CAIT_FINETUNE_448 = dataclasses.replace(
    CAIT_DISTILLED,
    name="cait_finetune_448",
    about=About(
        source="issue 108; the settings of the 384 fine-tuning are not published",
        hardware="not stated",
        training="1k distilled",
        models=("cait_m48_448",),
    ),
    model="cait_m48_448",
    model_values={"drop_path_rate": 0.3},
    optimization=Optimization(
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
