"""RandAugment of its authors' TensorFlow code: its distribution, and its operations in Pillow."""

import numpy as np
import pillow_reference
import pytest
from benchmarks.photographs import views
from PIL import Image
from scipy import stats

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.geometric import FILLS
from keras_deit.data.operations import apply, scaled_step
from keras_deit.data.policies import parse_policy
from keras_deit.data.views import augment_image

DRAWS = 20_000
# A correct distribution falls below this in one of a thousand tests; the seeds are fixed.
SIGNIFICANCE = 1e-3
GRAY = (128, 128, 128)
NAMES = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize"),
    *("Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY"),
    *("TranslateXPixels", "TranslateYPixels", "Cutout", "SolarizeAdd"),
)


@pytest.fixture(scope="module")
def drawn():
    policy, rng = parse_policy("tfrand-m15-n2"), np.random.default_rng(0)
    return [policy.draw(rng) for _ in range(DRAWS)]


def assert_frequencies(counts, ratios):
    expected = np.asarray(ratios) / np.sum(ratios) * np.sum(counts)
    assert stats.chisquare(counts, expected).pvalue > SIGNIFICANCE


def test_every_operation_that_is_drawn_is_applied(drawn):
    assert {len(steps) for steps in drawn} == {2}
    names = [step.operation for steps in drawn for step in steps]
    assert set(names) == set(NAMES)
    assert_frequencies([names.count(name) for name in NAMES], [1] * 16)


def test_draws_are_with_replacement_and_independent(drawn):
    pairs = np.zeros((16, 16))
    for first, second in drawn:
        pairs[NAMES.index(first.operation), NAMES.index(second.operation)] += 1
    assert_frequencies(pairs.ravel(), [1] * 256)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("Rotate", 45), ("ShearX", 0.45), ("ShearY", 0.45)),
        *(("TranslateXPixels", 150), ("TranslateYPixels", 150)),
    ],
)
def test_both_signs_are_equally_likely(drawn, name, size):
    found = np.array([x for steps in drawn for operation, x in steps if operation == name])
    np.testing.assert_allclose(np.abs(found), size)
    assert_frequencies([(found > 0).sum(), (found < 0).sum()], [1, 1])


def test_the_squares_of_cutout_are_uniformly_distributed(drawn):
    found = [x for steps in drawn for name, x in steps if name == "Cutout"]
    rows, columns, halves = zip(*found, strict=True)
    assert set(halves) == {60}
    for positions in (rows, columns):
        assert stats.kstest(positions, "uniform").pvalue > SIGNIFICANCE
    assert abs(stats.pearsonr(rows, columns).statistic) < 4 / np.sqrt(len(found))


