"""Teachers by name and in files: building, saving and loading them, and replacing their head."""

import json
import os
import pathlib

import keras

from keras_deit.core.errors import InputError, corrupt_as_input_error, unknown_name
from keras_deit.core.files import (
    disk_errors_as_input_errors,
    fsync,
    read_json,
    temporary_folder,
    user_path,
)
from keras_deit.core.image_format import channels_last_images
from keras_deit.core.keras_file import load_keras_file
from keras_deit.models import list_models
from keras_deit.teachers.applications import (
    IMAGENET_CLASSES,
    applications_names,
    build_applications_model,
)
from keras_deit.teachers.contract import OUTPUTS, PIXELS, TeacherContract, pixel_format
from keras_deit.teachers.foreign import check_foreign, is_foreign
from keras_deit.teachers.kerascv import (
    PREFIX,
    build_kerascv_model,
    check_kerascv,
    kerascv_names,
)
from keras_deit.teachers.package_models import (
    build_package_model,
    check_weights,
    is_package_model,
    weights_classes,
)
from keras_deit.teachers.replay import Replay, is_replay
from keras_deit.teachers.resnet import build_resnet, is_resnet, resnet_names


def list_teachers() -> list[str]:
    """Returns all names that `build_teacher_model` accepts."""
    return [*list_models(), *kerascv_names(), *applications_names(), *resnet_names()]


@channels_last_images()
def build_teacher_model(
    name: str,
    num_classes: int,
    height: int,
    width: int,
    weights: str | None = None,
    drop_path_rate: float = 0.0,
) -> tuple[keras.Model, TeacherContract]:
    """Builds a classifier by name, to be trained on the data.

    Args:
        name: name of a model of this package, `kerascv:PRESET`, `applications:NAME`, a
            keras.applications name alone, or `keras_deit:NAME`. Case does not matter but for the
            first.
        num_classes: number of classes of the new head. A `kerascv:..._classifier` has its own 1000
            classes: see `check_classes` and `replace_head`.
        height, width: size of the images in pixels. Classifiers of keras.applications with their
            own ImageNet head have their own size, which is that of the contract.
        weights: None, or "imagenet" for keras.applications. A KerasCV preset with weights has them
            in its name. Of a model of this package what `create_model` takes, such as a file; or
            "imagenet" for the released ones.
        drop_path_rate: rate of stochastic depth, which only models of this package and the
            `keras_deit:` teachers have.

    Returns:
        The model, and the contract of its images and outputs.

    Raises:
        InputError: the name or the weights are unknown, the model does not support the size, or the
            weights cannot be downloaded.
    """
    check_stochastic_depth(name, drop_path_rate)
    if is_resnet(name):
        if weights is not None:
            raise InputError(f"Teacher {name} has no weights. Received: weights={weights!r}.")
        return build_resnet(name, num_classes, height, width, drop_path_rate)
    if is_package_model(name):
        values = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        return build_package_model(name, num_classes, height, width, weights, **values)
    if name.lower().startswith(PREFIX):
        if weights is not None:
            raise InputError(
                "The weights of a KerasCV teacher are part of its name, such as "
                f"kerascv:resnet50_v2_imagenet. Received: name={name!r}, weights={weights!r}."
            )
        return build_kerascv_model(name, num_classes, height, width)
    lowered = [known.lower() for known in applications_names()]
    if name.lower() in lowered or f"applications:{name.lower()}" in lowered:
        return build_applications_model(name, num_classes, height, width, weights)
    raise unknown_name("teacher", name, list_teachers())


def check_stochastic_depth(name: str, drop_path_rate: float) -> None:
    """Checks that a teacher has stochastic depth, if it should.

    Args:
        name: name or file of the teacher.
        drop_path_rate: rate of the stochastic depth; 0 for none.

    Raises:
        InputError: it has none; the line names teachers that have.
    """
    if drop_path_rate and not (is_resnet(name) or is_package_model(name)):
        raise InputError(
            f"Teacher {name} has no stochastic depth: give --drop_path_rate 0, a model of this "
            f"package, or one of {', '.join(resnet_names())}, which have."
        )


