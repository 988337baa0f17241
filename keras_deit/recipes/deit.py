"""DeiT's recipes.

"Training data-efficient image transformers & distillation through attention" (Touvron et al.,
2021), table 9, §6 and the published command lines.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.common import DEIT_AUGMENTATION, DISTILLATION, EMA_DECAY
from keras_deit.recipes.recipe import About, Recipe

_OPTIMIZATION = Optimization(schedule="epoch_cosine", ema_decay=EMA_DECAY)

DEIT = Recipe(
    name="deit",
    about=About(
        source="DeiT, table 9; README_deit.md",
        hardware="B: 16 GPUs × 64 images, 37 hours (8 V100: 53 hours); Ti, S: 4 GPUs × 256",
        training="1k",
        models=("deit_*_patch16_224",),
    ),
    model="deit_tiny_patch16_224",
    model_values={"drop_path_rate": 0.1},
    optimization=_OPTIMIZATION,
    augmentation=DEIT_AUGMENTATION,
    objective=Supervised(),
)

DEIT_DISTILLED = dataclasses.replace(
    DEIT,
    name="deit_distilled",
    about=About(
        source="DeiT, §5 and table 9; README_deit.md",
        hardware="as deit",
        training="1k distilled",
        models=("deit_*_distilled_patch16_224",),
        expected="from a RegNetY-16GF",
    ),
    model="deit_tiny_distilled_patch16_224",
    objective=DISTILLATION,
)

DEIT_DISTILLED_1000 = dataclasses.replace(
    DEIT_DISTILLED,
    name="deit_distilled_1000",
    about=About(
        source="DeiT, table 7",
        hardware="as deit, three times as long",
        expected="from a RegNetY-16GF: Ti 76.6, S 82.6, B 84.2",
    ),
    optimization=dataclasses.replace(_OPTIMIZATION, epochs=1000),
)

# The student stays in evaluation mode, as in the published script whenever it fine-tunes, so there
# is no stochastic depth. The learning rate equals its minimum, so it is flat after the warm-up.
_FINETUNE = Optimization(
    epochs=30,
    batch_size=512,
    learning_rate=5e-6,
    schedule="epoch_cosine",
    min_learning_rate=5e-6,
    weight_decay=1e-8,
    training_mode=False,
    ema_decay=EMA_DECAY,
)

DEIT_FINETUNE_384 = dataclasses.replace(
    DEIT,
    name="deit_finetune_384",
    about=About(
        source="README_deit.md, fine-tuning at 384; DeiT §6",
        hardware="2 nodes × 8 GPUs × 32 images, 20 hours on 8 V100",
        training="1k",
        models=("deit_base_patch16_384",),
        expected="83.1 at a crop ratio of 1.0",
    ),
    model="deit_base_patch16_384",
    model_values={},
    optimization=_FINETUNE,
    fine_tunes=True,
)

DEIT_FINETUNE_384_DISTILLED = dataclasses.replace(
    DEIT_FINETUNE_384,
    name="deit_finetune_384_distilled",
    about=About(
        source="DeiT, §5: the teacher sees 384 pixels, too; not in the published script",
        hardware="as deit_finetune_384",
        training="1k distilled",
        models=("deit_base_distilled_patch16_384",),
        expected="after 1000 epochs of training, 84.5 after 300",
    ),
    model="deit_base_distilled_patch16_384",
    objective=DISTILLATION,
)

# The published script pads and crops images of 32 pixels or fewer. Width and depth are DeiT-Ti's;
# patches have 4 pixels, so there are 64 of them.
CIFAR10_SCRATCH = dataclasses.replace(
    DEIT,
    name="cifar10_scratch",
    about=About(
        source="DeiT's recipe and its script's transforms for small images; no published run",
        hardware="one GPU",
        expected="not published; DeiT-B on images enlarged to 224: 97.5 (thesis §3.4.4)",
    ),
    model="deit_tiny_patch16_224",
    model_values={"image_size": 32, "patch_size": 4, "drop_path_rate": 0.1},
    augmentation=Augmentation(
        crop="random_crop",
        auto_augment="rand-m9-mstd0.5-inc1",
        erase_probability=0.25,
        repeated_augmentation=3,
    ),
    evaluation_crop_ratio=1.0,
)

DEIT_RECIPES = (
    DEIT,
    DEIT_DISTILLED,
    DEIT_DISTILLED_1000,
    DEIT_FINETUNE_384,
    DEIT_FINETUNE_384_DISTILLED,
    CIFAR10_SCRATCH,
)
