"""The teacher of a distillation: a frozen classifier for the student's images."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_deit.core.image_format import ImageFormat, channels_last_images
from keras_deit.teachers.contract import TeacherContract, check_images
from keras_deit.teachers.image_conversion import ImageConversion

# The smallest normal float32: its logarithm is -87.3, and softmax restores every larger
# probability.
_SMALLEST_PROBABILITY = float(np.finfo("float32").tiny)


@keras.saving.register_keras_serializable(package="keras_deit")
class Teacher(keras.layers.Layer):
    """A layer that maps the student's images to the teacher's logits.

    `ImageConversion` converts the images to the teacher's format. The model always runs with
    `training=False`, and no gradient is propagated through it (DeiT §4: the teacher is fixed, and
    its input is the student's augmented image).

    Its weights and statistics never change: the layer cannot be made trainable, not even through a
    model that contains it.

    Args:
        model: Keras classifier, which is frozen in place.
        contract: contract of its images and outputs.
        student_format: format of the images with which this layer is called.
        class_order: for each class the index of the model's output, see `contract.class_order`;
            None if the outputs are in the order of the classes.

    Raises:
        InputError: a fixed input or output size of the model is not that of the contract.
    """

    def __init__(
        self,
        model: keras.Model,
        contract: TeacherContract,
        student_format: ImageFormat,
        class_order: Sequence[int] | None = None,
        **kwargs,
    ):
        # The dtype of the teacher does not depend on the student's dtype policy.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        contract.check_model(model)
        model.trainable = False
        self.model = model
        self.built = model.built  # Every variable is the model's.
        self.contract = contract
        self.class_order = None if class_order is None else tuple(class_order)
        self.conversion = ImageConversion(student_format, contract.image_format)

    @property
    def trainable(self) -> bool:
        """Always False; assigning True has no effect, so a parent can be unfrozen."""
        return False

    @trainable.setter
    def trainable(self, value: bool):
        pass

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Always empty: the metrics that the model was compiled with are of its own training.

        Keras leaves out those of a model that is a part of another, but not of one in a layer; they
        would overwrite the log of the training around it under the same names.
        """
        return []

    def call(self, images):
        """Returns logits, float32 (batch, num_classes), for images (batch, height, width, 3)."""
        outputs = ops.cast(self.model(self.conversion(images), training=False), "float32")
        if self.class_order is not None:
            outputs = ops.take(outputs, np.array(self.class_order, "int32"), axis=-1)
        return ops.stop_gradient(as_logits(outputs, self.contract))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.contract.num_classes)

    def check(self, images: np.ndarray) -> None:
        """Checks the declared formats with a batch and the outputs of the model for it.

        Args:
            images: evaluation images of the student, in `student_format` and not mixed, float
                (batch, height, width, 3).

        Raises:
            InputError: the images are not in `student_format`, or the outputs of the model are not
                as the contract declares them.
        """
        images = np.asarray(images)
        check_images(images, self.conversion.source)
        outputs = self.model(self.conversion(images), training=False)
        self.contract.check_outputs(ops.convert_to_numpy(ops.cast(outputs, "float32")))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "contract": self.contract.to_dict(),
            "student_format": dataclasses.asdict(self.conversion.source),
            "class_order": self.class_order,
        }

    # KerasCV does not store which images its layers take.
    @classmethod
    @channels_last_images()
    def from_config(cls, config: dict) -> "Teacher":
        config = dict(config)
        config["model"] = keras.saving.deserialize_keras_object(config["model"])
        config["contract"] = TeacherContract.from_dict(config["contract"])
        config["student_format"] = ImageFormat(**config["student_format"])
        return cls(**config)


def as_logits(outputs, contract: TeacherContract):
    """Returns the outputs of a teacher as logits, which for probabilities are their logarithms."""
    if contract.outputs == "probabilities":
        return ops.log(ops.maximum(outputs, _SMALLEST_PROBABILITY))
    return outputs
