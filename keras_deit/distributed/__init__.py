"""The devices of a training: the strategies of each backend, and how a model is split."""

from keras_deit.distributed.layouts import LayerwiseParallel, split_axes, split_like
from keras_deit.distributed.strategies import (
    Devices,
    check_backend,
    strategy_scope,
)

__all__ = [
    "Devices",
    "LayerwiseParallel",
    "check_backend",
    "split_axes",
    "split_like",
    "strategy_scope",
]
