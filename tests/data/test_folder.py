"""Folders of images by class: layouts, splits, decoding and bad input."""

import json
import os

import cv2
import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.data.datasets import load_dataset
from keras_deit.data.folder_files import SUFFIXES

COLORS = {"ant": (200, 40, 10), "bee": (10, 180, 60), "cat": (30, 20, 220)}


def write_image(path, color, size=(6, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), color[::-1], np.uint8)
    suffix = path.suffix.lower()
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())


def write_class(folder, name, count, suffix=".png"):
    for number in range(count):
        write_image(folder / name / f"{number:03}{suffix}", COLORS[name])


def load(path, **values):
    return load_dataset(f"folder:{path}", **values)


def sizes(dataset):
    return [len(source) for source in (dataset.train, dataset.validation, dataset.test)]


def file_names(source):
    """Returns the path of every example of a source, which can be a subset."""
    if hasattr(source, "paths"):
        return source.paths
    return [source._source.paths[index] for index in source._indices]


def test_classes_in_one_folder_get_a_fixed_stratified_split(tmp_path):
    for name, count in (("bee", 20), ("ant", 10), ("cat", 30)):
        write_class(tmp_path, name, count)
    dataset = load(tmp_path)
    assert dataset.class_names == ("ant", "bee", "cat")
    assert sizes(dataset) == [42, 6, 12]
    assert np.bincount(dataset.train.labels).tolist() == [7, 14, 21]
    assert np.bincount(dataset.validation.labels).tolist() == [1, 2, 3]
    assert np.bincount(dataset.test.labels).tolist() == [2, 4, 6]
    names = [file_names(source) for source in (dataset.train, dataset.validation, dataset.test)]
    assert len({name for part in names for name in part}) == 60
    assert [file_names(load(tmp_path).test)] == names[2:]
    for source in (dataset.train, dataset.validation, dataset.test):
        for index in range(len(source)):
            image, label = source[index]
            assert image.shape == (6, 9, 3) and image.dtype == np.uint8
            np.testing.assert_array_equal(image[0, 0], list(COLORS.values())[label])


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_folders_of_splits_are_used_unchanged(tmp_path, validation):
    for split, count in (("train", 5), (validation, 2), ("test", 3)):
        write_class(tmp_path / split, "ant", count)
        write_class(tmp_path / split, "bee", count + 1)
    dataset = load(tmp_path)
    assert sizes(dataset) == [11, 5, 7]
    assert all(f"{validation}/" in name for name in file_names(dataset.validation))


@pytest.mark.parametrize(
    ("present", "share", "expected"),
    [
        (("test",), None, [54, 6, 8]),
        (("validation",), None, [60, 8]),
        (("validation",), 0.1, [54, 8, 6]),
        ((), None, [42, 6, 12]),
        ((), 0.5, [24, 6, 30]),
    ],
)
def test_missing_splits_are_held_out_of_train(tmp_path, present, share, expected):
    for split, count in (("train", 30), *((split, 4) for split in present)):
        write_class(tmp_path / split, "ant", count)
        write_class(tmp_path / split, "cat", count)
    dataset = load(tmp_path, test_share=share)
    assert list(dataset.examples.values()) == expected
    for name in dataset.examples:
        assert np.diff(np.bincount(getattr(dataset, name).labels)) == 0
    # What is held out, or missing, is said.
    held_out = {"train", "validation", "test"} - {"train", *present}
    assert {note.split(":")[0] for note in dataset.notes} == held_out


def test_without_a_test_split_the_validation_split_is_reported(tmp_path):
    for split in ("train", "val"):
        write_class(tmp_path / split, "ant", 3)
        write_class(tmp_path / split, "cat", 3)
    assert load(tmp_path).reported_split == "validation"
    assert load(tmp_path, test_share=0.4).reported_split == "test"


@pytest.mark.parametrize(
    ("share", "words"), [(0, "test_share.*0"), (1.0, "test_share"), (0.2, "folder test")]
)
def test_shares_that_are_not_possible(tmp_path, share, words):
    for split in ("train", "test"):
        write_class(tmp_path / split, "ant", 3)
        write_class(tmp_path / split, "cat", 3)
    with pytest.raises(InputError, match=words):
        load(tmp_path, test_share=share)


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Valid", "TEST"),
        ("training", "VAL", "testing"),
        ("train", "Validation", "Test"),
        ("training_set", "val_set", "test_set"),
        ("seg_train", "seg_val", "seg_test"),
        ("train-images", "valid images", "TestData"),
    ],
)
def test_names_of_splits_in_any_form(tmp_path, names):
    for split, count in zip(names, (5, 2, 3), strict=True):
        write_class(tmp_path / split, "ant", count)
        write_class(tmp_path / split, "bee", count)
    dataset = load(tmp_path)
    assert sizes(dataset) == [10, 4, 6] and dataset.notes == ()


