"""Losses of the logits of a student with those of a teacher.

They are Keras `Loss` objects for the reason given in `label_losses`.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deit")
class HardDistillation(keras.losses.Loss):
    """Cross-entropy with the teacher's decision, without smoothing (DeiT §4, equation 3).

    `y_true`: logits of the teacher (batch, classes). `y_pred`: logits of the student, likewise.
    """

    def __init__(self, name="hard_distillation", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        decision = ops.argmax(y_true, axis=-1)
        return ops.sparse_categorical_crossentropy(decision, y_pred, from_logits=True)


@keras.saving.register_keras_serializable(package="keras_deit")
class SoftDistillation(keras.losses.Loss):
    """τ²·KL(teacher ‖ student), both softened by the temperature τ (DeiT §4, equation 2).

    The mean is over the batch, as in the paper; the published code also divides by the number of
    classes.

    Args:
        temperature: temperature τ.

    `y_true`: logits of the teacher (batch, classes). `y_pred`: logits of the student, likewise.
    """

    def __init__(self, temperature: float = 3.0, name="soft_distillation", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, y_true, y_pred):
        return self.temperature**2 * _divergence(
            y_true / self.temperature,
            (y_pred - y_true) / self.temperature,
            y_pred / self.temperature,
        )

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


# The difference of two logits, above which the divergence is large and e to its power may overflow.
_LARGE = 20.0
# Below this absolute value a series is more accurate than the exponential function.
_SMALL = 0.5
_SERIES_TERMS = 9


def _divergence(teacher, difference, student):
    """Returns KL(teacher ‖ student), (batch,), of logits (batch, classes).

    At a high temperature the distributions hardly differ, and in Σ p·(log p - log q) rounding is
    larger than the result. With d = student - teacher, less its mean under the teacher's p, it is
    log(1 + Σ p·(e^d - 1 - d)), a sum of positive terms.

    Args:
        teacher, student: logits.
        difference: student - teacher.
    """
    log_p = ops.log_softmax(teacher)
    p = ops.exp(log_p)
    centered = difference - ops.sum(p * difference, axis=-1, keepdims=True)
    is_large = ops.max(centered, axis=-1, keepdims=True) > _LARGE
    bounded = ops.where(is_large, ops.zeros_like(centered), centered)
    accurate = ops.log1p(ops.sum(p * _exponential_remainder(bounded), axis=-1))
    direct = ops.sum(p * (log_p - ops.log_softmax(student)), axis=-1)
    return ops.where(is_large[..., 0], direct, accurate)


def _exponential_remainder(x):
    """Returns e^x - 1 - x without cancellation where x is small."""
    is_small = ops.abs(x) < _SMALL
    near = ops.where(is_small, x, ops.zeros_like(x))
    series = ops.zeros_like(x)
    for power in range(_SERIES_TERMS, 1, -1):  # Horner's scheme.
        series = (1 + series) * near / (power + 1)
    series = (1 + series) * near**2 / 2
    return ops.where(is_small, series, ops.expm1(x) - x)
