"""The pre-norm block of DeiT, DeiT III and CaiT."""

import keras

from keras_deit.layers.attention import MultiHeadSelfAttention
from keras_deit.layers.layer_scale import LayerScale
from keras_deit.layers.macs import layer_macs
from keras_deit.layers.mlp import MLP
from keras_deit.layers.stochastic_depth import StochasticDepth
from keras_deit.layers.talking_heads import TalkingHeadsAttention


@keras.saving.register_keras_serializable(package="keras_deit")
class TransformerBlock(keras.layers.Layer):
    """x + D(γ₁⊙Attention(LN(x))), then x + D(γ₂⊙MLP(LN(x))): D drops the branch per sample.

    Args:
        num_heads: of the self-attention.
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        drop_path_rate: of the stochastic depth, drawn for each branch by itself.
        layer_scale_init: initial γ; None leaves γ out.
        talking_heads: whether the heads of the self-attention are mixed, as in CaiT.

    Input and output: tokens (batch, length, width).
    """

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = None,
        talking_heads: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.drop_path_rate = drop_path_rate
        self.layer_scale_init = layer_scale_init
        self.talking_heads = talking_heads

    def build(self, input_shape):
        policy = self.dtype_policy
        attention_kind = TalkingHeadsAttention if self.talking_heads else MultiHeadSelfAttention
        attention = attention_kind(self.num_heads, self.qkv_bias, dtype=policy, name="attention")
        mlp = MLP(int(input_shape[-1] * self.mlp_ratio), dtype=policy, name="mlp")
        self.attention_branch = self._branch(attention, 1)
        self.mlp_branch = self._branch(mlp, 2)
        for layer in self.attention_branch + self.mlp_branch:
            layer.build(input_shape)

    def _branch(self, layer, number):
        policy = self.dtype_policy
        norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"norm{number}")
        branch = [norm, layer]
        if self.layer_scale_init is not None:
            name = f"layer_scale{number}"
            branch.append(LayerScale(self.layer_scale_init, dtype=policy, name=name))
        name = f"drop_path{number}"
        return branch + [StochasticDepth(self.drop_path_rate, dtype=policy, name=name)]

    def call(self, tokens, training=False):
        for branch in (self.attention_branch, self.mlp_branch):
            residual = tokens
            for layer in branch[:-1]:
                residual = layer(residual)
            tokens = tokens + branch[-1](residual, training=training)
        return tokens

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        layers = self.attention_branch + self.mlp_branch
        return sum(layer_macs(layer, input_shape) for layer in layers)

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
            "talking_heads": self.talking_heads,
        }
