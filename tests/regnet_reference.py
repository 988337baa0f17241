"""Computes RegNetY, ResNet and their layers in plain NumPy and float64."""

import numpy as np
from deit3_reference import batch_norm
from numpy_reference import at, dense
from patchconvnet_reference import padded, squeeze_excitation


def grouped_convolution(grid, kernel, stride=1):
    """Applies a convolution in groups; the kernel says how wide they are."""
    side, _, group, channels = kernel.shape
    groups = grid.shape[-1] // group
    filters = channels // groups
    rows, columns = grid.shape[1] - side + 1, grid.shape[2] - side + 1
    parts = []
    for index in range(groups):
        taken = grid[..., index * group : (index + 1) * group]
        own = kernel[..., index * filters : (index + 1) * filters]
        parts.append(
            sum(
                taken[:, i : i + rows : stride, j : j + columns : stride] @ own[i, j]
                for i in range(side)
                for j in range(side)
            )
        )
    return np.concatenate(parts, axis=-1)


def stem(images, w, training=False):
    grid = grouped_convolution(padded(images), w["conv/kernel"], 2)
    return np.maximum(batch_norm(grid, at(w, "norm"), training), 0)


def block(grid, w, strides, training=False):
    def layer(x, name, stride=1):
        x = grouped_convolution(x, w[name.format("conv") + "/kernel"], stride)
        return batch_norm(x, at(w, name.format("norm")), training)

    branch = np.maximum(layer(grid, "{}1"), 0)
    branch = np.maximum(layer(padded(branch), "{}2", strides), 0)
    if excitation := at(w, "squeeze_excitation"):
        branch = squeeze_excitation(branch, excitation)
    branch = layer(branch, "{}3")
    if "shortcut_conv/kernel" in w:
        grid = layer(grid, "shortcut_{}", strides)
    return np.maximum(grid + branch, 0)


def regnet_blocks(images, w, depth, training=False):
    """Returns the output of every block by name."""
    grid, blocks = stem(images.astype("float64"), at(w, "stem"), training), {}
    for stage, count in enumerate(depth):
        for index in range(count):
            name = f"stage_{stage}_block_{index}"
            blocks[name] = grid = block(grid, at(w, name), 1 if index else 2, training)
    return blocks


def regnet_logits(images, w, depth, training=False):
    *_, last = regnet_blocks(images, w, depth, training).values()
    return dense(last.mean(axis=(1, 2)), at(w, "class_head"))


def resnet_stem(images, w):
    grid = grouped_convolution(padded(padded(padded(images))), w["conv/kernel"], 2)
    grid = padded(np.maximum(batch_norm(grid, at(w, "norm"), False), 0))
    rows, columns = grid.shape[1] - 2, grid.shape[2] - 2
    shifted = [grid[:, i : i + rows : 2, j : j + columns : 2] for i in range(3) for j in range(3)]
    return np.max(shifted, axis=0)


def resnet_logits(images, w, depth):
    grid = resnet_stem(images.astype("float64"), at(w, "stem"))
    for stage, count in enumerate(depth):
        for index in range(count):
            strides = 2 if stage and index == 0 else 1
            grid = block(grid, at(w, f"stage_{stage}_block_{index}"), strides)
    return dense(grid.mean(axis=(1, 2)), at(w, "class_head"))
