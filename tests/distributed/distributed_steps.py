"""Ten steps of distillation on JAX devices; writes the weights and what was logged.

    distributed_steps.py FOLDER on_one_machine
    distributed_steps.py FOLDER as_a_process COORDINATOR_ADDRESS PROCESS_ID

These are separate processes because the CPU must be split before JAX has used it.
"""

import json
import pathlib
import sys

import keras
import numpy as np
from small_models import batch, small_student, small_teacher

from keras_deit import Distiller
from keras_deit.core.processes import (
    addressable,
    data_parallel_replicas,
    process_index_and_count,
)
from keras_deit.distributed import Devices, strategy_scope
from keras_deit.distributed.jax_strategies import distribution
from keras_deit.distributed.layouts import split_like
from keras_deit.optimizers import AdamW

STEPS, BATCH_SIZE, PROCESSES = 10, 16, 2


class StepLogs(keras.callbacks.Callback):
    """Collects what was logged after each step."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append({name: float(value) for name, value in logs.items()})


def own_rows() -> np.ndarray:
    """Returns the numbers of this process's rows of every batch."""
    process, processes = process_index_and_count()
    rows = np.arange(STEPS * BATCH_SIZE).reshape(STEPS, processes, -1)
    return rows[:, process].ravel()


def train(path: pathlib.Path) -> None:
    """Does ten steps on the devices of the current scope and writes the result to a file."""
    keras.utils.set_random_seed(0)
    x, y, weights = (values[own_rows()] for values in batch(STEPS * BATCH_SIZE))
    batch_size = BATCH_SIZE // process_index_and_count()[1]
    step_logs = StepLogs()
    split_like(small_student())
    distiller = Distiller(
        small_student(), small_teacher(), alpha=0.3, validate_agreement=True, ema_decay=0.8
    )
    with addressable(distiller.variables):
        start = [variable.numpy() for variable in distiller.trainable_variables]
    # The gradients of the keys' bias are nothing but rounding; ε is larger than they are.
    optimizer = AdamW(0.05, weight_decay=0.1, epsilon=1e-3, global_clipnorm=1.0)
    distiller.compile(optimizer=optimizer)
    distiller.fit(
        *(x, y, batch_size), sample_weight=weights, shuffle=False, verbose=0, callbacks=[step_logs]
    )
    evaluation = distiller.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
    facts = {
        "replicas": data_parallel_replicas(),
        "process": process_index_and_count(),
        "logs": [*step_logs.logs, evaluation],
        "split": [v.path for v in distiller.trainable_variables if is_split(v)],
        "misplaced": misplaced(distiller),
    }
    with addressable(distiller.variables):
        np.savez(
            path,
            facts=json.dumps(facts),
            **{f"start_{i}": value for i, value in enumerate(start)},
            **{f"weight_{i}": v.numpy() for i, v in enumerate(distiller.trainable_variables)},
            **{f"average_{i}": value for i, value in enumerate(distiller.ema.get_weights())},
        )


def is_split(variable) -> bool:
    return not variable.value.sharding.is_fully_replicated


def misplaced(distiller: Distiller) -> list[str]:
    """Returns the paths of slots and averages that are split in another way than their variable."""
    optimizer, variables = distiller.optimizer, distiller.trainable_variables
    slots = [getattr(optimizer, f"_{slot}") for slot in optimizer.slots]
    return [
        one.path
        for group in [*slots, distiller.ema.weights]
        for one, other in zip(group, variables, strict=True)
        if one.value.sharding != other.value.sharding
    ]


def on_one_machine(folder: pathlib.Path) -> None:
    import jax

    with strategy_scope(Devices("data_parallel", virtual_devices=8)):
        train(folder / "eight.npz")
    train(folder / "one.npz")
    with distribution(jax.devices()[:4], 2).scope():
        train(folder / "two of four.npz")


def as_a_process(folder: pathlib.Path, address: str, process_id: str) -> None:
    import jax

    devices = Devices(
        "data_parallel",
        virtual_devices=2,
        coordinator_address=address,
        num_processes=PROCESSES,
        process_id=int(process_id),
    )
    with strategy_scope(devices):
        train(folder / f"process {process_id}.npz")
    with distribution(jax.devices(), 2).scope():
        train(folder / f"process {process_id}, a model on two devices.npz")


if __name__ == "__main__":
    _, folder, command, *arguments = sys.argv
    {f.__name__: f for f in (on_one_machine, as_a_process)}[command](
        pathlib.Path(folder), *arguments
    )
