"""Multi-head attention among all tokens, also with talking heads."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.fused_attention import dot_product_attention
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.channels import (
    Gated,
    Heads,
    copy_narrow,
    picked,
    saved_through,
    shape_through,
    through,
)
from keras_deit.layers.dense import Dense
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


class GatedAttention(CompositeLayer):
    """The channels that an attention reads, and their gates: a base of attentions.

    Args:
        gates: whether each channel of the input, and of the input of the projection, has a gate,
            see `Channels`.
        kept_inputs: indices of the channels of the input that queries, keys and values are computed
            from; None for all.
        kept_outputs: indices of the outputs of the heads that the projection reads, (head,
            dimension within the head) flattened; None for all. Only their columns of the values
            are computed, see `Heads`. Queries and keys, and the factor of QKᵀ, stay as they are.
    """

    def __init__(
        self,
        gates: bool = False,
        kept_inputs: Sequence[int] | None = None,
        kept_outputs: Sequence[int] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.gates = gates
        self.kept_inputs = None if kept_inputs is None else tuple(kept_inputs)
        self.kept_outputs = None if kept_outputs is None else tuple(kept_outputs)

    def build_channels(self, input_shape, num_heads: int, head_dim: int, queries: int) -> None:
        """Creates the layers that pick channels.

        Args:
            input_shape: of the tokens.
            num_heads, head_dim: of the attention.
            queries: number of tokens after the attention.
        """
        self.heads = Heads(self.kept_outputs, num_heads, head_dim)
        self.attended_shape = (input_shape[0], queries, len(self.heads.columns))
        shared = (self.gates, self.dtype_policy)
        self.input_channels = picked(self.kept_inputs, input_shape, *shared, "input_channels")
        read = (self.heads.read, self.attended_shape)
        self.output_channels = picked(*read, *shared, "output_channels")

    def saved_by_channels(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers that pick channels save of one image."""
        inputs = saved_through(self.input_channels, input_shape, costs)
        return inputs + saved_through(self.output_channels, self.attended_shape, costs)

    def gated_channels(self) -> dict[str, Gated]:
        """Returns the channels that have gates, "input" and "output"."""
        outputs = Gated(self.output_channels, self.heads.of_outputs)
        return {"input": Gated(self.input_channels), "output": outputs}

    def get_config(self):
        return {
            **super().get_config(),
            "gates": self.gates,
            "kept_inputs": self.kept_inputs,
            "kept_outputs": self.kept_outputs,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class MultiHeadSelfAttention(GatedAttention):
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
        **kwargs: arguments of `GatedAttention` and of a Keras layer.

    Input and output: tokens (batch, length, width).

    Raises:
        InputError: the widths do not fit each other, or outputs are gated that no projection reads.
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
        width, policy = input_shape[-1], self.dtype_policy
        self._head_dim = self.head_dim or head_width(width, self.num_heads)
        inner = self.num_heads * self._head_dim
        if not self.use_projection and (self.gates or self.kept_outputs is not None):
            raise InputError("The outputs of heads can be left out only before a projection.")
        if not self.use_projection and inner != width:
            raise InputError(
                f"{self.num_heads} heads of width {self._head_dim} need a projection to tokens of "
                f"width {width}."
            )
        fused = (width + 3 * inner) / (width + inner)
        scale = fused if self.kernel_init == "xavier_uniform" else 1.0
        self.build_channels(input_shape, self.num_heads, self._head_dim, input_shape[1])
        self.qkv = Dense(
            2 * inner + self.attended_shape[-1],
            use_bias=self.qkv_bias,
            **dense_initializers(self.kernel_init, width, scale),
            dtype=policy,
            name="qkv",
        )
        self.qkv.build(shape_through(self.input_channels, input_shape))
        if self.use_projection:
            self.projection = Dense(
                width,
                **dense_initializers(self.kernel_init, inner),
                dtype=policy,
                name="projection",
            )
            self.projection.build(shape_through(self.output_channels, self.attended_shape))

    def call(self, tokens):
        attended = self.attend(*self._queries_keys_values(tokens))
        attended = ops.reshape(attended, (-1, tokens.shape[1], self.attended_shape[-1]))
        if not self.use_projection:
            return attended
        return self.projection(through(self.output_channels, attended))

    def _queries_keys_values(self, tokens):
        projected = self.qkv(through(self.input_channels, tokens))
        inner, shape = self.num_heads * self._head_dim, (-1, tokens.shape[1])
        if self.attended_shape[-1] == inner:
            shape = (*shape, 3, self.num_heads, self._head_dim)
            return ops.unstack(ops.reshape(projected, shape), axis=2)
        both = (*shape, 2, self.num_heads, self._head_dim)
        query, key = ops.unstack(ops.reshape(projected[..., : 2 * inner], both), axis=2)
        values = (*shape, self.num_heads, self.heads.width)
        return query, key, ops.reshape(projected[..., 2 * inner :], values)

    def attend(self, query, key, value):
        """Returns the attended values; all tensors are (batch, length, num_heads, head_dim), but
        the values are narrower if not all outputs are kept."""
        return dot_product_attention(query, key, value, self._scale)

    @property
    def _scale(self) -> float:
        return self.scale_of_logits or self._head_dim**-0.5

    def _scaled(self, query):
        # The query is scaled, and not the product, because that could overflow in float16.
        return query * self._scale

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, length, length), float32."""
        query, key, _ = self._queries_keys_values(tokens)
        return ops.softmax(attention_logits(self._scaled(query), key))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: the projections, QKᵀ and the sum of V."""
        length = input_shape[1]
        summed = self.num_heads * self._head_dim + self.attended_shape[-1]
        macs = layer_macs(self.qkv, input_shape) + length**2 * summed
        return macs + layer_macs(self.projection, input_shape) if self.use_projection else macs

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input."""
        length = input_shape[1]
        maps = self.num_heads * length**2 / costs.shards
        tokens = self._saved_tokens(input_shape, costs, 2, 1 + costs.attended)
        return tokens + costs.attention_maps(maps)

    def _saved_tokens(self, input_shape, costs, of_queries, of_values) -> SavedActivations:
        """Returns so many arrays of the width of the queries and of that of the values, and what
        the channels save."""
        length, inner = input_shape[1], self.num_heads * self._head_dim
        numbers = of_queries * inner + of_values * self.attended_shape[-1]
        saved = SavedActivations(length * numbers / costs.shards)
        return saved + self.saved_by_channels(input_shape, costs)

    def copy_into(self, narrow: "MultiHeadSelfAttention", rows: dict[str, Sequence[int]]) -> None:
        """Gives its weights, times the gates, to a layer that keeps less.

        Args:
            narrow: the layer.
            rows: which of the gated channels it keeps, by the names of `gated_channels`.
        """
        width = 2 * self.num_heads * self._head_dim
        columns = [*range(width), *(width + x for x in self.heads.places_of(narrow.heads))]
        copy_narrow(self.qkv, narrow.qkv, self.input_channels, rows["input"], columns)
        copy_narrow(self.projection, narrow.projection, self.output_channels, rows["output"])

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


def attention_logits(query, key):
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
        logits = attention_logits(self._scaled(query), key)
        return ops.softmax(self.heads_before_softmax(logits))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image: self-attention and the two mixtures."""
        mixture = layer_macs(self.heads_before_softmax, self._maps_shape(input_shape))
        return super().macs(input_shape) + 2 * mixture

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input.

        Keras computes product, exponential, softmax and mixtures as separate operations here.
        """
        maps = math.prod(self._maps_shape(input_shape)[1:]) / costs.shards
        return self._saved_tokens(input_shape, costs, 2, 2) + SavedActivations(0, 4 * maps, maps)

    def _maps_shape(self, input_shape):
        batch, length, _ = input_shape
        return (batch, self.num_heads, length, length)
