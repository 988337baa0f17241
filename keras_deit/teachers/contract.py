"""The contract of a teacher: the format of its images and outputs, saved beside its weights."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat

OUTPUTS = ("logits", "probabilities")

# By name: mean and std of R, G and B for pixels in [0, 1], and the order of the channels. "caffe"
# subtracts the ImageNet mean from BGR pixels in [0, 255], as for the Caffe weights of VGG and
# ResNet.
PIXELS = {
    "0-255": ((0.0,) * 3, (1 / 255,) * 3, "RGB"),
    "0-1": ((0.0,) * 3, (1.0,) * 3, "RGB"),
    "-1-1": ((0.5,) * 3, (0.5,) * 3, "RGB"),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD, "RGB"),
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3, "BGR"),
}

_PIXEL_TOLERANCE = 1e-3
# This is enough for a softmax over 1000 classes in float16.
_PROBABILITY_TOLERANCE = 5e-3
# Outputs whose rows all sum to 1 within this tolerance are probabilities.
_LOGITS_TOLERANCE = 1e-4


def pixel_format(name: str, height: int, width: int) -> ImageFormat:
    """Returns the image format of a pixel convention, one of `PIXELS`.

    Raises:
        InputError: the name is unknown.
    """
    if name not in PIXELS:
        raise unknown_name("pixel convention", name, PIXELS)
    mean, std, channels = PIXELS[name]
    return ImageFormat(height, width, mean, std, channels)


@dataclasses.dataclass(frozen=True)
class TeacherContract:
    """The declared input and output of a teacher.

    Attributes:
        image_format: size, mean, std and channel order of its images.
        outputs: "logits" or "probabilities" (rows that sum to 1).
        num_classes: number of columns of its output.
    """

    image_format: ImageFormat
    outputs: str
    num_classes: int

    def __post_init__(self):
        if self.outputs not in OUTPUTS:
            raise InputError(
                f"A teacher's outputs are one of {', '.join(OUTPUTS)}. Received: {self.outputs!r}."
            )
        if self.num_classes < 1:
            raise InputError(
                f"A teacher has at least one class. Received: num_classes={self.num_classes}."
            )

    def check_model(self, model: keras.Model) -> None:
        """Checks that the fixed input and output shapes of a model, if any, are those declared.

        Raises:
            InputError: the input or output shape of the model is different.
        """
        image_shape = (self.image_format.height, self.image_format.width, 3)
        # A subclassed model has neither attribute: its shapes are not known before a call.
        input_shape = getattr(model, "input_shape", (None, *image_shape))
        output_shape = getattr(model, "output_shape", (None, self.num_classes))
        fixed = [
            own or declared for own, declared in zip(input_shape[1:], image_shape, strict=False)
        ]
        if tuple(fixed) != image_shape:
            raise InputError(
                f"The teacher's contract declares images of shape {image_shape}, "
                f"its model takes {tuple(input_shape[1:])}."
            )
        if output_shape[-1] != self.num_classes:
            raise InputError(
                f"The teacher's contract declares {self.num_classes} classes, "
                f"its model's output has shape {tuple(output_shape)}."
            )

    def check_outputs(self, outputs: np.ndarray) -> None:
        """Checks that outputs are as the contract declares them.

        Args:
            outputs: outputs of the model for some images.

        Raises:
            InputError: they have another shape than (batch, num_classes), they are not finite, or
                they are logits that are declared as probabilities or the reverse.
        """
        if outputs.ndim != 2 or outputs.shape[1] != self.num_classes:
            raise InputError(
                f"The teacher should return outputs of shape (batch, {self.num_classes}). "
                f"Received: {outputs.shape}."
            )
        if not np.isfinite(outputs).all():
            raise InputError(
                f"The teacher returns {np.count_nonzero(~np.isfinite(outputs))} outputs of "
                f"{outputs.size} that are not finite."
            )
        error = np.abs(outputs.sum(axis=1) - 1).max()
        negative = outputs.min() < 0
        if self.outputs == "probabilities" and (negative or error > _PROBABILITY_TOLERANCE):
            raise InputError(
                "The teacher is declared to return probabilities, but its outputs are "
                f"{outputs.min():.4g} at the smallest and rows sum to 1 within {error:.4g}. "
                "If they are logits, declare them so (--teacher_outputs logits)."
            )
        if self.outputs == "logits" and not negative and error <= _LOGITS_TOLERANCE:
            raise InputError(
                "The teacher is declared to return logits, but no output is negative and every "
                f"row sums to 1 within {error:.2g}: they are probabilities "
                "(--teacher_outputs probabilities)."
            )

    def to_dict(self) -> dict:
        """Returns the contract as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "TeacherContract":
        """Returns the contract from the result of `to_dict`."""
        return cls(**{**values, "image_format": ImageFormat(**values["image_format"])})