def test_classes_can_have_the_names_of_splits(tmp_path):
    for name in ("train", "Test", "valley"):
        for number in range(10):
            write_image(tmp_path / name / f"{number}.png", (9, 9, 9))
    dataset = load(tmp_path)
    assert dataset.class_names == ("Test", "train", "valley")
    assert sum(sizes(dataset)) == 30
    for split in ("train", "test"):
        for name in ("train", "test", "valley"):
            write_image(tmp_path / "inner" / split / name / "0.png", (9, 9, 9))
            write_image(tmp_path / "inner" / "validation" / name / "0.png", (9, 9, 9))
    inner = load(tmp_path / "inner")
    assert inner.class_names == ("test", "train", "valley") and sizes(inner) == [3, 3, 3]


def test_exact_names_of_splits_come_first_and_wrapped_ones_are_unwrapped(tmp_path):
    for split in ("train", "seg_test/seg_test", "train_images"):
        for name in ("ant", "bee"):
            write_class(tmp_path / split, name, 12)
    dataset = load(tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert len(dataset.test) == 24 and len(dataset.train) + len(dataset.validation) == 24
    assert "24 files beside the folders" in " ".join(dataset.notes)


def test_an_image_beside_the_classes_of_a_split_makes_it_no_class(tmp_path):
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            write_class(tmp_path / split, name, 5)
    write_image(tmp_path / "train" / "stray.png", (9, 9, 9))
    write_image(tmp_path / "samples" / "one.png", (9, 9, 9))
    dataset = load(tmp_path)
    assert dataset.class_names == ("ant", "bee")
    notes = " ".join(dataset.notes)
    assert "stray.png" in notes and "samples" in notes


def test_accents_of_macos_are_the_same_class(tmp_path):
    for split, accent in (("train", "e\u0301"), ("val", "\xe9")):
        for name in (f"caf{accent}", "bee"):
            for number in range(4):
                write_image(tmp_path / split / name / f"{number}.png", (9, 9, 9))
    assert load(tmp_path).class_names == ("bee", "caf\xe9")


def test_splits_inside_of_classes_are_refused(tmp_path):
    for name in ("ant", "bee"):
        for split in ("train", "val"):
            write_class(tmp_path / name / split, "ant", 6)
    assert_rejected(tmp_path, "CLASS/train")


def test_splits_without_classes_are_refused(tmp_path):
    for split in ("train", "test"):
        for number in range(10):
            write_image(tmp_path / split / f"{number}.png", (9, 9, 9))
    assert_rejected(tmp_path, "test, train", "no image has a label")


def test_folders_inside_of_a_class_belong_to_it(tmp_path):
    for name in ("ant", "bee"):
        write_class(tmp_path, name, 12)
        for number in range(8):
            write_image(tmp_path / name / "more" / "deep" / f"{number}.png", COLORS[name])
    (tmp_path / "ant" / "loop").symlink_to(tmp_path / "ant")
    dataset = load(tmp_path)
    assert sum(sizes(dataset)) == 40 and not any("not used" in note for note in dataset.notes)


def test_files_that_are_not_used_are_counted_by_reason(tmp_path):
    for split in ("train", "validation"):
        write_class(tmp_path / split, "ant", 3)
        write_class(tmp_path / split, "bee", 3)
    write_image(tmp_path / "train" / "unsorted.png", (1, 2, 3))
    write_image(tmp_path / "test" / "unlabeled.png", (1, 2, 3))
    write_image(tmp_path / "__MACOSX" / "train" / "ant" / "._0.png", (1, 2, 3))
    for name in ("ant/notes.txt", "ant/boxes.xml", "bee/.DS_Store"):
        (tmp_path / "train" / name).write_text("no image")
    (tmp_path / "train" / "ant" / "iphone.HEIC").write_bytes(b"heic")
    (tmp_path / "README.md").write_text("no image")
    notes = load(tmp_path, on_bad_image="skip").notes
    unused = [note.removeprefix("not used: ") for note in notes if note.startswith("not used")]
    assert {note.split(",")[0]: note.split("such as ")[1] for note in unused} == {
        "1 images without a class": str(tmp_path / "train" / "unsorted.png"),
        "2 files that are no images": str(tmp_path / "train" / "ant" / "boxes.xml"),
        "1 hidden files": str(tmp_path / "train" / "bee" / ".DS_Store"),
        "1 images in a format that cannot be decoded": str(tmp_path / "train/ant/iphone.HEIC"),
        "1 files that an archive program or a file server left": str(
            tmp_path / "__MACOSX/train/ant/._0.png"
        ),
        "2 files beside the folders of the splits": str(tmp_path / "README.md"),
    }
    # Images must not be dropped without a choice.
    assert_rejected(tmp_path, "1 images", "iphone.HEIC", "skip")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_of_a_format_that_is_decoded(tmp_path, suffix):
    encoder = {".jfif": ".jpg", ".pgm": ".ppm", ".pbm": ".ppm"}.get(suffix, suffix)
    image = np.full((64, 64, 3), (0, 0, 255), np.uint8)
    for split in ("train", "validation", "test"):
        for name in ("ant", "bee"):
            path = tmp_path / split / name / f"0{suffix}"
            path.parent.mkdir(parents=True)
            path.write_bytes(cv2.imencode(encoder, image)[1].tobytes())
    pixels, _ = load(tmp_path).train[0]
    np.testing.assert_allclose(pixels[8, 8], [255, 0, 0], atol=8)


def test_names_that_no_terminal_shows(tmp_path):
    """Latin-1 as in old archives, a newline, and a character that reverses the text."""
    names = [b"caf\xe9", b"a\nb", "safe\u202egnp".encode(), "Käse".encode()]
    for name in names:
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        for number in range(10):
            with open(os.path.join(folder, b"%d\xff.png" % number), "wb") as file:
                file.write(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    dataset = load(tmp_path)
    assert set(dataset.class_names) == {"café", r"a\nb", r"safe\u202egnp", "Käse"}
    json.dumps(dataset.class_names, ensure_ascii=False).encode()
    assert dataset.train[0][0].shape == (4, 4, 3)
    broken = os.path.join(os.fsencode(tmp_path), b"caf\xe9", b"3\xff.png")
    with open(broken, "wb") as file:
        file.write(b"no image")
    assert_rejected(tmp_path, "café/3ÿ.png")


def test_a_path_can_be_written_in_several_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ant", "bee"):
        write_class(tmp_path / "d", name, 10)
    written = ("d", "d/", "./d", "~/d", f"{tmp_path}/x/../d")
    found = {load(path).name for path in written}
    assert found == {f"folder:{tmp_path}/d"}
    with pytest.raises(InputError, match="folder:d/"):
        load_dataset("d/")
    with pytest.raises(InputError, match=r"gs://"):
        load("gs://bucket/d")


def test_suffixes_in_any_case_and_hidden_files(tmp_path):
    for split in ("train", "validation", "test"):
        for number, suffix in enumerate((".jpg", ".JPEG", ".png", ".bmp", ".WebP")):
            write_image(tmp_path / split / "ant" / f"{number}{suffix}", COLORS["ant"])
            write_image(tmp_path / split / "bee" / f"{number}{suffix}", COLORS["bee"])
        (tmp_path / split / "ant" / "._0.jpg").write_bytes(b"resource fork")
        (tmp_path / split / "ant" / "notes.txt").write_text("not an image")
        (tmp_path / split / ".cache").mkdir()
    dataset = load(tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert sizes(dataset) == [10, 10, 10]
    for index in range(10):
        image, label = dataset.train[index]
        np.testing.assert_allclose(image[3, 3], list(COLORS.values())[label], atol=6)


def test_gray_alpha_and_turned_files_are_decoded_as_upright_rgb(tmp_path):
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    alpha = np.dstack([np.full((6, 8, 3), (1, 2, 3), np.uint8), gray])
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))[1].tobytes()
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
        + bytes(4)
    )
    rotated = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    for split in ("train", "validation", "test"):
        for name in ("ant", "bee"):
            write_image(tmp_path / split / name / "0.png", COLORS[name])
        ant = tmp_path / split / "ant"
        (ant / "1.png").write_bytes(cv2.imencode(".png", gray)[1].tobytes())
        (ant / "2.png").write_bytes(cv2.imencode(".png", alpha)[1].tobytes())
        (ant / "3.jpg").write_bytes(rotated)
    train = load(tmp_path).train
    np.testing.assert_array_equal(train[1][0], np.repeat(gray[..., None], 3, -1))
    np.testing.assert_array_equal(train[2][0][0, 0], [3, 2, 1])
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(train[3][0], np.rot90(pixels, -1))
    as_stored = load(tmp_path, exif_orientation=False).train
    np.testing.assert_array_equal(as_stored[3][0], pixels)


