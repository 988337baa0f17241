"""Five steps with a target network on one device and on two; prints the differences, as JSON.

This is a separate process because the CPU must be split before the backend has used it.
"""

import json

import keras
import numpy as np
from bootstrap import Bootstrap
from small_models import batch, small_student

from keras_deit.core.processes import data_parallel_replicas
from keras_deit.distributed import Devices, strategy_scope
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import SGD

STEPS, BATCH_SIZE = 5, 8
STRATEGY = {"tensorflow": "mirrored", "jax": "data_parallel"}[keras.backend.backend()]


def train():
    """Trains on the devices of the current scope; returns their number and the averages."""
    keras.utils.set_random_seed(0)
    x, y, _ = batch(STEPS * BATCH_SIZE)
    model = TrainingModel(small_student(distilled=False), Bootstrap(0.5, steps=2 * STEPS))
    model.compile(SGD(0.1, momentum=0.0))
    start = model.objective.target.get_weights()
    model.fit(x, y, BATCH_SIZE, shuffle=False, verbose=0)
    trained = [w.numpy() for part in model.objective.parts for w in part.weights]
    return data_parallel_replicas(), start, model.objective.target.get_weights(), trained


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=False))


if __name__ == "__main__":
    with strategy_scope(Devices(STRATEGY, virtual_devices=2)):
        replicas, _, averages, _ = train()
    with strategy_scope(Devices()):
        _, start, expected, trained = train()
    result = {
        "replicas": replicas,
        "difference": largest_difference(averages, expected),
        "moved": largest_difference(start, expected),
        "behind": largest_difference(expected, trained),
    }
    print(json.dumps(result))