def check_images(images: np.ndarray, student_format: ImageFormat) -> None:
    """Checks that images have the shape and the pixel range of the student's format.

    Args:
        images: (batch, height, width, 3).
        student_format: format of the student's images.

    Raises:
        InputError: they have another shape, or pixels outside [0, 1] before the normalization.
    """
    shape = (student_format.height, student_format.width, 3)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise InputError(
            f"The teacher is declared to see images of shape (batch, {shape[0]}, {shape[1]}, 3). "
            f"Received: {images.shape}."
        )
    mean, std = np.array(student_format.mean), np.array(student_format.std)
    if student_format.channels == "BGR":
        mean, std = mean[::-1], std[::-1]
    pixels = images * std + mean
    low, high = pixels.min(), pixels.max()
    if not (low >= -_PIXEL_TOLERANCE and high <= 1 + _PIXEL_TOLERANCE):
        raise InputError(
            "The images for the teacher are not in the student's format: with its mean and std "
            f"undone, pixels are in [{low:.4g}, {high:.4g}] instead of [0, 1]."
        )


def check_classes(
    teacher_classes: int, num_classes: int, teacher_name: str, dataset_name: str
) -> None:
    """Checks that a teacher has as many classes as the dataset.

    Raises:
        InputError: it does not. The message contains the command that fine-tunes it.
    """
    if teacher_classes != num_classes:
        raise InputError(
            f"Teacher {teacher_name} has {teacher_classes} classes, dataset {dataset_name} "
            f"has {num_classes}: fine-tune it with `keras-deit train-teacher --teacher "
            f"{teacher_name} --dataset {dataset_name} --output teacher.keras`, then pass "
            "--teacher teacher.keras."
        )


def class_order(
    teacher_classes: Sequence[str] | None,
    class_names: Sequence[str],
    teacher_name: str,
    dataset_name: str,
) -> tuple[int, ...] | None:
    """Returns the outputs of a teacher in the order of the classes of the dataset.

    Args:
        teacher_classes: names of the classes by output; None if they are not known.
        class_names: names of the classes of the dataset.
        teacher_name, dataset_name: for the error.

    Returns:
        For each class of the dataset the index of the teacher's output; None if the order is the
        same or not known.

    Raises:
        InputError: the teacher has other classes.
    """
    if teacher_classes is None or list(teacher_classes) == list(class_names):
        return None
    different = sorted({*teacher_classes} ^ {*class_names})
    if different or len(teacher_classes) != len(class_names):
        more = f" and {len(different) - 10} more" if len(different) > 10 else ""
        raise InputError(
            f"Teacher {teacher_name} was trained on other classes than those of {dataset_name}. "
            f"Only one of the two has: {', '.join(different[:10])}{more}. Fine-tune it with "
            f"`keras-deit train-teacher --teacher {teacher_name} --dataset {dataset_name} "
            "--output teacher.keras`, then pass --teacher teacher.keras."
        )
    return tuple(map(list(teacher_classes).index, class_names))


@dataclasses.dataclass(frozen=True)
class TeacherRequest:
    """The teacher that an objective asks for.

    Attributes:
        name: name of the teacher, or path of a `.keras` file.
        weights: initial weights of a keras.applications teacher: "imagenet", or None.
        recipe: recipe of the teacher's training, a `keras_deit.recipes.TeacherRecipe`, if it has to
            be trained first; None for the default one.
        pixels, outputs: contract of a `.keras` file without a `.json` file beside it.
    """

    name: str
    weights: str | None = None
    recipe: Any = None
    pixels: str | None = None
    outputs: str | None = None
