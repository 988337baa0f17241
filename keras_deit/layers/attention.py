"""Multi-head attention: among all tokens, with talking heads, and from class tokens to patches."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.fused_attention import dot_product_attention
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.initializers import dense_initializers, dense_kernel
from keras_deit.layers.introspection import column_parallel, layer_macs, row_parallel
from keras_deit.layers.settings import CompositeLayer


def head_width(width: int, num_heads: int) -> int:
    """Returns the width of one head.

    Raises:
        InputError: the width of the tokens is not a multiple of `num_heads`.
    """
    if width % num_heads:
        raise InputError(
            f"The width of the tokens, embed_dim {width}, is not a multiple of num_heads "
            f"{num_heads}."
        )
    return width // num_heads


@keras.saving.register_keras_serializable(package="keras_deit")
class MultiHeadSelfAttention(CompositeLayer):
    """softmax(QKᵀ/√d)·V over several heads, with Q, K and V from one fused projection.

    The columns of the fused kernel are [queries, keys, values], each in the order (head, dimension
    within the head), as in the published files. The softmax is computed in float32 under every
    dtype policy.

    Args:
        num_heads: number of heads; it divides the width of the tokens unless `head_dim` is given.
        qkv_bias: whether the fused projection has a bias.
        head_dim: width of a head; None for the width of the tokens divided by `num_heads`.
        kernel_init: initial values, as `dense_initializers` takes them. With "xavier_uniform" the
            fused kernel counts as three, as in AugReg's code.
        use_projection: whether a dense layer follows the heads. Without it their widths together
            are that of the tokens.
        scale_of_logits: factor of QKᵀ; None for 1/√head_dim.

    Input and output: tokens (batch, length, width).

    Raises:
        InputError: the widths do not fit each other.
    """

    def __init__(
        self,
        num_heads: int,
        qkv_bias: bool = True,
        head_dim: int | None = None,
        kernel_init: str = "normal",
        use_projection: bool = True,
        scale_of_logits: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.qkv_bias = qkv_bias
        self.head_dim = head_dim
        self.kernel_init = kernel_init
        self.use_projection = use_projection
        self.scale_of_logits = scale_of_logits

    def build(self, input_shape):
        width = input_shape[-1]
        self._head_dim = self.head_dim or head_width(width, self.num_heads)
        inner = self.num_heads * self._head_dim
        if not self.use_projection and inner != width:
            raise InputError(
                f"{self.num_heads} heads of width {self._head_dim} need a projection to tokens of "
                f"width {width}."
            )
        fused = (width + 3 * inner) / (width + inner)
        scale = fused if self.kernel_init == "xavier_uniform" else 1.0
        self.qkv = keras.layers.Dense(
            3 * inner,
            use_bias=self.qkv_bias,
            **dense_initializers(self.kernel_init, width, scale),
            dtype=self.dtype_policy,
            name="qkv",
        )
        self.qkv.build(input_shape)
        if self.use_projection:
            self.projection = keras.layers.Dense(
                width,
                **dense_initializers(self.kernel_init, inner),
                dtype=self.dtype_policy,
                name="projection",
            )
            self.projection.build((*input_shape[:-1], inner))

    def call(self, tokens):
        attended = self.attend(*self._queries_keys_values(tokens))
        inner = self.num_heads * self._head_dim
        attended = ops.reshape(attended, (-1, tokens.shape[1], inner))
        return self.projection(attended) if self.use_projection else attended

    def _queries_keys_values(self, tokens):
        shape = (-1, tokens.shape[1], 3, self.num_heads, self._head_dim)
        return ops.unstack(ops.reshape(self.qkv(tokens), shape), axis=2)

    def attend(self, query, key, value):
        """Returns the attended values; all tensors are (batch, length, num_heads, head_dim)."""
        return dot_product_attention(self._scaled(query), key, value)

    def _scaled(self, query):
        # The query is scaled, and not the product, because that could overflow in float16.
        return query * (self.scale_of_logits or self._head_dim**-0.5)

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, length, length), float32."""
        query, key, _ = self._queries_keys_values(tokens)
        return ops.softmax(_attention_logits(self._scaled(query), key))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: the projections, QKᵀ and the sum of V."""
        batch, length, _ = input_shape
        inner = self.num_heads * self._head_dim
        macs = layer_macs(self.qkv, input_shape) + 2 * length**2 * inner
        if self.use_projection:
            macs += layer_macs(self.projection, (batch, length, inner))
        return macs

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input."""
        length = input_shape[1]
        inner = self.num_heads * self._head_dim
        tokens = (3 + costs.attended) * length * inner / costs.shards
        maps = self.num_heads * length**2 / costs.shards
        return SavedActivations(tokens) + costs.attention_maps(maps)

    def model_parallel_axes(self):
        output = row_parallel(self.projection) if self.use_projection else []
        return column_parallel(self.qkv) + output

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "qkv_bias": self.qkv_bias,
            "head_dim": self.head_dim,
            "kernel_init": self.kernel_init,
            "use_projection": self.use_projection,
            "scale_of_logits": self.scale_of_logits,
        }


