"""The convolutional stem for little data, in NumPy, and its case."""

import numpy as np
from deit3_reference import at, batch_norm
from harness import Case, Effect

from keras_deit import layers


def convolution(x, kernel, stride):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    return sum(
        padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride][
            :, :rows, :columns
        ]
        @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def residual_stem(images, w, training=False):
    def layer(x, number, stride):
        x = convolution(x, w[f"conv{number}/kernel"], stride)
        return batch_norm(x, at(w, f"norm{number}"), training)

    halvings = sum(name.endswith("/kernel") for name in w) // 3
    x, number = np.maximum(layer(images.astype("float64"), 1, 1), 0), 2
    for _ in range(halvings):
        x = np.maximum(layer(x, number, 2), 0)
        inner = np.maximum(layer(x, number + 1, 1), 0)
        x, number = np.maximum(x + layer(inner, number + 2, 1), 0), number + 3
    return x.reshape(len(x), -1, x.shape[-1])


RESIDUAL_STEM = Case(
    layers.ResidualConvStem,
    {"patch_size": 4, "embed_dim": 24},
    (2, 16, 8, 3),
    (Effect("patch_size", 2, "shapes"), Effect("embed_dim", 40, "shapes")),
    residual_stem,
)

CASES = (RESIDUAL_STEM,)
