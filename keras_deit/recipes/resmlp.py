"""ResMLP's recipes.

"ResMLP: Feedforward networks for image classification with data-efficient training" (Touvron et
al., 2021), §3.1; issues 106, 112 and 113 of the published repository. The authors train in
float32.
"""

import dataclasses

from keras_deit.recipes.common import DEIT_AUGMENTATION, DISTILLED, EMA_DECAY, UNDISTILLED
from keras_deit.recipes.recipe import About, Optimisation, Recipe, Variant

RESMLP = Recipe(
    name="resmlp",
    about=About(
        source="ResMLP, §3.1; issues 106, 112, 113",
        hardware="not stated; float32",
        expected="S12 76.6, S24 79.4, B24/8 81.0",
    ),
    model="resmlp_12_224",
    model_values={},
    optimisation=Optimisation(
        epochs=400,
        batch_size=2048,
        optimizer="lamb",
        learning_rate=5e-3,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        weight_decay=0.2,
        ema_decay=EMA_DECAY,
    ),
    augmentation=DEIT_AUGMENTATION,
    # Published for S12 only; of the deeper ones it is said that they do as CaiT does.
    variants=(Variant("resmlp_12_*", model_values={"drop_path_rate": 0.05}),),
    **UNDISTILLED,
)

RESMLP_DISTILLED = dataclasses.replace(
    RESMLP,
    name="resmlp_distilled",
    about=About(
        source="ResMLP, table 3",
        hardware="not stated; float32",
        expected="from a RegNetY-16GF: S12 77.8, S24 80.8, S36 81.1, B24/8 83.6",
    ),
    **DISTILLED,
)

RESMLP_RECIPES = (RESMLP, RESMLP_DISTILLED)
