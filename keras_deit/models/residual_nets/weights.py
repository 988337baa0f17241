"""The names of a ResNet's weights in published files, which are those of torchvision and timm."""

from keras_deit.models.weight_names import BATCH_NORM, CONVOLUTION, DENSE, Table

_BLOCK = "stage_{stage}_block_{i}"
_PUBLISHED_BLOCK = "layer{stage+1}.{i}"


def _table() -> Table:
    table: Table = {
        "stem/conv": ("conv1", CONVOLUTION),
        "stem/norm": ("bn1", BATCH_NORM),
        f"{_BLOCK}/shortcut_conv": (f"{_PUBLISHED_BLOCK}.downsample.0", CONVOLUTION),
        f"{_BLOCK}/shortcut_norm": (f"{_PUBLISHED_BLOCK}.downsample.1", BATCH_NORM),
        "class_head": ("fc", DENSE),
    }
    for number in (1, 2, 3):
        table[f"{_BLOCK}/conv{number}"] = (f"{_PUBLISHED_BLOCK}.conv{number}", CONVOLUTION)
        table[f"{_BLOCK}/norm{number}"] = (f"{_PUBLISHED_BLOCK}.bn{number}", BATCH_NORM)
    return table


TABLES = {"authors": _table()}
