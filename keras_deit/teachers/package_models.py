"""Models of this package as teachers, such as RegNetY, by the names of `list_models()`."""

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import file_digest, read_json
from keras_deit.models import abstract_model, get_spec, list_models
from keras_deit.pretrained import create_model
from keras_deit.pretrained.formats import KERAS_MODEL, OWN_WEIGHTS, file_format, open_tensors
from keras_deit.pretrained.hub import PREFIX as HUB
from keras_deit.pretrained.matching import count_file_classes
from keras_deit.pretrained.model_tensors import read_model
from keras_deit.pretrained.own_weights import record_of, run_model
from keras_deit.pretrained.sources import class_names_beside, find_weights
from keras_deit.teachers.contract import TeacherContract
from keras_deit.teachers.torch_model import PUBLISHED


def is_package_model(name: str) -> bool:
    """Returns whether a teacher's name is that of a model of this package."""
    return name in list_models()


def build_package_model(
    name: str, num_classes: int, height: int, width: int, weights: str | None = None, **values
) -> tuple[keras.Model, TeacherContract]:
    """Builds a model of this package as a teacher that returns logits.

    Args:
        name: one of `list_models()`.
        num_classes: number of logits; weights for another number give all layers but the head.
        height, width: size of the images in pixels, to which positions are resized.
        weights: as `create_model` takes them, "imagenet" for the released ones, or None.
        **values: further values of the model.

    Returns:
        The model, and the contract of its images and outputs.

    Raises:
        InputError: the size does not fit, or the weights do not.
    """
    released = weights == PUBLISHED
    size = height if height == width else (height, width)
    source = {"pretrained": True} if released else {"weights": weights}
    model = create_model(name, num_classes=num_classes, image_size=size, **source, **values)
    return model, TeacherContract(model.image_format, "logits", num_classes)


def weights_classes(name: str, weights: str) -> int | None:
    """Returns the number of classes of the head in weights; None if they do not say it.

    Nothing is downloaded: released weights have as many classes as the published model.

    Args:
        name: one of `list_models()`.
        weights: as for `build_package_model`.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    if weights == PUBLISHED or weights.startswith(HUB):
        return get_spec(name).config.get("num_classes", 1000)
    found = find_weights(weights)
    kind = file_format(found.path, found.name)
    if kind == KERAS_MODEL:
        return read_model(found.path, found.name).num_classes
    if kind == OWN_WEIGHTS:
        return ((record_of(found.path) or {}).get("config") or {}).get("num_classes")
    file = open_tensors(found.path, found.name)
    return count_file_classes(abstract_model(name), file, found.part)


def weights_class_names(weights: str, count: int) -> list[str] | None:
    """Returns the names of the classes of weights: those of a run, or beside a file; else None.

    Args:
        weights: as for `build_package_model`.
        count: the number of classes.
    """
    if weights == PUBLISHED or weights.startswith(HUB):
        return None
    path = find_weights(weights).path
    if run_model(path.parent) is not None:
        return read_json(path.parent / "config.json", str(path.parent)).get("class_names")
    names = class_names_beside(path, count)
    return names and list(names)


def weights_digest(weights: str | None) -> str | None:
    """Returns what identifies the contents of weights; None for those that are not in a file."""
    if weights in (None, PUBLISHED) or weights.startswith(HUB):
        return None
    return file_digest(find_weights(weights).path)


def check_weights(name: str, weights: str | None) -> None:
    """Checks that the weights of a teacher are there, without reading them.

    Raises:
        InputError: they are not.
    """
    if weights not in (None, PUBLISHED) and not weights.startswith(HUB):
        try:
            find_weights(weights)
        except InputError as error:
            raise InputError(f"Teacher {name}: {error}") from error
