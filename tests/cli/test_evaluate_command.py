"""The command `evaluate` prints and writes the figures of a run, or of weights."""

import json
import re

import numpy as np
import pytest
from commands import call

from keras_deit.core.errors import InputError


def rows(text):
    """Returns the cells of the table by the title of the row."""
    return dict(re.findall(r"^([a-z]+(?: [a-z]+)?) +(\d\.\d{4} .*)$", text, re.MULTILINE))


def test_the_test_split_has_the_scores_of_the_training(trained):
    evaluation = trained.path / "evaluation.json"
    output = call("evaluate", f"--run_dir={trained.path}").stdout
    assert output.startswith("test split, 360 images, ")
    # Top-1 and agreement are the first and the last column.
    found = {title: cells.split() for title, cells in rows(output).items()}
    expected = {title: cells.split() for title, cells in rows(trained.output.stdout).items()}
    assert len(expected) == 4 and expected == {t: [c[0], c[-1]] for t, c in found.items()}
    assert max(map(len, output.splitlines())) <= 100
    result = json.loads(evaluation.read_text())
    assert list(result["figures"]) == ["teacher", "class", "distillation", "fused"]
    for head, figures in result["figures"].items():
        assert figures["top1"] == pytest.approx(result["scores"][head]["top1"], abs=1e-6)
        assert np.trace(result["confusion"][head]) == round(360 * figures["top1"])
        assert figures["ece_scaled"] < 1 and figures["temperature"] > 0


def test_another_evaluation_leaves_the_figures_of_the_run(trained):
    evaluation = trained.path / "evaluation.json"
    evaluation.write_text("{}")
    output = call("evaluate", f"--run_dir={trained.path}", "--split=validation").stdout
    assert "Not written into evaluation.json" in output
    assert evaluation.read_text() == "{}"


def test_the_split_and_the_batch_size_are_flags(trained):
    output = call("evaluate", f"--run_dir={trained.path}", "--split=validation", "--batch_size=7")
    assert output.stdout.startswith("validation split, 180 images")


def test_weights_and_other_data_are_flags(trained):
    flags = ("--weights=best", "--dataset=digits", "--on_bad_image=skip", "--split=validation")
    best = json.loads((trained.path / "summary.json").read_text())["best"]["val_accuracy"]
    fused = rows(call("evaluate", f"--run_dir={trained.path}", *flags).stdout)["fused"]
    assert float(fused.split()[0]) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ((), "--run_dir, --model or --weights"),
        (("--model=deit_tiny_patch16_224",), "--dataset is required"),
        (("--run_dir=nowhere", "--model=deit_tiny_patch16_224"), "--model"),
        (("--run_dir=nowhere",), "nowhere"),
        (("--run_dir=nowhere", "--split=train"), "split"),
        (("--run_dir=nowhere", "--batch_size=0"), "batch_size"),
    ],
)
def test_bad_input_is_rejected(flags, word):
    with pytest.raises(InputError, match=word):
        call("evaluate", *flags)
