"""The names of RegNet's weights in published files: those of DeiT's authors and timm, which are the
same, and those of torchvision."""

from keras_deit.models.weight_names import BATCH_NORM, CONVOLUTION, DENSE, POINTWISE, Table

_BLOCK = "stage_{stage}_block_{i}"


def _table(
    stem: tuple[str, str], block: str, modules: dict[str, tuple[str, str]], excitation: str, head
) -> Table:
    """Returns a table.

    Args:
        stem: the modules of the stem's convolution and of its normalization.
        block: the module of a block.
        modules: by the end of its name in a block, the modules of a convolution and of its
            normalization.
        excitation: the module of the squeeze-and-excitation in a block.
        head: the module of the head.
    """
    table: Table = {
        "stem/conv": (stem[0], CONVOLUTION),
        "stem/norm": (stem[1], BATCH_NORM),
        f"{_BLOCK}/squeeze_excitation/reduce": (f"{block}.{excitation}.fc1", POINTWISE),
        f"{_BLOCK}/squeeze_excitation/expand": (f"{block}.{excitation}.fc2", POINTWISE),
        "class_head": (head, DENSE),
    }
    for name, (conv, norm) in modules.items():
        own_conv, own_norm = name.format("conv"), name.format("norm")
        table[f"{_BLOCK}/{own_conv}"] = (f"{block}.{conv}", CONVOLUTION)
        table[f"{_BLOCK}/{own_norm}"] = (f"{block}.{norm}", BATCH_NORM)
    return table


TABLES = {
    "authors": _table(
        ("stem.conv", "stem.bn"),
        "s{stage+1}.b{i+1}",
        {
            "{}1": ("conv1.conv", "conv1.bn"),
            "{}2": ("conv2.conv", "conv2.bn"),
            "{}3": ("conv3.conv", "conv3.bn"),
            "shortcut_{}": ("downsample.conv", "downsample.bn"),
        },
        "se",
        "head.fc",
    ),
    "torchvision": _table(
        ("stem.0", "stem.1"),
        "trunk_output.block{stage+1}.block{stage+1}-{i}",
        {
            "{}1": ("f.a.0", "f.a.1"),
            "{}2": ("f.b.0", "f.b.1"),
            "{}3": ("f.c.0", "f.c.1"),
            "shortcut_{}": ("proj.0", "proj.1"),
        },
        "f.se",
        "fc",
    ),
}


def describe(names: list[str]) -> str | None:
    """Returns "RegNet" if a file has tensors of these names; None for others."""
    marks = ("s1.b1.se.fc1.", "trunk_output.block1.block1-0.f.se.fc1.")
    return "RegNet" if any(mark in name for name in names for mark in marks) else None
