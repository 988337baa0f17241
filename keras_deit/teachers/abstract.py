"""Abstract teachers, whose variables can be counted but which cannot run."""

import re

from keras_deit.core.abstract import build_abstract
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.precision import precision
from keras_deit.teachers.contract import TeacherRequest
from keras_deit.teachers.files import (
    build_teacher_model,
    check_teacher_name,
    load_teacher_model,
    own_head_classes,
)
from keras_deit.teachers.foreign import is_foreign, load_foreign
from keras_deit.teachers.kerascv import PREFIX
from keras_deit.teachers.teacher import Teacher

# The KerasCV name of trained weights is that of the architecture with one of these suffixes.
_TRAINED_ON = re.compile(r"_(imagenet_classifier|imagenet|coco)$")


def abstract_teacher(
    request: TeacherRequest, num_classes: int, height: int, width: int, student_format: ImageFormat
) -> Teacher:
    """Returns a teacher whose variables have no memory, and whose weights are not downloaded.

    Args:
        request: name or file of the teacher.
        num_classes: number of classes in the data.
        height, width: size in pixels of the images of a teacher that is built by name.
        student_format: format of the student's images, with which it is called.

    Raises:
        InputError: there is no such teacher, or the file does not contain one.
    """
    name = request.name
    check_teacher_name(name, request.weights)
    if is_foreign(name):
        # It has no variables of Keras that could be without memory.
        contract = (request.weights, request.pixels, request.outputs)
        foreign = load_foreign(name, num_classes, height, width, *contract)
        return build_abstract(lambda: Teacher(foreign.model, foreign.contract, student_format))

    def build() -> Teacher:
        if name.endswith(".keras"):
            model, contract = load_teacher_model(
                name, pixels=request.pixels, outputs=request.outputs, with_weights=False
            )
        else:
            classes = own_head_classes(name, num_classes, request.weights) or num_classes
            with precision("float32"):
                model, contract = build_teacher_model(_architecture(name), classes, height, width)
        return Teacher(model, contract, student_format)

    return build_abstract(build)


def _architecture(name: str) -> str:
    return _TRAINED_ON.sub("", name.lower()) if name.lower().startswith(PREFIX) else name
