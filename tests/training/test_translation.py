"""Trainings of translations: killed and resumed to the same bits, refused, and scored."""

import dataclasses
import json

import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.sequence import Translator, sequence_recipe, translation_scores
from keras_deit.training import TranslationJob, train_translation, translation
from keras_deit.training.checkpoints import CheckpointManager

SIZES = {"width": 8, "depth": 1, "num_heads": 2, "hidden_dim": 8, "max_length": 12}


class Killed(BaseException):
    pass


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "_MIN_EPOCH_STEPS", 3)
    lines = [f"{'ab'[n % 2]}{'cdefghij'[n // 2 % 8]} {n % 7}" for n in range(40)]
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{line}\t{line[::-1].upper()}\n" for line in lines))
    recipe = dataclasses.replace(
        sequence_recipe("small"), **SIZES, mixer="linear", steps=8, batch_size=8, vocabulary=60
    )
    return TranslationJob(str(path), recipe, beams=2, checkpoint_seconds=0)


def weights(folder):
    return [numpy(weight) for weight in Translator.from_run(folder).model.weights]


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_training_that_is_killed_resumes_to_the_same_bits(job, tmp_path, monkeypatch):
    straight = train_translation(job, tmp_path / "straight", lambda line: None)
    save, saved = CheckpointManager.save, []

    def save_or_be_killed(self, *arguments):
        saved.append(save(self, *arguments))
        # In the middle of a pass, and right after its validation.
        if len(saved) in (3, 5):
            raise Killed

    monkeypatch.setattr(CheckpointManager, "save", save_or_be_killed)
    said = []
    for _ in range(2):
        with pytest.raises(Killed):
            train_translation(job, tmp_path / "killed", said.append)
    assert train_translation(job, tmp_path / "killed", said.append) == straight
    resumed = [line.rpartition(": ")[2] for line in said if line.startswith("Resuming")]
    assert resumed == ["epoch 1, step 2.", "epoch 2, step 0."]
    for one, other in zip(
        weights(tmp_path / "straight"), weights(tmp_path / "killed"), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    metrics = [(tmp_path / name / "metrics.csv").read_text() for name in ("straight", "killed")]
    assert metrics[0] == metrics[1] and metrics[0].count("\n") == 3
    # A finished run is not repeated, and another does not take its place.
    again = train_translation(job, tmp_path / "killed", said.append)
    assert again == straight and "finished" in said[-1]
    with pytest.raises(InputError, match="holds another run: seed was 0 and is 1"):
        train_translation(dataclasses.replace(job, seed=1), tmp_path / "killed")


def test_a_batch_that_is_too_large_is_refused(job, tmp_path):
    recipe = dataclasses.replace(job.recipe, batch_size=99)
    with pytest.raises(InputError, match=r"batch_size should be at most \d+, the pairs .* train"):
        train_translation(dataclasses.replace(job, recipe=recipe), tmp_path / "run", print)


def test_scores_are_those_of_sacrebleu():
    found = ["the cat sat on the mat", "a  dog"]
    scores = translation_scores(found, ["the cat sat on the mat", "a dog"])
    assert scores["bleu"] == 100 and scores["exact_match"] == 1 and scores["examples"] == 2
    scores = translation_scores(found, ["the cat sat on a mat", "the dog"])
    # By hand: precisions 6/8, 3/6, 2/4 and 1/3... of 8 words, as many as the references have.
    precisions = [6 / 8, 3 / 6, 2 / 4, 1 / 3]
    assert scores["bleu"] == pytest.approx(100 * np.prod(precisions) ** 0.25, abs=0.01)
    assert scores["exact_match"] == 0 and json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 9, "num_heads": 2}, "evenly"),
        ({"steps": 0}, "steps should be 1 or more"),
        ({"dropout_rate": 1.0}, "dropout_rate"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"optimizer": "sgd"}, "adagrad"),
    ],
)
def test_bad_recipes(values, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(sequence_recipe("small"), **values)
