"""The recipe of CViT, which tells forged faces from real ones.

"Deepfake Video Detection Using Convolutional Vision Transformer" (Wodajo and Atnafu, 2021), with
the values of the authors' code: Adam with L2 decay of all variables, a tenth of the learning rate
after every 15 epochs, the weights with the smallest loss in validation, and no mixing of images.
The paper speaks of binary cross-entropy; the code has that of a softmax over the two logits. The
images are faces of 224 pixels as `keras-deit faces` crops them, and the augmentation is that of
`keras_deit.data.strong_augmentation`; the paper lists a perspective transform besides.
"""

from keras_deit.data import Augmentation
from keras_deit.objectives import Supervised
from keras_deit.optimizers import Optimization
from keras_deit.recipes.recipe import About, Recipe

CVIT = Recipe(
    name="cvit",
    about=About(
        source="Deepfake Video Detection Using Convolutional Vision Transformer; "
        "github.com/erprogs/CViT, cvit_train.py and helpers",
        hardware="not stated",
        expected="400 videos of DFDC: accuracy 91.5, AUC 0.91, log loss 0.32; faces in validation: "
        "87.25",
    ),
    model="cvit_224",
    model_values={},
    optimization=Optimization(
        epochs=50,
        batch_size=32,
        optimizer="adam",
        learning_rate=1e-4,
        learning_rate_scaling=False,
        schedule="step",
        decay_epochs=15,
        warmup_epochs=0,
        min_learning_rate=0.0,
        weight_decay=1e-7,
        weight_decay_on="all",
    ),
    augmentation=Augmentation(
        crop="none",
        flip_probability=0.0,
        auto_augment="strong",
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
        label_smoothing=0.0,
        interpolation="bilinear",
    ),
    objective=Supervised(),
    evaluation_crop_ratio=1.0,
    evaluation_interpolation="bilinear",
    monitor="loss",
)
