"""The pooling between the stages of PiT."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations, traced_activations
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import DenseKernel, dense_initializers
from keras_deit.layers.settings import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_deit")
class ConvPooling(CompositeLayer):
    """Makes a quarter as many patches of twice the width, as the authors of SPT and LSA wrote it
    ("Rethinking Spatial Dimensions of Vision Transformers", Heo et al., 2021, §3.2).

    A 3×3 depthwise convolution of stride 2, which makes two channels of each, then a 1×1
    convolution. The padding is one patch on every side; Keras's "same" pads an even grid on two
    sides only. The class token has a dense layer of its own. All start from Xavier's normal
    distribution, with biases of 0.

    Args:
        grid: rows and columns of the patches before it; a side that is odd is rounded up.

    Input: tokens (batch, 1 + rows·columns, width), class token first, then row by row.
    Output: tokens (batch, 1 + ⌈rows/2⌉·⌈columns/2⌉, 2·width).

    Raises:
        InputError: there is another number of tokens.
    """

    def __init__(self, grid: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.grid = tuple(grid)

    def build(self, input_shape):
        batch, length, width = input_shape
        rows, columns = self.grid
        if length != 1 + rows * columns:
            raise InputError(
                f"{self.name} takes a class token and {rows}×{columns} patches. Received: {length} "
                "tokens"
            )
        # Keras would count other inputs and outputs of a filter than PyTorch.
        deviation = math.sqrt(2 / (9 + 9 * 2 * width))
        self.depthwise = keras.layers.DepthwiseConv2D(
            kernel_size=3,
            strides=2,
            depth_multiplier=2,
            data_format="channels_last",
            depthwise_initializer=DenseKernel(stddev=deviation),
            dtype=self.dtype_policy,
            name="depthwise",
        )
        self.pointwise = self._dense(2 * width, 2 * width, "pointwise")
        self.class_projection = self._dense(width, 2 * width, "class_projection")
        self.depthwise.build((batch, rows + 2, columns + 2, width))
        self.pointwise.build((batch, *self.patch_grid(input_shape), 2 * width))
        self.class_projection.build((batch, 1, width))

    def _dense(self, inputs, outputs, name):
        initial = dense_initializers("xavier_normal", inputs)
        return Dense(outputs, **initial, dtype=self.dtype_policy, name=name)

    def call(self, tokens):
        patches = ops.reshape(tokens[:, 1:], (-1, *self.grid, tokens.shape[-1]))
        padded = ops.pad(patches, ((0, 0), (1, 1), (1, 1), (0, 0)))
        pooled = self.pointwise(self.depthwise(padded))
        _, rows, columns, width = pooled.shape
        pooled = ops.reshape(pooled, (-1, rows * columns, width))
        return ops.concatenate([self.class_projection(tokens[:, :1]), pooled], axis=1)

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the patches after it."""
        rows, columns = self.grid
        return -(-rows // 2), -(-columns // 2)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers and operations inside save of one image."""
        return traced_activations(self, input_shape, costs)

    def compute_output_shape(self, input_shape):
        batch, _, width = input_shape
        return (batch, 1 + math.prod(self.patch_grid(input_shape)), 2 * width)

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}
