"""Computes T2T-ViT for small data sets and its layers in plain NumPy and float64."""

import numpy as np
from numpy_reference import at, dense, mlp, prepend, softmax
from pit_reference import heads_of, layer_norm


def soft_split(grid):
    """Reads every number of every token by its own index."""
    _, height, width, channels = grid.shape
    tokens = []
    for row, column in np.ndindex(-(-height // 2), -(-width // 2)):
        token = np.zeros((len(grid), channels, 3, 3))
        for down, right in np.ndindex(3, 3):
            i, j = 2 * row + down - 1, 2 * column + right - 1
            if 0 <= i < height and 0 <= j < width:
                token[:, :, down, right] = grid[:, i, j]
        tokens.append(token.reshape(len(grid), -1))
    return np.stack(tokens, axis=1)


def maps(x, w, num_heads):
    query, key, _ = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    products = heads_of(query, num_heads) @ heads_of(key, num_heads).swapaxes(-1, -2)
    if "scale" not in w:
        return softmax(products * (x.shape[-1] // num_heads) ** -0.5)
    products = products * w["scale"][:, None, None]
    products[..., np.arange(x.shape[1]), np.arange(x.shape[1])] = -np.inf
    return softmax(products)


def attention(x, w, num_heads):
    value = np.split(dense(x, at(w, "qkv")), 3, axis=-1)[2]
    attended = maps(x, w, num_heads) @ heads_of(value, num_heads)
    merged = np.concatenate(list(np.moveaxis(attended, 1, 0)), axis=-1)
    return dense(merged, at(w, "projection")) + (value if num_heads == 1 else x)


def block(x, w, num_heads, is_token_transformer=False):
    attended = attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads)
    x = attended if is_token_transformer else x + attended
    return x + mlp(layer_norm(x, at(w, "norm2")), at(w, "mlp"))


def t2t_logits(images, w, depth, num_heads):
    """Of a model with two soft splits."""
    rows, columns = (-(-side // 2) for side in images.shape[1:3])
    x = block(soft_split(images.astype("float64")), at(w, "token_transformer_1"), 1, True)
    x = soft_split(x.reshape(len(x), rows, columns, -1))
    x = prepend(dense(x, at(w, "patch_projection")), w["class_token/token"])
    x = x + w["position_embedding/positions"]
    for index in range(depth):
        x = block(x, at(w, f"block_{index}"), num_heads)
    return dense(layer_norm(x[:, 0], at(w, "norm")), at(w, "class_head"))
