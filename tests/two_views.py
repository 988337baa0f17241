"""An objective with layers of its own, which compares two views of each image."""

import keras
from keras import ops

from keras_deit import Objective


class TwoViews(Objective):
    """Makes the projected features of the two views of an image similar.

    Its layers are in a list, and its model of the features shares the student's weights.

    Args:
        width: number of projected features.
    """

    views = 2
    metrics = ("similarity",)

    def __init__(self, width: int = 8):
        self.width = width

    def build(self, model):
        super().build(model)
        self.features = model.feature_model()
        self.projector = [
            keras.layers.Dense(self.width, "gelu", name="projector_hidden"),
            keras.layers.Dense(self.width, name="projector"),
        ]
        shape = self.features.output_shape
        for layer in self.projector:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def forward(self, images, training):
        x = ops.reshape(images, (-1, *images.shape[2:]))
        x = self.features(x, training=training)
        for layer in self.projector:
            x = layer(x)
        return ops.reshape(ops.normalize(x), (-1, self.views, self.width))

    def predictions(self, batch):
        return batch.outputs[:, 0]

    def compute_loss(self, batch, training):
        return {"loss": -ops.mean(similarity(batch))}

    def compute_metrics(self, batch):
        return {"similarity": similarity(batch)}


def similarity(batch):
    """Returns the cosine of the angle between the two views of each image, (batch,)."""
    return ops.sum(batch.outputs[:, 0] * batch.outputs[:, 1], axis=-1)
