"""Cases of the layers of SPT and LSA."""

from harness import Case, Effect
from locality_reference import lsa, shifted_patches, shifted_pooling

from keras_deit import layers

CASES = (
    Case(
        layers.LocalitySelfAttention,
        {"num_heads": 3},
        (3, 5, 12),
        (
            Effect("num_heads", 2, "shapes"),
            Effect("qkv_bias", False, "shapes"),
            Effect("head_dim", 5, "shapes"),
            Effect("kernel_init", "xavier_normal", "initial values"),
            Effect("use_projection", False, "shapes"),
            Effect("initial_scale", 0.1, "initial values"),
        ),
        lambda x, w: lsa(x, w, num_heads=3),
    ),
    Case(
        layers.ShiftedPatchTokenization,
        {"patch_size": 4, "embed_dim": 10},
        (2, 11, 9, 3),
        (
            Effect("patch_size", 3, "shapes"),
            Effect("embed_dim", 6, "shapes"),
            Effect("kernel_init", "torch", "initial values"),
        ),
        lambda x, w: shifted_patches(x, w, 4),
    ),
    Case(
        layers.ShiftedPatchPooling,
        {"embed_dim": 10, "grid": (4, 2), "class_token": True},
        (2, 9, 6),
        (
            Effect("embed_dim", 7, "shapes"),
            Effect("grid", (2, 4), "output"),
            Effect("class_token", False, "shapes"),
            Effect("kernel_init", "torch", "initial values"),
        ),
        lambda x, w: shifted_pooling(x, w, (4, 2)),
    ),
    # Without a class token.
    Case(
        layers.ShiftedPatchPooling,
        {"embed_dim": 10, "grid": (4, 2)},
        (2, 8, 6),
        (),
        lambda x, w: shifted_pooling(x, w, (4, 2)),
    ),
)
