"""Recipes that carry ImageNet weights over to smaller data sets.

Images are enlarged to 224 pixels. DeiT: issues 45, 105 and 141 of the published repository, and
issues 81 and 144 of DINO's, by the same authors; ResMLP: issue 117; CaiT: thesis §3.7.1.3. The
learning rates are taken as they stand, for the batch that is stated beside them. CaiT keeps the
rest of its own training, and its tables are at a crop ratio of 0.875.
"""

import dataclasses

from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.cait import CAIT_DROP_PATH
from keras_deit.recipes.common import DEIT_AUGMENTATION, EMA_DECAY
from keras_deit.recipes.recipe import About, Recipe, Variant

_UNERASED = dataclasses.replace(DEIT_AUGMENTATION, erase_probability=0.0)

_ADAMW = Optimization(
    epochs=1000,
    batch_size=768,
    learning_rate=5e-6,
    learning_rate_scaling=False,
    schedule="epoch_cosine",
    ema_decay=EMA_DECAY,
)
_SGD = dataclasses.replace(_ADAMW, optimizer="sgd", learning_rate=0.01, weight_decay=1e-4)


def _variants(cait_learning_rate: float, cait_epochs: int, resmlp: bool) -> tuple[Variant, ...]:
    """CaiT: its training at a tenth of the learning rate, on CIFAR at a hundredth."""
    cait = Variant(
        "cait_*",
        optimization={
            "optimizer": "adamw",
            "learning_rate": cait_learning_rate,
            "weight_decay": 0.05,
            "batch_size": 1024,
            "epochs": cait_epochs,
        },
        augmentation={"erase_probability": DEIT_AUGMENTATION.erase_probability},
        evaluation_crop_ratio=0.875,
    )
    if not resmlp:
        return (cait, *CAIT_DROP_PATH)
    adamw = {"optimizer": "adamw", "learning_rate": 5e-6, "weight_decay": 0.05}
    return (
        *(cait, *CAIT_DROP_PATH),
        Variant("resmlp_12_*", model_values={"drop_path_rate": 0.05}, optimization=adamw),
        Variant("resmlp_24_*", model_values={"drop_path_rate": 0.1}, optimization=adamw),
    )


TRANSFER_CIFAR10 = Recipe(
    name="transfer_cifar10",
    about=About(
        source="issue 45; ResMLP: issue 117; CaiT: thesis §3.7.1.3",
        hardware="not stated",
        expected="DeiT-B 99.1, CaiT-S36 99.2, ResMLP-S24 98.7",
    ),
    model="deit_base_patch16_224",
    model_values={},
    optimization=_SGD,
    augmentation=_UNERASED,
    variants=_variants(1e-5, 1000, resmlp=True),
    fine_tunes=True,
    objective=Supervised(),
)

TRANSFER_CIFAR100 = dataclasses.replace(
    TRANSFER_CIFAR10,
    name="transfer_cifar100",
    about=About(
        source="issue 144 of DINO's repository; ResMLP: issue 117; CaiT: thesis §3.7.1.3",
        hardware="not stated",
        expected="DeiT-B 90.8, CaiT-S36 92.2, ResMLP-S24 89.5",
    ),
    optimization=_ADAMW,
    augmentation=_UNERASED,
)

TRANSFER_CARS = dataclasses.replace(
    TRANSFER_CIFAR10,
    name="transfer_cars",
    about=About(
        source="issue 45; CaiT: thesis §3.7.1.3",
        hardware="not stated",
        expected="DeiT-B 92.1, CaiT-S36 93.5",
    ),
    variants=_variants(1e-4, 1000, resmlp=False),
)

# For DeiT itself no settings on Flowers are published; these are CaiT's. Of DeiT III it is known
# that its attention alone is trained.
TRANSFER_FLOWERS = dataclasses.replace(
    TRANSFER_CARS,
    name="transfer_flowers",
    about=About(
        source="CaiT: thesis §3.7.1.3 and table 3.19",
        hardware="not stated",
        expected="CaiT-S36 98.8",
    ),
    model="cait_s36_224",
    optimization=dataclasses.replace(_ADAMW, learning_rate=1e-4, batch_size=1024),
    augmentation=DEIT_AUGMENTATION,
    variants=(
        *TRANSFER_CARS.variants,
        Variant("deit3_*", optimization={"trainable": "attention"}),
    ),
)

TRANSFER_INAT18 = dataclasses.replace(
    TRANSFER_CARS,
    name="transfer_inat18",
    about=About(
        source="issues 105 and 141; CaiT: thesis §3.7.1.3",
        hardware="not stated",
        expected="DeiT-B 73.2, CaiT-S36 77.1",
    ),
    model_values={"drop_path_rate": 0.1},
    optimization=dataclasses.replace(_ADAMW, learning_rate=7.5e-5, epochs=360),
    augmentation=dataclasses.replace(DEIT_AUGMENTATION, erase_probability=0.1),
    variants=_variants(1e-4, 360, resmlp=False),
)

TRANSFER_INAT19 = dataclasses.replace(
    TRANSFER_INAT18,
    name="transfer_inat19",
    about=dataclasses.replace(TRANSFER_INAT18.about, expected="DeiT-B 77.7, CaiT-S36 80.6"),
)

TRANSFER_RECIPES = (
    TRANSFER_CIFAR10,
    TRANSFER_CIFAR100,
    TRANSFER_CARS,
    TRANSFER_FLOWERS,
    TRANSFER_INAT18,
    TRANSFER_INAT19,
)
