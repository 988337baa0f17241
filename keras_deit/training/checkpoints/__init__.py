"""Checkpoints: files that hold everything of a training, and what takes it up again."""

from keras_deit.training.checkpoints.keeper import Keeper
from keras_deit.training.checkpoints.place import Place
from keras_deit.training.checkpoints.state import TrainingState, fingerprint
from keras_deit.training.checkpoints.store import CheckpointStore

__all__ = ["CheckpointStore", "Keeper", "Place", "TrainingState", "fingerprint"]
