"""A mean for a training that goes on after a loss that is not finite."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deit")
class FiniteMean(keras.metrics.Mean):
    """The mean of the finite values."""

    def update_state(self, values, sample_weight=None):
        values = ops.cast(values, self.dtype)
        finite = ops.isfinite(values)
        weight = ops.cast(finite, self.dtype)
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, self.dtype)
        super().update_state(ops.where(finite, values, 0.0), weight)
