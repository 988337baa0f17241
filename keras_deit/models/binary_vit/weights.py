"""The names that weights of BinaryViT have in the authors' files."""

from keras_deit.models.weight_names import (
    BARE,
    BATCH_NORM,
    CONVOLUTION,
    COPY,
    DENSE,
    Layout,
    Table,
    Transform,
)

_LAYER = "vit.encoder.layer.{i}"
_MERGING = "vit.encoder.patch_embed{i+1}"
_RPRELU: Layout = {
    "before": (".move1", COPY),
    "slope": (".prelu.weight", COPY),
    "after": (".move2", COPY),
}
_AFFINE: Layout = {"alpha": (".alpha", COPY), "beta": (".move", COPY)}
_KERNEL = Transform((1, 0))
_WIDE_SHIFT = Transform((0, 2, 3, 1), squeeze=3)


def _unit(path: str, module: str, dense: str, shift: str, norm: str, activation: str) -> Table:
    """Returns the names of a `BinaryUnit`.

    Args:
        path: its path below the block.
        module: the module of its tensors below the layer.
        dense, shift, norm, activation: what its parts are called there.
    """
    path, module = f"block_{{i}}/{path}", f"{_LAYER}.{module}"
    return {
        f"{path}/dense": (
            module,
            {"kernel": (f".{dense}.weight", _KERNEL), "shift": (f".{shift}", COPY)},
        ),
        f"{path}/norm": (f"{module}.{norm}", BATCH_NORM),
        f"{path}/activation": (f"{module}.{activation}", _RPRELU),
    }


_ATTENTION = "attention.attention"
_INNER = (("query", "q"), ("key", "k"), ("value", "v"))
_UNITS: Table = {}
for _name, _letter in _INNER:
    _UNITS |= _unit(
        f"attention/{_name}",
        _ATTENTION,
        *(_name, f"move{_letter}", f"norm{_letter}", f"rprelu{_letter}"),
    )
_UNITS |= _unit("attention/reduced", _ATTENTION, "reduction", "mover", "norm_r", "rprelur")
for _name, _module in (
    ("projection", "attention.output"),
    ("expand", "intermediate"),
    ("contract", "output"),
):
    _UNITS |= _unit(_name, _module, "dense", "move", "norm", "rprelu")

_BLOCK: Table = {
    **_UNITS,
    "block_{i}/attention": (
        f"{_LAYER}.{_ATTENTION}",
        {
            **{f"{name}_shift": (f".move{letter}2", COPY) for name, letter in _INNER},
            "step": (".att_prob_clip", COPY),
        },
    ),
    "block_{i}/attention/context_norm": (f"{_LAYER}.{_ATTENTION}.norm_context", BATCH_NORM),
    "block_{i}/attention/context_activation": (f"{_LAYER}.{_ATTENTION}.rprelu_context", _RPRELU),
    "block_{i}/norm1": (f"{_LAYER}.layernorm_before", BATCH_NORM),
    "block_{i}/norm2": (f"{_LAYER}.layernorm_after", BATCH_NORM),
    "block_{i}/affine1": (f"{_LAYER}.attention.output.layerscale", _AFFINE),
    "block_{i}/affine2": (f"{_LAYER}.output.layerscale", _AFFINE),
    "block_{i}/affine_h{size}": (f"{_LAYER}.layerscale_h{{size}}", _AFFINE),
    "block_{i}/affine_w{size}": (f"{_LAYER}.layerscale_w{{size}}", _AFFINE),
}

TABLES: dict[str, Table] = {
    "authors": {
        "patch_embedding/projection": (
            "vit.embeddings.patch_embeddings.projection",
            CONVOLUTION,
        ),
        "patch_norm": ("vit.embeddings.norm", BATCH_NORM),
        "class_token": ("vit.embeddings.cls_token", BARE),
        "position_embedding": ("vit.embeddings.position_embeddings", BARE),
        **_BLOCK,
        "merging_{i}/norm0": (f"{_MERGING}.norm0", BATCH_NORM),
        "merging_{i}/projection": (
            _MERGING,
            {"kernel": (".proj.weight", CONVOLUTION["kernel"][1]), "shift": (".move", _WIDE_SHIFT)},
        ),
        "merging_{i}/norm": (f"{_MERGING}.norm", BATCH_NORM),
        "merging_{i}/activation": (f"{_MERGING}.rprelu", _RPRELU),
        "position_embedding_{i}": (f"{_MERGING}.position_embeddings", BARE),
        "norm": ("vit.layernorm", BATCH_NORM),
        "class_head": ("classifier", DENSE),
    }
}
