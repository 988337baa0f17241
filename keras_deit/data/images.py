"""Decoding of image files, at full size or reduced to what a crop needs."""

import contextlib
import dataclasses
import os
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.data.image_headers import (
    image_size,
    is_image,
    jpeg_orientation,
    jpeg_size,
    without_animation,
)

_FLAGS = {1: cv2.IMREAD_COLOR_RGB, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
REDUCTIONS = (4, 2)
# Values of the EXIF tag Orientation with which rows and columns change places.
_TURNED_BY_90 = (5, 6, 7, 8)

# The most pixels of an image that is decoded: enough for every camera, and 0.4 GB as RGB.
MAX_IMAGE_PIXELS = 2**27
# An image of more pixels, 0.1 GB, is decoded only while no other such one is, so that the memory
# does not grow with the number of threads.
_MANY_PIXELS = 2**25
_MANY_PIXELS_LOCK = threading.Lock()
# The most bytes of a file for each pixel that an image may have: uncompressed RGB and some more.
_BYTES_PER_PIXEL = 4
# A file is read whole only if it begins like an image. A photograph has up to 64 KB of camera data
# before its size.
HEADER_BYTES = 2**16


class UnreadableImage(InputError):
    """An image that cannot be read or decoded.

    Args:
        message: the error in one line.
        image_name: the file of the image, or its index in its split.
    """

    def __init__(self, message: str, image_name: str = ""):
        super().__init__(message)
        self.image_name = image_name


def read_file(path: str, name: str, max_pixels: int = MAX_IMAGE_PIXELS) -> bytes:
    """Reads an image file.

    Args:
        path: the path of the file.
        name: the name of the file for an error.
        max_pixels: the most pixels of an image; the file may have four bytes for each.

    Raises:
        UnreadableImage: it cannot be read, it is no regular file, such as a named pipe or a device,
            which could block for ever or never end, it has too many bytes, or it does not begin
            like an image.
    """
    with open_regular(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _BYTES_PER_PIXEL * max_pixels:
            raise UnreadableImage(
                f"Cannot read image {name}: {size:,} bytes are more than four for each of the "
                f"{max_pixels:,} pixels that an image may have (max_image_pixels).",
                name,
            )
        try:
            start = file.read(HEADER_BYTES)
            if is_image(start):
                return start + file.read(size - len(start))
        except OSError as error:
            raise _unreadable(name, error) from error
    raise UnreadableImage(f"Cannot decode image {name}: {size} bytes that are no image.", name)


@contextlib.contextmanager
def open_regular(path: str, name: str) -> Iterator[BinaryIO]:
    """Opens a file for reading, without waiting for what another process writes.

    Raises:
        UnreadableImage: it cannot be opened, or it is no regular file.
    """
    try:
        # A device is not even opened, and a pipe that is put in its place is not waited for.
        is_regular = stat.S_ISREG(os.stat(path).st_mode)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if is_regular else None
    except OSError as error:
        raise _unreadable(name, error) from error
    if handle is not None:
        with open(handle, "rb") as file:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                yield file
                return
    raise UnreadableImage(f"Cannot read image {name}: it is not a regular file.", name)


def _unreadable(name: str, error: OSError) -> UnreadableImage:
    return UnreadableImage(f"Cannot read image {name}: {error.strerror}.", name)


def check_pixels(data: bytes, name: str, max_pixels: int = MAX_IMAGE_PIXELS) -> int:
    """Returns the number of pixels that an image file declares, without decoding it.

    Args:
        data: the bytes of the file.
        name: the name of the file for an error.
        max_pixels: the most pixels that are allowed.

    Raises:
        UnreadableImage: it declares more, or its header has no size.
    """
    size = image_size(data)
    if size is None:
        raise UnreadableImage(
            f"Cannot decode image {name}: {len(data)} bytes that are not a complete image.", name
        )
    height, width = size
    if height * width > max_pixels:
        raise UnreadableImage(
            f"Cannot decode image {name}: it declares {height:,} × {width:,} pixels, more than "
            f"{max_pixels:,} (max_image_pixels).",
            name,
        )
    return height * width


def decode(
    data: bytes,
    name: str,
    reduction: int = 1,
    max_pixels: int = MAX_IMAGE_PIXELS,
    exif_orientation: bool = True,
) -> np.ndarray:
    """Decodes an image of a format that `image_headers.image_size` reads.

    Args:
        data: the bytes of the file.
        name: the name of the file for an error.
        reduction: 1, or for a JPEG image 2 or 4: each side is divided by it and rounded up, which
            the decoder does in a fraction of the time.
        max_pixels: the most pixels of an image that is decoded, at full size.
        exif_orientation: whether to turn a photograph upright as its EXIF data says. Pillow's and
            TensorFlow's decoders, with which the published models were evaluated, do not.

    Returns:
        uint8 RGB pixels (height, width, 3); a gray image has three equal channels.

    Raises:
        UnreadableImage: the bytes are not a complete image, or declare too many pixels.
    """
    pixels = check_pixels(data, name, max_pixels) / reduction**2
    data = without_animation(data)
    flags = _FLAGS[reduction] | (0 if exif_orientation else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        with _MANY_PIXELS_LOCK if pixels > _MANY_PIXELS else contextlib.nullcontext():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # A corrupt file.
        image = None
    if image is None:
        raise UnreadableImage(
            f"Cannot decode image {name}: {len(data)} bytes that are not a complete image.", name
        )
    if _is_filled(data, image, flags, reduction):
        raise UnreadableImage(
            f"Image {name} is damaged: its data end early, and the rest is filled with gray.",
            name,
        )
    return image if reduction == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


# What libjpeg fills the rest of a JPEG image with, if the data of its only scan end early.
_FILL = 128
# Enough bits for a whole block, without 0xFF, which starts a marker.
_MORE_DATA = b"\x5a\xa5" * 32


def _is_filled(data: bytes, image: np.ndarray, flags: int, reduction: int) -> bool:
    """Returns whether the decoder has filled the last pixels of a JPEG image with gray.

    Those of hardly any other image are exactly this gray. Then the data are continued: a decoder
    that was at their end decodes more, and one that had the whole image ignores them. The missing
    scans of a progressive image make it blurred, which is not noticed.
    """
    side = max(4 // reduction, 1)
    # If the image was turned, what was decoded last is in another corner.
    corners = [
        image[y, x]
        for y in (slice(side), slice(-side, None))
        for x in (slice(side), slice(-side, None))
    ]
    if data[:2] != b"\xff\xd8" or all((corner != _FILL).any() for corner in corners):
        return False
    end = data.rfind(b"\xff\xd9")
    continued = np.frombuffer(data[:end] + _MORE_DATA + data[end:], np.uint8)
    other = cv2.imdecode(continued, flags)
    return other is None or not np.array_equal(image, other)


class EncodedImage:
    """An image file that is not decoded yet.

    Args:
        data: the bytes of the file.
        name: the name of the file for an error.
        max_pixels: the most pixels of an image that is decoded.
        exif_orientation: whether to turn it upright, as for `decode`.

    Attributes:
        size: (height, width) of a JPEG file as it is decoded, which can be reduced; None for other
            files.
    """

    def __init__(
        self,
        data: bytes,
        name: str,
        max_pixels: int = MAX_IMAGE_PIXELS,
        exif_orientation: bool = True,
    ):
        self._data = data
        self._name = name
        self._options = (max_pixels, exif_orientation)
        self.size = jpeg_size(data)
        if self.size and exif_orientation and jpeg_orientation(data) in _TURNED_BY_90:
            self.size = self.size[::-1]

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Decodes the image, see the function `decode`; a reduction needs a known `size`."""
        return decode(self._data, self._name, reduction, *self._options)


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """An image that may have been reduced while it was decoded.

    Attributes:
        pixels: uint8 RGB (height, width, 3).
        size: (height, width) of the image at full size.
        reduction: the number that its sides were divided by.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    reduction: int = 1

    def region(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Returns the pixels of a box, which is given in pixels of the image at full size."""
        rows = slice(round(top / self.reduction), round((top + height) / self.reduction))
        columns = slice(round(left / self.reduction), round((left + width) / self.reduction))
        return self.pixels[rows, columns]
