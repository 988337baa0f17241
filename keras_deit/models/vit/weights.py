"""The names of ViT's weights in published files: timm's, transformers' and its authors'.

The authors' files are npz with the names and layouts of Flax. Those that they have released have
its names of before linen, newer programs of theirs those of linen.
"""

import re

from keras_deit.models.deit.weights import BLOCKS, COMMON
from keras_deit.models.deit.weights import TABLES as DEIT_TABLES
from keras_deit.models.weight_names import (
    BARE,
    CONVOLUTION,
    DENSE,
    FLAX_KERNEL,
    FLAX_NORM,
    FLAX_POSITIONS,
    FLAX_WIDE_NORM,
    NORM,
    Layout,
    Table,
    flax_projection,
    flax_queries_keys_values,
)


def _resnet(
    root: str, unit: str, shortcut: tuple[str, str], norm: str, conv: Layout, norms: Layout
) -> Table:
    """Returns the names of a ResNet's weights.

    Args:
        root: what stands before the names of the root's layers, with {part} for the rest.
        unit: the module of a unit, with {part}.
        shortcut: names of the convolution and the norm beside the branch.
        norm: how the norms of a branch are called, without their number.
        conv, norms: layouts of convolutions and norms.
    """
    numbers = (1, 2, 3)
    path = "stage_{stage}_unit_{unit}"
    return {
        "root/conv": (root.format(part="conv"), conv),
        "root/norm": (root.format(part=norm), norms),
        **{f"{path}/conv{n}": (f"{unit}conv{n}", conv) for n in numbers},
        **{f"{path}/norm{n}": (f"{unit}{norm}{n}", norms) for n in numbers},
        f"{path}/shortcut_conv": (f"{unit}{shortcut[0]}", conv),
        f"{path}/shortcut_norm": (f"{unit}{shortcut[1]}", norms),
    }


def _timm(has_stages: bool) -> Table:
    """Returns timm's names; a root without stages has another one there."""
    body = "patch_embed.backbone."
    root = f"{body}stem." if has_stages else body
    return {
        **COMMON,
        **BLOCKS,
        "pre_logits": ("pre_logits.fc", DENSE),
        **_resnet(
            root + "{part}",
            body + "stages.{stage}.blocks.{unit}.",
            ("downsample.conv", "downsample.norm"),
            "norm",
            CONVOLUTION,
            NORM,
        ),
    }


def _flax(head_dim: int, norm_layers: Layout, parts: tuple[str, str, str, str]) -> Table:
    """Returns the authors' names.

    Args:
        head_dim: width of one head.
        norm_layers: layout of the group normalizations.
        parts: names of the parts of a block: norm, attention, norm, MLP.
    """
    norm1, attention, norm2, mlp = (f"Transformer/encoderblock_{{i}}/{part}" for part in parts)
    return {
        "class_token": ("cls", BARE),
        "position_embedding": ("Transformer/posembed_input/pos_embedding", FLAX_POSITIONS),
        "patch_embedding/projection": ("embedding", FLAX_KERNEL),
        "block_{i}/norm1": (norm1, FLAX_NORM),
        "block_{i}/attention/qkv": (
            tuple(f"{attention}/{name}" for name in ("query", "key", "value")),
            flax_queries_keys_values(head_dim),
        ),
        "block_{i}/attention/projection": (f"{attention}/out", flax_projection(head_dim)),
        "block_{i}/norm2": (norm2, FLAX_NORM),
        "block_{i}/mlp/expand": (f"{mlp}/Dense_0", FLAX_KERNEL),
        "block_{i}/mlp/contract": (f"{mlp}/Dense_1", FLAX_KERNEL),
        "norm": ("Transformer/encoder_norm", FLAX_NORM),
        "pre_logits": ("pre_logits", FLAX_KERNEL),
        "class_head": ("head", FLAX_KERNEL),
        **_resnet(
            "{part}_root",
            "block{stage+1}/unit{unit+1}/",
            ("conv_proj", "gn_proj"),
            "gn",
            FLAX_KERNEL,
            norm_layers,
        ),
    }


