"""A teacher's size and work, without its memory and without its weights."""

import dataclasses
import json
import math
import pathlib
import re
import zipfile

import keras

from keras_deit.distillation.kerascv_models import PREFIX
from keras_deit.distillation.teacher_models import (
    build_teacher_model,
    check_teacher_name,
    own_head_classes,
)
from keras_deit.errors import InputError
from keras_deit.models import outlined
from keras_deit.models.precision import precision

# A KerasCV name with weights is that of an architecture and what it was trained on.
_TRAINED_ON = re.compile(r"_(imagenet_classifier|imagenet|coco)$")


@dataclasses.dataclass(frozen=True)
class TeacherOutline:
    """What a teacher is.

    Attributes:
        parameters: of the model.
        weight_bytes: of all its variables.
        macs: multiply-adds of its layers for one image. Products of what two layers made, as in an
            attention that is not this package's, are not counted.
        activations: numbers that the layer with the most of them takes and gives, for one image.
    """

    parameters: int
    weight_bytes: int
    macs: int
    activations: int


def outline_teacher(
    name: str, num_classes: int, height: int, width: int, weights: str | None = None
) -> TeacherOutline:
    """A teacher that is neither given memory nor read nor fetched.

    Args:
        name, num_classes, height, width, weights: as `build_teacher_model` takes them; the name
            may be the path of a `.keras` file, which has classes and mostly a size of its own.

    Raises:
        InputError: no such teacher, or a file that is not one.
    """
    check_teacher_name(name)

    def build() -> TeacherOutline:
        if name.endswith(".keras"):
            model = _model_of_file(pathlib.Path(name))
        else:
            classes = own_head_classes(name, num_classes, weights) or num_classes
            with precision("float32"):
                model, _ = build_teacher_model(_architecture(name), classes, height, width)
        own_height, own_width = model.input_shape[1:3]
        return _outline_of(model, (own_height or height, own_width or width, 3))

    return outlined(build)


def _architecture(name: str) -> str:
    return _TRAINED_ON.sub("", name.lower()) if name.lower().startswith(PREFIX) else name


def _model_of_file(path: pathlib.Path) -> keras.Model:
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        return keras.saving.deserialize_keras_object(config)
    except (KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"Teacher file {path} could not be read: {error}") from error


def _outline_of(model: keras.Model, image_shape: tuple[int, int, int]) -> TeacherOutline:
    calls = _Calls(model)
    calls(keras.Input(batch_shape=(1, *image_shape)))
    return TeacherOutline(
        parameters=model.count_params(),
        weight_bytes=4 * sum(math.prod(variable.shape) for variable in model.variables),
        macs=sum(calls.macs),
        activations=max(calls.activations),
    )


class _Calls(keras.layers.Layer):
    """Passes images through a model and writes down what each layer makes of them.

    A layer of its own, so that Keras goes through all calls when it looks for the output's shape.
    """

    def __init__(self, model: keras.Model):
        super().__init__(dtype="float32")
        self.model = model
        self.built = True
        self.macs: list[int] = []
        self.activations: list[int] = []
        for layer in {id(leaf): leaf for leaf in _leaves(model)}.values():
            self._watch(layer)

    def call(self, images):
        return self.model(images, training=False)

    def _watch(self, layer: keras.layers.Layer) -> None:
        call = layer.call

        def watched(inputs, *args, **kwargs):
            outputs = call(inputs, *args, **kwargs)
            taken, given = ([tuple(x.shape) for x in _tensors(part)] for part in (inputs, outputs))
            self.activations.append(sum(map(math.prod, taken + given)))
            if taken and given:
                self.macs.append(_macs(layer, taken[0], given[0]))
            return outputs

        object.__setattr__(layer, "call", watched)


def _leaves(layer: keras.layers.Layer):
    below = [] if hasattr(layer, "macs") else list(layer._flatten_layers(False, False))
    if not below:
        yield layer
    for each in below:
        yield from _leaves(each)


def _tensors(structure) -> list:
    return [each for each in keras.tree.flatten(structure) if hasattr(each, "shape")]


def _macs(layer: keras.layers.Layer, taken: tuple, given: tuple) -> int:
    if hasattr(layer, "macs"):
        return layer.macs(taken)
    if isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense)):
        return math.prod(taken[1:-1]) * math.prod(layer.kernel.shape)
    # Of a convolution every number of its kernels, the two of a separable one too, is used once
    # at each position of the output.
    kernels = [weight for weight in layer.weights if len(weight.shape) > 2]
    return math.prod(given[1:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)
