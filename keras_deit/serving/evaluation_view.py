"""The evaluation view of `keras_deit.data` in TensorFlow, for a SavedModel.

It has the definitions of OpenCV and the low-pass filter of `keras_deit.data.resampling`, with which
the model was trained and evaluated: bicubic interpolation with a = -0.75 (TensorFlow's bicubic has
a = -0.5), and a result of whole gray levels. The measured differences are in
`savedmodels/README.md`.
"""

import numpy as np
import tensorflow as tf

from keras_deit.core.errors import unknown_name
from keras_deit.data.resampling import MAX_SCALE, SCALE_STEPS, lowpass


def evaluation_view(
    pixels: tf.Tensor, height: int, width: int, crop_ratio: float, interpolation: str
) -> tf.Tensor:
    """Resizes images keeping the aspect ratio and takes the center crop.

    Args:
        pixels: float32 in [0, 1] or uint8, (B, H, W, 3), of any H and W.
        height, width: the size of the result in pixels.
        crop_ratio: the fraction of the resized side that the crop keeps, in (0, 1].
        interpolation: "bicubic" or "bilinear".

    Returns:
        float32 in [0, 1], (B, height, width, 3): whole gray levels, multiples of 1/255. If the
        images need no resizing, the values are exactly those of `pixels`.

    Raises:
        InputError: the interpolation is unknown.
    """
    if interpolation not in _KERNELS:
        raise unknown_name("interpolation", interpolation, _KERNELS)
    size = tf.shape(pixels)[1:3]
    covering = _covering_size(size, int(height / crop_ratio), int(width / crop_ratio))
    view = tf.cond(
        tf.reduce_any(covering != size),
        lambda: _resized(pixels, size, covering, (height, width), interpolation) * (1 / 255),
        lambda: _cropped(pixels, height, width),
    )
    return tf.ensure_shape(view, (None, height, width, 3))


def _cropped(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the center of images that are as large as they should be, in [0, 1]."""
    size = tf.shape(pixels)[1:3]
    first = tf.cast(tf.round((size - tf.stack([height, width])) / 2), tf.int32)
    view = pixels[:, first[0] :][:, :height, first[1] :][:, :, :width]
    return tf.image.convert_image_dtype(view, tf.float32)


def _resized(pixels, size, covering, sides, interpolation) -> tf.Tensor:
    """Returns the center of the resized images in gray levels, float32 from 0 to 255.

    In these units sums of whole levels are mostly exact, so that they are rounded to the same
    levels wherever they are computed.
    """
    if pixels.dtype != tf.uint8:
        # Whole levels become whole again.
        pixels = tf.round(pixels * (255 * 256)) / 256
    # The op computes the same area average as OpenCV's INTER_AREA. A large image of 8 bits becomes
    # float32 only here.
    reduced = tf.minimum(size, MAX_SCALE * covering)
    pixels = tf.image.resize(pixels, reduced, "area")
    pixels = _round_to_integers(pixels, tf.reduce_any(reduced != size))
    down, across = (_taps(reduced[axis] / covering[axis], interpolation) for axis in range(2))
    pixels = _filter(_filter(pixels, 1, down), 2, across)
    pixels = _round_to_integers(pixels, tf.reduce_max(down) + tf.reduce_max(across) < 2)
    kernel, taps = _KERNELS[interpolation]
    for axis, side in enumerate(sides):
        pixels = _sample(pixels, axis + 1, covering[axis], side, kernel, taps)
    return _round_to_integers(pixels, tf.constant(True))


def _covering_size(size: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the smallest size with the aspect ratio of `size` that covers (height, width)."""
    rows, columns = size[0], size[1]
    return tf.where(
        rows * width <= columns * height,
        tf.stack([height, height * columns // rows]),
        tf.stack([width * rows // columns, width]),
    )


def _round_to_integers(pixels: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
    """Rounds as OpenCV does after an operation on uint8, if it changed anything."""
    return tf.where(changed, tf.clip_by_value(tf.round(pixels), 0, 255), pixels)


def _filter(pixels: tf.Tensor, axis: int, taps: tf.Tensor) -> tf.Tensor:
    """Applies a filter along an axis, whose first and last pixels are repeated."""
    last = tf.shape(pixels)[axis] - 1
    result = tf.zeros([])
    for tap in range(taps.shape[0]):
        index = tf.range(last + 1) + tap - taps.shape[0] // 2
        result += taps[tap] * tf.gather(pixels, tf.clip_by_value(index, 0, last), axis=axis)
    return result


def _taps(scale: tf.Tensor, interpolation: str) -> tf.Tensor:
    """Returns the low-pass filter for a scale that is known only when the graph runs."""
    step = tf.cast(tf.round(tf.maximum(scale, 1) * SCALE_STEPS), tf.int32) - SCALE_STEPS
    # The first filter is the identity; the second one is for an axis that is enlarged.
    return tf.constant(_filters(interpolation))[tf.where(scale == 1, 0, step + 1)]


def _filters(interpolation: str) -> np.ndarray:
    """Returns the filters for scale 1, scales below 1 and all steps above, padded to one length."""
    above = range(SCALE_STEPS + 1, MAX_SCALE * SCALE_STEPS + 1)
    scales = (1, 0.5, *(step / SCALE_STEPS for step in above))
    filters = [lowpass(interpolation, scale) for scale in scales]
    longest = max(map(len, filters))
    return np.stack([np.pad(taps, (longest - len(taps)) // 2) for taps in filters])


def _sample(
    pixels: tf.Tensor, axis: int, resized: tf.Tensor, side: int, kernel, taps: range
) -> tf.Tensor:
    """Resizes an axis and returns the center crop along it.

    Only the pixels of the crop are computed, because resizing a long, narrow image could need more
    memory than there is. If the length does not change, every weight is 0 or 1.

    Args:
        pixels: float32 (B, H, W, 3).
        axis: 1 for the height or 2 for the width.
        resized: the length of the axis after resizing.
        side: the length of the crop.
        kernel: the weight of a pixel by its distance.
        taps: the positions of the pixels that have a weight.
    """
    lines = tf.shape(pixels)[axis]
    first = tf.round((resized - side) / 2)  # half to even, like Python's `round`
    centers = first + tf.range(side, dtype=tf.float64) + 0.5
    positions = centers * (lines / resized) - 0.5
    below = tf.floor(positions)
    result = tf.zeros([])
    for tap in taps:
        index = tf.clip_by_value(tf.cast(below, tf.int32) + tap, 0, lines - 1)
        weight = tf.cast(kernel(tf.abs(positions - below - tap)), tf.float32)
        shape = [side, 1, 1] if axis == 1 else [side, 1]
        result += tf.gather(pixels, index, axis=axis) * tf.reshape(weight, shape)
    return result


def _triangle(distance: tf.Tensor) -> tf.Tensor:
    """Returns the weight of a pixel at a distance below 1 in linear interpolation."""
    return 1 - distance


def _cubic(distance: tf.Tensor) -> tf.Tensor:
    """Returns the weight of a pixel at a distance below 2 in cubic interpolation.

    It is the family of equation 15 in Keys 1981, "Cubic convolution interpolation for digital image
    processing", with OpenCV's a = -0.75.
    """
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return tf.where(distance <= 1, near, far)


_KERNELS = {"bicubic": (_cubic, range(-1, 3)), "bilinear": (_triangle, range(2))}
