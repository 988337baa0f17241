"""Random erasing: the distribution of boxes and noise, and that nothing else changes."""

import numpy as np
import pytest
from scipy import stats

from keras_deit.core.image_format import ImageFormat
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.erasing import erase_boxes, random_erase
from keras_deit.data.pipeline import train_pipeline
from keras_deit.data.source import ArraySource

DRAWS = 20_000
SIGNIFICANCE = 1e-3


def test_boxes_have_the_documented_areas_ratios_and_positions():
    # A box can be too long to fit, up to 3.33 to 1 and a third of the square, so the expected
    # distribution is that of the boxes that fit.
    rng = np.random.default_rng(0)
    side = 2000  # Rounding to whole pixels is too small for the test to notice.
    drawn = [erase_boxes(side, side, rng, (0.02, 1 / 3), (0.3, 1 / 0.3), 1) for _ in range(DRAWS)]
    assert all(len(boxes) == 1 for boxes in drawn)
    top, left, height, width = np.array([boxes[0] for boxes in drawn]).T
    expected = np.random.default_rng(1)
    area = expected.uniform(0.02, 1 / 3, 4 * DRAWS)
    log_aspect = expected.uniform(np.log(0.3), -np.log(0.3), 4 * DRAWS)
    fits = area * np.exp(np.abs(log_aspect)) < 1
    assert 0.95 < fits.mean() < 1
    for found, values in (
        (height * width / side**2, area),
        (np.log(height / width), log_aspect),
    ):
        assert stats.ks_2samp(found, values[fits]).pvalue > SIGNIFICANCE
    for offset, length in ((top, height), (left, width)):
        position = (offset + 0.5) / (side - length + 1)
        assert stats.kstest(position, "uniform").pvalue > SIGNIFICANCE


def test_the_area_is_divided_among_several_boxes():
    rng = np.random.default_rng(0)
    drawn = [erase_boxes(500, 500, rng, (0.3, 0.3), (1.0, 1.0), 3) for _ in range(3000)]
    counts = np.bincount([len(boxes) for boxes in drawn])
    assert stats.chisquare(counts[1:]).pvalue > SIGNIFICANCE
    for boxes in drawn[:100]:
        for _, _, height, width in boxes:
            assert height * width / 500**2 == pytest.approx(0.3 / len(boxes), rel=0.01)


def test_a_box_that_never_fits_is_left_out():
    assert erase_boxes(50, 50, np.random.default_rng(0), (1.0, 1.0), (1.0, 1.0), 1) == []


def test_the_box_is_filled_with_normal_noise_and_the_rest_unchanged():
    rng = np.random.default_rng(0)
    noise, erased = [], 0
    for _ in range(400):
        image = np.full((64, 48, 3), 7, np.float32)
        random_erase(image, rng, 0.25)
        changed = (image != 7).all(-1)
        np.testing.assert_array_equal((image != 7).any(-1), changed)
        if not changed.any():
            continue
        erased += 1
        rows, columns = changed.any(1), changed.any(0)
        np.testing.assert_array_equal(changed, rows[:, None] & columns)
        noise.append(image[changed])
    assert abs(erased / 400 - 0.25) < 0.07
    noise = np.concatenate(noise)
    assert stats.kstest(noise.ravel()[:20_000], "norm").pvalue > SIGNIFICANCE
    # Noise is independent between channels.
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0), (1.0, 20)])
def test_probabilities_0_and_1(probability, expected):
    rng = np.random.default_rng(0)
    images = np.zeros((20, 32, 32, 3), np.float32)
    for image in images:
        random_erase(image, rng, probability)
    assert images.any((1, 2, 3)).sum() == expected


def test_the_probability_is_the_frequency():
    rng = np.random.default_rng(0)
    images = np.zeros((DRAWS, 4, 4, 3), np.float32)
    for image in images:
        random_erase(image, rng, 0.25, area=(0.3, 0.3), aspect=(1.0, 1.0))
    erased = images.any((1, 2, 3)).sum()
    assert stats.binomtest(int(erased), DRAWS, 0.25).pvalue > SIGNIFICANCE


def test_the_authors_mode_fills_a_box_of_uniform_aspect_with_the_mean():
    rng, mean = np.random.default_rng(0), (0.4914, 0.4822, 0.4465)
    image = np.full((64, 48, 3), 7, np.float32)
    random_erase(image, rng, 1.0, (0.02, 0.4), mode="mean", mean=mean)
    changed = (image != 7).any(-1)
    assert 0 < changed.mean() < 0.45
    np.testing.assert_array_equal(image[changed], np.tile(np.float32(mean), (changed.sum(), 1)))
    drawn = [
        erase_boxes(2000, 2000, rng, (0.02, 0.02), (0.3, 1 / 0.3), 1, "mean") for _ in range(DRAWS)
    ]
    ratios = [height / width for ((_, _, height, width),) in drawn]
    assert stats.kstest(ratios, stats.uniform(0.3, 1 / 0.3 - 0.3).cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_a_batch_is_erased_with_the_means_of_its_model(channels):
    image_format = ImageFormat(8, 8, (0.25, 0.5, 0.75), (0.5, 0.5, 0.5), channels)
    black = ArraySource(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4))
    augmentation = Augmentation(
        crop="none", erase_probability=1.0, erase_mode="mean", mixup_alpha=0.0, cutmix_alpha=0.0
    )
    ((images, _),) = train_pipeline(black, image_format, augmentation, 4, 4, seed=0, stop=1)
    mean = image_format.mean if channels == "RGB" else image_format.mean[::-1]
    erased = (images == np.float32(mean)).all(-1)
    assert (erased.mean((1, 2)) > 0).all() and (erased.mean((1, 2)) < 0.5).all()
    np.testing.assert_array_equal(
        images[~erased], np.tile(np.float32(mean) * -2, ((~erased).sum(), 1))
    )
