"""Adam and AdamW as in PyTorch, and LAMB as the authors ran it."""

import math

import keras
from keras import ops

from keras_deit.core.keras_internals import list_operations
from keras_deit.optimizers.grouped import GroupedOptimizer


@keras.saving.register_keras_serializable(package="keras_deit")
class AdamW(GroupedOptimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019), in PyTorch's form.

    p ← p − lr·(m̂ / (√v̂ + ε) + wd·p) with m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ). Keras's AdamW adds
    ε to √v before the correction, which in the first step is an ε 32 times as large.

    Args:
        learning_rate, weight_decay, no_weight_decay, learning_rate_factors: see
            `GroupedOptimizer`. A factor acts on the weight decay too, as a learning rate would.
        beta_1, beta_2: decay rates β₁ and β₂ of the moments m and v.
        epsilon: constant ε for numerical stability.
        **kwargs: arguments of `keras.optimizers.Optimizer`.
    """

    slots = ("momentums", "velocities")
    # Whether the weight decay is L2: a part of the gradient.
    coupled = False

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

    def updates(self, gradient, variable, learning_rate):
        index, decay, _ = self.group_of(variable)
        if self.coupled and decay:
            gradient = gradient + self.decay_now(decay, variable.dtype) * variable
        m, v = self._momentums[index], self._velocities[index]
        new_m = m + (gradient - m) * (1 - self.beta_1)
        new_v = v + (ops.square(gradient) - v) * (1 - self.beta_2)
        first, second = self.once_per_step(
            f"corrections in {variable.dtype}", lambda: self._corrections(variable.dtype)
        )
        update = new_m / first / (ops.sqrt(new_v / second) + self.epsilon)
        if decay and not self.coupled:
            update = update + self.decay_now(decay, variable.dtype) * variable
        yield m, new_m
        yield v, new_v
        ratio = self.trust_ratio(variable, update, decay)
        yield variable, variable - learning_rate * ratio * update

    def apply_at_once(self, gradients, variables, learning_rate):
        own = type(self)
        is_own = (own.updates, own.update_step) == (AdamW.updates, AdamW.update_step)
        is_float32 = all(variable.dtype == "float32" for variable in variables)
        if keras.backend.backend() != "torch" or not is_own or not is_float32:
            return False
        self._apply_to_lists(gradients, variables, learning_rate)
        return True

    def _apply_to_lists(self, gradients, variables, learning_rate) -> None:
        """Does what `updates` describes by PyTorch's operations on lists, as Keras's Adam does.

        Nothing is compiled there, and for small variables calling an operation takes longer than
        computing it.
        """
        import torch

        lists = list_operations()
        groups = [self.group_of(variable) for variable in variables]
        decays = [self.decay_now(decay, "float32") for _, decay, _ in groups]
        values = [variable.value for variable in variables]
        m = [self._momentums[index].value for index, _, _ in groups]
        v = [self._velocities[index].value for index, _, _ in groups]
        gradients = [ops.cast(gradient, "float32") for gradient in gradients]
        with torch.no_grad():
            if self.coupled:
                gradients = [
                    gradient + decay * value if decay else gradient
                    for gradient, decay, value in zip(gradients, decays, values, strict=True)
                ]
            lists.lerp_(m, gradients, 1 - self.beta_1)
            lists.lerp_(v, lists.mul(gradients, gradients), 1 - self.beta_2)
            first, second = self._corrections("float32")
            roots = lists.div(v, second)
            lists.sqrt_(roots)
            lists.add_(roots, self.epsilon)
            updates = lists.div(m, first)
            lists.div_(updates, roots)
            del roots
            for index, (_, decay, factor) in enumerate(groups):
                if decay and not self.coupled:
                    updates[index].add_(decays[index] * values[index])
                ratio = factor * self.trust_ratio(variables[index], updates[index], decay)
                if not isinstance(ratio, float) or ratio != 1.0:
                    updates[index].mul_(ratio)
            lists.mul_(updates, ops.cast(learning_rate, "float32"))
            lists.sub_(values, updates)

    def trust_ratio(self, variable, update, decay: float):
        """Returns the factor of the learning rate of a variable, which is 1 in AdamW."""
        return 1.0

    def _corrections(self, dtype: str) -> tuple:
        """Returns 1 − βᵗ for both β.

        With a power in float32 the relative error of 1 − 0.999¹ is 1e-5.
        """
        step = ops.cast(self.iterations + 1, "float32")
        betas = (self.beta_1, self.beta_2)
        return tuple(ops.cast(-ops.expm1(step * math.log(beta)), dtype) for beta in betas)

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class Adam(AdamW):
    """Adam (Kingma and Ba, 2015) in PyTorch's form, whose weight decay is L2: g ← g + wd·p.

    The decay goes through both moments. Everything else, and the arguments, are those of `AdamW`.
    """

    coupled = True


@keras.saving.register_keras_serializable(package="keras_deit")
class Lamb(AdamW):
    """Apex's FusedLAMB as DeiT III, ResMLP and PatchConvNet call it.

    1. All gradients together are clipped to a norm of `global_clipnorm`.
    2. u = m̂ / (√v̂ + ε) + wd·p, as in AdamW.
    3. r = ‖p‖/‖u‖ for a variable with weight decay, or 1 if either norm is 0; r = 1 without.
    4. p ← p − lr·r·u.

    Keras's `Lamb` uses the ratio for every variable, applies weight decay outside of it and does
    not clip.

    Args:
        learning_rate, weight_decay, beta_1, beta_2, epsilon: see `AdamW`; the authors override
            Apex's ε of 1e-6.
        global_clipnorm: the "gradient clip" of the papers' tables; None for no clipping.
        **kwargs: arguments of `AdamW`.
    """

    def __init__(self, learning_rate=3e-3, *args, global_clipnorm: float | None = 1.0, **kwargs):
        super().__init__(learning_rate, *args, global_clipnorm=global_clipnorm, **kwargs)

    def trust_ratio(self, variable, update, decay: float):
        """Returns the ratio r of step 3, a scalar."""
        if not decay:
            return 1.0
        weight_norm, update_norm = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
        both = ops.logical_and(weight_norm > 0, update_norm > 0)
        return ops.where(both, weight_norm / ops.where(both, update_norm, 1.0), 1.0)
