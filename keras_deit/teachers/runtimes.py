"""The runtimes of exported classifiers: TensorFlow for SavedModels, ONNX Runtime for ONNX files."""

import abc
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import file_digest
from keras_deit.teachers.contract import OUTPUTS

# Inputs of other types than these are not images.
_IMAGE_TYPES = ("float32", "float16", "float64", "uint8")


class Runtime(abc.ABC):
    """A classifier in its own runtime, from NumPy arrays to NumPy arrays.

    Args:
        path: its file or folder.
        outputs: "logits" or "probabilities", which of several outputs is meant; None for the
            logits, if one has that name.

    Attributes:
        output_kind: "logits" or "probabilities" if its output has that name; else None.
        image_size: height and width in pixels of the images; None if it takes any.

    Raises:
        InputError: it cannot be loaded, or is no classifier of images.
    """

    what: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, path: pathlib.Path, outputs: str | None = None):
        self.path = path
        try:
            shape, dtype, names = self._open()
        except InputError:
            raise
        except Exception as error:  # The runtimes raise anything for a corrupt file.
            raise InputError(f"{path} is no {self.what}: {first_line(error)}") from error
        if len(shape) != 4 or dtype not in _IMAGE_TYPES:
            raise InputError(f"{path} takes no images, but {dtype} of shape {tuple(shape)}.")
        self._dtype = dtype
        # PyTorch's models have the channels first.
        self._channels_first = shape[1] == 3 and shape[3] != 3
        if self._channels_first:
            shape = [shape[axis] for axis in (0, 2, 3, 1)]
        batch, *sides, channels = shape
        if channels not in (3, None):
            raise InputError(f"{path} takes images of {channels} channels, not color images.")
        self._batch = batch
        self.image_size = None if None in sides else tuple(sides)
        self._output = self._chosen(names, outputs)
        self.output_kind = self._output if self._output in OUTPUTS else None

    def run(self, images: np.ndarray) -> np.ndarray:
        """Returns the outputs, float32 (batch, classes), for images (batch, height, width, 3)."""
        if np.issubdtype(self._dtype, np.integer):
            images = np.rint(images)
        images = images.astype(self._dtype)
        if self._channels_first:
            images = images.transpose(0, 3, 1, 2)
        if self._batch is None or self._batch == len(images):
            return self._run(np.ascontiguousarray(images)).astype("float32")
        # It takes one number of images only.
        parts = []
        for start in range(0, len(images), self._batch):
            part = images[start : start + self._batch]
            missing = [(0, self._batch - len(part))] + [(0, 0)] * 3
            parts.append(self._run(np.pad(part, missing))[: len(part)])
        return np.concatenate(parts).astype("float32")

    def _chosen(self, names: Sequence[str], outputs: str | None) -> str:
        for name in (outputs, *OUTPUTS):
            if name in names:
                return name
        if len(names) > 1:
            raise InputError(
                f"{self.path} has several outputs and none is named {' or '.join(OUTPUTS)}: "
                f"{', '.join(names)}."
            )
        return names[0]

    @staticmethod
    @abc.abstractmethod
    def exists(path: pathlib.Path) -> bool:
        """Returns whether there is such a file or folder."""

    @abc.abstractmethod
    def digest(self) -> str:
        """Returns hexadecimal digits that identify what it computes."""

    @abc.abstractmethod
    def _open(self) -> tuple[Sequence[int | None], str, list[str]]:
        """Loads it, and returns shape and type of its input, and the names of its outputs."""

    @abc.abstractmethod
    def _run(self, images: np.ndarray) -> np.ndarray:
        """Returns the chosen output for a batch that fits the input."""


class SavedModelRuntime(Runtime):
    """A SavedModel in TensorFlow, by its signature `serving_default` or `serve`, or its only one.

    On another backend than TensorFlow it runs on the CPU, because TensorFlow would take all of a
    GPU's memory.
    """

    what = "SavedModel"
    package = "tensorflow"

    @staticmethod
    def exists(path):
        return (path / "saved_model.pb").is_file()

    def digest(self):
        found = hashlib.sha256()
        for file in [self.path / "saved_model.pb", *sorted(self.path.glob("variables/*"))]:
            found.update(f"{file.name} {file_digest(file)}\n".encode())
        return found.hexdigest()

    def _open(self):
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            tf.config.set_visible_devices([], "GPU")
        # Its functions need the object.
        self._model = tf.saved_model.load(str(self.path))
        signatures = self._model.signatures
        names = [name for name in ("serving_default", "serve", *signatures) if name in signatures]
        if not names:
            raise InputError(f"{self.path} has no signatures.")
        self._signature = signatures[names[0]]
        inputs = self._signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise InputError(f"{self.path} takes several inputs: {', '.join(inputs)}.")
        ((self._input, spec),) = inputs.items()
        shape = [None] * 4 if spec.shape.rank is None else spec.shape.as_list()
        return shape, spec.dtype.name, sorted(self._signature.structured_outputs)

    def _run(self, images):
        import tensorflow as tf

        return self._signature(**{self._input: tf.constant(images)})[self._output].numpy()


class ONNXRuntime(Runtime):
    """An ONNX file in ONNX Runtime, on a GPU if the package is built for it."""

    what = "ONNX file"
    package = "onnxruntime"

    @staticmethod
    def exists(path):
        return path.is_file()

    def digest(self):
        # A large model has its weights in a second file.
        beside = self.path.with_name(f"{self.path.name}.data")
        digests = [file_digest(path) for path in (self.path, beside) if path.is_file()]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def _open(self):
        import onnxruntime

        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        found = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(
            str(self.path), providers=[name for name in wanted if name in found]
        )
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise InputError(
                f"{self.path} takes several inputs: {', '.join(value.name for value in inputs)}."
            )
        self._input = inputs[0].name
        shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
        return shape, _numpy_type(inputs[0].type), [x.name for x in self._session.get_outputs()]

    def _run(self, images):
        return self._session.run([self._output], {self._input: images})[0]


def _numpy_type(name: str) -> str:
    """Returns the NumPy name of an ONNX type, such as "tensor(float)"."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)


# By the prefix of a teacher's name.
RUNTIMES: Mapping[str, type[Runtime]] = {"savedmodel:": SavedModelRuntime, "onnx:": ONNXRuntime}
