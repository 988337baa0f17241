"""Measures the input pipeline, from JPEG files to batches, beside the authors' Pillow and NumPy.

Both sides take the same 500x375 JPEG files, made of scikit-image's photographs, through DeiT's
training recipe at 224 pixels and through its evaluation. Each side runs in its own process, on one
thread, and they take turns. The times are CPU times, so other programs on the machine matter
little.
"""

import io
import multiprocessing
import os
import random
import statistics
import time

import numpy as np
from benchmarks import photographs, pillow_reference

_BATCH_SIZE = 64
_EXAMPLES = 100_000
_CLASSES = 1000
_SIZE = (500, 375)
_TASKS = {
    "training": "training recipe",
    "repeated": "training recipe, repeated augmentation",
    "evaluation": "evaluation",
}
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run(rounds: int) -> str:
    """Returns a table of images per second and core.

    Args:
        rounds: number of batches of each task, after one for warm-up; the median is reported.
    """
    os.environ.update(_ONE_THREAD)
    files = _jpeg_files()
    sides = [_Side(make, files) for make in (_pillow_batches, _package_batches)]
    lines = [f"{'images per second and core':40} {'Pillow':>8} {'here':>8} {'ratio':>7}"]
    for task, title in _TASKS.items():
        for side in sides:
            side.measure(task)
        rates = [[side.measure(task) for side in sides] for _ in range(rounds)]
        theirs, ours = (statistics.median(side) for side in zip(*rates, strict=True))
        lines.append(f"{title:40} {theirs:8.0f} {ours:8.0f} {ours / theirs:6.2f}x")
    for side in sides:
        side.close()
    return "\n".join(lines)


class _Side:
    """A process that makes a batch for each task that it is sent."""

    def __init__(self, make, files: list[bytes]):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, files), daemon=True)
        self._process.start()

    def measure(self, task: str) -> float:
        """Returns the images per second of the process's CPU time."""
        self._pipe.send(task)
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def _serve(pipe, make, files: list[bytes]) -> None:
    batches = make(files)
    numbers = dict.fromkeys(_TASKS, 0)
    while (task := pipe.recv()) is not None:
        start = time.process_time()
        images = batches[task](numbers[task])
        seconds = time.process_time() - start
        assert images.size == _BATCH_SIZE * 224 * 224 * 3 and images.dtype == np.float32
        numbers[task] += 1
        pipe.send(_BATCH_SIZE / seconds)


def _pillow_batches(files: list[bytes]) -> dict:
    random.seed(0)
    rng = np.random.default_rng(0)

    def train(number, copies):
        chosen = [files[i] for i in rng.integers(len(files), size=-(-_BATCH_SIZE // copies))]
        chosen = [data for data in chosen for _ in range(copies)][:_BATCH_SIZE]
        labels = rng.integers(_CLASSES, size=_BATCH_SIZE)
        return pillow_reference.train_batch(chosen, labels, _CLASSES, rng)[0]

    def evaluate(number):
        chosen = [files[i] for i in rng.integers(len(files), size=_BATCH_SIZE)]
        return pillow_reference.evaluation_batch(chosen)

    return {
        "training": lambda number: train(number, 1),
        "repeated": lambda number: train(number, 3),
        "evaluation": evaluate,
    }


def _package_batches(files: list[bytes]) -> dict:
    import cv2

    from keras_deit.core.image_format import ImageFormat
    from keras_deit.data import Augmentation
    from keras_deit.data.batches import EvaluationBatches, TrainBatches

    cv2.setNumThreads(1)
    source, image_format = _JpegSource(files), ImageFormat(224, 224)

    def train(copies):
        augmentation = Augmentation(
            auto_augment="rand-m9-mstd0.5-inc1",
            erase_probability=0.25,
            repeated_augmentation=copies,
        )
        return TrainBatches(source, image_format, augmentation, _CLASSES, _BATCH_SIZE, seed=0)

    training, repeated = train(1), train(3)
    evaluation = EvaluationBatches(source, image_format, _BATCH_SIZE, 0.875, "bicubic")
    return {
        "training": lambda number: training[number][0],
        "repeated": lambda number: repeated[number][0],
        "evaluation": lambda number: evaluation[number][0],
    }


class _JpegSource:
    """A source of many examples that repeats a few files."""

    def __init__(self, files: list[bytes]):
        self._files = files

    def __len__(self) -> int:
        return _EXAMPLES

    def read(self, index: int):
        from keras_deit.data.images import EncodedImage

        return EncodedImage(self._files[index % len(self._files)], str(index)), index % _CLASSES

    def __getitem__(self, index: int):
        image, label = self.read(index)
        return image.decode(), label


def _jpeg_files() -> list[bytes]:
    """Returns the photographs, cropped to 4:3 and resized, as JPEG files of quality 90."""
    from PIL import Image, ImageOps

    files = []
    for pixels in photographs.photographs().values():
        buffer = io.BytesIO()
        image = ImageOps.fit(Image.fromarray(pixels), _SIZE, Image.Resampling.BICUBIC)
        image.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files
