"""Distillation: the Distiller, its losses and the teachers."""

from keras_deit.distillation.arguments import KINDS
from keras_deit.distillation.distiller import Distiller
from keras_deit.distillation.losses import (
    BinaryLabelCrossentropy,
    HardDistillation,
    LabelCrossentropy,
    SigmoidLabelCrossentropy,
    SoftDistillation,
)
from keras_deit.distillation.teachers import Teacher, TeacherContract
from keras_deit.distillation.weight_average import WeightAverage

__all__ = [
    "KINDS",
    "BinaryLabelCrossentropy",
    "Distiller",
    "HardDistillation",
    "LabelCrossentropy",
    "SigmoidLabelCrossentropy",
    "SoftDistillation",
    "Teacher",
    "TeacherContract",
    "WeightAverage",
]
