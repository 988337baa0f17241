"""Trainings of translations: killed and resumed to the same bits, refused, and scored."""

import dataclasses
import json

import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.distributed import Devices
from keras_deit.sequence import (
    PairBatches,
    SequenceToSequence,
    TokenCrossentropy,
    Translator,
    load_pairs,
    sequence_recipe,
    translation_scores,
)
from keras_deit.training import TranslationJob, train_translation, translation
from keras_deit.training.checkpoints import CheckpointManager
from keras_deit.training.translation_job import check_same_run

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
    with pytest.raises(InputError, match=r"holds a different run .seed 0 there, 1 here"):
        train_translation(dataclasses.replace(job, seed=1), tmp_path / "killed")


def test_a_batch_that_is_too_large_is_refused(job, tmp_path):
    recipe = dataclasses.replace(job.recipe, batch_size=99)
    # What another training has left says nothing.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "subwords.model").write_bytes(b"none")
    with pytest.raises(InputError, match=r"batch_size should be at most \d+, the pairs .* train"):
        train_translation(dataclasses.replace(job, recipe=recipe), tmp_path / "run", print)
    assert not (tmp_path / "run" / "translation.json").exists()


def test_a_batch_that_the_devices_do_not_divide_is_refused_before_anything_is_read(
    job, tmp_path, monkeypatch
):
    monkeypatch.setattr(translation, "data_parallel_replicas", lambda: 3)
    monkeypatch.setattr(translation, "load_pairs", None)
    with pytest.raises(InputError, match=r"batch_size 8 .* 3 devices"):
        train_translation(job, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    processes = {"coordinator_address": "a:1", "num_processes": 2, "process_id": 0}
    for devices in (Devices("model_parallel"), Devices("data_parallel", **processes)):
        with pytest.raises(InputError, match="one process, with the whole model on each device"):
            dataclasses.replace(job, devices=devices)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "checkpoints"])
def test_a_run_of_another_kind_is_refused_and_stays_as_it_is(job, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"has {name} but no translation.json.* another run"):
        train_translation(job, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


def test_the_backend_and_the_pairs_make_a_run_but_not_their_path(job, tmp_path, monkeypatch):
    copy = tmp_path / "copy.tsv"
    copy.write_bytes((tmp_path / "pairs.tsv").read_bytes())
    identity = job.identity(load_pairs(job.train))
    assert dataclasses.replace(job, train=str(copy)).identity(load_pairs(str(copy))) == identity
    (tmp_path / "translation.json").write_text(json.dumps(job.config(load_pairs(job.train))))
    check_same_run(tmp_path, identity)
    with pytest.raises(InputError, match=r"holds a different run .backend \w+ there, another here"):
        check_same_run(tmp_path, {**identity, "backend": "another"})
    with pytest.raises(InputError, match=r"holds a different run .pairs_digest"):
        check_same_run(tmp_path, job.identity(load_pairs("names:en-de")))


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_validation_loss_is_the_same_with_every_batch_size():
    model = SequenceToSequence(9, dropout_rate=0.0, **SIZES)
    model.compile(loss=TokenCrossentropy(0.1))
    rows = [[4, 5, 6, 7][: n % 5] * (n % 3) for n in range(11)]
    losses = []
    for batch_size in (3, 8, 11):
        batches = PairBatches(rows, rows, batch_size, SIZES["max_length"])
        losses.append(model.evaluate(translation.as_dataset(batches.once()), verbose=0))
    assert losses == pytest.approx(losses[:1] * 3, rel=1e-5)


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax", "torch")
def test_the_last_checkpoints_are_averaged_and_what_is_too_long_is_counted(job, tmp_path):
    long = tmp_path / "long.tsv"
    long.write_text(f"{'abcdefg ' * 9}\tX\nab 3\tC\n")
    (tmp_path / "other.tsv").write_text("cd 4\tY\n")
    rates = {"learning_rate": 0.1, "warmup_steps": 1}
    recipe = dataclasses.replace(job.recipe, **rates, steps=10, averaged_checkpoints=2)
    data = {"validation": str(tmp_path / "other.tsv"), "test": str(long)}
    said = []
    job = dataclasses.replace(job, recipe=recipe, **data)
    summary = train_translation(job, tmp_path / "run", said.append)
    assert summary["test"]["shortened"] == 1 and summary["validation"]["shortened"] == 0
    assert "test: 1 sources with more than 11 sub-words shortened" in said
    assert len(summary["averaged_steps"]) == 2 and summary["averaged_steps"][-1] == 10
    model = Translator.from_run(tmp_path / "run").model
    found, parts = [numpy(weight) for weight in model.trainable_weights], []
    files = sorted((tmp_path / "run").glob("epoch-*.weights.h5"))
    assert len(files) == 2
    for path in files:
        model.load_weights(path)
        parts.append([numpy(weight) for weight in model.trainable_weights])
    assert max(np.abs(one - other).max() for one, other in zip(*parts, strict=True)) > 0.01
    for average, *each in zip(found, *parts, strict=True):
        np.testing.assert_allclose(average, np.mean(each, axis=0), atol=1e-6)


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax", "torch")
def test_an_average_of_checkpoints_is_the_same_to_the_bit_after_kills(job, tmp_path, monkeypatch):
    recipe = dataclasses.replace(job.recipe, steps=12, averaged_checkpoints=2)
    job = dataclasses.replace(job, recipe=recipe)
    straight = train_translation(job, tmp_path / "straight", lambda line: None)
    assert len(straight["averaged_steps"]) == 2
    real, saved = translation._save_weights, []

    def save_and_be_killed(model, path):
        real(model, path)
        if path.name.startswith("epoch-") and path.name not in saved:
            # Before the checkpoint that says that the epoch is done.
            saved.append(path.name)
            raise Killed

    def be_killed(*arguments):
        raise Killed

    # Once in each of the averaged epochs, and once between the training and its scores.
    for count in (1, 2, 3):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            if count < 3:
                patch.setattr(translation, "_save_weights", save_and_be_killed)
            else:
                patch.setattr(translation, "_average", be_killed)
            train_translation(job, tmp_path / "killed", lambda line: None)
    files = sorted(path.name for path in (tmp_path / "straight").glob("epoch-*.weights.h5"))
    assert len(files) == 2 and saved == files
    assert train_translation(job, tmp_path / "killed", lambda line: None) == straight
    folders = [tmp_path / name for name in ("straight", "killed")]
    for one, other in zip(*map(weights, folders), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in files:
        both = []
        for folder in folders:
            model = Translator.from_run(folder).model
            model.load_weights(folder / name)
            both.append([numpy(weight) for weight in model.weights])
        for one, other in zip(*both, strict=True):
            np.testing.assert_array_equal(one, other)


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
