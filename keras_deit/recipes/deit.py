"""DeiT's own recipe.

"Training data-efficient image transformers & distillation through attention" (Touvron et al.,
2021), table 9 and the published command lines: ImageNet-1k at 224, batch 1024, 300 epochs;
DeiT-B in 53 hours on 8 V100, 83.4 % top-1 distilled from a RegNetY-16GF.

Of its augmentation, RandAugment, random erasing and repeated augmentation are not here yet, so
the published accuracy is not to be expected of it. Keras has no RegNetY: the teacher is the
best convnet that KerasCV has weights for, fine-tuned to the data. For ImageNet itself
`--teacher kerascv:efficientnetv2_s_imagenet_classifier` needs no fine-tuning.
"""

from keras_deit.data.augmentation import Augmentation
from keras_deit.recipes.recipe import Optimisation, Recipe, TeacherRecipe

DEIT = Recipe(
    name="deit",
    model="deit_tiny_distilled_patch16_224",
    model_values={"drop_path_rate": 0.1},
    optimisation=Optimisation(),
    augmentation=Augmentation(),
    distillation="hard",
    alpha=0.5,
    temperature=3.0,
    teacher="kerascv:efficientnetv2_s_imagenet",
    teacher_recipe=TeacherRecipe(
        Optimisation(
            epochs=30, batch_size=256, learning_rate=2e-4, warmup_epochs=2, weight_decay=0.05
        ),
        Augmentation(),
    ),
)
