"""Computes BinaryViT and its layers in plain NumPy and float64, token by token where that is
shortest."""

import numpy as np
from numpy_reference import at, dense, patch_tokens, softmax


def binary_kernel(kernel, centered=True):
    """One output after the other."""
    rounded = np.zeros_like(kernel)
    for k in range(kernel.shape[-1]):
        one = kernel[..., k]
        rounded[..., k] = np.abs(one).mean() * np.sign(one - one.mean() * centered)
    return rounded


def binary_dense(x, w):
    return np.sign(x + w["shift"]) @ binary_kernel(w["kernel"])


def binary_conv(grid, w):
    signs, kernel = np.sign(grid + w["shift"]), binary_kernel(w["kernel"], centered=False)
    side = len(kernel)
    rows, columns = (length // side for length in grid.shape[1:3])
    output = np.zeros((len(grid), rows, columns, kernel.shape[-1]))
    for i, j in np.ndindex(rows, columns):
        square = signs[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
        output[:, i, j] = np.einsum("byxc,yxcd->bd", square, kernel)
    return output


def rprelu(x, w):
    shifted = x - w["before"]
    return np.maximum(shifted, 0) + w["slope"] * np.minimum(shifted, 0) + w["after"]


def batch_norm(x, w):
    normed = (x - w["moving_mean"]) / np.sqrt(w["moving_variance"] + 1e-5)
    return normed * w["gamma"] + w["beta"]


def affine(x, w):
    return x * w["alpha"] + w["beta"]


def widened(x, width):
    channels = x.shape[-1]
    if width >= channels:
        return np.tile(x, width // channels)
    groups = np.split(x, width, axis=-1)
    return np.stack([group.mean(axis=-1) for group in groups], axis=-1)


def unit(x, w):
    normed = batch_norm(binary_dense(x, at(w, "dense")), at(w, "norm"))
    return rprelu(normed + widened(x, normed.shape[-1]), at(w, "activation"))


def means(x, grid, side):
    """The means of side×side tokens."""
    rows, columns = (length // side for length in grid)
    patches = x.reshape(len(x), *grid, -1)
    cells = [
        patches[:, i * side : (i + 1) * side, j * side : (j + 1) * side].mean(axis=(1, 2))
        for i, j in np.ndindex(rows, columns)
    ]
    return np.stack(cells, axis=1)


def nearest(x, grid, side):
    columns = grid[1] // side
    places = [i // side * columns + j // side for i, j in np.ndindex(*grid)]
    return x[:, places]


def attention(x, w, num_heads, grid=None, reduction=1):
    query, inner = unit(x, at(w, "query")), x
    if reduction > 1:
        inner = unit(means(x, grid, reduction), at(w, "reduced"))
    key, value = unit(inner, at(w, "key")), unit(inner, at(w, "value"))
    heads = (
        np.split(np.sign(tokens + w[f"{name}_shift"]), num_heads, axis=-1)
        for name, tokens in (("query", query), ("key", key), ("value", value))
    )
    gathered, maps = [], []
    for q, k, v in zip(*heads, strict=True):
        ratio = softmax(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])) / w["step"]
        maps.append(w["step"] * np.clip(np.round(ratio), 0, 1))
        gathered.append(maps[-1] @ v)
    added = [key, value] if reduction == 1 else [nearest(t, grid, reduction) for t in (key, value)]
    context = batch_norm(np.concatenate(gathered, axis=-1), at(w, "context_norm"))
    return rprelu(context + query + sum(added), at(w, "context_activation")), np.stack(maps, 1)


def pooled(x, grid, rows, columns):
    """The means of rows×columns tokens around each, with zeros outside."""
    patches = x.reshape(len(x), *grid, -1)
    output = np.zeros_like(patches)
    for i, j in np.ndindex(*grid):
        square = patches[:, max(i - rows // 2, 0) : i + rows // 2 + 1]
        square = square[:, :, max(j - columns // 2, 0) : j + columns // 2 + 1]
        output[:, i, j] = square.sum(axis=(1, 2)) / (rows * columns)
    return output.reshape(x.shape)


def block(x, w, num_heads, grid=None, reduction=1, sizes=(3, 5)):
    attended, _ = attention(
        batch_norm(x, at(w, "norm1")), at(w, "attention"), num_heads, grid, reduction
    )
    x = x + affine(unit(attended, at(w, "projection")), at(w, "affine1"))
    normed = batch_norm(x, at(w, "norm2"))
    x = x + affine(unit(unit(normed, at(w, "expand")), at(w, "contract")), at(w, "affine2"))
    for size in sizes:
        x = x + affine(pooled(normed, grid, size, 1), at(w, f"affine_h{size}"))
        x = x + affine(pooled(normed, grid, 1, size), at(w, f"affine_w{size}"))
    return x


def merging(x, w, grid):
    normed = batch_norm(x, at(w, "norm0"))
    merged = binary_conv(normed.reshape(len(x), *grid, -1), at(w, "projection"))
    merged = batch_norm(merged.reshape(len(x), -1, merged.shape[-1]), at(w, "norm"))
    shortcut = widened(means(normed, grid, 2), merged.shape[-1])
    return rprelu(merged + shortcut, at(w, "activation"))


def logits(images, w, grid, num_heads, reductions):
    """Of a model with one block in each stage."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    x = batch_norm(x, at(w, "patch_norm")) + w["position_embedding/positions"]
    for stage, (heads, reduction) in enumerate(zip(num_heads, reductions, strict=True)):
        if stage:
            x = merging(x, at(w, f"merging_{stage - 1}"), grid)
            x = x + w[f"position_embedding_{stage - 1}/positions"]
            grid = tuple(side // 2 for side in grid)
        x = block(x, at(w, f"block_{stage}"), heads, grid, reduction)
    return dense(batch_norm(x, at(w, "norm")).mean(axis=1), at(w, "class_head"))
