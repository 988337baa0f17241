"""The teacher of a distillation: a frozen classifier seen through the student's eyes."""

import keras
import numpy as np
from keras import ops

from keras_deit.distillation.teacher_checks import check_images, check_outputs
from keras_deit.distillation.teacher_contract import (
    OUTPUTS,
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
from keras_deit.models.image_format import ImageFormat

__all__ = [
    "OUTPUTS",
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
        # bfloat16 keeps 8 bits, too few for an augmented image in [0, 255].
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        contract.check_model(model)
        model.trainable = False
        self.model = model
        self.built = model.built  # every variable is the model's
        self.contract = contract
        self.student_format = student_format
        self._scale, self._offset = _affine(student_format, contract.image_format)
        teacher_size = (contract.image_format.height, contract.image_format.width)
        student_size = (student_format.height, student_format.width)
        self._resize_to = None if teacher_size == student_size else teacher_size
        # Antialiasing changes nothing where both sides grow.
        self._antialias = any(
            new < old for new, old in zip(teacher_size, student_size, strict=True)
        )
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
        check_images(images, self.student_format)
        outputs = self.model(self._convert(images), training=False)
        check_outputs(ops.convert_to_numpy(ops.cast(outputs, "float32")), self.contract)

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
        config["model"] = keras.saving.deserialize_keras_object(config["model"])
        config["contract"] = TeacherContract.from_dict(config["contract"])
        config["student_format"] = ImageFormat(**config["student_format"])
        return cls(**config)

    def _convert(self, images):
        # PyTorch's own operators would bring the images to the host to meet a NumPy array.
        images = ops.multiply(ops.cast(images, "float32"), self._scale)
        images = ops.add(images, self._offset)
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
