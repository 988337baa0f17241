"""Five steps with target networks on one device and on two; prints the differences, as JSON.

This is a separate process because the CPU must be split before the backend has used it.
"""

import json

import keras
import numpy as np
from bootstrap import Bootstrap
from small_models import batch, small_student

from keras_deit.core.processes import data_parallel_replicas
from keras_deit.distributed import Devices, strategy_scope
from keras_deit.objectives import Dino, TrainingLength, TrainingModel
from keras_deit.optimizers import SGD

STEPS, BATCH_SIZE = 5, 8
STRATEGY = {"tensorflow": "mirrored", "jax": "data_parallel"}[keras.backend.backend()]


def bootstrap():
    return Bootstrap(0.5, steps=2 * STEPS), batch(STEPS * BATCH_SIZE)[0]


def dino():
    """Returns DINO with views of two sizes. Its center, and the normalization in its head, need the
    images of both devices."""
    sizes = {"prototypes": 7, "projector_width": 6, "bottleneck": 5, "head_norm": True}
    objective = Dino(**sizes, target_momentum=0.5, local_crops=2, local_crop_size=4)
    objective.use_length(TrainingLength(2 * STEPS, 1, STEPS * BATCH_SIZE))
    rng = np.random.default_rng(0)
    shapes = {"global": (2, 8, 8, 3), "local": (2, 4, 4, 3)}
    return objective, {
        name: rng.normal(size=(STEPS * BATCH_SIZE, *shape)).astype("float32")
        for name, shape in shapes.items()
    }


def train(case):
    """Trains on the devices of the current scope; returns their number and the averages."""
    keras.utils.set_random_seed(0)
    objective, x = case()
    model = TrainingModel(small_student(distilled=False), objective)
    model.compile(SGD(0.01, momentum=0.0))
    averages = [objective.target, *([objective.center] if case is dino else [])]
    start = [value for layer in averages for value in layer.get_weights()]
    labels = np.zeros(STEPS * BATCH_SIZE, "int32")
    model.fit(x, labels, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    moved = [value for layer in averages for value in layer.get_weights()]
    return data_parallel_replicas(), start, moved


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


if __name__ == "__main__":
    cases = {"bootstrap": bootstrap, "dino": dino}
    # One scope for all cases: TensorFlow confuses the collectives of two strategies of a process.
    with strategy_scope(Devices(STRATEGY, virtual_devices=2)):
        several = {name: train(case) for name, case in cases.items()}
    with strategy_scope(Devices()):
        alone = {name: train(case) for name, case in cases.items()}
    result = {
        name: {
            "replicas": several[name][0],
            "difference": largest_difference(several[name][2], alone[name][2]),
            "moved": largest_difference(*alone[name][1:]),
        }
        for name in cases
    }
    print(json.dumps(result))
