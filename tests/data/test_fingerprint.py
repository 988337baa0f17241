"""The fingerprint of a dataset: what counts as a change, and what is read again."""

import os
import shutil
import time

import cv2
import numpy as np
import pytest

from keras_deit.data import fingerprint, load_dataset
from keras_deit.data.fingerprint import fingerprint_of


def write(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((4, 4, 3), shade, np.uint8))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of ten uncompressed images, all of one size, that are a minute old."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(10):
        write(tmp_path / "data" / "a" / f"{number}.bmp", number)
        write(tmp_path / "data" / "b" / f"{number}.bmp", 100 + number)
    for path in (tmp_path / "data").rglob("*.bmp"):
        os.utime(path, (time.time() - 60,) * 2)
    return tmp_path / "data"


def fingerprint_now(folder):
    return load_dataset(f"folder:{folder}").fingerprint


def changes(folder, tmp_path, change):
    """Returns what is said after a change."""
    before = fingerprint_now(folder)
    before.save(tmp_path / "data.json.gz")
    change()
    return fingerprint_now(folder).changes_since(tmp_path / "data.json.gz", before.digest)


def swap_classes(folder):
    os.rename(folder / "a", folder / "c")
    os.rename(folder / "b", folder / "a")
    os.rename(folder / "c", folder / "b")


def replace_with_old_times(folder):
    path = folder / "a" / "3.bmp"
    times = path.stat()
    write(path, 77)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def move_and_fill(folder):
    os.rename(folder / "a" / "0.bmp", folder / "b" / "moved.bmp")
    write(folder / "a" / "filled.bmp", 50)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap_classes, "20 files with other contents (a/0.bmp, a/1.bmp, a/2.bmp, ...)"),
        (replace_with_old_times, "1 file with other contents (a/3.bmp)"),
        (move_and_fill, "2 new files (a/filled.bmp, b/moved.bmp), 1 file gone (a/0.bmp)"),
        (lambda folder: write(folder / "b" / "new.bmp", 5), "1 new file (b/new.bmp)"),
    ],
)
def test_what_has_changed_is_said_by_count_and_first_names(folder, tmp_path, change, words):
    assert changes(folder, tmp_path, lambda: change(folder)) == words


def touch_and_copy(folder):
    for path in folder.rglob("*.bmp"):
        os.utime(path)
    (folder / "notes.txt").write_text("This is no image.")
    shutil.copytree(folder, folder.parent / "other", copy_function=shutil.copyfile)


def test_other_times_another_place_and_other_files_are_no_change(folder, tmp_path):
    before = fingerprint_now(folder)
    assert changes(folder, tmp_path, lambda: touch_and_copy(folder)) == ""
    copied = fingerprint_now(tmp_path / "other")
    assert copied.changes_since(tmp_path / "data.json.gz", before.digest) == ""
    assert copied.summary == {**before.summary, "place": str(tmp_path / "other")}
    assert before.summary["files"] == 20


def test_contents_are_read_once(folder, monkeypatch):
    digest, read = fingerprint_now(folder).digest, []
    original = fingerprint.file_digest
    monkeypatch.setattr(
        fingerprint, "file_digest", lambda path: read.append(path) or original(path)
    )
    assert fingerprint_now(folder).digest == digest
    # They have just been written, and could change again at the same time of the clock.
    assert len(read) == 20
    monkeypatch.setattr(fingerprint, "_CLOCK_NS", 0)
    time.sleep(0.01)
    assert fingerprint_now(folder).digest == fingerprint_now(folder).digest and len(read) == 40
    write(folder / "a" / "3.bmp", 77)
    assert fingerprint_now(folder).digest != digest
    assert read[40:] == [str(folder / "a" / "3.bmp")]


def test_a_cache_that_cannot_be_read_or_written_costs_time_only(folder, tmp_path, monkeypatch):
    digest = fingerprint_now(folder).digest
    (cache,) = (tmp_path / "cache").rglob("*.json.gz")
    cache.write_bytes(cache.read_bytes()[:20])
    assert fingerprint_now(folder).digest == digest
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fingerprint_now(folder).digest == digest


def test_large_prepared_data_are_compared_by_their_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_SMALL_FILE", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    info, shard = tmp_path / "info.json", tmp_path / "shard"

    def now(text, size):
        info.write_text(text)
        shard.write_bytes(os.urandom(size))
        return fingerprint_of(tmp_path, [str(info), str(shard)], max_bytes=50).digest

    assert now("{}", 100) == now("{}", 100)
    assert len({now("{}", 100), now("[]", 100), now("{}", 101)}) == 3


def test_data_of_a_package_have_no_fingerprint():
    assert load_dataset("digits").fingerprint is None
