"""Geometry and distributions of the per-image functions, against values worked out in NumPy."""

import numpy as np
import pytest

from keras_deit.data import transforms
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def coordinate_image(height: int, width: int) -> np.ndarray:
    """Red holds the row, green the column, blue 255: where a pixel came from can be read off."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 255)], -1).astype(np.uint8)


def test_shrinking_averages_areas():
    image = random_image(12, 8)
    expected = image.reshape(4, 3, 4, 2, 3).astype(np.float64).mean((1, 3))
    result = transforms.resize(image, 4, 4)
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result, expected, atol=0.51)


def test_bilinear_enlarging_interpolates_between_pixel_centres():
    image = np.repeat(np.array([[[0], [100]]], np.uint8), 3, -1)
    result = transforms.resize(image, 1, 4, "bilinear")
    np.testing.assert_array_equal(result[0, :, 0], [0, 25, 75, 100])


def test_bicubic_and_bilinear_differ_when_enlarging_only():
    image = random_image(8, 8)
    bicubic, bilinear = (
        transforms.resize(image, 16, 16, name) for name in transforms.INTERPOLATIONS
    )
    assert np.abs(bicubic.astype(int) - bilinear).max() > 5
    np.testing.assert_array_equal(
        transforms.resize(image, 5, 6, "bicubic"), transforms.resize(image, 5, 6, "bilinear")
    )


def test_mixed_resize_shrinks_one_axis_and_enlarges_the_other():
    image = np.repeat(random_image(8, 1), 4, 1)
    result = transforms.resize(image, 4, 9)
    expected = image.reshape(4, 2, 4, 3).astype(np.float64).mean(1)[:, :1]
    np.testing.assert_allclose(result, np.broadcast_to(expected, (4, 9, 3)), atol=0.51)


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
    # 25 places, 100 crops expected at each: the bounds are five standard deviations away.
    assert counts.min() > 50 and counts.max() < 150


def test_random_crop_without_padding_is_the_identity():
    image = random_image(6, 5)
    np.testing.assert_array_equal(transforms.random_crop(image, 0, np.random.default_rng(0)), image)


def test_crop_boxes_have_the_areas_and_ratios_asked_for():
    rng = np.random.default_rng(0)
    boxes = np.array(
        [transforms.crop_box(300, 300, rng, (0.08, 0.5), (3 / 4, 4 / 3)) for _ in range(4000)]
    )
    top, left, height, width = boxes.T
    area = height * width / 300**2
    log_ratio = np.log(width / height)
    # At most half of the area is asked for, so that every box fits and nothing is rejected.
    assert 0.079 < area.min() < 0.085 and 0.495 < area.max() < 0.503
    assert abs(area.mean() - 0.29) < 0.01
    assert abs(area.var() - 0.42**2 / 12) < 0.001
    assert abs(log_ratio.mean()) < 0.015
    assert abs(log_ratio.var() - (2 * np.log(4 / 3)) ** 2 / 12) < 0.002
    assert np.abs(log_ratio).max() < np.log(4 / 3) + 0.02
    for offset, side in ((top, height), (left, width)):
        share = offset / (300 - side)
        assert offset.min() >= 0 and (offset + side <= 300).all()
        assert abs(share.mean() - 0.5) < 0.02
        assert abs(share.var() - 1 / 12) < 0.005


def test_crop_boxes_follow_torchvision_draw_by_draw():
    """The same uniform numbers give the box that torchvision's formulas give."""

    class Scripted:
        def __init__(self, uniforms, integers):
            self.uniforms, self.integers_ = iter(uniforms), iter(integers)

        def uniform(self, low, high):
            return low + (high - low) * next(self.uniforms)

        def integers(self, stop):
            self.stops = [*getattr(self, "stops", []), stop]
            return np.int64(next(self.integers_))

    # First try: area 0.9 of 40x100, ratio 4/3: 73.0 wide, 54.8 high, does not fit.
    # Second try: area 0.25 * 4000 = 1000, ratio 1: 31.6 -> 32 by 32.
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
def test_crop_falls_back_to_the_largest_centred_box(shape, expected):
    box = transforms.crop_box(*shape, np.random.default_rng(0), (1.0, 1.0), (3 / 4, 4 / 3))
    assert box == expected


