"""What the optimisers have in common: groups of variables, and steps that are not taken."""

from collections.abc import Iterable, Mapping

import keras
from keras import ops

from keras_deit.distillation.execution import summed_replicas


class GroupedOptimizer(keras.optimizers.Optimizer):
    """An optimiser whose variables may differ in weight decay and in learning rate.

    The groups are told by the variables' paths and are part of the configuration: a `.keras` file
    and everything else that holds an optimiser's configuration brings them back. (What Keras's
    `exclude_from_weight_decay` is told is in no file.) One optimiser over all variables, not one
    for each group as in Keras's `MultiOptimizer`: gradients are clipped by the norm of them all.

    A step whose gradients have no finite norm is not taken: variables, slots and `iterations` stay
    as they are. `nonfinite_steps` counts such steps; `first_nonfinite_step` is how many times
    `apply` had been called before the first of them, -1 until there is one. Within Keras's
    `LossScaleOptimizer` it is that which skips them, to find its scale, and none is counted here.

    With `gradient_accumulation_steps` the mean of so many gradients makes a step. `iterations` and
    the schedule count steps; the schedule of Keras's own optimisers counts gradients.

    Args:
        learning_rate: a number or a schedule.
        weight_decay: of the decayed variables; how it acts is the subclass's.
        undecayed: paths of the variables without weight decay.
        learning_rate_factors: by path, what multiplies the learning rate; 1 for the others.
        **kwargs: of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: when it is built, for a path that no variable has.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate,
        weight_decay: float = 0.0,
        undecayed: Iterable[str] = (),
        learning_rate_factors: Mapping[str, float] | None = None,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.nonfinite_steps = self._counter("nonfinite_steps", 0)
        self.first_nonfinite_step = self._counter("first_nonfinite_step", -1)
        # Tuples: Keras would track lists and dictionaries, as ones that may hold variables.
        self.undecayed = tuple(sorted(undecayed))
        self.learning_rate_factors = tuple(sorted((learning_rate_factors or {}).items()))

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        factors = dict(self.learning_rate_factors)
        paths = [variable.path for variable in variables]
        unknown = sorted({*self.undecayed, *factors} - set(paths))
        if unknown:
            raise ValueError(
                f"The groups of {type(self).__name__} name variables that it is not built for. "
                f"Received: {', '.join(unknown[:5])}"
            )
        decay = self.weight_decay or 0.0
        self._decays = tuple(0.0 if path in self.undecayed else decay for path in paths)
        self._factors = tuple(factors.get(path, 1.0) for path in paths)
        # Lists of variables, each in an attribute of its own, as Keras's optimisers keep them.
        for slot in self.slots:
            setattr(self, f"_{slot}", self.add_optimizer_variables(variables, slot))

    def group_of(self, variable) -> tuple[int, float, float]:
        """A variable's index among the slots, its weight decay and its learning rate's factor."""
        index = self._get_variable_index(variable)
        return index, self._decays[index], self._factors[index]

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        raise NotImplementedError(
            "Give the paths to the constructor, as `undecayed`: only there they are saved."
        )

    def get_config(self):
        return {
            **super().get_config(),
            "undecayed": list(self.undecayed),
            "learning_rate_factors": dict(self.learning_rate_factors),
        }

    def moved(self, gradient, variable, learning_rate):
        """One step of one variable; a subclass's to write.

        Args:
            gradient: of the variable's shape and dtype.
            variable: the variable.
            learning_rate: its own, of its dtype.

        Yields:
            The variable and each of its slots, with its new value.
        """
        raise NotImplementedError

    def update_step(self, gradient, variable, learning_rate):
        _, _, factor = self.group_of(variable)
        rate = ops.cast(learning_rate, variable.dtype) * factor
        for target, value in self.moved(ops.cast(gradient, variable.dtype), variable, rate):
            if keras.backend.backend() != "torch":
                value = ops.where(_is_finite(gradient), value, ops.convert_to_tensor(target))
            self.assign(target, value)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Where nothing is compiled a branch costs less than both outcomes of it.
        if keras.backend.backend() != "torch" or bool(_is_finite(grads[0])):
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _apply_weight_decay(self, variables):
        """Keras would decay here, before the step and at one learning rate for all variables."""

    def _clip_gradients(self, grads):
        # Under tf.distribute these are the gradients of one replica's images, and Keras would
        # clip them before it adds them up. What is to be clipped is their sum.
        return grads if summed_replicas() > 1 else self._checked(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        reduced = super()._all_reduce_sum_gradients(grads_and_vars)
        if summed_replicas() == 1:
            return reduced
        gradients, variables = zip(*reduced, strict=True)
        return list(zip(self._checked(gradients), variables, strict=True))

    def _checked(self, gradients):
        """The gradients, clipped; all NaN where their norm is not finite."""
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
        finite = ops.isfinite(norm)
        self._count(finite)
        factor = 1.0
        if self.global_clipnorm:
            factor = self.global_clipnorm / ops.maximum(norm, self.global_clipnorm)
        else:
            gradients = super()._clip_gradients(list(gradients))
        factor = ops.where(finite, factor, float("nan"))
        return [gradient * ops.cast(factor, gradient.dtype) for gradient in gradients]

    def _count(self, finite) -> None:
        """Counts a step that is not taken, and takes back what `apply` will count as one."""
        missed = ops.cast(ops.logical_not(finite), self.nonfinite_steps.dtype)
        gradients = self.gradient_accumulation_steps or 1
        calls = self._iterations + gradients * self.nonfinite_steps
        is_first = missed * ops.cast(self.first_nonfinite_step < 0, missed.dtype)
        self.first_nonfinite_step.assign_add(is_first * (calls + 1))
        self.nonfinite_steps.assign_add(missed)
        self._iterations.assign_sub(missed * gradients)

    def _counter(self, name: str, start: int) -> keras.Variable:
        return self.add_variable(
            (),
            keras.initializers.Constant(start),
            "int",
            aggregation="only_first_replica",
            name=name,
        )

    def _get_current_learning_rate(self):
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()


def _is_finite(gradient):
    """Whether a gradient of `_checked` is to be applied: one value tells."""
    return ops.isfinite(ops.ravel(gradient)[0])
