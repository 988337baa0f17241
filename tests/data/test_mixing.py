"""Mixup, CutMix and label smoothing compared with values computed by hand."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from keras_deit.core.errors import InputError
from keras_deit.data import mixing
from keras_deit.data.augmentation import Augmentation

OFF = Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0)


def batch(count=4, height=8, width=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, height, width, 3)).astype(np.float32)


class FixedCenter:
    """A random generator that returns a given center of the CutMix box."""

    def __init__(self, row, column):
        self.values = iter([row, column])

    def integers(self, stop):
        value = next(self.values)
        assert 0 <= value < stop
        return value


def test_one_hot_smoothed():
    targets = mixing.one_hot_smoothed(np.array([2, 0]), 4, 0.1)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(
        targets, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]], rtol=1e-6
    )
    np.testing.assert_array_equal(mixing.one_hot_smoothed(np.array([1]), 3, 0.0), [[0, 1, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_one_hot_labels_equal_indices(dtype):
    labels = np.array([2, 0, 3])
    expected = mixing.one_hot_smoothed(labels, 4, 0.1)
    one_hot = np.eye(4, dtype=dtype)[labels]
    np.testing.assert_array_equal(mixing.one_hot_smoothed(one_hot, 4, 0.1), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.0, 1.0]), "float64"),
        (np.eye(4, dtype=np.int64), r"3 classes.*\(4, 4\)"),
        (np.array([[0.5, 0.5, 0.0]]), "one-hot"),
        (np.array([[1, 1, 0]]), "one-hot"),
        (np.zeros((2, 3)), "one-hot"),
        (np.zeros((2, 3, 1), int), r"\(2, 3, 1\)"),
        (np.array([0, 3]), "0 to 3"),
        (np.array([-1, 2]), "-1 to 2"),
    ],
)
def test_other_labels_are_rejected(labels, message):
    with pytest.raises(InputError, match=message):
        mixing.one_hot_smoothed(labels, 3, 0.1)


def test_mixup_blends_with_the_reversed_batch():
    images = batch()
    mixed = images.copy()
    mixing.mix_images(mixed, [mixing.Mix(0.3)] * 4)
    np.testing.assert_allclose(mixed, 0.3 * images + 0.7 * images[::-1], rtol=1e-5, atol=1e-6)


def test_cutmix_pastes_the_box_of_the_partner():
    images = batch()
    mixed = images.copy()
    mixing.mix_images(mixed, [mixing.Mix(5 / 6, (2, 6, 2, 4))] * 4)
    expected = images.copy()
    expected[:, 2:6, 2:4] = images[::-1, 2:6, 2:4]
    np.testing.assert_array_equal(mixed, expected)


def test_images_of_a_batch_can_have_different_mixes():
    images = batch()
    mixed = images.copy()
    mixes = [mixing.Mix(0.3), mixing.Mix(1.0), mixing.Mix(5 / 6, (2, 6, 2, 4)), mixing.Mix(0.9)]
    mixing.mix_images(mixed, mixes)
    expected = images.copy()
    expected[0] = 0.3 * images[0] + 0.7 * images[3]
    expected[2, 2:6, 2:4] = images[1, 2:6, 2:4]
    expected[3] = 0.9 * images[3] + 0.1 * images[0]
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("center", "lam", "expected"),
    [
        ((4, 3), 0.75, (2, 6, 2, 4)),
        ((0, 0), 0.75, (0, 2, 0, 1)),  # clipped at the top left
        ((7, 5), 0.75, (5, 8, 4, 6)),  # clipped at the bottom right
        ((3, 3), 0.0, (0, 7, 0, 6)),  # sides 8 and 6, clipped at the top
        ((3, 3), 1.0, (3, 3, 3, 3)),  # empty
    ],
)
def test_cutmix_box(center, lam, expected):
    assert mixing.cutmix_box(8, 6, lam, FixedCenter(*center)) == expected


def mix(seed=0, count=4, **fields):
    images, labels = batch(count), np.arange(count)
    rng = np.random.default_rng(seed)
    augmentation = dataclasses.replace(OFF, **fields)
    mixed, targets = mixing.mix_batch(images.copy(), labels, 8, augmentation, rng)
    assert mixed.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    return images, labels, mixed, targets


def partner_weight(targets, labels):
    """Returns the target of the partner's class, for batches in which all classes differ."""
    return targets[np.arange(len(labels)), labels[::-1]]


def test_without_mixing_targets_are_only_smoothed():
    images, labels, mixed, targets = mix(label_smoothing=0.1)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(targets, mixing.one_hot_smoothed(labels, 8, 0.1))


def is_cutmix(images, mixed):
    """Returns whether every pixel of an image is its own or its partner's."""
    return ((mixed == images) | (mixed == images[::-1])).all((1, 2, 3))


@pytest.mark.parametrize("mode", ["batch", "elem"])
@pytest.mark.parametrize(
    ("mixup_alpha", "cutmix_alpha", "switch", "cutmix_fraction"),
    [(0.8, 0, 0.5, 0), (0, 1.0, 0.5, 1), (0.8, 1.0, 0.5, 0.5), (0.8, 1.0, 0.25, 0.25)],
)
def test_mix_batch_switches_between_the_methods(
    mode, mixup_alpha, cutmix_alpha, switch, cutmix_fraction
):
    used = []
    for seed in range(400):
        images, _, mixed, _ = mix(
            seed,
            mix_mode=mode,
            mixup_alpha=mixup_alpha,
            cutmix_alpha=cutmix_alpha,
            mix_switch_probability=switch,
        )
        used.append(is_cutmix(images, mixed))
    used = np.array(used)
    assert (used == used[:, :1]).all() == (mode == "batch" or cutmix_fraction in (0, 1))
    tolerance = 0 if cutmix_fraction in (0, 1) else 0.1
    assert abs(used.mean() - cutmix_fraction) <= tolerance


