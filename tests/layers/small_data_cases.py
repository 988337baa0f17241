"""Cases of the layers of ViT and CaiT for small data sets."""

import numpy as np
from harness import Case, Effect
from locality_reference import cait_attention, cait_block, dense_patches

from keras_deit import layers

TOKENS = (3, 5, 12)
_SIZES = {"num_heads": 3, "head_dim": 5}

CASES = (
    Case(
        layers.DensePatchEmbedding,
        {"patch_size": 4, "embed_dim": 10},
        (2, 11, 9, 3),
        (
            Effect("patch_size", 3, "shapes"),
            Effect("embed_dim", 6, "shapes"),
            Effect("kernel_init", "torch", "initial values"),
        ),
        lambda x, w: dense_patches(x, w, 4),
    ),
    Case(
        layers.HeadMatrix,
        {},
        (2, 3, 5, 4),
        (),
        lambda x, w: np.einsum("bhqk,hg->bgqk", x, w["kernel"]),
    ),
    Case(
        layers.MixedHeadsAttention,
        {**_SIZES, "lsa": True},
        TOKENS,
        (
            Effect("num_heads", 2, "shapes"),
            Effect("head_dim", 4, "shapes"),
            Effect("class_token", True, "output"),
            Effect("lsa", False, "shapes"),
            Effect("diagonal", "masked", "output"),
        ),
        lambda x, w: cait_attention(x, w, **_SIZES, diagonal="zero"),
    ),
    Case(
        layers.MixedHeadsAttention,
        {**_SIZES, "lsa": True, "diagonal": "masked"},
        TOKENS,
        (),
        lambda x, w: cait_attention(x, w, **_SIZES, diagonal="masked"),
    ),
    Case(
        layers.MixedHeadsBlock,
        {**_SIZES, "lsa": True},
        TOKENS,
        (
            Effect("num_heads", 2, "shapes"),
            Effect("head_dim", 4, "shapes"),
            Effect("mlp_ratio", 2.5, "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("layer_scale_init", 1e-4, "initial values"),
            Effect("dropout_rate", 0.5, "training output"),
            Effect("class_token", True, "output"),
            Effect("lsa", False, "shapes"),
            Effect("diagonal", "masked", "output"),
        ),
        lambda x, w: cait_block(x, w, **_SIZES, diagonal="zero"),
    ),
    Case(
        layers.MixedHeadsBlock,
        {**_SIZES, "class_token": True},
        TOKENS,
        (),
        lambda x, w: cait_block(x, w, **_SIZES, class_token=True),
    ),
)
