"""Computes ViT, its hybrids and their ResNet in plain NumPy and float64."""

import numpy as np
from numpy_reference import at, attention, dense, layer_norm, patch_tokens, prepend


def windows(grid, size, strides, fill=0.0):
    """Yields the place of every output and its window, padded as TensorFlow's "same" pads."""
    _, height, width, _ = grid.shape
    sides = [-(-side // strides) for side in (height, width)]
    total = [
        max((count - 1) * strides + size - side, 0)
        for count, side in zip(sides, (height, width), strict=True)
    ]
    (top, bottom), (left, right) = ((t // 2, t - t // 2) for t in total)
    padded = np.pad(grid, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    for row, column in np.ndindex(*sides):
        i, j = row * strides, column * strides
        yield (row, column), padded[:, i : i + size, j : j + size]


def collected(grid, size, strides, function, channels, fill=0.0):
    rows, columns = (-(-side // strides) for side in grid.shape[1:3])
    output = np.zeros((len(grid), rows, columns, channels))
    for (row, column), window in windows(grid, size, strides, fill):
        output[:, row, column] = function(window)
    return output


def conv(grid, w, strides=1, standardization="deviation"):
    """Standardizes one filter after the other."""
    kernel = np.zeros_like(w["kernel"])
    for k in range(kernel.shape[-1]):
        one = w["kernel"][..., k] - w["kernel"][..., k].mean()
        if standardization == "deviation":
            kernel[..., k] = one / (one.std() + 1e-5)
        else:
            kernel[..., k] = one / np.sqrt(one.var() + 1e-8)
    return collected(
        grid,
        len(kernel),
        strides,
        lambda window: np.einsum("byxc,yxcd->bd", window, kernel),
        kernel.shape[-1],
    )


def group_norm(grid, w, epsilon=1e-6):
    """Normalizes one image and one of the 32 groups after the other."""
    output = np.zeros_like(grid)
    size = grid.shape[-1] // 32
    for image, group in np.ndindex(len(grid), 32):
        channels = slice(group * size, (group + 1) * size)
        one = grid[image, :, :, channels]
        output[image, :, :, channels] = (one - one.mean()) / np.sqrt(one.var() + epsilon)
    return output * w["gamma"] + w["beta"]


def root(images, w):
    grid = group_norm(conv(images, at(w, "conv"), 2), at(w, "norm"))
    grid = np.maximum(grid, 0)
    return collected(grid, 3, 2, lambda x: x.max(axis=(1, 2)), grid.shape[-1], -np.inf)


def unit(grid, w, strides):
    branch = grid
    for number, (stride, rectify) in enumerate(((1, True), (strides, True), (1, False)), start=1):
        branch = group_norm(conv(branch, at(w, f"conv{number}"), stride), at(w, f"norm{number}"))
        branch = np.maximum(branch, 0) if rectify else branch
    if "shortcut_conv/kernel" in w:
        shortcut = conv(grid, at(w, "shortcut_conv"), strides)
        grid = group_norm(shortcut, at(w, "shortcut_norm"))
    return np.maximum(grid + branch, 0)


def tanh_gelu(x):
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def block(x, w, num_heads):
    x = x + attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads)
    hidden = tanh_gelu(dense(layer_norm(x, at(w, "norm2")), at(w, "mlp/expand")))
    return x + dense(hidden, at(w, "mlp/contract"))


def hybrid_logits(images, w, stem_depths, depth, num_heads):
    x = root(images.astype("float64"), at(w, "root"))
    for stage, count in enumerate(stem_depths):
        for index in range(count):
            strides = 2 if stage > 0 and index == 0 else 1
            x = unit(x, at(w, f"stage_{stage}_unit_{index}"), strides)
    x = patch_tokens(x, at(w, "patch_embedding"))
    x = prepend(x, w["class_token/token"]) + w["position_embedding/positions"]
    for index in range(depth):
        x = block(x, at(w, f"block_{index}"), num_heads)
    return dense(layer_norm(x, at(w, "norm"))[:, 0], at(w, "class_head"))
