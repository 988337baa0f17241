"""What the rest of the package asks of a layer.

A layer answers by a method; a layer without that method answers by its sublayers. A model is a
layer, too.

| method of a layer | returns |
|---|---|
| `macs(input_shape)` | multiply-adds for one image |
| `binary_macs(input_shape)` | those of them whose two factors are binary numbers |
| `binary_weights()` | (variable, function from its values to the binary ones) of binary weights |
| `saved_activations(input_shape, costs)` | see `activations.saved_activations` |
| `model_parallel_axes()` | (variable, mesh axis of each dimension) of the variables to split |
| `position_tables()` | the `PositionTable`s of its variables that depend on the image size |
| `no_weight_decay()` | its variables without weight decay, besides those of rank 1 |
| `attention_probabilities(tokens)` | of an attention layer: (batch, heads, queries, keys) |
| `attention_maps(tokens)` | of a block with attention: the same, from the input of the block |
| `residual_branches(tokens)` | of a block: {name: (branch, what it is added to)}, from its input |
| `gate_variables()` | the gates of its channels, from which pruning learns what to keep |
| `gated_channels()` | of a block or a part of it: the same by name, see `channels.Gated` |
| `copy_into(narrow, rows)` | of such: gives its weights to one that keeps only these channels |
| `patch_grid(input_shape)` | of a layer that makes or pools patches: rows and columns after it |
| `layer_group(blocks_before)` | its group in layer-wise decay, if it is not that of its place |
"""

import math
from collections.abc import Callable

import keras

from keras_deit.core.errors import missing_method
from keras_deit.core.keras_internals import sublayers
from keras_deit.layers.operations import attention_lengths, einsum_macs, operation_macs, projections
from keras_deit.layers.positions import PositionTable
from keras_deit.layers.tracing import Shape, TracedCall, model_input_shape, of_keras, trace

MODEL_AXIS = "model"

# A variable, and for each of its dimensions `MODEL_AXIS` or None.
SplitVariable = tuple[keras.Variable, tuple[str | None, ...]]

_CONVOLUTIONS = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
)
# They multiply their inputs with each other.
_PRODUCTS_OF_INPUTS = (keras.layers.Dot, keras.layers.Attention, keras.layers.AdditiveAttention)

_KERAS_ATTENTION = (
    *(keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention),
    *(keras.layers.Attention, keras.layers.AdditiveAttention),
)


def layer_macs(layer: keras.layers.Layer, input_shape: Shape | list[Shape]) -> int:
    """Returns the multiply-adds of a layer for one image.

    Matrix products and convolutions count; biases, norms, activations and softmax do not, as in
    the tables of the papers, which call the number FLOPs.

    Args:
        layer: built.
        input_shape: (batch, ...), or a list of them for several inputs; the batch size is not used.

    Raises:
        InputError: the layer has matrices of its own and no method that says how it uses them, or
            an operation in it is not known.
    """
    if hasattr(layer, "macs") and not isinstance(layer, keras.Model):
        return layer.macs(input_shape)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(input_shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.EinsumDense):
        return einsum_macs(layer.equation, [(1, *input_shape[1:]), tuple(layer.kernel.shape)])
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return _attention_macs(layer, input_shape)
    if not of_keras(layer) or isinstance(layer, (keras.Model, keras.layers.Lambda)):
        return traced_macs(layer, input_shape)
    kernels = [weight.shape for weight in layer.weights if len(weight.shape) > 1]
    if isinstance(layer, _CONVOLUTIONS):
        positions = math.prod(layer.compute_output_shape(input_shape)[1:-1])
        return positions * sum(map(math.prod, kernels))
    if kernels or isinstance(layer, _PRODUCTS_OF_INPUTS):
        raise missing_method(layer, "macs(input_shape)", "counting multiply-adds")
    return 0


def traced_macs(layer: keras.layers.Layer, input_shape: Shape | list[Shape]) -> int:
    """Returns the multiply-adds of the layers and operations in a layer or model for one image.

    Raises:
        InputError: one of them is not known, or the layer cannot be traced.
    """
    return sum(_call_macs(call) for call in trace(layer, input_shape, "macs"))


def model_macs(model: keras.Model) -> int:
    """Returns the multiply-adds of the layers and operations of a functional model for one image.

    Raises:
        InputError: one of them is not known, or the image size is not fixed.
    """
    return traced_macs(model, model_input_shape(model))


def _call_macs(call: TracedCall) -> int:
    if not isinstance(call.operation, keras.layers.Layer):
        return operation_macs(call)
    # The batch of a layer may be more than one image's, such as its windows.
    return call.inputs[0][0] * layer_macs(call.operation, call.input_shape)


def _attention_macs(layer: keras.layers.MultiHeadAttention, input_shape) -> int:
    queries, keys = attention_lengths(layer, input_shape)
    kernel = {inner.name: math.prod(inner.kernel.shape) for inner in projections(layer)}
    projected = queries * (kernel["query"] + kernel["attention_output"])
    projected += keys * (kernel["key"] + kernel["value"])
    return projected + layer.num_heads * queries * keys * (layer.key_dim + layer.value_dim)


def kernel_variable(dense: keras.layers.Dense) -> keras.Variable:
    """Returns the variable of a kernel; with LoRA `dense.kernel` is a sum."""
    return next(weight for weight in dense.weights if weight.name == "kernel")


def column_parallel(dense: keras.layers.Dense) -> list[SplitVariable]:
    """Splits a dense layer by its outputs (Megatron-LM, Shoeybi et al., 2019, §3)."""
    split = [(kernel_variable(dense), (None, MODEL_AXIS))]
    return [*split, (dense.bias, (MODEL_AXIS,))] if dense.use_bias else split


def row_parallel(dense: keras.layers.Dense) -> list[SplitVariable]:
    """Splits a dense layer by its inputs. After a column-parallel layer no device needs the
    inputs that another one has (Megatron-LM, §3)."""
    return [(kernel_variable(dense), (MODEL_AXIS, None))]


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


def binary_weights(layer: keras.layers.Layer) -> list[tuple[keras.Variable, Callable]]:
    """Returns the variables of a layer or model that are computed with as two values for each
    output, its last axis, and for each of them the function from its values to those."""
    return _collect(layer, "binary_weights")


def gate_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the gates of the channels in a layer or model."""
    return _collect(layer, "gate_variables")


def attention_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the attention layers in a layer, in their order."""
    if hasattr(layer, "attention_probabilities") or isinstance(layer, _KERAS_ATTENTION):
        return [layer]
    return [found for inner in sublayers(layer) for found in attention_layers(inner)]


def _collect(layer: keras.layers.Layer, method: str) -> list:
    if hasattr(layer, method):
        return getattr(layer, method)()
    return [item for inner in sublayers(layer) for item in _collect(inner, method)]
