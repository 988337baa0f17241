"""Optimizers, schedules and parameter groups, as in the authors' training code."""

from keras_deit.optimizers.adamw import Adam, AdamW, Lamb
from keras_deit.optimizers.building import (
    build_optimizer,
    check_accumulation,
    learning_rate_schedule,
)
from keras_deit.optimizers.param_groups import (
    learning_rate_factors,
    no_weight_decay_variables,
    select_trainable,
)
from keras_deit.optimizers.schedules import EpochCosine, StepCosine, StepDecay
from keras_deit.optimizers.settings import Optimization, require
from keras_deit.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "EpochCosine",
    "Lamb",
    "Optimization",
    "StepCosine",
    "StepDecay",
    "build_optimizer",
    "check_accumulation",
    "learning_rate_factors",
    "learning_rate_schedule",
    "no_weight_decay_variables",
    "require",
    "select_trainable",
]
