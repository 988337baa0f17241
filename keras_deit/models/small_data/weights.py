"""The names that weights of the models for small data sets have in the authors' files."""

from keras_deit.models.weight_names import BARE, CONVOLUTION, COPY, DENSE, NORM, Layout, Table

# The temperatures of locality self-attention.
SCALE: Layout = {"scale": (".scale", COPY)}


def shifted_patches(module: str) -> Table:
    """Returns the names of shifted patch tokenization, as the layer `patch_embedding`.

    Args:
        module: its module in the file.
    """
    return {
        "patch_embedding/norm": (f"{module}.merging.1", NORM),
        "patch_embedding/projection": (f"{module}.merging.2", DENSE),
    }


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


def of_model(model: "Classifier") -> dict[str, Table]:
    """Returns the names of a model's weights, which depend on whether it has SPT."""
    tables = model.weight_tables
    return {"authors": tables["authors, SPT" if model.get_config()["spt"] else "authors"]}
