"""The block of ResMLP's class-MLP pooling."""

import keras
from keras import ops

from keras_deit.layers.affine import Affine
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.layer_scale import LayerScale
from keras_deit.layers.macs import layer_macs
from keras_deit.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassMLPBlock(keras.layers.Layer):
    """Gathers the patches into the class token, without attention and without changing them:
    c + γ₁⊙Linear(Aff([c, patches])), then c + γ₂⊙MLP(Aff(c)) (ResMLP, "class-MLP").

    The authors released no code of it. The paper takes the class-attention stage of CaiT, leaves
    the patches as they are, and puts "simple linear layers" in the place of the attention; it
    does not say over which axes. Chosen here: one linear layer from all tokens to one, the class
    token among them, the same for every channel as ResMLP's cross-patch layer is. With two such
    blocks S12 has 17.72 M parameters, in the paper 17.7 (were the layer another one for each
    channel, 17.87). Chosen too: Affine for norms, the LayerScale and MLP of the other blocks, and
    no stochastic depth, as in CaiT's stage.

    Args:
        layer_scale_init: initial γ.
        mlp_ratio: hidden width of the MLP over the width of the tokens.

    Input and output: tokens (batch, 1 + patches, width), the class token first; the length is
    fixed when the layer is built.
    """

    def __init__(self, layer_scale_init: float, mlp_ratio: float = 4.0, **kwargs):
        super().__init__(**kwargs)
        self.layer_scale_init = layer_scale_init
        self.mlp_ratio = mlp_ratio

    def build(self, input_shape):
        batch, length, width = input_shape
        class_shape = (batch, 1, width)
        policy = self.dtype_policy
        self.gather = keras.layers.Dense(
            1, kernel_initializer=dense_kernel(), dtype=policy, name="gather"
        )
        self.mlp = MLP(int(width * self.mlp_ratio), dtype=policy, name="mlp")
        self.norm1, self.norm2 = (Affine(dtype=policy, name=f"norm{n}") for n in (1, 2))
        self.layer_scale1, self.layer_scale2 = (
            LayerScale(self.layer_scale_init, dtype=policy, name=f"layer_scale{n}") for n in (1, 2)
        )
        self.norm1.build(input_shape)
        self.gather.build((batch, width, length))
        for layer in (self.layer_scale1, self.norm2, self.mlp, self.layer_scale2):
            layer.build(class_shape)

    def call(self, tokens):
        class_token, patches = tokens[:, :1], tokens[:, 1:]
        channels = ops.transpose(self.norm1(tokens), (0, 2, 1))
        gathered = ops.transpose(self.gather(channels), (0, 2, 1))
        class_token = class_token + self.layer_scale1(gathered)
        class_token = class_token + self.layer_scale2(self.mlp(self.norm2(class_token)))
        return ops.concatenate([class_token, patches], axis=1)

    def macs(self, input_shape) -> int:
        """Multiply-adds for one sample."""
        batch, length, width = input_shape
        gathering = layer_macs(self.gather, (batch, width, length))
        return gathering + layer_macs(self.mlp, (batch, 1, width))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "layer_scale_init": self.layer_scale_init,
            "mlp_ratio": self.mlp_ratio,
        }
