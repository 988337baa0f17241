"""PatchConvNet's recipes.

"Augmenting Convolutional networks with attention-based aggregation" (Touvron et al., 2021); thesis,
§5.2.3 and table 5.8; issue 185 of the published repository.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.models import list_models
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import About, Recipe, Variant

_AUGMENTATION = Augmentation(auto_augment="rand-m9-mstd0.5-inc1", repeated_augmentation=3)
_ONCE = dataclasses.replace(_AUGMENTATION, repeated_augmentation=1)


# Thesis, table 5.8, at 224; lowered by 0.1 for ImageNet-21k and for fine-tuning at a larger size
# (§5.2.3).
_DROP_PATH = {
    "s20": 0.0,
    "s36": 0.05,
    "s60": 0.15,
    "s120": 0.2,
    "b36": 0.2,
    "b60": 0.3,
    "b120": 0.4,
}


def _drop_path(sizes: tuple[int, ...] = (224,), less: float = 0.0) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            f"patchconvnet_{model}_{size}",
            model_values={"drop_path_rate": round(max(rate - less, 0), 2)},
        )
        for model, rate in _DROP_PATH.items()
        for size in sizes
        if f"patchconvnet_{model}_{size}" in list_models()
    )


_WIDER = tuple(
    Variant(f"patchconvnet_{width}*", optimization={"weight_decay": 0.05}) for width in "bl"
)

PATCHCONVNET = Recipe(
    name="patchconvnet",
    about=About(
        source="thesis, §5.2.3 and table 5.8; issue 185",
        hardware="not stated",
        training="1k",
        models=("patchconvnet_*_224",),
    ),
    model="patchconvnet_s60_224",
    model_values={},
    optimization=Optimization(
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
    objective=Supervised(),
)

# The optimizer is not named; AdamW is that of the other papers' fine-tuning.
PATCHCONVNET_FINETUNE = dataclasses.replace(
    PATCHCONVNET,
    name="patchconvnet_finetune",
    about=About(
        source="thesis, §5.2.3: fine-tuning at a larger size",
        hardware="not stated",
        training="21k → 1k",
        models=("patchconvnet_*_288", "patchconvnet_*_384", "patchconvnet_*_512"),
    ),
    model="patchconvnet_s60_384",
    optimization=Optimization(
        epochs=10,
        batch_size=1024,
        learning_rate=1e-5,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        weight_decay=0.01,
    ),
    augmentation=_ONCE,
    variants=_drop_path((288, 384, 512), less=0.1),
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
    optimization=dataclasses.replace(PATCHCONVNET.optimization, epochs=90),
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
    optimization=Optimization(
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
