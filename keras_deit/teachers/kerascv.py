"""Classifiers of KerasCV by name, with or without the weights of a preset."""

import importlib.util

import keras

from keras_deit.core.errors import InputError, not_installed, unknown_name
from keras_deit.core.network import failing_quickly
from keras_deit.teachers.contract import TeacherContract, pixel_format
from keras_deit.teachers.kerascv_configs import BACKBONES, WEIGHTED_PRESETS

PREFIX = "kerascv:"

# The smallest side, and the number of which both sides are multiples. DenseNet pools without
# padding. CSPDarkNet splits the image into even and odd pixels. MiT reshapes its tokens to side /
# 32, and TensorFlow cannot build its layers for sides below 64.
_SIZE_RULES = {
    "DenseNetBackbone": (32, 1),
    "CSPDarkNetBackbone": (2, 2),
    "MiTBackbone": (64, 32),
}


def kerascv_names() -> list[str]:
    """Returns the names of all teachers of KerasCV, as `kerascv:PRESET`."""
    presets = [
        name
        for table in (BACKBONES, WEIGHTED_PRESETS)
        for names in table.values()
        for name in names
    ]
    return [PREFIX + preset for preset in presets]


def build_kerascv_model(
    name: str, num_classes: int, height: int, width: int
) -> tuple[keras.Model, TeacherContract]:
    """Builds a KerasCV `ImageClassifier` by the name of a preset.

    For the preset of a backbone it has average pooling and a new Dense head that returns logits.
    The preset of a classifier has its own softmax over 1000 classes.

    Args:
        name: one of `kerascv_names()`, in any case.
        num_classes: number of classes of the new head.
        height, width: size of the images in pixels.

    Returns:
        The model, and the contract of its images and outputs.

    Raises:
        InputError: the name is unknown, the model does not support the size, the weights cannot be
            downloaded, or KerasCV is not installed.
    """
    known = {known_name.lower(): known_name for known_name in kerascv_names()}
    if name.lower() not in known:
        raise unknown_name("teacher", name, known.values())
    preset = known[name.lower()].removeprefix(PREFIX)
    family = _family(preset)
    _check_size(preset, family, height, width)
    keras_cv = _import_kerascv(name)
    if family == "ImageClassifier":
        model = _from_preset(keras_cv.models.ImageClassifier, preset)
        return model, _contract(model.backbone, "probabilities", model.num_classes, height, width)
    backbone_class = getattr(keras_cv.models, family)
    arguments = {"input_shape": (height, width, 3)}
    if preset in BACKBONES[family]:
        config = BACKBONES[family][preset]
        backbone = backbone_class(include_rescaling=True, **arguments, **config)
    else:
        backbone = _from_preset(backbone_class, preset, **arguments)
    model = keras_cv.models.ImageClassifier(backbone, num_classes, activation=None)
    return model, _contract(backbone, "logits", num_classes, height, width)


def check_kerascv(name: str) -> None:
    """Checks that KerasCV and TensorFlow are installed, without importing them.

    Args:
        name: name of the teacher that needs them, for the error.

    Raises:
        InputError: they are not.
    """
    if not all(importlib.util.find_spec(package) for package in ("keras_cv", "tensorflow")):
        raise _without_kerascv(name)


def _import_kerascv(name: str):
    """Imports KerasCV on first use, because it imports TensorFlow on every backend."""
    try:
        import keras_cv
    except ImportError as error:
        raise _without_kerascv(name) from error
    return keras_cv


def _without_kerascv(name: str) -> InputError:
    return not_installed(
        f"Teacher {name}, of KerasCV,",
        "tensorflow",
        "Without them: --teacher applications:NAME or a .keras file, or --distillation none.",
    )


def _family(preset: str) -> str:
    for table in (BACKBONES, WEIGHTED_PRESETS):
        for family, presets in table.items():
            if preset in presets:
                return family
    raise KeyError(preset)


def _check_size(preset: str, family: str, height: int, width: int) -> None:
    minimum, multiple = _SIZE_RULES.get(family, (1, 1))
    if min(height, width) < minimum or height % multiple or width % multiple:
        rule = f", multiples of {multiple}" if multiple > 1 else ""
        raise InputError(
            f"Teacher {PREFIX}{preset} takes images of at least {minimum}x{minimum} pixels{rule}. "
            f"Received: {height}x{width}."
        )
    if family == "MiTBackbone" and height != width:
        raise InputError(
            f"Teacher {PREFIX}{preset} takes square images. Received: {height}x{width}."
        )


def _from_preset(model_class, preset: str, **arguments) -> keras.Model:
    try:
        with failing_quickly():
            return model_class.from_preset(preset, **arguments)
    except OSError as error:  # The base of the exceptions of requests, kagglehub and files.
        reason = str(error).splitlines()[0]
        raise InputError(
            f"The weights of teacher {PREFIX}{preset} could not be fetched from Kaggle: {reason}"
        ) from error


def _contract(
    backbone: keras.Model, outputs: str, num_classes: int, height: int, width: int
) -> TeacherContract:
    pixels = "0-255" if backbone.include_rescaling else "0-1"
    return TeacherContract(pixel_format(pixels, height, width), outputs, num_classes)
