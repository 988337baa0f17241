"""BinaryViT's recipe: a binary model learns the distribution of a full-precision DeiT-S alone.

"BinaryViT: Pushing Binary Vision Transformers Towards Convolutional Models" (Le and Li, 2023) and
github.com/Phuoc-Hoan-Le/BinaryViT. Weights and activations are binary from the first step, from
random weights; the public scripts have no second phase. The loss is the cross-entropy of the
student with the teacher's softmax at temperature 1. What is logged is this less the entropy of the
teacher's softmax, which no gradient depends on. Images are cropped and mirrored only, and there is
no weight decay. No class is mixed, so that the share of labels that the code has for mixed images
does not apply.

The teacher is a DeiT-S that the authors trained by DeiT's own recipe (79.9 %), which they do not
distribute. The released one has the same recipe and top-1.
"""

from keras_deit.data import Augmentation
from keras_deit.objectives import Distillation
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import About, Recipe

BINARYVIT = Recipe(
    name="binaryvit",
    about=About(
        source="BinaryViT (Le and Li, 2023); github.com/Phuoc-Hoan-Le/BinaryViT",
        hardware="8 GPUs × 64 images, mixed precision",
        training="1k distilled",
        models=("binary_vit_*", "binary_deit_*"),
        expected="in full precision DeiT-S, the teacher, has 79.9",
    ),
    model="binary_vit_small_patch4_224",
    model_values={},
    # 5e-4 for 512 images.
    optimization=Optimization(
        epochs=300,
        batch_size=512,
        learning_rate=5e-4,
        schedule="epoch_cosine",
        warmup_epochs=0,
        min_learning_rate=1e-5,
        weight_decay=0.0,
    ),
    augmentation=Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0),
    objective=Distillation(
        kind="soft",
        alpha=1.0,
        temperature=1.0,
        teacher="deit_small_patch16_224",
        teacher_weights="imagenet",
    ),
)
