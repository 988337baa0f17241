"""Computes SPT, LSA and the models for small data sets in plain NumPy and float64."""

import numpy as np
from numpy_reference import at, dense, mlp, prepend, softmax


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


def layer_norm(x, w):
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
    return dense(layer_norm(np.stack(tokens, axis=1), at(w, "norm")), at(w, "projection"))


def shifted_pooling(tokens, w, grid):
    batch, length, width = tokens.shape
    first = length - grid[0] * grid[1]
    pooled = shifted_patches(tokens[:, first:].reshape(batch, *grid, width), w, 2)
    if not first:
        return pooled
    return np.concatenate([dense(tokens[:, :1], at(w, "class_projection")), pooled], axis=1)


def flat_patches(images, side):
    """Returns every patch as one vector, row by row."""
    rows, columns = images.shape[1] // side, images.shape[2] // side
    patches = []
    for row, column in np.ndindex(rows, columns):
        patch = images[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        patches.append(patch.reshape(len(images), -1))
    return np.stack(patches, axis=1)


def dense_patches(images, w, side):
    return dense(flat_patches(images, side), at(w, "projection"))


def _embedded(images, w, side):
    patches = shifted_patches if "patch_embedding/norm/gamma" in w else dense_patches
    return patches(images.astype("float64"), at(w, "patch_embedding"), side)


def _plain_maps(x, w, num_heads):
    query, key, _ = (np.split(part, num_heads, axis=-1) for part in _thirds(x, w))
    maps = [
        softmax(q @ k.swapaxes(1, 2) / q.shape[-1] ** 0.5) for q, k in zip(query, key, strict=True)
    ]
    return np.stack(maps, axis=1)


def _thirds(x, w):
    return np.split(dense(x, at(w, "qkv")), 3, axis=-1)


def _attended(maps, value, num_heads):
    parts = np.split(value, num_heads, axis=-1)
    heads = [maps[:, head] @ part for head, part in enumerate(parts)]
    return np.concatenate(heads, axis=-1)


def vit_attention_maps(x, w, num_heads):
    return (lsa_maps if "scale" in w else _plain_maps)(x, w, num_heads)


def vit_block(x, w, num_heads):
    normed, inner = layer_norm(x, at(w, "norm1")), at(w, "attention")
    maps = vit_attention_maps(normed, inner, num_heads)
    attended = _attended(maps, _thirds(normed, inner)[2], num_heads)
    # One head as wide as the tokens has no projection.
    x = x + (dense(attended, at(inner, "projection")) if at(inner, "projection") else attended)
    return x + mlp(layer_norm(x, at(w, "norm2")), at(w, "mlp"))


def vit_blocks(images, w, depth, num_heads, side):
    """Returns the output and the attention maps of every block, by its name."""
    x = prepend(_embedded(images, w, side), w["class_token/token"])
    x = x + w["position_embedding/positions"]
    tokens, maps = {}, {}
    for name in (f"block_{index}" for index in range(depth)):
        inner = at(w, name)
        normed = layer_norm(x, at(inner, "norm1"))
        maps[name] = vit_attention_maps(normed, at(inner, "attention"), num_heads)
        tokens[name] = x = vit_block(x, inner, num_heads)
    return tokens, maps


def vit_logits(images, w, depth, num_heads, side):
    x = vit_blocks(images, w, depth, num_heads, side)[0][f"block_{depth - 1}"]
    return dense(layer_norm(x, at(w, "norm"))[:, 0], at(w, "class_head"))


def cait_maps(queried, keys, w, num_heads, head_dim, diagonal=None):
    """Returns the softmax, before the second mixture; computes one pair of tokens after the other.

    `diagonal` is None where a token is not among its keys or LSA is off.
    """
    query = dense(queried, at(w, "query")).reshape(*queried.shape[:2], num_heads, head_dim)
    key = np.split(dense(keys, at(w, "key_value")), 2, axis=-1)[0]
    key = key.reshape(*keys.shape[:2], num_heads, head_dim)
    scale = w.get("scale", np.full(num_heads, head_dim**-0.5))
    mixture = w["heads_before_softmax/kernel"]
    logits = np.zeros((len(queried), num_heads, queried.shape[1], keys.shape[1]))
    for row, column in np.ndindex(logits.shape[2:]):
        scores = (query[:, row] * key[:, column]).sum(axis=-1) * scale
        if row == column and diagonal == "zero":
            scores = np.full_like(scores, -1e-9)
        logits[:, :, row, column] = scores @ mixture
        if row == column and diagonal == "masked":
            logits[:, :, row, column] = -np.inf
    return softmax(logits)


def cait_attention(x, w, num_heads, head_dim, class_token=False, diagonal=None):
    queried, keys = (x[:, :1], x[:, 1:]) if class_token else (x, x)
    value = np.split(dense(keys, at(w, "key_value")), 2, axis=-1)[1]
    diagonal = None if class_token else diagonal
    maps = cait_maps(queried, keys, w, num_heads, head_dim, diagonal)
    maps = np.einsum("bhqk,hg->bgqk", maps, w["heads_after_softmax/kernel"])
    return dense(_attended(maps, value, num_heads), at(w, "projection"))


def cait_block(x, w, num_heads, head_dim, class_token=False, diagonal=None):
    changed = x[:, :1] if class_token else x
    normed = layer_norm(changed, at(w, "norm1"))
    inputs = np.concatenate([normed, x[:, 1:]], axis=1) if class_token else normed
    attended = cait_attention(
        inputs, at(w, "attention"), num_heads, head_dim, class_token, diagonal
    )
    changed = changed + attended * w["layer_scale1/gamma"]
    update = mlp(layer_norm(changed, at(w, "norm2")), at(w, "mlp"))
    changed = changed + update * w["layer_scale2/gamma"]
    return np.concatenate([changed, x[:, 1:]], axis=1) if class_token else changed


def cait_tokens(images, w, depth, class_depth, num_heads, head_dim, side, diagonal=None):
    """Returns the output of every block, by its name."""
    x = _embedded(images, w, side) + w["position_embedding/positions"]
    tokens = {}
    for name in (f"block_{index}" for index in range(depth)):
        tokens[name] = x = cait_block(x, at(w, name), num_heads, head_dim, diagonal=diagonal)
    x = prepend(x, w["class_token/token"])
    for name in (f"class_block_{index}" for index in range(class_depth)):
        tokens[name] = x = cait_block(x, at(w, name), num_heads, head_dim, class_token=True)
    return tokens


def cait_logits(images, w, **sizes):
    *_, x = cait_tokens(images, w, **sizes).values()
    return dense(layer_norm(x[:, :1], at(w, "norm"))[:, 0], at(w, "class_head"))
