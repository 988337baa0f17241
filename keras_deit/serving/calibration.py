"""The images that an 8-bit export is calibrated on, and those that it is measured on."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.data import MAX_IMAGE_PIXELS, BadImages, Relabeled, Source, load_dataset
from keras_deit.data.splits import fixed_permutation
from keras_deit.data.transforms import center_crop_resize
from keras_deit.evaluation.class_names import model_classes
from keras_deit.serving.sources import ExportSource

# More change the ranges of the values no more.
_CALIBRATION_IMAGES = 256
# The top-1 of so many is known to half a point (one standard error).
_MEASURED_IMAGES = 5000
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Images in the evaluation view of a model.

    Attributes:
        images: to calibrate on, of the validation split: RGB pixels in [0, 1], float32 (count,
            height, width, 3).
        split: the split that the accuracy is measured on.
        source: images of that split with their classes.
        view: height, width, crop ratio and interpolation of the evaluation view.
        bad_images: what to do about images that cannot be read.
    """

    images: np.ndarray
    split: str
    source: Source
    view: tuple
    bad_images: BadImages

    def top1(self, answers_by_name: Mapping) -> tuple[dict[str, float], int]:
        """Returns the top-1 of each of some functions, and the number of images.

        Args:
            answers_by_name: what loaded files compute, see `Answers`.
        """
        correct, count = dict.fromkeys(answers_by_name, 0), 0
        for images, labels in self._batches():
            count += len(labels)
            for name, answers in answers_by_name.items():
                predicted = answers(images)["logits"].argmax(-1)
                correct[name] += int((predicted == labels).sum())
        return {name: hits / max(1, count) for name, hits in correct.items()}, count

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        chosen = np.sort(fixed_permutation(len(self.source))[:_MEASURED_IMAGES])
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            pairs = list(_views(self.source, batch, self.view, self.bad_images))
            if pairs:
                images, labels = zip(*pairs, strict=True)
                yield np.stack(images), np.array(labels)


def load_calibration(
    source: ExportSource, dataset: str | None, data_dir: str | None
) -> Calibration:
    """Loads images of the data of a run, or of other data with the classes of the model.

    Args:
        source: what is exported.
        dataset: the name of the data; None for those of the run.
        data_dir: the directory of prepared data of TensorFlow Datasets; None for that of the run.

    Raises:
        InputError: there is neither a run nor a dataset, the data cannot be loaded, or they have
            classes that the model does not have.
    """
    config = source.run.config if source.run else {}
    if dataset is None and not config:
        raise InputError("--quantize int8 is calibrated on images: name them with --dataset.")
    identity = {} if dataset else config["run"]
    data = load_dataset(
        dataset or identity["dataset"],
        data_dir or config.get("data_dir"),
        "skip",
        identity.get("test_share"),
        config.get("max_image_pixels", MAX_IMAGE_PIXELS),
        source.view.exif_orientation,
        identity.get("coarse"),
    )
    names = source.class_names if source.has_names else None
    classes, *_ = model_classes(data.class_names, names, source.model.num_classes, data.name)
    view = (*source.model.input_shape[1:3], *source.view[:2])
    bad_images = BadImages(config.get("on_bad_image", "fail"))
    chosen = np.sort(fixed_permutation(len(data.validation))[:_CALIBRATION_IMAGES])
    images = [image for image, _ in _views(data.validation, chosen, view, bad_images)]
    if not images:
        raise InputError(f"{data.name} has no validation images that can be read.")
    split = data.reported_split
    measured = Relabeled(getattr(data, split), classes)
    return Calibration(np.stack(images), split, measured, view, bad_images)


def _views(
    source: Source, indices, view: tuple, bad_images: BadImages
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the pixels and the class of images, without those that cannot be read."""
    for index in indices:
        try:
            image, label = source[int(index)]
        except InputError as error:
            bad_images.handle(error)
            continue
        yield center_crop_resize(image, *view) / np.float32(255), label
