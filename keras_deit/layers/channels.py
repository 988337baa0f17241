"""Channels that a layer keeps of its input, and the gates that say which.

"Vision Transformer Pruning" (Zhu et al., 2021): each input of a block's dense layers is multiplied
by learned gates, x̂ = x·diag(a), and the channels with the smallest |a| are removed.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers.activations import NOTHING, ActivationCosts, SavedActivations


@keras.saving.register_keras_serializable(package="keras_deit")
class Channels(keras.layers.Layer):
    """Some channels of the input, or all of them, each of them multiplied by its gate.

    Args:
        kept: indices of the channels, ascending; None for all channels in their order.
        gates: whether each channel has a gate, a learned factor that starts at 1 and has no weight
            decay.

    Input: (..., width). Output: (..., number of kept channels).

    Raises:
        InputError: an index is none of the input, or they do not ascend.
    """

    def __init__(self, kept: Sequence[int] | None = None, gates: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.kept = None if kept is None else tuple(kept)
        self.gates = gates

    def build(self, input_shape):
        width = input_shape[-1]
        if self.kept is not None:
            check_kept(self.kept, width)
            width = len(self.kept)
        if self.gates:
            self.gate = self.add_weight(shape=(width,), initializer="ones", name="gate")

    def call(self, inputs):
        if self.kept is not None:
            inputs = ops.take(inputs, self.kept, axis=-1)
        return inputs * self.gate if self.gates else inputs

    def macs(self, input_shape) -> int:
        """Returns 0: nothing is summed up."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the kept channels, and the input of the gates."""
        width = self.compute_output_shape(input_shape)[-1]
        copies = (self.kept is not None) + self.gates
        return SavedActivations(copies * math.prod(input_shape[1:-1]) * width)

    def compute_output_shape(self, input_shape):
        kept = self.kept
        return (*input_shape[:-1], input_shape[-1] if kept is None else len(kept))

    def get_config(self):
        return {**super().get_config(), "kept": self.kept, "gates": self.gates}

    def gate_variables(self) -> list[keras.Variable]:
        """Returns the gates: none, or one variable with a factor for each kept channel."""
        return [self.gate] if self.gates else []


class Gated(NamedTuple):
    """Gated channels of a layer.

    Attributes:
        channels: the layer that has their gates.
        heads: the head of each of them; None if they are of no heads.
    """

    channels: Channels
    heads: tuple[int, ...] | None = None

    def groups(self, equal_heads: bool) -> list[int]:
        """Returns the group of each gate, of which one of each other group is kept with it.

        Args:
            equal_heads: whether all heads keep equally many.
        """
        return list(self.heads) if equal_heads and self.heads else [0] * self.count

    @property
    def count(self) -> int:
        """The number of gates."""
        return self.channels.gate.shape[0]


class GatedBranches:
    """What blocks have in common whose attentions and MLPs can have gates, and keep less.

    A block has `branch_layers`, with the attention or the MLP behind the norm of each branch, and
    the attribute `kept`: what is left of the channels by name, "attention_input",
    "attention_output", "mlp_input" and "mlp_hidden", with a suffix for parallel branches.
    """

    def gated_channels(self) -> dict[str, Gated]:
        """Returns the channels that have gates, by the names in `kept`."""
        return {
            _name(layer, what): gated
            for layer in self._gated_layers()
            for what, gated in layer.gated_channels().items()
        }

    def copy_into(self, narrow: "GatedBranches", rows: dict[str, Sequence[int]]) -> None:
        """Gives the weights of attentions and MLPs, times their gates, to a block that keeps less.

        Args:
            narrow: the block.
            rows: which of the gated channels it keeps, by the names of `gated_channels`.
        """
        pairs = zip(self._gated_layers(), narrow._gated_layers(), strict=True)
        for layer, target in pairs:
            own = {what: rows[_name(layer, what)] for what in layer.gated_channels()}
            layer.copy_into(target, own)

    def check_kept(self) -> None:
        """Checks `kept`, when the branches are built.

        Raises:
            InputError: there is no such name, or an MLP keeps nothing.
        """
        known = self.gated_channels()
        for name in self.kept or ():
            if name not in known:
                raise unknown_name("channels to keep", name, known)
            if name.startswith("mlp_hidden") and not self.kept[name] > 0:
                raise InputError(f"{name} should be above 0. Received: {self.kept[name]}")

    def _gated_layers(self):
        return [layer for _, layer, *_ in self.branch_layers()]

    def _kept(self, name: str, suffix: str = ""):
        return (self.kept or {}).get(name + suffix)


