"""Grafit's recipes: fine-grained embeddings from coarse labels.

"Grafit: Learning fine-grained image representations with coarse labels" (Touvron et al., 2021),
§4.1 and tables 1 and 2; thesis, chapter 2. Their trunk is ResNet-50, and RegNetY-8GF for the
transfer to other data.
"""

import dataclasses

from keras_deit.data import Augmentation
from keras_deit.objectives import Grafit
from keras_deit.optimizers import Optimization
from keras_deit.recipes.digits import DIGITS
from keras_deit.recipes.recipe import About, Recipe

_SOURCE = "Grafit (Touvron et al., 2021), §4.1; thesis, chapter 2"
_HARDWARE = "not stated"

# The learning rate is 0.1 for 256 images. The weight decay, the magnitude of RandAugment and the
# probability of erasing are not stated; these are the usual ones.
_OPTIMIZATION = Optimization(
    epochs=600,
    batch_size=1024,
    optimizer="sgd",
    learning_rate=0.2,
    weight_decay=1e-4,
    weight_decay_on="all",
    warmup_epochs=5,
    warmup_learning_rate=0.0,
    min_learning_rate=0.0,
)
_AUGMENTATION = Augmentation(
    auto_augment="rand-m9-mstd0.5",
    erase_probability=0.25,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
    label_smoothing=0.0,
)

GRAFIT = Recipe(
    name="grafit",
    about=About(
        source=_SOURCE,
        hardware=_HARDWARE,
        expected="ResNet-50, ImageNet's 127 coarse classes: kNN 69.1, mAP 39.4 (42.9 conditional)",
    ),
    model="regnety_080",
    model_values={},
    optimization=_OPTIMIZATION,
    augmentation=_AUGMENTATION,
    objective=Grafit(),
    validation_epochs=10,
)

GRAFIT_FC = dataclasses.replace(
    GRAFIT,
    name="grafit_fc",
    about=About(
        source=_SOURCE,
        hardware=_HARDWARE,
        expected="ResNet-50, ImageNet's 127 coarse classes: kNN 69.1, mAP 41.7 (44.4 conditional)",
    ),
    objective=Grafit(projector="linear", projection_dim=128),
)

SNCA_PLUS = dataclasses.replace(
    GRAFIT,
    name="snca_plus",
    about=About(
        source=_SOURCE,
        hardware=_HARDWARE,
        expected="ResNet-50, ImageNet's 127 coarse classes: kNN 55.4, mAP 31.8 (32.9 conditional)",
    ),
    objective=Grafit(instance_weight=0.0),
)

# Patches of 8 pixels, each 4×4 of the original 8×8, and two blocks: three trainings with three
# seeds should take minutes. Without mixing, because an image needs one label.
GRAFIT_DIGITS = Recipe(
    name="grafit_digits",
    about=About(
        source="this package",
        hardware="two CPU cores, five minutes",
        expected="with --coarse digits, fine labels of the test split: kNN 0.98, mAP 0.83",
    ),
    model="deit_tiny_patch16_224",
    model_values={**DIGITS.model_values, "patch_size": 8, "depth": 2},
    optimization=Optimization(
        epochs=100, batch_size=64, learning_rate=1.2e-2, warmup_epochs=5, weight_decay=0.05
    ),
    augmentation=dataclasses.replace(
        DIGITS.augmentation, mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0
    ),
    objective=Grafit(
        projection_dim=64, projection_hidden_dim=256, augmentations=2, target_momentum=0.99
    ),
    evaluation_crop_ratio=1.0,
    evaluation_interpolation="bilinear",
    validation_epochs=20,
)

GRAFIT_RECIPES = (GRAFIT, GRAFIT_FC, SNCA_PLUS, GRAFIT_DIGITS)
