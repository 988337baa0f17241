"""An estimate of the memory of the activations in a training step."""

import dataclasses
import math

import keras

from keras_deit.layers.activations import (
    ACTIVATION_COSTS,
    ActivationCosts,
    SavedActivations,
    saved_activations,
)
from keras_deit.layers.tracing import functional_layers, trace_calls
from keras_deit.objectives import TrainingModel


def activation_bytes(model: TrainingModel, images: int, backend: str, shards: int = 1) -> int:
    """Estimates the bytes that a device needs for the activations in a training step.

    It counts what the layers save for the backward pass, and two arrays as large as the largest of
    them, which the backward pass works on. Layers below the first trained one save nothing. A block
    with activation checkpointing saves its input only, but the backward pass needs the activations
    of one such block at a time, so those of the largest are added.

    Args:
        model: the student with its objective; it may be abstract.
        images: number of images that a device processes at once.
        backend: name of the backend.
        shards: number of devices that share a model.

    Returns:
        The number of bytes on each device.

    Raises:
        InputError: a layer does not say what it saves.
    """
    costs = dataclasses.replace(ACTIVATION_COSTS[backend], shards=shards)
    student, views = model.student, model.objective.views
    compute_bytes = 4 if student.compute_dtype == "float32" else 2
    trained, total, largest_block, working = False, 0.0, 0.0, 0.0
    for layer, shape in functional_layers(student):
        trained = trained or bool(layer.trainable_variables)
        if not trained:
            continue
        saved = saved_activations(layer, shape, costs)
        working = max(working, 2 * saved.largest * compute_bytes)
        if getattr(layer, "activation_checkpointing", False):
            largest_block = max(largest_block, saved.bytes(compute_bytes))
            saved = SavedActivations(math.prod(shape[1:]))
        total += saved.bytes(compute_bytes)
    of_objective = _saved_by_objective(model, costs).bytes(compute_bytes)
    return round(images * (views * (total + largest_block + working) + of_objective))


def _saved_by_objective(model: TrainingModel, costs: ActivationCosts) -> SavedActivations:
    """Returns what the layers of the objective save for all views of an image."""
    layers, objective = model.objective_layers, model.objective
    if not layers:
        return SavedActivations()
    views = () if objective.views == 1 else (objective.views,)
    shape = (1, *views, *model.student.input_shape[1:])
    calls = trace_calls(
        _ForwardPass(objective, layers), shape, lambda layer: hasattr(layer, "saved_activations")
    )
    total = SavedActivations()
    for call in calls:
        for _ in range(call.inputs[0][0]):  # They get the views in place of the batch.
            total += saved_activations(call.layer, call.inputs[0], costs)
    return total


class _ForwardPass(keras.layers.Layer):
    """The forward pass of an objective as a layer, which makes its layers sublayers."""

    def __init__(self, objective, layers: list[keras.layers.Layer]):
        # TensorFlow refuses the default name, which would begin with an underscore.
        super().__init__(dtype="float32", name="forward_pass")
        self.objective = objective
        self.objective_layers = layers
        self.built = True

    def call(self, images):
        return self.objective.forward(images, training=True)
