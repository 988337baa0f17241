"""Multi-head attention from class tokens to patches."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_deit.core.fused_attention import dot_product_attention
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.attention import GatedAttention, attention_logits, head_width
from keras_deit.layers.channels import copy_narrow, shape_through, through
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.introspection import column_parallel, layer_macs, row_parallel


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassAttention(GatedAttention):
    """softmax(QKᵀ/√d)·V whose queries are the class tokens alone (CaiT §3).

    Queries, keys and values have separate projections. The softmax is computed in float32 under
    every dtype policy.

    Args:
        num_heads: number of heads; it divides the width of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        num_class_tokens: how many tokens at the front are class tokens.
        patches_only: whether keys and values come from the patches alone, as in PatchConvNet
            with one token per class; otherwise they come from the class tokens too.
        **kwargs: arguments of `GatedAttention` and of a Keras layer.

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
        self.build_channels(input_shape, self.num_heads, self.head_dim, self.num_class_tokens)
        self.query = self._dense(width, self.qkv_bias, "query")
        self.key = self._dense(width, self.qkv_bias, "key")
        self.value = self._dense(self.attended_shape[-1], self.qkv_bias, "value")
        self.projection = self._dense(width, True, "projection")
        for layer in (self.query, self.key, self.value):
            layer.build(shape_through(self.input_channels, input_shape))
        self.projection.build(shape_through(self.output_channels, self.attended_shape))

    def _dense(self, width, use_bias, name):
        return Dense(
            width,
            use_bias=use_bias,
            kernel_initializer=dense_kernel(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, tokens):
        classes, attended_to = self._queried_and_attended_to(tokens)
        query = self._split_heads(self.query(classes))
        key = self._split_heads(self.key(attended_to))
        value = self._split_heads(self.value(attended_to))
        attended = dot_product_attention(query, key, value, self.head_dim**-0.5)
        attended = ops.reshape(attended, (-1, self.num_class_tokens, self.attended_shape[-1]))
        return self.projection(through(self.output_channels, attended))

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, num_class_tokens, keys), float32."""
        classes, attended_to = self._queried_and_attended_to(tokens)
        query = self._split_heads(self.query(classes)) * self.head_dim**-0.5
        key = self._split_heads(self.key(attended_to))
        return ops.softmax(attention_logits(query, key))

    def _queried_and_attended_to(self, tokens):
        tokens = through(self.input_channels, tokens)
        classes = tokens[:, : self.num_class_tokens]
        return classes, tokens[:, self.num_class_tokens :] if self.patches_only else tokens

    def _split_heads(self, tokens):
        width = tokens.shape[2] // self.num_heads
        return ops.reshape(tokens, (-1, tokens.shape[1], self.num_heads, width))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: the projections, QKᵀ and the sum of V."""
        batch, length, width = input_shape
        keys = length - self.num_class_tokens if self.patches_only else length
        of_classes = sum(
            layer_macs(layer, (batch, self.num_class_tokens, width))
            for layer in (self.query, self.projection)
        )
        of_keys = sum(layer_macs(layer, (batch, keys, width)) for layer in (self.key, self.value))
        summed = width + self.attended_shape[-1]
        return of_classes + of_keys + self.num_class_tokens * keys * summed

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input: keys and values; queries, the
        attended values and the projection."""
        _, length, width = input_shape
        values = self.attended_shape[-1]
        tokens = length * (width + values) + self.num_class_tokens * (2 * width + values)
        maps = self.num_heads * self.num_class_tokens * length
        saved = SavedActivations(tokens) + self.saved_by_channels(input_shape, costs)
        return saved + costs.attention_maps(maps)

    def copy_into(self, narrow: "ClassAttention", rows: dict[str, Sequence[int]]) -> None:
        """Does what that of `MultiHeadSelfAttention` does."""
        for layer, target in ((self.query, narrow.query), (self.key, narrow.key)):
            copy_narrow(layer, target, self.input_channels, rows["input"])
        columns = self.heads.places_of(narrow.heads)
        copy_narrow(self.value, narrow.value, self.input_channels, rows["input"], columns)
        copy_narrow(self.projection, narrow.projection, self.output_channels, rows["output"])

    def model_parallel_axes(self):
        inputs = (self.query, self.key, self.value)
        split = [axes for layer in inputs for axes in column_parallel(layer)]
        return split + row_parallel(self.projection)

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
