"""Decoding of image files in TensorFlow, for a SavedModel, as `keras_deit.data` does it by OpenCV.

Every operation is one that a stock TF Serving has. What each kind of file gives is the table in
`docs/serving.md`; the pixels are the same as OpenCV's, where it does not say otherwise.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_deit.data import MAX_IMAGE_PIXELS
from keras_deit.serving.orientation import (
    jpeg_orientation,
    png_orientation,
    turn_upright,
    webp_orientation,
)

_NOT_AN_IMAGE = "The bytes are not a JPEG, PNG, GIF, BMP or WebP file."


def decode(
    file: tf.Tensor, max_pixels: int = MAX_IMAGE_PIXELS, exif_orientation: bool = True
) -> tf.Tensor:
    """Decodes an image file; the first image of an animation.

    Args:
        file: the bytes of a JPEG, PNG, GIF, BMP or WebP file, a scalar string.
        max_pixels: the most pixels that the header of the file may declare.
        exif_orientation: whether to turn a photograph upright as its EXIF data says.

    Returns:
        RGB pixels, uint8 (H, W, 3).

    Raises:
        tf.errors.OpError: the bytes are no such file, are damaged, or declare too many pixels.
    """
    # With so many bytes that a short file can be compared too.
    head = tf.strings.join([_part(file, 0, 12), b"\0" * 12])
    cases = [
        (
            (_part(head, 0, len(start)) == start) & (_part(head, 8, len(inner)) == inner),
            _Reader(file, max_pixels, exif_orientation, *functions),
        )
        for start, inner, *functions in _FORMATS
    ]

    def fail():
        is_image = tf.debugging.Assert(False, [_NOT_AN_IMAGE])
        with tf.control_dependencies([] if is_image is None else [is_image]):
            return tf.zeros((0, 0, 3), tf.uint8)

    pixels = tf.case(cases, default=fail, exclusive=True)
    return tf.ensure_shape(pixels, (None, None, 3))


def decode_views(
    files: tf.Tensor,
    view: Callable[[tf.Tensor], tf.Tensor],
    shape: tuple,
    max_pixels: int,
    exif_orientation: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes files, of which any may be broken, and takes a view of each image.

    A decoding operation raises, which would fail the whole graph. A dataset can leave out the
    elements that raise, whatever the reason.

    Args:
        files: the bytes of files, strings (B,).
        view: returns the view of an image, given uint8 (H, W, 3).
        shape: the shape of a view.
        max_pixels, exif_orientation: as for `decode`.

    Returns:
        The views, float32 (B, *shape), zeros where a file cannot be decoded; and where it can, bool
        (B,).
    """
    count = tf.shape(files)[0]
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(count), files))
    views = numbered.map(
        lambda index, file: (index, view(decode(file, max_pixels, exif_orientation))),
        num_parallel_calls=_PARALLEL,
        deterministic=False,
    )
    # One more, because a batch without any element could not be taken.
    last = tf.data.Dataset.from_tensors((count, tf.zeros(shape)))
    together = views.ignore_errors().concatenate(last).batch(tf.cast(count + 1, tf.int64))
    indices, found = together.get_single_element()
    is_file = indices < count
    indices, found = tf.boolean_mask(indices, is_file)[:, None], tf.boolean_mask(found, is_file)
    valid = tf.scatter_nd(indices, tf.ones(tf.shape(indices)[:1], tf.int32), [count]) > 0
    return tf.scatter_nd(indices, found, [count, *shape]), valid


# So many files of a request are decoded at once; each may need the memory of the largest image.
_PARALLEL = 4


class _Reader:
    """Checks the size that a file declares, then decodes it and turns it upright."""

    def __init__(self, file, max_pixels, exif_orientation, size, decode, orientation=None):
        self._file, self._max_pixels = file, max_pixels
        self._size, self._decode = size, decode
        self._orientation = orientation if exif_orientation else None

    def __call__(self) -> tf.Tensor:
        height, width = (tf.cast(side, tf.int64) for side in self._size(self._file))
        with _checked(
            (height > 0, "The file declares no size."),
            (width > 0, "The file declares no size."),
            (height * width <= self._max_pixels, "The image has too many pixels."),
        ):
            file = tf.identity(self._file)
        pixels = self._decode(file)
        if self._orientation is None:
            return pixels
        return turn_upright(pixels, self._orientation(file))


