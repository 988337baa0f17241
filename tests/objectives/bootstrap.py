"""An objective with a target network, a projector that learns from its average."""

import keras
from keras import ops

from keras_deit import Objective
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.objectives import TargetNetwork


class Bootstrap(Objective):
    """Learns the projected features of its target.

    Args:
        momentum: of the target.
        steps: see `TargetNetwork`.
    """

    metrics = ()

    def __init__(self, momentum: float = 0.9, steps: int | None = None):
        self.momentum, self.steps = momentum, steps

    def build(self, model):
        super().build(model)
        features = model.feature_model()
        projector = keras.layers.Dense(5, name="projector")
        projector.build(features.output_shape)
        self.parts = [features, projector]
        self.target = TargetNetwork(self.parts, self.momentum, self.steps)

    def project(self, images, training=False):
        features, projector = self.parts
        return projector(features(images, training=training))

    def forward(self, images, training):
        target = self.target.predict(self.project, images)
        return {"target": target, "student": self.project(images, training)}

    def predictions(self, batch):
        return batch.outputs["student"]

    def compute_loss(self, batch, training):
        # The target is moved, so that there is something to learn from the first step on.
        errors = batch.outputs["student"] - batch.outputs["target"] - 1
        # The gradients of the replicas are summed.
        return {"loss": ops.mean(ops.square(errors)) / num_replicas_in_sync()}

    def compute_metrics(self, batch):
        return {}

    def after_step(self, changed, steps):
        self.target.update(changed, steps)
