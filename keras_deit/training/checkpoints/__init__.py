"""Checkpoints: files that hold the whole state of a training, and when they are written."""

from keras_deit.training.checkpoints.manager import CheckpointManager
from keras_deit.training.checkpoints.progress import Progress
from keras_deit.training.checkpoints.state import TrainingState, fingerprint

__all__ = ["CheckpointManager", "Progress", "TrainingState", "fingerprint"]
