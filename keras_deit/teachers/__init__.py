"""Teachers by name or from a file, with a contract of their images and outputs."""

from keras_deit.teachers.abstract import abstract_teacher
from keras_deit.teachers.contract import (
    OUTPUTS,
    PIXELS,
    TeacherContract,
    TeacherRequest,
    check_classes,
    class_order,
    pixel_format,
)
from keras_deit.teachers.files import (
    build_teacher_model,
    check_teacher_name,
    list_teachers,
    load_teacher_model,
    own_head_classes,
    replace_head,
    save_teacher_model,
    teacher_record,
)
from keras_deit.teachers.image_conversion import ImageConversion
from keras_deit.teachers.resnet import check_stochastic_depth
from keras_deit.teachers.teacher import Teacher

__all__ = [
    "OUTPUTS",
    "PIXELS",
    "ImageConversion",
    "Teacher",
    "TeacherContract",
    "TeacherRequest",
    "abstract_teacher",
    "build_teacher_model",
    "check_classes",
    "check_stochastic_depth",
    "check_teacher_name",
    "class_order",
    "list_teachers",
    "load_teacher_model",
    "own_head_classes",
    "pixel_format",
    "replace_head",
    "save_teacher_model",
    "teacher_record",
]
