"""The formats besides TensorFlow's SavedModel, each compared with the Keras model."""

import contextlib
import dataclasses
import importlib
import importlib.util
import pathlib
import warnings
from collections.abc import Iterator, Sequence

from keras_deit.core.errors import InputError, first_line, not_installed
from keras_deit.core.startup import silent_stderr

# Largest difference between the answers of a file and of the Keras model.
TOLERANCE = 1e-4
# The files are protocol buffers or flat buffers, which end there.
_MAX_BYTES = 2**31
_INT8 = "_int8"


@dataclasses.dataclass(frozen=True)
class Converter:
    """A format and what makes it.

    Attributes:
        title: the name of the format.
        module: of this package, which has `convert`, `quantize`, `load` and the `SUFFIX` of a file.
        packages: what the module imports.
        extra: the extra of this package that installs them.
    """

    title: str
    module: str
    packages: tuple[str, ...]
    extra: str


_ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
CONVERTERS = {
    "onnx": Converter("ONNX", "onnx_format", _ONNX_PACKAGES, "onnx"),
    "litert": Converter("LiteRT", "litert_format", ("ai_edge_litert",), "litert"),
    "openvino": Converter("OpenVINO", "openvino_format", ("openvino", *_ONNX_PACKAGES), "openvino"),
}


def check_installed(formats: Sequence[str]) -> None:
    """Checks that the packages of some formats are installed.

    Raises:
        InputError: one is not.
    """
    for name in formats:
        converter = CONVERTERS.get(name)
        if converter and not all(map(importlib.util.find_spec, converter.packages)):
            instead = "--format tf_saved_model needs TensorFlow alone."
            raise not_installed(f"Export to {converter.title}", converter.extra, instead)


def write_file(classifier, name: str, folder: pathlib.Path, calibration=None):
    """Writes a model in a format, and reads it again.

    Args:
        classifier: the `PixelClassifier`.
        name: one of `CONVERTERS`.
        folder: where `model.SUFFIX` is written, or `model_int8.SUFFIX`.
        calibration: for 8-bit integers, the images to calibrate on: RGB pixels in [0, 1], float32
            (count, height, width, 3).

    Returns:
        The path of the file and the function that it computes, see `Answers`.

    Raises:
        InputError: the format cannot hold the model.
    """
    converter = CONVERTERS[name]
    _check_size(classifier.model, converter)
    module = importlib.import_module(f"keras_deit.serving.{converter.module}")
    path = folder / f"model{'' if calibration is None else _INT8}{module.SUFFIX}"
    with converter_errors(name, classifier.model.name), _quiet():
        if calibration is None:
            module.convert(classifier, path)
        else:
            module.quantize(classifier, calibration, path)
        return path, module.load(path)


def check_answers(classifier, name: str, answers) -> float:
    """Returns the largest difference of the answers of a file from those of the Keras model.

    Raises:
        InputError: it is above `TOLERANCE`.
    """
    title = CONVERTERS[name].title
    with converter_errors(name, classifier.model.name), _quiet():
        difference = classifier.largest_difference(answers)
    if not difference <= TOLERANCE:
        raise InputError(
            f"{title} computes something else than Keras of {classifier.model.name}: the answers "
            f"differ by {difference:.1e}, which is more than {TOLERANCE:.0e}. It is not exported."
        )
    return difference


def _check_size(model, converter: Converter) -> None:
    size = 4 * model.count_params()
    if size >= _MAX_BYTES:
        raise InputError(
            f"The weights of {model.name} have {size / 1e9:.1f} GB, and a file of "
            f"{converter.title} holds 2 GB; --format tf_saved_model has no such limit."
        )


@contextlib.contextmanager
def converter_errors(name: str, model: str) -> Iterator[None]:
    """Turns what a converter or runtime raises for a model that it cannot take into one line.

    Args:
        name: one of `CONVERTERS`.
        model: the name of the model.
    """
    try:
        yield
    except (OSError, MemoryError, InputError):
        raise
    except Exception as error:
        reason = " ".join(first_line(error).split())
        raise InputError(
            f"{CONVERTERS[name].title} cannot take {model}: {type(error).__name__}, {reason}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out the notes of converters, which go to stderr whatever their settings."""
    with warnings.catch_warnings(), silent_stderr():
        warnings.simplefilter("ignore")
        yield
