"""The names and layouts that a model's weights have in published files."""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

if TYPE_CHECKING:
    from keras_deit.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Transform:
    """From a tensor as PyTorch lays it out to a variable of Keras, and back; without copying.

    Attributes:
        axes: the file's axes in Keras's order; None keeps the tensor as it is.
        squeeze: how many leading axes of length 1 are then removed.
    """

    axes: tuple[int, ...] | None = None
    squeeze: int = 0

    def from_file(self, tensor: np.ndarray) -> np.ndarray:
        """Returns the variable's value as a view of the file's tensor."""
        if self.axes is None:
            return tensor
        permuted = tensor.transpose(self.axes)
        return permuted.reshape(permuted.shape[self.squeeze :])

    def to_file(self, value: np.ndarray) -> np.ndarray:
        """Returns the file's tensor as a view of the variable's value."""
        if self.axes is None:
            return value
        widened = value.reshape((1,) * self.squeeze + value.shape)
        return widened.transpose(np.argsort(self.axes))

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape in the file of a variable of this shape."""
        return self.to_file(np.broadcast_to(np.float32(0), shape)).shape


COPY = Transform()
_TRANSPOSE = Transform((1, 0))
_KERNEL = Transform((2, 3, 1, 0))
_DEPTHWISE_KERNEL = Transform((2, 3, 0, 1))
_POINTWISE_KERNEL = Transform((2, 3, 1, 0), squeeze=2)
_WIDE = Transform((0, 1, 2), squeeze=2)

# By the name of a variable in its layer: the end of its tensor's name, and its transform.
Layout = dict[str, tuple[str, Transform]]

BARE: Layout = {name: ("", COPY) for name in ("token", "positions", "gamma")}
GAMMA: Layout = {"gamma": (".gamma", COPY)}
DENSE: Layout = {"kernel": (".weight", _TRANSPOSE), "bias": (".bias", COPY)}
CONVOLUTION: Layout = {"kernel": (".weight", _KERNEL), "bias": (".bias", COPY)}
DEPTHWISE: Layout = {"kernel": (".weight", _DEPTHWISE_KERNEL), "bias": (".bias", COPY)}
# A dense layer here that is a 1×1 convolution in the file.
POINTWISE: Layout = {"kernel": (".weight", _POINTWISE_KERNEL), "bias": (".bias", COPY)}
# One row for each class, each of them a layer in the file.
ROWS: Layout = {"kernel": (".weight", COPY), "bias": (".bias", COPY)}
NORM: Layout = {"gamma": (".weight", COPY), "beta": (".bias", COPY)}
BATCH_NORM: Layout = {
    **NORM,
    "moving_mean": (".running_mean", COPY),
    "moving_variance": (".running_var", COPY),
}
AFFINE: Layout = {"alpha": (".alpha", COPY), "beta": (".beta", COPY)}
WIDE_AFFINE: Layout = {"alpha": (".alpha", _WIDE), "beta": (".beta", _WIDE)}

# By the path of a layer, with {i} for a number in it: the module that holds the same tensors in the
# file, or several modules whose tensors are concatenated along their first axis. {k} in the name
# of a module stands for every class.
Table = dict[str, tuple[str | tuple[str, ...], Layout]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A variable and the tensors of a file that it consists of.

    Attributes:
        variable: of the model.
        names: of the tensors: one, or several that are concatenated along their first axis.
        transform: from the concatenated tensors to the variable.
        shape: of the variable, in a model with as many classes as the file.
    """

    variable: keras.Variable
    names: tuple[str, ...]
    transform: Transform
    shape: tuple[int, ...]

    @property
    def path(self) -> str:
        return self.variable.path

    @property
    def has_other_class_count(self) -> bool:
        return self.shape != tuple(self.variable.shape)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of each of the tensors."""
        first, *rest = self.transform.file_shape(self.shape) or (1,)
        return (first // len(self.names), *rest)

    def value(self, tensors: list[np.ndarray]) -> np.ndarray:
        """Returns the variable's value; a view if there is one tensor."""
        whole = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
        return self.transform.from_file(whole)

    def tensors(self) -> list[np.ndarray]:
        """Returns the variable's value as the file's tensors, in float32."""
        value = keras.ops.convert_to_numpy(self.variable.value).astype("float32", copy=False)
        return np.split(self.transform.to_file(value), len(self.names))


def model_entries(model: "Classifier", table: Table, num_classes: int | None = None) -> list[Entry]:
    """Returns one entry for each weight of a model.

    A weight that `table` does not name goes by its own path.

    Args:
        model: whose weights to name.
        table: the names.
        num_classes: of the file; by default the model's.
    """
    num_classes = num_classes or model.num_classes
    class_axes = {id(variable): axis for variable, axis in model.class_axes()}
    patterns = [(_pattern(path), *value) for path, value in table.items()]
    entries = []
    for variable in model.weights:
        names, transform = _names(variable.path, patterns, num_classes)
        shape = list(variable.shape)
        if id(variable) in class_axes:
            shape[class_axes[id(variable)]] = num_classes
        entries.append(Entry(variable, names, transform, tuple(shape)))
    return entries


def count_classes(
    model: "Classifier", shapes: Mapping[str, tuple[int, ...]], table: Table
) -> int | None:
    """Returns how many classes the head in a file has; None if no head is found.

    Args:
        model: any model of the family.
        shapes: of the file's tensors by name.
        table: the file's names.
    """
    layer = model.head_layers["class"]
    module, layout = table.get(layer.path, (layer.path, {}))
    if layout is ROWS:
        pattern = re.compile(re.escape(module + ".bias").replace(r"\{k\}", r"\d+"))
        return sum(map(bool, map(pattern.fullmatch, shapes))) or None
    suffix, _ = layout.get("bias", ("/bias", COPY))
    shape = shapes.get(module + suffix)
    return shape[0] if shape else None


def tensor_names(table: Table) -> set[str]:
    """Returns the names of all tensors in a table, with placeholders for numbers."""
    return {
        module + suffix
        for modules, layout in table.values()
        for module in ((modules,) if isinstance(modules, str) else modules)
        for suffix, _ in layout.values()
    }


def _pattern(path: str) -> re.Pattern:
    return re.compile(re.escape(path).replace(r"\{i\}", r"(\d+)"))


def _names(path: str, patterns: list, num_classes: int) -> tuple[tuple[str, ...], Transform]:
    layer, leaf = path.rsplit("/", 1)
    for pattern, modules, layout in patterns:
        match = pattern.fullmatch(layer)
        if match and leaf in layout:
            suffix, transform = layout[leaf]
            number = match[1] if match.groups() else ""
            if layout is ROWS:
                modules = tuple(modules.replace("{k}", str(k)) for k in range(num_classes))
            elif isinstance(modules, str):
                modules = (modules,)
            return tuple(module.replace("{i}", number) + suffix for module in modules), transform
    return (path,), COPY
