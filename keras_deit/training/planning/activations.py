"""What a training step keeps of a forward pass until its backward pass has used it: an estimate."""

import dataclasses
import math

import keras

from keras_deit import layers as own
from keras_deit.layers.rematerialisation import Rematerialised


@dataclasses.dataclass(frozen=True)
class Kept:
    """Numbers that are kept for one image.

    Attributes:
        computed: in the dtype that the layers compute in.
        single: in float32 under every policy.
        largest: in the largest array, as which gradients of it come and go.
    """

    computed: float = 0
    single: float = 0
    largest: float = 0

    def __add__(self, other: "Kept") -> "Kept":
        largest = max(self.largest, other.largest)
        return Kept(self.computed + other.computed, self.single + other.single, largest)

    def bytes(self, compute_bytes: int) -> float:
        """Of one image, in a compute dtype of so many bytes."""
        return self.computed * compute_bytes + self.single * 4


@dataclasses.dataclass(frozen=True)
class Habits:
    """How many arrays a backend keeps for an operation, its input and its output among them.

    Attributes:
        norm: of a layer normalisation: input and output; those between are in float32.
        between: those.
        gelu: of an exact GELU.
        attended: of what the values make in an attention.
        maps: float32 arrays of (heads, queries, keys) in an attention: none where queries and keys
            are multiplied again in the backward pass.
    """

    norm: int = 2
    between: int = 2
    gelu: int = 4
    attended: int = 1
    maps: int = 2


# JAX: its `saved_residuals` of each block. PyTorch: what its autograd saves of each block. Keras
# writes a layer normalisation and a GELU out for TensorFlow as for JAX.
HABITS = {
    "jax": Habits(),
    "tensorflow": Habits(),
    "torch": Habits(between=0, gelu=2, attended=2, maps=0),
}


def activation_bytes(
    student: keras.Model,
    images: int,
    backend: str,
    model_devices: int = 1,
    rematerialise: bool = False,
) -> int:
    """What a step of a student needs for its activations, on a device, in bytes: an estimate.

    Everything that its layers keep, and two arrays as large as the largest of them, which the
    backward pass has in hand. Below the lowest layer that is trained nothing is kept.

    Args:
        student: or its outline.
        images: that a device has at once.
        backend: that runs.
        model_devices: devices that share a model.
        rematerialise: whether a block keeps its input alone, and is computed again when its turn
            comes in the backward pass.
    """
    count = ActivationCount(backend, model_devices)
    compute_bytes = 4 if student.compute_dtype == "float32" else 2
    trained, total, largest_block, in_hand = False, 0.0, 0.0, 0.0
    for layer in student.layers:
        trained = trained or bool(layer.trainable_variables)
        if not trained or not layer.weights:
            continue
        shape = layer.input.shape
        kept = count.of_layer(layer, shape)
        in_hand = max(in_hand, 2 * kept.largest * compute_bytes)
        if rematerialise and isinstance(layer, Rematerialised):
            largest_block = max(largest_block, kept.bytes(compute_bytes))
            kept = Kept(math.prod(shape[1:]))
        total += kept.bytes(compute_bytes)
    return round(images * (total + largest_block + in_hand))


