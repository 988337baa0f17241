"""Files are written completely or not at all."""

import os
import pathlib

import keras
import numpy as np
import pytest
from processes import start
from safetensors import SafetensorError
from safetensors.numpy import save_file

from keras_deit import InputError
from keras_deit.core.files import (
    atomic_write,
    check_writable,
    disk_errors_as_input_errors,
    exclusive_lock,
    read_json,
    temporary_folder,
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
    """Also names of files that are not UTF-8, and backslashes that are no escapes."""
    names = [os.fsdecode(b"caf\xe9"), os.fsdecode("ä".encode() + b"\xff\xfe"), r"\udce9"]
    values = {"a": [1, 2.5, None], "ä": {"b": "×"}, names[0]: names}
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


def test_the_lock_is_taken_although_its_holder_has_just_removed_the_folder(tmp_path, monkeypatch):
    path, make, removals = tmp_path / "teacher" / "lock", pathlib.Path.mkdir, [1]

    def make_and_remove_once(folder, *args, **kwargs):
        make(folder, *args, **kwargs)
        if removals:
            removals.pop()
            folder.rmdir()

    monkeypatch.setattr(pathlib.Path, "mkdir", make_and_remove_once)
    with exclusive_lock(path):
        assert path.is_file() and not removals


def test_writers_of_one_file_do_not_meet_and_the_last_one_wins(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_file_has_the_mode_of_the_umask_whoever_creates_it(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.safetensors") as partial:
            save_file({"a": np.zeros(3)}, partial)
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    code = f"""
import os, pathlib, signal
from keras_deit.core.files import temporary_folder
with temporary_folder(pathlib.Path({str(tmp_path)!r})) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    start("-c", code, backend="jax").communicate()
    (left,) = tmp_path.iterdir()
    own = tmp_path / "partial-results"
    own.mkdir()
    with temporary_folder(tmp_path) as in_use:
        assert not left.exists()
        with temporary_folder(tmp_path):
            assert in_use.exists()
    assert list(tmp_path.iterdir()) == [own]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Can't write data (errno = 28, error message = 'No space left on device')"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_one_line_whoever_notices_it(tmp_path, error):
    with (
        pytest.raises(InputError, match=r"a\.keras cannot be written: .*No space left") as raised,
        disk_errors_as_input_errors(str(tmp_path / "a.keras")),
        atomic_write(tmp_path / "a.keras"),
    ):
        raise error
    assert "\n" not in str(raised.value) and not os.listdir(tmp_path)
