"""Attention and MLP with Fixup's scalar biases.

"Fixup Initialization" (Zhang et al., 2019), §3, as H. Touvron's thesis (§3.5) puts it into a
pre-norm transformer: each residual branch has a scalar bias before every linear layer and before
the GELU. The thesis does not say more on where they are.
"""

import keras

from keras_deit.layers.attention import MultiHeadSelfAttention
from keras_deit.layers.channels import through
from keras_deit.layers.gelu import gelu, tanh_gelu
from keras_deit.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_deit")
class FixupAttention(MultiHeadSelfAttention):
    """Self-attention with a scalar bias before each of its two linear layers.

    Args, input and output are those of `MultiHeadSelfAttention`.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.scalar_biases = self.add_weight(shape=(2,), initializer="zeros", name="scalar_biases")

    def attend(self, query, key, value):
        return super().attend(query, key, value) + self.scalar_biases[1]

    def _queries_keys_values(self, tokens):
        return super()._queries_keys_values(tokens + self.scalar_biases[0])


@keras.saving.register_keras_serializable(package="keras_deit")
class FixupMLP(MLP):
    """An MLP with a scalar bias before each linear layer and before the GELU.

    Args, input and output are those of `MLP`.
    """

    def build(self, input_shape):
        super().build(input_shape)
        # The GELU follows after a scalar bias.
        self.expand.activation = keras.activations.linear
        self.scalar_biases = self.add_weight(shape=(3,), initializer="zeros", name="scalar_biases")

    def call(self, tokens, training=False):
        before, between, after = (self.scalar_biases[index] for index in range(3))
        activation = tanh_gelu if self.approximate_gelu else gelu
        inputs = through(self.input_channels, tokens + before)
        hidden = activation(self.expand(inputs) + between)
        hidden = self.dropout(hidden, training=training) + after
        hidden = through(self.hidden_channels, hidden)
        return self.dropout(self.contract(hidden), training=training)
