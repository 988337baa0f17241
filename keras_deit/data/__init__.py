"""Datasets of labeled images, their augmentation and mixing, and batches for training."""

import importlib

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.balance import balanced_class_weights, source_labels
from keras_deit.data.batches import num_batches
from keras_deit.data.datasets import (
    DatasetSize,
    dataset_size,
    full_name,
    is_prepared,
    load_dataset,
    load_evaluation_data,
    say_folder,
    take_examples,
)
from keras_deit.data.imagenet import load_imagenet_sets
from keras_deit.data.images import MAX_IMAGE_PIXELS
from keras_deit.data.levels import read_grouping
from keras_deit.data.pipeline import (
    evaluation_pipeline,
    steps_per_epoch,
    train_pipeline,
)
from keras_deit.data.shards import Shard
from keras_deit.data.source import Dataset, Relabeled, Source
from keras_deit.data.views import View

# By name, the module that has it. They need recipes, which are above this part of the package, so
# they are imported when they are first used.
_LAZY = dict.fromkeys(("evaluation_dataset", "train_dataset"), "keras_deit.training.datasets")

__all__ = [
    *_LAZY,
    "MAX_IMAGE_PIXELS",
    "Augmentation",
    "BadImages",
    "Dataset",
    "DatasetSize",
    "Relabeled",
    "Shard",
    "Source",
    "View",
    "balanced_class_weights",
    "dataset_size",
    "evaluation_pipeline",
    "full_name",
    "load_dataset",
    "is_prepared",
    "load_evaluation_data",
    "load_imagenet_sets",
    "num_batches",
    "read_grouping",
    "say_folder",
    "source_labels",
    "steps_per_epoch",
    "take_examples",
    "train_pipeline",
]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
