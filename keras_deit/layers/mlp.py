"""The feed-forward half of a block."""

import math

import keras

from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.gelu import gelu
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.introspection import column_parallel, layer_macs, row_parallel
from keras_deit.layers.settings import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_deit")
class MLP(CompositeLayer):
    """Dense, exact GELU, and Dense back to the width of the input; both with bias.

    Args:
        hidden_dim: width between the two.
        dropout_rate: rate of the dropout after the GELU and after the second Dense.

    Input and output: (..., width).
    """

    def __init__(self, hidden_dim: int, dropout_rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        self.expand = keras.layers.Dense(
            self.hidden_dim,
            activation=gelu,
            kernel_initializer=dense_kernel(),
            dtype=self.dtype_policy,
            name="expand",
        )
        self.contract = keras.layers.Dense(
            input_shape[-1],
            kernel_initializer=dense_kernel(),
            dtype=self.dtype_policy,
            name="contract",
        )
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], self.hidden_dim))

    def call(self, tokens, training=False):
        hidden = self.dropout(self.expand(tokens), training=training)
        return self.dropout(self.contract(hidden), training=training)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        hidden_shape = (*input_shape[:-1], self.hidden_dim)
        return layer_macs(self.expand, input_shape) + layer_macs(self.contract, hidden_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input."""
        hidden = math.prod(input_shape[1:-1]) * self.hidden_dim
        masks = (hidden + math.prod(input_shape[1:])) / 4 * (self.dropout_rate > 0)
        return costs.gelu(hidden) + SavedActivations(float32=masks)

    def model_parallel_axes(self):
        return column_parallel(self.expand) + row_parallel(self.contract)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "dropout_rate": self.dropout_rate,
        }
