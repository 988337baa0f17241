"""How the residual branches of very deep DeiTs are weighted and initialized.

H. Touvron's thesis, §3.5: each method keeps the norms before the branches, and the warm-up.
"""

import math

import numpy as np

from keras_deit.core.errors import InputError, unknown_name

# The values of `residual`: what it is in `TransformerBlock`, and the initial factor; None for that
# of the depth. The thesis gives T-Fixup a factor, too, and does not say where it starts.
_RESIDUALS = {
    "none": ("layer_scale", None),
    "rezero": ("scalar", 0.0),
    "scalar": ("scalar", None),
    "fixup": ("fixup", 1.0),
    "t_fixup": ("scalar", 1.0),
    "layer_scale": ("layer_scale", None),
    "layer_scale_zero": ("layer_scale", 0.0),
    "layer_scale_uniform": ("layer_scale_uniform", None),
    "layer_scale_frozen": ("layer_scale_frozen", None),
}


def layer_scale_by_depth(depth: int) -> float:
    """Returns the initial value of LayerScale in a model of so many blocks (CaiT §2.1)."""
    return 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6


def block_options(residual: str, depth: int, layer_scale_init: float | None) -> dict:
    """Returns what `TransformerBlock` is told.

    Args:
        residual: one of the methods.
        depth: number of blocks.
        layer_scale_init: initial factors; None for those of the method.

    Raises:
        InputError: there is no such method, or there are no factors to start.
    """
    if residual not in _RESIDUALS:
        raise unknown_name("residual", residual, _RESIDUALS)
    if residual == "none":
        if layer_scale_init is not None:
            raise InputError(
                f"layer_scale_init {layer_scale_init} needs a residual other than 'none'."
            )
        return {}
    kind, initial = _RESIDUALS[residual]
    if layer_scale_init is not None:
        initial = layer_scale_init
    elif initial is None:
        initial = layer_scale_by_depth(depth)
    return {"residual": kind, "layer_scale_init": initial}


def start_weights(residual: str, blocks: list, heads: list) -> None:
    """Gives blocks and heads the initial weights of Fixup or T-Fixup.

    Fixup (§3 there) divides the first of the two matrices of a branch by √(number of branches)
    and starts the second one, and the classifier, at 0. T-Fixup ("Improving Transformer
    Optimization Through Better Initialization", Huang et al., 2020, §3.2) multiplies values,
    projections and MLPs by 0.67·depth^(−1/4), after a Xavier initialization.
    """
    if residual not in ("fixup", "t_fixup"):
        return
    for block in blocks:
        attention, mlp = block.attention_branch[1], block.mlp_branch[1]
        if residual == "fixup":
            scale = 1 / math.sqrt(2 * len(blocks))
            _multiply(attention.qkv, scale)
            _multiply(mlp.expand, scale)
            _multiply(attention.projection, 0)
            _multiply(mlp.contract, 0)
        else:
            scale = 0.67 * len(blocks) ** -0.25
            factors = np.ones(attention.qkv.kernel.shape[1], "float32")
            factors[-attention.attended_shape[-1] :] = scale
            _multiply(attention.qkv, factors)
            for dense in (attention.projection, mlp.expand, mlp.contract):
                _multiply(dense, scale)
    if residual == "fixup":
        for head in heads:
            _multiply(head, 0)


def _multiply(dense, factor) -> None:
    dense.kernel.assign(dense.kernel * factor)
