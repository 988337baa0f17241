"""The evaluation view of `keras_deit.data`, in TensorFlow, so that a SavedModel can hold it.

It follows OpenCV's definitions, which the student was trained and measured with: shrinking
averages areas, enlarging is bilinear, or bicubic with a = -0.75 (TensorFlow's own bicubic has
a = -0.5), and JPEG is decoded with the accurate integer transform. What is left is that OpenCV
rounds to whole grey levels after a resize and this does not: 0.25 of 255 levels on average.
`savedmodels/README.md` has the measured differences.
"""

import tensorflow as tf

from keras_deit.errors import unknown_name


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """One JPEG or PNG file, a scalar string, to RGB pixels in [0, 1], float32 (H, W, 3).

    Bytes that are neither raise TensorFlow's `InvalidArgumentError`.
    """
    # The op reads PNG too. `tf.io.decode_image` decodes JPEG with the fast transform, which is
    # one grey level off on average.
    pixels = tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.image.convert_image_dtype(pixels, tf.float32)


def evaluation_view(
    pixels: tf.Tensor, height: int, width: int, crop_ratio: float, interpolation: str
) -> tf.Tensor:
    """Resizes with the aspect ratio kept and cuts the centre out.

    Args:
        pixels: float32 in [0, 1], (B, H, W, 3), of any H and W.
        height, width: of the result.
        crop_ratio: in (0, 1], the share of the resized side that is kept.
        interpolation: "bicubic" or "bilinear", used where the image is enlarged.

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
    pixels = tf.image.resize(pixels, tf.minimum(size, cover), "area")
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


def _sample(
    pixels: tf.Tensor, axis: int, resized: tf.Tensor, side: int, kernel, taps: range
) -> tf.Tensor:
    """The `side` central lines along `axis` of `pixels` enlarged to `resized` lines.

    Only those are computed: a long, narrow image would grow to a size that no memory holds.
    Without enlargement every weight is 0 or 1.
    """
    lines = tf.shape(pixels)[axis]
    first = tf.round((resized - side) / 2)  # half to even, as Python's `round`
    centres = first + tf.range(side, dtype=tf.float64) + 0.5
    positions = centres * (lines / resized) - 0.5
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