def _checked(*conditions: tuple[tf.Tensor, str]):
    """Returns a context in which operations run after these conditions have been checked."""
    checks = [tf.debugging.Assert(condition, [message]) for condition, message in conditions]
    # Eagerly an assertion has been made, and is None.
    return tf.control_dependencies([check for check in checks if check is not None])


def _part(text: tf.Tensor, start, length) -> tf.Tensor:
    """Returns the bytes from a position on."""
    return tf.strings.substr(text, tf.cast(start, tf.int64), tf.cast(length, tf.int64))


def _number(file: tf.Tensor, at, dtype: tf.DType, little_endian: bool = True) -> tf.Tensor:
    """Returns the integer at a position of a file, int64."""
    data = _part(file, at, dtype.size)
    return tf.cast(tf.io.decode_raw(data, dtype, little_endian)[0], tf.int64)


def _jpeg_size(file: tf.Tensor):
    return tf.unstack(tf.io.extract_jpeg_shape(file)[:2])


def _decode_jpeg(file: tf.Tensor) -> tf.Tensor:
    # `tf.io.decode_image` would take the fast transform, which is one gray level off on average.
    return tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")


def _png_size(file: tf.Tensor):
    return _number(file, 20, tf.int32, False), _number(file, 16, tf.int32, False)


def _decode_png(file: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG file, also of 16 bits a channel; of an animation its still image."""
    return tf.io.decode_png(file, channels=3)


def _gif_size(file: tf.Tensor):
    return _number(file, 8, tf.uint16), _number(file, 6, tf.uint16)


def _decode_gif(file: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame of a GIF file on its canvas.

    The frame is written as a file of its own: TensorFlow would take memory for all frames, returns
    a frame without the rest of its canvas, and shows the color below a transparent pixel. There and
    around the frame is the background's color, which is black without a global palette.
    """
    data = tf.io.decode_raw(file, tf.uint8)
    has_palette, palette = _palette(data, 10, 13)
    at, transparent = _gif_extensions(data, 13 + palette)
    with _checked((_byte_at(data, at) == 0x2C, "The file has no frame.")):
        left, top, width, height = (_number(file, at + 1 + 2 * i, tf.uint16) for i in range(4))
    canvas_height, canvas_width = _gif_size(file)
    down, across = canvas_height - top - height, canvas_width - left - width
    with _checked(((down >= 0) & (across >= 0), "The frame is larger than its canvas.")):
        at = tf.identity(at)
    has_own, own = _palette(data, at + 9, at + 10)
    end = _gif_blocks(data, at + 11 + own)
    background = tf.cond(
        has_palette,
        lambda: _part(file, 13 + 3 * _byte_at(data, 11), 3),
        lambda: tf.constant(b"\0\0\0"),
    )
    start = tf.where(has_own, at + 10, 13)
    colors = _part(file, start, tf.where(has_own, own, palette))
    colors = tf.cond(
        (transparent >= 0) & (3 * transparent + 3 <= _length(colors)),
        lambda: _replaced(colors, 3 * transparent, background),
        lambda: colors,
    )
    frame = tf.strings.join(
        [
            _part(file, 0, 6),
            _part(file, at + 5, 4),
            _byte(0x80 | (tf.where(has_own, _byte_at(data, at + 9), _byte_at(data, 10)) & 7)),
            b"\0\0",
            colors,
            b",\0\0\0\0",
            _part(file, at + 5, 4),
            _byte(_byte_at(data, at + 9) & 0x40),  # Whether its rows are interlaced.
            _part(file, at + 10 + own, end - at - 10 - own),
            b";",
        ]
    )
    pixels = tf.io.decode_gif(frame)[0]
    beyond = [[top, down], [left, across], [0, 0]]
    inside = tf.pad(tf.ones_like(pixels[..., :1]), beyond)
    color = tf.io.decode_raw(background, tf.uint8)
    return tf.where(inside > 0, tf.pad(pixels, beyond), color)


def _palette(data: tf.Tensor, flags_at: tf.Tensor, start):
    """Returns whether the flags of a GIF say that there is a palette, and its length in bytes."""
    flags = _byte_at(data, flags_at)
    exists = flags & 0x80 > 0
    length = tf.where(exists, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags & 7), 0)
    with _checked((start + length <= tf.size(data, tf.int64), "The file ends in a palette.")):
        return exists, tf.identity(length)


