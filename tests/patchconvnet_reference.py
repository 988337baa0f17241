"""Computes PatchConvNet and its layers in plain NumPy and float64."""

import numpy as np
from cait_reference import class_block, class_block_maps
from numpy_reference import at, dense, gelu, layer_norm, prepend


def padded(grid):
    """Adds one pixel of zeros on every side."""
    return np.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0)))


def convolution(grid, kernel, stride):
    """Applies a 3×3 convolution, one output pixel after the other."""
    grid = padded(grid)
    rows = [
        [
            np.einsum("byxc,yxcd->bd", grid[:, row : row + 3, column : column + 3], kernel)
            for column in range(0, grid.shape[2] - 2, stride)
        ]
        for row in range(0, grid.shape[1] - 2, stride)
    ]
    return np.array(rows).transpose(2, 0, 1, 3)


def stem(images, w):
    grid = images
    for number in (1, 2, 3):
        grid = gelu(convolution(grid, w[f"conv{number}/kernel"], stride=2))
    return convolution(grid, w["conv4/kernel"], stride=2)


def depthwise(grid, w):
    kernel = w["kernel"][..., 0]
    diagonal = np.einsum("yxc,cd->yxcd", kernel, np.eye(kernel.shape[-1]))
    return convolution(grid, diagonal, stride=1) + w["bias"]


def squeeze_excitation(grid, w):
    hidden = np.maximum(dense(grid.mean(axis=(1, 2)), at(w, "reduce")), 0)
    gates = 1 / (1 + np.exp(-dense(hidden, at(w, "expand"))))
    return np.einsum("byxc,bc->byxc", grid, gates)


def conv_branch(grid, w):
    x = gelu(dense(layer_norm(grid, at(w, "norm")), at(w, "expand")))
    x = gelu(depthwise(x, at(w, "depthwise")))
    x = dense(squeeze_excitation(x, at(w, "squeeze_excitation")), at(w, "contract"))
    return x * w.get("layer_scale/gamma", 1)


def conv_block(grid, w):
    return grid + conv_branch(grid, w)


def per_class_head(tokens, w):
    """Computes one class after the other."""
    scores = [tokens[:, k] @ w["kernel"][k] + w["bias"][k] for k in range(tokens.shape[1])]
    return np.stack(scores, axis=-1)


def patchconvnet_blocks(images, w, depth, token_per_class=False):
    """Returns the output of every block and the attention maps of the last, by name."""
    grid = stem(images.astype("float64"), at(w, "stem"))
    tokens = {}
    for name in (f"block_{index}" for index in range(depth)):
        tokens[name] = grid = conv_block(grid, at(w, name))
    patches = grid.reshape(len(grid), -1, grid.shape[-1])
    token = w["class_token/token"]
    x = prepend(patches, token)
    last = (at(w, "class_block_0"), 1, token.shape[1], token_per_class)
    tokens["class_block_0"] = class_block(x, *last)
    return tokens, {"class_block_0": class_block_maps(x, *last)}


def patchconvnet_logits(images, w, depth, token_per_class=False):
    tokens, _ = patchconvnet_blocks(images, w, depth, token_per_class)
    classes = tokens["class_block_0"][:, : w["class_token/token"].shape[1]]
    classes, head = layer_norm(classes, at(w, "norm")), at(w, "class_head")
    return per_class_head(classes, head) if token_per_class else dense(classes[:, 0], head)
