"""Every architecture learns with Keras's `fit` alone."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_deit import create_model, list_models
from keras_deit.models import get_spec

# One small model of each architecture and of its variants.
SMALL = {"embed_dim": 48, "depth": 2, "num_classes": 10}
PATCHES = {"image_size": 16, "patch_size": 4, **SMALL}
MODELS = {
    "resmlp_12_224": PATCHES,
    "deit_tiny_distilled_patch16_224": {**PATCHES, "num_heads": 3},
    "deit3_small_patch16_224": {**PATCHES, "num_heads": 3},
    "deit_small_patch16_18x2_LS": {**PATCHES, "num_heads": 3},
    "cait_xxs24_224": {**PATCHES, "num_heads": 3, "layer_scale_init": 0.1},
    "sl_vit_patch4_32": {**PATCHES, "num_heads": 3},
    "sl_cait_patch4_32": {**PATCHES, "num_heads": 3, "head_dim": 16},
    "vit_small_r26_s32_224": {
        **SMALL,
        "image_size": 16,
        "num_heads": 3,
        "stem_depths": (1,),
        "stem_width": 32,
    },
    "patchconvnet_s60_224": {**SMALL, "image_size": 32, "layer_scale_init": 0.1},
    "patchconvnet_s60_multi_224": {**SMALL, "image_size": 32, "layer_scale_init": 0.1},
    "regnety_040": {
        **{"image_size": 16, "widths": (16, 32), "depth": (1, 2), "group_width": 8},
        "num_classes": 10,
    },
    "resnet50_224": {"image_size": 16, "stem_width": 8, "depth": (1, 1), "num_classes": 10},
    "sl_pit_patch2_32": {
        **{"image_size": 16, "embed_dim": 24, "depth": (1, 2), "num_heads": (2, 4)},
        **{"head_dim": 12, "num_classes": 10},
    },
    "sl_t2t_32": {**SMALL, "image_size": 16, "token_dim": 16, "num_heads": 3},
    "cvit_224": {
        **{**SMALL, "image_size": 16, "patch_size": 2, "num_heads": 3},
        **{"stem_depths": (1, 1), "stem_channels": (8, 16)},
    },
    "sl_swin_patch2_32": {
        **{"image_size": 16, "embed_dim": 24, "depth": (2, 1), "num_heads": (3, 6)},
        "num_classes": 10,
    },
    "binary_vit_small_patch4_224": {
        **{"image_size": 16, "patch_size": 2, "embed_dim": (24, 48), "depth": (1, 1)},
        **{"num_heads": (2, 4), "mlp_ratio": 2, "reduction": (2, 1), "num_classes": 10},
    },
}
_BACKENDS = ("tensorflow", "jax", "torch")


def digits(side: int):
    """Returns the first 512 digits, enlarged to `side` pixels, about in [-1, 1], and labels."""
    data = load_digits()
    images = data.images[:512, ..., None].repeat(3, axis=-1) / 8 - 1
    enlarged = np.kron(images, np.ones((1, side // 8, side // 8, 1)))
    return enlarged.astype("float32"), data.target[:512]


def case(name):
    # PyTorch compiles nothing. That all backends compute the same is tested elsewhere.
    often = name == "resmlp_12_224"
    marks = [pytest.mark.backends(*_BACKENDS)]
    return pytest.param(
        name,
        marks=marks
        if often
        else [*marks, pytest.mark.slow, pytest.mark.nightly("tensorflow", "jax")],
    )


def test_every_architecture_is_here():
    assert {get_spec(name).family for name in MODELS} == {
        get_spec(name).family for name in list_models()
    }


@pytest.mark.parametrize("name", [case(name) for name in MODELS])
def test_fit_lowers_the_loss_on_digits(name):
    keras.utils.set_random_seed(0)
    model = create_model(name, drop_path_rate=0.1, **MODELS[name])
    images, labels = digits(model.image_format.height)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(3e-3), loss, metrics=["accuracy"])

    def stop_when_it_has_learned(epoch, logs):
        model.stop_training = logs["val_loss"] < 0.5 * np.log(10) and logs["val_accuracy"] > 0.6

    history = model.fit(
        *(images, labels),
        batch_size=64,
        epochs=24,
        validation_data=(images, labels),
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=stop_when_it_has_learned)],
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0] < 1.5 * np.log(10)
    assert model.stop_training, history
