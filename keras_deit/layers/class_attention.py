"""Attention of the class tokens to the patches."""

import keras
from keras import ops

from keras_deit.layers.attention import head_width
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.macs import layer_macs


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassAttention(keras.layers.Layer):
    """softmax(QKᵀ/√d)·V whose queries are the class tokens alone (CaiT §3).

    Queries, keys and values have a projection each. The softmax is computed in float32 whatever
    the policy.

    Args:
        num_heads: divides the width of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        num_class_tokens: how many tokens at the front are class tokens.
        patches_only: whether keys and values come from the patches alone, as in PatchConvNet
            with one token per class; else they come from the class tokens too.

    Input: tokens [class tokens; patches] (batch, length, width).
    Output: (batch, num_class_tokens, width).
    """

    def __init__(
        self,
        num_heads: int,
        qkv_bias: bool = True,
        num_class_tokens: int = 1,
        patches_only: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.num_class_tokens = num_class_tokens
        self.patches_only = patches_only

    def build(self, input_shape):
        width = input_shape[-1]
        self.head_dim = head_width(width, self.num_heads)
        self.query = self._dense(width, self.qkv_bias, "query")
        self.key = self._dense(width, self.qkv_bias, "key")
        self.value = self._dense(width, self.qkv_bias, "value")
        self.projection = self._dense(width, True, "projection")
        for layer in (self.query, self.key, self.value, self.projection):
            layer.build(input_shape)

    def _dense(self, width, use_bias, name):
        return keras.layers.Dense(
            width,
            use_bias=use_bias,
            kernel_initializer=dense_kernel(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, tokens):
        classes = tokens[:, : self.num_class_tokens]
        attended_to = tokens[:, self.num_class_tokens :] if self.patches_only else tokens
        # Scaled first, as the authors do: in float16 the product could overflow.
        query = self._split(self.query(classes)) * self.head_dim**-0.5
        key, value = self._split(self.key(attended_to)), self._split(self.value(attended_to))
        attended = ops.dot_product_attention(query, key, value, scale=1.0)
        return self.projection(ops.reshape(attended, (-1, *classes.shape[1:])))

    def _split(self, tokens):
        return ops.reshape(tokens, (-1, tokens.shape[1], self.num_heads, self.head_dim))

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample: the projections, QKᵀ and the weighted sum of V."""
        batch, length, width = input_shape
        keys = length - self.num_class_tokens if self.patches_only else length
        of_classes = sum(
            layer_macs(layer, (batch, self.num_class_tokens, width))
            for layer in (self.query, self.projection)
        )
        of_keys = sum(layer_macs(layer, (batch, keys, width)) for layer in (self.key, self.value))
        return of_classes + of_keys + 2 * self.num_class_tokens * keys * width

    def compute_output_shape(self, input_shape):
        batch, _, width = input_shape
        return (batch, self.num_class_tokens, width)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "qkv_bias": self.qkv_bias,
            "num_class_tokens": self.num_class_tokens,
            "patches_only": self.patches_only,
        }
