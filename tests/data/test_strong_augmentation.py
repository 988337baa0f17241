"""CViT's augmentation: how often each operation is drawn, its range, and what it computes."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from keras_deit.data.operations import Step, apply
from keras_deit.data.policies import parse_policy
from keras_deit.data.strong_operations import STRONG_OPERATIONS

DRAWS = 20_000
# Probability of each operation if there are any; those of one line of the authors share one draw.
SHARES = {
    **dict.fromkeys(("QuarterTurns", "Transpose", "ShiftScaleRotate", "ShiftHSV"), 0.2),
    **dict.fromkeys(("MirrorX", "MirrorY"), 0.5),
    **dict.fromkeys(("GrayNoise", "ColorNoise"), 0.1),
    **dict.fromkeys(("CLAHE", "Sharpen", "Emboss", "BrightnessContrast"), 0.05),
}
RANGES = {
    "QuarterTurns": [(0, 3)],
    "GrayNoise": [(2.55, 12.75), (0, 2**32)],
    "ColorNoise": [(10**0.5, 50**0.5), (0, 2**32)],
    "ShiftScaleRotate": [(-45, 45), (0.9, 1.1), (-0.0625, 0.0625), (-0.0625, 0.0625)],
    "CLAHE": [(1, 2)],
    "Sharpen": [(0.2, 0.5), (0.5, 1)],
    "Emboss": [(0.2, 0.5), (0.2, 0.7)],
    "BrightnessContrast": [(-0.2, 0.2), (-0.2, 0.2)],
    "ShiftHSV": [(-20, 20), (-30, 30), (-20, 20)],
}


@pytest.fixture(scope="module")
def drawn():
    policy, rng = parse_policy("strong"), np.random.default_rng(0)
    return [policy.draw(rng) for _ in range(DRAWS)]


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8)


def applied(image, name, *values):
    before = image.copy()
    result = apply(image, [Step(name, values)])
    np.testing.assert_array_equal(image, before)
    assert result.shape == image.shape and result.dtype == np.uint8
    return result


def test_each_operation_is_as_frequent_as_in_the_authors_code(drawn):
    counts = Counter(step.operation for steps in drawn for step in steps)
    assert set(counts) == set(SHARES) == set(STRONG_OPERATIONS)
    for name, share in SHARES.items():
        assert stats.binomtest(counts[name], DRAWS, 0.9 * share).pvalue > 1e-3, name
    pairs = ("GrayNoise", "ColorNoise"), ("CLAHE", "Sharpen", "Emboss", "BrightnessContrast")
    for steps in drawn:
        names = [step.operation for step in steps]
        assert all(sum(name in group for name in names) <= 1 for group in pairs)


def test_values_are_uniform_in_the_ranges_of_the_authors_library(drawn):
    for name, ranges in RANGES.items():
        values = np.array([s.argument for steps in drawn for s in steps if s.operation == name])
        for column, (low, high) in zip(values.T, ranges, strict=True):
            assert low <= column.min() and column.max() <= high
            assert np.ptp(column) > 0.9 * (high - low)


def test_turns_and_mirrors_move_pixels_as_their_names_say(image):
    np.testing.assert_array_equal(applied(image, "QuarterTurns", 1)[0], image[:, -1])
    np.testing.assert_array_equal(applied(image, "Transpose")[2, 5], image[5, 2])
    np.testing.assert_array_equal(applied(image, "MirrorX")[:, 0], image[:, -1])
    np.testing.assert_array_equal(applied(image, "MirrorY")[0], image[-1])
    assert applied(image[:20], "QuarterTurns", 1).shape == (20, 24, 3)


def test_noise_has_its_deviation_and_channels(image):
    flat = np.full((200, 200, 3), 128, np.uint8)
    gray = applied(flat, "GrayNoise", 5.0, 3).astype(int) - 128
    assert (gray == gray[..., :1]).all() and gray.std() == pytest.approx(5, rel=0.03)
    color = applied(flat, "ColorNoise", 5.0, 3).astype(int) - 128
    # Truncated, the mean is half a gray level less.
    assert color.std() == pytest.approx(5, rel=0.03) and color.mean() == pytest.approx(
        -0.5, abs=0.05
    )
    assert np.corrcoef(color[..., 0].ravel(), color[..., 1].ravel())[0, 1] < 0.02
    np.testing.assert_array_equal(
        applied(image, "GrayNoise", 5.0, 3), applied(image, "GrayNoise", 5.0, 3)
    )


def test_edges_are_the_kernels_of_imgaug(image):
    def filtered(kernel):
        padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
        return np.clip(np.einsum("hwcyx,yx->hwc", windows, np.array(kernel)), 0, 255)

    blend = 0.3 * np.array([[-1, -1, -1], [-1, 8.75, -1], [-1, -1, -1]])
    blend[1, 1] += 0.7
    found = applied(image, "Sharpen", 0.3, 0.75)
    assert np.abs(found - filtered(blend)).max() <= 0.51
    blend = 0.4 * np.array([[-1.5, -0.5, 0], [-0.5, 1, 0.5], [0, 0.5, 1.5]])
    blend[1, 1] += 0.6
    assert np.abs(applied(image, "Emboss", 0.4, 0.5) - filtered(blend)).max() <= 0.51


def test_colors(image):
    expected = np.clip(image * 1.1 + 0.2 * 255, 0, 255).astype(np.uint8)
    assert np.abs(applied(image, "BrightnessContrast", 0.2, 0.1).astype(int) - expected).max() <= 1
    red = np.zeros((4, 4, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
    assert tuple(applied(red, "ShiftHSV", 60, 0, 0)[0, 0]) == (0, 200, 0)
    assert tuple(applied(red, "ShiftHSV", 0, 0, 20)[0, 0]) == (220, 0, 0)
    assert tuple(applied(red, "ShiftHSV", 0, -255, 0)[0, 0]) == (200, 200, 200)
    dark = (image // 8).astype(np.uint8)
    assert np.ptp(applied(dark, "CLAHE", 2.0)) > np.ptp(dark)


def test_a_shift_moves_the_image_and_reflects_it(image):
    moved = applied(image, "ShiftScaleRotate", 0, 1, 0.125, 0)
    np.testing.assert_array_equal(moved[:, 3:], image[:, :-3])
    np.testing.assert_array_equal(moved[:, 2], image[:, 1])
    turned = applied(image, "ShiftScaleRotate", 90, 1, 0, 0)
    # The center of the turn is half a pixel from that of the image.
    np.testing.assert_array_equal(turned[1:, :], np.rot90(image)[:-1, :])