_RELEASED = ("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
_LINEN = ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")


def tables(head_dim: int = 1, has_stages: bool = True) -> dict[str, Table]:
    """Returns the names of a model's weights by publisher, those of timm as the default.

    Args:
        head_dim: width of one head of the model.
        has_stages: whether its ResNet, if it has one, has stages behind the root.
    """
    return {
        # In files that this package writes, too, which have PyTorch's layout.
        "authors": _timm(has_stages),
        "Flax": _flax(head_dim, FLAX_WIDE_NORM, _RELEASED),
        "Flax, linen": _flax(head_dim, FLAX_NORM, _LINEN),
        **{name: DEIT_TABLES[name] for name in ("Hugging Face", "Hugging Face 5")},
    }


# With every name of any model, to recognize files.
TABLES = {**tables(), "timm, root alone": _timm(has_stages=False)}


def describe(names: list[str]) -> str | None:
    """Returns which ViT a file with tensors of these names holds; None for another family."""
    marks = ("blocks.0.attn.qkv.", "encoder.layer.0.attention.", "layers.0.attention.q_proj.")
    is_flax = any("encoderblock_0/" in name for name in names)
    if not is_flax and not any(mark in name for name in names for mark in marks):
        return None
    if any(mark in name for name in names for mark in ("dist_token", "distillation_token")):
        return None
    hybrid = ("patch_embed.backbone.", "conv_root/")
    return "hybrid ViT" if any(mark in n for n in names for mark in hybrid) else "ViT"


# What tells two models apart, names of tensors in the publishers' files, and the axis that says it.
_SIZES = (
    ("width", r"(Transformer/encoder_norm/scale|(layer)?norm\.weight)", 0),
    (
        "hidden width of the MLPs",
        r"(Transformer/encoderblock_0/MlpBlock_\d/Dense_0|blocks\.0\.mlp\.fc1"
        r"|encoder\.layer\.0\.intermediate\.dense|layers\.0\.mlp\.fc1)[./]bias",
        0,
    ),
    (
        "number of heads",
        r"Transformer/encoderblock_0/MultiHeadDotProductAttention_\d/query/bias",
        0,
    ),
    ("patch side", "embedding/kernel", 0),
    (
        "patch side",
        r"(patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.weight",
        -1,
    ),
    ("representation_size", r"pre_logits(/|\.fc\.)bias", 0),
)
# What there are several of, by the name of one's first tensor.
_COUNTS = {
    "blocks": r"Transformer/encoderblock_\d+/LayerNorm_0/bias|blocks\.\d+\.norm1\.bias"
    r"|(encoder\.layer|layers)\.\d+\.layernorm_before\.bias",
    "class tokens": r"cls|cls_token|embeddings\.cls_token",
    "ResNet units": r"block\d+/unit\d+/gn1/bias"
    r"|patch_embed\.backbone\.stages\.\d+\.blocks\.\d+\.norm1\.bias",
    "ResNet roots": r"gn_root/bias|patch_embed\.backbone\.(stem\.)?norm\.bias",
}


def explain_misfit(held: dict, wanted: dict) -> str | None:
    """Returns in words which sizes of a file and a model differ; None if it is something else.

    Args:
        held, wanted: shapes by name of what the file holds, and of what it should.
    """
    parts = []
    for (what, own), other in zip(_counts(held).items(), _counts(wanted).values(), strict=True):
        if own != other:
            parts.append(f"it has {own} {what}, the model {other}")
    for what, pattern, axis in _SIZES:
        own, other = (_size(shapes, pattern, axis) for shapes in (held, wanted))
        if own != other:
            parts.append(f"its {what} is {own}, the model's {other}")
    return ", ".join(parts) or None


def _counts(shapes: dict) -> dict[str, int]:
    return {
        what: sum(re.fullmatch(pattern, name) is not None for name in shapes)
        for what, pattern in _COUNTS.items()
    }


def _size(shapes: dict, pattern: str, axis: int) -> int | None:
    found = (shape for name, shape in shapes.items() if re.fullmatch(pattern, name))
    return next((shape[axis] for shape in found if shape), None)