def test_crop_falls_back_to_the_whole_image_within_the_ratios():
    # A ratio of 4/3 of the whole area never fits into a square.
    box = transforms.crop_box(30, 30, np.random.default_rng(0), (1.0, 1.0), (4 / 3, 4 / 3))
    assert box == (4, 0, 22, 30)
    box = transforms.crop_box(30, 30, np.random.default_rng(0), (1.0, 1.0), (0.9, 1.5))
    assert box == (0, 0, 30, 30)


def test_random_resized_crop_resizes_the_box_it_draws():
    image = coordinate_image(60, 90)
    top, left, height, width = transforms.crop_box(
        60, 90, np.random.default_rng(7), (0.3, 0.6), (0.8, 1.2)
    )
    result = transforms.random_resized_crop(
        image, 12, 20, np.random.default_rng(7), (0.3, 0.6), (0.8, 1.2)
    )
    assert result.shape == (12, 20, 3)
    rows = top + (np.arange(12) + 0.5) * height / 12 - 0.5
    columns = left + (np.arange(20) + 0.5) * width / 20 - 0.5
    np.testing.assert_allclose(result[:, 0, 0], rows, atol=1)
    np.testing.assert_allclose(result[0, :, 1], columns, atol=1)


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
def test_centre_crop_geometry(image_shape, side, crop_ratio, resized, monkeypatch):
    calls = []

    def resize(image, height, width, interpolation):
        calls.append((height, width))
        rows, columns = np.mgrid[:height, :width]
        return np.stack([rows, columns, rows], -1)

    monkeypatch.setattr(transforms, "resize", resize)
    view = transforms.center_crop_resize(random_image(*image_shape), side, side, crop_ratio)
    assert calls == [resized]
    assert view.shape == (side, side, 3)
    # Half a pixel goes to the even offset, as Python's and torchvision's rounding does.
    assert tuple(view[0, 0, :2]) == tuple(round((full - side) / 2) for full in resized)


def test_centre_crop_offset_is_rounded_half_to_even():
    image = coordinate_image(9, 4)  # (9 - 4) / 2 = 2.5 -> 2
    assert transforms.center_crop_resize(image, 4, 4, 1.0)[0, 0, 0] == 2
    image = coordinate_image(11, 4)  # 3.5 -> 4
    assert transforms.center_crop_resize(image, 4, 4, 1.0)[0, 0, 0] == 4


def test_centre_crop_of_another_shape_just_covers_it():
    image = coordinate_image(40, 40)
    view = transforms.center_crop_resize(image, 20, 40, 1.0)
    np.testing.assert_array_equal(view, image[10:30])
    view = transforms.center_crop_resize(image, 20, 10, 0.5)  # resized to cover 40 x 20: 40 x 40
    np.testing.assert_array_equal(view, image[10:30, 15:25])


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalise(channels):
    image_format = ImageFormat(5, 7, channels=channels)
    images = np.stack([random_image(5, 7, seed) for seed in range(3)])
    expected = (images / 255 - image_format.mean) / image_format.std
    if channels == "BGR":
        expected = expected[..., ::-1]
    result = transforms.normalise(images, image_format)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(transforms.normalise(images[1], image_format), result[1])


def test_normalise_known_values():
    image = np.array([[[0, 128, 255]]], np.uint8)
    pixels = transforms.normalise(image, ImageFormat(1, 1, (0, 0, 0), (1 / 255,) * 3))
    np.testing.assert_allclose(pixels, [[[0, 128, 255]]], rtol=1e-6)
    result = transforms.normalise(image, ImageFormat(1, 1))
    np.testing.assert_allclose(
        result[0, 0], [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, 0.594 / 0.225], rtol=1e-5
    )


def test_functions_leave_their_input_alone():
    image = random_image(9, 8)
    copy = image.copy()
    rng = np.random.default_rng(0)
    transforms.resize(image, 4, 4)
    transforms.random_crop(image, 2, rng)[:] = 0
    transforms.random_resized_crop(image, 12, 12, rng)[:] = 0
    transforms.horizontal_flip(image)[:] = 0
    transforms.normalise(image, ImageFormat(9, 8))[:] = 0
    np.testing.assert_array_equal(image, copy)


def test_unknown_names():
    image = random_image(4, 4)
    with pytest.raises(InputError, match=r"Unknown interpolation 'bicubik'\. Close names: bicubic"):
        transforms.resize(image, 2, 2, "bicubik")
    with pytest.raises(InputError, match="Unknown padding mode 'edge'"):
        transforms.random_crop(image, 2, np.random.default_rng(0), "edge")
