"""The length of a training, as an objective gets it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainingLength:
    """How long a training is.

    Attributes:
        steps: steps of the optimizer altogether.
        steps_per_epoch: steps of the optimizer in an epoch.
        num_images: images of the training split.
    """

    steps: int
    steps_per_epoch: int
    num_images: int
