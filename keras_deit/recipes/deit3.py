"""DeiT III's recipes.

"DeiT III: Revenge of the ViT" (Touvron et al., 2022), tables 1 and 14 of its chapter in the thesis,
and the command lines of the published README, which made the released weights. All learning
rates are independent of the batch size.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.common import EMA_DECAY
from keras_deit.recipes.recipe import About, Recipe, Variant


def _by_size(**values: float) -> tuple[Variant, ...]:
    """Stochastic depth by size, uniform over the blocks."""
    return tuple(
        Variant(f"deit3_{size}_*", model_values={"drop_path_rate": rate})
        for size, rate in values.items()
    )


_THREE_AUGMENT = Augmentation(
    auto_augment="3a", color_jitter=0.3, label_smoothing=0.0, repeated_augmentation=3
)

_1K = Optimization(
    epochs=800,
    batch_size=2048,
    optimizer="lamb",
    learning_rate=3e-3,
    learning_rate_scaling=False,
    schedule="epoch_cosine",
    weight_decay=0.05,
    ema_decay=EMA_DECAY,
)

# Larger models are trained at a smaller size first, and fine-tuned at 224.
DEIT3_1K = Recipe(
    name="deit3_1k",
    about=About(
        source="README_revenge.md, ImageNet-1k pre-training, 800 epochs",
        hardware="S, B: 8 GPUs × 256 images; L, H: 32 × 64",
        training="1k",
        models=("deit3_small_patch16_224",),
    ),
    model="deit3_small_patch16_224",
    model_values={},
    optimization=_1K,
    augmentation=_THREE_AUGMENT,
    variants=(
        *_by_size(small=0.05, base=0.2, large=0.45, huge=0.6),
        Variant("deit3_small_*", optimization={"learning_rate": 4e-3}),
        Variant(
            "deit3_base_*", model_values={"image_size": 192}, expected="deit3_base_patch16_192"
        ),
        Variant(
            "deit3_large_*", model_values={"image_size": 192}, expected="deit3_large_patch16_192"
        ),
        # 154 pixels in the paper and 160 in README are the same 11 × 11 patches.
        Variant(
            "deit3_huge_*", model_values={"image_size": 154}, expected="deit3_huge_patch14_154"
        ),
    ),
    objective=Supervised(loss="binary_cross_entropy"),
)

DEIT3_1K_400 = dataclasses.replace(
    DEIT3_1K,
    name="deit3_1k_400",
    about=About(
        source="DeiT III, table 1, and by size table 14: 400 epochs at 224",
        hardware="not stated",
        expected="S 80.4, B 83.1, L 84.2, H 84.8 at 224",
    ),
    optimization=dataclasses.replace(_1K, epochs=400, weight_decay=0.02),
    variants=_by_size(tiny=0.0, small=0.0, base=0.1, large=0.4, huge=0.5),
)

# Learning rate and minimum are the same: flat after the warm-up.
DEIT3_1K_FINETUNE = Recipe(
    name="deit3_1k_finetune",
    about=About(
        source="README_revenge.md, fine-tuning on ImageNet-1k",
        hardware="not stated",
        training="1k",
        models=("deit3_*_224", "deit3_*_384"),
    ),
    model="deit3_base_patch16_224",
    model_values={},
    optimization=Optimization(
        epochs=20,
        batch_size=512,
        learning_rate=1e-5,
        learning_rate_scaling=False,
        schedule="epoch_cosine",
        weight_decay=0.1,
        ema_decay=EMA_DECAY,
    ),
    augmentation=Augmentation(auto_augment="rand-m9-mstd0.5-inc1"),
    variants=tuple(
        Variant(f"deit3_{name}", model_values={"drop_path_rate": rate})
        for name, rate in (
            ("base_patch16_224", 0.2),
            ("large_patch16_224", 0.45),
            ("huge_patch14_224", 0.55),
            ("small_patch16_384", 0.0),
            ("base_patch16_384", 0.15),
            ("large_patch16_384", 0.4),
        )
    ),
    fine_tunes=True,
    objective=Supervised(),
)

# The paper's table has a learning rate of 3e-3; the README's made the weights.
DEIT3_21K = Recipe(
    name="deit3_21k",
    about=About(
        source="README_revenge.md, ImageNet-21k pre-training: 240 epochs, H 90",
        hardware="L 32, H 64 GPUs; an epoch takes from 26 minutes (S) to 2.3 hours (H)",
        training="21k → 1k",
        models=("deit3_*_224",),
        expected="after fine-tuning on 1k",
    ),
    model="deit3_small_patch16_224",
    model_values={},
    optimization=dataclasses.replace(_1K, epochs=240, learning_rate=1e-3, weight_decay=0.02),
    augmentation=Augmentation(
        crop="simple_random_crop", auto_augment="3a", color_jitter=0.3, mixup_alpha=0.0
    ),
    variants=(
        *_by_size(small=0.05, base=0.1, large=0.3, huge=0.5),
        Variant("deit3_huge_*", model_values={"image_size": 126}, optimization={"epochs": 90}),
    ),
    objective=Supervised(),
)

DEIT3_21K_FINETUNE = dataclasses.replace(
    DEIT3_21K,
    name="deit3_21k_finetune",
    about=About(
        source="README_revenge.md, ImageNet-21k, then 1k",
        hardware="not stated",
        training="21k → 1k",
        models=("deit3_*_224",),
    ),
    optimization=dataclasses.replace(DEIT3_21K.optimization, epochs=50, learning_rate=3e-4),
    variants=_by_size(small=0.05, base=0.15, large=0.4, huge=0.45),
    fine_tunes=True,
)

# "Three things everyone should know about Vision Transformers", §4. No learning rate was
# published: the values are those of fine-tuning on ImageNet-1k.
ATTENTION_ONLY = dataclasses.replace(
    DEIT3_1K_FINETUNE,
    name="attention_only",
    about=About(
        source="--attn-only of the published script; DeiT III uses it on Flowers",
        hardware="not stated",
        expected="DeiT III on Flowers: 0.2 more than fine-tuning all weights",
    ),
    optimization=dataclasses.replace(DEIT3_1K_FINETUNE.optimization, trainable="attention"),
)

DEIT3_RECIPES = (
    DEIT3_1K,
    DEIT3_1K_400,
    DEIT3_1K_FINETUNE,
    DEIT3_21K,
    DEIT3_21K_FINETUNE,
    ATTENTION_ONLY,
)
