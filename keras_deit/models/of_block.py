"""What a block computes besides its output, as a layer of a model."""

import keras
from keras import ops

from keras_deit.layers import Block


class OfBlock(keras.layers.Layer):
    """Calls a method of a block that takes the input of the block."""

    def __init__(self, block: Block, method: str):
        super().__init__(dtype="float32", name=f"{block.name}_{method}")
        self.block = block
        self._method = method

    def call(self, tokens):
        return getattr(self.block, self._method)(ops.cast(tokens, self.block.compute_dtype))


def norm(tensor):
    """Returns the L2 norm of each row of a batch, over all of its axes."""
    squares = ops.square(ops.cast(tensor, "float32"))
    return ops.sqrt(ops.sum(squares, axis=tuple(range(1, len(tensor.shape)))))
