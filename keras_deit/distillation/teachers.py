"""The teacher of a distillation: a frozen classifier seen through the student's eyes."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deit.distillation.image_conversion import ImageConversion
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
    check_teacher_name,
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
    "check_teacher_name",
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

    `ImageConversion` brings the images into the teacher's format. The model always runs with
    `training=False`, and no gradient passes through it (Touvron et al. 2021, section 4: the
    teacher is fixed and sees the student's augmented image).

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
        # The teacher computes as it was trained, whatever the student's policy.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        contract.check_model(model)
        model.trainable = False
        self.model = model
        self.built = model.built  # every variable is the model's
        self.contract = contract
        self.conversion = ImageConversion(student_format, contract.image_format)

    @property
    def trainable(self) -> bool:
        """Always False; assigning True has no effect, so that a parent may be unfrozen."""
        return False

    @trainable.setter
    def trainable(self, value: bool):
        pass

    def call(self, images):
        """Logits, float32 of shape (batch, num_classes), of images (batch, height, width, 3)."""
        outputs = ops.cast(self.model(self.conversion(images), training=False), "float32")
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
        check_images(images, self.conversion.source)
        outputs = self.model(self.conversion(images), training=False)
        check_outputs(ops.convert_to_numpy(ops.cast(outputs, "float32")), self.contract)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "contract": self.contract.to_dict(),
            "student_format": dataclasses.asdict(self.conversion.source),
        }

    @classmethod
    def from_config(cls, config: dict) -> "Teacher":
        config = dict(config)
        config["model"] = keras.saving.deserialize_keras_object(config["model"])
        config["contract"] = TeacherContract.from_dict(config["contract"])
        config["student_format"] = ImageFormat(**config["student_format"])
        return cls(**config)
