"""Measures the speed of a part of the package beside what one would use without it.

python scripts/benchmark.py --what pipeline
KERAS_BACKEND=jax python scripts/benchmark.py --what loading
"""

import importlib
import os

from absl import app, flags

# Has to be set before a benchmark imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_WHAT = flags.DEFINE_enum("what", None, ["loading", "pipeline"], "What to measure.", required=True)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Measurements to take medians of.", lower_bound=1)


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"Unknown argument {arguments[1]!r}; flags start with --.")
    # Only this one, because each needs packages that the other does not.
    benchmark = importlib.import_module(f"benchmarks.{_WHAT.value}")
    print(benchmark.run(_ROUNDS.value))


if __name__ == "__main__":
    app.run(main)