def is_frozen_file(name: str) -> bool:
    """Returns whether a teacher is loaded as it is, and not built by name and trained."""
    return name.endswith(".keras") or is_foreign(name) or is_replay(name)


def check_teacher_name(name: str, weights: str | None = None, to_train: bool = False) -> None:
    """Checks that there is such a teacher, without building or reading it.

    Args:
        name: name as in `build_teacher_model`, path of a `.keras` file, a name as in
            `load_foreign`, or `replay:DIR`.
        weights: its weights.
        to_train: whether it is to be trained.

    Raises:
        InputError: there is no such name or file, a package that it needs is not installed, or it
            cannot be trained.
    """
    if is_foreign(name):
        if to_train:
            raise InputError(f"Teacher {name} is used as it is and cannot be trained.")
        check_foreign(name)
        return
    if is_replay(name):
        if to_train:
            raise InputError(f"{name} is no teacher that could be trained, but labels of one.")
        Replay.named(name)
        return
    if name.endswith(".keras"):
        if not user_path(name).is_file():
            raise InputError(f"Teacher file {name} does not exist.")
        return
    if is_package_model(name):
        check_weights(name, weights)
        return
    lowered = name.lower()
    known = {teacher.lower() for teacher in list_teachers()}
    if not known & {lowered, f"applications:{lowered}"}:
        raise unknown_name("teacher", name, list_teachers())
    if lowered.startswith(PREFIX):
        check_kerascv(name)


def own_head_classes(name: str, num_classes: int, weights: str | None = None) -> int | None:
    """Returns the number of classes of the trained head of a teacher; None if its head is new.

    Nothing is built or downloaded. The arguments are those of `build_teacher_model`.

    Raises:
        InputError: weights of a model of this package are not there or cannot be read.
    """
    if is_package_model(name):
        trained = weights is not None and weights_classes(name, weights) == num_classes
        return num_classes if trained else None
    if name.lower().startswith(PREFIX):
        return IMAGENET_CLASSES if name.lower().endswith("_classifier") else None
    keeps_head = weights == "imagenet" and num_classes == IMAGENET_CLASSES
    return IMAGENET_CLASSES if keeps_head else None


def save_teacher_model(
    model: keras.Model, contract: TeacherContract, path: str | pathlib.Path, **extra_json
) -> None:
    """Writes a model to a file and its contract to a file with the same name and suffix `.json`.

    Each file is written to a temporary folder and then moved, so that neither an interrupted
    process nor a second one that writes the same leaves an incomplete file.

    Args:
        model: any Keras model.
        contract: contract of its images and outputs.
        path: path that ends in `.keras`; missing folders are created.
        **extra_json: JSON values to save with the contract, such as the dataset of its training.

    Raises:
        InputError: `path` has another suffix, or the disk is full.
    """
    path = _keras_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"contract": contract.to_dict(), **extra_json}
    with disk_errors_as_input_errors(str(path)), temporary_folder(path.parent) as folder:
        new_model, new_json = folder / path.name, folder / "contract"
        model.save(new_model)
        new_json.write_text(json.dumps(record, indent=2) + "\n")
        fsync(new_model)
        fsync(new_json)
        # The model is moved last, so that a model always has its contract.
        os.replace(new_json, path.with_suffix(".json"))
        os.replace(new_model, path)
    fsync(path.parent)


def teacher_record(source: str | pathlib.Path) -> dict:
    """Returns what is stored beside a `.keras` file; empty if nothing is, or for another name.

    Raises:
        InputError: the file beside it is damaged.
    """
    path = pathlib.Path(source).expanduser()
    if path.suffix != ".keras" or not (path := path.with_suffix(".json")).is_file():
        return {}
    complaint = f"{path} is not a teacher's contract"
    record = read_json(path, complaint)
    classes = record.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{complaint}: its classes are no list of names.")
    data = record.get("data")
    if data is not None and not (isinstance(data, dict) and isinstance(data.get("digest"), str)):
        raise InputError(f"{complaint}: its data is no fingerprint.")
    return record


