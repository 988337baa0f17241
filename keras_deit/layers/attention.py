"""Multi-head self-attention."""

import keras
from keras import ops

from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.macs import layer_macs


def head_width(width: int, num_heads: int) -> int:
    """Width of one head's share of the tokens.

    Raises:
        ValueError: the heads cannot share it evenly.
    """
    if width % num_heads:
        raise ValueError(
            "The width of the tokens should be a multiple of `num_heads`. "
            f"Received: width={width}, num_heads={num_heads}"
        )
    return width // num_heads


@keras.saving.register_keras_serializable(package="keras_deit")
class MultiHeadSelfAttention(keras.layers.Layer):
    """softmax(QKᵀ/√d)·V over several heads, Q, K and V from one fused projection.

    The columns of the fused kernel are [queries, keys, values], each in the order (head,
    dimension within the head), as in the published files. The softmax is computed in float32
    whatever the policy.

    Args:
        num_heads: divides the width of the tokens.
        qkv_bias: whether the fused projection has a bias.

    Input and output: tokens (batch, length, width).
    """

    def __init__(self, num_heads: int, qkv_bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias

    def build(self, input_shape):
        width = input_shape[-1]
        self.head_dim = head_width(width, self.num_heads)
        self.qkv = keras.layers.Dense(
            3 * width,
            use_bias=self.qkv_bias,
            kernel_initializer=dense_kernel(),
            dtype=self.dtype_policy,
            name="qkv",
        )
        self.projection = keras.layers.Dense(
            width, kernel_initializer=dense_kernel(), dtype=self.dtype_policy, name="projection"
        )
        self.qkv.build(input_shape)
        self.projection.build(input_shape)

    def call(self, tokens):
        length, width = tokens.shape[1:]
        qkv = ops.reshape(self.qkv(tokens), (-1, length, 3, self.num_heads, self.head_dim))
        attended = self.attend(*ops.unstack(qkv, axis=2))
        return self.projection(ops.reshape(attended, (-1, length, width)))

    def attend(self, query, key, value):
        """What each query gathers; all are (batch, length, num_heads, head_dim)."""
        # Scaled first: in float16 the product could overflow.
        query = query * self.head_dim**-0.5
        return ops.dot_product_attention(query, key, value, scale=1.0)

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample: the projections, QKᵀ and the weighted sum of V."""
        _, length, width = input_shape
        projections = layer_macs(self.qkv, input_shape) + layer_macs(self.projection, input_shape)
        return projections + 2 * length**2 * width

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "qkv_bias": self.qkv_bias,
        }
