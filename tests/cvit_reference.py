"""Computes CViT in plain NumPy and float64."""

import numpy as np
from deit3_reference import batch_norm
from locality_reference import dense_patches, layer_norm
from numpy_reference import at, dense, mlp, prepend, softmax
from patchconvnet_reference import convolution


def group(grid, w, name, count):
    for index in range(count):
        layer = at(w, f"{name}_conv_{index}")
        grid = convolution(grid, layer["kernel"], stride=1) + layer["bias"]
        grid = np.maximum(batch_norm(grid, at(w, f"{name}_norm_{index}"), training=False), 0)
    halves = [grid[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return np.max(halves, axis=0)


def attention(x, w, num_heads):
    """Scores of every head are divided by the root of the whole width."""
    parts = [np.split(part, num_heads, axis=-1) for part in np.split(dense(x, at(w, "qkv")), 3, -1)]
    attended = [
        softmax(query @ key.swapaxes(1, 2) / x.shape[-1] ** 0.5) @ value
        for query, key, value in zip(*parts, strict=True)
    ]
    return dense(np.concatenate(attended, axis=-1), at(w, "projection"))


def cvit_logits(images, w, stem_depths, side, depth, num_heads):
    grid = images.astype("float64")
    for index, count in enumerate(stem_depths):
        grid = group(grid, w, f"stem_{index}", count)
    tokens = prepend(dense_patches(grid, at(w, "patch_embedding"), side), w["class_token/token"])
    tokens = tokens + w["position_embedding/positions"]
    for index in range(depth):
        inner = at(w, f"block_{index}")
        attended = attention(
            layer_norm(tokens, at(inner, "norm1")), at(inner, "attention"), num_heads
        )
        tokens = tokens + attended
        tokens = tokens + mlp(layer_norm(tokens, at(inner, "norm2")), at(inner, "mlp"))
    hidden = np.maximum(dense(tokens[:, 0], at(w, "head_hidden")), 0)
    return dense(hidden, at(w, "class_head"))
