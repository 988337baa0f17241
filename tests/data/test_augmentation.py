"""Augmentation: checks of its fields, its JSON form, and the effect of every field."""

import dataclasses
import json

import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import transforms
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.operations import apply
from keras_deit.data.views import augment_image, draw_steps

FORMAT = ImageFormat(16, 12)


def photo(height=40, width=30):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 6, columns * 8, rows + columns], -1).astype(np.uint8)


def views(augmentation, count=200, image=None):
    image = photo() if image is None else image
    rng = np.random.default_rng(0)
    return np.stack([augment_image(image, FORMAT, augmentation, rng) for _ in range(count)])


def test_round_trip_through_json():
    augmentation = Augmentation(
        crop="random_crop",
        crop_scale=(0.2, 0.9),
        mixup_alpha=0.0,
        auto_augment="rand-m9-mstd0.5-inc1",
        erase_area=(0.1, 0.2),
        repeated_augmentation=3,
    )
    fields = json.loads(json.dumps(dataclasses.asdict(augmentation)))
    assert Augmentation(**fields) == augmentation
    assert hash(Augmentation(**fields)) == hash(augmentation)


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("crop", "center", "crop 'center'"),
        ("interpolation", "cubic", "bicubic"),
        ("crop_padding", -1, "`crop_padding`"),
        ("crop_padding", 1.5, "1.5"),
        ("crop_scale", (0.0, 1.0), "`crop_scale`"),
        ("crop_scale", (0.5, 1.1), "`crop_scale`"),
        ("crop_scale", (0.9, 0.5), "`crop_scale`"),
        ("crop_aspect", (1.0,), "`crop_aspect`"),
        ("crop_aspect", (0.0, 2.0), "`crop_aspect`"),
        ("flip_probability", 1.1, "`flip_probability`"),
        ("mixup_alpha", -0.1, "`mixup_alpha`"),
        ("cutmix_alpha", float("nan"), "`cutmix_alpha`"),
        ("mix_switch_probability", -0.5, "`mix_switch_probability`"),
        ("label_smoothing", 1.0, "`label_smoothing`"),
        ("auto_augment", "rand-m9-x1", "section 'x1'"),
        ("color_jitter", -0.1, "`color_jitter`"),
        ("erase_probability", 2, "`erase_probability`"),
        ("erase_area", (0.0, 0.3), "`erase_area`"),
        ("erase_aspect", (2.0, 0.3), "`erase_aspect`"),
        ("erase_count", 0, "`erase_count`"),
        ("mix_probability", -1, "`mix_probability`"),
        ("mix_mode", "pair", "mix_mode 'pair'"),
        ("repeated_augmentation", 0, "`repeated_augmentation`"),
        ("geometric_interpolation", "area", "geometric interpolation 'area'"),
        ("geometric_fill", "white", "gray"),
        # Only rotation, shear and translation have it.
        ("interpolation", "nearest", "interpolation 'nearest'"),
    ],
)
def test_invalid_values_are_rejected(field, value, part):
    with pytest.raises(InputError) as caught:
        Augmentation(**{field: value})
    assert part in str(caught.value)


def test_the_old_spelling_of_a_gray_fill_is_still_accepted():
    old = Augmentation(geometric_fill="grey")
    assert old == Augmentation(geometric_fill="gray")
    assert dataclasses.asdict(old)["geometric_fill"] == "gray"


def test_no_crop_and_no_flip_is_the_resized_image():
    plain = views(Augmentation(crop="none", flip_probability=0.0), 5)
    expected = transforms.resize(photo(), 16, 12)
    np.testing.assert_array_equal(plain, np.broadcast_to(expected, plain.shape))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flip_probability(probability):
    flipped = views(Augmentation(crop="none", flip_probability=probability), 600)
    upright = transforms.resize(photo(), 16, 12)
    flipped_fraction = np.mean([not np.array_equal(view, upright) for view in flipped])
    assert abs(flipped_fraction - probability) <= (0 if probability in (0, 1) else 0.06)
    mirrored = [view for view in flipped if not np.array_equal(view, upright)]
    for view in mirrored:
        np.testing.assert_array_equal(view, upright[:, ::-1])


