"""PatchConvNet's recipes.

"Augmenting Convolutional networks with attention-based aggregation" (Touvron et al., 2021); thesis,
§5.2.3 and table 5.8; issue 185 of the published repository.
"""

import dataclasses

from keras_deit.data.augmentation import Augmentation
from keras_deit.models.patchconvnet_specs import PATCHCONVNET_MODELS
from keras_deit.recipes.common import UNDISTILLED
from keras_deit.recipes.recipe import About, Optimisation, Recipe, Variant

_AUGMENTATION = Augmentation(auto_augment="rand-m9-mstd0.5-inc1", repeated_augmentation=3)
_ONCE = dataclasses.replace(_AUGMENTATION, repeated_augmentation=1)


def _drop_path(less: float = 0.0, larger: bool = False) -> tuple[Variant, ...]:
    """Table 5.8, for models at 224 or at a larger size; lowered for ImageNet-21k."""
    return tuple(
        Variant(
            spec.name,
            model_values={"drop_path_rate": round(max(spec.published_drop_path - less, 0), 2)},
        )
        for spec in PATCHCONVNET_MODELS
        if spec.published_drop_path is not None and (spec.image_size > 224) == larger
    )


_WIDER = tuple(
    Variant(f"patchconvnet_{width}*", optimisation={"weight_decay": 0.05}) for width in "bl"
)

PATCHCONVNET = Recipe(
    name="patchconvnet",
    about=About(
        source="thesis, §5.2.3 and table 5.8; issue 185",
        hardware="not stated",
        expected="S60 82.1, S120 83.2, B60 83.5, B120 84.1",
    ),
    model="patchconvnet_s60_224",
    model_values={},
    optimisation=Optimisation(
        epochs=400,
        batch_size=2048,
        optimizer="lamb",
        learning_rate=3e-3,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        weight_decay=0.01,
    ),
    augmentation=_AUGMENTATION,
    variants=(*_WIDER, *_drop_path()),
    **UNDISTILLED,
)

# The optimiser is not named; AdamW is that of the other papers' fine-tuning.
PATCHCONVNET_FINETUNE = dataclasses.replace(
    PATCHCONVNET,
    name="patchconvnet_finetune",
    about=About(
        source="thesis, §5.2.3: fine-tuning at a larger size",
        hardware="not stated",
        expected="21k → 1k: S60 at 384 84.9, at 512 85.4; B60 at 384 86.5; B120 at 384 86.9",
    ),
    model="patchconvnet_s60_384",
    optimisation=Optimisation(
        epochs=10,
        batch_size=1024,
        learning_rate=1e-5,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        weight_decay=0.01,
    ),
    augmentation=_ONCE,
    variants=_drop_path(larger=True),
    fine_tunes=True,
)

PATCHCONVNET_21K = dataclasses.replace(
    PATCHCONVNET,
    name="patchconvnet_21k",
    about=About(
        source="thesis, §5.2.3: ImageNet-21k; the released weights come of a longer run",
        hardware="not stated",
        expected="after fine-tuning on 1k: S60 82.9, B60 85.0, L60 85.6, B120 86.0, L120 86.1",
    ),
    optimisation=dataclasses.replace(PATCHCONVNET.optimisation, epochs=90),
    augmentation=_ONCE,
    variants=_drop_path(less=0.1),
)

# Weight decay is not stated; it is that of the pre-training.
PATCHCONVNET_21K_FINETUNE = dataclasses.replace(
    PATCHCONVNET_21K,
    name="patchconvnet_21k_finetune",
    about=About(
        source="thesis, §5.2.3: ImageNet-21k, then 1k",
        hardware="not stated",
        expected="S60 82.9, B60 85.0, L60 85.6, B120 86.0, L120 86.1",
    ),
    optimisation=Optimisation(
        epochs=100,
        batch_size=1024,
        learning_rate=5e-4,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        weight_decay=0.01,
    ),
    fine_tunes=True,
)

PATCHCONVNET_RECIPES = (
    PATCHCONVNET,
    PATCHCONVNET_FINETUNE,
    PATCHCONVNET_21K,
    PATCHCONVNET_21K_FINETUNE,
)
