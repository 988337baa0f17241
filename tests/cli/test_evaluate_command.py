"""The command `evaluate` prints the figures of a run."""

import json

import pytest
from commands import call, table_rows

from keras_deit.core.errors import InputError


def test_the_test_split_has_the_scores_of_the_training(trained):
    output = call("evaluate", f"--run_dir={trained.path}")
    assert table_rows(output.stdout) == table_rows(trained.output.stdout)
    assert output.stdout.startswith("test split, 360 images")


def test_the_split_and_the_batch_size_are_flags(trained):
    output = call("evaluate", f"--run_dir={trained.path}", "--split=validation", "--batch_size=7")
    assert output.stdout.startswith("validation split, 180 images")


def test_weights_and_other_data_are_flags(trained):
    flags = ("--weights=best", "--dataset=digits", "--on_bad_image=skip", "--split=validation")
    best = json.loads((trained.path / "summary.json").read_text())["best"]["val_accuracy"]
    rows = table_rows(call("evaluate", f"--run_dir={trained.path}", *flags).stdout)
    (fused,) = [row for row in rows if row.startswith("fused")]
    assert float(fused.split()[1]) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ((), "--run_dir"),
        (("--run_dir=nowhere",), "nowhere"),
        (("--run_dir=nowhere", "--split=train"), "split"),
        (("--run_dir=nowhere", "--batch_size=0"), "batch_size"),
    ],
)
def test_bad_input_is_rejected(flags, word):
    with pytest.raises(InputError, match=word):
        call("evaluate", *flags)
