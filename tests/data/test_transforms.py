"""Geometry and distributions of crops, compared with values computed in NumPy."""

import numpy as np
import pytest
from scipy import stats

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import transforms


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def coordinate_image(height: int, width: int) -> np.ndarray:
    """Returns an image whose red channel is the row, green the column and blue 255."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 255)], -1).astype(np.uint8)


def test_bilinear_enlarging_interpolates_between_pixel_centers():
    image = np.repeat(np.array([[[0], [100]]], np.uint8), 3, -1)
    result = transforms.resize(image, 1, 4, "bilinear")
    np.testing.assert_array_equal(result[0, :, 0], [0, 25, 75, 100])


def test_resize_to_the_same_size_changes_nothing():
    image = random_image(7, 9)
    np.testing.assert_array_equal(transforms.resize(image, 7, 9), image)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_random_crop_is_a_window_of_the_padded_image(mode):
    image = random_image(6, 5)
    numpy_mode = {"zero": "constant", "reflect": "reflect"}[mode]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode=numpy_mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (6, 5, 3))[:, :, 0]
    rng = np.random.default_rng(0)
    counts = np.zeros(windows.shape[:2], int)
    for _ in range(2500):
        crop = transforms.random_crop(image, 2, rng, mode)
        counts += (windows == crop).all((2, 3, 4))
    assert counts.sum() == 2500
    # Of 25 positions each has 100 crops on average; the bounds are five standard deviations away.
    assert counts.min() > 50 and counts.max() < 150


def test_random_crop_without_padding_is_the_identity():
    image = random_image(6, 5)
    np.testing.assert_array_equal(transforms.random_crop(image, 0, np.random.default_rng(0)), image)


def test_crop_boxes_have_the_areas_and_ratios_of_the_recipe():
    """The image is so large that the test does not notice the rounding to whole pixels."""
    height, width, count = 3000, 4000, 20_000
    rng = np.random.default_rng(0)
    boxes = [
        transforms.crop_box(height, width, rng, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(count)
    ]
    top, left, box_height, box_width = np.array(boxes).T
    # The distribution of boxes that fit; that none of ten boxes fits is negligible.
    expected = np.random.default_rng(1)
    area = expected.uniform(0.08, 1, 4 * count)
    log_ratio = expected.uniform(np.log(3 / 4), np.log(4 / 3), 4 * count)
    fits = (area * np.exp(log_ratio) * height / width <= 1) & (
        area * np.exp(-log_ratio) * width / height <= 1
    )
    assert 0.7 < fits.mean() < 0.9
    for found, values in (
        (box_height * box_width / (height * width), area),
        (np.log(box_width / box_height), log_ratio),
    ):
        assert stats.ks_2samp(found, values[fits]).pvalue > 1e-3
    for offset, side, length in ((top, height, box_height), (left, width, box_width)):
        position = (offset + 0.5) / (side - length + 1)
        movable = side - length > 200
        assert stats.kstest(position[movable], "uniform").pvalue > 1e-3


def test_crop_boxes_follow_torchvision_draw_by_draw():
    """The same uniform numbers lead to the same box as in torchvision's formulas."""

    class Scripted:
        def __init__(self, uniforms, integers):
            self.uniforms, self.integers_ = iter(uniforms), iter(integers)

        def uniform(self, low, high):
            return low + (high - low) * next(self.uniforms)

        def integers(self, stop):
            self.stops = [*getattr(self, "stops", []), stop]
            return np.int64(next(self.integers_))

    # The first box has 0.9 of the area of 40x100 and the ratio 4/3: 73.0 x 54.8 does not fit.
    # The second one has 0.25 of the area and the ratio 1: 31.6 is rounded to 32.
    rng = Scripted([0.9, 1.0, 0.25, 0.5], [3, 5])
    box = transforms.crop_box(40, 100, rng, (0.0, 1.0), (3 / 4, 4 / 3))
    assert box == (3, 5, 32, 32)
    assert rng.stops == [40 - 32 + 1, 100 - 32 + 1]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((10, 100), (0, 43, 10, 13)),  # too wide: full height, round(10 * 4/3) wide
        ((100, 10), (43, 0, 13, 10)),  # too high: full width, round(10 / (3/4)) high
    ],
)
def test_crop_falls_back_to_the_largest_centered_box(shape, expected):
    box = transforms.crop_box(*shape, np.random.default_rng(0), (1.0, 1.0), (3 / 4, 4 / 3))
    assert box == expected


