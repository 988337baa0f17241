"""From weights in any format to a model, and from a model to a file."""

import pathlib

from keras_deit.core.errors import InputError
from keras_deit.core.files import atomic_write, disk_errors_as_input_errors, user_path
from keras_deit.models import Classifier, abstract_model
from keras_deit.models.weight_names import check_not_quantized
from keras_deit.pretrained.creation import create_model
from keras_deit.pretrained.formats import KERAS_MODEL, OWN_WEIGHTS, file_format, open_tensors
from keras_deit.pretrained.loading import load_tensors
from keras_deit.pretrained.matching import count_file_classes
from keras_deit.pretrained.model_tensors import ModelTensors, read_model, save_safetensors
from keras_deit.pretrained.own_weights import OWN_SUFFIX, check_sizes, run_model
from keras_deit.pretrained.sources import find_weights
from keras_deit.pretrained.weights_file import write_weights

OUTPUTS = (OWN_SUFFIX, ".keras", ".safetensors")


def model_from(
    source: str | pathlib.Path,
    name: str | None = None,
    num_classes: int | None = None,
    **values,
) -> Classifier:
    """Returns the model whose weights a file holds.

    Args:
        source: as `load_pretrained` takes it.
        name: name of the model; a `.keras` file and a run need none.
        num_classes: by default that of the file, or the published one if the file does not say it,
            such as a `.weights.h5` file.
        **values: of the model, if they are not the published ones; of a `.keras` file or a run
            only the image size can change.

    Raises:
        InputError: the name is missing, or what `create_model` raises.
    """
    found = find_weights(source)
    held = file_format(found.path, found.name)
    if held == KERAS_MODEL:
        model = read_model(found.path, found.name)
        return change_model(model, num_classes=num_classes, **values)
    run = run_model(found.path.parent) if held == OWN_WEIGHTS else None
    if run:
        check_sizes(run, found.path)
        return change_model(create_model(**run, weights=source), num_classes=num_classes, **values)
    if name is None:
        raise InputError(f"{source} does not say which model it is of; give its name.")
    if held == OWN_WEIGHTS:
        image_size = values.pop("image_size", None)
        model = create_model(name, source, num_classes, **values)
        return change_model(model, image_size=image_size)
    if num_classes is None:
        tensors = open_tensors(found.path, found.name)
        num_classes = count_file_classes(abstract_model(name, **values), tensors, found.part)
    return create_model(name, source, num_classes, **values)


def change_model(model: Classifier, **values) -> Classifier:
    """Returns a model for another image size or number of classes; itself if nothing changes.

    Args:
        model: model of this package.
        **values: `image_size`, a side or (height, width) in pixels; `num_classes`, with new heads
            if it differs. None for the model's own.

    Raises:
        InputError: it is another value, the model works at one size only, or the size does not fit
            its patches.
    """
    config = model.get_config()
    sides = model.input_shape[1:3]
    fixed = {"image_size": sides, "num_classes": model.num_classes}
    if sides[0] == sides[1]:
        fixed["image_size"] = sides[0]
    own = {**fixed, **config}
    values = {name: v for name, v in values.items() if v not in (None, own.get(name))}
    for name in values:
        if name not in fixed or name not in config:
            raise InputError(f"{name} of {model.name} cannot change; it is {own.get(name)}.")
    if not values:
        return model
    changed = type(model).from_config({**config, **values})
    load_tensors(changed, ModelTensors(model, model.name))
    return changed


def save_model(model: Classifier, path: str | pathlib.Path) -> None:
    """Writes a model to a `.keras` file, or its weights to `.weights.h5`, or to `.safetensors` in
    timm's layout, by the suffix of the name. An existing file is replaced.

    Raises:
        InputError: the name ends in something else, or the disk is full.
    """
    path = user_path(path)
    if not path.name.endswith(OUTPUTS):
        raise InputError(f"The file should end in {', '.join(OUTPUTS)}, not be {str(path)!r}.")
    with disk_errors_as_input_errors(str(path)):
        if path.suffix == ".safetensors":
            save_safetensors(model, path)
        elif path.suffix == ".h5":
            check_not_quantized(model)
            write_weights(model, path)
        else:
            with atomic_write(path) as partial:
                model.save(partial)
