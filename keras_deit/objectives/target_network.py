"""A target network: the student's layers with an exponential moving average of their weights."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.keras_internals import has_memory, stored_value
from keras_deit.objectives.ema import average_variables, update_averages


class TargetNetwork(keras.layers.Layer):
    """The momentum teacher of DINO, BYOL and MoCo: the student's layers with averaged weights.

    After every step of the optimizer, average ← m·average + (1 − m)·weight. The momentum m is
    constant, or grows from `momentum` to 1 over the training by half a cosine (BYOL, §3.2; DINO,
    §3.1): in step t of T, counted from 0, m = 1 − (1 − `momentum`)·(1 + cos(πt/T))/2. The averages
    start at the present weights, and include batch statistics.

    It has no layers of its own: `predict` computes with those of the student, in which the averages
    stand for the weights. An objective makes it an attribute in `build`, so that it is a part of
    checkpoints, and calls `update` in `after_step`.

    Args:
        layers: built layers and models of the student, such as its `feature_model` and a projector.
        momentum: m of the first step, in [0, 1].
        steps: steps of the training, for a momentum that grows to 1; None for a constant one.

    Raises:
        InputError: `momentum` is out of range.
    """

    def __init__(
        self,
        layers: Sequence[keras.layers.Layer],
        momentum: float = 0.996,
        steps: int | None = None,
        **kwargs,
    ):
        super().__init__(**{"name": "target_network", "trainable": False, **kwargs})
        if not 0 <= momentum <= 1:
            raise InputError(f"The momentum of a target should be in [0, 1]. Received: {momentum}")
        weights = {id(weight): weight for layer in layers for weight in layer.weights}
        # In a function, because Keras would track the student's variables as those of this layer.
        self._weights_of_student = lambda: list(weights.values())
        self.momentum = momentum
        self._averages = average_variables(self.name, self._weights_of_student())
        self._steps = None
        if steps is not None:
            # A variable, so that `set_steps` works after the training step is compiled.
            self._steps = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(steps),
                dtype="float32",
                trainable=False,
                name="steps",
            )
        # A model whose variables have no memory, of which the memory is planned, has no values.
        if all(map(has_memory, layers)):
            self.reset()
        self.built = True

    def reset(self) -> None:
        """Sets the averages to the present weights."""
        for average, weight in zip(self._averages, self._weights_of_student(), strict=True):
            average.assign(ops.copy(weight))

    def set_steps(self, steps: int) -> None:
        """Sets the number of steps of the training over which the momentum grows."""
        if self._steps is not None:
            self._steps.assign(steps)

    def rate_at(self, step):
        """Returns 1 − m for a step, counted from 0: a scalar float32 tensor."""
        if self._steps is None:
            return ops.convert_to_tensor(1 - self.momentum, "float32")
        share = ops.clip(ops.cast(step, "float32") / self._steps, 0.0, 1.0)
        return (1 - self.momentum) * ops.square(ops.cos(share * (math.pi / 2)))

    @contextlib.contextmanager
    def swap_weights(self, model: keras.Model) -> Iterator[None]:
        """Assigns the averages to the weights of a model during the block.

        Args:
            model: the student, whose other weights, such as the class head's, stay.
        """
        weights = self._weights_of_student()
        own = [ops.convert_to_numpy(weight) for weight in weights]
        for weight, average in zip(weights, self._averages, strict=True):
            weight.assign(average.value)
        try:
            yield
        finally:
            for weight, value in zip(weights, own, strict=True):
                weight.assign(value)

    def predict(self, function: Callable, *inputs):
        """Calls a function with the averages in place of the student's weights.

        Args:
            function: calls the layers in inference mode: the state of random layers is none of the
                averages. Nothing that it assigns to a variable lasts.
            *inputs: arguments of the function.

        Returns:
            The tensors that it returns, to which no gradient is propagated.
        """
        values = map(stored_value, self._averages)
        pairs = list(zip(self._weights_of_student(), values, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            outputs = function(*inputs)
        return keras.tree.map_structure(ops.stop_gradient, outputs)

    def update(self, changed, steps) -> None:
        """Updates the averages with the present weights.

        Args:
            changed: whether the optimizer changed the weights in this step, a scalar bool.
            steps: number of steps of the optimizer before this one, a scalar integer.
        """
        averages, weights = self._averages, self._weights_of_student()
        update_averages(averages, weights, self.rate_at(steps), changed)
