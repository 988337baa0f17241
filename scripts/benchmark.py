"""Measures how fast a part of the package is, beside what one would use without it.

python scripts/benchmark.py --what pipeline
KERAS_BACKEND=jax python scripts/benchmark.py --what loading
"""

import command  # isort: skip  (loads Keras without the noise)
from absl import flags
from benchmarks import loading, pipeline

_BENCHMARKS = {"loading": loading.run, "pipeline": pipeline.run}

_WHAT = flags.DEFINE_enum("what", None, sorted(_BENCHMARKS), "What to measure.", required=True)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Measurements to take medians of.", lower_bound=1)


def main() -> None:
    print(_BENCHMARKS[_WHAT.value](_ROUNDS.value))


if __name__ == "__main__":
    command.run(main)
