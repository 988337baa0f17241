"""Numbers of saved activations, and what the operations of each backend save."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SavedActivations:
    """Numbers that are saved for one image.

    Attributes:
        computed: arrays in the dtype that the layers compute in.
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

    def times(self, number: float) -> "SavedActivations":
        """Returns the sum of this many of them, computed side by side."""
        return SavedActivations(*(number * x for x in dataclasses.astuple(self)))

    def bytes(self, compute_bytes: int) -> float:
        """Returns the bytes for one image, in a compute dtype of this many bytes."""
        return self.computed * compute_bytes + self.float32 * 4


NOTHING = SavedActivations()


@dataclasses.dataclass(frozen=True)
class ActivationCosts:
    """How many arrays a backend saves for an operation, its input and output included.

    Attributes:
        norm_arrays: arrays of a layer normalization, in the compute dtype: input and output.
        norm_float32: arrays between them, in float32.
        gelu_arrays: arrays of the exact GELU of this package.
        keras_gelu_arrays: arrays of Keras's GELU.
        attended: copies of the values in an attention.
        map_arrays: float32 arrays of (heads, queries, keys) in an attention; 0 if queries and
            keys are multiplied again in the backward pass.
        shards: devices that share the heads of an attention and the hidden width of an MLP.
    """

    norm_arrays: int = 2
    norm_float32: int = 2
    gelu_arrays: int = 3
    keras_gelu_arrays: int = 4
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

    def keras_gelu(self, size: float, sharded: bool = True) -> SavedActivations:
        """Of Keras's GELU, exact or with tanh, of this many numbers."""
        size = size / self.shards if sharded else size
        return SavedActivations(self.keras_gelu_arrays * size, largest=size)

    def attention_maps(self, size: float) -> SavedActivations:
        """Of attention maps of this many numbers."""
        return SavedActivations(0, size * self.map_arrays, size * (self.map_arrays > 0))


# JAX: `saved_residuals` of each block. PyTorch: what its autograd saves of each block. A layer
# normalization and a GELU consist of the same operations on TensorFlow as on JAX.
ACTIVATION_COSTS = {
    "jax": ActivationCosts(),
    "tensorflow": ActivationCosts(),
    "torch": ActivationCosts(
        norm_float32=0, gelu_arrays=2, keras_gelu_arrays=2, attended=2, map_arrays=0
    ),
}
