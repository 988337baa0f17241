"""The recipe of "Vision Transformer for Small-Size Datasets" (Lee et al., 2021).

Its authors train on CIFAR-10, CIFAR-100, SVHN (the 73,257 images of its training split alone) and
Tiny-ImageNet, from scratch on one GPU. An epoch is three passes over the data: the sampler that
they announce as repeated augmentation gets one copy of an image and three times the length, so that
no image is repeated in a batch and 100 epochs are 300 passes. Every variable has weight decay. What
is erased gets the means of the normalization as they are, in an image that is normalized already.
The accuracy that they report is the best of all epochs on the test images, which is `--weights
best` of a run if the test images are its validation.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import About, Recipe, Variant

_SOURCE = "Vision Transformer for Small-Size Datasets; github.com/aanna0701/SPT_LSA_ViT"


def _about(*top1: float) -> About:
    """Returns what is known, from the top-1 of five models and then of these with SPT and LSA."""
    models = ("ViT", "T2T", "CaiT", "PiT", "Swin")
    pairs = zip(models, top1[:5], top1[5:], strict=True)
    expected = ", ".join(f"{name} {plain:.2f}, SL-{name} {sl:.2f}" for name, plain, sl in pairs)
    return About(source=_SOURCE, hardware="one GPU", expected=expected)


SPT_LSA = Recipe(
    name="spt_lsa",
    about=_about(*(93.58, 95.30, 94.91, 94.24, 94.46), *(94.53, 95.57, 95.81, 95.88, 95.93)),
    model="sl_vit_patch4_32",
    model_values={"drop_path_rate": 0.1, "normalization": "cifar10"},
    optimization=Optimization(
        epochs=100,
        passes_per_epoch=3,
        batch_size=128,
        learning_rate=1e-3,
        learning_rate_scaling=False,
        warmup_epochs=10,
        min_learning_rate=1e-6,
        weight_decay=0.05,
        weight_decay_on="all",
    ),
    augmentation=Augmentation(
        crop="random_crop",
        auto_augment="cifar10",
        erase_probability=0.25,
        erase_mode="mean",
        erase_area=(0.02, 0.4),
        mixup_alpha=1.0,
        cutmix_alpha=1.0,
        mix_probability=0.5,
        geometric_fill="gray",
    ),
    objective=Supervised(),
    evaluation_crop_ratio=1.0,
    variants=(
        Variant(
            "*_64",
            model_values={"normalization": "tiny_imagenet"},
            augmentation={"auto_augment": "imagenet"},
            expected=_about(
                *(57.07, 60.57, 64.37, 60.25, 60.87), *(61.07, 61.83, 67.18, 62.91, 64.95)
            ).expected,
        ),
    ),
)

SPT_LSA_CIFAR100 = dataclasses.replace(
    SPT_LSA,
    name="spt_lsa_cifar100",
    about=_about(*(73.81, 77.00, 76.89, 74.99, 76.87), *(76.92, 77.36, 80.32, 79.00, 79.99)),
    model_values={"drop_path_rate": 0.1, "normalization": "cifar100"},
    variants=(),
)

SPT_LSA_SVHN = dataclasses.replace(
    SPT_LSA,
    name="spt_lsa_svhn",
    about=_about(*(97.82, 97.90, 98.13, 97.83, 97.72), *(97.79, 97.91, 98.28, 97.93, 97.92)),
    model_values={"drop_path_rate": 0.1, "normalization": "svhn"},
    augmentation=dataclasses.replace(SPT_LSA.augmentation, auto_augment="svhn"),
    variants=(),
)

SPT_LSA_RECIPES = (SPT_LSA, SPT_LSA_CIFAR100, SPT_LSA_SVHN)
