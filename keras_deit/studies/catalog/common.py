"""What the studies share: the small models, their teacher, and why the data were chosen.

At the scale "small" a model has width 64, four blocks and a convolutional stem, without which it
learns little in so few steps, and the values of the recipe auto. The length of a training is a
number of steps, so that its results do not depend on what else the machine does.
"""

from dataclasses import fields

from keras_deit.recipes.teacher_recipe import SMALL_DATA_AUGMENTATION

THESIS = "H. Touvron's PhD thesis"
LETTERS = (
    "26 letters in the fonts of matplotlib, turned and with noise, test fonts unseen: models of "
    "this size reach between 50 and 90 %, so that there is room on both sides"
)
CROPS = (
    "pieces of photographs, a third of them gray, brightness and tint drawn, test pieces from "
    "another region: color and texture do not give them away"
)
IMAGENET = {"dataset": "imagenet2012"}
# Of the model and its training; `cell_options` adds sides and patches.
SMALL = {
    "recipe": "auto",
    "model": "deit_tiny_patch16_224",
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 2,
    "stem": "conv",
    "steps": 1200,
    "warmup_steps": 60,
    "validation_epochs": 100,
    "distillation": "none",
}
# A convolutional network that is trained on the same images first, at the size that the recipe
# auto has for 28 pixels, for twice as many steps. Its accuracy on letters30 was 0.87 after 720 and
# 0.92 after 1,440 steps; students of 1,200 steps alone reach 0.84.
TEACHER = {
    "teacher": "kerascv:csp_darknet_tiny",
    "teacher_image_size": 64,
    "teacher_steps": 1440,
}
DEIT_BASE = {**IMAGENET, "recipe": "deit_distilled", "model": "deit_base_patch16_224"}
AUGMENTED = {"auto_augment": "rand-m9-mstd0.5-inc1", "mixup_alpha": 0.8, "cutmix_alpha": 1.0}
HARD = {"distillation": "hard", "alpha": 0.5}
# The thesis's λ of "usual" distillation is the weight of the teacher's distribution.
SOFT = {"distillation": "soft", "alpha": 0.1, "temperature": 3.0}


def distilled(values: dict, **more) -> dict:
    """Returns the options of a cell that distills the convolutional teacher of each scale."""
    return {
        "options": {**values, **more},
        "small": TEACHER,
        "paper": {"teacher": "regnety_160", "teacher_weights": "imagenet"},
    }


TOKEN = distilled(HARD, distilled=True)
# A row that starts from the weights of another run is trained with the values of the recipe auto
# for training from scratch; by itself the recipe would take those for fine-tuning.
AS_BEFORE = {
    **{f.name: getattr(SMALL_DATA_AUGMENTATION, f.name) for f in fields(SMALL_DATA_AUGMENTATION)},
    **{"evaluation_crop_ratio": 1.0, "evaluation_interpolation": "bilinear"},
    **{"batch_size": 32, "layer_decay": 1.0},
    "drop_path_rate": 0.0,
    **{"warmup_steps": 0, "warmup_learning_rate": 0.0},
}
