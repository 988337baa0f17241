"""The exponential moving average (EMA) of a model's weights."""

import contextlib
from collections.abc import Iterator, Sequence

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
        self._averages = average_variables(self.name, model.weights)
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
        update_averages(self._averages, weights, rate, changed)

    @contextlib.contextmanager
    def swap_weights(self, model: keras.Model) -> Iterator[None]:
        """Assigns the averages to the weights of a model during the block."""
        own = model.get_weights()
        model.set_weights(self.get_weights())
        try:
            yield
        finally:
            model.set_weights(own)


def average_variables(name: str, weights: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Returns a variable for the average of each weight, with its shape and dtype, at zero.

    Args:
        name: of the layer that they belong to.
        weights: weights of a model.
    """
    # Under tf.distribute each replica averages its own copy of the weights.
    with keras.name_scope(name):
        return [
            keras.Variable(
                "zeros",
                shape=weight.shape,
                dtype=weight.dtype,
                trainable=False,
                layout=_layout(weight),
                name=f"average_{index}",
            )
            for index, weight in enumerate(weights)
        ]


def update_averages(
    averages: Sequence[keras.Variable], weights: Sequence[keras.Variable], rate, changed
) -> None:
    """Moves averages towards the present weights.

    Args:
        averages, weights: in the same order.
        rate: share of the way, a scalar.
        changed: whether to move them at all, a scalar bool.
    """
    for average, weight in zip(averages, weights, strict=True):
        step = ops.cast(rate, average.dtype) * (ops.stop_gradient(weight) - average)
        # A product with 0 would be NaN for weights of a skipped step that are not finite.
        average.assign(average + ops.where(changed, step, ops.zeros_like(step)))


def _layout(weight: keras.Variable):
    """Returns how a weight is split over the devices of the model; None for one device."""
    distribution = keras.distribution.distribution()
    on_jax = keras.backend.backend() == "jax" and distribution is not None
    return distribution.get_variable_layout(weight) if on_jax else None


class AveragedModel(ImageChecks, keras.Model):
    """A model whose training step also updates averages, such as the EMA of its `student`.

    A subclass sets `student`, and `ema` to an `ExponentialMovingAverage` of the student or None. It
    can update more in `after_step`. All of it are variables of the model that are updated inside
    the step's program, on JAX through the step's state. A step that changes no weight, because
    gradients are accumulated or not finite, changes no average.
    """

    @property
    def updates_after_step(self) -> bool:
        """Whether `after_step` is to be called."""
        return self.ema is not None

    def after_step(self, changed, steps) -> None:
        """Updates what follows the weights.

        Args:
            changed: whether the optimizer changed the weights in this step, a scalar bool.
            steps: number of steps of the optimizer before this one, a scalar integer.
        """
        if self.ema is not None:
            self.ema.update(self.student.weights, changed, steps)

    def train_step(self, *args):
        if not self.updates_after_step:
            return super().train_step(*args)
        if len(args) == 2:
            return self._stateless_train_step(*args)
        before = ops.add(self.optimizer.iterations, 0)
        logs = super().train_step(*args)
        self.after_step(self.optimizer.iterations > before, before)
        return logs

    def _stateless_train_step(self, before, data):
        logs, after = super().train_step(before, data)
        with self._state_scope(before):
            iterations = ops.add(self.optimizer.iterations, 0)
        with self._state_scope(after) as values:
            self.after_step(self.optimizer.iterations > iterations, iterations)
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
