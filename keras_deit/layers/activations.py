"""What layers and models save of the forward pass for the backward pass: an estimate."""

import math

import keras

from keras_deit.core.errors import missing_method
from keras_deit.layers.costs import ACTIVATION_COSTS, NOTHING, ActivationCosts, SavedActivations
from keras_deit.layers.gelu import gelu, tanh_gelu
from keras_deit.layers.operations import attention_saves, operation_saves
from keras_deit.layers.tracing import Shape, TracedCall, model_input_shape, trace

__all__ = ["ACTIVATION_COSTS", "NOTHING", "ActivationCosts", "SavedActivations"]

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
_ACTIVATIONS = (
    *(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU),
    keras.layers.Softmax,
)
_SAVES_INPUTS = (
    *(keras.layers.Multiply, keras.layers.Maximum, keras.layers.Minimum),
    *(keras.layers.MaxPooling2D, keras.layers.GlobalMaxPooling1D),
    keras.layers.GlobalMaxPooling2D,
)
# These add numbers up, scale them or move them.
_SAVES_NOTHING = (
    *(keras.layers.InputLayer, keras.layers.Rescaling, keras.layers.RepeatVector),
    *(keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute, keras.layers.Identity),
    *(keras.layers.Add, keras.layers.Subtract, keras.layers.Average, keras.layers.Concatenate),
    *(keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D),
    *(keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.ZeroPadding2D),
    *(keras.layers.Cropping2D, keras.layers.UpSampling2D),
)


def saved_activations(
    layer: keras.layers.Layer, input_shape: Shape | list[Shape], costs: ActivationCosts
) -> SavedActivations:
    """Returns what a layer saves of one image, its input included if it needs it.

    A normalization counts its output too, which is the input of what follows. Therefore the
    attentions and MLPs of this package do not count their input.

    Args:
        layer: built.
        input_shape: (batch, ...), or a list of them for several inputs; the batch size is not used.
        costs: costs of the backend.

    Raises:
        InputError: the layer is not one of Keras's simple layers and has no such method.
    """
    if isinstance(layer, keras.Model):
        return traced_activations(layer, input_shape, costs)
    if hasattr(layer, "saved_activations"):
        return layer.saved_activations(input_shape, costs)
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return attention_saves(layer, input_shape, costs)
    if isinstance(layer, _SAVES_NOTHING):
        return NOTHING
    size = _size(input_shape)
    if isinstance(layer, _NORMS):
        return costs.norm(size)
    if isinstance(layer, _SAVES_INPUTS):
        return SavedActivations(size)
    if isinstance(layer, keras.layers.SeparableConv2D):
        return SavedActivations(size) + _of_separable(layer, input_shape, costs)
    if isinstance(layer, _PRODUCTS):
        made = _size(layer.compute_output_shape(input_shape))
        return SavedActivations(size) + _of_activation(layer.activation, made, costs)
    if isinstance(layer, keras.layers.Activation):
        return _of_activation(layer.activation, size, costs)
    if isinstance(layer, _ACTIVATIONS):
        return SavedActivations(2 * size, largest=size)
    if isinstance(layer, keras.layers.Dropout):
        # The mask is boolean.
        return SavedActivations(float32=size / 4 * (layer.rate > 0))
    raise missing_method(
        layer, "saved_activations(input_shape, costs)", "estimating the memory of a training"
    )


def traced_activations(
    layer: keras.layers.Layer, input_shape: Shape | list[Shape], costs: ActivationCosts
) -> SavedActivations:
    """Returns what the layers and operations in a layer save of one image.

    Raises:
        InputError: one of them is not known, or the layer cannot be traced.
    """
    calls = trace(layer, input_shape, "saved_activations")
    return sum((saved_by_call(call, costs) for call in calls), NOTHING)


def model_activations(model: keras.Model, costs: ActivationCosts) -> SavedActivations:
    """Returns what a training step of a functional model saves of one image.

    Layers below the first trained one save nothing. A block with activation checkpointing saves its
    input only, but the backward pass needs the activations of one such block at a time, so those
    of the largest are added.

    Raises:
        InputError: a layer or an operation does not say what it saves.
    """
    compute_bytes = 4 if model.compute_dtype == "float32" else 2
    trained, total, largest_block = False, NOTHING, NOTHING
    for call in trace(model, model_input_shape(model), "saved_activations"):
        trained = trained or bool(getattr(call.operation, "trainable_variables", ()))
        if not trained:
            continue
        saved = saved_by_call(call, costs)
        if getattr(call.operation, "activation_checkpointing", False):
            largest_block = max(largest_block, saved, key=lambda x: x.bytes(compute_bytes))
            saved = SavedActivations(sum(map(math.prod, call.inputs)), largest=saved.largest)
        total += saved
    return total + largest_block


def saved_by_call(call: TracedCall, costs: ActivationCosts) -> SavedActivations:
    """Returns what a traced call saves of one image."""
    if not isinstance(call.operation, keras.layers.Layer):
        return operation_saves(call, costs)
    saved = saved_activations(call.operation, call.input_shape, costs)
    # The batch of a layer may be more than one image's, such as its windows.
    return saved.times(call.inputs[0][0])


def _size(shape: Shape | list[Shape]) -> int:
    """Returns the numbers of one image in a tensor or several."""
    return sum(math.prod(x[1:]) for x in (shape if isinstance(shape, list) else [shape]))


def _of_separable(layer, input_shape: Shape, costs: ActivationCosts) -> SavedActivations:
    """Returns the result of the depthwise half, and what the activation saves."""
    made = layer.compute_output_shape(input_shape)
    between = math.prod(made[1:-1]) * input_shape[-1] * layer.depth_multiplier
    return SavedActivations(between) + _of_activation(layer.activation, _size(made), costs)


def _of_activation(activation, size: float, costs: ActivationCosts) -> SavedActivations:
    if activation in (None, keras.activations.linear):
        return NOTHING
    if activation is gelu:
        return costs.gelu(size, sharded=False)
    if activation in (keras.activations.gelu, tanh_gelu):
        return costs.keras_gelu(size)
    return SavedActivations(2 * size, largest=size)
