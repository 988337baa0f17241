"""The number of steps in an epoch, and batches that cannot be divided."""

import pytest

from keras_deit import InputError
from keras_deit.optimizers import Optimization
from keras_deit.training.steps import count_steps


def steps(examples, replicas=1, processes=1, **values):
    optimization = Optimization(**{"epochs": 10, "warmup_epochs": 0, **values})
    _, count = count_steps(optimization, "digits", examples, replicas, processes=processes)
    return count


@pytest.mark.parametrize(("examples", "batch_size", "expected"), [(120, 20, 6), (139, 20, 6)])
def test_an_epoch_has_as_many_steps_as_full_batches(examples, batch_size, expected):
    assert steps(examples, batch_size=batch_size) == expected
    # However the batch is divided.
    assert steps(examples, replicas=5, batch_size=batch_size) == expected
    assert steps(examples, batch_size=batch_size, accumulation_steps=2) == expected


def test_an_epoch_can_be_several_passes_which_share_what_is_left_over():
    """CIFAR in "Vision Transformer for Small-Size Datasets": 150,000 // 128 steps."""
    assert steps(50_000, batch_size=128, passes_per_epoch=3) == 1171
    assert steps(50_000, batch_size=128) == 390
    with pytest.raises(InputError, match=r"batch_size 101 .* 100 training examples"):
        steps(100, batch_size=101, passes_per_epoch=3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 101}, "batch_size 101 .* 100 training examples of digits"),
        ({"batch_size": 10, "replicas": 4}, "batch_size 10 .*4 devices"),
        (
            {"batch_size": 12, "replicas": 4, "accumulation_steps": 2},
            "batch_size 12 .*4 devices.*accumulation_steps",
        ),
        ({"batch_size": 10, "warmup_steps": 101}, "warmup_steps .*100"),
    ],
)
def test_batches_that_cannot_be_divided_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        steps(100, **values)