def draws(**fields):
    rng, augmentation = np.random.default_rng(0), dataclasses.replace(OFF, **fields)
    return [mixing.draw_mix(224, 224, augmentation, rng) for _ in range(20_000)]


@pytest.mark.parametrize("alpha", [0.8, 1.0, 0.2])
def test_mixup_lambda_is_beta_distributed(alpha):
    found = [mix.lam for mix in draws(mixup_alpha=alpha)]
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_cutmix_lambda_is_the_area_outside_of_the_clipped_box(alpha):
    """The formulas are those of the paper's code, for images of 224 x 224."""
    rng = np.random.default_rng(1)
    half = (224 * np.sqrt(1 - rng.beta(alpha, alpha, 40_000))).astype(int) // 2
    lengths = 1
    for _ in range(2):
        center = rng.integers(224, size=40_000)
        lengths = lengths * (np.minimum(center + half, 224) - np.maximum(center - half, 0))
    expected = 1 - lengths / 224**2
    found = [mix.lam for mix in draws(cutmix_alpha=alpha)]
    assert stats.ks_2samp(found, expected).pvalue > 1e-3


def test_half_of_the_batches_have_cutmix_by_default():
    boxes = [mix.box is not None for mix in draws(mixup_alpha=0.8, cutmix_alpha=1.0)]
    assert stats.binomtest(sum(boxes), len(boxes), 0.5).pvalue > 1e-3


@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_lambda_is_drawn_per_batch_or_per_image(mode):
    for seed in range(20):
        _, labels, _, targets = mix(seed, mixup_alpha=0.8, mix_mode=mode)
        weights = np.unique(partner_weight(targets, labels).round(6))
        assert len(weights) == (1 if mode == "batch" else 4)


@pytest.mark.parametrize("fields", [{"mixup_alpha": 0.8}, {"cutmix_alpha": 1.0}])
@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_targets_are_mixed_like_the_images(mode, fields):
    for seed in range(20):
        images, labels, mixed, targets = mix(seed, mix_mode=mode, **fields)
        weight = partner_weight(targets, labels)
        if "mixup_alpha" in fields:
            found = ((mixed - images) / (images[::-1] - images)).mean((1, 2, 3))
        else:
            found = (mixed != images).any(-1).mean((1, 2))
        np.testing.assert_allclose(weight, found, atol=1e-3)


@pytest.mark.parametrize("fields", [{"mixup_alpha": 0.5}, {"cutmix_alpha": 1.0}])
def test_the_partner_can_be_the_previous_image(fields):
    """As in AugReg; Mixup's weight of the image itself is then 1/2 or more."""
    for seed in range(20):
        images, labels, mixed, targets = mix(seed, mix_partner="previous", **fields)
        previous = images[[3, 0, 1, 2]]
        weight = targets[np.arange(4), labels[[3, 0, 1, 2]]]
        np.testing.assert_allclose(targets[np.arange(4), labels], 1 - weight, rtol=1e-5)
        if "mixup_alpha" in fields:
            assert (weight <= 0.5).all() and len(set(weight)) == 1
            expected = images + weight[0] * (previous - images)
            np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)
        else:
            assert ((mixed == images) | (mixed == previous)).all()
            changed = (mixed != images).any(-1).mean((1, 2))
            np.testing.assert_allclose(changed, weight, atol=1e-6)


def test_lambda_of_the_previous_image_is_the_larger_of_a_beta_draw():
    found = [mix.lam for mix in draws(mixup_alpha=0.5, mix_partner="previous")]
    assert min(found) >= 0.5
    beta = np.random.default_rng(1).beta(0.5, 0.5, 20_000)
    assert stats.ks_2samp(found, np.maximum(beta, 1 - beta)).pvalue > 1e-3


def test_mix_probability():
    changed = [
        (mixed != images).any()
        for images, _, mixed, _ in (
            mix(seed, mixup_alpha=0.8, mix_probability=0.3) for seed in range(1000)
        )
    ]
    assert abs(np.mean(changed) - 0.3) < 0.05


def test_smoothing_is_applied_once():
    _, labels, _, targets = mix(mixup_alpha=0.8, label_smoothing=0.2)
    weight = partner_weight(targets, labels)[0]
    off, on = 0.2 / 8, 0.8 + 0.2 / 8
    lam = (on - weight) / (on - off)
    np.testing.assert_allclose(targets[0, 0], lam * on + (1 - lam) * off, rtol=1e-5)
    np.testing.assert_allclose(targets[0, 4:], off, rtol=1e-5)


@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_the_middle_image_of_an_odd_batch_is_not_mixed(mode):
    images, labels, mixed, targets = mix(mixup_alpha=0.8, mix_mode=mode, count=5)
    np.testing.assert_array_equal(mixed[2], images[2])
    assert (mixed[[0, 1, 3, 4]] != images[[0, 1, 3, 4]]).any((1, 2, 3)).all()
    np.testing.assert_allclose(targets[2], np.eye(8)[labels[2]], rtol=1e-6)
