"""Stochastic depth."""

import keras
from keras import ops

from keras_deit.errors import InputError


@keras.saving.register_keras_serializable(package="keras_deit")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch for some samples of a training batch ("Deep Networks with
    Stochastic Depth"), per sample; branches that are kept are divided by the chance of keeping
    them, so that inference needs no factor.

    Args:
        rate: chance that a sample's branch is dropped, in [0, 1).
        seed: of the draws; None takes one from Keras's global seed.

    Input and output: (batch, ...).

    Raises:
        InputError: a rate out of its range.
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
        factors = self.draw(inputs, training)
        return inputs if factors is None else inputs * factors

    def draw(self, inputs, training: bool):
        """What the branch of each sample is multiplied with, (batch, 1, ...), of the inputs' dtype.

        None where nothing is dropped.
        """
        if not training or self.rate == 0:
            return None
        keep = 1 - self.rate
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return ops.cast(ops.cast(drawn < keep, "float32") / keep, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
