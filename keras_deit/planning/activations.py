"""An estimate of the memory of the activations in a training step."""

import dataclasses

import keras

from keras_deit.layers.activations import (
    ACTIVATION_COSTS,
    ActivationCosts,
    SavedActivations,
    model_activations,
    saved_by_call,
)
from keras_deit.layers.tracing import has_answer, trace_calls
from keras_deit.objectives import TrainingModel


def activation_bytes(model: TrainingModel, images: int, backend: str, shards: int = 1) -> int:
    """Estimates the bytes that a device needs for the activations in a training step.

    It counts what the student and the layers of the objective save for the backward pass, and two
    arrays as large as the largest of them, which the backward pass works on.

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
    student = model.student
    image_format = getattr(student, "image_format", None)
    views = model.objective.views
    if image_format is not None:
        views = model.objective.image_equivalents(image_format)
    compute_bytes = 4 if student.compute_dtype == "float32" else 2
    asked = getattr(student, "saved_activations", None)
    saved = asked(costs) if asked else model_activations(student, costs)
    of_student = saved.bytes(compute_bytes) + 2 * saved.largest * compute_bytes
    of_objective = _saved_by_objective(model, costs).bytes(compute_bytes)
    return round(images * (views * of_student + of_objective))


def _saved_by_objective(model: TrainingModel, costs: ActivationCosts) -> SavedActivations:
    """Returns what the layers of the objective save for all views of an image."""
    layers, objective = model.objective_layers, model.objective
    if not layers:
        return SavedActivations()
    views = () if objective.views == 1 else (objective.views,)
    shape = (1, *views, *model.student.input_shape[1:])
    calls = trace_calls(
        _ForwardPass(objective, layers), shape, lambda layer: has_answer(layer, "saved_activations")
    )
    return sum((saved_by_call(call, costs) for call in calls), SavedActivations())


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
