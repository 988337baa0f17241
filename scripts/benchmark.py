"""Measures the speed of a part of the package beside what one would use without it.

python scripts/benchmark.py --what pipeline
KERAS_BACKEND=jax python scripts/benchmark.py --what loading
"""

import argparse
import importlib
import os

# Has to be set before a benchmark imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = ("loading", "pipeline")
    parser.add_argument("--what", choices=what, required=True, help="What to measure.")
    parser.add_argument("--rounds", type=int, default=9, help="Measurements to take medians of.")
    values = parser.parse_args()
    if values.rounds < 1:
        parser.error(f"--rounds should be 1 or more. Received: {values.rounds}")
    # Only this one, because each needs packages that the other does not.
    benchmark = importlib.import_module(f"benchmarks.{values.what}")
    print(benchmark.run(values.rounds))


if __name__ == "__main__":
    main()