def test_random_crop_resizes_then_pads_with_zeros():
    crops = views(Augmentation(crop="random_crop", crop_padding=3, flip_probability=0.0))
    padded = np.pad(transforms.resize(photo(), 16, 12), ((3, 3), (3, 3), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 12, 3))[:, :, 0]
    for crop in crops:
        assert (windows == crop).all((2, 3, 4)).any()
    assert len(np.unique(crops, axis=0)) > 40  # of 49 places


def test_random_resized_crop_follows_scale_and_ratio():
    whole = Augmentation(crop_scale=(1.0, 1.0), crop_aspect=(0.75, 0.75), flip_probability=0.0)
    np.testing.assert_array_equal(views(whole, 3)[2], transforms.resize(photo(), 16, 12))
    small = views(dataclasses.replace(whole, crop_scale=(0.1, 0.1)))
    # The first channel grows by 6 per row: what a view spans tells the height of its box.
    span = (small[..., 0].max((1, 2)).astype(int) - small[..., 0].min((1, 2))) / 6
    box_height = round((0.1 * 40 * 30 / 0.75) ** 0.5)
    np.testing.assert_allclose(span, box_height - 1, atol=1.1)
    wide = views(dataclasses.replace(whole, crop_scale=(0.1, 0.1), crop_aspect=(3.0, 3.0)))
    assert wide[..., 0].max((1, 2)).astype(int).mean() - wide[..., 0].min((1, 2)).mean() < 40


def test_simple_random_crop_keeps_the_aspect_ratio_and_moves():
    crops = views(Augmentation(crop="simple_random_crop", crop_padding=2, flip_probability=0.0))
    resized = transforms.resize(photo(), 16, 12)  # 40 x 30 as it is
    padded = np.pad(resized, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (16, 12, 3))[:, :, 0]
    for crop in crops:
        assert (windows == crop).all((2, 3, 4)).any()
    assert len(np.unique(crops, axis=0)) > 20  # of 25 places


@pytest.mark.parametrize("field", ["interpolation", "geometric_interpolation"])
def test_interpolation(field):
    rotations = Augmentation(crop="none", flip_probability=0.0, auto_augment="original")
    bicubic, bilinear = (
        views(dataclasses.replace(rotations, **{field: name}), 20, photo(5, 5))
        for name in ("bicubic", "bilinear")
    )
    assert not np.array_equal(bicubic, bilinear)


PLAIN = Augmentation(crop="none", flip_probability=0.0)


@pytest.mark.parametrize("policy", ["none", "3a"])
def test_color_jitter_follows_three_augment_and_works_alone(policy):
    augmentation = dataclasses.replace(PLAIN, auto_augment=policy, color_jitter=0.3)
    rng = np.random.default_rng(0)
    names = [step.operation for step in draw_steps(augmentation, rng)]
    assert set(names[-3:]) == {"Brightness", "Contrast", "Color"}
    assert len(names) == (3 if policy == "none" else 4)


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "original"])
def test_color_jitter_is_without_effect_beside_rand_augment_and_auto_augment(policy):
    augmentation = dataclasses.replace(PLAIN, auto_augment=policy)
    jittered = dataclasses.replace(augmentation, color_jitter=0.3)
    np.testing.assert_array_equal(views(augmentation), views(jittered))


def test_the_policy_comes_after_crop_and_flip():
    augmentation = Augmentation(auto_augment="rand-m9-n3-p1-inc1")
    plain = dataclasses.replace(augmentation, auto_augment="none")
    for seed in range(20):
        found = augment_image(photo(), FORMAT, augmentation, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        view = augment_image(photo(), FORMAT, plain, rng)
        np.testing.assert_array_equal(found, apply(view, draw_steps(augmentation, rng)))


def test_only_the_operations_drawn_are_computed(monkeypatch):
    computed = []

    def record(image, steps, interpolation, fill):
        computed.extend(steps)
        return image

    monkeypatch.setattr("keras_deit.data.views.apply", record)
    views(dataclasses.replace(PLAIN, auto_augment="rand-m9-mstd0.5-inc1"), 400)
    assert 300 < len(computed) < 500  # two draws for an image, half of them applied
