"""Cases of the layers of SPT and LSA, with their NumPy references."""

import numpy as np
from harness import Case, Effect
from numpy_reference import at, dense, softmax

from keras_deit import layers


def lsa_maps(x, w, num_heads):
    """Computes one sample, one head and one query after the other."""
    query, key, _ = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    size = query.shape[-1] // num_heads
    maps = np.zeros((len(x), num_heads, x.shape[1], x.shape[1]))
    for sample, head, token in np.ndindex(maps.shape[:3]):
        columns = slice(head * size, (head + 1) * size)
        others = [other for other in range(x.shape[1]) if other != token]
        products = key[sample, others, columns] @ query[sample, token, columns]
        maps[sample, head, token, others] = softmax(w["scale"][head] * products)
    return maps


def lsa(x, w, num_heads):
    value = np.split(dense(x, at(w, "qkv")), 3, axis=-1)[2]
    maps = lsa_maps(x, w, num_heads)
    parts = np.split(value, num_heads, axis=-1)
    attended = [maps[:, head] @ part for head, part in enumerate(parts)]
    return dense(np.concatenate(attended, axis=-1), at(w, "projection"))


def _layer_norm(x, w):
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation * w["gamma"] + w["beta"]


def shifted_patches(grid, w, side):
    """Reads every pixel of every patch by its own index."""
    _, height, width, _ = grid.shape
    shift = side // 2
    offsets = [(0, 0), (-shift, -shift), (-shift, shift), (shift, -shift), (shift, shift)]

    def pixel(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return grid[:, row, column] if inside else np.zeros_like(grid[:, 0, 0])

    tokens = []
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            values = [
                pixel(top + row + down, left + column + right)
                for row, column in np.ndindex(side, side)
                for down, right in offsets
            ]
            tokens.append(np.concatenate(values, axis=-1))
    return dense(_layer_norm(np.stack(tokens, axis=1), at(w, "norm")), at(w, "projection"))


def shifted_pooling(tokens, w, grid):
    batch, length, width = tokens.shape
    first = length - grid[0] * grid[1]
    pooled = shifted_patches(tokens[:, first:].reshape(batch, *grid, width), w, 2)
    if not first:
        return pooled
    return np.concatenate([dense(tokens[:, :1], at(w, "class_projection")), pooled], axis=1)


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
