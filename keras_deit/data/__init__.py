"""Datasets of labeled images, their augmentation and mixing, and batches for training."""

from keras_deit.data.augmentation import Augmentation
from keras_deit.data.bad_images import BadImages
from keras_deit.data.balance import balanced_class_weights, source_labels
from keras_deit.data.batches import num_batches
from keras_deit.data.datasets import (
    DatasetSize,
    dataset_size,
    full_name,
    load_dataset,
    take_examples,
)
from keras_deit.data.images import MAX_IMAGE_PIXELS
from keras_deit.data.pipeline import (
    evaluation_pipeline,
    steps_per_epoch,
    train_pipeline,
)
from keras_deit.data.shards import Shard
from keras_deit.data.source import Dataset, Relabeled, Source

__all__ = [
    "MAX_IMAGE_PIXELS",
    "Augmentation",
    "BadImages",
    "Dataset",
    "DatasetSize",
    "Relabeled",
    "Shard",
    "Source",
    "balanced_class_weights",
    "dataset_size",
    "evaluation_pipeline",
    "full_name",
    "load_dataset",
    "num_batches",
    "source_labels",
    "steps_per_epoch",
    "take_examples",
    "train_pipeline",
]
