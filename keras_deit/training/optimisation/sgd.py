"""SGD as PyTorch has it."""

import keras
from keras import ops

from keras_deit.training.optimisation.grouped import GroupedOptimizer


@keras.saving.register_keras_serializable(package="keras_deit")
class SGD(GroupedOptimizer):
    """Stochastic gradient descent with Nesterov momentum and L2 decay, in PyTorch's form.

    g ← g + wd·p; b ← μ·b + g; p ← p − lr·(g + μ·b): what `--opt sgd` is in the authors' script.
    Keras's SGD has the learning rate inside b, where a schedule comes too late, and decays p
    itself.

    Args:
        learning_rate, weight_decay, undecayed, learning_rate_factors: of `GroupedOptimizer`.
        momentum: μ.
        **kwargs: of `keras.optimizers.Optimizer`.
    """

    slots = ("momentums",)

    def __init__(
        self, learning_rate=0.01, weight_decay: float = 1e-4, momentum: float = 0.9, **kwargs
    ):
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.momentum = momentum

    def update_step(self, gradient, variable, learning_rate):
        index, decay, factor = self.group_of(variable)
        gradient = ops.cast(gradient, variable.dtype)
        if decay:
            gradient = gradient + decay * variable
        buffer = self._momentums[index]
        moved = self.momentum * buffer + gradient
        self.assign(buffer, moved)
        rate = ops.cast(learning_rate, variable.dtype) * factor
        self.assign_sub(variable, rate * (gradient + self.momentum * moved))

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}
