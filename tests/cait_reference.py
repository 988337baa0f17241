"""CaiT's layers and CaiT once more, in plain NumPy and float64."""

import math

import numpy as np
from numpy_reference import (
    at,
    dense,
    layer_norm,
    mlp,
    mlp_branch,
    patch_tokens,
    prepend,
    softmax,
)


def mix_heads(maps, w):
    """One output head after the other, each a sum over the input heads."""
    heads = range(maps.shape[1])
    mixed = [
        sum(maps[:, source] * w["kernel"][source, head] for source in heads) + w["bias"][head]
        for head in heads
    ]
    return np.stack(mixed, axis=1)


def heads_of(x, num_heads):
    """(batch, length, width) to (batch, heads, length, width of a head)."""
    return np.stack(np.split(x, num_heads, axis=-1), axis=1)


def merged(x):
    return np.concatenate(list(np.moveaxis(x, 1, 0)), axis=-1)


def talking_heads_attention(x, w, num_heads):
    query, key, value = (
        heads_of(part, num_heads) for part in np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    )
    logits = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    maps = softmax(mix_heads(logits, at(w, "heads_before_softmax")))
    attended = mix_heads(maps, at(w, "heads_after_softmax")) @ value
    return dense(merged(attended), at(w, "projection"))


def talking_heads_block(x, w, num_heads):
    attended = talking_heads_attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads)
    x = x + attended * w.get("layer_scale1/gamma", 1)
    return x + mlp_branch(x, w)


def class_attention(x, w, num_heads, count=1, patches_only=False):
    """One class token after the other."""
    rows = x[:, count:] if patches_only else x
    key, value = (heads_of(dense(rows, at(w, name)), num_heads) for name in ("key", "value"))
    attended = []
    for token in range(count):
        query = heads_of(dense(x[:, token : token + 1], at(w, "query")), num_heads)
        weights = softmax(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]))
        attended.append(merged(weights @ value))
    return dense(np.concatenate(attended, axis=1), at(w, "projection"))


def class_block(x, w, num_heads, count=1, patches_only=False):
    attended = class_attention(
        layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads, count, patches_only
    )
    classes = x[:, :count] + attended * w.get("layer_scale1/gamma", 1)
    update = mlp(layer_norm(classes, at(w, "norm2")), at(w, "mlp"))
    classes = classes + update * w.get("layer_scale2/gamma", 1)
    return np.concatenate([classes, x[:, count:]], axis=1)


def cait_heads(images, w, depth, class_depth, num_heads):
    """{"class": logits} and, where the weights have one, the distillation head's."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    x = x + w["position_embedding/positions"]
    for index in range(depth):
        x = talking_heads_block(x, at(w, f"block_{index}"), num_heads)
    distilled = "distillation_token/token" in w
    if distilled:
        x = prepend(x, w["distillation_token/token"])
    x = prepend(x, w["class_token/token"])
    for index in range(class_depth):
        x = class_block(x, at(w, f"class_block_{index}"), num_heads, 1 + distilled)
    x = layer_norm(x, at(w, "norm"))
    heads = {"class": dense(x[:, 0], at(w, "class_head"))}
    if distilled:
        heads["distillation"] = dense(x[:, 1], at(w, "distillation_head"))
    return heads
