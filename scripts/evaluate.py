"""Evaluates the student of a finished run: each head's top-1 and agreement with the teacher.

python scripts/evaluate.py --run_dir DIR [--split validation]
"""

import command  # isort: skip  (loads Keras without the noise)
from absl import flags

from keras_deit.training import SPLITS, evaluate_run, score_table

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Of the run.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "What to evaluate on.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images at a time.", lower_bound=1)


def main() -> None:
    result = evaluate_run(_RUN_DIR.value, _SPLIT.value, _BATCH_SIZE.value)
    print(f"{_SPLIT.value} split, {result['examples']} images:")
    print(score_table(result["scores"], result.get("ema_scores")))


if __name__ == "__main__":
    command.run(main)
