"""The orientation in the EXIF data of image files, in TensorFlow, as OpenCV reads it."""

import tensorflow as tf

# Where EXIF data is looked for: in what a camera writes before the pixels.
_HEADER = 2**17
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_ORIENTATION, _ENTRY = 274, 12
_APP1 = b"\xff\xe1..Exif\0\0"
_PNG_CHUNK = b"eXIf"
_WEBP_CHUNK = b"EXIF"


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image.

    Args:
        pixels: (H, W, channels).
        orientation: the EXIF tag Orientation, an integer; other values than 2 to 8 change nothing.

    Returns:
        (H, W, channels), or (W, H, channels) for 5 to 8.
    """

    def flipped(image, axis, values):
        return tf.cond(
            tf.reduce_any(orientation == values), lambda: tf.reverse(image, [axis]), lambda: image
        )

    pixels = tf.cond(
        (orientation >= 5) & (orientation <= 8),
        lambda: tf.transpose(pixels, (1, 0, 2)),
        lambda: pixels,
    )
    return flipped(flipped(pixels, 0, [3, 4, 7, 8]), 1, [2, 3, 6, 7])


def jpeg_orientation(file: tf.Tensor) -> tf.Tensor:
    """Returns the orientation of a JPEG file, an integer; 1 without EXIF data."""
    header = tf.io.decode_raw(tf.strings.substr(file, 0, _HEADER), tf.uint8)
    return _orientation_behind(_APP1, header)


def png_orientation(file: tf.Tensor) -> tf.Tensor:
    """Returns the orientation of a PNG file, an integer; 1 without EXIF data."""
    header = tf.io.decode_raw(tf.strings.substr(file, 0, _HEADER), tf.uint8)
    return _orientation_behind(_PNG_CHUNK, header)


def webp_orientation(file: tf.Tensor) -> tf.Tensor:
    """Returns the orientation of a WebP file, an integer; 1 without EXIF data."""
    data = tf.io.decode_raw(file, tf.uint8)
    count = tf.size(data)

    def length(at):
        parts = tf.cast(data[at + 4 : at + 8], tf.int64) * [1, 2**8, 2**16, 2**24]
        # Chunks begin at even positions.
        return tf.reduce_sum(parts) + tf.reduce_sum(parts) % 2

    def is_before(at):
        return (at + 8 < tf.cast(count, tf.int64)) & tf.reduce_any(
            data[at : at + 4] != tf.constant(list(_WEBP_CHUNK), tf.uint8)
        )

    at = tf.while_loop(is_before, lambda at: (at + 8 + length(at),), (tf.constant(12, tf.int64),))
    data = data[at[0] + 8 : at[0] + 8 + _HEADER]
    is_marked = tf.reduce_all(data[:4] == tf.constant(list(b"Exif"), tf.uint8)[: tf.size(data)])
    return _orientation(tf.cond(is_marked, lambda: data[6:], lambda: data))


def _orientation_behind(start: bytes, data: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the EXIF data after some bytes, of which `.` stands for any."""
    last = tf.maximum(tf.size(data) - len(start), 0)
    found = tf.ones([last], tf.bool)
    for index, value in enumerate(start):
        if value != ord("."):
            found &= data[index : index + last] == value
    at = tf.argmax(tf.cast(found, tf.uint8), output_type=tf.int32)
    return tf.cond(
        tf.reduce_any(found), lambda: _orientation(data[at + len(start) :]), lambda: tf.constant(1)
    )


def _orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Returns the tag Orientation of the first directory of a TIFF file; 1 if there is none."""
    # Padded, so that a shorter one can be compared too.
    mark = tf.pad(tiff, [[0, 4]])[:4]
    is_little, is_big = (
        tf.reduce_all(mark == tf.constant(list(start), tf.uint8)) for start in _TIFF_STARTS
    )

    def number(parts):
        """Returns integers whose bytes are along the last axis."""
        size = parts.shape[-1]
        weights = tf.constant([256**index for index in range(size)], tf.int64)
        weights = tf.where(is_little, weights, weights[::-1])
        return tf.reduce_sum(tf.cast(parts, tf.int64) * weights, axis=-1)

    def at(position, size):
        return number(tf.ensure_shape(tiff[position : position + size], [size]))

    def read():
        start = at(4, 4)
        return tf.cond(start + 2 <= length, lambda: directory(start), lambda: tf.constant(1))

    def directory(start):
        entries = tf.minimum(at(start, 2), (length - start - 2) // _ENTRY)
        table = tf.reshape(tiff[start + 2 : start + 2 + entries * _ENTRY], (-1, _ENTRY))
        is_one = number(table[:, :2]) == _ORIENTATION
        values = tf.boolean_mask(number(table[:, 8:10]), is_one)
        return tf.cast(tf.concat([values, [1]], 0)[0], tf.int32)

    length = tf.size(tiff, tf.int64)
    return tf.cond((length >= 8) & (is_little | is_big), read, lambda: tf.constant(1))