def assert_rejected(path, *parts):
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_no_such_folder(tmp_path):
    assert_rejected("", "folder: ''")
    assert_rejected(tmp_path / "nowhere", str(tmp_path / "nowhere"))


def test_a_folder_without_images(tmp_path):
    assert_rejected(tmp_path, "No images in", str(tmp_path))
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    assert_rejected(tmp_path, "No images in", str(tmp_path))


def test_a_folder_with_one_class(tmp_path):
    write_class(tmp_path, "ant", 12)
    assert_rejected(tmp_path, "one class", "'ant'", "at least two")


def test_a_class_without_images(tmp_path):
    write_class(tmp_path, "ant", 12)
    write_class(tmp_path, "bee", 12)
    (tmp_path / "cat").mkdir()
    assert_rejected(tmp_path, "class folders", "cat")


def test_a_class_with_too_few_images_to_split(tmp_path):
    write_class(tmp_path, "ant", 12)
    write_class(tmp_path, "bee", 9)
    assert_rejected(tmp_path, "'bee' has 9", "at least 10")


def test_classes_that_differ_between_splits(tmp_path):
    for name in ("ant", "bee"):
        write_class(tmp_path / "train", name, 2)
        write_class(tmp_path / "validation", name, 2)
    write_class(tmp_path / "test", "ant", 2)
    write_class(tmp_path / "test", "cat", 2)
    assert_rejected(tmp_path, "same classes", "bee, cat", str(tmp_path / "test"))


