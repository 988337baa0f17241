"""ResNets as PyTorch's libraries build them, with stochastic depth, as `keras_deit:resnet50`.

keras.applications and KerasCV have ResNet-50 with its strides in the first convolution of a block,
3.86 GMACs instead of 4.09, and without stochastic depth.
"""

import keras

from keras_deit.core.errors import unknown_name
from keras_deit.layers import StochasticDepth
from keras_deit.layers.initializers import dense_initializers
from keras_deit.teachers.contract import TeacherContract, pixel_format

PREFIX = "keras_deit:"

# By name: the blocks of the four stages, and whether they are bottlenecks (He et al. 2016, table
# 1).
_RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


def resnet_names() -> list[str]:
    """Returns the names of all ResNets, as `keras_deit:NAME`."""
    return [PREFIX + name for name in _RESNETS]


def is_resnet(name: str) -> bool:
    """Returns whether a teacher's name is meant to be one of `resnet_names()`."""
    return name.lower().startswith(PREFIX)


def build_resnet(
    name: str, num_classes: int, height: int, width: int, drop_path_rate: float = 0.0
) -> tuple[keras.Model, TeacherContract]:
    """Builds a ResNet that returns logits, without trained weights.

    The strides of a bottleneck are in its 3×3 convolution; convolutions pad both sides alike and
    have no bias, and the last scale of a residual branch starts at 0, as in timm.

    Args:
        name: one of `resnet_names()`, in any case.
        num_classes: number of logits.
        height, width: size of the images in pixels.
        drop_path_rate: rate of stochastic depth of the last block; that of the first is 0, and it
            grows linearly between.

    Returns:
        The model, and the contract of its images, normalized as ImageNet's, and outputs.

    Raises:
        InputError: the name is unknown, or the rate is out of range.
    """
    key = name.lower().removeprefix(PREFIX)
    if key not in _RESNETS:
        raise unknown_name("teacher", name, resnet_names())
    depths, bottleneck = _RESNETS[key]
    images = keras.Input((height, width, 3), name="image")
    x = _conv(images, 64, 7, 2, "stem")
    x = keras.layers.Activation("relu", name="stem_relu")(x)
    x = keras.layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool")(x)
    step = drop_path_rate / (sum(depths) - 1)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            index = sum(depths[:stage]) + block
            strides = 2 if stage and not block else 1
            values = (64 * 2**stage, strides, bottleneck, step * index)
            x = _block(x, *values, f"stage{stage + 1}_block{block + 1}")
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    initializers = dense_initializers("torch", x.shape[-1], may_skip=False)
    logits = keras.layers.Dense(num_classes, name="predictions", **initializers)(x)
    contract = TeacherContract(pixel_format("imagenet", height, width), "logits", num_classes)
    return keras.Model(images, logits, name=key), contract


def _block(x, width: int, strides: int, bottleneck: bool, rate: float, name: str):
    filters = 4 * width if bottleneck else width
    # The width, side and strides of each convolution of the branch.
    branch = [(width, 3, strides), (width, 3, 1)]
    if bottleneck:
        branch = [(width, 1, 1), (width, 3, strides), (filters, 1, 1)]
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _conv(x, filters, 1, strides, f"{name}_shortcut")
    for index, (outputs, side, step) in enumerate(branch, start=1):
        last = index == len(branch)
        x = _conv(x, outputs, side, step, f"{name}_{index}", gamma="zeros" if last else "ones")
        if not last:
            x = keras.layers.Activation("relu", name=f"{name}_{index}_relu")(x)
    if rate:
        x = StochasticDepth(rate, name=f"{name}_drop_path")(x)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _conv(x, filters: int, side: int, strides: int, name: str, gamma: str = "ones"):
    """Returns a convolution and its batch normalization, with PyTorch's padding and momentum."""
    if side > 1:
        x = keras.layers.ZeroPadding2D(side // 2, name=f"{name}_pad")(x)
    kernel = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    conv = keras.layers.Conv2D(
        filters, side, strides, use_bias=False, kernel_initializer=kernel, name=f"{name}_conv"
    )
    norm = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_initializer=gamma, name=f"{name}_norm"
    )
    return norm(conv(x))
