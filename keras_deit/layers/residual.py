"""Residual branches, and their layers: LayerScale and stochastic depth."""

import keras
from keras import ops

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.layers.activations import NOTHING, ActivationCosts, SavedActivations


def apply_branch(layers: list[keras.layers.Layer], inputs):
    """Returns the output of layers that follow each other."""
    for layer in layers:
        inputs = layer(inputs)
    return inputs


@keras.saving.register_keras_serializable(package="keras_deit")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel of a residual branch by a learned factor (CaiT §2.1).

    Args:
        initial_value: initial value of every factor; small, and smaller the deeper the model.
        scalar: whether all channels share one factor, as in ReZero.
        uniform: whether the initial values are drawn between 0 and 2·`initial_value`.

    Input and output: (..., width).
    """

    def __init__(self, initial_value: float, scalar: bool = False, uniform: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = initial_value
        self.scalar = scalar
        self.uniform = uniform

    def build(self, input_shape):
        initializer = keras.initializers.Constant(self.initial_value)
        if self.uniform:
            initializer = keras.initializers.RandomUniform(0, 2 * self.initial_value)
        self.gamma = self.add_weight(
            shape=(1 if self.scalar else input_shape[-1],), initializer=initializer, name="gamma"
        )

    def call(self, inputs):
        return inputs * self.gamma

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input."""
        size = 1
        for side in input_shape[1:]:
            size *= side
        return SavedActivations(size)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "initial_value": self.initial_value,
            "scalar": self.scalar,
            "uniform": self.uniform,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch for some samples of a training batch ("Deep Networks with
    Stochastic Depth", Huang et al., 2016).

    Each sample is drawn by itself. Branches that are kept are divided by the probability of
    keeping them, so inference needs no factor.

    Args:
        rate: probability that the branch of a sample is dropped, in [0, 1).
        seed: seed of the draws; None takes one from Keras's global seed.

    Input and output: (batch, ...).

    Raises:
        InputError: the rate is out of range.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise InputError(f"The rate of stochastic depth should be in [0, 1). Received: {rate}")
        self.rate = rate
        self.seed = seed
        if rate > 0:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return inputs * ops.cast(ops.cast(drawn < keep, "float32") / keep, inputs.dtype)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns nothing: there is one factor for each sample."""
        return NOTHING

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


# The values of `residual` of a block, and what its factors have that LayerScale's have not.
_RESIDUALS = {
    "layer_scale": {},
    "layer_scale_uniform": {"uniform": True},
    "layer_scale_frozen": {"trainable": False},
    "scalar": {"scalar": True},
    "fixup": {"scalar": True},
}


def check_residual(residual: str) -> None:
    """Checks how a block weights its residual branches.

    Raises:
        InputError: there is no such way.
    """
    if residual not in _RESIDUALS:
        raise unknown_name("residual", residual, _RESIDUALS)


def branch_scale(residual: str, initial_value: float, dtype, name: str) -> LayerScale:
    """Returns the layer that weights a residual branch.

    Args:
        residual: "layer_scale"; "layer_scale_uniform", drawn between 0 and 2·`initial_value`;
            "layer_scale_frozen", not trained; "scalar" or "fixup", one factor for all channels.
        initial_value: initial factor.
        dtype: dtype policy of the layer.
        name: name of the layer.
    """
    return LayerScale(initial_value, dtype=dtype, name=name, **_RESIDUALS[residual])
