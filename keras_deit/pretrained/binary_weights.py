"""Binary weights as bits: weights that a layer computes with as two values for each output.

A file has for each output of a layer the signs of its weights, 8 in a byte, and one float32: the
sum of their magnitudes, of which the layer takes the mean. What is read are weights with which the
layer computes what it did, not those that were trained: the layer rounds both to the same.
"""

from collections.abc import Callable

import numpy as np

from keras_deit.core.errors import InputError

# What is added to the name of a tensor for its signs and its sums.
BITS, SUMS = ".bits", ".sums"
# A mean times the number of values, rounded, can be so many of its last digits away from their sum.
_DIGITS = (0, 1, -1, 2, -2)


def pack(
    wanted: np.ndarray, computed: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the signs and the sums of binary weights.

    Args:
        wanted: what the layer computes with, float32 (outputs, weights of each).
        computed: from such rows of weights to those that the layer computes with.

    Returns:
        Signs, uint8 (outputs, bytes), and sums, float32 (outputs,); None if the layer would not
        compute exactly the same with what `unpack` makes of these, as of a weight of sign 0.
    """
    count = wanted.shape[1]
    signs = np.ascontiguousarray(np.packbits(wanted > 0, axis=1))
    sums = (np.abs(wanted[:, 0]).astype("float64") * count).astype("float32")
    left = np.ones(len(sums), bool)
    for digits in _DIGITS:
        tried = np.where(left, _moved(sums, digits), sums)
        right = (computed(unpack(signs, tried, count)) == wanted).all(1)
        sums = np.where(left & right, tried, sums)
        left &= ~right
        if not left.any():
            return signs, sums
    return None


def _moved(values: np.ndarray, digits: int) -> np.ndarray:
    for _ in range(abs(digits)):
        values = np.nextafter(values, np.float32(np.inf if digits > 0 else 0))
    return values


def unpack(signs: np.ndarray, sums: np.ndarray, count: int) -> np.ndarray:
    """Returns weights, float32 (outputs, count), from their signs and sums.

    The magnitudes in a row are not all the same but whole multiples of the last digit of their sum,
    which differ by 1 at most. So they add up to it without a rounding error, in any order.

    Args:
        signs: uint8 (outputs, bytes).
        sums: float32 (outputs,).
        count: number of weights of an output, below 2²³.
    """
    fraction, exponent = np.frexp(sums)
    whole = (fraction.astype("float64") * 2**24).astype("int64")[:, None]
    parts = whole // count + (np.arange(count) < whole % count)
    magnitudes = np.ldexp(parts.astype("float32"), exponent[:, None] - 24)
    positive = np.unpackbits(signs, axis=1, count=count).astype(bool)
    return np.where(positive, magnitudes, -magnitudes)


def rows_of(tensor: np.ndarray, axis: int) -> np.ndarray:
    """Returns a tensor as (outputs, weights of each).

    Args:
        tensor: of any shape.
        axis: that of the outputs.
    """
    return np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)


def tensor_of(rows: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Returns the tensor of `rows_of`."""
    others = (size for index, size in enumerate(shape) if index != axis)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[axis], *others), 0, axis))


def packed_shapes(held: dict[str, dict], shapes: dict, source: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors that a file has as bits, by name.

    Args:
        held: by the name of a tensor, its shape and the axis of its outputs, as the file says.
        shapes: of what is in the file.
        source: the name that the user gave.

    Raises:
        InputError: what the file says is not possible.
    """
    found = {}
    for name, values in held.items():
        shape, axis = values.get("shape"), values.get("axis")
        sizes = shape if isinstance(shape, list) else [0]
        valid = all(type(x) is int and 0 < x < 2**23 for x in sizes) and type(axis) is int
        valid = valid and 0 <= axis < len(sizes)
        count = np.prod(sizes, dtype=object) // sizes[axis] if valid else 0
        if not valid or (shapes.get(name + BITS), shapes.get(name + SUMS)) != (
            (sizes[axis], -(-count // 8)),
            (sizes[axis],),
        ):
            raise InputError(f"{source} is corrupt: it says that {name} is binary, of {values}.")
        found[name] = tuple(sizes)
    return found
