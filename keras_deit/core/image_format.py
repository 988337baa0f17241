"""What a model expects of its input images."""

import contextlib
import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Mean and std by name. "half" maps pixels to [-1, 1]; those of small images are the values in the
# code of "Vision Transformer for Small-Size Datasets" (Lee et al., 2021).
NORMALIZATIONS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
}


@dataclasses.dataclass(frozen=True)
class ImageFormat:
    """Size, normalization and channel order of a model's input images.

    Every convention in use is one affine map of RGB pixels in [0, 1]: the model is fed
    `(pixel - mean) / std`. Pixels in [0, 255] have mean 0 and std 1/255, pixels in [-1, 1]
    have mean 0.5 and std 0.5.

    Attributes:
        height, width: size in pixels.
        mean, std: a number for each channel, in the order R, G, B and in units of [0, 1] pixels.
        channels: "RGB", or "BGR" for weights that come from Caffe.
    """

    height: int
    width: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: str = "RGB"

    def __post_init__(self):
        # JSON turns tuples into lists; a frozen dataclass is compared and hashed by its tuples.
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if not self.std or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ValueError(
                "`mean` and `std` should be a number for each channel, std above 0. "
                f"Received: mean={self.mean}, std={self.std}"
            )
        if self.channels not in ("RGB", "BGR"):
            raise ValueError(f"`channels` should be RGB or BGR. Received: {self.channels!r}")

    def with_channels(self, count: int) -> "ImageFormat":
        """Returns the format for images of another number of channels.

        One channel has the mean of the three; more repeat them, as `in_channels` repeats weights.
        """
        if count == len(self.mean):
            return self
        if count == 1:
            pair = (float(np.mean(values)) for values in (self.mean, self.std))
            mean, std = ((value,) for value in pair)
        else:
            mean, std = (np.resize(values, count) for values in (self.mean, self.std))
        return dataclasses.replace(self, mean=mean, std=std)

    def normalize(self, pixels):
        """Returns images as the model takes them, of the same size.

        Args:
            pixels: RGB pixels in 0-255, (..., 3), a NumPy array or a tensor of any dtype; also in
                `tf.data.Dataset.map`.

        Returns:
            float32 (..., 3).
        """
        std = 255 * np.array(self.std)
        scale = (1 / std).astype("float32")
        offset = (-255 * np.array(self.mean) / std).astype("float32")
        if isinstance(pixels, np.ndarray):
            images = pixels.astype("float32") * scale + offset
        elif type(pixels).__module__.startswith("tensorflow"):
            import tensorflow as tf

            images = tf.cast(pixels, "float32") * scale + offset
        else:
            images = ops.add(ops.multiply(ops.cast(pixels, "float32"), scale), offset)
            return ops.flip(images, axis=-1) if self.channels == "BGR" else images
        return images[..., ::-1] if self.channels == "BGR" else images


@contextlib.contextmanager
def channels_last_images() -> Iterator[None]:
    """Makes layers that are created in the block take images (batch, height, width, channels).

    The default of Keras may be another one: `keras.config.set_image_data_format`, or a line in
    `keras.json`.
    """
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)
