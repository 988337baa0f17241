"""From a source of images to the batches that `fit` and `evaluate` take.

An element of the Grain dataset is a batch, or a share of one, made by one function call: Grain
spends some 20 microseconds of Python on every element and step, which on small images is more than
the work. Grain's threads make several elements at a time, and the state of its iterator is the
number of the next one.
"""

import os

import cv2
import grain

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.batches import EvaluationBatches, TrainBatches
from keras_deit.data.shares import WHOLE, Share
from keras_deit.data.source import Source
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.data.weighted_batches import WeightedBatches
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat

_MAX_THREADS = 16
_MAX_BYTES_AHEAD = 4 * 2**30


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """The whole batches in an epoch.

    Raises:
        InputError: the batch size is below 1 or above the number of examples.
    """
    if not 1 <= batch_size <= num_examples:
        raise InputError(
            f"The batch size should be from 1 to {num_examples}, the number of training examples. "
            f"Received: {batch_size}."
        )
    return num_examples // batch_size


def train_pipeline(
    source: Source,
    image_format: ImageFormat,
    augmentation: Augmentation,
    num_classes: int,
    batch_size: int,
    seed: int,
    *,
    share: Share = WHOLE,
    start: int = 0,
    stop: int | None = None,
    bad_images: BadImages | None = None,
) -> grain.IterDataset:
    """Endless batches for training, shuffled anew in every epoch.

    The epochs follow each other without a gap, so a batch may hold the end of one and the start
    of the next and every batch is full. What a batch holds depends on the seed and its number only;
    what is done to an image, on the seed, the epoch, the image's index and which copy it is, not on
    the batch size. So the stream is the same from any number of threads, and from the worker
    processes of Grain's `mp_prefetch`. With repeated augmentation an epoch of the stream is that of
    `randomness.ShuffledStream`.

    An element is one share of a batch: the batch itself, unless `share` cuts it. A bad image that
    is skipped is replaced by the next good one in the source, which is cropped and so on with the
    random numbers of the place that it takes.

    Args:
        source: of training examples.
        image_format: of the model.
        augmentation: of the recipe.
        num_classes: K.
        batch_size: B, of all shares together.
        seed: of the run, 0 or more.
        share: what this process gets of every batch.
        start: the elements of the endless stream left out.
        stop: the element of the endless stream that the dataset ends before; None for no end.
        bad_images: what to do about them; None to fail.

    Returns:
        A dataset of pairs: images, float32 (b, height, width, 3), normalised; and targets,
        float32 (b, K), smoothed and mixed; b is B divided by the number of shares.

    Raises:
        InputError: a batch size, seed, start or stop that cannot be, or, while reading, a bad
            image, or none but bad ones.
    """
    steps_per_epoch(len(source), batch_size)
    if seed < 0:
        raise InputError(f"The seed should be 0 or more. Received: {seed}.")
    if start < 0 or (stop is not None and stop <= start):
        raise InputError(
            f"The stream should start at 0 or later and stop after it. Received: {start}, {stop}."
        )
    rows = share.train_size(batch_size)
    recipe = (augmentation, num_classes, batch_size, seed)
    batches = TrainBatches(source, image_format, *recipe, share, bad_images)
    return _read_ahead(grain.MapDataset.source(batches)[start:stop], image_format, rows)


def evaluation_pipeline(
    source: Source,
    image_format: ImageFormat,
    batch_size: int,
    crop_ratio: float = 1.0,
    interpolation: str = "bicubic",
    *,
    share: Share = WHOLE,
    weighted: bool = False,
    bad_images: BadImages | None = None,
) -> grain.IterDataset:
    """One pass over the examples in their order; the last batch may be smaller.

    Weighted, every batch is full: the last one is padded by copies of the last example with the
    weight 0, and all examples have the weight (rows with padding) / (examples). Keras's losses,
    which divide by the size of the batch, and its `weighted_metrics` are then the means over the
    examples. A bad image that is skipped has the weight 0 too: the metrics leave it out, the loss
    counts it as an example without loss.

    Args:
        source: of validation or test examples.
        image_format: of the model.
        batch_size: B, of all processes together.
        crop_ratio: see `transforms.center_crop_resize`.
        interpolation: "bicubic" or "bilinear".
        share: of this process: of several, each gets B / processes neighbouring rows of every
            batch, which must be weighted. Its parts play no role.
        weighted: whether there are weights.
        bad_images: what to do about them, None to fail; they can be skipped by weight only.

    Returns:
        A dataset of pairs: images, float32 (b, height, width, 3), normalised; labels, int32 (b,);
        or, weighted, of triples whose third is the weights, float32 (b,).

    Raises:
        InputError: a batch size, crop ratio or interpolation that cannot be, shares or skipping
            without weights, or, while reading, a bad image.
    """
    check_evaluation_view(crop_ratio, interpolation)
    if batch_size < 1:
        raise InputError(f"The batch size should be 1 or more. Received: {batch_size}.")
    bad_images = bad_images or BadImages()
    view = (source, image_format, batch_size, crop_ratio, interpolation)
    if weighted:
        batches = WeightedBatches(*view, share=share, bad_images=bad_images)
    elif share.processes > 1 or bad_images.policy == "skip":
        raise InputError(
            "An evaluation by several processes or with bad images skipped should be weighted. "
            f"Received: {share.processes} processes, policy {bad_images.policy!r}, weighted=False."
        )
    else:
        batches = EvaluationBatches(*view)
    rows = batch_size // share.processes if weighted else min(batch_size, len(source))
    return _read_ahead(grain.MapDataset.source(batches), image_format, rows)


def _read_ahead(
    elements: grain.MapDataset, image_format: ImageFormat, rows: int
) -> grain.IterDataset:
    # OpenCV's own threads would compete with Grain's for the same cores.
    cv2.setNumThreads(1)
    element_bytes = rows * image_format.height * image_format.width * 3 * 4
    threads = min(os.cpu_count() or 1, _MAX_THREADS, max(1, _MAX_BYTES_AHEAD // element_bytes))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return elements.to_iter_dataset(options)
