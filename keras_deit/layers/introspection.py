"""What the rest of the package asks of a layer.

A layer answers by a method; a layer without that method answers by its sublayers. A model is a
layer, too.

| method of a layer | returns |
|---|---|
| `macs(input_shape)` | multiply-adds for one image |
| `saved_activations(input_shape, costs)` | see `activations.saved_activations` |
| `model_parallel_axes()` | (variable, mesh axis of each dimension) of the variables to split |
| `position_tables()` | the `PositionTable`s of its variables that depend on the image size |
| `no_weight_decay()` | its variables without weight decay, besides those of rank 1 |
| `attention_probabilities(tokens)` | of an attention layer: (batch, heads, queries, keys) |
| `attention_maps(tokens)` | of a block with attention: the same, from the input of the block |
| `layer_group(blocks_before)` | its group in layer-wise decay, if it is not that of its place |
"""

import math

import keras

from keras_deit.core.errors import missing_method
from keras_deit.core.keras_internals import sublayers
from keras_deit.layers.positions import PositionTable

MODEL_AXIS = "model"

# A variable, and for each of its dimensions `MODEL_AXIS` or None.
SplitVariable = tuple[keras.Variable, tuple[str | None, ...]]

_CONVOLUTIONS = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
)

_KERAS_ATTENTION = (
    *(keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention),
    *(keras.layers.Attention, keras.layers.AdditiveAttention),
)


def layer_macs(layer: keras.layers.Layer, input_shape: tuple) -> int:
    """Returns the multiply-adds of a layer for one image.

    Matrix products and convolutions count; biases, norms, activations and softmax do not, as in
    the tables of the papers, which call the number FLOPs.

    Args:
        layer: built.
        input_shape: (batch, ...); the batch size is not used.

    Raises:
        InputError: the layer has matrices, and no method that says how it uses them.
    """
    if hasattr(layer, "macs"):
        return layer.macs(input_shape)
    if isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense)):
        return math.prod(input_shape[1:-1]) * math.prod(layer.kernel.shape)
    kernels = [weight.shape for weight in layer.weights if len(weight.shape) > 1]
    if isinstance(layer, _CONVOLUTIONS):
        positions = math.prod(layer.compute_output_shape(input_shape)[1:-1])
        return positions * sum(map(math.prod, kernels))
    if kernels:
        raise missing_method(layer, "macs(input_shape)", "counting multiply-adds")
    return 0


def column_parallel(dense: keras.layers.Dense) -> list[SplitVariable]:
    """Splits a dense layer by its outputs (Megatron-LM, Shoeybi et al., 2019, §3)."""
    split = [(dense.kernel, (None, MODEL_AXIS))]
    return [*split, (dense.bias, (MODEL_AXIS,))] if dense.use_bias else split


def row_parallel(dense: keras.layers.Dense) -> list[SplitVariable]:
    """Splits a dense layer by its inputs. After a column-parallel layer no device needs the
    inputs that another one has (Megatron-LM, §3)."""
    return [(dense.kernel, (MODEL_AXIS, None))]


def model_parallel_axes(layer: keras.layers.Layer) -> list[SplitVariable]:
    """Returns the variables of a layer that are split when several devices share a model.

    Each device has a copy of all others.
    """
    return _collect(layer, "model_parallel_axes")


def position_tables(layer: keras.layers.Layer) -> list[PositionTable]:
    """Returns the variables of a layer whose shape depends on the image size."""
    return _collect(layer, "position_tables")


def no_weight_decay(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables that a layer or model lists to exclude from weight decay."""
    return _collect(layer, "no_weight_decay")


def attention_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the attention layers in a layer, in their order."""
    if hasattr(layer, "attention_probabilities") or isinstance(layer, _KERAS_ATTENTION):
        return [layer]
    return [found for inner in sublayers(layer) for found in attention_layers(inner)]


def _collect(layer: keras.layers.Layer, method: str) -> list:
    if hasattr(layer, method):
        return getattr(layer, method)()
    return [item for inner in sublayers(layer) for item in _collect(inner, method)]
