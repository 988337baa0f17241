"""`keras-deit translate`: a training, translating by it, and what is refused."""

import csv
import io
import json
import sys

import keras
import numpy as np
import pytest
from commands import call, run_process

from keras_deit import InputError
from keras_deit.sequence import SequenceToSequence, Subwords

SIZES = ("--width=8", "--depth=1", "--num_heads=2", "--hidden_dim=8", "--max_length=16")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A model that has learned nothing, as a finished run has it."""
    folder = tmp_path_factory.mktemp("run")
    subwords = Subwords.learn(["Südafrika", "South Africa"] * 9, 40)
    subwords.write(folder / "subwords.model")
    sizes = {"width": 8, "depth": 1, "num_heads": 2, "hidden_dim": 8, "max_length": 16}
    keras.utils.set_random_seed(1)
    model = SequenceToSequence(len(subwords), "linear", **sizes)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        # Otherwise the first token ends every translation.
        weight.assign(weight + rng.normal(size=weight.shape))
    model.save(folder / "model.keras")
    return folder


def test_a_training_says_its_figures(tmp_path):
    lines = [f"{n} {'xyz'[n % 3]}\t{'xyz'[n % 3]} {n}\n" for n in range(40)]
    (tmp_path / "pairs.tsv").write_text("".join([*lines, "\tempty\n"]))
    training = ("--epochs=1", "--batch_size=16", "--vocabulary=40", "--beams=1", "--seed=3")
    output = call(
        *("translate", f"--train={tmp_path / 'pairs.tsv'}", f"--run_dir={tmp_path / 'run'}"),
        *("--mixer=linear", "--optimizer=adagrad", *training, *SIZES),
    ).stdout
    assert "32 train, 4 validation, 4 test pairs" in output
    assert "1 pairs with an empty side dropped" in output
    assert "best at step 2, validation loss" in output
    assert "test       BLEU" in output and "of 4\n" in output
    run = json.loads((tmp_path / "run" / "translation.json").read_text())["run"]
    assert (run["mixer"], run["optimizer"], run["seed"], run["epochs"]) == (
        "linear",
        "adagrad",
        3,
        1,
    )
    rows = (tmp_path / "run" / "test.tsv").read_text().splitlines()
    assert len(rows) == 4 and all(row.count("\t") == 2 for row in rows)


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax")
def test_two_devices_train_what_one_does(tmp_path):
    """The lengths differ, so the halves of a batch have not as many tokens."""
    lines = [f"{'a ' * (n % 4)}{n}\t{n}{' x' * (n % 5)}\n" for n in range(60)]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    training = ("--epochs=1", "--batch_size=16", "--vocabulary=40", "--beams=1", "--max_length=16")
    backend = keras.backend.backend()
    strategy = {"tensorflow": "mirrored", "jax": "data_parallel"}[backend]
    rows = []
    for name, flags in (("one", ()), ("two", (f"--strategy={strategy}", "--virtual_devices=2"))):
        output = run_process(
            *(tmp_path, "translate", "--train=pairs.tsv", f"--run_dir={name}", "--dropout_rate=0"),
            *(*SIZES[:4], "--learning_rate=0.1", "--warmup_steps=1", *training, *flags),
            "--averaged_checkpoints=2",
            backend=backend,
        )
        assert "average of steps 3, validation loss" in output.stdout
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            rows.append({key: float(value) for key, value in next(csv.DictReader(file)).items()})
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)


def test_texts_and_lines_are_translated_in_their_order(run_dir, tmp_path, monkeypatch):
    flag = f"--run_dir={run_dir}"
    texts = ("South Africa", "Süd", "Africa South Africa")
    lines = call("translate", flag, *texts).stdout.split("\n")
    assert len(lines) == 4 and lines[0] != lines[1]
    (tmp_path / "texts.txt").write_text("Süd\r\n\nSouth Africa\n", "utf-8")
    expected = [lines[1], "", lines[0], ""]
    assert (
        call("translate", flag, f"--input={tmp_path / 'texts.txt'}").stdout.split("\n") == expected
    )
    stdin = io.TextIOWrapper(io.BytesIO(b"South Africa\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert call("translate", flag).stdout == lines[0] + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "--seed=1"), "--seed needs --train"),
        (("a", "--input=b"), "not both"),
        (("--input=none.txt",), "none.txt cannot be read"),
        (("--train=none.tsv", "a"), "another call"),
        (("--train=none.tsv", "--steps=1", "--epochs=1"), "not both"),
        (("--train=names:en-de", "--width=9"), "evenly"),
        (("--train=names:en-de", "--mixer=conv"), "attention"),
        (("a", "--run_dir=none"), "no finished translation run"),
        (("Africa " * 20,), "Text 1 has .* sub-words, more than the 15"),
    ],
)
def test_what_is_refused(run_dir, arguments, message):
    given = any(argument.startswith("--run_dir") for argument in arguments)
    with pytest.raises(InputError, match=message):
        call("translate", *(() if given else (f"--run_dir={run_dir}",)), *arguments)


def test_lines_that_are_not_utf8_are_named(run_dir, tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match=r"Line 2 of .*texts.txt is not UTF-8"):
        call("translate", f"--run_dir={run_dir}", f"--input={tmp_path / 'texts.txt'}")
