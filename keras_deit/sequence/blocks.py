"""The layers of an encoder and a decoder: mixing of positions, attention, feed-forward."""

import keras
from keras import ops

from keras_deit.layers.dense import Dense
from keras_deit.layers.gelu import gelu
from keras_deit.layers.mlp_blocks import Affine
from keras_deit.layers.settings import CompositeLayer
from keras_deit.sequence.mixers import Attention, LinearMixing, check_mixer


@keras.saving.register_keras_serializable(package="keras_deit")
class Residual(CompositeLayer):
    """What surrounds a part of a block.

    With "attention" it is that of the Transformer, LayerNorm(x + dropout(part(x))) ("Attention is
    all you need", §3.1). With "linear" it is that of ResMLP, x + affine(dropout(part(affine(x)))),
    whose second affine layer begins at `affine_init`.

    Args:
        mixer: "attention" or "linear".
        dropout_rate: rate of the dropout of what the part returns.
        affine_init: initial factor of the affine layer after the part.
    """

    def __init__(self, mixer: str, dropout_rate: float = 0.0, affine_init: float = 0.2, **kwargs):
        super().__init__(**kwargs)
        self.mixer = mixer
        self.dropout_rate = dropout_rate
        self.affine_init = affine_init

    def build(self, input_shape):
        self.dropout = keras.layers.Dropout(self.dropout_rate)
        if self.mixer == "attention":
            self.norm = keras.layers.LayerNormalization(
                epsilon=1e-5, dtype=self.dtype_policy, name="norm"
            )
            self.norm.build(input_shape)
            return
        self.before = Affine(dtype=self.dtype_policy, name="before")
        self.after = Affine(self.affine_init, dtype=self.dtype_policy, name="after")
        for layer in (self.before, self.after):
            layer.build(input_shape)

    def prepare(self, x):
        """Returns what the part gets."""
        return x if self.mixer == "attention" else self.before(x)

    def combine(self, x, part, training=False):
        """Returns the sum of the input and of what the part has returned."""
        part = self.dropout(part, training=training)
        if self.mixer == "attention":
            return self.norm(x + part)
        return x + self.after(part)

    def get_config(self):
        return {
            **super().get_config(),
            "mixer": self.mixer,
            "dropout_rate": self.dropout_rate,
            "affine_init": self.affine_init,
        }


class _SequenceBlock(CompositeLayer):
    """What the blocks of encoder and decoder have in common.

    Args:
        mixer: "attention" for that of the Transformer, or "linear" for ResMLP's linear layer over
            positions.
        num_heads: number of heads of each attention.
        hidden_dim: width between the two feed-forward layers.
        max_length: most positions of a sequence.
        dropout_rate: rate of the dropout of each part.
        affine_init: as for `Residual`.
    """

    causal = False

    def __init__(
        self,
        mixer: str,
        num_heads: int,
        hidden_dim: int,
        max_length: int,
        dropout_rate: float = 0.0,
        affine_init: float = 0.2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_mixer(mixer)
        self.mixer = mixer
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.max_length = max_length
        self.dropout_rate = dropout_rate
        self.affine_init = affine_init

    def build(self, input_shape, *others):
        policy = self.dtype_policy
        if self.mixer == "linear":
            self.mixing = LinearMixing(self.max_length, self.causal, dtype=policy, name="mixing")
        else:
            self.mixing = Attention(self.num_heads, self.causal, dtype=policy, name="mixing")
        self.mixing.build(input_shape)
        self.mixing_residual = self._residual("mixing_residual", input_shape)
        width = input_shape[-1]
        # GELU in ResMLP, ReLU in the Transformer.
        activation = gelu if self.mixer == "linear" else "relu"
        self.expand = Dense(self.hidden_dim, activation=activation, dtype=policy, name="expand")
        self.contract = Dense(width, dtype=policy, name="contract")
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], self.hidden_dim))
        self.mlp_residual = self._residual("mlp_residual", input_shape)

    def _residual(self, name: str, input_shape) -> Residual:
        residual = Residual(
            self.mixer, self.dropout_rate, self.affine_init, dtype=self.dtype_policy, name=name
        )
        residual.build(input_shape)
        return residual

    def feed_forward(self, x, training=False):
        """Returns the tokens after the feed-forward part."""
        hidden = self.contract(self.expand(self.mlp_residual.prepare(x)))
        return self.mlp_residual.combine(x, hidden, training=training)

    def compute_output_shape(self, input_shape, *others):
        return input_shape

    def get_config(self):
        names = ("mixer", "num_heads", "hidden_dim", "max_length", "dropout_rate", "affine_init")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="keras_deit")
class EncoderBlock(_SequenceBlock):
    """A block of an encoder; arguments are those of `_SequenceBlock`.

    Input: tokens (batch, positions, width) and their mask (batch, positions). Output: tokens.
    """

    def call(self, tokens, mask, training=False):
        mixed = self.mixing(self.mixing_residual.prepare(tokens), mask)
        tokens = self.mixing_residual.combine(tokens, mixed, training=training)
        return self.feed_forward(tokens, training=training)


@keras.saving.register_keras_serializable(package="keras_deit")
class DecoderBlock(_SequenceBlock):
    """A block of a decoder, with attention to the encoder's tokens between its two parts.

    No position depends on later ones; arguments are those of `_SequenceBlock`.

    Input: tokens (batch, positions, width) and their mask, the encoder's tokens and their mask.
    Output: tokens.
    """

    causal = True

    def build(self, input_shape, *others):
        super().build(input_shape)
        self.cross_attention = Attention(
            self.num_heads, dtype=self.dtype_policy, name="cross_attention"
        )
        self.cross_attention.build(input_shape)
        self.cross_residual = self._residual("cross_residual", input_shape)

    def call(self, tokens, mask, encoded, encoded_mask, training=False):
        mixed = self.mixing(self.mixing_residual.prepare(tokens), mask)
        tokens = self.mixing_residual.combine(tokens, mixed, training=training)
        found = self.cross_attention(self.cross_residual.prepare(tokens), encoded_mask, encoded)
        tokens = self.cross_residual.combine(tokens, found, training=training)
        return self.feed_forward(tokens, training=training)

    def step(self, token, position, cache: dict, keys, values, encoded_mask):
        """Returns one position, and the cache with it.

        Args:
            token: (batch, 1, width).
            position: its place in the sequence, a scalar integer.
            cache: that of the mixing of positions.
            keys, values: of the encoder's tokens, see `Attention.keys_and_values`.
            encoded_mask: which of them are not padded, (batch, positions).
        """
        mixed, cache = self.mixing.step(self.mixing_residual.prepare(token), position, cache)
        token = self.mixing_residual.combine(token, mixed)
        allowed = ops.cast(encoded_mask, "bool")[:, None, None, :]
        query = self.cross_residual.prepare(token)
        found = self.cross_attention.attend(query, allowed, keys, values)
        token = self.cross_residual.combine(token, found)
        return self.feed_forward(token), cache
