"""What a teacher takes and gives, declared once and kept beside its weights."""

import dataclasses

import keras

from keras_deit.errors import InputError, unknown_name
from keras_deit.models.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat

OUTPUTS = ("logits", "probabilities")

# Name -> mean, std (R, G, B, of pixels in [0, 1]) and channel order. "caffe" subtracts the ImageNet
# mean from BGR pixels in [0, 255], as the Caffe weights of VGG and ResNet need.
PIXELS = {
    "0-255": ((0.0,) * 3, (1 / 255,) * 3, "RGB"),
    "0-1": ((0.0,) * 3, (1.0,) * 3, "RGB"),
    "-1-1": ((0.5,) * 3, (0.5,) * 3, "RGB"),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD, "RGB"),
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3, "BGR"),
}


def pixel_format(name: str, height: int, width: int) -> ImageFormat:
    """The image format of a named pixel convention, one of `PIXELS`.

    Raises:
        InputError: unknown name.
    """
    if name not in PIXELS:
        raise unknown_name("pixel convention", name, PIXELS)
    mean, std, channels = PIXELS[name]
    return ImageFormat(height, width, mean, std, channels)


@dataclasses.dataclass(frozen=True)
class TeacherContract:
    """A teacher's declared input and output.

    Attributes:
        image_format: the images its model takes: size, mean, std, channel order.
        outputs: "logits" or "probabilities" (rows that sum to 1).
        num_classes: columns of its output.
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
        """Compare the declaration with the shapes that the model has fixed, if any.

        Raises:
            InputError: the model's input or output shape is another one.
        """
        image_shape = (self.image_format.height, self.image_format.width, 3)
        # A subclassed model has neither attribute; what it takes shows when it is called.
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

    def to_dict(self) -> dict:
        """The contract as JSON takes it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "TeacherContract":
        """The contract that `to_dict` gave."""
        return cls(**{**values, "image_format": ImageFormat(**values["image_format"])})


def check_classes(
    teacher_classes: int, num_classes: int, teacher_name: str, dataset_name: str
) -> None:
    """Refuse a teacher whose classes cannot be the dataset's.

    Raises:
        InputError: the class counts differ; the message gives the command that fine-tunes it.
    """
    if teacher_classes != num_classes:
        raise InputError(
            f"Teacher {teacher_name} has {teacher_classes} classes, dataset {dataset_name} "
            f"has {num_classes}: fine-tune it with `python scripts/train_teacher.py --teacher "
            f"{teacher_name} --dataset {dataset_name} --output teacher.keras`, then pass "
            "--teacher teacher.keras."
        )