# At the magnitudes of AugReg's levels light1, light2, medium and strong.
ARGUMENTS = {
    "Posterize": (0, 4, 6, 8),
    "Solarize": (0, 256, 384, 512),
    "SolarizeAdd": (0, 110, 165, 220),
    "Color": (0.1, 1.9, 2.8, 3.7),
    "Contrast": (0.1, 1.9, 2.8, 3.7),
    "Brightness": (0.1, 1.9, 2.8, 3.7),
    "Sharpness": (0.1, 1.9, 2.8, 3.7),
    "Rotate": (0, 30, 45, 60),
    "ShearX": (0, 0.3, 0.45, 0.6),
    "ShearY": (0, 0.3, 0.45, 0.6),
    "TranslateXPixels": (0, 100, 150, 200),
    "TranslateYPixels": (0, 100, 150, 200),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_at_the_magnitudes_of_the_levels(name):
    rng = np.random.default_rng(0)
    for magnitude, expected in zip((0, 10, 15, 20), ARGUMENTS[name], strict=True):
        found = {abs(scaled_step(name, magnitude, rng).argument) for _ in range(20)}
        assert len(found) == 1 and found.pop() == pytest.approx(expected)


# Largest mean absolute difference of a photograph in gray levels; other operations are equal. After
# a shear by 0.6 every fifth row lies half-way between pixels, where Pillow rounds up.
LARGEST = {"Color": 0.003, "Rotate": 0.03, "ShearX": 1.4, "ShearY": 1.4}


@pytest.mark.parametrize("magnitude", [0, 10, 15, 20])
@pytest.mark.parametrize("name", NAMES)
def test_operation_matches_pillow(name, magnitude):
    rng = np.random.default_rng(1)
    for photograph, image in views().items():
        step = scaled_step(name, magnitude, rng)
        ours = apply(image, [step], "nearest", GRAY)
        theirs = np.asarray(_pillow(Image.fromarray(image), *step))
        difference = np.abs(ours.astype(int) - theirs).mean()
        assert difference <= LARGEST.get(name, 0), photograph


def _pillow(image, name, argument):
    """Returns the result of Pillow, or of NumPy if Pillow has no such argument."""
    transforms = {
        "ShearX": lambda x: (1, x, 0, 0, 1, 0),
        "ShearY": lambda x: (1, 0, 0, x, 1, 0),
        "TranslateXPixels": lambda x: (1, 0, x, 0, 1, 0),
        "TranslateYPixels": lambda x: (1, 0, 0, 0, 1, x),
    }
    if name == "Rotate":
        return image.rotate(argument, Image.Resampling.NEAREST, fillcolor=GRAY)
    if name in transforms:
        matrix, nearest = transforms[name](argument), Image.Resampling.NEAREST
        return image.transform(image.size, Image.Transform.AFFINE, matrix, nearest, fillcolor=GRAY)
    if name == "Solarize":
        levels = np.asarray(image).astype(int)
        return np.where(levels < argument, levels, 255 - levels)
    if name == "Cutout":
        return _covered(np.asarray(image), *argument)
    return pillow_reference.apply(image, name, *(() if argument is None else (argument,)))


def _covered(image, row, column, half):
    rows, columns = np.indices(image.shape[:2])
    top, left = (np.floor(center * 224) for center in (row, column))
    covered = (rows >= top - half) & (rows < top + half)
    covered &= (columns >= left - half) & (columns < left + half)
    return np.where(covered[..., None], 128, image)


def test_magnitude_0_is_not_the_identity():
    rng = np.random.default_rng(0)
    image = views()["chelsea"]
    black = apply(image, [scaled_step("Posterize", 0, rng)])
    assert black.max() == 0
    inverted = apply(image, [scaled_step("Solarize", 0, rng)])
    np.testing.assert_array_equal(inverted, 255 - image)
    dark = apply(image, [scaled_step("Brightness", 0, rng)])
    assert dark.max() == int(0.1 * image.max())
    without_effect = [scaled_step(name, 20, rng) for name in ("Solarize", "Posterize")]
    np.testing.assert_array_equal(apply(image, without_effect), image)


@pytest.mark.parametrize(("fill", "color"), FILLS.items())
def test_the_empty_area_has_the_color_of_the_augmentation(fill, color):
    augmentation = Augmentation(
        crop="none",
        flip_probability=0.0,
        auto_augment="tfrand-m40-n1",
        geometric_interpolation="nearest",
        geometric_fill=fill,
    )
    black = np.zeros((32, 32, 3), np.uint8)
    rng = np.random.default_rng(0)
    colors = set()
    for _ in range(200):
        view = augment_image(black, ImageFormat(32, 32), augmentation, rng)
        colors |= {tuple(map(int, pixel)) for pixel in view.reshape(-1, 3)}
    # Besides black there are white from Invert and white from SolarizeAdd.
    assert colors == {(0, 0, 0), (255, 255, 255), color}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tfrand-mstd0.5", "'mstd0.5', but m9, n2"),
        ("tfrand-inc1", "'inc1'"),
        ("tfrand-m-1", "'m'"),
    ],
)
def test_other_sections_are_rejected(text, part):
    with pytest.raises(InputError) as caught:
        parse_policy(text)
    assert part in str(caught.value)
