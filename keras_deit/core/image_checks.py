"""A warning about images that a model is given in 0-255 and not normalized."""

import functools
import sys
import types
import warnings
from collections.abc import Callable

import keras
import numpy as np

from keras_deit.core.autotuning import without_autotuning
from keras_deit.core.errors import errors_of
from keras_deit.core.image_format import ImageFormat

# So many images of a batch are looked at.
_IMAGES = 4
# Images of unusual contrast have values some times as large as the largest one of the format.
_TOLERANCE = 4


class ImageChecks:
    """Warns once if the images are obviously in 0-255 and not in the format of the model.

    A base of Keras models, before `keras.Model`. It looks at the first images of each `fit`,
    `evaluate` and `predict`, of NumPy arrays in a call, and at the first other images in a call.
    """

    _warned_of_pixels = _called = False

    def expected_images(self) -> ImageFormat | None:
        """Returns the format of the images that the model takes; None if it is not known."""
        return getattr(self, "image_format", None)

    def __call__(self, inputs, *args, **kwargs):
        if not self._warned_of_pixels and (not self._called or isinstance(inputs, np.ndarray)):
            self._called = self._check_pixels(inputs) or self._called
        return super().__call__(inputs, *args, **kwargs)

    def fit(self, x=None, *args, **kwargs):
        with without_autotuning(), errors_of(x) as x:
            return super().fit(self._checked(x), *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        # Keras's `fit` evaluates what it has prepared itself, and does not use x.
        is_unused = kwargs.get("_use_cached_eval_dataset", False)
        with without_autotuning(), errors_of(x) as x:
            return super().evaluate(x if is_unused else self._checked(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        with without_autotuning(), errors_of(x) as x:
            return super().predict(self._checked(x), *args, **kwargs)

    def train_on_batch(self, x, *args, **kwargs):
        return super().train_on_batch(self._checked(x), *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        return super().test_on_batch(self._checked(x), *args, **kwargs)

    def predict_on_batch(self, x, *args, **kwargs):
        return super().predict_on_batch(self._checked(x), *args, **kwargs)

    def _checked(self, x):
        """Returns images, or a data set of batches, after a look at the first ones or with it."""
        if self._warned_of_pixels:
            return x
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None and isinstance(x, tensorflow.data.Dataset):
            return self._checked_dataset(x, tensorflow)
        if isinstance(x, types.GeneratorType):
            return self._checked_generator(x)
        if isinstance(x, keras.utils.PyDataset):
            self._check_pixels(x[0])
        elif hasattr(x, "dataset") and hasattr(x, "collate_fn"):  # a DataLoader of PyTorch
            self._check_pixels(_first_batch(x))
        elif _is_grain(x):
            return x.map(self._looking())
        else:
            self._check_pixels(x)
        return x

    def _checked_generator(self, batches):
        look = self._looking()
        for batch in batches:
            yield look(batch)

    def _looking(self):
        """Returns a function that returns its batches and looks at the first one."""
        done = []

        def look(batch):
            if not done:
                done.append(True)
                self._check_pixels(batch)
            return batch

        return look

    def _checked_dataset(self, dataset, tensorflow):
        """Looks at the first batch when it is drawn: drawing it twice takes time, and from a
        shuffled data set it draws others afterwards."""

        def look(images):
            self._check_pixels(images.numpy())

        def map_batch(index, *batch):
            images = _first(batch)
            is_image = isinstance(images, tensorflow.Tensor)
            if is_image and not self._warned_of_pixels:

                def on_first():
                    looked = tensorflow.py_function(look, [images[:_IMAGES]], [])
                    return looked or tensorflow.no_op()

                tensorflow.cond(index == 0, on_first, tensorflow.no_op)
            return batch if len(batch) > 1 else batch[0]

        return dataset.enumerate().map(
            lambda index, batch: (
                map_batch(index, *batch) if isinstance(batch, tuple) else map_batch(index, batch)
            )
        )

    def _check_pixels(self, images) -> bool:
        """Warns of images in 0-255, and returns whether they could be looked at."""
        image_format = self.expected_images()
        values = _values(_first(images))
        if image_format is None or values is None:
            return False
        if self._warned_of_pixels:
            return True
        largest = max((1 - m) / s for m, s in zip(image_format.mean, image_format.std, strict=True))
        found = values.max()
        if values.min() >= 0 and found > _TOLERANCE * largest:
            self._warned_of_pixels = True
            warnings.warn(
                f"{self.name} is given images with values up to {found:g}. It takes images that "
                f"are normalized, (pixels / 255 - mean) / std with mean {image_format.mean} and "
                f"std {image_format.std}: use model.image_format.normalize(images).",
                stacklevel=4,
            )
        return True


def with_image_checks(
    model: keras.Model, expected_images: Callable[[], ImageFormat | None]
) -> keras.Model:
    """Lets a functional Keras model warn of images as `ImageChecks` does, and returns it.

    It is saved and cloned as before: its file and its copies are plain Keras models.

    Args:
        model: from images to anything.
        expected_images: returns the format of the images, as the method of `ImageChecks` does.
    """
    model.__class__ = _checked(type(model))
    # Not as an attribute that Keras tracks: the model that this one is a part of is none of its.
    object.__setattr__(model, "expected_images", expected_images)
    return model


@functools.cache
def _checked(functional: type[keras.Model]) -> type[keras.Model]:
    """Returns a subclass with the checks and the name of the class, which files contain."""

    def reduce(self):
        # Pickle looks up the class by its name.
        restore, values = functional.__reduce__(self)
        return getattr(functional, restore.__name__), values

    values = {
        "__module__": functional.__module__,
        "__qualname__": functional.__qualname__,
        "image_format": property(lambda self: self.expected_images()),
        # Copies have no format of their own.
        "expected_images": lambda self: None,
        "__reduce__": reduce,
    }
    return type(functional.__name__, (ImageChecks, functional), values)


def _first(batch):
    """Returns the images of a batch, which may have labels and weights, or a name."""
    if isinstance(batch, dict) and len(batch) == 1:
        return _first(*batch.values())
    return _first(batch[0]) if isinstance(batch, (tuple, list)) and batch else batch


def _first_batch(loader):
    """Returns a batch of the first example of a DataLoader; None if it has no first one."""
    try:
        return loader.collate_fn([loader.dataset[0]])
    except Exception:  # Whatever the user's data set and function raise, their training will tell.
        return None


def _is_grain(data) -> bool:
    """Returns whether data are a data set of Grain, without importing it."""
    grain = sys.modules.get("grain")
    return grain is not None and isinstance(data, (grain.MapDataset, grain.IterDataset))


def _values(images) -> np.ndarray | None:
    """Returns the values of some images; None if they are symbolic or no images at all."""
    is_array = hasattr(images, "shape") and hasattr(images, "dtype")
    if not is_array or len(images.shape) < 3 or _is_symbolic(images):
        return None
    few = images[:_IMAGES]
    try:
        values = few if isinstance(few, np.ndarray) else keras.ops.convert_to_numpy(few)
    except Exception:  # Each backend has its own error for a value that is not known yet.
        return None
    is_number = values.size and (values.dtype == "uint8" or values.dtype.kind in "fi")
    return values if is_number else None


def _is_symbolic(images) -> bool:
    if isinstance(images, keras.KerasTensor):
        return True
    jax, tensorflow = sys.modules.get("jax"), sys.modules.get("tensorflow")
    if jax is not None and isinstance(images, jax.core.Tracer):
        return True
    is_tensor = tensorflow is not None and isinstance(images, tensorflow.Tensor)
    return is_tensor and not tensorflow.executing_eagerly()
