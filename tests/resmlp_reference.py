"""ResMLP once more, in plain NumPy and float64."""

import numpy as np
from numpy_reference import at, dense, mlp, patch_tokens, prepend


def affine(x, w):
    return x * w["alpha"] + w["beta"]


def over_tokens(x, w):
    """A linear layer over the tokens: each new token is a sum of all, the same in each channel."""
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


def resmlp_logits(images, w, depth):
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    for index in range(depth):
        x = resmlp_block(x, at(w, f"block_{index}"))
    if "class_token/token" in w:
        x = prepend(x, w["class_token/token"])
        for index in range(2):
            x = class_mlp_block(x, at(w, f"class_block_{index}"))
        pooled = affine(x[:, 0], at(w, "norm"))
    else:
        pooled = affine(x, at(w, "norm")).mean(axis=1)
    return dense(pooled, at(w, "class_head"))
