"""The moving average of a student's weights, taken beside its training."""

import contextlib

import keras
from keras import ops


class WeightAverage(keras.layers.Layer):
    """The exponential moving average of a model's weights, batch statistics among them.

    average ← decay·average + (1 − decay)·weight after every step, from the weights before the
    first one on; the decay has no warm-up. This is timm's ModelEma. Keras's `use_ema` differs: its
    average starts after the first step, leaves batch statistics out, and at the end of `fit` takes
    the place of the trained weights.

    Args:
        model: whose weights are averaged; built.
        decay: in (0, 1).
    """

    def __init__(self, model: keras.Model, decay: float, **kwargs):
        super().__init__(**kwargs)
        self.decay = decay
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

    def update(self, weights: list[keras.Variable], moved) -> None:
        """Moves the averages towards the weights.

        Args:
            weights: of the model, in its order.
            moved: whether the optimiser has changed them since the last update, a scalar bool.
        """
        for average, weight in zip(self._averages, weights, strict=True):
            step = (1 - self.decay) * (ops.stop_gradient(weight) - average)
            # Not a product: what was not moved may not be finite.
            average.assign(average + ops.where(moved, step, ops.zeros_like(step)))

    @contextlib.contextmanager
    def lent_to(self, model: keras.Model):
        """A context in which a model has the averages for weights; its own come back after it."""
        own = model.get_weights()
        model.set_weights(self.get_weights())
        try:
            yield
        finally:
            model.set_weights(own)


def _layout(weight: keras.Variable):
    """How a weight is split over devices that share the model; None for one device."""
    distribution = keras.distribution.distribution()
    on_jax = keras.backend.backend() == "jax" and distribution is not None
    return distribution.get_variable_layout(weight) if on_jax else None


class AveragedTraining(keras.Model):
    """A model whose training step also moves the average of a part of it, its `student`.

    A subclass sets `student` and `ema`, a `WeightAverage` of the student or None. The averages are
    variables of the model and are moved within the step's program: on JAX through the step's
    state. A step that changes no weight, one of accumulated gradients or with a loss scale too
    high, changes no average.
    """

    def train_step(self, *args):
        if self.ema is None:
            return super().train_step(*args)
        if len(args) == 2:
            return self._train_step_on_jax(*args)
        before = ops.add(self.optimizer.iterations, 0)
        logs = super().train_step(*args)
        self.ema.update(self.student.weights, self.optimizer.iterations > before)
        return logs

    def _train_step_on_jax(self, before, data):
        logs, after = super().train_step(before, data)
        with self._holding(before):
            iterations = ops.add(self.optimizer.iterations, 0)
        with self._holding(after) as values:
            self.ema.update(self.student.weights, self.optimizer.iterations > iterations)
            frozen = [values.get_current_value(v) for v in self.non_trainable_variables]
        trainable, _, *others = after
        return logs, (trainable, frozen, *others)

    def _holding(self, state) -> keras.StatelessScope:
        """A scope in which the variables have the values of a JAX step's state."""
        trainable, frozen, optimizer, _ = state
        pairs = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, frozen, strict=True),
            *zip(self.optimizer.variables, optimizer, strict=True),
        ]
        return keras.StatelessScope(state_mapping=pairs)
