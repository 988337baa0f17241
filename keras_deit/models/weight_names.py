"""The names and layouts that a model's weights have in published files."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.layers.settings import LoRA, lora_parts, quantized_layers

if TYPE_CHECKING:
    from keras_deit.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Transform:
    """From a tensor as a file lays it out to a variable of Keras, and back; without copying.

    Attributes:
        axes: the file's axes in Keras's order; None keeps the tensor as it is.
        squeeze: how many leading axes of length 1 are then removed.
        joined: the axis of the file along which several tensors are concatenated.
        corner_aligned: whether positions of such files are resized bilinearly with aligned corners,
            as their authors do, and not by the rule of the layer.
    """

    axes: tuple[int, ...] | None = None
    squeeze: int = 0
    joined: int = 0
    corner_aligned: bool = False

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

    def own_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Returns the variable's shape for a file's tensor of this shape; None if impossible."""
        if self.axes is None:
            return shape
        if len(shape) != len(self.axes):
            return None
        permuted = tuple(shape[axis] for axis in self.axes)
        removed = permuted[: self.squeeze]
        return permuted[self.squeeze :] if all(side == 1 for side in removed) else None

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape in the file of a variable of this shape."""
        return self.to_file(np.broadcast_to(np.float32(0), shape)).shape


@dataclasses.dataclass(frozen=True)
class HeadsApart(Transform):
    """From a tensor with an axis for the heads of an attention, as in Flax.

    Attributes:
        head_dim: width of one head.
        axis: the axis of the variable that is two axes in the file: heads and the width of one.
    """

    head_dim: int = 1
    axis: int = 0

    def from_file(self, tensor: np.ndarray) -> np.ndarray:
        shape = tensor.shape
        heads = (shape[self.axis] * shape[self.axis + 1],)
        return tensor.reshape(shape[: self.axis] + heads + shape[self.axis + 2 :])

    def to_file(self, value: np.ndarray) -> np.ndarray:
        before, after = value.shape[: self.axis], value.shape[self.axis + 1 :]
        return value.reshape((*before, -1, self.head_dim, *after))

    def own_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if len(shape) < self.axis + 2 or shape[self.axis + 1] != self.head_dim:
            return None
        return self.from_file(np.broadcast_to(np.float32(0), shape)).shape


@dataclasses.dataclass(frozen=True)
class PairedFilters(Transform):
    """From the kernel of a grouped convolution (2·channels, 1, height, width), with two filters for
    each channel that follow each other, to a depthwise one (height, width, channels, 2), and back.
    """

    def from_file(self, tensor: np.ndarray) -> np.ndarray:
        outputs, _, height, width = tensor.shape
        return tensor.reshape(outputs // 2, 2, height, width).transpose(2, 3, 0, 1)

    def to_file(self, value: np.ndarray) -> np.ndarray:
        height, width, channels, _ = value.shape
        return value.transpose(2, 3, 0, 1).reshape(2 * channels, 1, height, width)

    def own_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if len(shape) != 4 or shape[0] % 2 or shape[1] != 1:
            return None
        return (*shape[2:], shape[0] // 2, 2)


COPY = Transform()
_TRANSPOSE = Transform((1, 0))
_KERNEL = Transform((2, 3, 1, 0))
_DEPTHWISE_KERNEL = Transform((2, 3, 0, 1))
_POINTWISE_KERNEL = Transform((2, 3, 1, 0), squeeze=2)
_WIDE = Transform((0, 1, 2), squeeze=2)

# By the name of a variable in its layer: the end of its tensor's name, and its transform. Those
# below are PyTorch's, and Flax's after them.
Layout = dict[str, tuple[str, Transform]]

BARE: Layout = {name: ("", COPY) for name in ("token", "positions", "gamma")}
GAMMA: Layout = {"gamma": (".gamma", COPY)}
DENSE: Layout = {"kernel": (".weight", _TRANSPOSE), "bias": (".bias", COPY)}
CONVOLUTION: Layout = {"kernel": (".weight", _KERNEL), "bias": (".bias", COPY)}
DEPTHWISE: Layout = {"kernel": (".weight", _DEPTHWISE_KERNEL), "bias": (".bias", COPY)}
PAIRED_DEPTHWISE: Layout = {"kernel": (".weight", PairedFilters()), "bias": (".bias", COPY)}
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
# The learned temperatures of LSA.
SCALE: Layout = {"scale": (".scale", COPY)}
AFFINE: Layout = {"alpha": (".alpha", COPY), "beta": (".beta", COPY)}
WIDE_AFFINE: Layout = {"alpha": (".alpha", _WIDE), "beta": (".beta", _WIDE)}

# Dense layers and convolutions have the same layout in Flax as in Keras.
FLAX_KERNEL: Layout = {"kernel": ("/kernel", COPY), "bias": ("/bias", COPY)}
FLAX_NORM: Layout = {"gamma": ("/scale", COPY), "beta": ("/bias", COPY)}
_WIDE_GRID = Transform((0, 1, 2, 3), squeeze=3)
# A group normalization of Flax before 0.3.6.
FLAX_WIDE_NORM: Layout = {"gamma": ("/scale", _WIDE_GRID), "beta": ("/bias", _WIDE_GRID)}
FLAX_POSITIONS: Layout = {"positions": ("", Transform(corner_aligned=True))}


def flax_queries_keys_values(head_dim: int) -> Layout:
    """Returns the layout of the tensors that a fused projection consists of: kernels (width, heads,
    head_dim) and biases (heads, head_dim)."""
    return {
        "kernel": ("/kernel", HeadsApart(joined=1, head_dim=head_dim, axis=1)),
        "bias": ("/bias", HeadsApart(head_dim=head_dim)),
    }


def flax_projection(head_dim: int) -> Layout:
    """Returns the layout of the projection after an attention: a kernel (heads, head_dim, width)
    and a bias (width,)."""
    return {"kernel": ("/kernel", HeadsApart(head_dim=head_dim)), "bias": ("/bias", COPY)}


# By the path of a layer, with placeholders such as {i}, or {stage} and {block}, for its numbers:
# the module that holds the same tensors in the file, or several modules whose tensors are
# concatenated. {i+1} in the name of a module is the next number, where a file counts from 1, and
# {k} stands for every class.
Table = dict[str, tuple[str | tuple[str, ...], Layout]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A variable and the tensors of a file that it consists of.

    Attributes:
        variable: variable of the model.
        names: names of the tensors: one, or several that are concatenated.
        transform: function from the concatenated tensors to the variable.
        shape: shape of the variable, in a model with as many classes as the file.
        lora: what LoRA adds to the variable, which is a part of the tensors.
    """

    variable: keras.Variable
    names: tuple[str, ...]
    transform: Transform
    shape: tuple[int, ...]
    lora: LoRA | None = None

    @property
    def path(self) -> str:
        return self.variable.path

    @property
    def has_other_class_count(self) -> bool:
        return self.shape != tuple(self.variable.shape)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of each of the tensors."""
        shape = list(self.transform.file_shape(self.shape))
        if len(self.names) > 1:
            shape[self.transform.joined] //= len(self.names)
        return tuple(shape)

    def value(self, tensors: list[np.ndarray]) -> np.ndarray:
        """Returns the variable's value; a view if there is one tensor."""
        joined = self.transform.joined
        whole = tensors[0] if len(tensors) == 1 else np.concatenate(tensors, axis=joined)
        value = self.transform.from_file(whole)
        return value if self.lora is None else value - self.lora.added()

    def tensors(self) -> list[np.ndarray]:
        """Returns the variable's value as the file's tensors, in float32."""
        value = keras.ops.convert_to_numpy(self.variable.value).astype("float32", copy=False)
        return self.split(value if self.lora is None else value + self.lora.added())

    def split(self, value: np.ndarray) -> list[np.ndarray]:
        """Returns an array of the variable's shape as the file's tensors."""
        tensor = self.transform.to_file(value)
        if len(self.names) == 1:  # It may be a scalar.
            return [tensor]
        return np.split(tensor, len(self.names), self.transform.joined)


