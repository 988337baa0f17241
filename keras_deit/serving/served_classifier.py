"""The computation of a SavedModel."""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_deit.data import MAX_IMAGE_PIXELS
from keras_deit.models import Classifier
from keras_deit.serving.evaluation_view import evaluation_view
from keras_deit.serving.image_files import decode_views
from keras_deit.serving.versions import write_labels


class ServedClassifier:
    """A classifier with the decoding and preprocessing of images and the names of the classes.

    Args:
        model: a model of this package, on the TensorFlow backend.
        class_names: the names of the K classes.
        crop_ratio, interpolation, exif_orientation: the settings of the evaluation view.
        top_k: the number of labels to return, at most K.
        max_image_pixels: the most pixels of an image file; a larger one is not decoded.
    """

    def __init__(
        self,
        model: Classifier,
        class_names: list[str],
        crop_ratio: float,
        interpolation: str,
        exif_orientation: bool,
        top_k: int,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
    ):
        self.model = model
        self._format = model.image_format
        self._class_names = class_names
        self._crop_ratio = crop_ratio
        self._interpolation = interpolation
        self._exif_orientation = exif_orientation
        self._top_k = top_k
        self._max_pixels = max_image_pixels

    @property
    def covering_size(self) -> tuple[int, int]:
        """Height and width of an image that is cropped only, not resized."""
        height, width = self._format.height, self._format.width
        return int(height / self._crop_ratio), int(width / self._crop_ratio)

    def inputs(self, image: tf.Tensor) -> tf.Tensor:
        """Returns the model's inputs for some images.

        Args:
            image: RGB pixels in [0, 1], float32 (B, H, W, 3), or in [0, 255], uint8.

        Returns:
            float32 (B, height, width, 3) of the model's size, normalized.
        """
        return self._normalize(self._view(image))

    def classify_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies images: the signature `serving_default`.

        Args:
            image: RGB pixels in [0, 1] of any size, float32 (B, H, W, 3).

        Returns:
            "logits" and "probabilities", float32 (B, K); "top_probabilities", the highest first,
            float32 (B, top_k); and "top_labels", the names of their classes, strings (B, top_k).
        """
        return self._outputs(self.inputs(image))

    def classify_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies image files: the signature `serve_bytes`.

        Args:
            image_bytes: JPEG, PNG, GIF, BMP or WebP files, strings (B,); the images can differ in
                size.

        Returns:
            The same as `classify_pixels`; and "valid", bool (B,): whether a file is an image that
            is decoded. Where it is not, the numbers are 0 and the labels are empty.
        """
        shape = (self._format.height, self._format.width, 3)
        views, valid = decode_views(
            image_bytes,
            lambda image: self._view(image[None])[0],
            shape,
            self._max_pixels,
            self._exif_orientation,
        )
        outputs = self._outputs(self._normalize(views))
        return {
            "valid": valid,
            **{
                name: tf.where(valid[:, None], values, tf.zeros_like(values))
                for name, values in outputs.items()
            },
        }

    def save(self, path: pathlib.Path) -> None:
        """Writes the SavedModel with its two signatures, and the class names as an asset.

        The asset `labels.txt` is for people and programs around the server; answers have the names
        from the graph. A name is one line there, whatever characters it has.
        """
        # The archive finds the weights that the signatures use. `track(self.model)` would add
        # Keras's wrappers of them, and TensorFlow would store every weight a second time.
        archive = keras.export.ExportArchive()
        archive.add_endpoint(
            "serving_default",
            self.classify_pixels,
            [tf.TensorSpec([None, None, None, 3], tf.float32, "image")],
        )
        archive.add_endpoint(
            "serve_bytes", self.classify_files, [tf.TensorSpec([None], tf.string, "image_bytes")]
        )
        with tempfile.TemporaryDirectory() as folder:
            labels = write_labels(pathlib.Path(folder), self._class_names)
            # Keras takes files as assets only with a table that is made from them.
            lines = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
            content = tf.lookup.TextFileInitializer(
                str(labels), tf.int64, lines[0], tf.string, lines[1]
            )
            archive.track(tf.lookup.StaticHashTable(content, ""))
            archive.write_out(path, verbose=False)

    def _view(self, image: tf.Tensor) -> tf.Tensor:
        size = (self._format.height, self._format.width)
        return evaluation_view(image, *size, self._crop_ratio, self._interpolation)

    def _normalize(self, view: tf.Tensor) -> tf.Tensor:
        mean, std = np.float32(self._format.mean), np.float32(self._format.std)
        # Without division: a graph replaces it by a multiplication, which rounds differently.
        return view * (1 / std) - mean / std

    def _outputs(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self.model(inputs, training=False)
        probabilities = tf.nn.softmax(logits)
        top = tf.math.top_k(probabilities, self._top_k)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "top_labels": tf.gather(tf.constant(self._class_names), top.indices),
            "top_probabilities": top.values,
        }
