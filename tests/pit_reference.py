"""Computes PiT for small data sets and its pooling in plain NumPy and float64."""

import math

import numpy as np
from numpy_reference import at, dense, mlp, patch_tokens, prepend, softmax


def layer_norm(x, w):
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation * w["gamma"] + w["beta"]


def heads_of(x, num_heads):
    """(batch, length, heads · width) to (batch, heads, length, width)."""
    return np.stack(np.split(x, num_heads, axis=-1), axis=1)


def maps(x, w, num_heads):
    query, key, _ = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    query, key = heads_of(query, num_heads), heads_of(key, num_heads)
    return softmax(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))


def block(x, w, num_heads):
    normed = layer_norm(x, at(w, "norm1"))
    value = np.split(dense(normed, at(w, "attention/qkv")), 3, axis=-1)[2]
    attended = maps(normed, at(w, "attention"), num_heads) @ heads_of(value, num_heads)
    merged = np.concatenate(list(np.moveaxis(attended, 1, 0)), axis=-1)
    x = x + dense(merged, at(w, "attention/projection"))
    return x + mlp(layer_norm(x, at(w, "norm2")), at(w, "mlp"))


def conv_pooling(tokens, w, grid):
    """Computes one patch and one filter after the other."""
    rows, columns = grid
    patches = tokens[:, 1:].reshape(len(tokens), rows, columns, -1)
    kernel, bias = w["depthwise/kernel"], w["depthwise/bias"]
    pooled = []
    for row, column in np.ndindex(-(-rows // 2), -(-columns // 2)):
        values = np.tile(bias, (len(tokens), 1))
        for down, right in np.ndindex(3, 3):
            i, j = 2 * row + down - 1, 2 * column + right - 1
            if 0 <= i < rows and 0 <= j < columns:
                for channel in range(patches.shape[-1]):
                    for copy in (0, 1):
                        factor = kernel[down, right, channel, copy]
                        values[:, 2 * channel + copy] += patches[:, i, j, channel] * factor
        pooled.append(values)
    pooled = dense(np.stack(pooled, axis=1), at(w, "pointwise"))
    return np.concatenate([dense(tokens[:, :1], at(w, "class_projection")), pooled], axis=1)


def pit_blocks(images, w, depth, num_heads, grid):
    """Returns the output and the attention maps of every block, by its name."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    x = prepend(x, w["class_token/token"]) + w["position_embedding/positions"]
    tokens, attention = {}, {}
    for stage, blocks in enumerate(depth):
        if stage:
            x = conv_pooling(x, at(w, f"pooling_{stage - 1}"), grid)
            grid = tuple(-(-side // 2) for side in grid)
        for index in range(blocks):
            name = f"stage_{stage}_block_{index}"
            normed = layer_norm(x, at(w, f"{name}/norm1"))
            attention[name] = maps(normed, at(w, f"{name}/attention"), num_heads[stage])
            tokens[name] = x = block(x, at(w, name), num_heads[stage])
    return tokens, attention


def pit_logits(images, w, **form):
    *_, x = pit_blocks(images, w, **form)[0].values()
    return dense(layer_norm(x[:, 0], at(w, "norm")), at(w, "class_head"))
