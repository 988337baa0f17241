"""The evaluation view of `keras_deit.data`, in TensorFlow, so that a SavedModel can hold it.

It follows OpenCV's definitions and the low-pass filter that `keras_deit.data.resampling` puts in
front of them, which the student was trained and measured with: bicubic with a = -0.75
(TensorFlow's own bicubic has a = -0.5), and JPEG decoded with the accurate integer transform. What
is left is that OpenCV rounds to whole gray levels at the end and this does not: 0.25 of 255 levels
on average. `savedmodels/README.md` has the measured differences.
"""

import numpy as np
import tensorflow as tf

from keras_deit.core.errors import unknown_name
from keras_deit.data.resampling import MAX_SCALE, SCALE_STEPS, lowpass


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """One JPEG or PNG file, a scalar string, to RGB pixels in [0, 1], float32 (H, W, 3).

    Bytes that are neither raise TensorFlow's `InvalidArgumentError`.
    """
    # The op reads PNG too. `tf.io.decode_image` decodes JPEG with the fast transform, which is
    # one gray level off on average.
    pixels = tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.image.convert_image_dtype(pixels, tf.float32)


def evaluation_view(
    pixels: tf.Tensor, height: int, width: int, crop_ratio: float, interpolation: str
) -> tf.Tensor:
    """Resizes with the aspect ratio kept and cuts the center out.

    Args:
        pixels: float32 in [0, 1], (B, H, W, 3), of any H and W.
        height, width: of the result.
        crop_ratio: in (0, 1], the share of the resized side that is kept.
        interpolation: "bicubic" or "bilinear".

    Returns:
        float32 in [0, 1], (B, height, width, 3). Where nothing has to be resized these are the
        very numbers of `pixels`.

    Raises:
        InputError: unknown interpolation.
    """
    if interpolation not in _KERNELS:
        raise unknown_name("interpolation", interpolation, _KERNELS)
    size = tf.shape(pixels)[1:3]
    cover = _cover(size, int(height / crop_ratio), int(width / crop_ratio))
    # The op is the area average that OpenCV names INTER_AREA.
    reduced = tf.minimum(size, MAX_SCALE * cover)
    pixels = tf.image.resize(pixels, reduced, "area")
    pixels = _whole_levels(pixels, tf.reduce_any(reduced != size))
    down, across = (_taps(reduced[axis] / cover[axis], interpolation) for axis in range(2))
    pixels = _filter(_filter(pixels, 1, down), 2, across)
    pixels = _whole_levels(pixels, tf.reduce_max(down) + tf.reduce_max(across) < 2)
    kernel, taps = _KERNELS[interpolation]
    pixels = _sample(pixels, 1, cover[0], height, kernel, taps)
    pixels = _sample(pixels, 2, cover[1], width, kernel, taps)
    return tf.clip_by_value(pixels, 0.0, 1.0)


def _cover(size: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The smallest (height, width) with the aspect ratio of `size` that covers height x width."""
    rows, columns = size[0], size[1]
    return tf.where(
        rows * width <= columns * height,
        tf.stack([height, height * columns // rows]),
        tf.stack([width * rows // columns, width]),
    )


def _whole_levels(pixels: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
    """What OpenCV leaves of a step on uint8, if it did any."""
    rounded = tf.clip_by_value(tf.round(pixels * 255), 0, 255) / 255
    return tf.where(changed, rounded, pixels)


def _filter(pixels: tf.Tensor, axis: int, taps: tf.Tensor) -> tf.Tensor:
    """Correlates along an axis, whose ends are repeated."""
    last = tf.shape(pixels)[axis] - 1
    result = tf.zeros([])
    for place in range(taps.shape[0]):
        index = tf.range(last + 1) + place - taps.shape[0] // 2
        result += taps[place] * tf.gather(pixels, tf.clip_by_value(index, 0, last), axis=axis)
    return result


def _taps(scale: tf.Tensor, interpolation: str) -> tf.Tensor:
    """The low-pass filter for a scale that is known only when an image comes."""
    step = tf.cast(tf.round(tf.maximum(scale, 1) * SCALE_STEPS), tf.int32) - SCALE_STEPS
    # The first filter is none; the second one is for an axis that is enlarged.
    return tf.constant(_filters(interpolation))[tf.where(scale == 1, 0, step + 1)]


def _filters(interpolation: str) -> np.ndarray:
    """The filters for the scales 1, 1 and below, and all steps above, padded to one length."""
    above = range(SCALE_STEPS + 1, MAX_SCALE * SCALE_STEPS + 1)
    scales = (1, 0.5, *(step / SCALE_STEPS for step in above))
    filters = [lowpass(interpolation, scale) for scale in scales]
    longest = max(map(len, filters))
    return np.stack([np.pad(taps, (longest - len(taps)) // 2) for taps in filters])


def _sample(
    pixels: tf.Tensor, axis: int, resized: tf.Tensor, side: int, kernel, taps: range
) -> tf.Tensor:
    """The `side` central lines along `axis` of `pixels` enlarged to `resized` lines.

    Only those are computed: a long, narrow image would grow to a size that no memory holds.
    Without enlargement every weight is 0 or 1.
    """
    lines = tf.shape(pixels)[axis]
    first = tf.round((resized - side) / 2)  # half to even, as Python's `round`
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
    return 1 - distance


def _cubic(distance: tf.Tensor) -> tf.Tensor:
    """Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15's
    family, with OpenCV's a = -0.75."""
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return tf.where(distance <= 1, near, far)


_KERNELS = {"bicubic": (_cubic, range(-1, 3)), "bilinear": (_triangle, range(2))}
