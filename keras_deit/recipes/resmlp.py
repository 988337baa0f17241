"""ResMLP's recipes.

"ResMLP: Feedforward networks for image classification with data-efficient training" (Touvron et
al., 2021), §3.1; issues 106, 112 and 113 of the published repository. The authors train in
float32.
"""

import dataclasses

from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.common import DEIT_AUGMENTATION, DISTILLATION, EMA_DECAY
from keras_deit.recipes.recipe import About, Recipe, Variant

RESMLP = Recipe(
    name="resmlp",
    about=About(
        source="ResMLP, §3.1; issues 106, 112, 113",
        hardware="not stated; float32",
        training="1k",
        models=("resmlp_*",),
    ),
    model="resmlp_12_224",
    model_values={},
    optimization=Optimization(
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
    # Published for S12 only; the deeper ones are said to follow CaiT.
    variants=(Variant("resmlp_12_*", model_values={"drop_path_rate": 0.05}),),
    objective=Supervised(),
)

RESMLP_DISTILLED = dataclasses.replace(
    RESMLP,
    name="resmlp_distilled",
    about=About(
        source="ResMLP, table 3",
        hardware="not stated; float32",
        training="1k distilled",
        models=("resmlp_*",),
        expected="from a RegNetY-16GF",
    ),
    objective=DISTILLATION,
)

RESMLP_RECIPES = (RESMLP, RESMLP_DISTILLED)
