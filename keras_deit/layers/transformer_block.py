"""The pre-norm block of DeiT, DeiT III, the parallel ViT, CaiT, ViT and PiT."""

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.attention import (
    MultiHeadSelfAttention,
    TalkingHeadsAttention,
)
from keras_deit.layers.block import Block
from keras_deit.layers.channels import GatedBranches
from keras_deit.layers.fixup import FixupAttention, FixupMLP
from keras_deit.layers.locality import LocalitySelfAttention
from keras_deit.layers.mlp import MLP
from keras_deit.layers.residual import (
    StochasticDepth,
    apply_branch,
    branch_scale,
    check_residual,
)


@keras.saving.register_keras_serializable(package="keras_deit")
class TransformerBlock(GatedBranches, Block):
    """x + D(γ₁⊙Attention(LN(x))), then x + D(γ₂⊙MLP(LN(x))), where D is stochastic depth.

    With two branches ("Three things everyone should know about Vision Transformers" §3), two
    attentions read the same x and both are added to it, then so are two MLPs. Each branch has its
    own norm, γ and draw of D. Names of the second branch's layers end in "_b", of a third's in
    "_c".

    Args:
        num_heads: number of heads of the self-attention.
        mlp_ratio: hidden width of the MLP divided by the width of the tokens.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        drop_path_rate: rate of the stochastic depth, which is drawn for each branch by itself.
        layer_scale_init: initial γ; None omits γ.
        branches: number of parallel attentions, and of parallel MLPs.
        talking_heads: whether the heads of the self-attention are mixed, as in CaiT.
        dropout_rate: rate of the dropout after the attention's projection and after both layers of
            the MLP.
        head_dim: width of a head; None for the width of the tokens divided by `num_heads`.
        lsa: whether the self-attention is LSA, see `LocalitySelfAttention`.
        norm_epsilon: epsilon of the norms.
        approximate_gelu: whether GELU is its approximation with tanh.
        kernel_init: initial values of attention and MLP, as `dense_initializers` takes them.
        use_projection: whether the attention ends with a dense layer.
        attention_scale: factor of QKᵀ, in LSA its initial value; None for 1/√head_dim.
        residual: what γ is: "layer_scale"; "layer_scale_uniform", drawn between 0 and
            2·`layer_scale_init`; "layer_scale_frozen", not trained; "scalar", one factor for all
            channels; "fixup", the same with the scalar biases of Fixup (H. Touvron's thesis,
            §3.5).
        gates: whether each channel that a dense layer of attention or MLP reads has a gate, see
            `Channels`.
        kept: what is left of the channels after pruning, by name: "attention_input",
            "attention_output" and "mlp_input", whose indices are those of the arguments of
            `GatedAttention` and `MLP`, and "mlp_hidden", the hidden width of the MLP; with a suffix
            for parallel branches. None, or no such name, for all.

    Raises:
        InputError: `residual` is something else, or two kinds of attention are asked for.

    Input and output: tokens (batch, length, width).
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = None,
        branches: int = 1,
        talking_heads: bool = False,
        dropout_rate: float = 0.0,
        head_dim: int | None = None,
        lsa: bool = False,
        norm_epsilon: float = 1e-6,
        approximate_gelu: bool = False,
        kernel_init: str = "normal",
        use_projection: bool = True,
        residual: str = "layer_scale",
        attention_scale: float | None = None,
        gates: bool = False,
        kept: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_residual(residual)
        if lsa + talking_heads + (residual == "fixup") > 1:
            raise InputError(
                "The self-attention of a TransformerBlock is LSA, mixes its heads, or has Fixup's "
                f"biases. Received: {lsa=}, {talking_heads=}, {residual=}"
            )
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.drop_path_rate = drop_path_rate
        self.layer_scale_init = layer_scale_init
        self.branches = branches
        self.talking_heads = talking_heads
        self.dropout_rate = dropout_rate
        self.head_dim = head_dim
        self.lsa = lsa
        self.norm_epsilon = norm_epsilon
        self.approximate_gelu = approximate_gelu
        self.kernel_init = kernel_init
        self.use_projection = use_projection
        self.residual = residual
        self.attention_scale = attention_scale
        self.gates = gates
        # Keras would track a dictionary that is assigned normally.
        object.__setattr__(self, "kept", kept)
        self._suffixes = ("", *(f"_{chr(ord('a') + index)}" for index in range(1, branches)))

    def build(self, input_shape):
        policy = self.dtype_policy
        for suffix in self._suffixes:
            attention = self._attention(suffix)
            mlp_class = FixupMLP if self.residual == "fixup" else MLP
            hidden_dim = int(input_shape[-1] * self.mlp_ratio)
            mlp = mlp_class(
                self._kept("mlp_hidden", suffix) or hidden_dim,
                self.dropout_rate,
                self.approximate_gelu,
                self.kernel_init,
                self.gates,
                self._kept("mlp_input", suffix),
                dtype=policy,
                name=f"mlp{suffix}",
            )
            # Each list is an attribute because Keras does not save layers in lists of lists.
            dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy, name=f"dropout{suffix}")
            attention_branch = self._branch(f"1{suffix}", attention, dropout)
            setattr(self, f"attention_branch{suffix}", attention_branch)
            setattr(self, f"mlp_branch{suffix}", self._branch(f"2{suffix}", mlp))
        for layer in self._sublayers():
            layer.build(input_shape)
        self.check_kept()

    def _attention(self, suffix):
        kind = FixupAttention if self.residual == "fixup" else MultiHeadSelfAttention
        if self.lsa or self.talking_heads:
            kind = LocalitySelfAttention if self.lsa else TalkingHeadsAttention
        # LSA learns the factor.
        return kind(
            self.num_heads,
            self.qkv_bias,
            self.head_dim,
            self.kernel_init,
            self.use_projection,
            self.attention_scale,
            gates=self.gates,
            kept_inputs=self._kept("attention_input", suffix),
            kept_outputs=self._kept("attention_output", suffix),
            dtype=self.dtype_policy,
            name=f"attention{suffix}",
        )

    def _branch(self, number, *layers):
        policy = self.dtype_policy
        norm = keras.layers.LayerNormalization(
            epsilon=self.norm_epsilon, dtype=policy, name=f"norm{number}"
        )
        branch = [norm, *layers]
        if self.layer_scale_init is not None:
            name = f"layer_scale{number}"
            branch.append(branch_scale(self.residual, self.layer_scale_init, policy, name))
        name = f"drop_path{number}"
        return branch + [StochasticDepth(self.drop_path_rate, dtype=policy, name=name)]

    def _halves(self):
        """Yields the attention branches, then the MLP branches."""
        for half in ("attention_branch", "mlp_branch"):
            yield [getattr(self, half + suffix) for suffix in self._suffixes]

    def branch_layers(self) -> list[list[keras.layers.Layer]]:
        """Returns the layers of every residual branch: norm, attention or MLP, and so on."""
        return [branch for half in self._halves() for branch in half]

    def _sublayers(self):
        return [layer for branch in self.branch_layers() for layer in branch]

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        for half in self._halves():
            total = tokens
            for branch in half:
                total = total + apply_branch(branch, tokens)
            tokens = total
        return tokens

    def residual_branches(self, tokens):
        """Returns what each branch adds, and the tokens that it is added to, by its name.

        "attention" and "mlp"; the names of parallel branches have suffixes, as those of their
        layers.
        """
        found = {}
        for name, half in zip(("attention", "mlp"), self._halves(), strict=True):
            added = [apply_branch(branch, tokens) for branch in half]
            for suffix, branch in zip(self._suffixes, added, strict=True):
                found[name + suffix] = branch, tokens
            tokens = tokens + sum(added)
        return found

    def attention_maps(self, tokens):
        """Returns the attention probabilities (batch, heads, length, length), float32.

        The heads of parallel branches follow each other.
        """
        attention_branches, _ = self._halves()
        maps = [
            attention.attention_probabilities(norm(tokens))
            for norm, attention, *_ in attention_branches
        ]
        return ops.concatenate(maps, axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "drop_path_rate": self.drop_path_rate,
            "layer_scale_init": self.layer_scale_init,
            "branches": self.branches,
            "talking_heads": self.talking_heads,
            "dropout_rate": self.dropout_rate,
            "head_dim": self.head_dim,
            "lsa": self.lsa,
            "norm_epsilon": self.norm_epsilon,
            "approximate_gelu": self.approximate_gelu,
            "kernel_init": self.kernel_init,
            "use_projection": self.use_projection,
            "residual": self.residual,
            "attention_scale": self.attention_scale,
            "gates": self.gates,
            "kept": self.kept,
        }
