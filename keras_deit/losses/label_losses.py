"""Losses of logits with labels.

They are Keras `Loss` objects, not functions, because under `tf.distribute` Keras divides only those
by the number of replicas.
"""

import keras
from keras import ops

from keras_deit.core.errors import unknown_name


def are_distributions(labels, logits) -> bool:
    """Returns whether labels are distributions (batch, classes) instead of integers.

    Only static shapes are used, in which either batch size may be unknown.

    Args:
        labels: integers (batch,) or (batch, 1), or distributions (batch, classes).
        logits: (batch, classes).
    """
    classes = logits.shape[-1]
    return len(labels.shape) == 2 and labels.shape[-1] == classes > 1


@keras.saving.register_keras_serializable(package="keras_deit")
class LabelCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with labels of either kind: the default label loss.

    `y_true`: integers (batch,) or (batch, 1), or distributions (batch, classes), already smoothed
    or mixed. `y_pred`: logits (batch, classes).
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
    """Binary cross-entropy of each class, averaged over the classes: DeiT III's label loss.

    Every class of a mixed image has the target 1, whatever its proportion (DeiT III §3). Labels
    must not be smoothed, because then every class would have the target 1.

    Args:
        label_smoothing: smoothing s of these targets, in [0, 1): 1 becomes 1 - s + s / K with K
            classes, and 0 becomes s / K.

    `y_true`: integers (batch,) or (batch, 1), or distributions (batch, classes). `y_pred`: logits
    (batch, classes).
    """

    def __init__(self, label_smoothing: float = 0.0, name="binary_label_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        if are_distributions(y_true, y_pred):
            targets = ops.cast(y_true > 0, y_pred.dtype)
        else:
            targets = _one_hot(y_true, y_pred)
        if self.label_smoothing:
            off = self.label_smoothing / y_pred.shape[-1]
            targets = targets * (1 - self.label_smoothing) + off
        return ops.mean(ops.binary_crossentropy(targets, y_pred, from_logits=True), axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="keras_deit")
class SigmoidLabelCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of each class, summed over the classes: AugReg's label loss.

    The target of a class is its proportion in a mixed image.

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


LABEL_LOSSES = {
    "cross_entropy": LabelCrossentropy,
    "binary_cross_entropy": BinaryLabelCrossentropy,
    "sigmoid_cross_entropy": SigmoidLabelCrossentropy,
}


def label_loss(name: str, **arguments) -> keras.losses.Loss:
    """Returns a new label loss by name, one of `LABEL_LOSSES`, with arguments of its own.

    Raises:
        InputError: there is no such loss.
    """
    if name not in LABEL_LOSSES:
        raise unknown_name("loss", name, LABEL_LOSSES)
    return LABEL_LOSSES[name](**arguments)
