"""SGD as in PyTorch."""

import keras

from keras_deit.optimizers.grouped import GroupedOptimizer


@keras.saving.register_keras_serializable(package="keras_deit")
class SGD(GroupedOptimizer):
    """Stochastic gradient descent with Nesterov momentum and L2 decay, in PyTorch's form.

    g ← g + wd·p; b ← μ·b + g; p ← p − lr·(g + μ·b), as `--opt sgd` of the authors' script. Keras's
    SGD sums lr·g in b, so that a schedule acts on new gradients only, and its weight decay is
    decoupled.

    Args:
        learning_rate, weight_decay, no_weight_decay, learning_rate_factors: see
            `GroupedOptimizer`.
        momentum: momentum μ.
        **kwargs: arguments of `keras.optimizers.Optimizer`.
    """

    slots = ("momentums",)

    def __init__(
        self, learning_rate=0.01, weight_decay: float = 1e-4, momentum: float = 0.9, **kwargs
    ):
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.momentum = momentum

    def updates(self, gradient, variable, learning_rate):
        index, decay, _ = self.group_of(variable)
        if decay:
            gradient = gradient + decay * variable
        buffer = self._momentums[index]
        new_buffer = self.momentum * buffer + gradient
        yield buffer, new_buffer
        yield variable, variable - learning_rate * (gradient + self.momentum * new_buffer)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}
