"""The feed-forward half of a block."""

import math
from collections.abc import Sequence

import keras

from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.channels import (
    Gated,
    copy_narrow,
    picked,
    saved_through,
    shape_through,
    through,
)
from keras_deit.layers.dense import Dense
from keras_deit.layers.gelu import gelu, tanh_gelu
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.introspection import column_parallel, layer_macs, row_parallel
from keras_deit.layers.settings import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_deit")
class MLP(CompositeLayer):
    """Dense, GELU, and Dense back to the width of the input; both with bias.

    Args:
        hidden_dim: width between the two.
        dropout_rate: rate of the dropout after the GELU and after the second Dense.
        approximate_gelu: whether GELU is its approximation with tanh.
        kernel_init: initial values, as `dense_initializers` takes them. The biases that go with
            "xavier_uniform" are N(0, 1e-6²), as in AugReg's code.
        gates: whether each channel of the input, and of what is between the two, has a gate, see
            `Channels`.
        kept_inputs: indices of the channels of the input that the first Dense reads; None for all.

    Input and output: (..., width).
    """

    def __init__(
        self,
        hidden_dim: int,
        dropout_rate: float = 0.0,
        approximate_gelu: bool = False,
        kernel_init: str = "normal",
        gates: bool = False,
        kept_inputs: Sequence[int] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout_rate
        self.approximate_gelu = approximate_gelu
        self.kernel_init = kernel_init
        self.gates = gates
        self.kept_inputs = None if kept_inputs is None else tuple(kept_inputs)

    def build(self, input_shape):
        width = input_shape[-1]
        hidden_shape = (*input_shape[:-1], self.hidden_dim)
        shared = (self.gates, self.dtype_policy)
        self.input_channels = picked(self.kept_inputs, input_shape, *shared, "input_channels")
        self.hidden_channels = picked(None, hidden_shape, *shared, "hidden_channels")
        activation = tanh_gelu if self.approximate_gelu else gelu
        self.expand = self._dense(width, self.hidden_dim, "expand", activation=activation)
        self.contract = self._dense(self.hidden_dim, width, "contract")
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.expand.build(shape_through(self.input_channels, input_shape))
        self.contract.build(hidden_shape)

    def _dense(self, inputs, outputs, name, **options):
        initial = dense_initializers(self.kernel_init, inputs)
        if self.kernel_init == "xavier_uniform":
            initial["bias_initializer"] = keras.initializers.RandomNormal(stddev=1e-6)
        return Dense(outputs, **initial, **options, dtype=self.dtype_policy, name=name)

    def call(self, tokens, training=False):
        hidden = self.dropout(self.expand(through(self.input_channels, tokens)), training=training)
        hidden = through(self.hidden_channels, hidden)
        return self.dropout(self.contract(hidden), training=training)

    def gated_channels(self) -> dict[str, Gated]:
        """Returns the channels that have gates, "input" and "hidden"."""
        return {"input": Gated(self.input_channels), "hidden": Gated(self.hidden_channels)}

    def copy_into(self, narrow: "MLP", rows: dict[str, Sequence[int]]) -> None:
        """Gives its weights, times the gates, to a layer that keeps less.

        Args:
            narrow: the layer.
            rows: which of the gated channels it keeps, by the names of `gated_channels`.
        """
        hidden = rows["hidden"]
        copy_narrow(self.expand, narrow.expand, self.input_channels, rows["input"], hidden)
        copy_narrow(self.contract, narrow.contract, self.hidden_channels, hidden)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        hidden_shape = (*input_shape[:-1], self.hidden_dim)
        return layer_macs(self.expand, input_shape) + layer_macs(self.contract, hidden_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input."""
        hidden = math.prod(input_shape[1:-1]) * self.hidden_dim
        masks = (hidden + math.prod(input_shape[1:])) / 4 * (self.dropout_rate > 0)
        gelu_costs = costs.keras_gelu if self.approximate_gelu else costs.gelu
        hidden_shape = (*input_shape[:-1], self.hidden_dim)
        picked_inputs = saved_through(self.input_channels, input_shape, costs)
        gated = picked_inputs + saved_through(self.hidden_channels, hidden_shape, costs)
        return gelu_costs(hidden) + SavedActivations(float32=masks) + gated

    def model_parallel_axes(self):
        return column_parallel(self.expand) + row_parallel(self.contract)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "dropout_rate": self.dropout_rate,
            "approximate_gelu": self.approximate_gelu,
            "kernel_init": self.kernel_init,
            "gates": self.gates,
            "kept_inputs": self.kept_inputs,
        }
