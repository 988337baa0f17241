"""ResMLP's stand-in for a norm."""

import keras


@keras.saving.register_keras_serializable(package="keras_deit")
class Affine(keras.layers.Layer):
    """α⊙x + β, a learned factor and shift for each channel (ResMLP §2). No statistics are taken.

    Input and output: (..., width).
    """

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.alpha = self.add_weight(shape=shape, initializer="ones", name="alpha")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs):
        return inputs * self.alpha + self.beta

    def compute_output_shape(self, input_shape):
        return input_shape
