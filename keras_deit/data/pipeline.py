"""Datasets of batches for `fit` and `evaluate`, made from a source of images.

An element of the Grain dataset is a batch or a shard of one, made by one function call, because
Grain needs about 20 microseconds per element and operation, more than the work on a small image.
Grain's threads make several elements in parallel, and the state of its iterator is the index of the
next element.
"""

import math
import os
from collections.abc import Callable, Sequence

import cv2
import grain

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.batches import EvaluationBatches, TrainBatches, WeightedBatches
from keras_deit.data.shards import WHOLE, Shard
from keras_deit.data.source import Source
from keras_deit.data.transforms import check_evaluation_view
from keras_deit.data.views import View

_MAX_THREADS = 16
_MAX_PREFETCHED_BYTES = 4 * 2**30


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns the number of full batches in an epoch.

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
    shard: Shard = WHOLE,
    start: int = 0,
    stop: int | None = None,
    bad_images: BadImages | None = None,
    views: int | Sequence[View] = 1,
    with_index: bool = False,
    balanced: bool = False,
    row_targets: Callable[[int, Sequence[int]], dict] | None = None,
) -> grain.IterDataset:
    """Returns endless batches for training, shuffled again in every epoch.

    Epochs follow each other without a gap, so a batch can contain the end of one epoch and the
    start of the next, and every batch is full. The content of a batch depends only on the seed and
    its index; the augmentation of an image depends only on the seed, the epoch, the image's index
    and the number of its copy, not on the batch size. So the stream is the same with any number of
    threads, and with the worker processes of Grain's `mp_prefetch`. With repeated augmentation an
    epoch is that of `randomness.ShuffledStream`.

    An element is one shard of a batch, which is the whole batch unless `shard` divides it. A bad
    image that is skipped is replaced by the next good one of the source, augmented with the random
    numbers of the bad one.

    Args:
        source: the training examples.
        image_format: the image format of the model.
        augmentation: the augmentation of the recipe.
        num_classes: the number of classes K.
        batch_size: the number B of images in a batch, of all shards together.
        seed: the seed of the run, 0 or more.
        shard: the shard of this process.
        start: the index of the first element.
        stop: the index after the last element; None for an endless dataset.
        bad_images: the handling of bad images; None to fail.
        views: the number of augmented views of an image in a batch, or what each of them is; all
            are mixed in the same way.
        with_index: whether the targets include the index of each image in `source`.
        balanced: whether an epoch has equally many images of each class, see `ClassGroups.draw`.
        row_targets: called with the number of a batch, and with the places in it of the rows of an
            element, returns further targets of these rows by name; None for none.

    Returns:
        A dataset of pairs: images as float32 (b, height, width, 3), normalized, or for several
        views (b, views, height, width, 3); and targets as float32 (b, K), smoothed and mixed, or
        {"labels": targets, "index": int32 (b,), ...}, with those of `row_targets`. b is B divided
        by the number of shards.

    Raises:
        InputError: the batch size, seed, start or stop is out of range; or, while reading, an image
            is bad, or all images are.
    """
    if start < 0 or (stop is not None and stop <= start):
        raise InputError(
            f"start should be 0 or more and stop larger than start. Received: {start}, {stop}."
        )
    batches = train_elements(
        *(source, image_format, augmentation, num_classes, batch_size, seed),
        shard=shard,
        bad_images=bad_images,
        views=views,
        with_index=with_index,
        balanced=balanced,
        row_targets=row_targets,
    )
    rows = shard.train_size(batch_size) * _image_equivalents(views, image_format)
    return prefetched(batches[start:stop], image_format, rows)


def _image_equivalents(views: int | Sequence[View], image_format: ImageFormat) -> int:
    """Returns how many images of the model's size the views of an image amount to, rounded up."""
    if isinstance(views, int):
        return views
    formats = [view.image_format(image_format) for view in views]
    pixels = sum(each.height * each.width for each in formats)
    return math.ceil(pixels / (image_format.height * image_format.width))


def train_elements(
    source: Source,
    image_format: ImageFormat,
    augmentation: Augmentation,
    num_classes: int,
    batch_size: int,
    seed: int,
    *,
    shard: Shard = WHOLE,
    **options,
) -> grain.MapDataset:
    """Returns the elements of `train_pipeline` by their index, made when they are asked for.

    Arguments and errors are those of `train_pipeline`.
    """
    steps_per_epoch(len(source), batch_size)
    if seed < 0:
        raise InputError(f"The seed should be 0 or more. Received: {seed}.")
    shard.train_size(batch_size)
    recipe = (augmentation, num_classes, batch_size, seed)
    return grain.MapDataset.source(TrainBatches(source, image_format, *recipe, shard, **options))


