"""The memory of a device in a training."""

import dataclasses
import math
import re
from collections.abc import Collection, Iterable

import keras

from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import Optimization, build_optimizer

# For each tensor the header of a checkpoint has the name, dtype, shape and position.
_HEADER_BYTES = 100


@dataclasses.dataclass(frozen=True)
class Memory:
    """The bytes on each device. Those of the second group are estimates.

    Attributes:
        weights: weights of the student and the objective, with those of a target network, batch
            statistics and the state of random layers.
        gradients: gradients of the trained weights.
        optimizer: slots, accumulated gradients and counters of the optimizer.
        ema: exponential moving average of the weights.
        batches: images and targets of a step and, if the backend prefetches, of the next one.
        teacher: weights of the teacher.

        activations: activations of the student and the objective.
        copies: copies of the weights in the dtype that the layers compute in.
        teacher_activations: input and output of the largest layer of the teacher.
        loss: largest arrays of the loss, and of the forward pass of a target network.
    """

    weights: int
    gradients: int
    optimizer: int
    ema: int
    batches: int
    teacher: int
    activations: int
    copies: int
    teacher_activations: int
    loss: int

    @property
    def total(self) -> int:
        """The sum of all of them."""
        return sum(dataclasses.asdict(self).values())


def variable_bytes(
    variables: Iterable[keras.Variable], split: Collection[str] = (), shards: int = 1
) -> int:
    """Returns the bytes of some variables on a device.

    Args:
        variables: variables, which may be abstract.
        split: paths of the variables that are split over devices.
        shards: number of devices over which they are split.
    """
    total = 0
    for variable in variables:
        size = math.prod(variable.shape) * _dtype_bytes(variable.dtype)
        total += size // shards if variable.path in split else size
    return total


@dataclasses.dataclass(frozen=True)
class OptimizerSize:
    """The size of the variables of an optimizer.

    Attributes:
        arrays: number of arrays for each trained variable: slots and accumulated gradient.
        counter_bytes: bytes of its counters.
        counters: number of its counters.
    """

    arrays: int
    counter_bytes: int
    counters: int

    def bytes(self, trained_bytes: int) -> int:
        """Returns the bytes on a device; every array is split in the same way as its variable.

        Args:
            trained_bytes: bytes of the trained variables on the device.
        """
        return self.arrays * trained_bytes + self.counter_bytes


def optimizer_size(model: TrainingModel, optimization: Optimization) -> OptimizerSize:
    """Returns the size of the recipe's optimizer, as Keras compiles it under the present policy.

    It is created but not built, so only its counters get memory.

    Args:
        model: model to train, which may be abstract.
        optimization: settings of the recipe.

    Raises:
        InputError: `build_optimizer` raises it.
    """
    # The variables do not depend on the number of steps.
    optimizer = build_optimizer(model, optimization, steps_per_epoch=10**9)
    arrays = len(optimizer.slots) + (optimization.accumulation_steps > 1)
    if keras.config.dtype_policy().name != "mixed_float16":
        return OptimizerSize(arrays, variable_bytes(optimizer.variables), len(optimizer.variables))
    scaled = keras.optimizers.LossScaleOptimizer(optimizer).variables
    # When it is built, it also gets the scale, in float32, and the steps since its last change.
    built_later = 4 + _dtype_bytes(scaled[0].dtype)
    return OptimizerSize(arrays, variable_bytes(scaled) + built_later, len(scaled) + 2)


def checkpoint_bytes(model: TrainingModel, optimizer: OptimizerSize, has_ema: bool) -> int:
    """Returns the size of a checkpoint file: weights, EMA, optimizer, and the names of all.

    Args:
        model: model to train, which may be abstract.
        optimizer: size of its optimizer.
        has_ema: whether there is a moving average of the student's weights.
    """
    variables = trained_model_variables(model)
    ema = model.student.weights if has_ema else []
    tensors = len(variables) + len(ema) + optimizer.counters
    tensors += optimizer.arrays * len(model.trainable_variables)
    numbers = variable_bytes([*variables, *ema])
    numbers += optimizer.bytes(variable_bytes(model.trainable_variables))
    return numbers + _HEADER_BYTES * tensors


def trained_model_variables(model: TrainingModel) -> list[keras.Variable]:
    """Returns the variables of the student and the objective, without the teacher's."""
    teacher = model.objective.teacher
    others = {
        id(v)
        for part in (*model.metrics, *([teacher] * (teacher is not None)))
        for v in part.variables
    }
    return [variable for variable in model.variables if id(variable) not in others]


def _dtype_bytes(dtype: str) -> int:
    return 1 if dtype == "bool" else int(re.search(r"\d+", dtype)[0]) // 8
