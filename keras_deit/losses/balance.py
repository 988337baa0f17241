"""The weight of an image in a loss by its class, and the accuracy in which classes count alike."""

import keras
import numpy as np
from keras import ops

from keras_deit.losses.label_losses import are_distributions


def image_weights(labels, class_weights, smoothing: float = 0.0):
    """Returns the weight of each image, by which its losses are multiplied, float32 (batch,).

    It is w_c for an image of class c, smoothed or not, and λ w_c + (1 - λ) w_d for one that is
    mixed of classes c and d, whatever the label loss and the kind of distillation.

    Args:
        labels: integers (batch,) or (batch, 1), or distributions (batch, classes).
        class_weights: the weight w of each class, (classes,).
        smoothing: the label smoothing s that the distributions contain.
    """
    weights = np.asarray(class_weights, np.float64)
    if not (len(labels.shape) == 2 and labels.shape[-1] == len(weights) > 1):
        weights = ops.convert_to_tensor(weights.astype("float32"))
        return ops.take(weights, ops.cast(ops.reshape(labels, (-1,)), "int32"))
    # A smoothed target is (1 - s) y + s / K, so that its sum with these is the sum of y with w.
    undone = (weights - smoothing * weights.mean()) / (1 - smoothing)
    undone = ops.convert_to_tensor(undone.astype("float32"))
    return ops.sum(ops.cast(labels, "float32") * undone, axis=-1)


@keras.saving.register_keras_serializable(package="keras_deit")
class BalancedAccuracy(keras.metrics.Metric):
    """The mean of the accuracies of the classes, each over the images of that class.

    Classes without an image do not count. `y_true`: integers (batch,) or distributions (batch,
    classes), whose largest class counts. `y_pred`: logits (batch, classes).

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int, name="balanced_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.hits, self.images = (
            self.add_variable((num_classes,), "zeros", name=name) for name in ("hits", "images")
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        if are_distributions(y_true, y_pred):
            y_true = ops.argmax(y_true, axis=-1)
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        counted = ops.one_hot(labels, self.num_classes, dtype=self.dtype)
        if sample_weight is not None:
            counted = counted * ops.expand_dims(ops.cast(sample_weight > 0, self.dtype), 1)
        right = ops.cast(ops.cast(ops.argmax(y_pred, axis=-1), "int32") == labels, self.dtype)
        self.images.assign_add(ops.sum(counted, axis=0))
        self.hits.assign_add(ops.sum(counted * ops.expand_dims(right, 1), axis=0))

    def result(self):
        present = ops.cast(self.images > 0, self.dtype)
        accuracies = self.hits / ops.maximum(self.images, 1)
        return ops.sum(accuracies) / ops.maximum(ops.sum(present), 1)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
