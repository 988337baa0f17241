"""What the optimisers have in common: groups of variables, and clipping under tf.distribute."""

from collections.abc import Iterable, Mapping

import keras

from keras_deit.distillation.execution import summed_replicas


class GroupedOptimizer(keras.optimizers.Optimizer):
    """An optimiser whose variables may differ in weight decay and in learning rate.

    The groups are told by the variables' paths and are part of the configuration: a `.keras` file
    and everything else that holds an optimiser's configuration brings them back. (What Keras's
    `exclude_from_weight_decay` is told is in no file.) One optimiser over all variables, not one
    for each group as in Keras's `MultiOptimizer`: gradients are clipped by the norm of them all.

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

    def _apply_weight_decay(self, variables):
        """Keras would decay here, before the step and at one learning rate for all variables."""

    def _clip_gradients(self, grads):
        # Under tf.distribute these are the gradients of one replica's images, and Keras would
        # clip them before it adds them up. What is to be clipped is their sum.
        return grads if summed_replicas() > 1 else super()._clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        reduced = super()._all_reduce_sum_gradients(grads_and_vars)
        if summed_replicas() == 1:
            return reduced
        gradients, variables = zip(*reduced, strict=True)
        return list(zip(super()._clip_gradients(list(gradients)), variables, strict=True))
