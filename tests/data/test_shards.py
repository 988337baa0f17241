"""Shards of batches, which together are the batch bit by bit, and parts of the stream."""

import hashlib
import itertools

import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data.augmentation import Augmentation
from keras_deit.data.batches import TrainBatches
from keras_deit.data.datasets import load_dataset
from keras_deit.data.pipeline import train_pipeline
from keras_deit.data.shards import Shard
from keras_deit.data.source import ArraySource

FORMAT = ImageFormat(8, 8)
BATCH = 64
MIXINGS = {
    "mixup": Augmentation(cutmix_alpha=0.0),
    "cutmix": Augmentation(mixup_alpha=0.0),
    "batch": Augmentation(),
    "elem": Augmentation(mix_mode="elem"),
    "elem, half of them": Augmentation(mix_mode="elem", mix_probability=0.5),
    "all steps, copies": Augmentation(
        auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
    ),
}
COUNTS = list(itertools.product([1, 2, 4, 8], [1, 2, 4]))


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits").train


def stream(digits, augmentation, shard=None, batch_size=BATCH):
    arguments = digits, FORMAT, augmentation, 10, batch_size, 0
    return TrainBatches(*arguments) if shard is None else TrainBatches(*arguments, shard)


def documented_rows(index, count, batch_size=BATCH):
    """Returns the rows of a shard: a slice of the first half and its mirror image."""
    half = np.arange(batch_size // 2).reshape(count, -1)[index]
    return np.concatenate([half, np.sort(batch_size - 1 - half)])


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_shards_of_a_batch_are_the_batch(digits, mixing):
    whole = stream(digits, MIXINGS[mixing])
    # The first epoch ends inside batch 19 without copies, and inside batch 16 with copies.
    for batch in (2, 16, 19):
        images, targets = whole[batch]
        for processes, micro_batches in COUNTS:
            seen = []
            for process, part in itertools.product(range(processes), range(micro_batches)):
                shard = Shard(process, processes, micro_batches)
                found = stream(digits, MIXINGS[mixing], shard)[batch * micro_batches + part]
                rows = documented_rows(part * processes + process, processes * micro_batches)
                np.testing.assert_array_equal(found[0], images[rows])
                np.testing.assert_array_equal(found[1], targets[rows])
                seen.extend(rows)
            assert sorted(seen) == list(range(BATCH))


@pytest.mark.parametrize("mixing", ["mixup", "cutmix", "elem"])
def test_mixing_changes_nearly_every_image_of_a_shard(digits, mixing):
    unmixed, _ = stream(digits, Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0))[2]
    mixed, targets = stream(digits, MIXINGS[mixing], Shard(1, 4, 2))[5]
    rows = documented_rows(1 * 4 + 1, 8)
    assert (mixed != unmixed[rows]).any((1, 2, 3)).mean() > 0.8
    lambdas = np.unique(targets.max(1).round(4))
    assert len(lambdas) > 3 if mixing == "elem" else len(lambdas) <= 2


def test_partners_are_partners_in_a_shard():
    for processes, micro_batches in COUNTS:
        for process, part in itertools.product(range(processes), range(micro_batches)):
            shard = Shard(process, processes, micro_batches)
            batch, rows = shard.train_rows(7 * micro_batches + part, BATCH)
            assert batch == 7 and rows == sorted(rows)
            np.testing.assert_array_equal(np.add(rows, rows[::-1]), BATCH - 1)


def test_a_process_reads_only_the_images_of_its_shards(digits):
    class Counting(ArraySource):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    images = np.stack([digits[index][0] for index in range(len(digits))])
    source = Counting(images, digits.labels)
    by_process = []
    for process in range(4):
        read = []
        batches = stream(source, Augmentation(), Shard(process, 4, 2))
        for element in range(2 * 19):
            batches[element]
        by_process.append(read)
    assert [len(read) for read in by_process] == [19 * 16] * 4
    # 19 batches of 64 are less than an epoch of 1,257, so no example is repeated.
    assert len(set(itertools.chain(*by_process))) == 19 * 64


