"""AugReg's recipes: seven levels of augmentation, and regularization on or off.

"How to train your ViT? Data, augmentation, and regularization in vision transformers" (Steiner et
al., 2021), from scratch on ImageNet-1k, with the values of the authors' configuration `vit_i1k`.
`augreg` has the level that it chooses by model, `augreg_LEVEL` one level for every model, and
`augreg_regularized` dropout and stochastic depth of 0.1, the only values besides 0; with a level,
they are `--dropout_rate 0.1 --drop_path_rate 0.1`. The other weight decay of the paper is 0.03, and
for ImageNet-21k the heads' biases start at −10.

The student is one of this package: the authors' has GELU's tanh form, other initial values, pixels
in [−1, 1] and a further layer before the head. Their Mixup keeps λ at ½ and above and takes the
image before as the partner. Here partners trade places, so that λ and 1 − λ give the same images.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import About, Recipe, Variant

# RandAugment, with two operations, and Mixup's alpha. Magnitude 0 is not none: see
# `policies.TensorFlowRandAugment`.
LEVELS = {
    "none": ("none", 0.0),
    "light1": ("tfrand-m0-n2", 0.0),
    "light2": ("tfrand-m10-n2", 0.2),
    "medium1": ("tfrand-m15-n2", 0.2),
    "medium2": ("tfrand-m15-n2", 0.5),
    "strong1": ("tfrand-m20-n2", 0.5),
    "strong2": ("tfrand-m20-n2", 0.8),
}
_SOURCE = "How to train your ViT?; github.com/google-research/big_vision, configs/vit_i1k.py"
_EXPECTED = {
    "medium2": "S 78.8, fine-tuned at 224",
    "strong2": "with dropout and stochastic depth of 0.1: B 79.2, fine-tuned at 224",
}


def _level(name: str) -> dict:
    auto_augment, mixup_alpha = LEVELS[name]
    return {"auto_augment": auto_augment, "mixup_alpha": mixup_alpha}


def _recipe(level: str) -> Recipe:
    return Recipe(
        name=f"augreg_{level}",
        about=About(
            source=_SOURCE,
            hardware="not stated",
            expected=_EXPECTED.get(level, "in the authors' index of checkpoints"),
        ),
        model="deit_small_patch16_224",
        model_values={},
        # The authors keep Adam's first moment in bfloat16.
        optimization=Optimization(
            epochs=300,
            batch_size=4096,
            learning_rate=1e-3,
            learning_rate_scaling=False,
            warmup_epochs=0,
            warmup_steps=10_000,
            warmup_learning_rate=0.0,
            min_learning_rate=0.0,
            weight_decay=0.1,
            clip_norm=1.0,
        ),
        augmentation=Augmentation(
            crop_scale=(0.05, 1.0),
            crop_aspect=(0.75, 1.33),
            **_level(level),
            cutmix_alpha=0.0,
            label_smoothing=0.0,
            interpolation="bilinear",
            geometric_interpolation="nearest",
            geometric_fill="gray",
        ),
        head_bias=-6.9,
        objective=Supervised(loss="sigmoid_cross_entropy"),
    )


_BY_LEVEL = {level: _recipe(level) for level in LEVELS}

# S with patches of 32 pixels, which has no name of its own here, has medium1.
AUGREG = dataclasses.replace(
    _BY_LEVEL["medium2"],
    name="augreg",
    about=About(source=_SOURCE, hardware="not stated", expected=_EXPECTED["medium2"]),
    variants=(
        Variant(
            "*_tiny_*",
            augmentation=_level("light1"),
            expected="in the authors' index of checkpoints",
        ),
    ),
)

# Helps the larger models alone (figure 4 of the paper).
AUGREG_REGULARIZED = dataclasses.replace(
    AUGREG,
    name="augreg_regularized",
    about=dataclasses.replace(AUGREG.about, expected="in the authors' index of checkpoints"),
    model="deit_base_patch16_224",
    model_values={"dropout_rate": 0.1, "drop_path_rate": 0.1},
)

AUGREG_RECIPES = (AUGREG, AUGREG_REGULARIZED, *_BY_LEVEL.values())
