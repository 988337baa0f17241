"""Frozen teachers of other libraries: SavedModels, ONNX files and models of timm.

`timm:NAME` runs on the PyTorch backend as it is. `savedmodel:DIR` and `onnx:FILE` run in their own
runtime, on the host, on every backend.
"""

import importlib.util
import pathlib
from typing import NamedTuple

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import read_json, user_path
from keras_deit.core.host_calls import reserve_threads
from keras_deit.teachers.contract import OUTPUTS, PIXELS, TeacherContract, pixel_format
from keras_deit.teachers.host_model import HostModel
from keras_deit.teachers.runtimes import RUNTIMES
from keras_deit.teachers.torch_model import TIMM, TorchModel, check_timm, load_timm

# What `keras-deit export` writes beside a model.
CARD = "model_card.json"
# By the package that a runtime needs, the extra of this package that installs it.
_EXTRAS = {"tensorflow": "tensorflow", "onnxruntime": "onnx"}


class Foreign(NamedTuple):
    """A teacher of another library.

    Attributes:
        model: a layer from images in the format of its contract to its outputs.
        contract: contract of its images and outputs.
        classes: names of its classes by output; None if they are not known.
    """

    model: HostModel | TorchModel
    contract: TeacherContract
    classes: list[str] | None


def is_foreign(name: str) -> bool:
    """Returns whether a teacher's name is one of these."""
    return name.startswith((TIMM, *RUNTIMES))


def foreign_source(name: str) -> str:
    """Returns a name with the absolute path of its file, if it has one."""
    prefix, path = _split(name)
    return name if prefix == TIMM else f"{prefix}{user_path(path).resolve()}"


def foreign_exists(name: str, weights: str | None = None) -> bool:
    """Returns whether the files of a teacher are there, as far as they are this machine's."""
    prefix, path = _split(name)
    if prefix == TIMM:
        return weights is None or user_path(weights).is_file()
    return RUNTIMES[prefix].exists(user_path(path))


def check_foreign(name: str) -> None:
    """Checks a name without reading anything.

    Raises:
        InputError: there is no such file, a package is not installed, or timm's models do not run
            on the backend.
    """
    prefix, path = _split(name)
    if prefix == TIMM:
        check_timm(name)
        return
    reserve_threads()
    runtime = RUNTIMES[prefix]
    if not runtime.exists(user_path(path)):
        raise InputError(f"Teacher {name}: there is no {runtime.what} {path}.")
    if importlib.util.find_spec(runtime.package) is None:
        raise InputError(
            f"Teacher {name} needs {runtime.package}, which is not installed: pip install "
            f"'keras-deit[{_EXTRAS[runtime.package]}]'."
        )


def load_foreign(
    name: str,
    num_classes: int,
    height: int,
    width: int,
    weights: str | None = None,
    pixels: str | None = None,
    outputs: str | None = None,
) -> Foreign:
    """Loads a teacher of another library.

    Args:
        name: `timm:NAME`, `savedmodel:DIR` or `onnx:FILE`.
        num_classes: number of classes of the data, which a checkpoint of timm may have.
        height, width: size in pixels of the images, if the model takes any size.
        weights: a checkpoint of timm's model; None for the weights that timm publishes.
        pixels, outputs: contract of a SavedModel or an ONNX file; None for what is beside it.

    Raises:
        InputError: it cannot be loaded, or nothing says what it takes and returns.
    """
    check_foreign(name)
    prefix, path = _split(name)
    if prefix == TIMM:
        model, contract = load_timm(name, num_classes, weights)
        return Foreign(model, contract, None)
    if weights is not None:
        raise InputError(f"Teacher {name} has its weights in its file. Received: weights={weights}")
    folder = user_path(path)
    card = _card(folder if folder.is_dir() else folder.parent)
    runtime = RUNTIMES[prefix](folder, outputs)
    pixels = pixels or ("0-1" if card else None)
    outputs = outputs or runtime.output_kind
    if None in (pixels, outputs):
        raise InputError(
            f"Nothing beside {name} tells what it takes and gives: pass --teacher_pixels "
            f"{{{','.join(PIXELS)}}} and --teacher_outputs {{{','.join(OUTPUTS)}}}."
        )
    size = runtime.image_size or (height, width)
    image_format = pixel_format(pixels, *size)
    model = HostModel(foreign_source(name), runtime, image_format)
    return Foreign(
        model,
        TeacherContract(image_format, outputs, model.num_classes),
        _class_names(card, model.num_classes),
    )


def check_foreign_classes(foreign: Foreign, name: str, num_classes: int, dataset: str) -> None:
    """Checks that a teacher has as many classes as the data.

    Raises:
        InputError: it does not. It cannot be fine-tuned.
    """
    own = foreign.contract.num_classes
    if own != num_classes:
        raise InputError(
            f"Teacher {name} has {own} classes, dataset {dataset} has {num_classes}. It is frozen "
            "as it is and cannot be fine-tuned: give one that was trained on these classes."
        )


def _split(name: str) -> tuple[str, str]:
    prefix, _, path = name.partition(":")
    return f"{prefix}:", path


def _card(folder: pathlib.Path) -> dict | None:
    """Returns what `keras-deit export` wrote beside a model; None if nothing is there."""
    path = folder / CARD
    return read_json(path, f"{path} is not a model card") if path.is_file() else None


def _class_names(card: dict | None, count: int) -> list[str] | None:
    if card is None:
        return None
    with corrupt_as_input_error(f"{CARD} names no classes"):
        classes = card["model"]["classes"]
    return list(classes) if len(classes) == count else None
