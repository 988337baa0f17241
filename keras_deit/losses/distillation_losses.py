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
        teacher = ops.log_softmax(y_true / self.temperature)
        student = ops.log_softmax(y_pred / self.temperature)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return self.temperature**2 * divergence

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
