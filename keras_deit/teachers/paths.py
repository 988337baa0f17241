"""Paths in the names of teachers, absolute, so that they mean the same however they are written."""

from keras_deit.core.files import absolute_path
from keras_deit.pretrained.sources import absolute_source
from keras_deit.teachers.foreign import is_foreign
from keras_deit.teachers.package_models import is_package_model
from keras_deit.teachers.replay import is_replay, replay_name
from keras_deit.teachers.torch_model import PUBLISHED, TIMM


def absolute_teacher(name: str) -> str:
    """Returns the name of a teacher with an absolute path, if it is one of a file or a folder.

    Args:
        name: as for `check_teacher_name`.

    Raises:
        InputError: the path is the address of a bucket.
    """
    if is_replay(name):
        return replay_name(name)
    if is_foreign(name):
        prefix, colon, path = name.partition(":")
        return name if name.startswith(TIMM) else f"{prefix}{colon}{absolute_path(path)}"
    return absolute_path(name) if name.endswith(".keras") else name


def absolute_teacher_weights(teacher: str | None, weights: str | None) -> str | None:
    """Returns the weights of a teacher with an absolute path, if they are in a file.

    Args:
        teacher: its name; only models of this package and of timm take files.
        weights: as for `build_teacher_model`.

    Raises:
        InputError: the path is the address of a bucket.
    """
    if teacher is None or weights in (None, PUBLISHED):
        return weights
    takes_files = is_package_model(teacher) or teacher.startswith(TIMM)
    return absolute_source(weights) if takes_files else weights
