"""Reading as a contender of a benchmark: the batches of a training, or the weights of a model."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import cv2
import keras
import numpy as np

from keras_deit.benchmarking.worker import Task
from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import Augmentation
from keras_deit.data.folder_files import SUFFIXES
from keras_deit.data.images import EncodedImage
from keras_deit.data.pipeline import prefetched, train_elements
from keras_deit.pretrained import create_model, load_pretrained
from keras_deit.version import __version__

# Images that are made if the user has none: their number and size, and the quality of the JPEG.
_MADE, _HEIGHT, _WIDTH, _QUALITY = 64, 375, 500, 90
# Sides of the noise in its octaves, which together look like a photograph to a decoder.
_OCTAVES = (4, 16, 64, 256)


def reading_step(task: Task, framework) -> tuple[Callable, dict[str, str]]:
    """Returns the step of a task in mode "input" or "load", and versions of packages by name."""
    versions = {"keras": keras.__version__, "keras_deit": __version__}
    if task.mode == "load":
        model = create_model(task.model, image_size=task.image_size, num_classes=task.classes)
        return lambda: load_pretrained(model, task.files), versions
    image_format = ImageFormat(task.image_size, task.image_size)
    elements = train_elements(
        _Files(task.files, task.epoch),
        image_format,
        # The rest of DeiT's recipe is the default.
        Augmentation(auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25),
        *(task.classes, task.batch_size, 0),
    )
    batches = iter(prefetched(elements, image_format, task.batch_size, task.threads))
    return lambda: framework.on_device(next(batches)[0]), versions | {"opencv": cv2.__version__}


class _Files:
    """A source of many examples that repeats the images of a folder.

    Args:
        folder: with a folder for each class.
        length: number of examples.
    """

    def __init__(self, folder: str | os.PathLike, length: int):
        self._files = image_files(folder)
        self._length = length

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> tuple[EncodedImage, int]:
        file = self._files[index % len(self._files)]
        return EncodedImage(file.read_bytes(), str(file)), index % 10

    def __getitem__(self, index: int):
        image, label = self.read(index)
        return image.decode(), label


def image_files(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the images in the class folders of a folder.

    Raises:
        InputError: there is none.
    """
    files = sorted(
        file for file in pathlib.Path(folder).glob("*/*") if file.suffix.lower() in SUFFIXES
    )
    if not files:
        raise InputError(f"{folder} has no images in folders of classes.")
    return files


def write_images(folder: pathlib.Path) -> None:
    """Writes JPEG files of noise whose spectrum is like that of photographs, in two classes."""
    rng = np.random.default_rng(0)
    for number in range(_MADE):
        image = np.full((_HEIGHT, _WIDTH, 3), 128, np.float32)
        for side in _OCTAVES:
            noise = rng.normal(0, 120 / side**0.5, (side, side, 3)).astype(np.float32)
            image += cv2.resize(noise, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
        path = folder / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def write_weights(name: str, image_size: int, classes: int, path: pathlib.Path) -> None:
    """Writes random weights of a model in timm's layout, as safetensors.

    It is done in another process and without a GPU, whose memory is that of the contenders.
    """
    program = (
        "import sys; from keras_deit import create_model;"
        "from keras_deit.pretrained import save_safetensors;"
        "name, size, classes, path = sys.argv[1:];"
        "save_safetensors(create_model(name, image_size=int(size), num_classes=int(classes)), path)"
    )
    arguments = map(str, (name, image_size, classes, path))
    subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"},
        check=True,
        stderr=subprocess.DEVNULL,
    )
