"""Benchmarks of this package beside its peers."""

from keras_deit.benchmarking.measuring import (
    BACKENDS,
    MODES,
    PEERS,
    PRECISIONS,
    RUNTIMES,
    Result,
    Row,
    benchmark,
)
from keras_deit.benchmarking.outputs import csv_table, markdown, picture

__all__ = [
    "BACKENDS",
    "MODES",
    "PEERS",
    "PRECISIONS",
    "RUNTIMES",
    "Result",
    "Row",
    "benchmark",
    "csv_table",
    "markdown",
    "picture",
]
