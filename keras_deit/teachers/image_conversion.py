"""The conversion of images from the format of one model to that of another."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_deit.core.image_format import ImageFormat


@keras.saving.register_keras_serializable(package="keras_deit")
class ImageConversion(keras.layers.Layer):
    """Converts images from one format to another.

    One affine map per channel replaces one normalization by the other. If necessary, the order of
    the channels is reversed, and the images are resized with bilinear interpolation.

    Args:
        source: format of the images with which this layer is called.
        target: format of the images that it returns.

    Input: (batch, source.height, source.width, 3).
    Output: float32 (batch, target.height, target.width, 3).
    """

    def __init__(self, source: ImageFormat, target: ImageFormat, **kwargs):
        # bfloat16 has 8 significant bits, too few for an augmented image in [0, 255].
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.source = source
        self.target = target
        self.built = True
        self._scale, self._offset = _affine(source, target)
        target_size = (target.height, target.width)
        source_size = (source.height, source.width)
        self._resize_to = None if target_size == source_size else target_size
        # Antialiasing makes no difference if no side gets smaller.
        self._antialias = any(new < old for new, old in zip(target_size, source_size, strict=True))
        if self._antialias and keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA does not support TensorFlow's antialiased resize.

    def call(self, images):
        # With operators PyTorch would copy the images to the host for a NumPy operand.
        images = ops.add(ops.multiply(ops.cast(images, "float32"), self._scale), self._offset)
        if self.source.channels != self.target.channels:
            images = ops.flip(images, axis=-1)
        if self._resize_to is not None:
            images = ops.image.resize(
                images,
                self._resize_to,
                interpolation="bilinear",
                antialias=self._antialias,
                data_format="channels_last",
            )
        return images

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.target.height, self.target.width, 3)

    def get_config(self):
        return {
            **super().get_config(),
            "source": dataclasses.asdict(self.source),
            "target": dataclasses.asdict(self.target),
        }

    @classmethod
    def from_config(cls, config):
        formats = {key: ImageFormat(**config[key]) for key in ("source", "target")}
        return cls(**{**config, **formats})


def _affine(source: ImageFormat, target: ImageFormat) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and offset per channel, float32 (3,), in the channel order of the source.

    The map is (x * source_std + source_mean - target_mean) / target_std. It is computed in float64,
    so that equal formats have exactly the scale 1 and the offset 0.
    """
    source_std, target_std = np.array(source.std), np.array(target.std)
    scale = source_std / target_std
    offset = (np.array(source.mean) - np.array(target.mean)) / target_std
    if source.channels == "BGR":
        scale, offset = scale[::-1], offset[::-1]
    return scale.astype("float32"), offset.astype("float32")
