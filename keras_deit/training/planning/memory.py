"""What a device has to hold during a training."""

import dataclasses
import math
import re
from collections.abc import Iterable

import keras

from keras_deit.models import Classifier
from keras_deit.recipes import Optimisation
from keras_deit.training.devices.layouts import MODEL_AXIS, layout_axes
from keras_deit.training.optimisation import build_optimizer

# Of a tensor in a checkpoint's header: its name, dtype, shape and place.
_HEADER_BYTES = 100


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device; those of the second group are estimates.

    Attributes:
        weights: of the student, statistics and the state of random layers among them.
        gradients: of what is trained.
        optimiser: slots and accumulated gradients.
        average: of the weights (EMA).
        batches: images and targets of a step and, where the backend fetches it ahead, the next.
        teacher: its weights.

        activations: of the student.
        copies: of the student's weights in the dtype that is computed in.
        teacher_activations: the largest of its forward pass.
    """

    weights: int
    gradients: int
    optimiser: int
    average: int
    batches: int
    teacher: int
    activations: int
    copies: int
    teacher_activations: int

    @property
    def total(self) -> int:
        return sum(dataclasses.asdict(self).values())


def held_bytes(variables: Iterable[keras.Variable], model_devices: int = 1) -> int:
    """Bytes of some variables on each of the devices that share a model."""
    return sum(_variable_bytes(variable, model_devices) for variable in variables)


@dataclasses.dataclass(frozen=True)
class OptimizerSize:
    """What an optimiser keeps.

    Attributes:
        arrays: for each trained variable: its slots, and the sum of its gradients where they are
            accumulated.
        single_bytes: of its counters.
        single_tensors: how many those are.
    """

    arrays: int
    single_bytes: int
    single_tensors: int

    def bytes(self, student: Classifier, model_devices: int = 1) -> int:
        """On each device: every array is laid out as its variable."""
        trained = held_bytes(student.trainable_variables, model_devices)
        return self.arrays * trained + self.single_bytes


def optimizer_size(student: Classifier, optimisation: Optimisation) -> OptimizerSize:
    """The size of the recipe's optimiser, as Keras compiles it under the present policy.

    It is made and not built: only its counters get memory.

    Args:
        student: or its outline.
        optimisation: of the recipe.

    Raises:
        InputError: as `build_optimizer`.
    """
    # How many steps there are makes no difference to its variables.
    optimizer = build_optimizer(student, optimisation, steps_per_epoch=10**9)
    arrays = len(optimizer.slots) + (optimisation.accumulation_steps > 1)
    if keras.config.dtype_policy().name != "mixed_float16":
        return OptimizerSize(arrays, held_bytes(optimizer.variables), len(optimizer.variables))
    scaled = keras.optimizers.LossScaleOptimizer(optimizer).variables
    # When it is built there are the scale, float32, and the steps since its last change too.
    built_later = 4 + _dtype_bytes(scaled[0].dtype)
    return OptimizerSize(arrays, held_bytes(scaled) + built_later, len(scaled) + 2)


def checkpoint_bytes(student: Classifier, optimizer: OptimizerSize, averaged: bool) -> int:
    """Size of a checkpoint's file: student, its average, optimiser, and the names of all.

    Args:
        student: or its outline.
        optimizer: of it.
        averaged: whether there is a moving average of the weights.
    """
    average = student.weights if averaged else []
    tensors = len(student.variables) + len(average) + optimizer.single_tensors
    tensors += optimizer.arrays * len(student.trainable_variables)
    numbers = held_bytes([*student.variables, *average]) + optimizer.bytes(student)
    return numbers + _HEADER_BYTES * tensors


def _variable_bytes(variable: keras.Variable, model_devices: int) -> int:
    whole = math.prod(variable.shape) * _dtype_bytes(variable.dtype)
    if model_devices == 1:
        return whole
    axes = layout_axes(variable.path, tuple(variable.shape), model_devices)
    return whole // model_devices if MODEL_AXIS in axes else whole


def _dtype_bytes(dtype: str) -> int:
    return 1 if dtype == "bool" else int(re.search(r"\d+", dtype)[0]) // 8
