"""Optimisers, schedules and groups of variables, as the authors' training has them."""

from keras_deit.training.optimisation.adamw import AdamW
from keras_deit.training.optimisation.building import (
    build_optimizer,
    check_accumulation,
    learning_rate_schedule,
)
from keras_deit.training.optimisation.groups import learning_rate_factors, undecayed_variables
from keras_deit.training.optimisation.lamb import Lamb
from keras_deit.training.optimisation.schedules import EpochCosine, StepCosine
from keras_deit.training.optimisation.selection import select_trainable
from keras_deit.training.optimisation.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "EpochCosine",
    "Lamb",
    "StepCosine",
    "build_optimizer",
    "check_accumulation",
    "learning_rate_factors",
    "learning_rate_schedule",
    "select_trainable",
    "undecayed_variables",
]
