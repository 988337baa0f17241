"""The pipeline's benchmark runs; how fast is not for a test to say."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_benchmark_prints_its_table():
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--what", "pipeline"]
    result = subprocess.run(
        [*command, "--rounds", "1"], capture_output=True, text=True, env=environment, timeout=600
    )
    assert result.returncode == 0, result.stderr[-3000:]
    header, *rows = result.stdout.strip().splitlines()
    assert header.split() == ["images", "per", "second", "and", "core", "Pillow", "here", "ratio"]
    assert len(rows) == 3
    for row in rows:
        theirs, ours, ratio = re.search(r"(\d+) +(\d+) +([\d.]+)x$", row).groups()
        # The rates are printed in whole images.
        assert abs(int(ours) / int(theirs) - float(ratio)) < 0.01 + 1 / int(theirs) * float(ratio)
