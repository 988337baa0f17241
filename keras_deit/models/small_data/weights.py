"""The names that weights of the models for small data sets have in the authors' files."""

import re
from typing import TYPE_CHECKING

from keras_deit.models.weight_names import (
    BARE,
    CONVOLUTION,
    COPY,
    DENSE,
    NORM,
    PAIRED_DEPTHWISE,
    POINTWISE,
    SCALE,
    Layout,
    Table,
    Transform,
)

if TYPE_CHECKING:
    from keras_deit.models.classifier import Classifier

# LayerScale is (1, 1, width) in these files.
_WIDE_SCALE: Layout = {"gamma": (".scale", Transform((0, 1, 2), squeeze=2))}
_MATRIX: Layout = {"kernel": ("", COPY)}


def shifted_patches(module: str) -> Table:
    """Returns the names of shifted patch tokenization, as the layer `patch_embedding`.

    Args:
        module: its module in the file.
    """
    return {
        "patch_embedding/norm": (f"{module}.merging.1", NORM),
        "patch_embedding/projection": (f"{module}.merging.2", DENSE),
    }


def mlp_half(block: str, module: str) -> Table:
    """Returns the names of the norm and MLP of a block.

    Args:
        block: path of the block.
        module: its MLP with the norm in the file.
    """
    return {
        f"{block}/norm2": (f"{module}.norm", NORM),
        f"{block}/mlp/expand": (f"{module}.fn.net.0", DENSE),
        f"{block}/mlp/contract": (f"{module}.fn.net.3", DENSE),
    }


def attention_half(block: str, module: str) -> Table:
    """Returns the names of the norm and the attention of a block of ViT or PiT.

    Args:
        block: path of the block.
        module: its attention with the norm in the file.
    """
    return {
        f"{block}/norm1": (f"{module}.norm", NORM),
        f"{block}/attention/qkv": (f"{module}.fn.to_qkv", DENSE),
        f"{block}/attention/projection": (f"{module}.fn.to_out.0", DENSE),
        f"{block}/attention": (f"{module}.fn", SCALE),
    }


# Of ViT, CaiT and PiT.
TOKENS: Table = {
    "class_token": ("cls_token", BARE),
    "position_embedding": ("pos_embedding", BARE),
    "norm": ("mlp_head.0", NORM),
    "class_head": ("mlp_head.1", DENSE),
}

_VIT: Table = {
    **TOKENS,
    **attention_half("block_{i}", "transformer.layers.{i}.0"),
    **mlp_half("block_{i}", "transformer.layers.{i}.1"),
}


def _cait_block(block: str, module: str) -> Table:
    """Each half is wrapped in LayerScale and norm."""
    attention, mlp = f"{module}.0", f"{module}.1"
    return {
        f"{block}/norm1": (f"{attention}.fn.norm", NORM),
        f"{block}/attention/query": (f"{attention}.fn.fn.to_q", DENSE),
        f"{block}/attention/key_value": (f"{attention}.fn.fn.to_kv", DENSE),
        f"{block}/attention/projection": (f"{attention}.fn.fn.to_out.0", DENSE),
        f"{block}/attention": (f"{attention}.fn.fn", SCALE),
        f"{block}/attention/heads_before_softmax": (
            f"{attention}.fn.fn.mix_heads_pre_attn",
            _MATRIX,
        ),
        f"{block}/attention/heads_after_softmax": (
            f"{attention}.fn.fn.mix_heads_post_attn",
            _MATRIX,
        ),
        f"{block}/layer_scale1": (attention, _WIDE_SCALE),
        **mlp_half(block, f"{mlp}.fn"),
        f"{block}/layer_scale2": (mlp, _WIDE_SCALE),
    }


_CAIT: Table = {
    **TOKENS,
    **_cait_block("block_{i}", "patch_transformer.layers.{i}"),
    **_cait_block("class_block_{i}", "cls_transformer.layers.{i}"),
}
_PATCHES: Table = {"patch_embedding/projection": ("to_patch_embedding.1", DENSE)}

VIT_TABLES = {
    "authors": {**_VIT, **_PATCHES},
    "authors, SPT": {**_VIT, **shifted_patches("to_patch_embedding")},
}
CAIT_TABLES = {
    "authors": {**_CAIT, **_PATCHES},
    "authors, SPT": {**_CAIT, **shifted_patches("to_patch_embedding.0")},
}


# Stage s of PiT is module 2s of `layers`, the pooling behind it the next one. An image of a million
# pixels along a side has no more stages.
_PIT_STAGES = range(20)


def _pit(with_spt: bool) -> Table:
    table = {**TOKENS}
    for stage in _PIT_STAGES:
        block, module = f"stage_{stage}_block_{{i}}", f"layers.{2 * stage}.layers.{{i}}"
        table |= attention_half(block, f"{module}.0") | mlp_half(block, f"{module}.1")
        pooling, module = f"pooling_{stage}", f"layers.{2 * stage + 1}"
        if with_spt:
            table |= {
                f"{pooling}/norm": (f"{module}.merging.1", NORM),
                f"{pooling}/projection": (f"{module}.merging.2", DENSE),
                f"{pooling}/class_projection": (f"{module}.class_linear", DENSE),
            }
        else:
            table |= {
                f"{pooling}/depthwise": (f"{module}.downsample.net.0", PAIRED_DEPTHWISE),
                f"{pooling}/pointwise": (f"{module}.downsample.net.1", POINTWISE),
                f"{pooling}/class_projection": (f"{module}.cls_ff", DENSE),
            }
    if with_spt:
        return {**table, **shifted_patches("to_patch_embedding")}
    return {**table, "patch_embedding/projection": ("to_patch_embedding.0", CONVOLUTION)}


