"""The base class of the optimizers: groups of variables, and steps that are skipped."""

import math
import types
from collections.abc import Callable, Iterable, Mapping

import keras
from keras import ops

from keras_deit.core.keras_internals import OptimizerHooks, iterations_variable
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.optimizers.schedules import AdjustableCosine


class GroupedOptimizer(OptimizerHooks):
    """An optimizer whose variables can have different weight decay and learning rates.

    The groups are given by the variables' paths and belong to the configuration, so a `.keras` file
    restores them. (Keras does not save the arguments of its `exclude_from_weight_decay`.) There is
    one optimizer for all variables, not one for each group as in Keras's `MultiOptimizer`, because
    gradients are clipped by their global norm.

    A step whose gradients have no finite norm is skipped: variables, slots and `iterations` do not
    change. `nonfinite_steps` counts such steps. `first_nonfinite_step` is the number of calls of
    `apply` before the first of them, -1 if there is none. Keras's `LossScaleOptimizer` skips such
    steps itself, to find its scale, and none of them is counted here.

    With `gradient_accumulation_steps` a step applies the mean of so many gradients. `iterations`
    and the schedule count steps, whereas the schedule of Keras's own optimizers counts gradients.

    Args:
        learning_rate: number or schedule.
        weight_decay: factor of the weight decay; the subclass defines how it acts.
        no_weight_decay: paths of the variables without weight decay.
        learning_rate_factors: factors of the learning rate by path; 1 for the other variables.
        final_weight_decay: weight decay of the last step, to which it changes by half a cosine;
            None for the same in all steps.
        total_steps: number of steps of the training, for `final_weight_decay`.
        **kwargs: arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: `build` gets no variable with one of the paths.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate,
        weight_decay: float = 0.0,
        no_weight_decay: Iterable[str] = (),
        learning_rate_factors: Mapping[str, float] | None = None,
        final_weight_decay: float | None = None,
        total_steps: int | None = None,
        **kwargs,
    ):
        # Files of earlier versions have this name of the argument.
        no_weight_decay = kwargs.pop("undecayed", no_weight_decay)
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.final_weight_decay = final_weight_decay
        self.total_steps = total_steps
        # In an object, because Keras tracks dictionaries.
        self._of_step = types.SimpleNamespace(values=None)
        self.nonfinite_steps = self._counter("nonfinite_steps", 0)
        self.first_nonfinite_step = self._counter("first_nonfinite_step", -1)
        if isinstance(self.schedule, AdjustableCosine):
            self.schedule.lengths = (
                self._counter("total_steps", self.schedule.total_steps),
                self._counter("warmup_steps", self.schedule.warmup_steps),
            )
        # Tuples, because Keras tracks lists and dictionaries, which could hold variables.
        self.no_weight_decay = tuple(sorted(no_weight_decay))
        self.learning_rate_factors = tuple(sorted((learning_rate_factors or {}).items()))

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        factors = dict(self.learning_rate_factors)
        paths = [variable.path for variable in variables]
        unknown = sorted({*self.no_weight_decay, *factors} - set(paths))
        if unknown:
            raise ValueError(
                f"The groups of {type(self).__name__} name variables that it is not built for. "
                f"Received: {', '.join(unknown[:5])}"
            )
        decay = self.weight_decay or 0.0
        self._decays = tuple(0.0 if path in self.no_weight_decay else decay for path in paths)
        self._factors = tuple(factors.get(path, 1.0) for path in paths)
        # One attribute for each list of variables, as in Keras's optimizers.
        for slot in self.slots:
            setattr(self, f"_{slot}", self.add_optimizer_variables(variables, slot))

    def group_of(self, variable) -> tuple[int, float, float]:
        """Returns a variable's index in the slots, weight decay and learning rate factor."""
        index = self.variable_index(variable)
        return index, self._decays[index], self._factors[index]

    def decay_now(self, decay: float, dtype: str):
        """Returns the weight decay of a group in this step: a number, or a scalar of a dtype."""
        if self.final_weight_decay is None or not decay:
            return decay
        total = self.total_steps
        if isinstance(self.schedule, AdjustableCosine):
            total = ops.cast(self.schedule.lengths[0], "float32")
        share = ops.clip(ops.cast(self.iterations, "float32") / total, 0.0, 1.0)
        remaining = ops.square(ops.cos(share * (math.pi / 2)))
        final = self.final_weight_decay
        return ops.cast(final + (decay - final) * remaining, dtype)

    def set_schedule(self, total_steps: int, warmup_steps: int) -> None:
        """Sets the lengths of an `AdjustableCosine`, also after the training step is compiled."""
        for variable, length in zip(
            self.schedule.lengths, (total_steps, warmup_steps), strict=True
        ):
            variable.assign(length)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        raise NotImplementedError(
            "Pass the paths to the constructor as `no_weight_decay`: only there they are saved."
        )

    def get_config(self):
        changing = {
            "final_weight_decay": self.final_weight_decay,
            "total_steps": self.total_steps,
        }
        return {
            **super().get_config(),
            **(changing if self.final_weight_decay is not None else {}),
            "no_weight_decay": list(self.no_weight_decay),
            "learning_rate_factors": dict(self.learning_rate_factors),
        }

    def updates(self, gradient, variable, learning_rate):
        """Computes one step of one variable; a subclass implements it.

        Args:
            gradient: gradient, with the shape and dtype of the variable.
            variable: variable to update.
            learning_rate: learning rate of this variable, in its dtype.

        Yields:
            The variable and each of its slots, each with its new value.
        """
        raise NotImplementedError

    def update_step(self, gradient, variable, learning_rate):
        _, _, factor = self.group_of(variable)
        rate = ops.cast(learning_rate, variable.dtype) * factor
        is_branch = keras.backend.backend() == "torch"
        finite = is_branch or self.once_per_step("finite", lambda: _is_finite(gradient))
        for target, value in self.updates(ops.cast(gradient, variable.dtype), variable, rate):
            if not is_branch:
                value = ops.where(finite, value, ops.convert_to_tensor(target))
            self.assign(target, value)

    def apply_updates(self, gradients, variables, learning_rate):
        # Without compilation a branch is faster than computing both outcomes.
        if keras.backend.backend() == "torch" and not bool(_is_finite(gradients[0])):
            return
        if self.apply_at_once(gradients, variables, learning_rate):
            return
        # Several replicas update their variables each in a scope of its own.
        self._of_step.values = {} if num_replicas_in_sync() == 1 else None
        try:
            super().apply_updates(gradients, variables, learning_rate)
        finally:
            self._of_step.values = None

    def apply_at_once(self, gradients, variables, learning_rate) -> bool:
        """Updates all variables together, where that is faster than `updates` for each.

        Returns:
            Whether it has; by default there is no such way.
        """
        return False

    def once_per_step(self, name: str, compute: Callable):
        """Returns what `compute` returns for the first variable of a step, for all of them.

        Tracing the same scalars for every variable takes seconds of the start of a training, and
        computing them milliseconds of each step where nothing is compiled.

        Args:
            name: what it is.
            compute: called without arguments; its result is the same for all variables.
        """
        values = self._of_step.values
        if values is None:
            return compute()
        if name not in values:
            values[name] = compute()
        return values[name]

    def decay_weights(self, variables):
        """Does nothing: `updates` decays the weights, each at its own learning rate."""

    def clip_gradients(self, gradients):
        # Under tf.distribute these are the gradients of one replica's images, which Keras would
        # clip before summing them. Their sum has to be clipped.
        return gradients if num_replicas_in_sync() > 1 else self._checked(gradients)

    def sum_over_replicas(self, grads_and_vars):
        summed = super().sum_over_replicas(grads_and_vars)
        if num_replicas_in_sync() == 1:
            return summed
        gradients, variables = zip(*summed, strict=True)
        return list(zip(self._checked(gradients), variables, strict=True))

    def _checked(self, gradients):
        """Returns the gradients, clipped; all of them NaN if their norm is not finite."""
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
        finite = ops.isfinite(norm)
        self._count(finite)
        factor = 1.0
        if self.global_clipnorm:
            factor = self.global_clipnorm / ops.maximum(norm, self.global_clipnorm)
        else:
            gradients = super().clip_gradients(list(gradients))
        factor = ops.where(finite, factor, float("nan"))
        return [gradient * ops.cast(factor, gradient.dtype) for gradient in gradients]

    def _count(self, finite) -> None:
        """Counts a skipped step, and subtracts what `apply` will add to `iterations`."""
        skipped = ops.cast(ops.logical_not(finite), self.nonfinite_steps.dtype)
        gradients = self.gradient_accumulation_steps or 1
        iterations = iterations_variable(self)
        calls = iterations + gradients * self.nonfinite_steps
        is_first = skipped * ops.cast(self.first_nonfinite_step < 0, skipped.dtype)
        self.first_nonfinite_step.assign_add(is_first * (calls + 1))
        self.nonfinite_steps.assign_add(skipped)
        iterations.assign_sub(skipped * gradients)

    def _counter(self, name: str, start: int) -> keras.Variable:
        return self.add_variable(
            (),
            keras.initializers.Constant(start),
            "int",
            aggregation="only_first_replica",
            name=name,
        )

    def current_learning_rate(self):
        if self.schedule is not None:
            return self.schedule(self.iterations)
        return super().current_learning_rate()


def _is_finite(gradient):
    """Returns whether a gradient of `_checked` is to be applied; one value is enough to know."""
    return ops.isfinite(ops.ravel(gradient)[0])
