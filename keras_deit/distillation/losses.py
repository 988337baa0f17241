"""The terms of the distillation loss.

They are Keras `Loss` objects, not functions, because Keras divides only those by the number of
replicas under `tf.distribute`.
"""

import keras
from keras import ops


def are_distributions(labels, logits) -> bool:
    """Whether labels are distributions (batch, classes), not integers (batch,) or (batch, 1).

    Told by the static shapes, of which the batch may be missing on either side.
    """
    classes = logits.shape[-1]
    return len(labels.shape) == 2 and labels.shape[-1] == classes > 1


@keras.saving.register_keras_serializable(package="keras_deit")
class LabelCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with labels of either kind: the default class loss.

    `y_true`: integers (batch,) or (batch, 1), or distributions (batch, classes), already smoothed
    or mixed where that is wanted. `y_pred`: logits (batch, classes).
    """

    def __init__(self, name="label_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        if are_distributions(y_true, y_pred):
            return ops.categorical_crossentropy(y_true, y_pred, from_logits=True)
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        return ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryLabelCrossentropy(keras.losses.Loss):
    """Cross-entropy of every class by itself, averaged over the classes: DeiT III's class loss.

    Whatever part a class has in a mixed image, it becomes a full target (DeiT III §3). Labels must
    not be smoothed: smoothed, every class is part of every image.

    `y_true`: integers (batch,) or (batch, 1), or distributions (batch, classes). `y_pred`: logits
    (batch, classes).
    """

    def __init__(self, name="binary_label_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        if are_distributions(y_true, y_pred):
            targets = ops.cast(y_true > 0, y_pred.dtype)
        else:
            targets = _one_hot(y_true, y_pred)
        return ops.mean(ops.binary_crossentropy(targets, y_pred, from_logits=True), axis=-1)


@keras.saving.register_keras_serializable(package="keras_deit")
class SigmoidLabelCrossentropy(keras.losses.Loss):
    """Cross-entropy of every class by itself, summed over the classes: AugReg's class loss.

    The part that a class has in a mixed image is its target.

    `y_true`: integers (batch,) or (batch, 1), or distributions (batch, classes). `y_pred`: logits
    (batch, classes).
    """

    def __init__(self, name="sigmoid_label_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        if not are_distributions(y_true, y_pred):
            y_true = _one_hot(y_true, y_pred)
        targets = ops.cast(y_true, y_pred.dtype)
        return ops.sum(ops.binary_crossentropy(targets, y_pred, from_logits=True), axis=-1)


def _one_hot(labels, logits):
    labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
    return ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)


@keras.saving.register_keras_serializable(package="keras_deit")
class HardDistillation(keras.losses.Loss):
    """Cross-entropy with the teacher's decision, which is not smoothed (DeiT §4, equation 3).

    `y_true`: the teacher's logits (batch, classes). `y_pred`: the student's, likewise.
    """

    def __init__(self, name="hard_distillation", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        decision = ops.argmax(y_true, axis=-1)
        return ops.sparse_categorical_crossentropy(decision, y_pred, from_logits=True)


@keras.saving.register_keras_serializable(package="keras_deit")
class SoftDistillation(keras.losses.Loss):
    """τ²·KL(teacher ‖ student), both softened by the temperature τ (DeiT §4, equation 2).

    The mean is over the batch, as the paper writes it; the published code divides by the number
    of classes as well.

    Args:
        temperature: τ.

    `y_true`: the teacher's logits (batch, classes). `y_pred`: the student's, likewise.
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