def model_entries(model: "Classifier", table: Table, num_classes: int | None = None) -> list[Entry]:
    """Returns one entry for each weight of a model.

    A weight that `table` does not name goes by its own path.

    Args:
        model: whose weights to name.
        table: the names.
        num_classes: number of classes of the file; by default the model's.

    Raises:
        InputError: two weights have the same name, a path has a placeholder twice, or layers are
            quantized.
    """
    check_not_quantized(model)
    num_classes = num_classes or model.num_classes
    class_axes = {id(variable): axis for variable, axis in model.class_axes()}
    patterns = _patterns(table)
    parts = {id(part.variable): part for part in lora_parts(model)}
    factors = {id(factor) for part in parts.values() for factor in (part.first, part.second)}
    entries, owners = [], {}
    for variable in model.weights:
        if id(variable) in factors:
            continue
        names, transform = _names(variable.path, patterns)
        if "{k}" in names[0]:
            names = tuple(names[0].replace("{k}", str(k)) for k in range(num_classes))
        for name in names:
            if owners.setdefault(name, variable) is not variable:
                raise InputError(
                    f"{variable.path} and {owners[name].path} of {model.name} have the same name "
                    f"in files, {name}. Give layers and placeholders different names."
                )
        shape = list(variable.shape)
        if id(variable) in class_axes:
            shape[class_axes[id(variable)]] = num_classes
        entries.append(Entry(variable, names, transform, tuple(shape), parts.get(id(variable))))
    return entries


