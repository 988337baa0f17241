"""The steps of a training, counted inside its compiled step."""

import keras
from keras import ops

from keras_deit.objectives.length import TrainingLength


class StepCounter(keras.layers.Layer):
    """Counts the steps of the optimizer, for what an objective schedules by epochs.

    The steps of an epoch are a variable too: a time limit changes them after the step is compiled,
    which would keep a number.

    Args:
        length: length of the training.
    """

    def __init__(self, length: TrainingLength, **kwargs):
        super().__init__(**{"name": "step_counter", "trainable": False, **kwargs})
        values = {"shape": (), "trainable": False, "autocast": False}
        self.step = self.add_weight(initializer="zeros", dtype="int32", name="step", **values)
        per_epoch = keras.initializers.Constant(length.steps_per_epoch)
        self.steps_per_epoch = self.add_weight(
            initializer=per_epoch, dtype="float32", name="steps_per_epoch", **values
        )
        self.built = True

    def use_length(self, length: TrainingLength) -> None:
        """Sets the steps of an epoch."""
        self.steps_per_epoch.assign(length.steps_per_epoch)

    def share_of(self, epochs: float):
        """Returns how much of the first epochs is over: a scalar in [0, 1], 1 for 0 epochs."""
        if not epochs:
            return ops.ones(())
        return ops.minimum(ops.cast(self.step, "float32") / (epochs * self.steps_per_epoch), 1.0)

    def update(self, changed, steps) -> None:
        """Counts a step; the arguments are those of `Objective.after_step`."""
        self.step.assign(ops.cast(steps, "int32") + ops.cast(changed, "int32"))
