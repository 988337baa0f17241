"""A recipe for the embedded digits, sized for two CPU cores.

1,257 training images of 16×16 pixels, a DeiT of width 96 and 6 blocks with 4×4 patches, and a small
CSPDarkNet teacher that is trained on the same images at 32×32. It takes some four minutes in all
and reaches a top-1 of 0.97 and more on the test split.
"""

from keras_deit.data import Augmentation
from keras_deit.objectives import Distillation
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import About, Recipe
from keras_deit.recipes.teacher_recipe import TeacherRecipe

# A mirrored digit is not a digit. Bilinear, because enlarging from 8×8 needs no more and gives the
# same pixels in OpenCV and in an exported model.
_AUGMENTATION = Augmentation(
    crop="random_crop", crop_padding=2, flip_probability=0.0, interpolation="bilinear"
)

DIGITS = Recipe(
    name="digits",
    about=About(
        source="this package",
        hardware="two CPU cores, four minutes",
        expected="0.98 to 0.99 on the test split",
    ),
    model="deit_tiny_distilled_patch16_224",
    model_values={
        "image_size": 16,
        "patch_size": 4,
        "embed_dim": 96,
        "depth": 6,
        "num_heads": 3,
        "drop_path_rate": 0.05,
    },
    optimization=Optimization(
        epochs=110, batch_size=64, learning_rate=1.2e-2, warmup_epochs=10, weight_decay=0.05
    ),
    augmentation=_AUGMENTATION,
    objective=Distillation(
        teacher="kerascv:csp_darknet_tiny",
        teacher_recipe=TeacherRecipe(
            Optimization(
                epochs=20, batch_size=64, learning_rate=1.6e-2, warmup_epochs=2, weight_decay=0.05
            ),
            _AUGMENTATION,
            image_size=32,
            batch_norm_momentum=0.9,
        ),
    ),
    evaluation_crop_ratio=1.0,
    evaluation_interpolation="bilinear",
    validation_epochs=10,
)
