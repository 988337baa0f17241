"""The block of ResMLP."""

import keras
from keras import ops

from keras_deit.layers.affine import Affine
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.layer_scale import LayerScale
from keras_deit.layers.macs import layer_macs
from keras_deit.layers.mlp import MLP
from keras_deit.layers.rematerialisation import Rematerialised
from keras_deit.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="keras_deit")
class ResMLPBlock(Rematerialised):
    """x + D(γ₁⊙CrossPatch(Aff(x))), then x + D(γ₂⊙MLP(Aff(x))) (ResMLP §2).

    CrossPatch is one linear layer over the tokens, the same for every channel; D drops the branch
    per sample. γ has no shift, as in the authors' code; the paper's equations have one.

    Args:
        layer_scale_init: initial γ.
        mlp_ratio: hidden width of the MLP over the width of the tokens.
        drop_path_rate: of the stochastic depth, drawn for each branch by itself.

    Input and output: tokens (batch, length, width), the length fixed when the layer is built.
    """

    def __init__(
        self,
        layer_scale_init: float,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.layer_scale_init = layer_scale_init
        self.mlp_ratio = mlp_ratio
        self.drop_path_rate = drop_path_rate

    def build(self, input_shape):
        batch, length, width = input_shape
        policy = self.dtype_policy
        self.cross_patch = keras.layers.Dense(
            length, kernel_initializer=dense_kernel(), dtype=policy, name="cross_patch"
        )
        self.mlp = MLP(int(width * self.mlp_ratio), dtype=policy, name="mlp")
        self.norm1, self.norm2 = (Affine(dtype=policy, name=f"norm{n}") for n in (1, 2))
        self.layer_scale1, self.layer_scale2 = (
            LayerScale(self.layer_scale_init, dtype=policy, name=f"layer_scale{n}") for n in (1, 2)
        )
        self.drop_path1, self.drop_path2 = (
            StochasticDepth(self.drop_path_rate, dtype=policy, name=f"drop_path{n}") for n in (1, 2)
        )
        for layer in (self.norm1, self.layer_scale1, self.norm2, self.mlp, self.layer_scale2):
            layer.build(input_shape)
        self.cross_patch.build((batch, width, length))

    def call(self, tokens, training=False):
        draws = [
            drop_path.draw(tokens, training) for drop_path in (self.drop_path1, self.drop_path2)
        ]
        return self.through(lambda x: self._forward(x, *draws), tokens, training)

    def _forward(self, tokens, factor1, factor2):
        channels = ops.transpose(self.norm1(tokens), (0, 2, 1))
        crossed = self.layer_scale1(ops.transpose(self.cross_patch(channels), (0, 2, 1)))
        tokens = tokens + (crossed if factor1 is None else crossed * factor1)
        expanded = self.layer_scale2(self.mlp(self.norm2(tokens)))
        return tokens + (expanded if factor2 is None else expanded * factor2)

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        batch, length, width = input_shape
        crossing = layer_macs(self.cross_patch, (batch, width, length))
        return crossing + layer_macs(self.mlp, input_shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "layer_scale_init": self.layer_scale_init,
            "mlp_ratio": self.mlp_ratio,
            "drop_path_rate": self.drop_path_rate,
        }
