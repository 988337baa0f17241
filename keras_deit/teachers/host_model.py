"""A classifier of another runtime as a layer."""

import dataclasses
import pathlib

import keras
import numpy as np

from keras_deit.core.host_calls import call_on_host
from keras_deit.core.image_format import ImageFormat
from keras_deit.teachers.runtimes import RUNTIMES, Runtime


@keras.saving.register_keras_serializable(package="keras_deit")
class HostModel(keras.layers.Layer):
    """A classifier that runs in its own runtime on the host, whatever the backend.

    A compiled step calls it with the images of each batch as a NumPy array. So its outputs are
    those of its runtime, to the bit, and it has no variables and no gradient.

    Args:
        source: `savedmodel:DIR` or `onnx:FILE`, with the path from the root.
        runtime: the classifier.
        image_format: format of its images.

    Input: images (batch, height, width, 3).
    Output: what it returns, float32 (batch, classes).
    """

    def __init__(self, source: str, runtime: Runtime, image_format: ImageFormat, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs, trainable=False)
        self.source = source
        self.image_format = image_format
        # Keras and TensorFlow would track what belongs to the runtime.
        object.__setattr__(self, "_runtime", runtime)
        blank = np.zeros((1, image_format.height, image_format.width, 3), "float32")
        self.num_classes = runtime.run(blank).shape[-1]
        self.built = True
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False

    @property
    def output_shape(self) -> tuple[None, int]:
        """The shape of its output, as of a Keras model."""
        return (None, self.num_classes)

    @property
    def device_bytes(self) -> int:
        """Memory of the backend's device that it holds."""
        return 0

    def digest(self) -> str:
        """Returns hexadecimal digits that identify its file."""
        return self._runtime.digest()

    def call(self, images, training=False):
        return call_on_host(self._runtime.run, images, self.num_classes)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_classes)

    def get_config(self):
        image_format = dataclasses.asdict(self.image_format)
        output = self._runtime.output_kind
        return {
            **super().get_config(),
            "source": self.source,
            "output": output,
            "image_format": image_format,
        }

    @classmethod
    def from_config(cls, config):
        config = {k: v for k, v in config.items() if k != "trainable"}
        prefix, _, path = config["source"].partition(":")
        runtime = RUNTIMES[f"{prefix}:"](pathlib.Path(path), config.pop("output"))
        image_format = ImageFormat(**config.pop("image_format"))
        return cls(runtime=runtime, image_format=image_format, **config)