def check_not_quantized(model: keras.Model) -> None:
    """Checks that a model can be written to, and read from, a file that holds weights alone.

    Raises:
        InputError: layers are quantized.
    """
    if quantized := quantized_layers(model):
        raise InputError(
            f"{model.name} is quantized ({quantized[0].quantization_mode} in {len(quantized)} "
            "layers) and files of weights hold float32: load and save them before quantizing, and "
            "keep a quantized model in a .keras file."
        )


def count_classes(
    model: "Classifier", shapes: Mapping[str, tuple[int, ...]], table: Table
) -> int | None:
    """Returns how many classes a file has; None if neither head nor tokens say it.

    Args:
        model: any model of the family.
        shapes: shapes of the file's tensors by name.
        table: the file's names.
    """
    heads = model.head_layers.values()
    head = {id(variable) for layer in heads for variable in layer.variables}
    # Of a body without a head, the tokens of the classes may tell.
    axes = sorted(model.class_axes(), key=lambda pair: (id(pair[0]) not in head, pair[0].ndim))
    for variable, axis in axes:
        (name, *_), transform = _names(variable.path, _patterns(table))
        if "{k}" in name:
            pattern = re.compile(re.escape(name).replace(r"\{k\}", r"\d+"))
            count = sum(map(bool, map(pattern.fullmatch, shapes)))
        else:
            shape = name in shapes and transform.own_shape(shapes[name])
            count = shape[axis] if shape and len(shape) == len(variable.shape) else 0
        if count:
            return count
    return None


def tensor_names(table: Table) -> set[str]:
    """Returns the names of all tensors in a table, with placeholders for numbers."""
    return {
        module + suffix
        for modules, layout in table.values()
        for module in ((modules,) if isinstance(modules, str) else modules)
        for suffix, _ in layout.values()
    }


def count_known(tables: Mapping[str, Table], names: Iterable[str]) -> int:
    """Returns how many tensors have a name that one of the tables has, whatever their numbers."""
    known = {_without_numbers(name) for table in tables.values() for name in tensor_names(table)}
    return sum(_without_numbers(name) in known for name in names)


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+|\{\w+(\+1)?\}", "#", name)


def _patterns(table: Table) -> list:
    return [(_pattern(path), *value) for path, value in table.items()]


def _pattern(path: str) -> re.Pattern:
    names = re.findall(r"\{(\w+)\}", path)
    if len(set(names)) < len(names):
        raise InputError(f"The placeholders in {path} should have different names.")
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\d+)", re.escape(path)))


def _names(path: str, patterns: list) -> tuple[tuple[str, ...], Transform]:
    """Returns the names of a variable's tensors, with {k} for the class, and its transform."""
    layer, leaf = path.rsplit("/", 1)
    for pattern, modules, layout in patterns:
        match = pattern.fullmatch(layer)
        if match and leaf in layout:
            suffix, transform = layout[leaf]
            modules = (modules,) if isinstance(modules, str) else modules
            return tuple(_filled(module, match) + suffix for module in modules), transform
    return (path,), COPY


def _filled(module: str, match: re.Match) -> str:
    for name, number in match.groupdict().items():
        module = module.replace(f"{{{name}}}", number)
        module = module.replace(f"{{{name}+1}}", str(int(number) + 1))
    return module
