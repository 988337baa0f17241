"""The benchmark of the pipeline runs; its speeds are not tested."""

import pathlib
import re

import pytest
from processes import end, start

BENCHMARK = pathlib.Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.mark.slow
def test_the_benchmark_prints_its_table():
    printed = end(start(BENCHMARK, "--what=pipeline", "--rounds=1", backend="jax"))
    header, *rows = printed.strip().splitlines()
    assert header.split() == ["images", "per", "second", "and", "core", "Pillow", "here", "ratio"]
    assert len(rows) == 3
    for row in rows:
        theirs, ours, ratio = re.search(r"(\d+) +(\d+) +([\d.]+)x$", row).groups()
        # The speeds are printed as integers.
        assert abs(int(ours) / int(theirs) - float(ratio)) < 0.01 + 1 / int(theirs) * float(ratio)