def _name(layer: keras.layers.Layer, what: str) -> str:
    kind, *suffix = layer.name.split("_")
    return "_".join([kind, what, *suffix])


def picked(kept: Sequence[int] | None, shape, gates: bool, dtype, name: str) -> Channels | None:
    """Returns a built layer that picks channels, or None if that would do nothing."""
    if kept is None and not gates:
        return None
    layer = Channels(kept, gates, dtype=dtype, name=name)
    layer.build(shape)
    return layer


def through(layer: Channels | None, inputs):
    """Returns the output of a layer; the input if there is none."""
    return inputs if layer is None else layer(inputs)


def shape_through(layer: Channels | None, input_shape):
    """Returns the shape of that."""
    return input_shape if layer is None else layer.compute_output_shape(input_shape)


def saved_through(layer: Channels | None, input_shape, costs: ActivationCosts) -> SavedActivations:
    """Returns what that saves of one image."""
    return NOTHING if layer is None else layer.saved_activations(input_shape, costs)


def gated_kernel(dense: keras.layers.Dense, layer: Channels | None):
    """Returns the kernel of a dense layer, with the gates of the channels that it reads."""
    if layer is None or not layer.gates:
        return dense.kernel.value
    return dense.kernel * layer.gate[:, None]


def copy_narrow(
    dense: keras.layers.Dense,
    target: keras.layers.Dense,
    layer: Channels | None,
    rows: Sequence[int],
    columns: Sequence[int] | None = None,
) -> None:
    """Gives a dense layer some rows and columns of another one, times the gates of the rows.

    Args:
        dense: whose weights to copy.
        target: the narrower layer.
        layer: the channels that `dense` reads, with their gates.
        rows: positions of its inputs.
        columns: positions of its outputs; None for all.
    """
    kernel = np.take(ops.convert_to_numpy(gated_kernel(dense, layer)), rows, axis=0)
    target.kernel.assign(kernel if columns is None else kernel[:, columns])
    if dense.use_bias:
        bias = ops.convert_to_numpy(dense.bias.value)
        target.bias.assign(bias if columns is None else bias[columns])


def check_kept(kept: Sequence[int], width: int) -> None:
    """Checks the indices of channels that are kept of a width.

    Raises:
        InputError: there are none, one is out of range, or they do not ascend.
    """
    ascends = all(first < second for first, second in itertools.pairwise(kept))
    if not kept or not ascends or kept[0] < 0 or kept[-1] >= width:
        raise InputError(
            f"Channels to keep of {width} should be ascending indices below {width}. Received: "
            f"{list(kept[:5])}{', ...' if len(kept) > 5 else ''}"
        )


class Heads:
    """The values of an attention, some of whose outputs are kept.

    All heads keep one width, that of the head of which most is kept; a narrower one has columns
    that nothing reads.

    Args:
        kept: indices of the kept outputs, (head, dimension within the head) flattened; None for
            all.
        num_heads, head_dim: of the attention.

    Attributes:
        columns: the indices of what the values are computed of.
        read: the places in `columns` of the kept outputs; None if they are all of them.
        width: width of the values of a head.

    Raises:
        InputError: an index is no output.
    """

    def __init__(self, kept: Sequence[int] | None, num_heads: int, head_dim: int):
        self.columns: tuple[int, ...] = tuple(range(num_heads * head_dim))
        self.read: tuple[int, ...] | None = None
        self.width = head_dim
        self._head_dim = head_dim
        if kept is None:
            return
        check_kept(kept, len(self.columns))
        by_head = np.bincount([index // head_dim for index in kept], minlength=num_heads)
        self.width = int(by_head.max())
        columns = []
        for head in range(num_heads):
            own = range(head * head_dim, (head + 1) * head_dim)
            unread = [index for index in own if index not in {*kept}]
            filled = unread[: self.width - by_head[head]]
            columns += sorted({*own} - {*unread} | {*filled})
        self.columns = tuple(columns)
        if len(kept) < len(columns):
            self.read = tuple(map(columns.index, kept))

    @property
    def of_outputs(self) -> tuple[int, ...]:
        """The head of each kept output."""
        read = range(len(self.columns)) if self.read is None else self.read
        return tuple(self.columns[place] // self._head_dim for place in read)

    def places_of(self, other: "Heads") -> list[int]:
        """Returns the places of the columns of another one here; any place if it is missing,
        because then nothing reads it."""
        places = {column: place for place, column in enumerate(self.columns)}
        return [places.get(column, 0) for column in other.columns]
