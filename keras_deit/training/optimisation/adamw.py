"""AdamW as PyTorch has it."""

import math

import keras
from keras import ops

from keras_deit.training.optimisation.grouped import GroupedOptimizer


@keras.saving.register_keras_serializable(package="keras_deit")
class AdamW(GroupedOptimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019), in PyTorch's form.

    p ← p − lr·(m̂ / (√v̂ + ε) + wd·p) with m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ). Keras's AdamW adds
    ε to √v, before the correction: in the first step that is an ε 32 times as large.

    Args:
        learning_rate, weight_decay, undecayed, learning_rate_factors: of `GroupedOptimizer`. A
            factor acts on the weight decay too, as a learning rate of its own would.
        beta_1, beta_2: β₁ and β₂.
        epsilon: ε.
        **kwargs: of `keras.optimizers.Optimizer`.
    """

    slots = ("momentums", "velocities")

    def __init__(
        self,
        learning_rate=1e-3,
        weight_decay: float = 0.05,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def moved(self, gradient, variable, learning_rate):
        index, decay, _ = self.group_of(variable)
        m, v = self._momentums[index], self._velocities[index]
        new_m = m + (gradient - m) * (1 - self.beta_1)
        new_v = v + (ops.square(gradient) - v) * (1 - self.beta_2)
        first, second = (
            ops.cast(self._correction(beta), variable.dtype) for beta in (self.beta_1, self.beta_2)
        )
        update = new_m / first / (ops.sqrt(new_v / second) + self.epsilon)
        if decay:
            update = update + decay * variable
        yield m, new_m
        yield v, new_v
        trust = self.trust(variable, update, decay)
        yield variable, variable - learning_rate * trust * update

    def trust(self, variable, update, decay: float):
        """What further multiplies the learning rate of a tensor: nothing."""
        return 1.0

    def _correction(self, beta: float):
        """1 − βᵗ. As a power in float32, 1 − 0.999¹ would be off by 1e-5 of itself."""
        step = ops.cast(self.iterations + 1, "float32")
        return -ops.expm1(step * math.log(beta))

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
