"""The exponential moving average (EMA) of a model's weights."""

import contextlib
from collections.abc import Iterator

import keras
from keras import ops

from keras_deit.core.image_checks import ImageChecks


class ExponentialMovingAverage(keras.layers.Layer):
    """The exponential moving average of a model's weights, including batch statistics.

    After every step, average ← decay·average + (1 − decay)·weight. It starts from the weights
    before the first step. With a warm-up the decay of step t, counted from 0, is
    min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage: the average is that
    of about the last ninth of the steps so far, until that is longer than the decay's own window
    of 1 / (1 − decay) steps. Without one, as in timm's ModelEma, a training that is not much longer
    than the window keeps averaging the initial weights. Keras's `use_ema` starts after the first
    step, leaves out batch statistics, and replaces the trained weights at the end of `fit`.

    Args:
        model: built model, whose weights are averaged.
        decay: decay of the average, in (0, 1).
        warmup: whether the decay has a warm-up.
    """

    def __init__(self, model: keras.Model, decay: float, warmup: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.decay = decay
        self.warmup = warmup
        # Under tf.distribute each replica averages its own copy of the weights.
        with keras.name_scope(self.name):
            self._averages = [
                keras.Variable(
                    "zeros",
                    shape=weight.shape,
                    dtype=weight.dtype,
                    trainable=False,
                    layout=_layout(weight),
                    name=f"average_{index}",
                )
                for index, weight in enumerate(model.weights)
            ]
        self.set_weights(model.get_weights())
        self.built = True

    def update(self, weights: list[keras.Variable], changed, steps) -> None:
        """Updates the averages with the present weights.

        Args:
            weights: weights of the model, in its order.
            changed: whether the optimizer changed them in this step, a scalar bool.
            steps: number of steps of the optimizer before this one, a scalar integer.
        """
        rate = 1 - self.decay
        if self.warmup:
            rate = ops.maximum(rate, 9 / (10 + ops.cast(steps, "float32")))
        for average, weight in zip(self._averages, weights, strict=True):
            step = ops.cast(rate, average.dtype) * (ops.stop_gradient(weight) - average)
            # A product with 0 would be NaN for weights of a skipped step that are not finite.
            average.assign(average + ops.where(changed, step, ops.zeros_like(step)))

    @contextlib.contextmanager
    def swap_weights(self, model: keras.Model) -> Iterator[None]:
        """Assigns the averages to the weights of a model during the block."""
        own = model.get_weights()
        model.set_weights(self.get_weights())
        try:
            yield
        finally:
            model.set_weights(own)


def _layout(weight: keras.Variable):
    """Returns how a weight is split over the devices of the model; None for one device."""
    distribution = keras.distribution.distribution()
    on_jax = keras.backend.backend() == "jax" and distribution is not None
    return distribution.get_variable_layout(weight) if on_jax else None


class AveragedModel(ImageChecks, keras.Model):
    """A model whose training step also updates the EMA of a part of it, its `student`.

    A subclass sets `student`, and `ema` to an `ExponentialMovingAverage` of the student or None.
    The averages are variables of the model and are updated inside the step's program, on JAX
    through the step's state. A step that changes no weight, because gradients are accumulated or
    not finite, changes no average.
    """

    def train_step(self, *args):
        if self.ema is None:
            return super().train_step(*args)
        if len(args) == 2:
            return self._stateless_train_step(*args)
        before = ops.add(self.optimizer.iterations, 0)
        logs = super().train_step(*args)
        self.ema.update(self.student.weights, self.optimizer.iterations > before, before)
        return logs

    def _stateless_train_step(self, before, data):
        logs, after = super().train_step(before, data)
        with self._state_scope(before):
            iterations = ops.add(self.optimizer.iterations, 0)
        with self._state_scope(after) as values:
            changed = self.optimizer.iterations > iterations
            self.ema.update(self.student.weights, changed, iterations)
            frozen = [values.get_current_value(v) for v in self.non_trainable_variables]
        trainable, _, *others = after
        return logs, (trainable, frozen, *others)

    def _state_scope(self, state) -> keras.StatelessScope:
        """Returns a scope in which the variables have the values of a JAX step's state."""
        trainable, frozen, optimizer, _ = state
        pairs = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, frozen, strict=True),
            *zip(self.optimizer.variables, optimizer, strict=True),
        ]
        return keras.StatelessScope(state_mapping=pairs)
