"""Ten steps on one device and on two replicas; prints how far apart they end, as JSON.

A process of its own: the CPU must be split before TensorFlow has used it.
"""

import json
import sys

import keras
import numpy as np
from keras_deit.core.execution import replicas
from small_models import batch, small_student, small_teacher

from keras_deit import Distiller
from keras_deit.distributed import Devices
from keras_deit.distributed.strategies import strategy_scope
from keras_deit.optimizers import SGD, Lamb

STEPS, BATCH_SIZE = 10, 8
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    # Every step is clipped: the norm of the gradients is some 40 times as large.
    "clipped": lambda: SGD(1.0, weight_decay=0.1, global_clipnorm=0.05),
    # ε above the gradients of the keys' bias, which are nothing but rounding.
    "lamb": lambda: Lamb(0.05, 0.2, epsilon=1e-4, learning_rate_factors={"class_head/kernel": 0.5}),
}


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        # Keras logs the mean of the replicas' accuracies within an epoch: not that of the batch.
        self.logs.append({name: float(logs[name]) for name in logs if name.endswith("loss")})

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append({name: float(value) for name, value in logs.items()})


def train(mirrored, kind, distilled, optimizer):
    x, y, weights = batch(STEPS * BATCH_SIZE, labels="distributions" if distilled else "integers")
    losses = Losses()
    devices = Devices("mirrored", virtual_devices=2) if mirrored else Devices()
    with strategy_scope(devices):
        count = replicas()
        distiller = Distiller(
            small_student(distilled),
            small_teacher(),
            kind,
            alpha=0.3,
            validate_agreement=True,
            ema_decay=0.8,
        )
        distiller.compile(optimizer=OPTIMIZERS[optimizer]())
        distiller.fit(
            *(x, y, BATCH_SIZE),
            sample_weight=weights,
            shuffle=False,
            verbose=0,
            callbacks=[losses],
        )
        evaluation = distiller.evaluate(x, y, batch_size=BATCH_SIZE, verbose=0, return_dict=True)
        values = [weight.numpy() for weight in distiller.trainable_variables]
        averages = distiller.ema.get_weights()
        spoiled = spoil(distiller, x, y) if mirrored and optimizer != "sgd" else None
    return count, values, averages, [*losses.logs, evaluation], spoiled


def spoil(distiller, x, y):
    """A step with an image that is not a number: how far it moves, and what counts it."""
    x = x[:BATCH_SIZE].copy()
    x[-1] = np.nan
    before = [value.numpy() for value in everything(distiller)]
    distiller.fit(x, y[:BATCH_SIZE], batch_size=BATCH_SIZE, verbose=0)
    after = [value.numpy() for value in everything(distiller)]
    optimizer = distiller.optimizer
    counts = (optimizer.nonfinite_steps, optimizer.first_nonfinite_step)
    return [largest_difference(before, after), *(int(count.numpy()) for count in counts)]


def everything(distiller):
    """Every replica's copy of the weights, the averages, the slots and the count of steps."""
    optimizer = distiller.optimizer
    counts = {id(optimizer.nonfinite_steps), id(optimizer.first_nonfinite_step)}
    kept = [v for v in optimizer.variables if id(v) not in counts]
    variables = [*distiller.trainable_variables, *distiller.ema.weights, *kept]
    return [copy for variable in variables for copy in variable.value.values]


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


def main(kind, distilled, optimizer):
    # Mirrored first: only then is the CPU still whole.
    devices, mirrored, mirrored_ema, mirrored_logs, spoiled = train(
        True, kind, distilled, optimizer
    )
    alone, single, single_ema, single_logs, _ = train(False, kind, distilled, optimizer)
    start = [weight.numpy() for weight in small_student(distilled).trainable_variables]
    logs = zip(mirrored_logs, single_logs, strict=True)
    return {
        "replicas": [devices, alone],
        "spoiled": spoiled,
        "moved": largest_difference(start, single),
        "weights": largest_difference(mirrored, single),
        "averages": largest_difference(mirrored_ema, single_ema),
        "averages_behind": largest_difference(single_ema, single),
        "logs": max(abs(one[name] - other[name]) for one, other in logs for name in other),
        "step_names": sorted(single_logs[0]),
        "epoch_names": sorted(single_logs[STEPS]),
        "logged": len(single_logs),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2] == "distilled", sys.argv[3])))
