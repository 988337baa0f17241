"""Computes DeiT III, its parallel blocks and the hMLP stem in plain NumPy and float64."""

import numpy as np
from numpy_reference import (
    at,
    attention_branch,
    block_maps,
    dense,
    gelu,
    layer_norm,
    mlp_branch,
    patch_tokens,
    prepend,
)

# Each of them stands before a batch normalization.
HMLP_BIASES = ("conv1/bias", "conv2/bias", "conv3/bias")


def branches(w):
    """Returns the weights of each branch, with the names of the first one."""
    second = {path.replace("_b/", "/"): value for path, value in w.items() if "_b/" in path}
    first = {path: value for path, value in w.items() if "_b/" not in path}
    return [first, second] if second else [first]


def parallel_block(x, w, num_heads):
    x = x + sum(attention_branch(x, branch, num_heads) for branch in branches(w))
    return x + sum(mlp_branch(x, branch) for branch in branches(w))


def parallel_block_maps(x, w, num_heads):
    maps = [block_maps(x, branch, num_heads) for branch in branches(w)]
    return np.concatenate(maps, axis=1)


def batch_norm(x, w, training):
    if training:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    else:
        mean, variance = w["moving_mean"], w["moving_variance"]
    return (x - mean) / np.sqrt(variance + 1e-5) * w["gamma"] + w["beta"]


def square_patches(x, w):
    """Applies a convolution whose kernel is as large as its stride; returns (batch, rows, columns,
    width)."""
    size = w["kernel"].shape[0]
    rows, columns = x.shape[1] // size, x.shape[2] // size
    tokens = patch_tokens(x, {f"projection/{name}": value for name, value in w.items()})
    return tokens.reshape(len(x), rows, columns, -1)


def hmlp_stem(images, w, training=False):
    x = images
    for number in (1, 2, 3):
        x = square_patches(x, at(w, f"conv{number}"))
        x = batch_norm(x, at(w, f"norm{number}"), training)
        if number < 3:
            x = gelu(x)
    return x.reshape(len(x), -1, x.shape[-1])


def deit3_blocks(images, w, depth, num_heads, training=False):
    """Returns the output and the attention maps of every block, by its name."""
    images, stem = images.astype("float64"), at(w, "patch_embedding")
    x = hmlp_stem(images, stem, training) if "conv1/kernel" in stem else patch_tokens(images, stem)
    x = prepend(x + w["position_embedding/positions"], w["class_token/token"])
    tokens, maps = {}, {}
    for name in (f"block_{index}" for index in range(depth)):
        maps[name] = parallel_block_maps(x, at(w, name), num_heads)
        tokens[name] = x = parallel_block(x, at(w, name), num_heads)
    return tokens, maps


def deit3_logits(images, w, depth, num_heads, training=False):
    tokens, _ = deit3_blocks(images, w, depth, num_heads, training)
    normed = layer_norm(tokens[f"block_{depth - 1}"], at(w, "norm"))
    return dense(normed[:, 0], at(w, "class_head"))
