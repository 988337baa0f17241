"""What a model says about images that have no labels."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import keras
import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import user_path
from keras_deit.core.precision import precision
from keras_deit.data.folder import FileSource
from keras_deit.data.folder_files import image_files
from keras_deit.data.images import decode
from keras_deit.data.transforms import center_crop_resize, check_evaluation_view, normalize
from keras_deit.evaluation.class_names import default_class_names
from keras_deit.models import Classifier, get_spec, list_models
from keras_deit.objectives.retrieval import unit
from keras_deit.objectives.scoring import embedding_model
from keras_deit.pretrained import create_model
from keras_deit.pretrained.conversion import model_from
from keras_deit.pretrained.sources import class_names_beside, find_weights
from keras_deit.training import Run, load_run, objective_from

_RUN = "config.json"


class EvaluationView(NamedTuple):
    """How an image is prepared for a model.

    Attributes:
        crop_ratio, interpolation: as for `center_crop_resize`.
        exif_orientation: whether a photograph is turned upright as its EXIF data says.
    """

    crop_ratio: float
    interpolation: str
    exif_orientation: bool = True


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        name: the path of the image, or its index among those that were given.
        labels: the names of the most probable classes, the most probable one first.
        probabilities: those of `labels`.
    """

    name: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        return self.probabilities[0]


