"""The teacher of a distillation: a frozen classifier seen through the student's eyes."""

import json

import keras
import numpy as np
from keras import ops

from keras_deit.distillation.kerascv_models import import_kerascv
from keras_deit.distillation.teacher_contract import (
    PIXELS,
    TeacherContract,
    check_classes,
    pixel_format,
)
from keras_deit.distillation.teacher_models import (
    build_teacher_model,
    list_teachers,
    load_teacher_model,
    own_head_classes,
    replace_head,
    save_teacher_model,
)
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

__all__ = [
    "PIXELS",
    "Teacher",
    "TeacherContract",
    "build_teacher_model",
    "check_classes",
    "list_teachers",
    "load_teacher_model",
    "own_head_classes",
    "pixel_format",
    "replace_head",
    "save_teacher_model",
]

# The smallest normal float32: its logarithm is -87.3, and softmax gives every larger probability
# back unchanged.
_SMALLEST_PROBABILITY = float(np.finfo("float32").tiny)
_PIXEL_TOLERANCE = 1e-3
_SUM_TOLERANCE = 1e-3
_LOGITS_SUM_TOLERANCE = 1e-4


@keras.saving.register_keras_serializable(package="keras_deit")
class Teacher(keras.layers.Layer):
    """Takes the student's images, gives the teacher's logits.

    The student's normalisation is undone and the teacher's applied as one affine map per channel,
    the channel order is swapped where the two differ, and images of another size are resized
    bilinearly. The model always runs with `training=False`, and no gradient passes through it
    (Touvron et al. 2021, section 4: the teacher is fixed and sees the student's augmented image).

    Its weights and statistics stay as they are: the layer cannot be made trainable, also not
    through a model that contains it.

    Args:
        model: a Keras classifier; it is frozen in place.
        contract: what `model` takes and gives.
        student_format: the format of the images this layer is called with.

    Raises:
        InputError: the model's fixed input or output size is not the contract's.
    """

    def __init__(
        self,
        model: keras.Model,
        contract: TeacherContract,
        student_format: ImageFormat,
        **kwargs,
    ):
        # In bfloat16 two neighbouring pixel values of 0-255 fall together before the model runs.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        _check_declared_shapes(model, contract)
        model.trainable = False
        self.model = model
        self.contract = contract
        self.student_format = student_format
        self._scale, self._offset = _affine(student_format, contract.image_format)
        teacher_size = (contract.image_format.height, contract.image_format.width)
        student_size = (student_format.height, student_format.width)
        self._resize_to = None if teacher_size == student_size else teacher_size
        # Antialiasing changes nothing where both sides grow.
        self._antialias = min(np.subtract(teacher_size, student_size)) < 0
        if self._antialias and keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA has no kernel for TensorFlow's antialiased resize

    @property
    def trainable(self) -> bool:
        """Always False; assigning True has no effect, so that a parent may be unfrozen."""
        return False

    @trainable.setter
    def trainable(self, value: bool):
        pass

    def call(self, images):
        """Logits, float32 of shape (batch, num_classes), of images (batch, height, width, 3)."""
        outputs = ops.cast(self.model(self._convert(images), training=False), "float32")
        if self.contract.outputs == "probabilities":
            outputs = ops.log(ops.maximum(outputs, _SMALLEST_PROBABILITY))
        return ops.stop_gradient(outputs)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.contract.num_classes)

    def check(self, images: np.ndarray) -> None:
        """Compare the declared formats with a batch and with what the model makes of it.

        Args:
            images: the student's evaluation images, in `student_format` and before any mixing,
                float of shape (batch, height, width, 3).

        Raises:
            InputError: the images are not in `student_format`, or the model's outputs are not what
                the contract declares.
        """
        images = np.asarray(images)
        _check_images(images, self.student_format)
        outputs = self.model(self._convert(images), training=False)
        _check_outputs(ops.convert_to_numpy(ops.cast(outputs, "float32")), self.contract)

    def get_config(self) -> dict:
        contract = self.contract.to_dict()
        student_format = TeacherContract(self.student_format, "logits", 1).to_dict()["image_format"]
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "contract": contract,
            "student_format": student_format,
        }

    @classmethod
    def from_config(cls, config: dict) -> "Teacher":
        config = dict(config)
        if "keras_cv" in json.dumps(config["model"]):
            import_kerascv()  # registers its classes
        config["model"] = keras.saving.deserialize_keras_object(config["model"])
        config["contract"] = TeacherContract.from_dict(config["contract"])
        config["student_format"] = ImageFormat(**config["student_format"])
        return cls(**config)

    def _convert(self, images):
        images = ops.cast(images, "float32") * self._scale + self._offset
        if self.student_format.channels != self.contract.image_format.channels:
            images = ops.flip(images, axis=-1)
        if self._resize_to is not None:
            images = ops.image.resize(
                images,
                self._resize_to,
                interpolation="bilinear",
                antialias=self._antialias,
                data_format="channels_last",
            )
        return images


def _affine(student: ImageFormat, teacher: ImageFormat) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset per channel of the student's images that give the teacher's.

    (x * student_std + student_mean - teacher_mean) / teacher_std, in float64 so that equal formats
    give exactly 1 and 0; returned as float32 in the student's channel order.
    """
    student_std, teacher_std = np.array(student.std), np.array(teacher.std)
    scale = student_std / teacher_std
    offset = (np.array(student.mean) - np.array(teacher.mean)) / teacher_std
    if student.channels == "BGR":
        scale, offset = scale[::-1], offset[::-1]
    return scale.astype("float32"), offset.astype("float32")


def _check_declared_shapes(model: keras.Model, contract: TeacherContract) -> None:
    size = (contract.image_format.height, contract.image_format.width)
    for declared, own in zip((*size, 3), model.input_shape[1:], strict=True):
        if own not in (None, declared):
            raise InputError(
                f"The teacher's contract declares images of shape {(*size, 3)}, "
                f"its model takes {tuple(model.input_shape[1:])}."
            )
    if model.output_shape[-1] != contract.num_classes:
        raise InputError(
            f"The teacher's contract declares {contract.num_classes} classes, "
            f"its model's output has shape {tuple(model.output_shape)}."
        )


def _check_images(images: np.ndarray, student_format: ImageFormat) -> None:
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


def _check_outputs(outputs: np.ndarray, contract: TeacherContract) -> None:
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
    if contract.outputs == "probabilities" and (negative or error > _SUM_TOLERANCE):
        raise InputError(
            "The teacher is declared to give probabilities, but its outputs are "
            f"{outputs.min():.4g} at the smallest and rows sum to 1 within {error:.4g}. "
            "If they are logits, declare them so (--teacher_outputs logits)."
        )
    if contract.outputs == "logits" and not negative and error <= _LOGITS_SUM_TOLERANCE:
        raise InputError(
            "The teacher is declared to give logits, but no output is negative and every row sums "
            f"to 1 within {error:.2g}: they are probabilities "
            "(--teacher_outputs probabilities)."
        )
