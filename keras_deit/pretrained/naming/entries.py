"""The variables of a model beside the tensors of a file."""

import dataclasses
import re
from collections.abc import Mapping

import keras
import numpy as np

from keras_deit.models import Classifier
from keras_deit.pretrained.naming.layouts import COPY, ROWS, Table, Transform

_NUMBERED = re.compile(r"^(class_block|block)_(\d+)/")
_HEADS = ("class_head", "distillation_head")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A variable and the tensors of a file that it is made of.

    Attributes:
        variable: of the model.
        names: of the tensors: one, or several that lie one behind the other along their first
            axis.
        transform: from the tensors, so laid, to the variable.
        shape: of the variable, in a model of as many classes as the file has.
    """

    variable: keras.Variable
    names: tuple[str, ...]
    transform: Transform
    shape: tuple[int, ...]

    @property
    def path(self) -> str:
        return self.variable.path

    @property
    def of_another_class_count(self) -> bool:
        return self.shape != tuple(self.variable.shape)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Of each of the tensors."""
        first, *rest = self.transform.file_shape(self.shape) or (1,)
        return (first // len(self.names), *rest)

    def value(self, tensors: list[np.ndarray]) -> np.ndarray:
        """The variable's value, a view where it is one tensor."""
        whole = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
        return self.transform.from_file(whole)

    def tensors(self) -> list[np.ndarray]:
        """The variable's value as the file's tensors, in float32."""
        value = keras.ops.convert_to_numpy(self.variable.value).astype("float32", copy=False)
        return np.split(self.transform.to_file(value), len(self.names))


def model_entries(model: Classifier, table: Table, num_classes: int | None = None) -> list[Entry]:
    """One entry for each weight of a model.

    A weight that `table` does not name goes by its own path: no published file has it.

    Args:
        num_classes: of the file; by default the model's.
    """
    num_classes = num_classes or model.num_classes
    axes = _class_axes(table)
    entries = []
    for variable in model.weights:
        names, transform = _names(variable.path, table, num_classes)
        shape = list(variable.shape)
        if variable.path in axes:
            shape[axes[variable.path]] = num_classes
        entries.append(Entry(variable, names, transform, tuple(shape)))
    return entries


def count_classes(shapes: Mapping[str, tuple[int, ...]], table: Table) -> int | None:
    """How many classes the head in a file has; None where no head is found.

    Args:
        shapes: by name of the tensor.
        table: the file's naming.
    """
    module, layout = table["class_head"]
    if layout is ROWS:
        pattern = re.compile(re.escape(module + ".bias").replace(r"\{k\}", r"\d+"))
        return sum(map(bool, map(pattern.fullmatch, shapes))) or None
    shape = shapes.get(module + ".bias")
    return shape[0] if shape else None


def _names(path: str, table: Table, num_classes: int) -> tuple[tuple[str, ...], Transform]:
    numbers = _NUMBERED.match(path)
    number = numbers[2] if numbers else ""
    layer, leaf = _NUMBERED.sub(r"\1_{i}/", path).rsplit("/", 1)
    if layer not in table or leaf not in table[layer][1]:
        return (path,), COPY
    modules, layout = table[layer]
    suffix, transform = layout[leaf]
    if layout is ROWS:
        modules = tuple(modules.replace("{k}", str(k)) for k in range(num_classes))
    elif isinstance(modules, str):
        modules = (modules,)
    return tuple(module.replace("{i}", number) + suffix for module in modules), transform


def _class_axes(table: Table) -> dict[str, int]:
    """By path, the axis of every weight that runs over the classes."""
    token_per_class = table["class_head"][1] is ROWS
    axes = {f"{head}/bias": 0 for head in _HEADS}
    axes |= {f"{head}/kernel": 0 if token_per_class else 1 for head in _HEADS}
    if token_per_class:
        axes["class_token/token"] = 1
    return axes
