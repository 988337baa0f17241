"""The block in which the class tokens gather the patches."""

import keras
from keras import ops

from keras_deit.layers.block import Block
from keras_deit.layers.channels import GatedBranches
from keras_deit.layers.class_attention import ClassAttention
from keras_deit.layers.mlp import MLP
from keras_deit.layers.residual import apply_branch, branch_scale, check_residual


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassAttentionBlock(GatedBranches, Block):
    """c + γ₁⊙ClassAttention(LN([c; p])), then c + γ₂⊙MLP(LN(c)), for the class tokens c alone.

    The patches p do not change (CaiT §3; the pooling of PatchConvNet).

    Args:
        num_heads: number of heads of the class attention.
        mlp_ratio: hidden width of the MLP divided by the width of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        layer_scale_init: initial γ; None omits γ.
        num_class_tokens: how many tokens at the front are class tokens.
        patches_only: whether the class tokens attend to the patches alone, not to themselves.
        residual: what γ is, as `branch_scale` takes it.
        gates, kept: as for `TransformerBlock`.

    Raises:
        InputError: `residual` is something else.

    Input and output: tokens [class tokens; patches] (batch, length, width).
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale_init: float | None = None,
        num_class_tokens: int = 1,
        patches_only: bool = False,
        residual: str = "layer_scale",
        gates: bool = False,
        kept: dict | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_residual(residual)
        self.gates = gates
        # Keras would track a dictionary that is assigned normally.
        object.__setattr__(self, "kept", kept)
        self.residual = residual
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.layer_scale_init = layer_scale_init
        self.num_class_tokens = num_class_tokens
        self.patches_only = patches_only

    def build(self, input_shape):
        policy = self.dtype_policy
        attention = ClassAttention(
            self.num_heads,
            self.qkv_bias,
            self.num_class_tokens,
            self.patches_only,
            gates=self.gates,
            kept_inputs=self._kept("attention_input"),
            kept_outputs=self._kept("attention_output"),
            dtype=policy,
            name="attention",
        )
        mlp = MLP(
            self._kept("mlp_hidden") or int(input_shape[-1] * self.mlp_ratio),
            gates=self.gates,
            kept_inputs=self._kept("mlp_input"),
            dtype=policy,
            name="mlp",
        )
        self.attention_branch = self._branch(attention, 1)
        self.mlp_branch = self._branch(mlp, 2)
        for layer, shape in self._sublayers(input_shape):
            layer.build(shape)
        self.check_kept()

    def _branch(self, layer, number):
        policy = self.dtype_policy
        norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"norm{number}")
        if self.layer_scale_init is None:
            return [norm, layer]
        name = f"layer_scale{number}"
        return [norm, layer, branch_scale(self.residual, self.layer_scale_init, policy, name)]

    def branch_layers(self) -> list[list[keras.layers.Layer]]:
        """Returns the layers of both residual branches: norm, attention or MLP, and so on."""
        return [self.attention_branch, self.mlp_branch]

    def _sublayers(self, input_shape):
        """Yields every layer with the shape of its input."""
        shape = input_shape
        for layer in self.attention_branch + self.mlp_branch:
            yield layer, shape
            shape = layer.compute_output_shape(shape)

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        classes = tokens[:, : self.num_class_tokens]
        patches = tokens[:, self.num_class_tokens :]
        classes = classes + apply_branch(self.attention_branch, tokens)
        classes = classes + apply_branch(self.mlp_branch, classes)
        return ops.concatenate([classes, patches], axis=1)

    def residual_branches(self, tokens):
        """Returns what each branch adds, and the class tokens that it is added to, by its name."""
        before = tokens[:, : self.num_class_tokens]
        attended = apply_branch(self.attention_branch, tokens)
        classes = before + attended
        mlp = apply_branch(self.mlp_branch, classes)
        return {"attention": (attended, before), "mlp": (mlp, classes)}

    def attention_maps(self, tokens):
        """Returns the attention probabilities (batch, heads, class tokens, keys), float32."""
        norm, attention, *_ = self.attention_branch
        return attention.attention_probabilities(norm(tokens))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "layer_scale_init": self.layer_scale_init,
            "num_class_tokens": self.num_class_tokens,
            "patches_only": self.patches_only,
            "residual": self.residual,
            "gates": self.gates,
            "kept": self.kept,
        }
