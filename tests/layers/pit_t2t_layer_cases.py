"""Cases of the layers of PiT and T2T."""

from harness import Case, Effect
from pit_reference import conv_pooling
from t2t_reference import attention, block, soft_split

from keras_deit import layers

TOKENS = (3, 5, 12)

CASES = (
    # An odd number of rows is rounded up.
    Case(
        layers.ConvPooling,
        {"grid": (3, 4)},
        (2, 13, 6),
        (Effect("grid", (4, 3), "output"),),
        lambda x, w: conv_pooling(x, w, (3, 4)),
    ),
    Case(
        layers.SoftSplit,
        {"grid": (3, 4)},
        (2, 12, 5),
        (Effect("grid", (4, 3), "output"),),
        lambda x, w: soft_split(x.reshape(2, 3, 4, 5)),
    ),
    # Of images.
    Case(layers.SoftSplit, {}, (2, 4, 5, 3), (), lambda x, w: soft_split(x)),
    Case(
        layers.T2TAttention,
        {"num_heads": 1, "embed_dim": 12},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("embed_dim", 6, "shapes"),
            Effect("qkv_bias", True, "shapes"),
            Effect("qk_scale", 2.0, "output"),
            Effect("lsa", True, "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
        ),
        lambda x, w: attention(x, w, 1),
    ),
    # With a learned factor for each head, and its own input added.
    Case(
        layers.T2TAttention,
        {"num_heads": 3, "lsa": True},
        TOKENS,
        (),
        lambda x, w: attention(x, w, 3),
    ),
    Case(
        layers.T2TBlock,
        {"num_heads": 3},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("embed_dim", 12, "output"),
            Effect("mlp_ratio", 2.5, "shapes"),
            Effect("qkv_bias", True, "shapes"),
            Effect("qk_scale", 2.0, "output"),
            Effect("lsa", True, "shapes"),
            Effect("drop_path_rate", 0.5, "training output"),
            Effect("dropout_rate", 0.5, "training output"),
        ),
        lambda x, w: block(x, w, 3),
    ),
    # A token transformer.
    Case(
        layers.T2TBlock,
        {"num_heads": 1, "embed_dim": 8},
        TOKENS,
        (),
        lambda x, w: block(x, w, 1, is_token_transformer=True),
    ),
    Case(
        layers.SinusoidalPositions,
        {"grid": (2, 2)},
        TOKENS,
        (Effect("grid", (1, 4), "position grid"),),
        lambda x, w: x + w["positions"],
    ),
)
