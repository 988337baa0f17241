"""Classifiers of keras.applications by name, with their own preprocessing as a contract."""

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.network import failing_quickly
from keras_deit.teachers.contract import TeacherContract, pixel_format

PREFIX = "applications:"

# By name: the pixel convention, which is that of the module's `preprocess_input`, or "0-255" if the
# model has its own preprocessing; and the smallest side of an image for the constructor.
MODELS = {
    **{f"ConvNeXt{size}": ("0-255", 32) for size in ("Tiny", "Small", "Base", "Large", "XLarge")},
    **{f"DenseNet{depth}": ("imagenet", 32) for depth in (121, 169, 201)},
    **{f"EfficientNetB{index}": ("0-255", 32) for index in range(8)},
    **{f"EfficientNetV2{size}": ("0-255", 32) for size in ("B0", "B1", "B2", "B3", "S", "M", "L")},
    "InceptionResNetV2": ("-1-1", 75),
    "InceptionV3": ("-1-1", 75),
    "MobileNet": ("-1-1", 32),
    "MobileNetV2": ("-1-1", 32),
    "MobileNetV3Small": ("0-255", 32),
    "MobileNetV3Large": ("0-255", 32),
    "NASNetMobile": ("-1-1", 32),
    "NASNetLarge": ("-1-1", 32),
    **{f"ResNet{depth}": ("caffe", 32) for depth in (50, 101, 152)},
    **{f"ResNet{depth}V2": ("-1-1", 32) for depth in (50, 101, 152)},
    "VGG16": ("caffe", 32),
    "VGG19": ("caffe", 32),
    "Xception": ("-1-1", 71),
}
IMAGENET_CLASSES = 1000


def applications_names() -> list[str]:
    """Returns the names of all teachers of keras.applications, as `applications:NAME`."""
    return [PREFIX + name for name in MODELS]


def build_applications_model(
    name: str, num_classes: int, height: int, width: int, weights: str | None = None
) -> tuple[keras.Model, TeacherContract]:
    """Builds a classifier of keras.applications that returns logits.

    Without weights it is the published architecture. With "imagenet" and 1000 classes it is the
    published classifier with its own image size, which the contract contains. With "imagenet" and
    another number of classes it has the trained layers up to an average pooling, and a new Dense
    head.

    Args:
        name: name of the model, with or without `applications:`, in any case.
        num_classes: number of logits.
        height, width: size of the images in pixels.
        weights: None or "imagenet".

    Returns:
        The model, and the contract of its images and outputs.

    Raises:
        InputError: the name or the weights are unknown, the model does not support the backend, the
            images are too small, or the weights cannot be downloaded.
    """
    known = {known_name.lower(): known_name for known_name in MODELS}
    key = name.lower().removeprefix(PREFIX)
    if key not in known:
        raise unknown_name("teacher", name, applications_names())
    model_name = known[key]
    pixels, minimum = MODELS[model_name]
    if weights not in (None, "imagenet"):
        raise InputError(
            f"The weights of a keras.applications teacher are None or 'imagenet'. "
            f"Received: {weights!r}."
        )
    if min(height, width) < minimum:
        raise InputError(
            f"Teacher {PREFIX}{model_name} takes images of at least {minimum}x{minimum} pixels. "
            f"Received: {height}x{width}."
        )
    if model_name == "NASNetMobile" and keras.backend.backend() == "torch":
        raise InputError(
            "Teacher applications:NASNetMobile does not run on the torch backend "
            "(Keras refuses it): choose another, such as applications:MobileNetV2."
        )
    if weights is None:
        model = _build(model_name, (height, width, 3), classes=num_classes)
    elif num_classes == IMAGENET_CLASSES:
        model = _fetch(model_name, None)
        own_height, own_width = model.input_shape[1:3]
        height, width = own_height or height, own_width or width
    else:
        body = _fetch(model_name, (height, width, 3), include_top=False, pooling="avg")
        logits = keras.layers.Dense(num_classes, name="predictions")(body.output)
        model = keras.Model(body.input, logits, name=f"{body.name}_classifier")
    return model, TeacherContract(pixel_format(pixels, height, width), "logits", num_classes)


def _build(model_name: str, input_shape: tuple | None, weights: str | None = None, **arguments):
    constructor = getattr(keras.applications, model_name)
    arguments = {"weights": weights, "input_shape": input_shape, **arguments}
    if arguments.get("include_top", True):
        arguments["classifier_activation"] = None
    return constructor(**arguments)


def _fetch(model_name: str, input_shape: tuple | None, **arguments) -> keras.Model:
    try:
        with failing_quickly():
            return _build(model_name, input_shape, weights="imagenet", **arguments)
    except Exception as error:
        # `keras.utils.get_file` raises a bare Exception. All arguments have been checked before.
        if "URL fetch failure" not in str(error):
            raise
        raise InputError(
            f"The weights of teacher {PREFIX}{model_name} could not be fetched: {error}"
        ) from error
