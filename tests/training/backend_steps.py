"""Five distilled steps of SGD without random layers, on any backend.

backend_steps.py RESULT.npz
"""

import sys

import keras
import numpy as np
from small_models import batch, small_student, small_teacher

from keras_deit import Distiller
from keras_deit.optimizers import SGD

STEPS, BATCH_SIZE = 5, 8


def train() -> dict[str, np.ndarray]:
    """Returns the weights before and after, and their averages; NumPy draws the initial ones."""
    distiller = Distiller(small_student(), small_teacher(), alpha=0.5, ema_decay=0.5)
    start = distiller.student.get_weights()
    jit = keras.backend.backend() == "jax"
    optimizer = SGD(0.2, weight_decay=0.05, global_clipnorm=1.0)
    distiller.compile(optimizer, jit_compile=jit)
    x, y, weights = batch(STEPS * BATCH_SIZE)
    distiller.fit(x, y, batch_size=BATCH_SIZE, sample_weight=weights, shuffle=False, verbose=0)
    student, ema = distiller.student.get_weights(), distiller.ema.get_weights()
    named = {"start": start, "weight": student, "average": ema}
    return {f"{name} {index}": v for name in named for index, v in enumerate(named[name])}


if __name__ == "__main__":
    np.savez(sys.argv[1], **train())
