"""From the bytes of an image file to pixels, all of them or as many as a crop needs."""

import dataclasses

import cv2
import numpy as np

from keras_deit.core.errors import InputError

# The orientation in a photograph's EXIF block is ignored, as Pillow's and TensorFlow's decoders
# ignore it: the published models were trained and measured that way.
_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
}
REDUCTIONS = (4, 2)

_MAX_PIXELS = 2**30  # OpenCV's own limit, which it does not apply before a reduction.

# Start-of-frame segments: 0xC0 to 0xCF without the tables DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class UnreadableImage(InputError):
    """An image that cannot be read or decoded.

    Args:
        message: one line.
        image_name: its file, or its place in its split.
    """

    def __init__(self, message: str, image_name: str = ""):
        super().__init__(message)
        self.image_name = image_name


def decode(data: bytes, name: str, reduction: int = 1) -> np.ndarray:
    """Decodes a JPEG, PNG, BMP or WebP image.

    Args:
        data: the whole file.
        name: what to call the file in an error.
        reduction: 1, or for a JPEG image 2 or 4: each side is divided by it and rounded up,
            which the decoder does at a fraction of the work.

    Returns:
        uint8, (height, width, 3), RGB; a gray image has three equal channels.

    Raises:
        UnreadableImage: the bytes are not a whole image.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[reduction])
    except cv2.error:  # No bytes, or a broken header with more pixels than OpenCV allows.
        image = None
    if image is None:
        raise UnreadableImage(
            f"Cannot decode image {name}: {len(data)} bytes that are no whole image.", name
        )
    return image if reduction == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width as the header of a JPEG file has them; None for anything else, and for more
    pixels than OpenCV decodes, or a broken header would be found out by some crops only."""
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # Padding.
            place += 1
        elif marker in _FRAMES:
            height = int.from_bytes(data[place + 5 : place + 7])
            width = int.from_bytes(data[place + 7 : place + 9])
            # A height of 0 stands for one that comes at the end of the image.
            return (height, width) if 0 < height * width <= _MAX_PIXELS else None
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


class EncodedImage:
    """An image file that is not decoded yet.

    Args:
        data: the whole file.
        name: what to call it in an error.
    """

    def __init__(self, data: bytes, name: str):
        self._data = data
        self._name = name
        # Where it is known without decoding: (height, width).
        self.size = jpeg_size(data)

    def decode(self, reduction: int = 1) -> np.ndarray:
        """See the function `decode`; a reduction above 1 is for images whose size is known."""
        return decode(self._data, self._name, reduction)


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """An image that may have been reduced while it was decoded.

    Attributes:
        pixels: uint8, (height, width, 3), RGB.
        size: (height, width) of the whole image, before any reduction.
        reduction: what its sides were divided by.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    reduction: int = 1

    def region(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A box given in pixels of the whole image; its edges go to the nearest pixel there is."""
        rows = slice(round(top / self.reduction), round((top + height) / self.reduction))
        columns = slice(round(left / self.reduction), round((left + width) / self.reduction))
        return self.pixels[rows, columns]
