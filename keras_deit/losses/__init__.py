"""Losses of logits with labels and with the logits of a teacher."""

from keras_deit.losses.balance import BalancedAccuracy, image_weights
from keras_deit.losses.distillation_losses import HardDistillation, SoftDistillation
from keras_deit.losses.label_losses import (
    LABEL_LOSSES,
    BinaryLabelCrossentropy,
    LabelCrossentropy,
    SigmoidLabelCrossentropy,
    are_distributions,
    label_loss,
)

__all__ = [
    "LABEL_LOSSES",
    "BalancedAccuracy",
    "BinaryLabelCrossentropy",
    "HardDistillation",
    "LabelCrossentropy",
    "SigmoidLabelCrossentropy",
    "SoftDistillation",
    "are_distributions",
    "image_weights",
    "label_loss",
]
