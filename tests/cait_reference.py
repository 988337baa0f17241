"""Computes CaiT and its layers in plain NumPy and float64."""

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
    token_heads,
)


def mix_heads(maps, w):
    """Computes one output head after the other, each as a sum over the input heads."""
    heads = range(maps.shape[1])
    mixed = [
        sum(maps[:, source] * w["kernel"][source, head] for source in heads) + w["bias"][head]
        for head in heads
    ]
    return np.stack(mixed, axis=1)


def split_heads(x, num_heads):
    """(batch, length, width) to (batch, heads, length, width of a head)."""
    return np.stack(np.split(x, num_heads, axis=-1), axis=1)


def merge_heads(x):
    return np.concatenate(list(np.moveaxis(x, 1, 0)), axis=-1)


def talking_heads_maps(x, w, num_heads):
    """Returns the softmax, before the second mixture."""
    query, key, _ = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    query, key = split_heads(query, num_heads), split_heads(key, num_heads)
    logits = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    return softmax(mix_heads(logits, at(w, "heads_before_softmax")))


def talking_heads_attention(x, w, num_heads):
    value = split_heads(np.split(dense(x, at(w, "qkv")), 3, axis=-1)[2], num_heads)
    maps = mix_heads(talking_heads_maps(x, w, num_heads), at(w, "heads_after_softmax"))
    return dense(merge_heads(maps @ value), at(w, "projection"))


def talking_heads_block(x, w, num_heads):
    attended = talking_heads_attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads)
    x = x + attended * w.get("layer_scale1/gamma", 1)
    return x + mlp_branch(x, w)


def class_attention_maps(x, w, num_heads, count=1, patches_only=False):
    """Computes one class token after the other."""
    key = split_heads(dense(x[:, count:] if patches_only else x, at(w, "key")), num_heads)
    rows = []
    for token in range(count):
        query = split_heads(dense(x[:, token : token + 1], at(w, "query")), num_heads)
        rows.append(softmax(query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])))
    return np.concatenate(rows, axis=2)


def class_attention(x, w, num_heads, count=1, patches_only=False):
    value = split_heads(dense(x[:, count:] if patches_only else x, at(w, "value")), num_heads)
    attended = class_attention_maps(x, w, num_heads, count, patches_only) @ value
    return dense(merge_heads(attended), at(w, "projection"))


def class_block(x, w, num_heads, count=1, patches_only=False):
    attended = class_attention(
        layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads, count, patches_only
    )
    classes = x[:, :count] + attended * w.get("layer_scale1/gamma", 1)
    update = mlp(layer_norm(classes, at(w, "norm2")), at(w, "mlp"))
    classes = classes + update * w.get("layer_scale2/gamma", 1)
    return np.concatenate([classes, x[:, count:]], axis=1)


def class_block_maps(x, w, num_heads, count=1, patches_only=False):
    normed = layer_norm(x, at(w, "norm1"))
    return class_attention_maps(normed, at(w, "attention"), num_heads, count, patches_only)


def cait_blocks(images, w, depth, class_depth, num_heads):
    """Returns the output and the attention maps of every block, by its name."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    x = x + w["position_embedding/positions"]
    tokens, maps = {}, {}
    for name in (f"block_{index}" for index in range(depth)):
        inner, normed = at(w, name), layer_norm(x, at(w, f"{name}/norm1"))
        maps[name] = talking_heads_maps(normed, at(inner, "attention"), num_heads)
        tokens[name] = x = talking_heads_block(x, inner, num_heads)
    distilled = "distillation_token/token" in w
    if distilled:
        x = prepend(x, w["distillation_token/token"])
    x = prepend(x, w["class_token/token"])
    for name in (f"class_block_{index}" for index in range(class_depth)):
        maps[name] = class_block_maps(x, at(w, name), num_heads, 1 + distilled)
        tokens[name] = x = class_block(x, at(w, name), num_heads, 1 + distilled)
    return tokens, maps


def cait_heads(images, w, depth, class_depth, num_heads):
    """Returns the logits of the class head and, if the weights have one, the distillation head."""
    tokens, _ = cait_blocks(images, w, depth, class_depth, num_heads)
    return token_heads(tokens[f"class_block_{class_depth - 1}"], w)
