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
    check_stochastic_depth,
    check_teacher_name,
    is_frozen_file,
    list_teachers,
    load_teacher_model,
    own_head_classes,
    replace_head,
    save_teacher_model,
    teacher_record,
)
from keras_deit.teachers.foreign import (
    Foreign,
    check_foreign_classes,
    foreign_exists,
    foreign_source,
    is_foreign,
    load_foreign,
)
from keras_deit.teachers.host_model import HostModel
from keras_deit.teachers.image_conversion import ImageConversion
from keras_deit.teachers.package_models import (
    is_package_model,
    weights_class_names,
    weights_digest,
)
from keras_deit.teachers.paths import absolute_teacher, absolute_teacher_weights
from keras_deit.teachers.replay import LabelFormat, Replay, is_replay
from keras_deit.teachers.teacher import Teacher
from keras_deit.teachers.torch_model import TorchModel

__all__ = [
    "OUTPUTS",
    "PIXELS",
    "Foreign",
    "HostModel",
    "ImageConversion",
    "LabelFormat",
    "Replay",
    "Teacher",
    "TeacherContract",
    "TeacherRequest",
    "TorchModel",
    "absolute_teacher",
    "absolute_teacher_weights",
    "abstract_teacher",
    "build_teacher_model",
    "check_classes",
    "check_foreign_classes",
    "check_stochastic_depth",
    "check_teacher_name",
    "class_order",
    "foreign_exists",
    "foreign_source",
    "is_foreign",
    "is_frozen_file",
    "is_package_model",
    "is_replay",
    "list_teachers",
    "load_foreign",
    "load_teacher_model",
    "own_head_classes",
    "pixel_format",
    "replace_head",
    "save_teacher_model",
    "teacher_record",
    "weights_class_names",
    "weights_digest",
]
