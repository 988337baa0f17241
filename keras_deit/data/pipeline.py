"""From a source of images to the batches that `fit` and `evaluate` take.

An element of the Grain dataset is a batch, or a shard of one, made by one function call: Grain
needs some 20 microseconds of Python for every element and step, which is more than the work on
small images. Grain's threads make several elements at a time, and the state of its iterator is the
number of the next one.
"""

import os

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

_MAX_THREADS = 16
_MAX_BYTES_AHEAD = 4 * 2**30


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
    views: int = 1,
    with_index: bool = False,
) -> grain.IterDataset:
    """Returns endless batches for training, shuffled again in every epoch.

    The epochs follow each other without a gap, so a batch can hold the end of one and the start
    of the next, and every batch is full. The content of a batch depends on the seed and its number
    only; what is done to an image depends on the seed, the epoch, the image's index and which copy
    it is, not on the batch size. So the stream is the same with any number of threads, and with
    the worker processes of Grain's `mp_prefetch`. With repeated augmentation an epoch of the stream
    is that of `randomness.ShuffledStream`.

    An element is one shard of a batch: the whole batch, unless `shard` divides it. A bad image
    that is skipped is replaced by the next good one in the source, which is augmented with the
    random numbers of the place that it takes.

    Args:
        source: of training examples.
        image_format: of the model.
        augmentation: of the recipe.
        num_classes: K.
        batch_size: B, of all shards together.
        seed: of the run, 0 or more.
        shard: what this process gets of every batch.
        start: how many elements of the stream are left out.
        stop: the element of the stream that the dataset ends before; None for no end.
        bad_images: what to do about them; None to fail.
        views: augmented copies of an image in a batch; all are mixed in the same way.
        with_index: whether the targets hold the position of each image in `source`.

    Returns:
        A dataset of pairs: images, float32 (b, height, width, 3), normalized, or with several views
        (b, views, height, width, 3); and targets, float32 (b, K), smoothed and mixed, or
        {"labels": targets, "index": int32 (b,)}. b is B divided by the number of shards.

    Raises:
        InputError: a batch size, seed, start or stop that is not possible, or, while reading, a bad
            image, or none but bad ones.
    """
    steps_per_epoch(len(source), batch_size)
    if seed < 0:
        raise InputError(f"The seed should be 0 or more. Received: {seed}.")
    if start < 0 or (stop is not None and stop <= start):
        raise InputError(
            f"The stream should start at 0 or later and stop after it. Received: {start}, {stop}."
        )
    rows = shard.train_size(batch_size) * views
    recipe = (augmentation, num_classes, batch_size, seed)
    batches = TrainBatches(source, image_format, *recipe, shard, bad_images, views, with_index)
    return _read_ahead(grain.MapDataset.source(batches)[start:stop], image_format, rows)


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
) -> grain.IterDataset:
    """Returns one pass over the examples in their order; the last batch may be smaller.

    Weighted, every batch is full: the last one is padded by copies of the last example with the
    weight 0, and all examples have the weight (rows with padding) / (examples). Keras's losses,
    which divide by the batch size, and its `weighted_metrics` are then the means over the examples.
    A bad image that is skipped has the weight 0 too: the metrics leave it out, the loss counts it
    as an example without loss.

    Args:
        source: of validation or test examples.
        image_format: of the model.
        batch_size: B, of all processes together.
        crop_ratio: see `transforms.center_crop_resize`.
        interpolation: "bicubic" or "bilinear".
        shard: of this process: of several, each gets B / processes neighboring rows of every
            batch, which must be weighted. Its micro-batches play no role.
        weighted: whether there are weights.
        bad_images: what to do about them, None to fail; they can be skipped by weight only.
        with_index: whether the labels hold the position of each image in `source`.

    Returns:
        A dataset of pairs: images, float32 (b, height, width, 3), normalized; labels, int32 (b,),
        or {"labels": labels, "index": int32 (b,)}; or, weighted, of triples whose third is the
        weights, float32 (b,).

    Raises:
        InputError: a batch size, crop ratio or interpolation that is not possible, shards or
            skipping without weights, or, while reading, a bad image.
    """
    check_evaluation_view(crop_ratio, interpolation)
    if batch_size < 1:
        raise InputError(f"The batch size should be 1 or more. Received: {batch_size}.")
    bad_images = bad_images or BadImages()
    arguments = (source, image_format, batch_size, crop_ratio, interpolation)
    if weighted:
        batches = WeightedBatches(
            *arguments, shard=shard, bad_images=bad_images, with_index=with_index
        )
    elif shard.processes > 1 or bad_images.policy == "skip":
        raise InputError(
            "An evaluation by several processes or with bad images skipped should be weighted. "
            f"Received: {shard.processes} processes, policy {bad_images.policy!r}, weighted=False."
        )
    else:
        batches = EvaluationBatches(*arguments, with_index=with_index)
    rows = batch_size // shard.processes if weighted else min(batch_size, len(source))
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