def _attention_logits(query, key):
    """Returns QKᵀ, float32 (batch, heads, queries, keys), of (batch, length, heads, d)."""
    return ops.einsum("bqhd,bkhd->bhqk", ops.cast(query, "float32"), ops.cast(key, "float32"))


@keras.saving.register_keras_serializable(package="keras_deit")
class HeadMixing(keras.layers.Layer):
    """A dense layer with bias over the heads of an attention map.

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
        # One matrix product for each sample keeps the map in its order in memory.
        flat = ops.reshape(maps, (-1, heads, queries * keys))
        mixed = ops.matmul(ops.transpose(self.kernel), flat) + self.bias[:, None]
        return ops.reshape(mixed, (-1, heads, queries, keys))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        _, heads, queries, keys = input_shape
        return heads**2 * queries * keys

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="keras_deit")
class TalkingHeadsAttention(MultiHeadSelfAttention):
    """Self-attention whose heads are mixed before the softmax and again after it.

    "Talking-Heads Attention" (Shazeer et al., 2020), in the self-attention of CaiT. Both mixtures
    and the softmax are computed in float32 under every dtype policy.

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
        logits = ops.einsum("bqhd,bkhd->bhqk", self._scaled(query), key)
        maps = ops.softmax(self.heads_before_softmax(logits))
        maps = ops.cast(self.heads_after_softmax(maps), value.dtype)
        return ops.einsum("bhqk,bkhd->bqhd", maps, value)

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, length, length), float32, before the
        second mixture."""
        query, key, _ = self._queries_keys_values(tokens)
        logits = _attention_logits(self._scaled(query), key)
        return ops.softmax(self.heads_before_softmax(logits))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: self-attention and the two mixtures."""
        mixture = layer_macs(self.heads_before_softmax, self._maps_shape(input_shape))
        return super().macs(input_shape) + 2 * mixture

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input.

        Keras computes product, exponential, softmax and mixtures as separate operations here.
        """
        tokens = 4 * input_shape[1] * self.num_heads * self._head_dim / costs.shards
        maps = math.prod(self._maps_shape(input_shape)[1:]) / costs.shards
        return SavedActivations(tokens, 4 * maps, maps)

    def _maps_shape(self, input_shape):
        batch, length, _ = input_shape
        return (batch, self.num_heads, length, length)


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassAttention(CompositeLayer):
    """softmax(QKᵀ/√d)·V whose queries are the class tokens alone (CaiT §3).

    Queries, keys and values have separate projections. The softmax is computed in float32 under
    every dtype policy.

    Args:
        num_heads: number of heads; it divides the width of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        num_class_tokens: how many tokens at the front are class tokens.
        patches_only: whether keys and values come from the patches alone, as in PatchConvNet
            with one token per class; otherwise they come from the class tokens too.

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
        classes, attended_to = self._queried_and_attended_to(tokens)
        # The query is scaled first because the product could overflow in float16.
        query = self._split_heads(self.query(classes)) * self.head_dim**-0.5
        key = self._split_heads(self.key(attended_to))
        value = self._split_heads(self.value(attended_to))
        attended = dot_product_attention(query, key, value)
        return self.projection(ops.reshape(attended, (-1, *classes.shape[1:])))

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, num_class_tokens, keys), float32."""
        classes, attended_to = self._queried_and_attended_to(tokens)
        query = self._split_heads(self.query(classes)) * self.head_dim**-0.5
        key = self._split_heads(self.key(attended_to))
        return ops.softmax(_attention_logits(query, key))

    def _queried_and_attended_to(self, tokens):
        classes = tokens[:, : self.num_class_tokens]
        return classes, tokens[:, self.num_class_tokens :] if self.patches_only else tokens

    def _split_heads(self, tokens):
        return ops.reshape(tokens, (-1, tokens.shape[1], self.num_heads, self.head_dim))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: the projections, QKᵀ and the sum of V."""
        batch, length, width = input_shape
        keys = length - self.num_class_tokens if self.patches_only else length
        of_classes = sum(
            layer_macs(layer, (batch, self.num_class_tokens, width))
            for layer in (self.query, self.projection)
        )
        of_keys = sum(layer_macs(layer, (batch, keys, width)) for layer in (self.key, self.value))
        return of_classes + of_keys + 2 * self.num_class_tokens * keys * width

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input: keys and values; queries, the
        attended values and the projection."""
        _, length, width = input_shape
        tokens = 2 * length * width + 3 * self.num_class_tokens * width
        maps = self.num_heads * self.num_class_tokens * length
        return SavedActivations(tokens) + costs.attention_maps(maps)

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
