"""From weights in any format to a model, and from a model to a file in any of ours."""

import pathlib

from keras_deit.errors import InputError
from keras_deit.models import Classifier, outline_model
from keras_deit.pretrained.creation import create_model
from keras_deit.pretrained.files import whole_or_not_at_all, write_weights
from keras_deit.pretrained.loading import load_tensors
from keras_deit.pretrained.model_tensors import ModelTensors, read_model
from keras_deit.pretrained.naming import count_classes, tables
from keras_deit.pretrained.own_weights import OWN_SUFFIX
from keras_deit.pretrained.sources import is_own_weights, local_file, open_tensors
from keras_deit.pretrained.tensor_file import TensorFile
from keras_deit.pretrained.writing import save_safetensors

OUTPUTS = (OWN_SUFFIX, ".keras", ".safetensors")


def model_from(
    source: str | pathlib.Path,
    name: str | None = None,
    num_classes: int | None = None,
    **values,
) -> Classifier:
    """The model that a file of weights is of.

    Args:
        source: as `load_pretrained` takes it.
        name: of the model; a `.keras` file needs none.
        num_classes: by default the file's; a `.weights.h5` file does not say and has 1000.
        **values: of the model, where they are not the published ones; of a `.keras` file only
            the image size can change.

    Raises:
        InputError: the name is missing, or what `create_model` raises.
    """
    path = local_file(source)
    if path.suffix == ".keras":
        return changed(read_model(path, str(source)), num_classes=num_classes, **values)
    if name is None:
        raise InputError(f"{source} does not say which model it is of; give its name.")
    if is_own_weights(path):
        image_size = values.pop("image_size", None)
        model = create_model(name, source, num_classes or 1000, **values)
        return changed(model, image_size=image_size)
    if num_classes is None:
        num_classes = _count_classes(open_tensors(path, source), name)
    return create_model(name, source, num_classes, **values)


def changed(model: Classifier, **values) -> Classifier:
    """The same model for another image size or class count; itself where nothing changes.

    Args:
        model: of this package.
        **values: `image_size`, a side or (height, width) in pixels; `num_classes`, of each head,
            fresh where it differs. None for the model's own.

    Raises:
        InputError: another value, the model is bound to its size, or the size does not fit its
            patches.
    """
    config = model.get_config()
    values = {name: v for name, v in values.items() if v not in (None, config.get(name))}
    for name in values:
        if name not in ("image_size", "num_classes"):
            raise InputError(f"{name} of {model.name} cannot change; it is {config.get(name)}.")
    if not values:
        return model
    twin = type(model).from_config({**config, **values})
    load_tensors(twin, ModelTensors(model, model.name))
    return twin


def save_model(model: Classifier, path: str | pathlib.Path) -> None:
    """Writes a model to a `.keras` file, or its weights to `.weights.h5`, or to `.safetensors` in
    timm's layout; the end of the name says which. A file that is there is replaced.

    Raises:
        InputError: the name ends in something else.
    """
    path = pathlib.Path(path)
    if not path.name.endswith(OUTPUTS):
        raise InputError(f"The file should end in {', '.join(OUTPUTS)}, not be {str(path)!r}.")
    if path.suffix == ".safetensors":
        save_safetensors(model, path)
        return
    if path.suffix == ".h5":
        write_weights(model, path)
        return
    with whole_or_not_at_all(path) as partial:
        model.save(partial)


def _count_classes(file: TensorFile, name: str) -> int:
    naming = tables(outline_model(name)).values()
    counts = [count_classes(file.shapes, table) for table in naming]
    # Where no head is found, loading says what else is wrong.
    return next((count for count in counts if count), 1000)
