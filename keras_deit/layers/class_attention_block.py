"""The block that gathers the patches in the class tokens."""

import keras
from keras import ops

from keras_deit.layers.class_attention import ClassAttention
from keras_deit.layers.layer_scale import LayerScale
from keras_deit.layers.macs import layer_macs
from keras_deit.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassAttentionBlock(keras.layers.Layer):
    """c + γ₁⊙ClassAttention(LN([c; p])), then c + γ₂⊙MLP(LN(c)), of the class tokens c alone.

    The patches p go through unchanged (CaiT §3; the pooling of PatchConvNet).

    Args:
        num_heads: of the class attention.
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        layer_scale_init: initial γ; None leaves γ out.
        num_class_tokens: how many tokens at the front are class tokens.
        patches_only: whether the class tokens attend to the patches alone, and not to themselves.

    Input and output: tokens [class tokens; patches] (batch, length, width).
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale_init: float | None = None,
        num_class_tokens: int = 1,
        patches_only: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
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
            dtype=policy,
            name="attention",
        )
        mlp = MLP(int(input_shape[-1] * self.mlp_ratio), dtype=policy, name="mlp")
        self.attention_branch = self._branch(attention, 1)
        self.mlp_branch = self._branch(mlp, 2)
        shape = input_shape
        for layer in self.attention_branch + self.mlp_branch:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def _branch(self, layer, number):
        policy = self.dtype_policy
        norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"norm{number}")
        if self.layer_scale_init is None:
            return [norm, layer]
        name = f"layer_scale{number}"
        return [norm, layer, LayerScale(self.layer_scale_init, dtype=policy, name=name)]

    def call(self, tokens):
        classes = tokens[:, : self.num_class_tokens]
        patches = tokens[:, self.num_class_tokens :]
        classes = classes + _through(self.attention_branch, tokens)
        classes = classes + _through(self.mlp_branch, classes)
        return ops.concatenate([classes, patches], axis=1)

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        _, attention, *_ = self.attention_branch
        _, mlp, *_ = self.mlp_branch
        classes_shape = attention.compute_output_shape(input_shape)
        return layer_macs(attention, input_shape) + layer_macs(mlp, classes_shape)

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
        }


def _through(layers, tokens):
    for layer in layers:
        tokens = layer(tokens)
    return tokens
