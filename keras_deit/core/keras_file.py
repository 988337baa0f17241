"""Reading `.keras` files of any origin, within bounds that are known before anything is read."""

import pathlib
import zipfile

import keras
import numpy as np

from keras_deit.core.abstract import build_abstract
from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import named, parse_json

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# The configuration of the largest models of KerasCV has less than 2 MB.
_MAX_TEXT = 2**25
# Archives of Keras are not compressed, but those of others may be.
_MAX_RATIO = 100
_CHUNK = 2**20
# What small files may exceed every ratio by.
_SLACK = 2**20


def load_keras_file(path: pathlib.Path, source: str, with_weights: bool = True) -> keras.Model:
    """Returns the model in a `.keras` file, uncompiled.

    The sizes that the archive declares are compared with those of the file, the checksums of all
    its entries with their content, and the weights that the configuration describes with those that
    are there. Keras runs no code in such a file.

    Args:
        path: path of the file; its suffix does not matter.
        source: what errors call it.
        with_weights: whether to read the weights, too. Otherwise the model is new.

    Raises:
        InputError: it is no such file, it is damaged, or it claims more than it holds.
    """
    try:
        config = _check_archive(path)
        if not with_weights:
            return keras.saving.deserialize_keras_object(config)
        with zipfile.ZipFile(path) as archive, archive.open(_WEIGHTS) as file:
            held = archive.getinfo(_WEIGHTS).file_size
            _check_weights(file, held)
        abstract = build_abstract(lambda: keras.saving.deserialize_keras_object(config))
        size = sum(_bytes(variable) for variable in abstract.variables)
        # Variables in float32 may be stored in a smaller type.
        if size > 4 * held + _SLACK:
            raise ValueError(f"its weights would have {_gigabytes(size)}, not {_gigabytes(held)}")
        with named(path, "model.keras") as link:
            return keras.saving.load_model(link, compile=False)
    except Exception as error:  # A corrupt file can raise anything.
        reason = first_line(error).rstrip(".")
        raise InputError(f"{source} cannot be read as a Keras file: {reason}.") from error


def _check_archive(path: pathlib.Path) -> dict:
    """Checks sizes and checksums of all entries, and returns the configuration."""
    with zipfile.ZipFile(path) as archive:
        check_entries(archive, path.stat().st_size)
        for entry in archive.infolist():
            with archive.open(entry) as file:
                while file.read(_CHUNK):  # At the end the CRC-32 is compared.
                    pass
        config = parse_json(archive.read(_CONFIG))
    if not isinstance(config, dict):
        raise ValueError(f"its {_CONFIG} is not a JSON object")
    config.pop("compile_config", None)
    return config


def check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Checks what the directory of an archive declares, before any of it is unpacked.

    Args:
        archive: an opened archive.
        size: bytes of its file.

    Raises:
        ValueError: two entries have one name, or one would be far larger than the archive.
    """
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError("it has two entries of one name")
    for entry in entries:
        is_text = entry.filename.endswith(".json")
        if entry.file_size > (_MAX_TEXT if is_text else _MAX_RATIO * size + _SLACK):
            raise ValueError(f"its {entry.filename} would have {_gigabytes(entry.file_size)}")


def _check_weights(file, size: int) -> None:
    """Checks that no dataset claims more than the file holds or refers to another file."""
    import h5py  # Keras's own dependency

    def check(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        elsewhere = item.is_virtual or item.external
        if elsewhere or item.nbytes > size or item.id.get_storage_size() < item.nbytes:
            raise ValueError(f"its {name} claims values that the file does not hold")

    with h5py.File(file) as weights:
        weights.visititems(check)


def _bytes(variable) -> int:
    digits = "".join(filter(str.isdigit, str(variable.dtype))) or "8"
    return int(np.prod(variable.shape, dtype=object)) * int(digits) // 8


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.3g} GB"
