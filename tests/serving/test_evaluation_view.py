"""The evaluation view of a SavedModel compared with that of the data pipeline, in gray levels."""

import numpy as np
import pytest
import tensorflow as tf

from keras_deit.core.errors import InputError
from keras_deit.data.transforms import center_crop_resize
from keras_deit.serving.evaluation_view import evaluation_view


def random_image(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(rows * columns).integers(0, 256, (rows, columns, 3), np.uint8)


def view(image: np.ndarray, *arguments) -> np.ndarray:
    return evaluation_view(tf.constant(image[None] / np.float32(255)), *arguments)[0].numpy() * 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("rows", "columns", "size", "crop_ratio"),
    [
        (61, 90, (32, 32), 0.875),  # shrunk by a factor that is no integer, landscape
        (90, 61, (32, 32), 0.875),  # portrait
        (72, 72, (32, 32), 0.875),  # by two exactly, square
        (20, 33, (32, 32), 0.875),  # enlarged
        (33, 20, (32, 32), 1.0),
        (2, 700, (32, 32), 1.0),  # enlarged to 11,200 columns, of which the view has 32
        (36, 37, (32, 32), 0.875),  # cropped only
        (50, 90, (24, 40), 0.9),  # a model that is not square
        (90, 50, (24, 40), 0.9),
        (12, 90, (24, 40), 0.9),
    ],
)
def test_the_view_is_that_of_the_pipeline(rows, columns, size, crop_ratio, interpolation):
    image = random_image(rows, columns)
    expected = center_crop_resize(image, *size, crop_ratio, interpolation).astype(np.float64)
    difference = np.abs(view(image, *size, crop_ratio, interpolation) - expected)
    # OpenCV computes bilinear weights with 11 bits. On noise another interpolation, or a view that
    # is moved by a pixel, would differ by tens of levels.
    assert difference.max() < 1.01
    assert difference.mean() < (0.2 if interpolation == "bilinear" else 0.1)


def test_pixels_of_8_bits_are_the_same_as_in_float32():
    image = random_image(300, 470)[None]  # So large that it is reduced first.
    views = [
        evaluation_view(pixels, 24, 20, 0.9, "bicubic")
        for pixels in (tf.constant(image), tf.constant(image / np.float32(255)))
    ]
    np.testing.assert_array_equal(*views)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_without_resizing_the_pixels_do_not_change(interpolation):
    pixels = np.random.default_rng(0).random((2, 16, 21, 3), np.float32)
    result = evaluation_view(tf.constant(pixels), 16, 16, 1.0, interpolation)
    # (21 - 16) / 2 = 2.5 is rounded to the even offset.
    np.testing.assert_array_equal(result, pixels[:, :, 2:18])


def test_bicubic_stays_within_the_pixel_range():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    result = view(image, 32, 32, 1.0, "bicubic")
    assert result.min() == 0 and result.max() == 255


def test_an_unknown_interpolation_is_rejected():
    with pytest.raises(InputError, match=r"'lanczos'.*bicubic"):
        view(random_image(8, 8), 8, 8, 1.0, "lanczos")
