"""LAMB as the authors ran it."""

import keras
from keras import ops

from keras_deit.training.optimisation.adamw import AdamW


@keras.saving.register_keras_serializable(package="keras_deit")
class Lamb(AdamW):
    """Apex's FusedLAMB as DeiT III, ResMLP and PatchConvNet call it.

    1. All gradients together are clipped to a norm of `global_clipnorm`.
    2. u = m̂ / (√v̂ + ε) + wd·p, as in AdamW.
    3. r = ‖p‖/‖u‖ for a decayed variable, or 1 where either norm is 0; r = 1 for an undecayed one.
    4. p ← p − lr·r·u.

    Keras's `Lamb` takes the ratio for every variable, keeps the weight decay out of it and does
    not clip.

    Args:
        learning_rate, weight_decay, beta_1, beta_2, epsilon: of `AdamW`; the authors override
            Apex's ε of 1e-6.
        global_clipnorm: the "gradient clip" of the papers' tables; None for no clipping.
        **kwargs: of `AdamW`.
    """

    def __init__(self, learning_rate=3e-3, *args, global_clipnorm: float | None = 1.0, **kwargs):
        super().__init__(learning_rate, *args, global_clipnorm=global_clipnorm, **kwargs)

    def trust(self, variable, update, decay: float):
        """r of step 3."""
        if not decay:
            return 1.0
        weight_norm, update_norm = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
        both = ops.logical_and(weight_norm > 0, update_norm > 0)
        return ops.where(both, weight_norm / ops.where(both, update_norm, 1.0), 1.0)