def test_split_folders_without_train_and_two_for_validation(tmp_path):
    write_class(tmp_path / "test", "ant", 2)
    assert_rejected(tmp_path, "'test'", "'train'")
    for split in ("train", "val", "validation"):
        write_class(tmp_path / split, "ant", 2)
    assert_rejected(tmp_path, "'validation'", "'val'")


def test_the_error_names_every_unreadable_file(tmp_path):
    write_class(tmp_path, "ant", 12, ".jpg")
    write_class(tmp_path, "bee", 12)
    truncated = tmp_path / "ant" / "003.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-40])
    empty = tmp_path / "ant" / "007.jpg"
    empty.write_bytes(b"")
    text = tmp_path / "bee" / "001.png"
    text.write_text("not an image")
    dangling = tmp_path / "bee" / "gone.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    named = [str(path) for path in (truncated, empty, text, dangling)]
    assert_rejected(tmp_path, "4 unreadable image files", ", ".join(named))


def test_the_list_of_unreadable_files_is_shortened(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(15):
            (tmp_path / name / f"{number:02}.png").write_bytes(b"no")
    assert_rejected(tmp_path, "30 unreadable", "bee/04.png and 10 more")


def test_the_error_of_a_file_that_is_damaged_later_names_it(tmp_path):
    for name in ("ant", "bee"):
        write_class(tmp_path, name, 10)
    train = load(tmp_path).train
    broken = train._source.paths[train._indices[0]]
    with open(broken, "wb") as file:
        file.write(b"gone bad")
    with pytest.raises(InputError, match=str(broken)):
        train[0]


def test_what_is_no_regular_file_is_unreadable_and_waited_for_by_nobody(tmp_path):
    write_class(tmp_path, "ant", 12, ".jpg")
    write_class(tmp_path, "bee", 12)
    os.mkfifo(tmp_path / "ant" / "pipe.jpg")
    (tmp_path / "bee" / "endless.png").symlink_to("/dev/zero")
    huge = tmp_path / "bee" / "huge.png"
    with huge.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(2**40)
    assert_rejected(tmp_path, "3 unreadable image files", "pipe.jpg", "endless.png", "huge.png")
    dataset = load_dataset(f"folder:{tmp_path}", on_bad_image="skip")
    unreadable = 0
    for source in (dataset.train, dataset.validation, dataset.test):
        for index in range(len(source)):
            try:
                source[index]
            except InputError:
                unreadable += 1
    assert unreadable == 3
