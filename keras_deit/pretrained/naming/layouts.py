"""How a published file lays out the tensors of one layer."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transform:
    """From a tensor as PyTorch lays it out to a variable of ours, and back; both without a copy.

    Attributes:
        axes: the file's axes in our order; None keeps any tensor as it is.
        ones: how many leading axes of length 1 are then dropped.
    """

    axes: tuple[int, ...] | None = None
    ones: int = 0

    def from_file(self, tensor: np.ndarray) -> np.ndarray:
        """The variable's value as a view of the file's tensor."""
        if self.axes is None:
            return tensor
        permuted = tensor.transpose(self.axes)
        return permuted.reshape(permuted.shape[self.ones :])

    def to_file(self, value: np.ndarray) -> np.ndarray:
        """The file's tensor as a view of the variable's value."""
        if self.axes is None:
            return value
        widened = value.reshape((1,) * self.ones + value.shape)
        return widened.transpose(np.argsort(self.axes))

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the tensor that a variable of this shape is in the file."""
        return self.to_file(np.broadcast_to(np.float32(0), shape)).shape


COPY = Transform()
_TRANSPOSE = Transform((1, 0))
_KERNEL = Transform((2, 3, 1, 0))
_DEPTHWISE_KERNEL = Transform((2, 3, 0, 1))
_POINTWISE_KERNEL = Transform((2, 3, 1, 0), ones=2)
_WIDE = Transform((0, 1, 2), ones=2)

# By the name of a variable in its layer: what its tensor's name ends in, and its transform.
Layout = dict[str, tuple[str, Transform]]

BARE: Layout = {name: ("", COPY) for name in ("token", "positions", "gamma")}
GAMMA: Layout = {"gamma": (".gamma", COPY)}
DENSE: Layout = {"kernel": (".weight", _TRANSPOSE), "bias": (".bias", COPY)}
CONVOLUTION: Layout = {"kernel": (".weight", _KERNEL), "bias": (".bias", COPY)}
DEPTHWISE: Layout = {"kernel": (".weight", _DEPTHWISE_KERNEL), "bias": (".bias", COPY)}
# A dense layer of ours that is a 1×1 convolution there.
POINTWISE: Layout = {"kernel": (".weight", _POINTWISE_KERNEL), "bias": (".bias", COPY)}
# One row a class, each a layer of its own there.
ROWS: Layout = {"kernel": (".weight", COPY), "bias": (".bias", COPY)}
NORM: Layout = {"gamma": (".weight", COPY), "beta": (".bias", COPY)}
BATCH_NORM: Layout = {
    **NORM,
    "moving_mean": (".running_mean", COPY),
    "moving_variance": (".running_var", COPY),
}
AFFINE: Layout = {"alpha": (".alpha", COPY), "beta": (".beta", COPY)}
WIDE_AFFINE: Layout = {"alpha": (".alpha", _WIDE), "beta": (".beta", _WIDE)}

# By the path of one of our layers, with {i} for the number of its block: the module of the same
# tensors in the file, or the modules whose tensors, laid one behind the other along their first
# axis, are its tensors. {k} stands for every class in turn.
Table = dict[str, tuple[str | tuple[str, ...], Layout]]
