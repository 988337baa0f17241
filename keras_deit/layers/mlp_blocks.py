"""The layers of ResMLP: its affine norm, its block, and the block of its class-MLP pooling."""

import math

import keras
from keras import ops

from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.block import Block
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_kernel
from keras_deit.layers.introspection import column_parallel, layer_macs
from keras_deit.layers.mlp import MLP
from keras_deit.layers.positions import PatchKernel
from keras_deit.layers.residual import LayerScale, StochasticDepth


@keras.saving.register_keras_serializable(package="keras_deit")
class Affine(keras.layers.Layer):
    """α⊙x + β, a learned factor and shift for each channel, without statistics (ResMLP §2).

    Args:
        initial_value: initial value of α; that of β is 0.

    Input and output: (..., width).
    """

    def __init__(self, initial_value: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape):
        shape = (input_shape[-1],)
        initializer = keras.initializers.Constant(self.initial_value)
        self.alpha = self.add_weight(shape=shape, initializer=initializer, name="alpha")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs):
        return inputs * self.alpha + self.beta

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input."""
        return SavedActivations(math.prod(input_shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial_value": self.initial_value}


@keras.saving.register_keras_serializable(package="keras_deit")
class ResMLPBlock(Block):
    """x + D(γ₁⊙CrossPatch(Aff(x))), then x + D(γ₂⊙MLP(Aff(x))) (ResMLP §2).

    CrossPatch is one linear layer over the tokens, the same for every channel; D is stochastic
    depth. γ has no shift, as in the authors' code; the paper's equations have one.

    Args:
        layer_scale_init: initial γ.
        mlp_ratio: hidden width of the MLP divided by the width of the tokens.
        drop_path_rate: rate of the stochastic depth, which is drawn for each branch by itself.

    Input and output: tokens (batch, length, width); the length is fixed when the layer is built.
    """

    supports_activation_checkpointing = True

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
        self.cross_patch = Dense(
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
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        tokens = tokens + self.drop_path1(self._crossed(tokens))
        return tokens + self.drop_path2(self._mlp_branch(tokens))

    def _crossed(self, tokens):
        channels = ops.transpose(self.norm1(tokens), (0, 2, 1))
        return self.layer_scale1(ops.transpose(self.cross_patch(channels), (0, 2, 1)))

    def _mlp_branch(self, tokens):
        return self.layer_scale2(self.mlp(self.norm2(tokens)))

    def residual_branches(self, tokens):
        """Returns what each branch adds, and the tokens that it is added to, by its name."""
        crossed = self._crossed(tokens)
        after = tokens + crossed
        return {"cross_patch": (crossed, tokens), "mlp": (self._mlp_branch(after), after)}

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        batch, length, width = input_shape
        crossing = layer_macs(self.cross_patch, (batch, width, length))
        return crossing + layer_macs(self.mlp, input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image: of each half the input, the output of Affine and
        the input of LayerScale."""
        return SavedActivations(6 * math.prod(input_shape[1:])) + self.mlp.saved_activations(
            input_shape, costs
        )

    def model_parallel_axes(self):
        return column_parallel(self.cross_patch) + self.mlp.model_parallel_axes()

    def position_tables(self):
        return [PatchKernel(variable, None) for variable in self.cross_patch.weights]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "layer_scale_init": self.layer_scale_init,
            "mlp_ratio": self.mlp_ratio,
            "drop_path_rate": self.drop_path_rate,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class ClassMLPBlock(Block):
    """Gathers the patches into the class token, without attention and without changing them:
    c + γ₁⊙Linear(Aff([c, patches])), then c + γ₂⊙MLP(Aff(c)) (ResMLP, "class-MLP").

    The authors released no code of it. The paper takes the class-attention stage of CaiT, leaves
    the patches as they are, and replaces the attention by "simple linear layers"; it does not say
    over which axes. Chosen here: one linear layer from all tokens, the class token included, to
    one, the same for every channel as ResMLP's cross-patch layer. With two such blocks S12 has
    17.72 M parameters, in the paper 17.7 (with a separate layer for each channel, 17.87). Also
    chosen: Affine for the norms, the LayerScale and MLP of the other blocks, and no stochastic
    depth, as in CaiT's stage.

    Args:
        layer_scale_init: initial γ.
        mlp_ratio: hidden width of the MLP divided by the width of the tokens.

    Input and output: tokens (batch, 1 + patches, width), the class token first; the length is
    fixed when the layer is built.
    """

    supports_activation_checkpointing = True

    def __init__(self, layer_scale_init: float, mlp_ratio: float = 4.0, **kwargs):
        super().__init__(**kwargs)
        self.layer_scale_init = layer_scale_init
        self.mlp_ratio = mlp_ratio

    def build(self, input_shape):
        batch, length, width = input_shape
        class_shape = (batch, 1, width)
        policy = self.dtype_policy
        self.gather = Dense(1, kernel_initializer=dense_kernel(), dtype=policy, name="gather")
        self.mlp = MLP(int(width * self.mlp_ratio), dtype=policy, name="mlp")
        self.norm1, self.norm2 = (Affine(dtype=policy, name=f"norm{n}") for n in (1, 2))
        self.layer_scale1, self.layer_scale2 = (
            LayerScale(self.layer_scale_init, dtype=policy, name=f"layer_scale{n}") for n in (1, 2)
        )
        self.norm1.build(input_shape)
        self.gather.build((batch, width, length))
        for layer in (self.layer_scale1, self.norm2, self.mlp, self.layer_scale2):
            layer.build(class_shape)

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        class_token, patches = tokens[:, :1], tokens[:, 1:]
        class_token = class_token + self._gathered(tokens)
        class_token = class_token + self._mlp_branch(class_token)
        return ops.concatenate([class_token, patches], axis=1)

    def _gathered(self, tokens):
        channels = ops.transpose(self.norm1(tokens), (0, 2, 1))
        return self.layer_scale1(ops.transpose(self.gather(channels), (0, 2, 1)))

    def _mlp_branch(self, tokens):
        return self.layer_scale2(self.mlp(self.norm2(tokens)))

    def residual_branches(self, tokens):
        """Returns what each branch adds, and the class token that it is added to, by its name."""
        before, gathered = tokens[:, :1], self._gathered(tokens)
        after = before + gathered
        return {"gather": (gathered, before), "mlp": (self._mlp_branch(after), after)}

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        batch, length, width = input_shape
        gathering = layer_macs(self.gather, (batch, width, length))
        return gathering + layer_macs(self.mlp, (batch, 1, width))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image."""
        batch, length, width = input_shape
        mlp = self.mlp.saved_activations((batch, 1, width), costs)
        return SavedActivations(2 * length * width + 4 * width) + mlp

    def position_tables(self):
        return [PatchKernel(self.gather.kernel, None)]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "layer_scale_init": self.layer_scale_init,
            "mlp_ratio": self.mlp_ratio,
        }