def load_teacher_model(
    path: str | pathlib.Path,
    contract: TeacherContract | None = None,
    *,
    pixels: str | None = None,
    outputs: str | None = None,
    with_weights: bool = True,
) -> tuple[keras.Model, TeacherContract]:
    """Loads a teacher from a `.keras` file.

    Its contract is `contract`, or else that of `pixels` and `outputs` with the input size and the
    number of classes of the model, or else that of the `.json` file beside it.

    Args:
        path: path of a `.keras` file.
        contract: contract of its images and outputs.
        pixels: pixel convention, a name in `PIXELS`.
        outputs: "logits" or "probabilities".
        with_weights: whether to read the weights, too.

    Returns:
        The model, and the contract of its images and outputs.

    Raises:
        InputError: the file cannot be read, there is no contract, or it does not fit the model.
    """
    path = _keras_path(path)
    if not path.is_file():
        raise InputError(f"Teacher file {path} does not exist.")
    record = path.with_suffix(".json")
    if contract is None and None in (pixels, outputs):
        if not record.is_file():
            raise InputError(
                f"Teacher file {path} has no {record.name} beside it that tells what the model "
                f"takes and gives: pass --teacher_pixels {{{','.join(PIXELS)}}} and "
                f"--teacher_outputs {{{','.join(OUTPUTS)}}}."
            )
        contract = _read_contract(record)
    model = _read_model(path, with_weights)
    if contract is None:
        contract = _contract_of(model, pixels, outputs, path)
    contract.check_model(model)
    return model, contract


def replace_head(
    model: keras.Model, contract: TeacherContract, num_classes: int
) -> tuple[keras.Model, TeacherContract]:
    """Replaces the last Dense layer of a model by a new one that returns logits.

    All other layers, with their weights, are shared with the given model.

    Args:
        model: functional or sequential classifier that ends in Dense, with or without an activation
            layer after it.
        contract: contract of its images and outputs.
        num_classes: number of classes of the new head.

    Returns:
        The new model and its contract.

    Raises:
        InputError: the model ends in another layer, or it is not functional.
    """
    outputs = getattr(model, "outputs", None)
    if not outputs:
        raise InputError(
            f"Teacher model {model.name!r} cannot be given another head: it is not a functional or "
            "a built sequential model."
        )
    last = _layer_before(model, outputs[0])
    if isinstance(last, (keras.layers.Activation, keras.layers.Softmax)):
        last = _layer_before(model, last.input)
    if not isinstance(last, keras.layers.Dense):
        raise InputError(
            f"Teacher model {model.name!r} cannot be given another head: it ends in "
            f"{type(last).__name__}, not in a Dense layer."
        )
    logits = keras.layers.Dense(num_classes, name="predictions")(last.input)
    new_model = keras.Model(model.inputs[0], logits, name=model.name)
    return new_model, TeacherContract(contract.image_format, "logits", num_classes)


def _layer_before(model: keras.Model, tensor):
    for layer in model.layers:
        if layer.output is tensor:
            return layer
    return model.layers[-1]


def _keras_path(path: str | pathlib.Path) -> pathlib.Path:
    path = user_path(path)
    if path.suffix != ".keras":
        raise InputError(f"A teacher file ends in .keras. Received: {path}.")
    return path


def _read_contract(record: pathlib.Path) -> TeacherContract:
    complaint = f"{record} is not a teacher's contract"
    with corrupt_as_input_error(complaint):
        return TeacherContract.from_dict(read_json(record, complaint)["contract"])


# KerasCV does not store which images its layers take.
@channels_last_images()
def _read_model(path: pathlib.Path, with_weights: bool) -> keras.Model:
    return load_keras_file(path, f"Teacher file {path}", with_weights)


def _contract_of(
    model: keras.Model, pixels: str, outputs: str, path: pathlib.Path
) -> TeacherContract:
    height, width = getattr(model, "input_shape", (None,) * 4)[1:3]
    if None in (height, width):
        raise InputError(
            f"The model in teacher file {path} takes images of any size, and nothing says which: "
            f"write a contract to {path.with_suffix('.json').name} with `save_teacher_model`."
        )
    return TeacherContract(pixel_format(pixels, height, width), outputs, model.output_shape[-1])
