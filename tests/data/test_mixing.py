"""Mixup, CutMix and smoothing against numbers worked out by hand."""

import numpy as np
import pytest

from keras_deit.data import mixing
from keras_deit.errors import InputError


def batch(count=4, height=8, width=6):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, height, width, 3)).astype(np.float32)
    return images, np.eye(5, dtype=np.float32)[np.arange(count) % 5]


class ScriptedCentre:
    """Gives the centre of the CutMix box."""

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


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.0, 1.0]), "one integer class index per image. Received: float64"),
        (np.eye(3, dtype=np.int64), r"Received: int64 of shape \(3, 3\)"),
        (np.array([0, 3]), "below 3, the number of classes. Received: 0 to 3"),
        (np.array([-1, 2]), "Received: -1 to 2"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        mixing.one_hot_smoothed(labels, 3, 0.1)


def test_mixup_blends_with_the_reversed_batch():
    images, targets = batch()
    mixed, mixed_targets = mixing.mixup(images, targets, 0.3)
    np.testing.assert_allclose(mixed[1], 0.3 * images[1] + 0.7 * images[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mixed_targets[0], [0.3, 0, 0, 0.7, 0], rtol=1e-6)
    np.testing.assert_allclose(mixed_targets.sum(1), 1, rtol=1e-6)
    assert mixed.dtype == mixed_targets.dtype == np.float32


def test_mixup_with_lambda_one_is_the_identity():
    images, targets = batch(3)
    mixed, mixed_targets = mixing.mixup(images, targets, 1.0)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(mixed_targets, targets)


def test_cutmix_pastes_the_box_and_mixes_by_its_area():
    images, targets = batch()
    # Sides 8 * 0.5 = 4 and 6 * 0.5 = 3; half sides 2 and 1: rows 2..5, columns 2..3.
    mixed, mixed_targets = mixing.cutmix(images, targets, 0.75, ScriptedCentre(4, 3))
    expected = images.copy()
    expected[:, 2:6, 2:4] = images[::-1, 2:6, 2:4]
    np.testing.assert_array_equal(mixed, expected)
    share = 4 * 2 / (8 * 6)
    np.testing.assert_allclose(mixed_targets[1], [0, 1 - share, share, 0, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("centre", "lam", "expected"),
    [
        ((4, 3), 0.75, (2, 6, 2, 4)),
        ((0, 0), 0.75, (0, 2, 0, 1)),  # clipped at the top left
        ((7, 5), 0.75, (5, 8, 4, 6)),  # clipped at the bottom right
        ((3, 3), 0.0, (0, 7, 0, 6)),  # sides 8 and 6, clipped at the top
        ((3, 3), 1.0, (3, 3, 3, 3)),  # empty
    ],
)
def test_cutmix_box(centre, lam, expected):
    assert mixing.cutmix_box(8, 6, lam, ScriptedCentre(*centre)) == expected


def test_cutmix_of_a_clipped_box_keeps_what_it_did_not_paste():
    images, targets = batch()
    _, mixed_targets = mixing.cutmix(images, targets, 0.75, ScriptedCentre(0, 0))
    np.testing.assert_allclose(mixed_targets[0], [1 - 2 / 48, 0, 0, 2 / 48, 0], rtol=1e-6)


def share_of_partner(targets, labels):
    """What each target gives to the partner's class, for batches in which the classes differ."""
    return targets[np.arange(len(labels)), labels[::-1]]


def mix(mixup_alpha, cutmix_alpha, switch=0.5, smoothing=0.0, seed=0, count=4):
    images, _ = batch(count)
    labels = np.arange(count)
    rng = np.random.default_rng(seed)
    mixed, targets = mixing.mix_batch(
        images, labels, 8, mixup_alpha, cutmix_alpha, switch, smoothing, rng
    )
    return images, labels, mixed, targets


def test_mix_batch_switched_off_only_smooths():
    images, labels, mixed, targets = mix(0, 0, smoothing=0.1)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(targets, mixing.one_hot_smoothed(labels, 8, 0.1))


def is_cutmix(images, mixed):
    """Whether every pixel is an image's own or its partner's."""
    return bool(((mixed == images) | (mixed == images[::-1])).all())


@pytest.mark.parametrize(
    ("mixup_alpha", "cutmix_alpha", "switch", "cutmix_share"),
    [(0.8, 0, 0.5, 0), (0, 1.0, 0.5, 1), (0.8, 1.0, 0.5, 0.5), (0.8, 1.0, 0.25, 0.25)],
)
def test_mix_batch_switches_between_the_methods(mixup_alpha, cutmix_alpha, switch, cutmix_share):
    used = []
    for seed in range(400):
        images, _, mixed, _ = mix(mixup_alpha, cutmix_alpha, switch, seed=seed)
        used.append(is_cutmix(images, mixed))
    tolerance = 0 if cutmix_share in (0, 1) else 0.1
    assert abs(np.mean(used) - cutmix_share) <= tolerance


def test_mixup_lambda_is_beta_distributed_and_one_per_batch():
    shares = []
    for seed in range(3000):
        _, labels, _, targets = mix(0.8, 0, seed=seed)
        share = share_of_partner(targets, labels)
        np.testing.assert_allclose(share, share[0], rtol=1e-6)
        shares.append(share[0])
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)) = 0.09615 for a = 0.8.
    assert abs(np.mean(shares) - 0.5) < 0.02
    assert abs(np.var(shares) - 0.09615) < 0.005


def test_smoothing_is_applied_once():
    _, labels, _, targets = mix(0.8, 0, smoothing=0.2)
    share = share_of_partner(targets, labels)[0]
    off, on = 0.2 / 8, 0.8 + 0.2 / 8
    lam = (on - share) / (on - off)
    np.testing.assert_allclose(targets[0, 0], lam * on + (1 - lam) * off, rtol=1e-5)
    np.testing.assert_allclose(targets[0, 4:], off, rtol=1e-5)


def test_odd_batch_leaves_its_middle_image_unmixed():
    images, labels, mixed, targets = mix(0.8, 0, count=5)
    np.testing.assert_allclose(mixed[2], images[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(targets[2], np.eye(8)[labels[2]], rtol=1e-6)
