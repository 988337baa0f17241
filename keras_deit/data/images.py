"""From the bytes of an image file to pixels."""

import cv2
import numpy as np

from keras_deit.errors import InputError

# The orientation in a photograph's EXIF block is ignored, as Pillow's and TensorFlow's decoders
# ignore it: the published models were trained and measured that way.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def decode(data: bytes, name: str) -> np.ndarray:
    """Decodes a JPEG, PNG, BMP or WebP image.

    Args:
        data: the whole file.
        name: what to call the file in an error.

    Returns:
        uint8, (height, width, 3), RGB; a grey image has three equal channels.

    Raises:
        InputError: the bytes are not a whole image.
    """
    # OpenCV raises on no bytes at all and returns None for every other unreadable input.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS) if data else None
    if image is None:
        raise InputError(f"Cannot decode image {name}: {len(data)} bytes that are no whole image.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
