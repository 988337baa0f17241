"""Policies: their strings, and the distribution of 20,000 draws."""

import numpy as np
import pytest
from scipy import stats

from keras_deit.core.errors import InputError
from keras_deit.data import policies
from keras_deit.data.auto_augment_policies import AUTO_AUGMENT
from keras_deit.data.operations import SCALES, Step, apply, scaled_step
from keras_deit.data.policies import AutoAugment, RandAugment, color_jitter, parse_policy

DRAWS = 20_000
# A correct distribution falls below this in one of a thousand tests; the seeds are fixed.
SIGNIFICANCE = 1e-3

NAMES = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)


def draw(text, count=DRAWS):
    policy, rng = parse_policy(text), np.random.default_rng(0)
    return [policy.draw(rng) for _ in range(count)]


def assert_frequencies(counts, ratios):
    expected = np.asarray(ratios) / np.sum(ratios) * np.sum(counts)
    assert stats.chisquare(counts, expected).pvalue > SIGNIFICANCE


@pytest.fixture(scope="module")
def deit():
    return draw("rand-m9-mstd0.5-inc1")


def test_rand_augment_applies_each_of_two_draws_half_the_time(deit):
    counts = np.bincount([len(steps) for steps in deit])
    assert_frequencies(counts, [1, 2, 1])


def test_rand_augment_draws_fifteen_operations_equally_often(deit):
    names = [step.operation for steps in deit for step in steps]
    assert set(names) == set(NAMES)
    assert_frequencies([names.count(name) for name in NAMES], [1] * 15)


def test_rand_augment_draws_with_replacement(deit):
    pairs = [steps for steps in deit if len(steps) == 2]
    equal = sum(first.operation == second.operation for first, second in pairs)
    assert_frequencies([equal, len(pairs) - equal], [1, 14])


def clipped_normal(magnitude):
    """The distribution function of N(9, 0.5) clipped to [0, 10]."""
    return np.where(magnitude >= 10, 1, stats.norm.cdf(magnitude, 9, 0.5))


@pytest.mark.parametrize(
    ("name", "magnitude"),
    [
        ("Rotate", lambda x: x / 3),
        ("ShearX", lambda x: x / 0.03),
        ("ShearY", lambda x: x / 0.03),
        ("TranslateX", lambda x: x / 0.045),
        ("TranslateY", lambda x: x / 0.045),
        ("Color", lambda x: (x - 1) / 0.09),
        ("Contrast", lambda x: (x - 1) / 0.09),
        ("Brightness", lambda x: (x - 1) / 0.09),
        ("Sharpness", lambda x: (x - 1) / 0.09),
    ],
)
def test_magnitudes_are_normal_and_clipped_with_either_sign(deit, name, magnitude):
    arguments = np.array([x for steps in deit for operation, x in steps if operation == name])
    signed = magnitude(arguments)
    assert_frequencies([(signed > 0).sum(), (signed < 0).sum()], [1, 1])
    sizes = np.abs(signed)
    # All values above 10 are clipped to 10, so the distribution has a step there.
    at_limit = np.isclose(sizes, 10)
    beyond = 1 - stats.norm.cdf(10, 9, 0.5)
    assert_frequencies([at_limit.sum(), (~at_limit).sum()], [beyond, 1 - beyond])
    below = stats.truncnorm(-18, 2, 9, 0.5)
    assert stats.kstest(sizes[~at_limit], below.cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("Posterize", lambda m: 4 - int(0.4 * m)),
        ("Solarize", lambda m: 256 - int(25.6 * m)),
        ("SolarizeAdd", lambda m: int(11 * m)),
    ],
)
def test_whole_arguments_have_the_frequencies_of_their_magnitudes(deit, name, argument):
    found = [x for steps in deit for operation, x in steps if operation == name]
    magnitudes = np.minimum(stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000, 9, 0.5), 10)
    values, expected = np.unique([argument(m) for m in magnitudes], return_counts=True)
    assert set(found) <= set(values)
    counts = np.array([found.count(value) for value in values])
    # Values too rare for a chi-square test are combined.
    rare = expected * len(found) / 200_000 < 5
    counts, expected = (np.append(x[~rare], x[rare].sum()) for x in (counts, expected))
    assert_frequencies(counts[expected > 0], expected[expected > 0])


