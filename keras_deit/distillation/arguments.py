"""What a distillation can be asked to do."""

import keras

from keras_deit.errors import InputError

KINDS = ("hard", "soft", "none")


def check_distillation(kind: str, alpha: float, temperature: float, ema_decay: float = 0.0) -> None:
    """Makes sure that the numbers of a distillation can be.

    Raises:
        InputError: one of them cannot.
    """
    if kind not in KINDS:
        raise InputError(f"distillation should be one of {', '.join(KINDS)}. Received: {kind!r}")
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha should be in [0, 1]. Received: {alpha}")
    if temperature <= 0:
        raise InputError(f"temperature should be above 0. Received: {temperature}")
    if not 0 <= ema_decay < 1:
        raise InputError(f"ema_decay should be at least 0 and below 1. Received: {ema_decay}")


def check_teacher(student: keras.Model, teacher: keras.Layer | None, kind: str) -> None:
    """Makes sure that a distillation that needs a teacher has one with the student's classes.

    Raises:
        InputError: it has none, or one with another number of classes.
    """
    if teacher is None:
        if kind != "none":
            raise InputError(f"{kind} distillation needs a teacher. Received: teacher=None")
        return
    classes = teacher.compute_output_shape((None, *student.input_shape[1:]))[-1]
    if classes != student.output_shape[-1]:
        raise InputError(
            f"The teacher has {classes} classes and the student {student.output_shape[-1]}; "
            "fine-tune the teacher to the student's classes with scripts/train_teacher.py."
        )