def test_a_pipeline_returns_the_micro_batches_of_a_process_in_order(digits):
    whole = stream(digits, Augmentation())
    shard = Shard(1, 2, 4)
    dataset = train_pipeline(digits, FORMAT, Augmentation(), 10, BATCH, 0, shard=shard, stop=12)
    elements = list(dataset)
    assert len(elements) == 12
    for number, (images, targets) in enumerate(elements):
        rows = documented_rows(number % 4 * 2 + 1, 8)
        np.testing.assert_array_equal(images, whole[number // 4][0][rows])
        np.testing.assert_array_equal(targets, whole[number // 4][1][rows])


# Digests of this stream from before shards existed. Without resizing and blending, all values are
# integers, so they are the same on every machine.
DIGESTS = {
    "batch": "d5d72b2ae9fd2bcd2cf462d8846a5e743dfdf5e05c09862f3bdb6b4a75f2f8a0",
    "elem": "b50bb3264a3fe7ffe192e54951f5d32a3aaadc628b4bbc433023c17e5b68bcdd",
}


@pytest.mark.parametrize("mode", DIGESTS)
def test_the_stream_without_shards_never_changes(mode):
    fields = {"mix_probability": 0.7, "repeated_augmentation": 3} if mode == "elem" else {}
    augmentation = Augmentation(
        crop="none", label_smoothing=0.0, mixup_alpha=0.0, mix_mode=mode, **fields
    )
    pixels = (np.arange(300 * 192) * 7919 % 251).astype(np.uint8).reshape(300, 8, 8, 3)
    source = ArraySource(pixels, np.arange(300) % 10)
    raw = ImageFormat(8, 8, (0, 0, 0), (1 / 255,) * 3)
    batches = TrainBatches(source, raw, augmentation, 10, 32, 7)
    digest = hashlib.sha256()
    for number in range(30):
        images, targets = batches[number]
        for values in (images, 64 * targets):
            digest.update(np.rint(values).astype(np.uint8).tobytes())
    assert digest.hexdigest() == DIGESTS[mode]


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_a_single_shard_allows_any_batch_size(batch_size):
    assert Shard().train_rows(3, batch_size) == (3, list(range(batch_size)))


@pytest.mark.parametrize(
    ("processes", "micro_batches", "batch_size"), [(2, 1, 6), (1, 4, 60), (3, 2, 64)]
)
def test_batches_that_cannot_be_divided_are_rejected(digits, processes, micro_batches, batch_size):
    shard = Shard(0, processes, micro_batches)
    with pytest.raises(InputError, match=f"{2 * processes * micro_batches}.*{batch_size}"):
        train_pipeline(digits, FORMAT, Augmentation(), 10, batch_size, 0, shard=shard)


@pytest.mark.parametrize("arguments", [(1, 1), (-1, 2), (0, 0), (0, 1, 0)])
def test_impossible_shards_are_rejected(arguments):
    with pytest.raises(InputError, match=r"Shard\("):
        Shard(*arguments)


@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2, 2)])
def test_parts_of_the_stream_continue_each_other(digits, shard):
    """Parts end inside of an epoch, and inside of a batch that has micro-batches."""

    def part(start, stop):
        arguments = digits, FORMAT, MIXINGS["all steps, copies"], 10, 32, 3
        return train_pipeline(*arguments, shard=shard, start=start, stop=stop)

    endless = list(itertools.islice(part(0, None), 90))
    bounds = [0, 1, 31, 33, 57, 90]
    parts = [list(part(*pair)) for pair in itertools.pairwise(bounds)]
    assert [len(elements) for elements in parts] == np.diff(bounds).tolist()
    late = list(itertools.islice(part(33, None), 57))
    for found, start in ((itertools.chain(*parts), 0), (late, 33)):
        for expected, element in zip(endless[start:], found, strict=True):
            assert all(map(np.array_equal, expected, element))


def test_the_stream_can_start_at_a_large_index(digits):
    start = 10**9
    dataset = train_pipeline(digits, FORMAT, Augmentation(), 10, BATCH, 0, start=start)
    expected = stream(digits, Augmentation())[start]
    assert all(map(np.array_equal, next(iter(dataset)), expected))


def test_the_state_of_an_iterator_counts_from_its_start(digits):
    dataset = train_pipeline(digits, FORMAT, Augmentation(), 10, BATCH, 0, start=5, stop=12)
    iterator = iter(dataset)
    for _ in range(3):
        next(iterator)
    resumed = iter(dataset)
    resumed.set_state(iterator.get_state())
    rest = list(resumed)
    assert len(rest) == 4
    assert all(map(np.array_equal, rest[0], stream(digits, Augmentation())[8]))


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (4, 4), (5, 2)])
def test_impossible_parts_are_rejected(digits, start, stop):
    with pytest.raises(InputError, match=f"{start}, {stop}"):
        train_pipeline(digits, FORMAT, Augmentation(), 10, 64, 0, start=start, stop=stop)