def _byte_at(data: tf.Tensor, at) -> tf.Tensor:
    return tf.cast(data[at], tf.int64)


def _gif_extensions(data: tf.Tensor, at: tf.Tensor):
    """Returns where the blocks before the first frame end, and its transparent index or -1."""

    def extension(at, transparent):
        is_control = _byte_at(data, at + 1) == 0xF9
        index = tf.cond(
            is_control,
            lambda: tf.where(_byte_at(data, at + 3) & 1 > 0, _byte_at(data, at + 6), -1),
            lambda: transparent,
        )
        return _gif_blocks(data, at + 2), index

    minus_one = tf.constant(-1, tf.int64)
    return tf.while_loop(lambda at, _: _byte_at(data, at) == 0x21, extension, (at, minus_one))


def _gif_blocks(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Returns where a row of data blocks ends, after its terminator."""
    end = tf.while_loop(
        lambda at: _byte_at(data, at) > 0, lambda at: (at + 1 + _byte_at(data, at),), (at,)
    )[0]
    return end + 1


def _length(text: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(text), tf.int64)


def _byte(value: tf.Tensor) -> tf.Tensor:
    """Returns an integer from 0 to 255 as a string of one byte."""
    every = tf.constant([bytes([value]) for value in range(256)])
    return tf.gather(every, value)


def _replaced(text: tf.Tensor, at: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    length = _length(part)
    after = at + length
    rest = _part(text, after, _length(text) - after)
    return tf.strings.join([_part(text, 0, at), part, rest])


def _bmp_size(file: tf.Tensor):
    return tf.abs(_number(file, 22, tf.int32)), _number(file, 18, tf.int32)


_PLAIN, _MASKED = 0, 3
_MASKS = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"


def _decode_bmp(file: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP file with a palette or 24 or 32 bits a pixel, neither compressed nor of OS/2.

    TensorFlow takes the indices of a palette for gray levels.
    """
    bits, compression = _number(file, 28, tf.uint16), _number(file, 30, tf.int32)
    is_plain = compression == _PLAIN
    is_usual = (compression == _MASKED) & (bits == 32)
    is_usual &= _part(file, 54, 12) == _MASKS
    with _checked(
        (_number(file, 14, tf.int32) >= 40, "A BMP file of OS/2 is not decoded."),
        (is_plain | is_usual, "A BMP file of this compression is not decoded."),
        (tf.reduce_any(bits == [1, 4, 8, 24, 32]), "A BMP file of this depth is not decoded."),
    ):
        file = tf.identity(file)
    # The count of channels is that of the file, because the operation can not change it.
    return tf.cond(
        bits <= 8,
        lambda: _decode_bmp_palette(file, bits),
        lambda: tf.io.decode_bmp(file, channels=0)[..., :3],
    )


def _decode_bmp_palette(file: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    height, width = _bmp_size(file)
    start, used = _number(file, 10, tf.int32), _number(file, 46, tf.int32)
    used = tf.where(used == 0, tf.bitwise.left_shift(tf.constant(1, tf.int64), bits), used)
    palette = _part(file, 14 + _number(file, 14, tf.int32), 4 * used)
    colors = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]
    stride = (width * bits + 31) // 32 * 4
    data = tf.io.decode_raw(_part(file, start, height * stride), tf.uint8)
    rows = tf.reshape(data, tf.stack([height, stride, 1]))
    # A byte has several indices, the first one in its highest bits.
    shifts = tf.range(8 - bits, -1, -bits)
    ones = tf.bitwise.left_shift(tf.constant(1, tf.int64), bits) - 1
    indices = tf.bitwise.right_shift(rows, tf.cast(shifts, tf.uint8)) & tf.cast(ones, tf.uint8)
    indices = tf.reshape(indices, tf.stack([height, -1]))[:, :width]
    # What the palette lacks is black.
    colors = tf.pad(colors, [[0, 256 - tf.shape(colors)[0]], [0, 0]])
    pixels = tf.gather(colors, tf.cast(indices, tf.int32))
    # A file whose first row is the upper one has a negative height.
    return tf.cond(_number(file, 22, tf.int32) > 0, lambda: pixels[::-1], lambda: pixels)


def _webp_size(file: tf.Tensor):
    """Returns the size of the canvas of a WebP file."""
    kind = _part(file, 12, 4)

    def extended():
        width, height = (_number(file, at, tf.int32) & 0xFFFFFF for at in (24, 27))
        return height + 1, width + 1

    def lossless():
        bits = _number(file, 21, tf.int32)
        return (tf.bitwise.right_shift(bits, 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1

    def lossy():
        return _number(file, 28, tf.uint16) & 0x3FFF, _number(file, 26, tf.uint16) & 0x3FFF

    none = tf.zeros((), tf.int64)
    cases = [(kind == b"VP8X", extended), (kind == b"VP8L", lossless), (kind == b"VP8 ", lossy)]
    return tf.case(cases, default=lambda: (none, none), exclusive=True)


def _decode_webp(file: tf.Tensor) -> tf.Tensor:
    """Decodes a WebP file; TensorFlow 2.19 cannot, and raises.

    The colors of the first frame are written as a file of their own, because TensorFlow 2.21 writes
    beyond its buffer when it decodes an animation.
    """

    def chunk(at):
        length = _number(file, at + 4, tf.int32)
        with _checked((length >= 0, "The file has a chunk of a negative length.")):
            after = at + 8 + length + (length & 1)
        # What describes a frame comes before its colors.
        return (tf.where(_part(file, at, 4) == b"ANMF", at + 24, after),)

    at = tf.while_loop(
        lambda at: (_part(file, at, 4) != b"VP8 ") & (_part(file, at, 4) != b"VP8L"),
        chunk,
        (tf.constant(12, tf.int64),),
    )[0]
    length = _number(file, at + 4, tf.int32)
    colors = _part(file, at, 8 + length + (length & 1))
    size = 4 + _length(colors)
    size = [_byte(tf.bitwise.right_shift(size, shift) & 0xFF) for shift in (0, 8, 16, 24)]
    frame = tf.strings.join([b"RIFF", *size, b"WEBP", colors])
    (height, width), (canvas_height, canvas_width) = _webp_size(frame), _webp_size(file)
    fills = (height == canvas_height) & (width == canvas_width)
    with _checked((fills, "The first frame does not fill its canvas.")):
        frame = tf.identity(frame)
    # A graph with the operation `DecodeWebP` could not be loaded by TensorFlow 2.19.
    return tf.io.decode_image(frame, channels=0, expand_animations=False)[..., :3]


# The first bytes, those after eight, and the functions for the size and for the pixels.
_FORMATS = (
    (b"\xff\xd8\xff", b"", _jpeg_size, _decode_jpeg, jpeg_orientation),
    (b"\x89PNG\r\n\x1a\n", b"", _png_size, _decode_png, png_orientation),
    (b"GIF8", b"", _gif_size, _decode_gif),
    (b"BM", b"", _bmp_size, _decode_bmp),
    (b"RIFF", b"WEBP", _webp_size, _decode_webp, webp_orientation),
)
