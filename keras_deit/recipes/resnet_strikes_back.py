"""The recipes A1, A2 and A3 of "ResNet strikes back" (Wightman et al., 2021), for convnet teachers.

The loss is a binary cross-entropy for which every class of a mixed image has the target 1. A1
smooths these targets; the published figures do not say whether before or after they become 1, and
only after has an effect. ε of LAMB is the default of timm's, with which the authors trained.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.optimizers import Optimization
from keras_deit.recipes.teacher_recipe import ConvnetRecipe, TeacherRecipe

_SOURCE = "ResNet strikes back (Wightman et al., 2021), table 2; thesis, §6.3"

_A2 = TeacherRecipe(
    Optimization(
        epochs=300,
        batch_size=2048,
        optimizer="lamb",
        learning_rate=5e-3,
        learning_rate_scaling=False,
        warmup_epochs=5,
        min_learning_rate=1e-6,
        weight_decay=0.02,
        adam_epsilon=1e-6,
    ),
    Augmentation(
        auto_augment="rand-m7-mstd0.5-inc1",
        mixup_alpha=0.1,
        label_smoothing=0.0,
        repeated_augmentation=3,
    ),
    batch_norm_momentum=0.9,
    loss="binary_cross_entropy",
    drop_path_rate=0.05,
)
_A1 = dataclasses.replace(
    _A2,
    optimization=dataclasses.replace(_A2.optimization, epochs=600, weight_decay=0.01),
    augmentation=dataclasses.replace(_A2.augmentation, mixup_alpha=0.2),
    target_smoothing=0.1,
)
_A3 = dataclasses.replace(
    _A2,
    optimization=dataclasses.replace(_A2.optimization, epochs=100, learning_rate=8e-3),
    augmentation=dataclasses.replace(
        _A2.augmentation, auto_augment="rand-m6-mstd0.5-inc1", repeated_augmentation=1
    ),
    drop_path_rate=0.0,
    train_image_size=160,
)
# The recipe, and top-1 of the authors' weights of seed 0 at 224 pixels, of ResNet-18 to 152.
_RECIPES = {
    "resnet_a1": (_A1, (71.50, 76.42, 80.38, 81.49, 82.00), "; at 288, ResNet-50: 81.24"),
    "resnet_a2": (_A2, (70.63, 75.52, 79.83, 81.34, 81.76), "; at 288, ResNet-50: 80.77"),
    "resnet_a3": (_A3, (68.25, 73.00, 78.05, 79.84, 80.55), "; at 160, ResNet-50: 75.99"),
}
_DEPTHS = (18, 34, 50, 101, 152)


def _recipe(name: str, training: TeacherRecipe, top1: tuple, more: str) -> ConvnetRecipe:
    results = [f"ResNet-{depth} {value:.2f}" for depth, value in zip(_DEPTHS, top1, strict=True)]
    expected = ", ".join(results) + more
    return ConvnetRecipe(name, _SOURCE, expected, "keras_deit:resnet50", training)


RESNET_RECIPES = tuple(_recipe(name, *values) for name, values in _RECIPES.items())
