"""What a training step saves of the forward pass for the backward pass: an estimate."""

import dataclasses
import math

import keras

from keras_deit.core.errors import missing_method


@dataclasses.dataclass(frozen=True)
class SavedActivations:
    """Numbers that are saved for one image.

    Attributes:
        computed: in the dtype that the layers compute in.
        float32: in float32 under every dtype policy.
        largest: size of the largest array, because gradients of that size come and go.
    """

    computed: float = 0
    float32: float = 0
    largest: float = 0

    def __add__(self, other: "SavedActivations") -> "SavedActivations":
        return SavedActivations(
            self.computed + other.computed,
            self.float32 + other.float32,
            max(self.largest, other.largest),
        )

    def bytes(self, compute_bytes: int) -> float:
        """Returns the bytes for one image, in a compute dtype of this many bytes."""
        return self.computed * compute_bytes + self.float32 * 4


NOTHING = SavedActivations()


@dataclasses.dataclass(frozen=True)
class ActivationCosts:
    """How many arrays a backend saves for an operation, its input and output included.

    Attributes:
        norm: of a layer normalization, in the compute dtype: input and output.
        norm_float32: of a layer normalization: what is between them, in float32.
        gelu_arrays: of an exact GELU.
        attended: of the values in an attention.
        map_arrays: float32 arrays of (heads, queries, keys) in an attention; 0 if queries and
            keys are multiplied again in the backward pass.
        shards: devices that share the heads of an attention and the hidden width of an MLP.
    """

    norm_arrays: int = 2
    norm_float32: int = 2
    gelu_arrays: int = 4
    attended: int = 1
    map_arrays: int = 2
    shards: int = 1

    def norm(self, size: float) -> SavedActivations:
        """Of a normalization of this many numbers."""
        return SavedActivations(self.norm_arrays * size, self.norm_float32 * size)

    def gelu(self, size: float, sharded: bool = True) -> SavedActivations:
        """Of a GELU of this many numbers."""
        size = size / self.shards if sharded else size
        return SavedActivations(self.gelu_arrays * size, largest=size)

    def attention_maps(self, size: float) -> SavedActivations:
        """Of attention maps of this many numbers."""
        return SavedActivations(0, size * self.map_arrays, size * (self.map_arrays > 0))


# JAX: `saved_residuals` of each block. PyTorch: what its autograd saves of each block. Keras
# writes a layer normalization and a GELU as single operations for TensorFlow as for JAX.
ACTIVATION_COSTS = {
    "jax": ActivationCosts(),
    "tensorflow": ActivationCosts(),
    "torch": ActivationCosts(norm_float32=0, gelu_arrays=2, attended=2, map_arrays=0),
}

_NORMS = (
    keras.layers.LayerNormalization,
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)
_PRODUCTS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.DepthwiseConv2D),
)
# These add numbers up or move them.
_SAVES_NOTHING = (
    keras.layers.InputLayer,
    *(keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute, keras.layers.Identity),
    *(keras.layers.Add, keras.layers.Average, keras.layers.Concatenate),
    *(keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D),
    *(keras.layers.AveragePooling2D, keras.layers.ZeroPadding2D, keras.layers.UpSampling2D),
)


def saved_activations(
    layer: keras.layers.Layer, input_shape: tuple, costs: ActivationCosts
) -> SavedActivations:
    """Returns what a layer saves of one image, its input included if it needs it.

    A normalization counts its output too, which is the input of what follows. Therefore the
    attentions and MLPs of this package do not count their input.

    Args:
        layer: built.
        input_shape: (batch, ...); the batch size is not used.
        costs: of the backend.

    Raises:
        InputError: the layer is not one of Keras's simple layers and has no such method.
    """
    if hasattr(layer, "saved_activations"):
        return layer.saved_activations(input_shape, costs)
    size = math.prod(input_shape[1:])
    if isinstance(layer, _NORMS):
        return costs.norm(size)
    if isinstance(layer, _PRODUCTS):
        made = math.prod(layer.compute_output_shape(input_shape)[1:])
        return SavedActivations(size) + _of_activation(layer.activation, made, costs)
    if isinstance(layer, keras.layers.Activation):
        return _of_activation(layer.activation, size, costs)
    if isinstance(layer, keras.layers.Dropout):
        # The mask is boolean.
        return SavedActivations(float32=size / 4 * (layer.rate > 0))
    if isinstance(layer, _SAVES_NOTHING):
        return NOTHING
    raise missing_method(
        layer, "saved_activations(input_shape, costs)", "estimating the memory of a training"
    )


def _of_activation(activation, size: float, costs: ActivationCosts) -> SavedActivations:
    if activation in (None, keras.activations.linear):
        return NOTHING
    if activation is keras.activations.gelu:
        return costs.gelu(size, sharded=False)
    return SavedActivations(2 * size, largest=size)