class ActivationCount:
    """Counts what the layers of a student keep.

    Args:
        backend: whose habits are counted.
        model_devices: devices that share the heads of an attention and the hidden width of an MLP.
    """

    def __init__(self, backend: str, model_devices: int = 1):
        self._habits = HABITS[backend]
        self._shared_by = model_devices

    def of_layer(self, layer: keras.Layer, shape: tuple) -> Kept:
        """What a layer keeps of one image, its own input included where it needs it.

        Layers that only add or move numbers keep nothing.

        Args:
            layer: built, of a student.
            shape: of its input, (batch, ...); the batch is not read.
        """
        size = math.prod(shape[1:])
        for kind, count in self._COUNTS.items():
            if isinstance(layer, kind):
                return count(self, layer, shape, size)
        return Kept()

    def _norm(self, size: int) -> Kept:
        return Kept(self._habits.norm * size, self._habits.between * size)

    def _mlp(self, hidden: int, size: int, layer_scale: bool) -> Kept:
        return self._norm(size) + self._gelu(hidden) + Kept(layer_scale * size)

    def _gelu(self, hidden: float) -> Kept:
        hidden = hidden / self._shared_by
        return Kept(self._habits.gelu * hidden, largest=hidden)

    def _maps(self, maps: float) -> Kept:
        kept = self._habits.maps
        return Kept(0, maps * kept, maps * (kept > 0))

    def _transformer_block(self, block, shape, size) -> Kept:
        scaled = block.layer_scale_init is not None
        hidden = shape[1] * int(shape[2] * block.mlp_ratio)
        maps = block.num_heads * shape[1] ** 2 / self._shared_by
        if block.talking_heads:
            # Keras's operations stand alone there: products, exponentials, softmax, mixture.
            attention = Kept(4 * size / self._shared_by, 4 * maps, maps)
        else:
            attention = Kept((3 + self._habits.attended) * size / self._shared_by)
            attention += self._maps(maps)
        attention += self._norm(size) + Kept(scaled * size)
        masks = (2 * size + hidden) / 4 * (block.dropout_rate > 0)
        branch = attention + self._mlp(hidden, size, scaled) + Kept(0, masks)
        return sum([branch] * block.branches, Kept())

    def _class_attention_block(self, block, shape, size) -> Kept:
        _, length, width = shape
        tokens = block.num_class_tokens
        hidden = tokens * int(width * block.mlp_ratio)
        keys_and_values, rest = 2 * size, 4 * tokens * width
        maps = self._maps(block.num_heads * tokens * length)
        of_tokens = self._mlp(hidden, tokens * width, True)
        return self._norm(size) + Kept(keys_and_values + rest) + maps + of_tokens

    def _resmlp_block(self, block, shape, size) -> Kept:
        hidden = shape[1] * int(shape[2] * block.mlp_ratio)
        # Of each half the input, Affine's output and what LayerScale multiplies.
        return Kept(6 * size) + self._gelu(hidden)

    def _class_mlp_block(self, block, shape, size) -> Kept:
        return Kept(2 * size + (4 + self._habits.gelu * block.mlp_ratio) * shape[2])

    def _conv_block(self, block, shape, size) -> Kept:
        # Both GELUs; the gated grid; what LayerScale multiplies.
        scaled = block.layer_scale_init is not None
        return self._norm(size) + self._gelu(size) + self._gelu(size) + Kept((1 + scaled) * size)

    def _stem(self, stem, shape, size) -> Kept:
        kept = Kept(size)
        normalised = isinstance(stem, own.HierarchicalMLPStem)
        convolutions = stem.convs if normalised else stem.convolutions
        for number, convolution in enumerate(convolutions, start=1):
            shape = (None, *(side // convolution.strides[0] for side in shape[1:3]))
            made = math.prod(shape[1:]) * convolution.filters
            if normalised:
                kept += self._norm(made)
            if number < len(convolutions):
                kept += Kept(self._habits.gelu * made, largest=made)
        return kept

    def _input_alone(self, layer, shape, size) -> Kept:
        return Kept(size)

    def _layer_norm(self, layer, shape, size) -> Kept:
        return self._norm(size)

    _COUNTS = {
        own.TransformerBlock: _transformer_block,
        own.ClassAttentionBlock: _class_attention_block,
        own.ResMLPBlock: _resmlp_block,
        own.ClassMLPBlock: _class_mlp_block,
        own.ConvBlock: _conv_block,
        own.HierarchicalMLPStem: _stem,
        own.ConvStem: _stem,
        own.PatchEmbedding: _input_alone,
        own.PerClassHead: _input_alone,
        own.Affine: _input_alone,
        keras.layers.Dense: _input_alone,
        keras.layers.LayerNormalization: _layer_norm,
    }
