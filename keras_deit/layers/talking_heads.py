"""Self-attention whose heads are mixed before and after the softmax."""

import keras
from keras import ops

from keras_deit.layers.attention import MultiHeadSelfAttention
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.macs import layer_macs


@keras.saving.register_keras_serializable(package="keras_deit")
class HeadMixing(keras.layers.Layer):
    """A dense layer, with bias, over the heads of an attention map.

    Input and output: (batch, heads, queries, keys).
    """

    def build(self, input_shape):
        heads = input_shape[1]
        self.kernel = self.add_weight(
            shape=(heads, heads), initializer=dense_kernel(), name="kernel"
        )
        self.bias = self.add_weight(shape=(heads,), initializer="zeros", name="bias")

    def call(self, maps):
        heads, queries, keys = maps.shape[1:]
        # One matrix product a sample: the map stays in its order in memory.
        flat = ops.reshape(maps, (-1, heads, queries * keys))
        mixed = ops.matmul(ops.transpose(self.kernel), flat) + self.bias[:, None]
        return ops.reshape(mixed, (-1, heads, queries, keys))

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        _, heads, queries, keys = input_shape
        return heads**2 * queries * keys

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="keras_deit")
class TalkingHeadsAttention(MultiHeadSelfAttention):
    """Self-attention whose heads are mixed before the softmax and again after it.

    "Talking-Heads Attention" (Shazeer et al., 2020), in the self-attention of CaiT. Both mixtures
    and the softmax are computed in float32 whatever the policy.

    Args, input and output are those of `MultiHeadSelfAttention`.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.heads_before_softmax = HeadMixing(dtype="float32", name="heads_before_softmax")
        self.heads_after_softmax = HeadMixing(dtype="float32", name="heads_after_softmax")
        maps_shape = self._maps_shape(input_shape)
        self.heads_before_softmax.build(maps_shape)
        self.heads_after_softmax.build(maps_shape)

    def attend(self, query, key, value):
        # Scaled first, as the authors do: in float16 the product could overflow.
        query = query * query.shape[-1] ** -0.5
        logits = ops.einsum("bqhd,bkhd->bhqk", query, key)
        maps = ops.softmax(self.heads_before_softmax(logits))
        maps = ops.cast(self.heads_after_softmax(maps), value.dtype)
        return ops.einsum("bhqk,bkhd->bqhd", maps, value)

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample: those of self-attention and of the two mixtures."""
        mixture = layer_macs(self.heads_before_softmax, self._maps_shape(input_shape))
        return super().macs(input_shape) + 2 * mixture

    def _maps_shape(self, input_shape):
        batch, length, _ = input_shape
        return (batch, self.num_heads, length, length)
