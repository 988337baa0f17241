"""`.keras` files that are damaged, or claim more than they hold, are one line."""

import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_deit import InputError
from keras_deit.core.keras_file import load_keras_file


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    file = tmp_path_factory.mktemp("model") / "a.keras"
    model.save(file)
    return file


def changed(path, target, **entries):
    """Writes an archive with other content of some entries, compressed."""
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            key = name.partition(".")[0]
            content = old.read(name)
            new.writestr(name, entries[key](content) if key in entries else content)
    return target


def hdf5(content: bytes, folder, shape) -> bytes:
    """Returns a weight file that declares a dataset without holding its values."""
    (folder / "a.h5").write_bytes(content)
    with h5py.File(folder / "a.h5", "r+") as file:
        name = "layers/dense/vars/0"
        del file[name]
        file.create_dataset(name, shape, "float32", chunks=True)
    return (folder / "a.h5").read_bytes()


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"config": lambda text: b" " * 2**26 + text}, r"config\.json would have 0\.067\d? GB"),
        ({"config": lambda _: b"[" * 100_000}, "nested too deeply"),
        ({"config": lambda _: b"[]"}, "not a JSON object"),
        (
            {"config": lambda text: text.replace(b'"units": 3', b'"units": 2000000000')},
            r"weights would have 40 GB",
        ),
        ({"config": lambda text: text.replace(b'"units": 3', b'"units": "x"')}, "Keras file"),
    ],
    ids=["bomb", "deep", "list", "huge layer", "kind"],
)
@pytest.mark.backends("tensorflow", "jax", "torch")
def test_what_an_archive_declares_is_compared_first(path, entries, expected, tmp_path):
    target = changed(path, tmp_path / "b.keras", **entries)
    with pytest.raises(InputError, match=expected) as raised:
        load_keras_file(target, "it")
    assert "\n" not in str(raised.value)


def test_weights_that_are_declared_but_not_there_are_refused(path, tmp_path):
    target = changed(
        path, tmp_path / "b.keras", model=lambda held: hdf5(held, tmp_path, (2**16, 2**16))
    )
    with pytest.raises(InputError, match="claims values that the file does not hold"):
        load_keras_file(target, "it")


def test_every_flipped_bit_is_one_line_or_the_same_model(path, tmp_path):
    whole, expected = path.read_bytes(), load_keras_file(path, "it").get_weights()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "b.keras").write_bytes(data.tobytes())
        try:
            found = load_keras_file(tmp_path / "b.keras", "it").get_weights()
        except InputError as error:
            assert re.fullmatch(r"it cannot be read as a Keras file: .+\.", str(error))
            refused += 1
        else:
            assert all(map(np.array_equal, found, expected))
    assert refused > 20
