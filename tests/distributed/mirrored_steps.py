"""Ten steps on one device and on two replicas; prints how much the results differ, as JSON.

This is a separate process because the CPU must be split before TensorFlow has used it.
"""

import json

import keras
import numpy as np
import tensorflow as tf
from small_models import batch, small_student, small_teacher

from keras_deit import Distiller, InputError
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.distributed import Devices, strategy_scope
from keras_deit.optimizers import SGD, Lamb

STEPS, BATCH_SIZE = 10, 8
# The kind of distillation, whether the student has a distillation head, and the optimizer.
CASES = {
    "sgd": ("soft", False, lambda: keras.optimizers.SGD(0.1)),
    # Every step is clipped: the norm of the gradients is some 40 times as large.
    "clipped": ("hard", True, lambda: SGD(1.0, weight_decay=0.1, global_clipnorm=0.05)),
    # The gradients of the keys' bias are nothing but rounding; ε is larger than they are.
    "lamb": (
        *("hard", True),
        lambda: Lamb(0.05, 0.2, epsilon=1e-4, learning_rate_factors={"class_head/kernel": 0.5}),
    ),
}


class Losses(keras.callbacks.Callback):
    """Collects the losses of each step and all figures of each epoch."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        # Within an epoch Keras logs the mean of the replicas' accuracies, not that of the batch.
        self.logs.append({name: float(logs[name]) for name in logs if name.endswith("loss")})

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append({name: float(value) for name, value in logs.items()})


def train(kind, distilled, make_optimizer):
    """Does ten steps on the devices of the current scope."""
    x, y, weights = batch(STEPS * BATCH_SIZE, labels="distributions" if distilled else "integers")
    losses = Losses()
    distiller = Distiller(
        small_student(distilled),
        small_teacher(),
        kind,
        alpha=0.3,
        validate_agreement=True,
        ema_decay=0.8,
    )
    distiller.compile(optimizer=make_optimizer())
    distiller.fit(
        *(x, y, BATCH_SIZE), sample_weight=weights, shuffle=False, verbose=0, callbacks=[losses]
    )
    evaluation = distiller.evaluate(x, y, batch_size=BATCH_SIZE, verbose=0, return_dict=True)
    values = [weight.numpy() for weight in distiller.trainable_variables]
    averages = distiller.ema.get_weights()
    replicas = num_replicas_in_sync()
    skips = replicas > 1 and hasattr(distiller.optimizer, "nonfinite_steps")
    skipped = skipped_step(distiller, x, y) if skips else None
    return replicas, values, averages, [*losses.logs, evaluation], skipped


def skipped_step(distiller, x, y):
    """Does a step with one image that is not finite.

    Returns how far it moves anything, and the optimizer's counts of such steps.
    """
    x = x[:BATCH_SIZE].copy()
    x[-1] = np.nan
    before = [value.numpy() for value in all_copies(distiller)]
    distiller.fit(x, y[:BATCH_SIZE], batch_size=BATCH_SIZE, verbose=0)
    after = [value.numpy() for value in all_copies(distiller)]
    optimizer = distiller.optimizer
    counts = (optimizer.nonfinite_steps, optimizer.first_nonfinite_step)
    return [largest_difference(before, after), *(int(count.numpy()) for count in counts)]


def all_copies(distiller):
    """Returns each replica's copy of the weights, averages, slots and the number of steps."""
    optimizer = distiller.optimizer
    counts = {id(optimizer.nonfinite_steps), id(optimizer.first_nonfinite_step)}
    others = [v for v in optimizer.variables if id(v) not in counts]
    variables = [*distiller.trainable_variables, *distiller.ema.weights, *others]
    return [copy for variable in variables for copy in variable.value.values]


def largest_difference(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


def compare(mirrored, alone, distilled):
    replicas, weights, averages, logs, skipped = mirrored
    one_replica, single, single_averages, single_logs, _ = alone
    start = [weight.numpy() for weight in small_student(distilled).trainable_variables]
    pairs = zip(logs, single_logs, strict=True)
    return {
        "replicas": [replicas, one_replica],
        "skipped": skipped,
        "moved": largest_difference(start, single),
        "weights": largest_difference(weights, single),
        "averages": largest_difference(averages, single_averages),
        "averages_behind": largest_difference(single_averages, single),
        "logs": max(abs(one[name] - other[name]) for one, other in pairs for name in other),
        "step_names": sorted(single_logs[0]),
        "epoch_names": sorted(single_logs[STEPS]),
        "logged": len(single_logs),
    }


def split_again():
    """Returns the error of splitting the CPU after it was used."""
    try:
        strategy_scope(Devices("mirrored", virtual_devices=3))
    except InputError as error:
        return str(error)


if __name__ == "__main__":
    # One scope for all cases: TensorFlow confuses the collectives of two strategies of a process.
    with strategy_scope(Devices("mirrored", virtual_devices=2)):
        mirrored = {name: train(*case) for name, case in CASES.items()}
    # One device needs no compiled program to compute the same.
    tf.config.run_functions_eagerly(True)
    with strategy_scope(Devices()):
        alone = {name: train(*case) for name, case in CASES.items()}
    result = {name: compare(mirrored[name], alone[name], CASES[name][1]) for name in CASES}
    print(json.dumps({**result, "split again": split_again()}))
