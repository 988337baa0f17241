"""Cases of the layers with Fixup's scalar biases."""

import numpy_reference as reference
from harness import Case, Effect
from numpy_reference import at, dense, gelu

from keras_deit import layers


def _attention(x, w):
    """A scalar bias before the projection adds the same to every channel of its input."""
    before, after = w["scalar_biases"]
    kernel, bias = w["projection/kernel"], w["projection/bias"]
    moved = {**w, "projection/bias": bias + after * kernel.sum(axis=0)}
    return reference.attention(x + before, moved, num_heads=3)


def _mlp(x, w):
    before, between, after = w["scalar_biases"]
    hidden = gelu(dense(x + before, at(w, "expand")) + between)
    return dense(hidden + after, at(w, "contract"))


CASES = (
    Case(
        layers.FixupAttention,
        {"num_heads": 3},
        (3, 5, 12),
        (
            Effect("num_heads", 2, "output"),
            Effect("qkv_bias", False, "shapes"),
            Effect("head_dim", 5, "shapes"),
            Effect("kernel_init", "torch", "initial values"),
            Effect("use_projection", False, "shapes"),
            Effect("scale_of_logits", 0.1, "output"),
        ),
        _attention,
    ),
    Case(
        layers.FixupMLP,
        {"hidden_dim": 20},
        (3, 5, 12),
        (
            Effect("hidden_dim", 7, "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
            Effect("approximate_gelu", True, "output"),
            Effect("kernel_init", "xavier_uniform", "initial values"),
            Effect("gates", True, "shapes"),
            Effect("kept_inputs", (0, 2, 7), "shapes"),
        ),
        _mlp,
    ),
)