def evaluation_pipeline(
    source: Source,
    image_format: ImageFormat,
    batch_size: int,
    crop_ratio: float = 1.0,
    interpolation: str = "bicubic",
    *,
    shard: Shard = WHOLE,
    weighted: bool = False,
    bad_images: BadImages | None = None,
    with_index: bool = False,
    num_classes: int | None = None,
) -> grain.IterDataset:
    """Returns one pass over the examples in their order; the last batch can be smaller.

    With weights every batch is full: the last one is padded with copies of the last example, whose
    weight is 0, and all examples have the weight (number of rows with padding) / (number of
    examples). So Keras's losses, which divide by the batch size, and its `weighted_metrics` are the
    means over the examples. A bad image that is skipped also has the weight 0: metrics exclude it,
    the loss counts it as an example with a loss of 0.

    Args:
        source: the validation or test examples.
        image_format: the image format of the model.
        batch_size: the number B of images in a batch, of all processes together.
        crop_ratio: the crop ratio, see `transforms.center_crop_resize`.
        interpolation: "bicubic" or "bilinear".
        shard: the shard of this process. Each of several processes gets B / processes consecutive
            rows of every batch, and needs weights. Micro-batches are ignored.
        weighted: whether the batches have weights.
        bad_images: the handling of bad images; None to fail. To skip them needs weights.
        with_index: whether the labels include the index of each image in `source`.
        num_classes: the number of classes that labels are checked with; None if it is not known.

    Returns:
        A dataset of pairs: images as float32 (b, height, width, 3), normalized; and labels as int32
        (b,), or {"labels": labels, "index": int32 (b,)}. With weights it is a dataset of triples,
        whose third part is the weights as float32 (b,).

    Raises:
        InputError: the batch size, crop ratio or interpolation is out of range; there are several
            processes or skipped images without weights; or, while reading, an image is bad.
    """
    batches = evaluation_elements(
        *(source, image_format, batch_size, crop_ratio, interpolation),
        shard=shard,
        weighted=weighted,
        bad_images=bad_images,
        with_index=with_index,
        num_classes=num_classes,
    )
    rows = batch_size // shard.processes if weighted else min(batch_size, len(source))
    return prefetched(batches, image_format, rows)


def evaluation_elements(
    source: Source,
    image_format: ImageFormat,
    batch_size: int,
    crop_ratio: float = 1.0,
    interpolation: str = "bicubic",
    *,
    shard: Shard = WHOLE,
    weighted: bool = False,
    bad_images: BadImages | None = None,
    **labels,
) -> grain.MapDataset:
    """Returns the batches of `evaluation_pipeline` by their index, made when they are asked for.

    Arguments and errors are those of `evaluation_pipeline`.
    """
    check_evaluation_view(crop_ratio, interpolation)
    if batch_size < 1:
        raise InputError(f"The batch size should be 1 or more. Received: {batch_size}.")
    bad_images = bad_images or BadImages()
    arguments = (source, image_format, batch_size, crop_ratio, interpolation)
    if weighted:
        batches = WeightedBatches(*arguments, shard=shard, bad_images=bad_images, **labels)
    elif shard.processes > 1 or bad_images.policy == "skip":
        raise InputError(
            "An evaluation by several processes, or that skips bad images, should be weighted. "
            f"Received: {shard.processes} processes, policy {bad_images.policy!r}, weighted=False."
        )
    else:
        batches = EvaluationBatches(*arguments, **labels)
    return grain.MapDataset.source(batches)


def prefetched(
    elements: grain.MapDataset, image_format: ImageFormat, rows: int, threads: int | None = None
) -> grain.IterDataset:
    """Returns a dataset whose elements are made in advance by several threads.

    Args:
        elements: those of `train_elements` or `evaluation_elements`.
        image_format: the image format of the model.
        rows: the number of images in an element.
        threads: None for as many as there are cores, and as their memory allows.
    """
    # OpenCV's own threads would compete with Grain's for the same cores.
    cv2.setNumThreads(1)
    element_bytes = rows * image_format.height * image_format.width * 3 * 4
    most = max(1, _MAX_PREFETCHED_BYTES // element_bytes)
    threads = threads or min(os.cpu_count() or 1, _MAX_THREADS, most)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return elements.to_iter_dataset(options)
