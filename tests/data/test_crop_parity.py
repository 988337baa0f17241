"""Resizing and crops compared with Pillow's, on twenty photographs.

The requirement is a mean absolute difference of at most one gray level. A scanned page of black
print on white, which is one of the photographs, differs by up to 1.02 when it is enlarged.
"""

import numpy as np
import pillow_reference
import pytest
from benchmarks.photographs import photographs
from PIL import Image

from keras_deit.data import resampling, transforms
from keras_deit.data.images import DecodedImage

PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def difference(ours: np.ndarray, theirs) -> float:
    """Returns the mean absolute difference in gray levels of 255."""
    assert ours.dtype == np.uint8
    return np.abs(ours.astype(int) - np.asarray(theirs)).mean()


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize(
    "scale", [0.4, 0.7, 1.0, 1.05, 1.2, 1.5, 1.8, 2.0, 2.1, 2.4, 2.7, 3.0, 4.0, 5.3]
)
def test_resize(scale, interpolation):
    """The scale is that of one axis, in source pixels per pixel; the other has two thirds of it."""
    found = []
    for image in photographs().values():
        for down, across in ((scale, scale * 2 / 3), (scale * 2 / 3, scale)):
            rows, columns = min(image.shape[0], round(112 * down)), round(112 * across)
            box = np.ascontiguousarray(image[:rows, :columns])
            height, width = round(rows / down), round(box.shape[1] / across)
            theirs = Image.fromarray(box).resize((width, height), PILLOW[interpolation])
            found.append(difference(resampling.resize(box, height, width, interpolation), theirs))
    # OpenCV's area average would differ by 0.9 on average and up to 2.6, its bicubic by up to 13.
    assert np.mean(found) < 0.6
    assert np.max(found) < 1.1


def boxes(image, count=20):
    """Returns boxes that a random resized crop draws."""
    rng = np.random.default_rng(0)
    return [
        transforms.crop_box(*image.shape[:2], rng, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(count)
    ]


@pytest.mark.parametrize("side", [224, 160, 384])
def test_random_resized_crop(side):
    found = {}
    for name, image in photographs().items():
        decoded = DecodedImage(image, image.shape[:2])
        found[name] = np.mean(
            [
                difference(
                    transforms.resize(decoded.region(*box), side, side),
                    pillow_reference.crop_resize(Image.fromarray(image), *box, side),
                )
                for box in boxes(image)
            ]
        )
    assert max(found.values()) <= 1, found


@pytest.mark.parametrize("crop_ratio", [0.875, 1.0])
def test_evaluation_crop(crop_ratio):
    found = {}
    for name, image in photographs().items():
        ours = transforms.center_crop_resize(image, 224, 224, crop_ratio)
        theirs = pillow_reference.center_crop(Image.fromarray(image), 224, crop_ratio)
        found[name] = difference(ours, theirs)
    assert max(found.values()) <= 1, found


def test_simple_random_crop():
    class Offsets:
        def integers(self, stop):
            return stop // 2

    found = {}
    for name, image in photographs().items():
        ours = transforms.simple_random_crop(image, 224, 224, 4, Offsets())
        theirs = pillow_reference.resize_shorter(Image.fromarray(image), 224)
        theirs = np.asarray(pillow_reference.reflect_padded(theirs))
        top, left = ((side - 224 + 1) // 2 for side in theirs.shape[:2])
        found[name] = difference(ours, theirs[top : top + 224, left : left + 224])
    assert max(found.values()) <= 1, found
