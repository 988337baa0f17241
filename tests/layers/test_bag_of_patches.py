"""SPT lets tokens see beyond the border of their patch, which a small network can learn to use."""

import keras
import numpy as np
import pytest

from keras_deit import layers


@pytest.mark.slow
@pytest.mark.parametrize("spt", [False, True])
def test_a_bag_of_patches_sees_a_pattern_across_their_border_with_spt_alone(spt):
    """The class is whether two pixels on the sides of a border have the same sign. Each patch of
    its own knows one sign, which says nothing."""
    images, labels = _pairs_across_a_border(4000)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    embedding = layers.ShiftedPatchTokenization if spt else layers.DensePatchEmbedding
    x = embedding(4, 32, kernel_init="xavier_normal")(inputs)
    x = keras.layers.Dense(32, activation="relu")(keras.activations.relu(x))
    logits = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, logits)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    metric = keras.metrics.BinaryAccuracy(threshold=0.0)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=[metric])
    model.fit(images[:3000], labels[:3000], batch_size=100, epochs=8, verbose=0)
    accuracy = model.evaluate(images[3000:], labels[3000:], verbose=0, return_dict=True)
    if spt:
        assert accuracy["binary_accuracy"] > 0.95
    else:
        assert 0.4 < accuracy["binary_accuracy"] < 0.6


def _pairs_across_a_border(count):
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.1, (count, 8, 8, 1)).astype("float32")
    signs = rng.choice([-1, 1], (count, 2))
    rows = rng.integers(0, 8, count)
    images[np.arange(count), rows, 3, 0] = signs[:, 0]
    images[np.arange(count), rows, 4, 0] = signs[:, 1]
    return images, (signs[:, 0] == signs[:, 1]).astype("float32")
