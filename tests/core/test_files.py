"""Files are written completely or not at all."""

import os

import keras
import pytest

from keras_deit import InputError
from keras_deit.core.files import (
    atomic_write,
    check_writable,
    exclusive_lock,
    read_json,
    write_json,
)
from keras_deit.pretrained.weights_file import write_weights


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_block_that_raises_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("text", [None, "{", "[1]", "\udcff"])
def test_what_is_no_json_object_is_one_error(tmp_path, text):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"The run is corrupt.*file\.json"):
        read_json(path, "The run is corrupt")


def test_json_comes_back(tmp_path):
    values = {"a": [1, 2.5, None], "ä": {"b": "×"}}
    write_json(tmp_path / "file.json", values)
    assert read_json(tmp_path / "file.json", "") == values


def test_weights_come_back(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    write_weights(model, tmp_path / "model.weights.h5")
    before = model.get_weights()
    model.set_weights([0 * weight for weight in before])
    model.load_weights(tmp_path / "model.weights.h5")
    assert (model.get_weights()[0] == before[0]).all()


def test_a_folder_that_is_a_file_cannot_be_written_below(tmp_path):
    check_writable(tmp_path / "new" / "folder" / "file")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a writable folder"):
        check_writable(tmp_path / "file" / "below")


def test_only_one_process_holds_the_lock(tmp_path):
    path = tmp_path / "run" / "lock"
    with exclusive_lock(path), pytest.raises(InputError, match="Another process"):
        exclusive_lock(path).__enter__()
    with exclusive_lock(path):
        pass
