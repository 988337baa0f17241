"""What Keras reads batches from, on TensorFlow."""

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers import data_adapters

from keras_deit import create_model


def test_keras_reads_what_it_is_given_without_autotuning_except_data_sets(monkeypatch):
    before, found = data_adapters.get_data_adapter, []
    strategy = type(tf.distribute.get_strategy())
    distribute = strategy.experimental_distribute_dataset

    def watched(self, dataset, options=None):
        found.append(dataset.options().autotune.enabled)
        return distribute(self, dataset, options)

    monkeypatch.setattr(strategy, "experimental_distribute_dataset", watched)
    sizes = dict(image_size=16, patch_size=8, embed_dim=24, depth=1, num_heads=2, num_classes=3)
    model = create_model("deit_tiny_patch16_224", **sizes)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((4, 16, 16, 3), "float32"), np.arange(4) % 3
    dataset = tf.data.Dataset.from_tensors((images, labels))
    model.fit(images, labels, validation_data=(images, labels), verbose=0)
    model.fit(((images, labels) for _ in range(2)), steps_per_epoch=2, verbose=0)
    model.evaluate(images, labels, verbose=0)
    model.predict(images, verbose=0)
    assert found == [False] * 5
    model.evaluate(dataset, verbose=0)
    assert found[5:] == [None]
    assert data_adapters.get_data_adapter is before
