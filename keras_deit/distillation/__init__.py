"""Distillation: the Distiller, its losses and the teachers."""

from keras_deit.distillation.arguments import KINDS
from keras_deit.distillation.distiller import Distiller
from keras_deit.distillation.losses import HardDistillation, LabelCrossentropy, SoftDistillation
from keras_deit.distillation.teachers import Teacher, TeacherContract

__all__ = [
    "KINDS",
    "Distiller",
    "HardDistillation",
    "LabelCrossentropy",
    "SoftDistillation",
    "Teacher",
    "TeacherContract",
]
