"""The length of a training in epochs and steps."""

from keras_deit.core.errors import InputError
from keras_deit.core.processes import data_parallel_replicas, process_index_and_count
from keras_deit.data import Dataset, Shard, steps_per_epoch
from keras_deit.objectives import TrainingLength
from keras_deit.optimizers import Optimization, learning_rate_schedule


def dataset_steps(
    optimization: Optimization, dataset: Dataset, flag: str = "batch_size"
) -> tuple[Optimization, int]:
    """Returns a training in epochs, and the steps in one of them, on the present devices.

    Args:
        optimization: optimization of the training.
        dataset: to train on.
        flag: the name of the batch size in an error.

    Raises:
        InputError: the batch is larger than the data, it cannot be divided evenly among the
            devices, or the warm-up is longer than the training.
    """
    _, processes = process_index_and_count()
    replicas = data_parallel_replicas()
    return count_steps(optimization, dataset.name, len(dataset.train), replicas, flag, processes)


def count_steps(
    optimization: Optimization,
    name: str,
    examples: int,
    replicas: int,
    flag: str = "batch_size",
    processes: int = 1,
) -> tuple[Optimization, int]:
    """Returns a training in epochs, and the steps in one of them.

    Args:
        optimization: optimization of the training.
        name: name of the dataset.
        examples: number of its training examples.
        replicas: copies of the model that share a batch.
        flag, and errors: as in `dataset_steps`.
        processes: that the devices belong to.
    """
    batch_size, micro_batches = optimization.batch_size, optimization.accumulation_steps
    check_divisible(batch_size, replicas, micro_batches, flag)
    Shard(0, processes, micro_batches).train_size(batch_size)
    if batch_size > examples:
        raise InputError(
            f"{flag} {batch_size} is larger than the {examples} training examples of {name}."
        )
    images = examples * optimization.passes_per_epoch
    optimization, steps = optimization.in_epochs(steps_per_epoch(images, batch_size))
    learning_rate_schedule(optimization, steps)
    return optimization, steps


def check_divisible(
    batch_size: int, replicas: int, micro_batches: int = 1, flag: str = "batch_size"
) -> None:
    """Checks that the devices can share a batch.

    Args:
        batch_size: examples of a step.
        replicas: copies of the model that share it.
        micro_batches: that a step has on each of them.
        flag: the name of the batch size in an error.

    Raises:
        InputError: it cannot be divided evenly among them.
    """
    if batch_size % (replicas * micro_batches):
        accumulated = (
            f" in {micro_batches} micro-batches (accumulation_steps)" if micro_batches > 1 else ""
        )
        raise InputError(
            f"{flag} {batch_size} cannot be divided evenly among {replicas} devices{accumulated}."
        )


def training_length(
    optimization: Optimization, steps_per_epoch: int, dataset: Dataset
) -> TrainingLength:
    """Returns the length of a training, as an objective gets it.

    Args:
        optimization: in epochs.
        steps_per_epoch: steps of the optimizer in an epoch.
        dataset: to train on.
    """
    steps = optimization.epochs * steps_per_epoch
    return TrainingLength(steps, steps_per_epoch, len(dataset.train))
