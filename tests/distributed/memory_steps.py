"""Steps of Grafit on one device and on two; prints how much the memories differ, as JSON.

This is a separate process because the CPU must be split before the backend has used it.
"""

import json

import keras
import numpy as np
from small_models import batch, small_student

from keras_deit.core.processes import data_parallel_replicas
from keras_deit.distributed import Devices, strategy_scope
from keras_deit.objectives import Grafit, TrainingLength, TrainingModel
from keras_deit.optimizers import SGD

IMAGES, BATCH_SIZE, EPOCHS = 16, 8, 3
STRATEGY = {"tensorflow": "mirrored", "jax": "data_parallel"}[keras.backend.backend()]


def train():
    """Trains on the devices of the current scope; returns their number, memory and weights."""
    keras.utils.set_random_seed(0)
    x, labels, _ = batch(2 * IMAGES)
    x, labels = x.reshape(IMAGES, 2, *x.shape[1:]), labels[:IMAGES]
    objective = Grafit("linear", 5, augmentations=2, ce_weight=0.5, sigma=0.3)
    objective.use_length(TrainingLength(6, 2, IMAGES))
    model = TrainingModel(small_student(distilled=False), objective)
    model.compile(SGD(0.1, momentum=0.0))
    y = {"labels": labels, "index": np.arange(IMAGES)}
    model.fit(x, y, BATCH_SIZE, EPOCHS, shuffle=False, verbose=0)
    return data_parallel_replicas(), objective.memory.get_weights(), model.student.get_weights()


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


if __name__ == "__main__":
    with strategy_scope(Devices(STRATEGY, virtual_devices=2)):
        replicas, memory, weights = train()
    with strategy_scope(Devices()):
        _, expected, expected_weights = train()
    result = {
        "replicas": replicas,
        "memory": largest_difference(memory, expected),
        "weights": largest_difference(weights, expected_weights),
        "seen": int((memory[1] > 0).sum()),
    }
    print(json.dumps(result))
