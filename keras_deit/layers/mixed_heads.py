"""Attention whose heads are mixed by matrices, as the CaiT for small data sets has it.

"Vision Transformer for Small-Size Datasets" (Lee et al., 2021); github.com/aanna0701/SPT_LSA_ViT,
models/cait.py.
"""

import math

import keras
from keras import ops

from keras_deit.core.errors import unknown_name
from keras_deit.layers.activations import ActivationCosts, SavedActivations, traced_activations
from keras_deit.layers.block import Block
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers, token_initializer
from keras_deit.layers.introspection import column_parallel, row_parallel
from keras_deit.layers.locality import with_diagonal
from keras_deit.layers.mlp import MLP
from keras_deit.layers.residual import LayerScale, StochasticDepth, apply_branch
from keras_deit.layers.settings import CompositeLayer

# What LSA does to the attention of a patch to itself.
_DIAGONALS = ("zero", "masked")


@keras.saving.register_keras_serializable(package="keras_deit")
class HeadMatrix(keras.layers.Layer):
    """Mixes the heads of an attention map by a matrix without bias, which starts from N(0, 1).

    Input and output: (batch, heads, queries, keys).
    """

    def build(self, input_shape):
        heads = input_shape[1]
        self.kernel = self.add_weight(
            shape=(heads, heads), initializer=token_initializer("unit_normal"), name="kernel"
        )

    def call(self, maps):
        heads, queries, keys = maps.shape[1:]
        # One matrix product for each sample keeps the map in its order in memory.
        flat = ops.reshape(maps, (-1, heads, queries * keys))
        mixed = ops.matmul(ops.transpose(self.kernel), flat)
        return ops.reshape(mixed, (-1, heads, queries, keys))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        _, heads, queries, keys = input_shape
        return heads**2 * queries * keys

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input."""
        size = math.prod(input_shape[1:])
        return SavedActivations(0, size, size)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="keras_deit")
class MixedHeadsAttention(CompositeLayer):
    """Attention with mixed heads, among the patches or from the class token to the patches.

    Without bias in queries, keys and values; queries have a projection of their own. Mixtures and
    softmax are computed in float32 under every dtype policy.

    With `lsa` each head has a learned factor in place of 1/√head_dim. Among patches, what a patch
    scores for itself is replaced, too, as `diagonal` says: "zero" replaces it by 0 before the heads
    are mixed, as the authors' code does (−1e-9), so that a patch still attends to itself; the
    published results are with this one. "masked" forbids it, as the paper describes LSA (§3.3),
    after the heads are mixed: before that, the negative entries of the mixture would turn a very
    low score into a very high one, and −∞ into NaN.

    Args:
        num_heads: number of heads.
        head_dim: width of a head.
        class_token: whether the first token is the only query and the others alone are keys and
            values; otherwise all tokens are patches, and each is query, key and value.
        lsa: whether the factors are learned and the diagonal is replaced.
        diagonal: "zero" or "masked"; without effect without `lsa` or with `class_token`.

    Input: tokens (batch, length, width).
    Output: the same, or with `class_token` (batch, 1, width).

    Raises:
        InputError: `diagonal` is something else.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        class_token: bool = False,
        lsa: bool = False,
        diagonal: str = "zero",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if diagonal not in _DIAGONALS:
            raise unknown_name("diagonal", diagonal, _DIAGONALS)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.class_token = class_token
        self.lsa = lsa
        self.diagonal = diagonal

    def build(self, input_shape):
        batch, length, width = input_shape
        inner = self.num_heads * self.head_dim
        self.query = self._dense(inner, width, "query", use_bias=False)
        self.key_value = self._dense(2 * inner, width, "key_value", use_bias=False)
        self.projection = self._dense(width, inner, "projection")
        self.query.build(input_shape)
        self.key_value.build(input_shape)
        self.projection.build((batch, length, inner))
        queries, keys = (1, length - 1) if self.class_token else (length, length)
        self.heads_before_softmax = HeadMatrix(dtype="float32", name="heads_before_softmax")
        self.heads_after_softmax = HeadMatrix(dtype="float32", name="heads_after_softmax")
        for mixture in (self.heads_before_softmax, self.heads_after_softmax):
            mixture.build((batch, self.num_heads, queries, keys))
        if self.lsa:
            self.scale = self.add_weight(
                shape=(self.num_heads,),
                initializer=keras.initializers.Constant(self.head_dim**-0.5),
                name="scale",
            )

    def _dense(self, width, fan_in, name, use_bias=True):
        return Dense(
            width,
            use_bias=use_bias,
            **dense_initializers("xavier_normal", fan_in),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, tokens):
        queried, attended_to = self._queried_and_attended_to(tokens)
        key, value = self._keys_and_values(attended_to)
        maps = self.heads_after_softmax(self._probabilities(queried, key))
        attended = ops.einsum("bhqk,bkhd->bqhd", ops.cast(maps, value.dtype), value)
        inner = self.num_heads * self.head_dim
        return self.projection(ops.reshape(attended, (-1, queried.shape[1], inner)))

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, queries, keys), float32, before the second
        mixture."""
        queried, attended_to = self._queried_and_attended_to(tokens)
        return self._probabilities(queried, self._keys_and_values(attended_to)[0])

    def _queried_and_attended_to(self, tokens):
        return (tokens[:, :1], tokens[:, 1:]) if self.class_token else (tokens, tokens)

    def _keys_and_values(self, tokens):
        shape = (-1, tokens.shape[1], 2, self.num_heads, self.head_dim)
        return ops.unstack(ops.reshape(self.key_value(tokens), shape), axis=2)

    def _probabilities(self, queried, key):
        shape = (-1, queried.shape[1], self.num_heads, self.head_dim)
        query = ops.reshape(self.query(queried), shape)
        # The query is scaled first because the product could overflow in float16.
        if self.lsa:
            query = query * ops.cast(self.scale, query.dtype)[:, None]
        else:
            query = query * self.head_dim**-0.5
        logits = ops.cast(ops.einsum("bqhd,bkhd->bhqk", query, key), "float32")
        replaces = self.lsa and not self.class_token
        if replaces and self.diagonal == "zero":
            logits = with_diagonal(logits, 0.0)
        logits = self.heads_before_softmax(logits)
        if replaces and self.diagonal == "masked":
            logits = with_diagonal(logits)
        return ops.softmax(logits)

    def model_parallel_axes(self):
        split = column_parallel(self.query) + column_parallel(self.key_value)
        return split + row_parallel(self.projection)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what the layers and operations inside save of one image."""
        return traced_activations(self, input_shape, costs)

    def compute_output_shape(self, input_shape):
        batch, length, width = input_shape
        return (batch, 1 if self.class_token else length, width)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "class_token": self.class_token,
            "lsa": self.lsa,
            "diagonal": self.diagonal,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class MixedHeadsBlock(Block):
    """x + D(γ₁⊙Attention(LN(x))), then x + D(γ₂⊙MLP(LN(x))), where D is stochastic depth.

    With `class_token`, x is the class token alone, which attends to the patches as they are,
    without the norm; the patches do not change.

    Args:
        num_heads, head_dim, class_token, lsa, diagonal: see `MixedHeadsAttention`.
        mlp_ratio: hidden width of the MLP divided by the width of the tokens.
        drop_path_rate: rate of the stochastic depth, which is drawn for each branch by itself.
        layer_scale_init: initial γ.
        dropout_rate: rate of the dropout after the attention's projection and after both layers of
            the MLP.

    Input and output: tokens (batch, length, width).
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.0,
        layer_scale_init: float = 0.1,
        dropout_rate: float = 0.0,
        class_token: bool = False,
        lsa: bool = False,
        diagonal: str = "zero",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.mlp_ratio = mlp_ratio
        self.drop_path_rate = drop_path_rate
        self.layer_scale_init = layer_scale_init
        self.dropout_rate = dropout_rate
        self.class_token = class_token
        self.lsa = lsa
        self.diagonal = diagonal

    def build(self, input_shape):
        batch, length, width = input_shape
        policy = self.dtype_policy
        attention = MixedHeadsAttention(
            *(self.num_heads, self.head_dim, self.class_token, self.lsa, self.diagonal),
            dtype=policy,
            name="attention",
        )
        dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy, name="dropout")
        mlp = MLP(
            round(width * self.mlp_ratio),
            self.dropout_rate,
            kernel_init="xavier_normal",
            dtype=policy,
            name="mlp",
        )
        self.norm1 = self._norm("norm1")
        self.attention_branch = [attention, dropout, *self._ends(1)]
        self.mlp_branch = [self._norm("norm2"), mlp, *self._ends(2)]
        attention.build(input_shape)
        changed = (batch, 1 if self.class_token else length, width)
        for layer in (self.norm1, *self.attention_branch[1:], *self.mlp_branch):
            layer.build(changed)

    def _norm(self, name):
        return keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name=name)

    def _ends(self, number):
        policy = self.dtype_policy
        return [
            LayerScale(self.layer_scale_init, dtype=policy, name=f"layer_scale{number}"),
            StochasticDepth(self.drop_path_rate, dtype=policy, name=f"drop_path{number}"),
        ]

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        hidden, between = self.residual_branches(tokens)["mlp"]
        changed = between + hidden
        if not self.class_token:
            return changed
        return ops.concatenate([changed, tokens[:, 1:]], axis=1)

    def residual_branches(self, tokens):
        """Returns what each branch adds, and the tokens that it is added to, by its name."""
        before = tokens[:, :1] if self.class_token else tokens
        attended = apply_branch(self.attention_branch, self._attended_to(tokens))
        between = before + attended
        return {
            "attention": (attended, before),
            "mlp": (apply_branch(self.mlp_branch, between), between),
        }

    def _attended_to(self, tokens):
        """Returns the input of the attention: only what changes is normalized."""
        if not self.class_token:
            return self.norm1(tokens)
        return ops.concatenate([self.norm1(tokens[:, :1]), tokens[:, 1:]], axis=1)

    def attention_maps(self, tokens):
        """Returns the attention probabilities (batch, heads, queries, keys), float32."""
        return self.attention_branch[0].attention_probabilities(self._attended_to(tokens))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "mlp_ratio": self.mlp_ratio,
            "drop_path_rate": self.drop_path_rate,
            "layer_scale_init": self.layer_scale_init,
            "dropout_rate": self.dropout_rate,
            "class_token": self.class_token,
            "lsa": self.lsa,
            "diagonal": self.diagonal,
        }
