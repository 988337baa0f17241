"""SGD as in PyTorch."""

import keras

from keras_deit.optimizers.grouped import GroupedOptimizer


@keras.saving.register_keras_serializable(package="keras_deit")
class SGD(GroupedOptimizer):
    """Stochastic gradient descent with momentum and L2 decay, in PyTorch's form.

    g ← g + wd·p; b ← μ·b + g; p ← p − lr·(g + μ·b), as `--opt sgd` of the authors' script, or
    p ← p − lr·b without Nesterov's form, as in AugReg. Keras's SGD sums lr·g in b, so that a
    schedule acts on new gradients only, and its weight decay is decoupled.

    Args:
        learning_rate, weight_decay, no_weight_decay, learning_rate_factors: see
            `GroupedOptimizer`.
        momentum: momentum μ.
        nesterov: whether the momentum is Nesterov's.
        **kwargs: arguments of `keras.optimizers.Optimizer`.
    """

    slots = ("momentums",)

    def __init__(
        self,
        learning_rate=0.01,
        weight_decay: float = 1e-4,
        momentum: float = 0.9,
        nesterov: bool = True,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.momentum = momentum
        self.nesterov = nesterov

    def updates(self, gradient, variable, learning_rate):
        index, decay, _ = self.group_of(variable)
        if decay:
            gradient = gradient + self.decay_now(decay, variable.dtype) * variable
        buffer = self._momentums[index]
        new_buffer = self.momentum * buffer + gradient
        yield buffer, new_buffer
        step = gradient + self.momentum * new_buffer if self.nesterov else new_buffer
        yield variable, variable - learning_rate * step

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
