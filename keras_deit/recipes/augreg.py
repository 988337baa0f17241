"""AugReg's recipes: seven levels of augmentation, regularization on or off, and fine-tuning.

"How to train your ViT? Data, augmentation, and regularization in vision transformers" (Steiner et
al., 2022), from scratch on ImageNet-1k and ImageNet-21k with the values of the authors'
configurations `vit_i1k` and `vit_i21k`, and from their weights with those of `vit_jax/configs`.
`augreg` and `augreg_21k` have the level that these choose by model, `augreg_LEVEL` one level for
every model, and `augreg_regularized` dropout and stochastic depth of 0.1, the only values besides
0; with a level, they are `--dropout_rate 0.1 --drop_path_rate 0.1`. The other weight decay of the
paper is 0.03.

Two things differ from the authors' code: they keep momentum and Adam's first moment in bfloat16,
and their `vit_i1k` has a further layer before the head, which their released weights have not:
`--representation_size` adds it.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes import augreg_names
from keras_deit.recipes.augreg_names import AugRegCheckpoint, FineTuning
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
_CODE = "github.com/google-research"
_PAPER = "How to train your ViT?"
_SOURCE = f"{_PAPER}; {_CODE}/big_vision, configs/vit_i1k.py"
_IN_THE_INDEX = "in the authors' index of checkpoints: keras-deit augreg index.csv"
_EXPECTED = {
    "medium2": "fine-tuned at 224",
    "strong2": "with dropout and stochastic depth of 0.1, fine-tuned at 224",
}
_MODELS = {"medium2": ("vit_small_patch16_224",), "strong2": ("vit_base_patch16_224",)}


def _level(name: str) -> dict:
    auto_augment, mixup_alpha = LEVELS[name]
    return {"auto_augment": auto_augment, "mixup_alpha": mixup_alpha}


# Inception crop and flip alone.
_PLAIN = Augmentation(
    crop_scale=(0.05, 1.0),
    crop_aspect=(0.75, 1.33),
    **_level("none"),
    cutmix_alpha=0.0,
    mix_partner="previous",
    label_smoothing=0.0,
    interpolation="bilinear",
    geometric_interpolation="nearest",
    geometric_fill="gray",
)


def _recipe(level: str) -> Recipe:
    return Recipe(
        name=f"augreg_{level}",
        about=About(
            source=_SOURCE,
            hardware="not stated",
            training="1k",
            models=_MODELS.get(level, ()),
            expected=_EXPECTED.get(level, _IN_THE_INDEX),
        ),
        model="vit_small_patch16_224",
        model_values={},
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
        augmentation=dataclasses.replace(_PLAIN, **_level(level)),
        head_bias=-6.9,
        objective=Supervised(loss="sigmoid_cross_entropy"),
        evaluation_crop_ratio=224 / 256,
        evaluation_interpolation="bilinear",
    )


_BY_LEVEL = {level: _recipe(level) for level in LEVELS}


def _by_model(levels: dict[str, str]) -> tuple[Variant, ...]:
    return tuple(
        Variant(pattern, augmentation=_level(level), expected=_IN_THE_INDEX)
        for pattern, level in levels.items()
    )


# The configurations name no hybrid and no B with patches of 8 pixels. Here they have the level of
# B/16 on ImageNet-1k.
AUGREG = dataclasses.replace(
    _BY_LEVEL["medium2"],
    name="augreg",
    variants=_by_model({"*_tiny_*": "light1", "vit_small_patch32_*": "medium1"}),
)

# Helps the larger models alone (figure 4 of the paper).
AUGREG_REGULARIZED = dataclasses.replace(
    AUGREG,
    name="augreg_regularized",
    about=dataclasses.replace(AUGREG.about, models=("vit_base_patch32_224",)),
    model="vit_base_patch16_224",
    model_values={"dropout_rate": 0.1, "drop_path_rate": 0.1},
)

# 21,843 classes. On ImageNet-21k hybrids have the level of the recommended checkpoint, whose name
# counts the light ones from 0.
AUGREG_21K = dataclasses.replace(
    _BY_LEVEL["light2"],
    name="augreg_21k",
    about=About(
        source=f"{_PAPER}; {_CODE}/big_vision, configs/vit_i21k.py",
        hardware="not stated",
        expected=_IN_THE_INDEX,
    ),
    model="vit_base_patch16_224",
    head_bias=-10.0,
    variants=_by_model(
        {
            "*_tiny_*": "none",
            "vit_small_patch32_*": "none",
            "vit_small_patch16_*": "light1",
            "vit_large_patch16_*": "medium2",
            "vit_large_r50_*": "medium1",
        }
    ),
)

AUGREG_21K_30 = dataclasses.replace(
    AUGREG_21K,
    name="augreg_21k_30",
    optimization=dataclasses.replace(AUGREG_21K.optimization, epochs=30),
)


def _warmup(steps: int) -> int:
    """Returns the steps of the warm-up of a fine-tuning: 500, or 100 of 500."""
    return min(500, steps // 5)


def _finetune(name: str, steps: int, learning_rate: float, models=(), expected="") -> Recipe:
    return Recipe(
        name=name,
        about=About(
            source=f"{_PAPER}; {_CODE}/vision_transformer, vit_jax/configs; {_CODE}/big_vision, "
            "configs/transfer.py",
            hardware="not stated",
            training="21k → 1k",
            models=models,
            expected=expected,
        ),
        model="vit_base_patch32_384",
        model_values={},
        optimization=Optimization(
            steps=steps,
            batch_size=512,
            optimizer="sgd",
            nesterov=False,
            learning_rate=learning_rate,
            learning_rate_scaling=False,
            warmup_epochs=0,
            warmup_steps=_warmup(steps),
            warmup_learning_rate=0.0,
            min_learning_rate=0.0,
            weight_decay=0.0,
            clip_norm=1.0,
        ),
        augmentation=_PLAIN,
        head_bias=0.0,
        fine_tunes=True,
        objective=Supervised(),
        # The shorter side is resized to 448 pixels for images of 384.
        evaluation_crop_ratio=384 / 448,
        evaluation_interpolation="bilinear",
    )


# Learning rates are those of B/32. The authors tried 0.01 and 0.03 on ImageNet, and 0.001, 0.003,
# 0.01 and 0.03 elsewhere; 224 and 384 pixels; 2,500 and 10,000 steps on CIFAR-100 and RESISC45, 500
# and 2,500 on Pets and KITTI.
AUGREG_FINETUNE = _finetune("augreg_finetune", 20_000, 0.03, ("vit_*_384",))
AUGREG_FINETUNE_CIFAR100 = _finetune(
    *("augreg_finetune_cifar100", 10_000, 0.01), expected="B with patches of 32 pixels: 91.35"
)
AUGREG_FINETUNE_PETS = _finetune(
    *("augreg_finetune_pets", 500, 0.003), expected="B with patches of 32 pixels: 93.78"
)

AUGREG_RECIPES = (
    *(AUGREG, AUGREG_REGULARIZED, *_BY_LEVEL.values(), AUGREG_21K, AUGREG_21K_30),
    *(AUGREG_FINETUNE, AUGREG_FINETUNE_CIFAR100, AUGREG_FINETUNE_PETS),
)

_BY_PRETRAINING = {"i21k": AUGREG_21K, "i21k_30": AUGREG_21K_30}
_BY_TRANSFER = {
    **dict.fromkeys(("cifar100", "resisc45"), AUGREG_FINETUNE_CIFAR100),
    **dict.fromkeys(("oxford_iiit_pet", "kitti"), AUGREG_FINETUNE_PETS),
}


def pretraining_recipe(checkpoint: AugRegCheckpoint) -> tuple[str, dict]:
    """Returns the recipe that trains as a released checkpoint was pretrained.

    Args:
        checkpoint: what its name says.

    Returns:
        The name of the recipe, and the values that differ from it for the model.
    """
    level = augreg_names.LEVELS[checkpoint.augmentation]
    recipe = _BY_PRETRAINING.get(checkpoint.data, _BY_LEVEL[level])
    chosen = recipe.for_model(checkpoint.model(augreg_names.PRETRAINING_SIZE))
    values = {
        "epochs": checkpoint.epochs,
        "learning_rate": checkpoint.learning_rate,
        **_level(level),
        "weight_decay": checkpoint.weight_decay,
        "dropout_rate": checkpoint.dropout_rate,
        "drop_path_rate": checkpoint.drop_path_rate,
    }
    return recipe.name, _differing(chosen, values)


def fine_tuning_recipe(fine_tuning: FineTuning) -> tuple[str, dict]:
    """Returns the recipe that trains as a released checkpoint was fine-tuned, likewise."""
    recipe = _BY_TRANSFER.get(fine_tuning.data, AUGREG_FINETUNE)
    values = {
        "steps": fine_tuning.steps,
        "warmup_steps": _warmup(fine_tuning.steps),
        "learning_rate": fine_tuning.learning_rate,
    }
    return recipe.name, _differing(recipe, values)


def _differing(recipe: Recipe, values: dict) -> dict:
    own = {
        **{"dropout_rate": 0.0, "drop_path_rate": 0.0},
        **recipe.model_values,
        **dataclasses.asdict(recipe.optimization),
        **dataclasses.asdict(recipe.augmentation),
    }
    return {name: value for name, value in values.items() if value != own[name]}
