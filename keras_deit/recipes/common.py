"""What the recipes of several papers share."""

from keras_deit.data.augmentation import Augmentation
from keras_deit.recipes.recipe import Optimisation, TeacherRecipe

# DeiT, table 9 and the defaults of the published script. Colour jitter is set there, too, and
# has no effect beside RandAugment.
DEIT_AUGMENTATION = Augmentation(
    auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
)

# The authors track the average and report the raw weights.
EMA_DECAY = 0.99996

# The authors' teacher is a RegNetY-16GF (82.9 % top-1). Keras has none: this is the best convnet
# that KerasCV has weights for, fine-tuned to the data. For ImageNet itself
# `--teacher kerascv:efficientnetv2_s_imagenet_classifier` needs no fine-tuning.
TEACHER = "kerascv:efficientnetv2_s_imagenet"
TEACHER_RECIPE = TeacherRecipe(
    Optimisation(epochs=30, batch_size=256, learning_rate=2e-4, warmup_epochs=2, weight_decay=0.05),
    Augmentation(auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25),
)

# How a recipe without distillation is filled in; `--distillation hard --teacher NAME` adds it.
UNDISTILLED = {
    "distillation": "none",
    "alpha": 0.5,
    "temperature": 3.0,
    "teacher": None,
    "teacher_recipe": TEACHER_RECIPE,
}
DISTILLED = {**UNDISTILLED, "distillation": "hard", "teacher": TEACHER}
