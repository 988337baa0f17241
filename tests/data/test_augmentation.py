"""A recipe's augmentation: its checks, its JSON form, and that every field has its effect."""

import dataclasses
import json

import numpy as np
import pytest

from keras_deit.data import transforms
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.views import augment_image
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

FORMAT = ImageFormat(16, 12)


def photo(height=40, width=30):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 6, columns * 8, rows + columns], -1).astype(np.uint8)


def views(augmentation, count=200, image=None):
    image = photo() if image is None else image
    rng = np.random.default_rng(0)
    return np.stack([augment_image(image, FORMAT, augmentation, rng) for _ in range(count)])


def test_round_trip_through_json():
    augmentation = Augmentation(crop="random_crop", crop_scale=(0.2, 0.9), mixup_alpha=0.0)
    fields = json.loads(json.dumps(dataclasses.asdict(augmentation)))
    assert Augmentation(**fields) == augmentation
    assert hash(Augmentation(**fields)) == hash(augmentation)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("crop", "centre", "Unknown crop 'centre'"),
        ("interpolation", "cubic", "Unknown interpolation 'cubic'. Close names: bicubic"),
        ("crop_padding", -1, "`crop_padding` should be a whole number"),
        ("crop_padding", 1.5, "Received: 1.5"),
        ("crop_scale", (0.0, 1.0), "`crop_scale` should be two shares"),
        ("crop_scale", (0.5, 1.1), "`crop_scale` should be two shares"),
        ("crop_scale", (0.9, 0.5), "`crop_scale` should be two shares"),
        ("crop_aspect", (1.0,), "`crop_aspect` should be two ratios"),
        ("crop_aspect", (0.0, 2.0), "`crop_aspect` should be two ratios"),
        ("flip_probability", 1.1, "`flip_probability` should be in"),
        ("mixup_alpha", -0.1, "`mixup_alpha` should be 0"),
        ("cutmix_alpha", float("nan"), "`cutmix_alpha` should be 0"),
        ("mix_switch_probability", -0.5, "`mix_switch_probability` should be in"),
        ("label_smoothing", 1.0, "`label_smoothing` should be at least 0 and below 1"),
    ],
)
def test_values_that_cannot_be(field, value, message):
    with pytest.raises(InputError) as caught:
        Augmentation(**{field: value})
    assert message in str(caught.value)


def test_no_crop_and_no_flip_is_the_resized_image():
    plain = views(Augmentation(crop="none", flip_probability=0.0), 5)
    expected = transforms.resize(photo(), 16, 12)
    np.testing.assert_array_equal(plain, np.broadcast_to(expected, plain.shape))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flip_probability(probability):
    flipped = views(Augmentation(crop="none", flip_probability=probability), 600)
    upright = transforms.resize(photo(), 16, 12)
    share = np.mean([not np.array_equal(view, upright) for view in flipped])
    assert abs(share - probability) <= (0 if probability in (0, 1) else 0.06)
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


def test_interpolation_is_used_for_enlarging():
    bicubic, bilinear = (
        views(Augmentation(crop="none", interpolation=name), 1, photo(5, 5))
        for name in ("bicubic", "bilinear")
    )
    assert not np.array_equal(bicubic, bilinear)
