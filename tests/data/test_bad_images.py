"""Unreadable images: the error names them, or they are skipped and nothing else changes."""

import io
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from test_tfds import example, prepare

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.batches import TrainBatches
from keras_deit.data.datasets import load_dataset
from keras_deit.data.images import UnreadableImage, decode
from keras_deit.data.pipeline import train_pipeline
from keras_deit.data.shards import Shard
from keras_deit.data.source import ArraySource

FORMAT = ImageFormat(8, 8)
FULL = Augmentation(
    auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
)
COUNT = 12  # Images of each of two classes.


def photo(number):
    grid = np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(grid, (40, 30), interpolation=cv2.INTER_CUBIC)


def jpeg(number, *options):
    return cv2.imencode(".jpg", photo(number), options)[1].tobytes()


def with_huge_header(data):
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + b"\xff\x00\xff\x00" + data[place + 4 :]


# By index in the training split, whose first 12 images belong to the first class.
DAMAGE = {
    2: lambda data: data[: len(data) // 2],
    3: lambda data: b"",
    9: lambda data: b"<html>404</html>",
    15: with_huge_header,
    22: lambda data: data[:-2],
    23: lambda data: None,  # Missing.
}
REPLACED = {2: 4, 3: 4, 9: 10, 15: 16, 22: 0, 23: 0}


def make_folder(root, damage):
    """Writes class folders with their own splits, and damaged files in train."""
    for split in ("train", "validation", "test"):
        numbers = itertools.count()
        for name in ("ant", "bee"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for place in range(COUNT):
                number = next(numbers)
                data = jpeg(number)
                if split == "train" and number in damage:
                    data = damage[number](data)
                path = folder / f"{place:02}.jpg"
                if data is None:
                    path.symlink_to(root / "nowhere.jpg")
                else:
                    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path, DAMAGE)
    return tmp_path


def skipping(folder):
    return load_dataset(f"folder:{folder}", on_bad_image="skip").train


def with_replacements(source):
    """Returns the same examples in memory, with each bad one replaced by the next good one."""
    order = [REPLACED.get(index, index) for index in range(len(source))]
    return ArraySource(np.stack([source[index][0] for index in order]), source.labels[order])


def files(source, damage=DAMAGE):
    return sorted(source.paths[index] for index in damage)


def test_a_truncated_file_is_unreadable_at_full_size_and_reduced():
    """OpenCV returns no image for such a file, not one whose missing part is gray."""
    for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)):
        data = jpeg(0, *options)
        for reduction, length in itertools.product((1, 2, 4), (20, len(data) // 2, len(data) - 1)):
            with pytest.raises(UnreadableImage, match=f"image some.jpg: {length} bytes") as caught:
                decode(data[:length], "some.jpg", reduction)
            assert caught.value.image_name == "some.jpg"


def test_by_default_the_loader_lists_all_bad_files(folder):
    with pytest.raises(InputError, match=r"6 unreadable .*/ant/02.jpg, ") as caught:
        load_dataset(f"folder:{folder}")
    assert 'on_bad_image="skip"' in str(caught.value)


def test_with_skip_the_index_is_that_of_the_image_that_is_shown(folder):
    train = skipping(folder)
    options = {"bad_images": BadImages("skip"), "with_index": True}
    augmentation = Augmentation(repeated_augmentation=1)
    batches = TrainBatches(train, FORMAT, augmentation, 2, 12, 0, **options)
    epoch = np.concatenate([batches[number][1]["index"] for number in range(2)])
    assert sorted(epoch) == sorted(REPLACED.get(index, index) for index in range(2 * COUNT))


def test_with_skip_the_loader_keeps_the_indices_of_all_files(folder):
    train = skipping(folder)
    assert len(train) == 2 * COUNT and train.labels.tolist() == [0] * COUNT + [1] * COUNT
    for index in range(2 * COUNT):
        if index in DAMAGE:
            with pytest.raises(UnreadableImage) as caught:
                train[index]
            assert caught.value.image_name == train.paths[index]
        else:
            np.testing.assert_array_equal(train[index][0], decode(jpeg(index), "whole"))


@pytest.mark.parametrize("augmentation", [Augmentation(), FULL, Augmentation(mix_mode="elem")])
def test_training_uses_the_next_good_image_and_nothing_else_changes(folder, augmentation):
    """The replacement is augmented with the random numbers of the bad image."""
    train, bad_images = skipping(folder), BadImages("skip")
    recipe = FORMAT, augmentation, 2, 8, 0
    found = train_pipeline(train, *recipe, stop=30, bad_images=bad_images)
    expected = train_pipeline(with_replacements(train), *recipe, stop=30)
    for left, right in zip(found, expected, strict=True):
        assert all(map(np.array_equal, left, right))
    assert bad_images.names == files(train)
    assert len(bad_images.names) == 6


def test_shards_of_a_batch_with_bad_images_are_the_batch(folder):
    train = skipping(folder)

    def batches(shard):
        return TrainBatches(train, FORMAT, FULL, 2, 16, 0, shard, BadImages("skip"))

    for number in range(6):
        whole = batches(Shard())[number]
        for process in range(4):
            shard = Shard(process, 4)
            rows = shard.train_rows(number, 16)[1]
            for part, own in zip(whole, batches(shard)[number], strict=True):
                np.testing.assert_array_equal(own, part[rows])


@pytest.mark.parametrize("reduced", [False, True])
def test_bad_large_files_are_replaced_with_and_without_reduced_decoding(tmp_path, reduced):
    make_folder(tmp_path, {})
    train = load_dataset(f"folder:{tmp_path}").train
    large = cv2.imencode(".jpg", cv2.resize(photo(0), (640, 480)))[1].tobytes()
    for index in range(len(train)):
        with open(train.paths[index], "wb") as file:
            file.write(large[:-100] if index % 2 == 0 else large)
    crop = "none" if reduced else "random_resized_crop"
    augmentation = Augmentation(crop=crop, mixup_alpha=0.0, cutmix_alpha=0.0)
    bad_images = BadImages("skip")
    images, targets = TrainBatches(train, FORMAT, augmentation, 2, 24, 0, bad_images=bad_images)[0]
    assert np.isfinite(images).all() and images.std() > 0.1
    # 12 of each class, because a good image of the same class follows the last bad one of a class.
    assert targets.argmax(1).tolist().count(0) == COUNT
    assert bad_images.names == sorted(train.paths[::2])


def test_training_fails_by_default_and_names_the_file(folder):
    train = skipping(folder)
    for bad_images in (None, BadImages("fail")):
        dataset = train_pipeline(train, FORMAT, Augmentation(), 2, 24, 0, bad_images=bad_images)
        with pytest.raises(InputError, match=f"Cannot (read|decode) image {folder}/train/"):
            next(iter(dataset))


def test_training_fails_if_no_image_can_be_read(tmp_path):
    make_folder(tmp_path, dict.fromkeys(range(2 * COUNT), lambda data: b"no"))
    bad_images = BadImages("skip")
    dataset = train_pipeline(
        skipping(tmp_path), FORMAT, Augmentation(), 2, 4, 0, bad_images=bad_images
    )
    with pytest.raises(InputError, match="24 training images"):
        next(iter(dataset))
    assert len(bad_images.names) == 24


def test_many_threads_can_record():
    bad_images = BadImages("skip")

    def record(number):
        bad_images.handle(UnreadableImage("no image", f"{number % 500:03}.jpg"))
        assert number % 10 or f"{number % 500:03}.jpg" in bad_images.names

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(record, range(2000)))
    assert bad_images.names == [f"{number:03}.jpg" for number in range(500)]
    assert len(bad_images.names) == 500


def test_errors_and_records_can_be_pickled_for_other_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("no image", "some.jpg")))
    assert (str(error), error.image_name) == ("no image", "some.jpg")
    bad_images = BadImages("skip")
    bad_images.handle(InputError("the error of a user's own source"))
    assert pickle.loads(pickle.dumps(bad_images)).names == ["the error of a user's own source"]


