"""Decoding of image files, at full size or reduced to what a crop needs."""

import dataclasses

import cv2
import numpy as np

from keras_deit.core.errors import InputError

# The orientation in the EXIF data of a photograph is ignored, as by Pillow's and TensorFlow's
# decoders, with which the published models were trained and evaluated.
_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
}
REDUCTIONS = (4, 2)

_MAX_PIXELS = 2**30  # OpenCV's own limit, which it does not check when it decodes reduced.

# Markers of start-of-frame segments: 0xC0 to 0xCF without DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class UnreadableImage(InputError):
    """An image that cannot be read or decoded.

    Args:
        message: the error in one line.
        image_name: the file of the image, or its index in its split.
    """

    def __init__(self, message: str, image_name: str = ""):
        super().__init__(message)
        self.image_name = image_name


def decode(data: bytes, name: str, reduction: int = 1) -> np.ndarray:
    """Decodes a JPEG, PNG, BMP or WebP image.

    Args:
        data: the bytes of the file.
        name: the name of the file for an error.
        reduction: 1, or for a JPEG image 2 or 4: each side is divided by it and rounded up, which
            the decoder does in a fraction of the time.

    Returns:
        uint8 RGB pixels (height, width, 3); a gray image has three equal channels.

    Raises:
        UnreadableImage: the bytes are not a complete image.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[reduction])
    except cv2.error:  # No bytes, or a corrupt header with more pixels than OpenCV allows.
        image = None
    if image is None:
        raise UnreadableImage(
            f"Cannot decode image {name}: {len(data)} bytes that are not a complete image.", name
        )
    if _is_filled(data, image, reduction):
        raise UnreadableImage(
            f"Image {name} is damaged: its data end early, and the rest is filled with gray.",
            name,
        )
    return image if reduction == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


# What libjpeg fills the rest of a JPEG image with, if the data of its only scan end early.
_FILL = 128
# Enough bits for a whole block, without 0xFF, which starts a marker.
_MORE_DATA = b"\x5a\xa5" * 32


def _is_filled(data: bytes, image: np.ndarray, reduction: int) -> bool:
    """Returns whether the decoder has filled the last pixels of a JPEG image with gray.

    Those of hardly any other image are exactly this gray. Then the data are continued: a decoder
    that was at their end decodes more, and one that had the whole image ignores them. The missing
    scans of a progressive image make it blurred, which is not noticed.
    """
    side = max(4 // reduction, 1)
    if data[:2] != b"\xff\xd8" or (image[-side:, -side:] != _FILL).any():
        return False
    end = data.rfind(b"\xff\xd9")
    continued = np.frombuffer(data[:end] + _MORE_DATA + data[end:], np.uint8)
    other = cv2.imdecode(continued, _FLAGS[reduction])
    return other is None or not np.array_equal(image, other)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width from the header of a JPEG file.

    It is None for other files, and for more pixels than OpenCV decodes: otherwise only some crops
    would notice such a corrupt header.
    """
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # Padding.
            position += 1
        elif marker in _FRAMES:
            height = int.from_bytes(data[position + 5 : position + 7])
            width = int.from_bytes(data[position + 7 : position + 9])
            # A height of 0 means that the height follows after the image data.
            return (height, width) if 0 < height * width <= _MAX_PIXELS else None
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


class EncodedImage:
    """An image file that is not decoded yet.

    Args:
        data: the bytes of the file.
        name: the name of the file for an error.

    Attributes:
        size: (height, width) if the header of the file gives it; otherwise None.
    """

    def __init__(self, data: bytes, name: str):
        self._data = data
        self._name = name
        self.size = jpeg_size(data)

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Decodes the image, see the function `decode`; a reduction needs a known `size`."""
        return decode(self._data, self._name, reduction)


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
