"""Encoders and decoders of sequences: the Transformer, and ResMLP with one matrix of positions."""

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.sequence.blocks import DecoderBlock, EncoderBlock
from keras_deit.sequence.mixers import check_heads, check_mixer

# The token of a padded position.
PADDING = 0


@keras.saving.register_keras_serializable(package="keras_deit")
class TokenEmbedding(keras.layers.Layer):
    """Embeddings of tokens times √width, plus positions; the same matrix returns to logits
    ("Attention is all you need", §3.4 and §3.5).

    Args:
        vocabulary: number of tokens.
        width: of an embedding.
        positions: whether the sinusoidal embedding of its position is added to a token.
        dropout_rate: rate of the dropout of the sum.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        positions: bool = True,
        dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.width = width
        self.positions = positions
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            shape=(self.vocabulary, self.width),
            initializer=keras.initializers.RandomNormal(stddev=self.width**-0.5),
            name="embeddings",
        )
        self.dropout = keras.layers.Dropout(self.dropout_rate)

    def call(self, inputs, reverse=False, first=0, training=False):
        """Returns embeddings (batch, positions, width) of tokens, the first at position `first`; or
        with `reverse` the logits (..., vocabulary) of embeddings."""
        if reverse:
            return ops.matmul(inputs, ops.transpose(self.embeddings))
        tokens = ops.take(self.embeddings, inputs, axis=0) * self.width**0.5
        if self.positions:
            places = ops.arange(ops.shape(inputs)[1], dtype="float32") + ops.cast(first, "float32")
            tokens = tokens + ops.cast(sinusoids(places, self.width), tokens.dtype)
        return self.dropout(tokens, training=training)

    def get_config(self):
        names = ("vocabulary", "width", "positions", "dropout_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def sinusoids(positions, width: int):
    """Returns the embeddings of positions (positions,), (positions, width), in §3.5's order: sine
    and cosine of each frequency one after the other."""
    frequencies = (10_000.0 ** (-np.arange(0, width, 2) / width)).astype("float32")
    angles = ops.expand_dims(positions, -1) * frequencies
    both = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(both, (-1, 2 * len(frequencies)))[:, :width]


@keras.saving.register_keras_serializable(package="keras_deit")
class SequenceToSequence(keras.Model):
    """A functional model from a sequence and the beginning of another to the latter's next tokens.

    Args:
        vocabulary: number of tokens, of both sequences together; token 0 is padding.
        mixer: what mixes the positions: "attention" for the Transformer, "linear" for ResMLP's
            linear layer (thesis, §4.3.5), whose decoder keeps the attention to the encoder.
        width: of an embedding.
        depth: number of blocks of the encoder, and of the decoder.
        num_heads: number of heads of each attention.
        hidden_dim: width between the two feed-forward layers of a block.
        max_length: most positions of a sequence.
        dropout_rate: rate of the dropout of each part of a block, and of the embeddings.
        affine_init: initial factor of ResMLP's affine layers after each part.
        positions: whether sinusoidal positions are added to the embeddings; by default with
            attention only.

    Input: {"source": integers (batch, positions), "target": integers (batch, other positions)},
    each padded with 0 at its end. Output: logits (batch, other positions, vocabulary), float32.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        vocabulary: int,
        mixer: str = "attention",
        width: int = 512,
        depth: int = 6,
        num_heads: int = 8,
        hidden_dim: int = 2048,
        max_length: int = 256,
        dropout_rate: float = 0.1,
        affine_init: float = 0.2,
        positions: bool | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
        _check(arguments)
        if positions is None:
            positions = mixer == "attention"
        source = keras.Input((None,), dtype="int32", name="source")
        target = keras.Input((None,), dtype="int32", name="target")
        embedding = TokenEmbedding(vocabulary, width, positions, dropout_rate, name="embedding")
        values = (mixer, num_heads, hidden_dim, max_length, dropout_rate, affine_init)
        encoder = [EncoderBlock(*values, name=f"encoder_{i}") for i in range(depth)]
        decoder = [DecoderBlock(*values, name=f"decoder_{i}") for i in range(depth)]
        source_mask, target_mask = ops.not_equal(source, PADDING), ops.not_equal(target, PADDING)
        encoded = embedding(source)
        for block in encoder:
            encoded = block(encoded, source_mask)
        decoded = embedding(target)
        for block in decoder:
            decoded = block(decoded, target_mask, encoded, source_mask)
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(
            embedding(decoded, reverse=True)
        )
        super().__init__({"source": source, "target": target}, logits, **kwargs)
        self.embedding, self.encoder, self.decoder = embedding, encoder, decoder
        self.width, self.max_length = width, max_length
        object.__setattr__(self, "_arguments", arguments)

    def get_config(self):
        return {"name": self.name, "trainable": self.trainable, **self._arguments}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)

    def encode(self, source, training=False):
        """Returns the encoder's tokens (batch, positions, width) of a sequence, and their mask."""
        mask = ops.not_equal(source, PADDING)
        encoded = self.embedding(source, training=training)
        for block in self.encoder:
            encoded = block(encoded, mask, training=training)
        return encoded, mask


_ARGUMENTS = (
    *("vocabulary", "mixer", "width", "depth", "num_heads", "hidden_dim", "max_length"),
    *("dropout_rate", "affine_init", "positions"),
)


def _check(arguments: dict) -> None:
    for name in ("width", "depth", "num_heads", "hidden_dim", "max_length"):
        if arguments[name] < 1:
            raise InputError(f"{name} should be 1 or more. Received: {arguments[name]}")
    if arguments["vocabulary"] < 2:
        raise InputError(
            f"vocabulary should be 2 or more, padding included. Received: {arguments['vocabulary']}"
        )
    check_mixer(arguments["mixer"])
    check_heads(arguments["width"], arguments["num_heads"])
