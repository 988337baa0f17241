"""Cases of talking heads and of class attention."""

import cait_reference as reference
import numpy_reference
from harness import Case, Effect

from keras_deit import layers

TOKENS = (3, 5, 12)

CASES = (
    Case(layers.HeadMixing, {}, (2, 3, 5, 4), (), reference.mix_heads),
    Case(
        layers.TalkingHeadsAttention,
        {"num_heads": 3},
        TOKENS,
        (
            Effect("num_heads", 2, "shapes"),
            Effect("qkv_bias", False, "shapes"),
            Effect("head_dim", 5, "shapes"),
            Effect("kernel_init", "torch", "initial values"),
            Effect("use_projection", False, "shapes"),
            Effect("scale_of_logits", 0.1, "output"),
        ),
        lambda x, w: reference.talking_heads_attention(x, w, num_heads=3),
    ),
    Case(
        layers.TransformerBlock,
        {"num_heads": 3, "layer_scale_init": 0.1, "talking_heads": True},
        TOKENS,
        (),
        lambda x, w: reference.talking_heads_block(x, w, num_heads=3),
    ),
    Case(
        layers.PrependToken,
        {"count": 3},
        TOKENS,
        (),
        lambda x, w: numpy_reference.prepend(x, w["token"]),
    ),
    Case(
        layers.ClassAttention,
        {"num_heads": 3},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("qkv_bias", False, "shapes"),
            Effect("num_class_tokens", 2, "output"),
            Effect("patches_only", True, "output"),
        ),
        lambda x, w: reference.class_attention(x, w, num_heads=3),
    ),
    Case(
        layers.ClassAttention,
        {"num_heads": 2, "num_class_tokens": 3, "patches_only": True},
        TOKENS,
        (),
        lambda x, w: reference.class_attention(x, w, num_heads=2, count=3, patches_only=True),
    ),
    Case(
        layers.ClassAttentionBlock,
        {"num_heads": 3, "layer_scale_init": 0.1},
        TOKENS,
        (
            Effect("num_heads", 2, "output"),
            Effect("mlp_ratio", 2.5, "shapes"),
            Effect("qkv_bias", False, "shapes"),
            Effect("layer_scale_init", 1e-4, "initial values"),
            Effect("layer_scale_init", None, "shapes"),
            Effect("num_class_tokens", 2, "output"),
            Effect("patches_only", True, "output"),
            Effect("residual", "scalar", "shapes"),
            Effect("gates", True, "shapes"),
            Effect("kept", {"attention_output": [0, 4, 5, 9]}, "shapes"),
        ),
        lambda x, w: reference.class_block(x, w, num_heads=3),
    ),
    Case(
        layers.ClassAttentionBlock,
        {"num_heads": 2, "num_class_tokens": 3, "patches_only": True},
        TOKENS,
        (),
        lambda x, w: reference.class_block(x, w, num_heads=2, count=3, patches_only=True),
    ),
)