def test_crop_falls_back_to_the_whole_image_within_the_ratios():
    # A ratio of 4/3 of the whole area never fits into a square.
    box = transforms.crop_box(30, 30, np.random.default_rng(0), (1.0, 1.0), (4 / 3, 4 / 3))
    assert box == (4, 0, 22, 30)
    box = transforms.crop_box(30, 30, np.random.default_rng(0), (1.0, 1.0), (0.9, 1.5))
    assert box == (0, 0, 30, 30)


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (30, 30)])
def test_simple_random_crop_is_a_window_of_the_resized_and_reflected_image(shape):
    image = random_image(*shape)
    # The shorter side becomes 12, the longer side is in proportion and truncated.
    resized = transforms.resize(image, *(int(12 * side / min(shape)) for side in shape))
    padded = np.pad(resized, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (12, 12, 3))[:, :, 0]
    rng = np.random.default_rng(0)
    counts = np.zeros(windows.shape[:2], int)
    for _ in range(30 * counts.size):
        crop = transforms.simple_random_crop(image, 12, 12, 4, rng)
        counts += (windows == crop).all((2, 3, 4))
    # There are nine positions along the short axis, and 30 crops at each position on average.
    assert min(counts.shape) == 9 and counts.sum() == 30 * counts.size
    assert counts.min() > 5 and counts.max() < 65


def test_horizontal_flip_mirrors_columns():
    image = random_image(4, 5)
    np.testing.assert_array_equal(transforms.horizontal_flip(image), image[:, ::-1])


@pytest.mark.parametrize(
    ("image_shape", "side", "crop_ratio", "resized"),
    [
        ((300, 400), 224, 0.875, (256, 341)),  # 256 * 400 / 300 = 341.3, truncated
        ((400, 300), 224, 0.875, (341, 256)),
        ((500, 500), 384, 0.875, (438, 438)),  # 438.86, truncated
        ((333, 500), 224, 0.9, (248, 372)),
        ((32, 32), 32, 1.0, (32, 32)),
        ((8, 8), 16, 1.0, (16, 16)),
    ],
)
def test_center_crop_geometry(image_shape, side, crop_ratio, resized, monkeypatch):
    calls = []

    def resize(image, height, width, interpolation):
        calls.append((height, width))
        rows, columns = np.mgrid[:height, :width]
        return np.stack([rows, columns, rows], -1)

    monkeypatch.setattr(transforms, "resize", resize)
    view = transforms.center_crop_resize(random_image(*image_shape), side, side, crop_ratio)
    assert calls == [resized]
    assert view.shape == (side, side, 3)
    # Half a pixel is rounded to the even offset, as in Python and torchvision.
    assert tuple(view[0, 0, :2]) == tuple(round((full - side) / 2) for full in resized)


def test_center_crop_offset_is_rounded_half_to_even():
    image = coordinate_image(9, 4)  # (9 - 4) / 2 = 2.5 -> 2
    assert transforms.center_crop_resize(image, 4, 4, 1.0)[0, 0, 0] == 2
    image = coordinate_image(11, 4)  # 3.5 -> 4
    assert transforms.center_crop_resize(image, 4, 4, 1.0)[0, 0, 0] == 4


def test_center_crop_of_another_shape_just_covers_it():
    image = coordinate_image(40, 40)
    view = transforms.center_crop_resize(image, 20, 40, 1.0)
    np.testing.assert_array_equal(view, image[10:30])
    view = transforms.center_crop_resize(image, 20, 10, 0.5)  # resized to cover 40 x 20: 40 x 40
    np.testing.assert_array_equal(view, image[10:30, 15:25])


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalize(channels):
    image_format = ImageFormat(5, 7, channels=channels)
    images = np.stack([random_image(5, 7, seed) for seed in range(3)])
    expected = (images / 255 - image_format.mean) / image_format.std
    if channels == "BGR":
        expected = expected[..., ::-1]
    result = transforms.normalize(images, image_format)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(transforms.normalize(images[1], image_format), result[1])


def test_normalize_known_values():
    image = np.array([[[0, 128, 255]]], np.uint8)
    pixels = transforms.normalize(image, ImageFormat(1, 1, (0, 0, 0), (1 / 255,) * 3))
    np.testing.assert_allclose(pixels, [[[0, 128, 255]]], rtol=1e-6)
    result = transforms.normalize(image, ImageFormat(1, 1))
    np.testing.assert_allclose(
        result[0, 0], [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, 0.594 / 0.225], rtol=1e-5
    )


def test_functions_do_not_change_their_input():
    image = random_image(9, 8)
    copy = image.copy()
    rng = np.random.default_rng(0)
    transforms.resize(image, 4, 4)
    transforms.random_crop(image, 2, rng)[:] = 0
    transforms.simple_random_crop(image, 12, 12, 4, rng)[:] = 0
    transforms.horizontal_flip(image)[:] = 0
    transforms.normalize(image, ImageFormat(9, 8))[:] = 0
    np.testing.assert_array_equal(image, copy)


def test_unknown_names_are_rejected():
    image = random_image(4, 4)
    with pytest.raises(InputError, match=r"'bicubik'.*bicubic"):
        transforms.resize(image, 2, 2, "bicubik")
    with pytest.raises(InputError, match="padding mode 'edge'"):
        transforms.random_crop(image, 2, np.random.default_rng(0), "edge")