def test_uniform_magnitudes():
    sizes = [
        abs(x) / 3 for steps in draw("rand-m8-mstdinf") for name, x in steps if name == "Rotate"
    ]
    assert stats.kstest(sizes, stats.uniform(0, 8).cdf).pvalue > SIGNIFICANCE


def test_every_section_of_the_notation():
    expected = RandAugment(7.0, 1.5, 3, 0.25, increasing=True)
    assert parse_policy("rand-m7-mstd1.5-n3-p0.25-inc1") == expected
    assert parse_policy("rand-inc1-n3-p0.25-m7-mstd1.5") == expected
    assert parse_policy("rand") == RandAugment(10, 0, 2, 0.5, increasing=False)
    assert parse_policy("rand-m9-mstd101") == RandAugment(9, np.inf)
    assert parse_policy("v0r-mstd0.5") == AutoAugment("v0r", 0.5)
    assert parse_policy("none").draw(np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rand-m9-w0", "'w0', but m9, n2, p0.5, mstd0.5, inc1"),
        ("rand-m", "section 'm'"),
        ("rand-m9-", "section ''"),
        ("rand-n2.5", "section 'n2.5'"),
        ("rand-p1.5", "section 'p1.5'"),
        ("rand-inc2", "section 'inc2'"),
        ("rand-m-9", "section 'm'"),
        ("v0-m9", "'m9', but mstd0.5"),
        ("3a-m9", "no sections"),
        ("randm9", "'randm9'. Close names: rand"),
        ("", "auto_augment ''"),
    ],
)
def test_other_strings_are_rejected(text, part):
    with pytest.raises(InputError) as caught:
        parse_policy(text)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "magnitude", "arguments"),
    [
        ("Rotate", 9, {27.0, -27.0}),
        ("PosterizeIncreasing", 7.4, {2}),
        ("PosterizeIncreasing", 9, {1}),
        ("PosterizeIncreasing", 10, {0}),
        ("Posterize", 6, {2}),
        ("PosterizeOriginal", 8, {7}),
        ("SolarizeIncreasing", 9, {26}),
        ("SolarizeIncreasing", 10, {0}),
        ("Solarize", 5, {128}),
        ("SolarizeAdd", 9, {99}),
        ("SolarizeAdd", 10, {110}),
        ("Color", 9, {1.72}),
        ("ColorIncreasing", 9, {1.81, 0.19}),
        ("SharpnessIncreasing", 10, {1.9, 0.1}),
        ("ShearX", 9, {0.27, -0.27}),
        ("TranslateY", 9, {0.405, -0.405}),
        ("Equalize", 9, {None}),
        # numpy.linspace(low, high, 10) of the PyTorch code, at the place of the magnitude.
        ("RotateNinths", 2, {round(60 / 9, 9)}),
        ("ShearXNinths", 8, {round(0.8 / 3, 9), -round(0.8 / 3, 9)}),
        ("TranslateYNinths", 9, {round(150 / 331, 9), -round(150 / 331, 9)}),
        ("ColorNinths", 3, {1.3, 0.7}),
        ("SolarizeNinths", 2, {round(256 * 7 / 9, 9)}),
        ("SolarizeNinths", 9, {0}),
        *(("PosterizeNinths", m, {8 - m // 2}) for m in range(10)),
    ],
)
def test_arguments_at_a_magnitude(name, magnitude, arguments):
    rng = np.random.default_rng(0)
    found = {scaled_step(name, magnitude, rng).argument for _ in range(50)}
    assert {x if x is None else round(x, 9) for x in found} == arguments


@pytest.mark.parametrize("name", AUTO_AUGMENT)
def test_auto_augment_applies_operations_with_their_probabilities(name):
    expected = {}
    for pair in AUTO_AUGMENT[name]:
        for entry, probability, _ in pair:
            operation = SCALES[entry][0]
            expected[operation] = expected.get(operation, 0) + probability / len(AUTO_AUGMENT[name])
    found = [step.operation for steps in draw(name) for step in steps]
    assert set(found) == {operation for operation, rate in expected.items() if rate}
    for operation, rate in expected.items():
        # An operation is applied at most twice to an image, which bounds the variance.
        deviation = np.sqrt(DRAWS * rate)
        assert abs(found.count(operation) - DRAWS * rate) < 4 * deviation, operation


def test_auto_augment_original_is_the_papers():
    """Compares three rows of table 9 of the paper's appendix, and their variants."""
    rows = AUTO_AUGMENT["original"]
    assert len(rows) == 25
    assert rows[0] == (("PosterizeOriginal", 0.4, 8), ("Rotate", 0.6, 9))
    assert rows[9] == (("Equalize", 0.6, 8), ("PosterizeOriginal", 0.4, 6))
    assert rows[17] == (("Sharpness", 0.4, 7), ("Invert", 0.6, 8))
    assert AUTO_AUGMENT["originalr"][0] == (("PosterizeIncreasing", 0.4, 8), ("Rotate", 0.6, 9))
    assert AUTO_AUGMENT["v0"][12] == (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7))
    assert AUTO_AUGMENT["v0r"][12][0] == ("PosterizeIncreasing", 0.4, 6)


def test_auto_augment_of_small_images_is_the_papers():
    """Compares rows of tables 7, 8 and 9 of the paper's appendix."""
    assert {len(AUTO_AUGMENT[name]) for name in ("imagenet", "cifar10", "svhn")} == {25}
    cifar, svhn, imagenet = (AUTO_AUGMENT[name] for name in ("cifar10", "svhn", "imagenet"))
    assert cifar[0] == (("Invert", 0.1, 7), ("ContrastNinths", 0.2, 6))
    assert cifar[3] == (("ShearYNinths", 0.5, 8), ("TranslateYNinths", 0.7, 9))
    assert cifar[24] == (("TranslateYNinths", 0.7, 9), ("AutoContrast", 0.9, 1))
    assert svhn[4] == (("Equalize", 0.6, 1), ("RotateNinths", 0.9, 3))
    assert svhn[22] == (("ShearXNinths", 0.7, 9), ("TranslateYNinths", 0.8, 3))
    assert imagenet[0] == (("PosterizeNinths", 0.4, 8), ("RotateNinths", 0.6, 9))


def test_auto_augment_applies_the_operations_of_one_pair_in_order():
    pairs = {tuple(SCALES[entry][0] for entry, _, _ in pair) for pair in AUTO_AUGMENT["original"]}
    for steps in draw("original", 500):
        names = tuple(step.operation for step in steps)
        assert len(names) < 2 or names in pairs


def test_three_augment_is_one_of_three():
    steps = draw("3a")
    assert all(len(one) == 1 for one in steps)
    names = [one[0].operation for one in steps]
    assert_frequencies(
        [names.count(name) for name in ("Grayscale", "Solarize", "GaussianBlur")], [1, 1, 1]
    )
    assert {one[0] for one in steps if one[0].operation == "Solarize"} == {Step("Solarize", 128)}
    radii = [one[0].argument for one in steps if one[0].operation == "GaussianBlur"]
    assert stats.kstest(radii, stats.uniform(0.1, 1.9).cdf).pvalue > SIGNIFICANCE


def test_color_jitter_has_uniform_factors_in_random_order():
    rng = np.random.default_rng(0)
    drawn = [color_jitter(0.3, rng) for _ in range(DRAWS)]
    orders = [tuple(step.operation for step in steps) for steps in drawn]
    assert len(set(orders)) == 6
    assert_frequencies([orders.count(order) for order in set(orders)], [1] * 6)
    for name in ("Brightness", "Contrast", "Color"):
        factors = [step.argument for steps in drawn for step in steps if step.operation == name]
        assert stats.kstest(factors, stats.uniform(0.7, 0.6).cdf).pvalue > SIGNIFICANCE
    assert color_jitter(0, rng) == []
    strong = [step.argument for _ in range(200) for step in color_jitter(1.5, rng)]
    assert 0 <= min(strong) < 0.1 and 2.4 < max(strong) <= 2.5


def test_noisy_magnitudes_are_clipped():
    rng = np.random.default_rng(0)
    drawn = [policies.noisy_magnitude(9, 20, rng) for _ in range(100)]
    assert min(drawn) == 0 and max(drawn) == 10


def test_affine_changes_stay_within_the_magnitude():
    (steps,) = zip(*draw("affine-m5", 2000), strict=True)
    assert {step.operation for step in steps} == {"Distort"}
    linear = np.array([step.argument[0] for step in steps])
    shift = np.array([step.argument[1] for step in steps])
    assert 0.09 < np.abs(shift).max() <= 0.1
    scale = np.hypot(linear[:, 0], linear[:, 2])
    assert 1.3**0.49 < scale.max() <= 1.3**0.5 and 1.3**-0.5 <= scale.min() < 1.3**-0.49
    angle = np.degrees(np.arctan2(linear[:, 2], linear[:, 0]))
    assert 11.5 < np.abs(angle).max() <= 12 and abs(angle.mean()) < 0.5
    shear = linear[:, 1] + linear[:, 2]
    assert 0.14 < np.abs(shear).max() <= 0.15


def test_affine_without_magnitude_changes_nothing_and_the_border_is_the_images():
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    (steps,) = draw("affine-m0", 1)
    np.testing.assert_array_equal(apply(image, steps, "bilinear"), image)
    moved = apply(image, [Step("Distort", ((1, 0, 0, 1), (0.25, 0)))], "bilinear")
    np.testing.assert_array_equal(moved[:, :9], image[:, 3:])
    np.testing.assert_array_equal(moved[:, 9:], np.repeat(image[:, -1:], 3, axis=1))
    turned = apply(image[:, :9], [Step("Distort", ((0, -1, 1, 0), (0, 0)))], "nearest")
    np.testing.assert_array_equal(turned, np.rot90(image[:, :9]))


def test_byol_draws_jitter_grayscale_blur_and_solarization():
    drawn = draw("byol-b0.1-s0.2")
    jitter = {"Brightness": (0.6, 1.4), "Contrast": (0.6, 1.4), "Color": (0.8, 1.2)}
    shares = {**dict.fromkeys((*jitter, "Hue"), 0.8), "Grayscale": 0.2}
    shares |= {"GaussianBlur": 0.1, "Solarize": 0.2}
    for name, share in shares.items():
        found = [step.argument for steps in drawn for step in steps if step.operation == name]
        assert_frequencies([len(found), DRAWS - len(found)], [share, 1 - share])
        low, high = {**jitter, "Hue": (-0.1, 0.1), "GaussianBlur": (0.1, 2)}.get(name, (0, 0))
        if high:
            assert stats.kstest(found, stats.uniform(low, high - low).cdf).pvalue > SIGNIFICANCE
    first = [steps[0].operation for steps in drawn if len(steps) >= 4]
    assert_frequencies([first.count(name) for name in (*jitter, "Hue")], [1] * 4)


def test_the_hue_turns_around_the_color_circle():
    red = np.full((2, 2, 3), (200, 0, 0), np.uint8)
    green, back = (apply(red, [Step("Hue", shift)]) for shift in (1 / 3, 0.0))
    np.testing.assert_allclose(green[0, 0], (0, 200, 0), atol=6)
    np.testing.assert_allclose(back, red, atol=2)
