"""Does a teacher see and say what its contract declares?"""

import numpy as np

from keras_deit.distillation.teacher_contract import TeacherContract
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

_PIXEL_TOLERANCE = 1e-3
# Wide enough for a softmax computed in float16 over 1000 classes.
_PROBABILITY_TOLERANCE = 5e-3
# Logits whose rows all sum to 1 this closely are probabilities.
_LOGITS_TOLERANCE = 1e-4


def check_images(images: np.ndarray, student_format: ImageFormat) -> None:
    """Refuse images whose shape or pixel range is not that of the student's format.

    Raises:
        InputError: another shape, or pixels outside [0, 1] once mean and std are undone.
    """
    shape = (student_format.height, student_format.width, 3)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise InputError(
            f"The teacher is declared to be shown images of shape (batch, {shape[0]}, {shape[1]}, "
            f"3). Received: {images.shape}."
        )
    mean, std = np.array(student_format.mean), np.array(student_format.std)
    if student_format.channels == "BGR":
        mean, std = mean[::-1], std[::-1]
    pixels = images * std + mean
    low, high = pixels.min(), pixels.max()
    if not (low >= -_PIXEL_TOLERANCE and high <= 1 + _PIXEL_TOLERANCE):
        raise InputError(
            "The images shown to the teacher are not in the student's format: with its mean and "
            f"std undone, pixels are in [{low:.4g}, {high:.4g}] instead of [0, 1]."
        )


def check_outputs(outputs: np.ndarray, contract: TeacherContract) -> None:
    """Refuse outputs that are not what the contract declares.

    Raises:
        InputError: another shape, numbers that are not finite, logits declared as probabilities or
            the reverse.
    """
    if outputs.ndim != 2 or outputs.shape[1] != contract.num_classes:
        raise InputError(
            f"The teacher should give outputs of shape (batch, {contract.num_classes}). "
            f"Received: {outputs.shape}."
        )
    if not np.isfinite(outputs).all():
        raise InputError(
            f"The teacher gives {np.count_nonzero(~np.isfinite(outputs))} outputs of "
            f"{outputs.size} that are not finite."
        )
    error = np.abs(outputs.sum(axis=1) - 1).max()
    negative = outputs.min() < 0
    if contract.outputs == "probabilities" and (negative or error > _PROBABILITY_TOLERANCE):
        raise InputError(
            "The teacher is declared to give probabilities, but its outputs are "
            f"{outputs.min():.4g} at the smallest and rows sum to 1 within {error:.4g}. "
            "If they are logits, declare them so (--teacher_outputs logits)."
        )
    if contract.outputs == "logits" and not negative and error <= _LOGITS_TOLERANCE:
        raise InputError(
            "The teacher is declared to give logits, but no output is negative and every row sums "
            f"to 1 within {error:.2g}: they are probabilities "
            "(--teacher_outputs probabilities)."
        )