PIT_TABLES = {"authors": _pit(False), "authors, SPT": _pit(True)}


def _t2t_block(block: str, module: str) -> Table:
    return {
        f"{block}/norm1": (f"{module}.norm1", NORM),
        f"{block}/attention/qkv": (f"{module}.attn.qkv", DENSE),
        f"{block}/attention/projection": (f"{module}.attn.proj", DENSE),
        f"{block}/attention": (f"{module}.attn", SCALE),
        f"{block}/norm2": (f"{module}.norm2", NORM),
        f"{block}/mlp/expand": (f"{module}.mlp.fc1", DENSE),
        f"{block}/mlp/contract": (f"{module}.mlp.fc2", DENSE),
    }


T2T_TABLES = {
    "authors": {
        **_t2t_block("token_transformer_{i}", "tokens_to_token.attention{i}"),
        "patch_projection": ("tokens_to_token.project", DENSE),
        "class_token": ("cls_token", BARE),
        "position_embedding": ("pos_embed", BARE),
        **_t2t_block("block_{i}", "blocks.{i}"),
        "norm": ("norm", NORM),
        "class_head": ("head", DENSE),
    }
}
# A norm that the authors' code creates and never calls.
T2T_UNUSED = r"(.*\.)?tokens_to_token\.norm\.(weight|bias)"


def of_model(model: "Classifier") -> dict[str, Table]:
    """Returns the names of a model's weights, which depend on whether it has SPT."""
    tables = model.weight_tables
    return {"authors": tables["authors, SPT" if model.get_config()["spt"] else "authors"]}


def describe_vit(names: list[str]) -> str | None:
    """Returns what a file with tensors of these names holds if it is a ViT for small data sets."""
    return _described(names, r"(.*\.)?transformer\.layers\.\d+\.0\.fn\.to_qkv\.", "ViT")


def describe_cait(names: list[str]) -> str | None:
    """Returns what a file with tensors of these names holds if it is a CaiT for small data sets."""
    return _described(names, r"(.*\.)?patch_transformer\.layers\.", "CaiT")


def describe_pit(names: list[str]) -> str | None:
    """Returns what a file with tensors of these names holds if it is a PiT for small data sets."""
    return _described(names, r"(.*\.)?layers\.\d+\.layers\.\d+\.0\.fn\.to_qkv\.", "PiT")


def describe_t2t(names: list[str]) -> str | None:
    """Returns what a file with tensors of these names holds if it is a T2T-ViT."""
    return "T2T-ViT" if any("tokens_to_token." in name for name in names) else None


def _described(names: list[str], mark: str, model: str) -> str | None:
    if not any(re.match(mark, name) for name in names):
        return None
    has_spt = any("to_patch_embedding" in name and ".merging." in name for name in names)
    has_lsa = any(name.endswith(".fn.scale") for name in names)
    prefix = "S" * has_spt + "L" * has_lsa
    return f"{prefix}-{model} for small data sets".removeprefix("-")


_SWIN_BLOCK = "stage_{stage}_block_{block}"
_SWIN_LAYER = "layers.{stage}.blocks.{block}"
_RELATIVE: Layout = {"relative_positions": (".relative_position_bias_table", COPY)}
_SWIN: Table = {
    "position_embedding": ("absolute_pos_embed", BARE),
    f"{_SWIN_BLOCK}/norm1": (f"{_SWIN_LAYER}.norm1", NORM),
    f"{_SWIN_BLOCK}/attention": (f"{_SWIN_LAYER}.attn", {**SCALE, **_RELATIVE}),
    f"{_SWIN_BLOCK}/attention/qkv": (f"{_SWIN_LAYER}.attn.qkv", DENSE),
    f"{_SWIN_BLOCK}/attention/projection": (f"{_SWIN_LAYER}.attn.proj", DENSE),
    f"{_SWIN_BLOCK}/norm2": (f"{_SWIN_LAYER}.norm2", NORM),
    f"{_SWIN_BLOCK}/mlp/expand": (f"{_SWIN_LAYER}.mlp.fc1", DENSE),
    f"{_SWIN_BLOCK}/mlp/contract": (f"{_SWIN_LAYER}.mlp.fc2", DENSE),
    "norm": ("norm", NORM),
    "class_head": ("head", DENSE),
}
_SWIN_BASE: Table = {
    "patch_embedding/projection": ("patch_embed.proj", CONVOLUTION),
    "patch_norm": ("patch_embed.norm", NORM),
    "merging_{stage}/norm": ("layers.{stage}.downsample.norm", NORM),
    "merging_{stage}/projection": ("layers.{stage}.downsample.reduction", DENSE),
}
_SWIN_SPT: Table = {
    **shifted_patches("patch_embed"),
    "merging_{stage}/norm": ("layers.{stage}.downsample.merging.1", NORM),
    "merging_{stage}/projection": ("layers.{stage}.downsample.merging.2", DENSE),
}
SWIN_TABLES = {"authors": {**_SWIN, **_SWIN_BASE}, "authors, SPT": {**_SWIN, **_SWIN_SPT}}


def describe_swin(names: list[str]) -> str | None:
    """Returns what a file with tensors of these names holds if it is a Swin for small data sets."""
    if not any(name.endswith(".attn.relative_position_bias_table") for name in names):
        return None
    has_spt = any(".merging." in name for name in names)
    has_lsa = any(name.endswith(".attn.scale") for name in names)
    prefix = "S" * has_spt + "L" * has_lsa
    return f"{prefix}-Swin for small data sets".removeprefix("-")
