"""The head of a model with one token per class."""

import keras
from keras import ops

from keras_deit.layers.initializers import dense_kernel


@keras.saving.register_keras_serializable(package="keras_deit")
class PerClassHead(keras.layers.Layer):
    """Scores each class by its own token: logit k is ⟨kernel k, token k⟩ + bias k (PatchConvNet).

    Input: class tokens (batch, classes, width). Output: logits (batch, classes).
    """

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=input_shape[1:], initializer=dense_kernel(), name="kernel"
        )
        self.bias = self.add_weight(shape=(input_shape[1],), initializer="zeros", name="bias")

    def call(self, tokens):
        return ops.sum(tokens * self.kernel, axis=-1) + self.bias

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        _, classes, width = input_shape
        return classes * width

    def compute_output_shape(self, input_shape):
        return input_shape[:-1]
