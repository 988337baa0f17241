"""Which variables of a model are split when several devices share it."""

import keras
import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.core.abstract import build_abstract
from keras_deit.distributed.layouts import split_axes
from keras_deit.models import abstract_model

MLP = {
    "expand/kernel": (None, "model"),
    "expand/bias": ("model",),
    "contract/kernel": ("model", None),
}
ATTENTION = {
    "qkv/kernel": (None, "model"),
    "qkv/bias": ("model",),
    "projection/kernel": ("model", None),
}


def below(prefix, axes):
    return {f"{prefix}/{path}": value for path, value in axes.items()}


def axes_of(model, block, devices=2):
    """Returns the axes of the split variables of a block, by path below it."""
    split = split_axes(model, devices)
    return {
        path.removeprefix(f"{block}/"): axes
        for path, (_, axes) in split.items()
        if path.startswith(f"{block}/")
    }


@pytest.mark.parametrize(
    ("name", "block", "expected"),
    [
        (
            "deit_tiny_patch16_224",
            "block_3",
            {**below("attention", ATTENTION), **below("mlp", MLP)},
        ),
        (
            "deit_small_patch16_18x2_LS",
            "block_3",
            {
                **{k: v for x in ("", "_b") for k, v in below(f"attention{x}", ATTENTION).items()},
                **{k: v for x in ("", "_b") for k, v in below(f"mlp{x}", MLP).items()},
            },
        ),
        (
            "resmlp_12_224",
            "block_0",
            # 14 × 14 patches, of which each of two devices has 98.
            {
                "cross_patch/kernel": (None, "model"),
                "cross_patch/bias": ("model",),
                **below("mlp", MLP),
            },
        ),
    ],
)
def test_matrices_of_a_block_are_split_by_columns_and_then_by_rows(name, block, expected):
    assert axes_of(abstract_model(name), block) == expected


def test_class_attention_is_split_by_heads():
    axes = axes_of(abstract_model("cait_xxs24_224"), "class_block_0")
    for name in ("query", "key", "value"):
        assert axes[f"attention/{name}/kernel"] == (None, "model")
        assert axes[f"attention/{name}/bias"] == ("model",)
    assert axes["attention/projection/kernel"] == ("model", None)


def test_convolutions_of_each_channel_are_split_by_channel():
    axes = axes_of(abstract_model("patchconvnet_s60_224"), "block_0")
    assert axes["depthwise/kernel"] == (None, None, "model", None)


def test_what_cannot_be_split_evenly_is_not_split():
    model = abstract_model("resmlp_12_224")
    # 196 patches and a width of 384.
    assert "cross_patch/kernel" not in axes_of(model, "block_0", 3)
    assert axes_of(model, "block_0", 3)["mlp/expand/kernel"] == (None, "model")
    assert axes_of(model, "block_0", 7)["cross_patch/kernel"] == (None, "model")


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("deit_tiny_patch16_224", 0.9),
        ("deit3_small_patch16_224", 0.9),
        ("cait_xxs24_224", 0.9),
        ("resmlp_12_224", 0.9),
        ("sl_vit_patch4_32", 0.9),
        ("sl_cait_patch4_32", 0.9),
        ("patchconvnet_s60_224", 0.75),
        # Its ResNet is not split.
        ("vit_small_r26_s32_224", 0.55),
        # Poolings are not split.
        ("sl_pit_patch2_32", 0.75),
        ("sl_t2t_32", 0.9),
        # The merging between stages is not split.
        ("swin_small_data_patch2_32", 0.9),
        ("binary_vit_small_patch4_224", 0.9),
    ],
)
def test_most_of_every_architecture_is_split(name, share):
    model = abstract_model(name)
    split = split_axes(model, 2)
    assert {variable.path for variable in model.trainable_variables} >= set(split)
    size = sum(int(np.prod(shape)) for shape, _ in split.values())
    assert size > share * model.count_params()


def test_a_model_that_does_not_say_how_it_is_split_is_refused():
    class Opaque(keras.Sequential):
        def model_parallel_axes(self):
            return []

    model = build_abstract(lambda: Opaque([keras.Input((4,)), keras.layers.Dense(2)]))
    with pytest.raises(InputError, match="model_parallel"):
        split_axes(model, 2)