def test_unknown_policies_are_rejected():
    with pytest.raises(InputError, match="policy for bad images 'ignore'"):
        BadImages("ignore")
    with pytest.raises(InputError, match=r"'skipp'.* skip"):
        load_dataset("digits", on_bad_image="skipp")


def broken_example(index):
    """Returns an example whose bytes are stored as they are, every tenth one truncated."""
    if index % 10 == 0:
        return {**example(index), "image": io.BytesIO(jpeg(index)[:-50])}
    return example(index)


def test_images_of_tfds_that_cannot_be_decoded(tmp_path):
    splits = {"train": 40, "validation": 6, "test": 9}
    prepare(tmp_path, "broken_photos", splits, make=broken_example)
    train = load_dataset("broken_photos", str(tmp_path), on_bad_image="skip").train
    check_tfds(train, BadImages("skip"), 40)


def test_records_of_tfds_that_are_damaged(tmp_path):
    prepare(tmp_path, "damaged_photos", {"train": 300, "validation": 6, "test": 9})
    (path,) = tmp_path.rglob("*train*array_record*")
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 4, len(data) // 4 + 2000)
    data[middle] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    train = load_dataset("damaged_photos", str(tmp_path)).train
    check_tfds(train, BadImages("skip"), 300)


def check_tfds(train, bad_images, count):
    """Checks that bad images are named, recorded and replaced by the next good ones."""
    bad = {}
    for index in range(count):
        try:
            train[index]
        except UnreadableImage as error:
            assert "\n" not in str(error)
            bad[index] = error.image_name
    assert 3 < len(bad) < 30
    assert all(f"{index} of split 'train' of " in name for index, name in bad.items())
    plain = Augmentation(crop="none", mixup_alpha=0.0, cutmix_alpha=0.0)
    batches = TrainBatches(train, FORMAT, plain, 3, count, 0, bad_images=bad_images)
    good = [index for index in range(count) if index not in bad]
    replaced = [min((i for i in good if i >= index), default=good[0]) for index in range(count)]
    _, targets = batches[0]
    labels = [train[index][1] for index in replaced]
    np.testing.assert_array_equal(np.bincount(targets.argmax(1)), np.bincount(labels))
    assert bad_images.names == sorted(bad.values())
