"""Folders of images by class: layouts, splits, decoding and bad input."""

import cv2
import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.data.datasets import load_dataset

COLORS = {"ant": (200, 40, 10), "bee": (10, 180, 60), "cat": (30, 20, 220)}


def write_image(path, color, size=(6, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), color[::-1], np.uint8)
    suffix = path.suffix.lower()
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())


def write_class(folder, name, count, suffix=".png"):
    for number in range(count):
        write_image(folder / name / f"{number:03}{suffix}", COLORS[name])


def load(path):
    return load_dataset(f"folder:{path}")


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
    ("present", "expected"),
    [(("test",), [54, 6, 8]), (("validation",), [48, 8, 12]), ((), [42, 6, 12])],
)
def test_missing_splits_are_held_out_of_train(tmp_path, present, expected):
    for split, count in (("train", 30), *((split, 4) for split in present)):
        write_class(tmp_path / split, "ant", count)
        write_class(tmp_path / split, "cat", count)
    dataset = load(tmp_path)
    assert sizes(dataset) == expected
    for source in (dataset.train, dataset.validation, dataset.test):
        assert np.diff(np.bincount(source.labels)) == 0


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


def test_gray_alpha_and_rotated_files_are_decoded_as_rgb(tmp_path):
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    alpha = np.dstack([np.full((6, 8, 3), (1, 2, 3), np.uint8), gray])
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))[1].tobytes()
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
        + bytes(4)
    )
    rotated = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    upright = cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR)
    assert upright.shape == (8, 6, 3), "the file should have an orientation to ignore"
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
    assert train[3][0].shape == (6, 8, 3)


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
