"""An objective of one's own: SimCLR, which needs no labels.

"A Simple Framework for Contrastive Learning of Visual Representations" (Chen et al., 2020).

    keras-deit train --import contrastive.py --recipe contrastive_digits
"""

import keras
import numpy as np
from keras import ops

import keras_deit
from keras_deit.core.processes import num_replicas_in_sync


@keras_deit.register_objective
class Contrastive(keras_deit.Objective):
    """Each view of an image has to find the other one among the views in the batch (§2.1).

    Args:
        projection: width of the projected features that are compared.
        contrast: temperature τ of the loss.
        neighbors: number of training images that vote on the class of a validation image.
    """

    views, uses_index = 2, True
    metrics, monitor = ("similarity",), "val_knn_top1"

    def __init__(self, projection: int = 64, contrast: float = 0.2, neighbors: int = 10):
        self.projection, self.contrast, self.neighbors = projection, contrast, neighbors

    def build(self, model):
        super().build(model)
        model.head_layers["class"].trainable = False
        self.features = model.feature_model()
        width = self.features.output_shape[-1]
        layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(self.projection)]
        self.projector = keras.Sequential([keras.Input((width,)), *layers], name="projector")

    def forward(self, images, training):
        images = ops.reshape(images, (-1, *images.shape[-3:]))
        projected = self.projector(self.features(images, training=training))
        return ops.reshape(ops.normalize(projected), (-1, self.views, self.projection))

    def compute_loss(self, batch, training):
        views = ops.reshape(ops.swapaxes(batch.outputs, 0, 1), (-1, self.projection))
        logits = ops.matmul(views, ops.transpose(views)) / self.contrast
        count = ops.shape(batch.outputs)[0]
        position = ops.arange(2 * count)
        other_view = (position + count) % (2 * count)
        # A view is not compared with itself, nor with another copy of its image.
        image = ops.tile(batch.index, 2)
        same = (image[:, None] == image) & (position != other_view[:, None])
        logits = ops.where(same, -1e9, logits)
        loss = keras.losses.sparse_categorical_crossentropy(other_view, logits, from_logits=True)
        # A strategy of TensorFlow adds up the gradients of its replicas.
        return {"loss": ops.mean(loss) / num_replicas_in_sync()}

    def compute_metrics(self, batch):
        return {"similarity": ops.sum(batch.outputs[:, 0] * batch.outputs[:, 1], axis=-1)}

    def validate(self, train, validation):
        similarities = unit(validation.features) @ unit(train.features).T
        nearest = np.argsort(-similarities, axis=1)[:, : self.neighbors]
        votes = np.eye(train.labels.max() + 1)[train.labels[nearest]].sum(axis=1)
        return {"knn_top1": float(np.mean(votes.argmax(axis=1) == validation.labels))}


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


keras_deit.register_recipe(
    "contrastive_digits",
    base="digits",
    objective="contrastive",
    model="deit_tiny_patch16_224",
    batch_size=128,
    learning_rate=4e-3,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
)
