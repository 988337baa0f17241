"""Tokens and positions that are learned."""

import keras
from keras import ops

from keras_deit.layers.initializers import dense_kernel


@keras.saving.register_keras_serializable(package="keras_deit")
class PrependToken(keras.layers.Layer):
    """Puts learned tokens in front of a sequence: the class token, the distillation token.

    The layer's name says which (DeiT §4 and figure 2).

    Args:
        count: how many; more than one where each class has a token.

    Input: tokens (batch, length, width). Output: (batch, count + length, width).
    """

    def __init__(self, count: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape):
        # Rank 3, as in the published files: the rule of weight decay goes by rank.
        self.token = self.add_weight(
            shape=(1, self.count, input_shape[-1]), initializer=dense_kernel(), name="token"
        )

    def call(self, tokens):
        batch = ops.shape(tokens)[0]
        token = ops.broadcast_to(self.token, (batch, self.count, tokens.shape[-1]))
        return ops.concatenate([token, tokens], axis=1)

    def macs(self, input_shape) -> int:
        """None: a learned tensor, but no matrix product."""
        return 0

    def compute_output_shape(self, input_shape):
        batch, length, width = input_shape
        return (batch, self.count + length, width)

    def get_config(self):
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(package="keras_deit")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each position of a sequence (ViT §3.1).

    Input and output: tokens (batch, length, width), the length fixed when the layer is built.
    """

    def build(self, input_shape):
        self.positions = self.add_weight(
            shape=(1, *input_shape[1:]), initializer=dense_kernel(), name="positions"
        )

    def call(self, tokens):
        return tokens + self.positions

    def macs(self, input_shape) -> int:
        """None: a learned tensor, but no matrix product."""
        return 0

    def compute_output_shape(self, input_shape):
        return input_shape
