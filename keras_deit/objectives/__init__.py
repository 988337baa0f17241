"""Objectives of a training, the Keras model that trains for them, and scores."""

from keras_deit.objectives.dino import Dino
from keras_deit.objectives.distillation import KINDS, Distillation, Distiller
from keras_deit.objectives.ema import ExponentialMovingAverage
from keras_deit.objectives.grafit import Grafit
from keras_deit.objectives.length import TrainingLength
from keras_deit.objectives.objective import (
    OBJECTIVES,
    Batch,
    Features,
    Objective,
    get_objective,
    objective_name,
    register_objective,
    registered_objectives,
)
from keras_deit.objectives.sparsity import Sparsity
from keras_deit.objectives.supervised import Supervised
from keras_deit.objectives.target_network import TargetNetwork
from keras_deit.objectives.training_model import TrainingModel

OBJECTIVES.protect()

__all__ = [
    "KINDS",
    "Batch",
    "Dino",
    "Distillation",
    "Distiller",
    "ExponentialMovingAverage",
    "Features",
    "Grafit",
    "Objective",
    "Sparsity",
    "Supervised",
    "TargetNetwork",
    "TrainingLength",
    "TrainingModel",
    "get_objective",
    "objective_name",
    "register_objective",
    "registered_objectives",
]
