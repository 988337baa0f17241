"""Cases of the layers of Swin."""

import functools

from harness import Case, Effect
from swin_reference import patch_merging, swin_block, window_attention

from keras_deit import layers

# Two rows of four windows; the shifted ones are cut at the border.
SHIFTED = {"num_heads": 2, "grid": (4, 8), "window_size": 2, "shift": 1}
TOKENS = (2, 32, 8)
# In one direction there is a single window, which is not shifted.
LOW = {"num_heads": 2, "grid": (2, 9), "window_size": 3, "shift": 2, "lsa": True, "head_dim": 3}

CASES = (
    Case(
        layers.WindowAttention,
        SHIFTED,
        TOKENS,
        (
            Effect("num_heads", 4, "shapes"),
            Effect("grid", (8, 4), "output"),
            Effect("window_size", 4, "shapes"),
            Effect("shift", 0, "output"),
            Effect("qk_scale", 0.3, "output"),
            Effect("lsa", True, "shapes"),
            Effect("dropout_rate", 0.5, "training output"),
        ),
        functools.partial(window_attention, **SHIFTED),
    ),
    Case(
        layers.WindowAttention,
        LOW,
        (2, 18, 8),
        (),
        functools.partial(window_attention, num_heads=2, grid=(2, 9), window_size=3, shift=2),
    ),
    Case(
        layers.SwinBlock,
        {**SHIFTED, "norm_epsilon": 1e-5},
        TOKENS,
        (
            Effect("num_heads", 4, "shapes"),
            Effect("grid", (8, 4), "output"),
            Effect("window_size", 4, "shapes"),
            Effect("shift", 0, "output"),
            Effect("qk_scale", 0.3, "output"),
            Effect("attention_dropout_rate", 0.5, "training output"),
        ),
        functools.partial(swin_block, **SHIFTED),
    ),
    Case(
        layers.PatchMerging,
        {"embed_dim": 6, "grid": (4, 8)},
        TOKENS,
        (
            Effect("embed_dim", 5, "shapes"),
            Effect("grid", (8, 4), "output"),
            Effect("kernel_init", "torch", "initial values"),
        ),
        functools.partial(patch_merging, grid=(4, 8)),
    ),
)
