"""Decoding of image files of every kind in a graph, compared with the data pipeline's."""

import numpy as np
import pytest
import tensorflow as tf
from image_kinds import BROKEN, CMYK, HEIGHT, REFUSED, SAME, WIDTH, declaring

from keras_deit.data.images import decode as decode_with_opencv
from keras_deit.serving import image_files

HAS_WEBP = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 20)
LIMIT = 10**6


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode(file):
    return image_files.decode(file, LIMIT)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.int64)])
def decode_means(files, max_pixels):
    def mean(image):
        return tf.reduce_mean(tf.cast(image, tf.float32), (0, 1))

    return image_files.decode_views(files, mean, (3,), max_pixels)


def means(files, max_pixels=LIMIT):
    """Returns the mean color of each file, and whether it is valid."""
    return [result.numpy() for result in decode_means(tf.constant([*files], tf.string), max_pixels)]


def test_every_kind_has_the_pixels_of_an_evaluation():
    """In one test, because each one would compile the function again."""
    for kind, file in {**SAME, "cmyk": CMYK}.items():
        expected = decode_with_opencv(file, kind)
        if kind.startswith("webp") and not HAS_WEBP:
            continue
        found = decode(tf.constant(file)).numpy()
        assert found.shape == expected.shape, kind
        difference = np.abs(found.astype(int) - expected).max()
        # CMYK is converted in another way.
        assert difference == (kind == "cmyk"), kind


def test_what_cannot_be_decoded_or_would_be_decoded_otherwise_is_refused():
    for kind, file in REFUSED.items():
        assert decode_with_opencv(file, kind).shape == (HEIGHT, WIDTH, 3)
    found, valid = means([*REFUSED.values(), *BROKEN.values()])
    assert not valid.any() and not found.any()
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG"):
        image_files.decode(tf.constant(BROKEN["text"]))


def test_a_file_that_declares_too_many_pixels_or_none_is_refused():
    files = {kind: SAME[kind] for kind in ("jpeg", "png", "gif", "bmp", "bmp, palette", "webp")}
    pixels = HEIGHT * WIDTH
    assert means(files.values(), pixels)[1].tolist() == [*[True] * 5, HAS_WEBP]
    assert not means(files.values(), pixels - 1)[1].any()
    hostile = [
        declaring(file, *size) for file in files.values() for size in ((16_000, 16_000), (0, WIDTH))
    ]
    assert not means(hostile, 64_000_000)[1].any()
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        image_files.decode(tf.constant(hostile[0]), 64_000_000)


def test_an_empty_batch_has_no_views():
    found, valid = means([""][:0])
    assert found.shape == (0, 3) and valid.shape == (0,) and valid.dtype == bool


def test_damaged_files_disturb_no_others():
    """Bytes cut off, zeroed and inserted, and bits flipped, in files of every kind."""
    rng = np.random.default_rng(0)

    def damaged(file):
        start, length = int(rng.integers(len(file))), int(rng.integers(1, 40))
        kept = file[:start]
        return (
            kept,
            kept + bytes(length) + file[start + length :],
            kept + rng.bytes(length) + file[start:],
            kept + bytes([file[start] ^ 1 << int(rng.integers(8))]) + file[start + 1 :],
        )[rng.integers(4)]

    sound = SAME["jpeg"]
    (expected,), (is_valid,) = means([sound])
    assert is_valid
    for _ in range(3):
        files = [sound, *(part for file in SAME.values() for part in (damaged(file), sound))]
        found, valid = means(files)
        assert valid[::2].all()
        np.testing.assert_array_equal(found[::2], [expected] * (len(SAME) + 1))
        assert not found[~valid].any()
