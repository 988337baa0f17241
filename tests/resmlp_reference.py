"""Computes ResMLP in plain NumPy and float64."""

import numpy as np
from numpy_reference import at, dense, mlp, patch_tokens, prepend


def affine(x, w):
    return x * w["alpha"] + w["beta"]


def over_tokens(x, w):
    """Applies a linear layer over the tokens, the same to each channel."""
    return np.einsum("bnd,nm->bmd", x, w["kernel"]) + w["bias"][:, None]


def resmlp_block(x, w):
    crossed = over_tokens(affine(x, at(w, "norm1")), at(w, "cross_patch"))
    x = x + crossed * w["layer_scale1/gamma"]
    return x + mlp(affine(x, at(w, "norm2")), at(w, "mlp")) * w["layer_scale2/gamma"]


def class_mlp_block(x, w):
    token = x[:, :1] + (
        over_tokens(affine(x, at(w, "norm1")), at(w, "gather")) * w["layer_scale1/gamma"]
    )
    token = token + mlp(affine(token, at(w, "norm2")), at(w, "mlp")) * w["layer_scale2/gamma"]
    return np.concatenate([token, x[:, 1:]], axis=1)


def resmlp_tokens(images, w, depth):
    """Returns the output of every block, by its name."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    tokens = {}
    for name in (f"block_{index}" for index in range(depth)):
        tokens[name] = x = resmlp_block(x, at(w, name))
    if "class_token/token" in w:
        x = prepend(x, w["class_token/token"])
        for name in ("class_block_0", "class_block_1"):
            tokens[name] = x = class_mlp_block(x, at(w, name))
    return tokens


def resmlp_logits(images, w, depth):
    *_, x = resmlp_tokens(images, w, depth).values()
    x = affine(x, at(w, "norm"))
    pooled = x[:, 0] if "class_token/token" in w else x.mean(axis=1)
    return dense(pooled, at(w, "class_head"))