class Predictor:
    """Classifies and embeds images of any size, in the evaluation view of the model.

    Images are paths of files, paths of folders (with all images in them), the bytes of files,
    Pillow's images, or NumPy arrays of RGB or gray pixels, uint8 (height, width, 3) or (height,
    width). They are decoded, resized and cropped as in an evaluation, so the results are the same.

    Args:
        source: the directory of a run; the name of a model, whose released weights are loaded; a
            file of weights or `hf://OWNER/NAME`; or a model of this package.
        model: the name of the model for a file that does not say it.
        weights: of a run: "final", "best" or "ema".
        class_names: names of the classes; by default those of the run, ImageNet's for a model of
            1,000 classes, and else their indices.
        crop_ratio, interpolation: of the evaluation view, see `center_crop_resize`; by default
            those of the run, or those that the model was published with.
        batch_size: number of images at a time.

    Raises:
        InputError: the source cannot be loaded, the class names do not fit, or an argument is not
            possible.
    """

    def __init__(
        self,
        source: "str | os.PathLike | Classifier",
        model: str | None = None,
        weights: str = "final",
        class_names: Sequence[str] | None = None,
        crop_ratio: float | None = None,
        interpolation: str | None = None,
        batch_size: int = 32,
    ):
        if batch_size < 1:
            raise InputError(f"batch_size should be 1 or more. Received: {batch_size}")
        self._batch_size = batch_size
        self.model, view, own_names = load_classifier(source, model, weights)
        run = _run_of(source)
        self._why_no_labels = run and untrained_heads(run)
        self._exif_orientation = view.exif_orientation
        self._crop_ratio = view.crop_ratio if crop_ratio is None else crop_ratio
        self._interpolation = interpolation or view.interpolation
        check_evaluation_view(self._crop_ratio, self._interpolation)
        count = self.model.num_classes
        self.class_names = tuple(class_names or own_names or default_class_names(count))
        if count and len(self.class_names) != count:
            raise InputError(
                f"{self.model.name} has {count} classes. Received: {len(self.class_names)} names"
            )

    @property
    def has_labels(self) -> bool:
        """Whether the model has heads, and not those of a run that has trained none."""
        return bool(self.model.num_classes) and not self._why_no_labels

    @property
    def turns_upright(self) -> bool:
        """Whether photographs are turned upright as their EXIF data says."""
        return self._exif_orientation

    def predict(self, images, top_k: int = 5) -> list[Prediction]:
        """Returns a prediction for each image.

        Args:
            images: one or many, as above.
            top_k: number of classes that a prediction names.

        Raises:
            InputError: an image cannot be read, `top_k` is below 1, or the model has no heads, or
                none that its run has trained.
        """
        return list(self.iterate(images, top_k))

    def iterate(self, images, top_k: int = 5, on_error=None) -> Iterator[Prediction]:
        """Yields the predictions one after the other, a batch at a time.

        Args:
            images, top_k: as for `predict`.
            on_error: called with the `InputError` of an image that cannot be read, which is then
                left out; None to raise it.
        """
        if top_k < 1:
            raise InputError(f"top_k should be 1 or more. Received: {top_k}")
        if not self.model.num_classes:
            raise InputError(f"{self.model.name} has no heads; use embed.")
        if self._why_no_labels:
            raise InputError(self._why_no_labels)
        for names, logits in self._outputs(self.model, images, on_error):
            for name, row in zip(names, _softmax(logits), strict=True):
                best = np.argsort(-row, kind="stable")[:top_k]
                labels = tuple(self.class_names[index] for index in best)
                yield Prediction(name, labels, tuple(float(row[index]) for index in best))

    def embed(self, images) -> np.ndarray:
        """Returns the input of the class head for each image, float32 (images, width).

        Raises:
            InputError: an image cannot be read.
        """
        model = self.model.feature_model()
        rows = [outputs for _, outputs in self._outputs(model, images)]
        return np.concatenate(rows) if rows else np.empty((0, *model.output_shape[1:]), "float32")

    def iterate_embeddings(
        self, images, on_error=None, embedder: keras.Model | None = None
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yields names and embeddings of the images, a batch at a time.

        Args:
            images, on_error: as for `iterate`.
            embedder: model from features to embeddings, such as that of a run with `Grafit`; None
                for the features themselves.

        Returns:
            Pairs of names and float32 (images, width), each of length 1. What is not one vector, as
            with a token for each class, is made one.
        """
        model = embedding_model(self.model, embedder)
        for names, outputs in self._outputs(model, images, on_error):
            yield names, unit(outputs.reshape(len(outputs), -1))

    def view(self, image, scale: int = 1) -> np.ndarray:
        """Returns what the model sees of an image, or the same with more pixels.

        Returns:
            uint8 RGB (scale·height, scale·width, 3).
        """
        image_format = self.model.image_format
        size = scale * image_format.height, scale * image_format.width
        pixels = _pixels(image, self._exif_orientation)
        return center_crop_resize(pixels, *size, self._crop_ratio, self._interpolation)

    def inputs(self, image) -> np.ndarray:
        """Returns an image as the model takes it: float32 (height, width, 3)."""
        return normalize(self.view(image), self.model.image_format)

    def _outputs(self, model, images, on_error=None) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yields the names and the outputs of one batch of images after the other."""
        image_format = self.model.image_format
        if len(image_format.mean) != 3:
            raise InputError(f"{self.model.name} does not take color images.")
        for names, views in self._batches(images, on_error):
            count = len(views)
            batch = np.zeros((self._batch_size, *views[0].shape), np.float32)
            for row, view in zip(batch, views, strict=False):
                normalize(view, image_format, row)
            # Batches of one size: another one would be compiled anew.
            outputs = model.predict_on_batch(batch if count > 1 else batch[:1])
            yield names, np.asarray(outputs, np.float32)[:count]

    def _batches(self, images, on_error) -> Iterator[tuple[list[str], list[np.ndarray]]]:
        names, views = [], []
        with ThreadPoolExecutor() as pool:
            for group in _groups(_named(images), self._batch_size):
                results = pool.map(self._attempt, (image for _, image in group))
                for (name, _), (view, error) in zip(group, results, strict=True):
                    if error is not None and on_error is None:
                        raise error
                    if error is not None:
                        on_error(error)
                        continue
                    names.append(name)
                    views.append(view)
                    if len(views) == self._batch_size:
                        yield names, views
                        names, views = [], []
        if views:
            yield names, views

    def _attempt(self, image) -> tuple[np.ndarray | None, InputError | None]:
        try:
            return self.view(image), None
        except InputError as error:
            return None, error


def load_classifier(
    source: "str | os.PathLike | Classifier", name: str | None = None, weights: str = "final"
) -> tuple[Classifier, EvaluationView, Sequence[str] | None]:
    """Returns a model, its evaluation view and its class names.

    The class names are those of a run or of the configuration beside a file; else None.

    Args:
        source, name, weights: as `source`, `model` and `weights` of `Predictor`.

    Raises:
        InputError: the source cannot be loaded.
    """
    if isinstance(source, Classifier):
        return source, _published_view(source), None
    is_name = isinstance(source, str) and source in list_models()
    if is_name and not pathlib.Path(source).exists():
        model = create_model(source, pretrained=True)
        return model, _published_view(model), None
    if run := _run_of(source):
        config = run.config
        with precision(config["run"].get("mixed_precision", "float32")):
            model = run.model(weights)
        return model, view_of_run(config), config["class_names"]
    model = model_from(source, name)
    names = class_names_beside(find_weights(source).path, model.num_classes)
    return model, _published_view(model), names


def untrained_heads(run: Run) -> str | None:
    """Returns a sentence that says why the model of a run has no labels; None if it has some."""
    try:
        with corrupt_as_input_error(str(run.path)):
            objective = objective_from(run.config["run"])
    except InputError:  # Such as an objective of the user's own that is not imported here.
        return None
    if objective.trains_heads:
        return None
    return (
        f"{type(objective).__name__} has not trained the heads of {run.path}, so it has no labels: "
        "keras-deit index and search use its embeddings, and keras-deit train --weights "
        f"{run.path} fine-tunes it."
    )


def _run_of(source) -> Run | None:
    if isinstance(source, Classifier) or str(source).startswith("hf://"):
        return None
    return load_run(source) if (user_path(source) / _RUN).is_file() else None


def view_of_run(config: dict) -> EvaluationView:
    """Returns the evaluation view of a run by its configuration."""
    # Earlier versions have not turned photographs upright.
    is_turned = config.get("exif_orientation", False)
    return EvaluationView(config["crop_ratio"], config["interpolation"], is_turned)


def _published_view(model: Classifier) -> EvaluationView:
    try:
        spec = get_spec(model.name)
    except InputError:  # A model of the user's own.
        return EvaluationView(1.0, "bicubic")
    return EvaluationView(spec.crop_ratio, spec.interpolation)


def _named(images) -> Iterator[tuple[str, object]]:
    """Yields images with their names: those of files, and numbers for others."""
    one = isinstance(images, (str, bytes, os.PathLike, np.ndarray)) or hasattr(images, "convert")
    is_batch = isinstance(images, np.ndarray) and images.ndim == 4
    for index, image in enumerate([images] if one and not is_batch else images):
        if not isinstance(image, (str, os.PathLike)):
            yield str(index), image
            continue
        path = user_path(image)
        files = image_files(path) if path.is_dir() else [str(path)]
        yield from ((file, pathlib.Path(file)) for file in files)


def _groups(items: Iterable, size: int) -> Iterator[list]:
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _pixels(image, exif_orientation: bool) -> np.ndarray:
    """Returns the RGB pixels of an image, uint8 (height, width, 3)."""
    if isinstance(image, (str, os.PathLike)):
        files = FileSource([str(user_path(image))], [0], exif_orientation=exif_orientation)
        pixels, _ = files[0]
        return pixels
    if isinstance(image, bytes):
        return decode(image, "in bytes", exif_orientation=exif_orientation)
    if hasattr(image, "convert"):  # Pillow's.
        image = np.asarray(_upright(image, exif_orientation).convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise InputError(
            "An image should be a path, bytes, an image of Pillow or an array. Received: "
            f"{type(image).__name__}"
        )
    if image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 1):
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=-1)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise InputError(
            "An array should hold RGB or gray pixels, uint8 (height, width, 3) or (height, width). "
            f"Received: {image.dtype} {image.shape}"
        )
    return image


def _upright(image, exif_orientation: bool):
    from PIL import ImageOps  # Pillow is there, because the image is one of its.

    return ImageOps.exif_transpose(image) if exif_orientation else image


def _softmax(logits: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))
