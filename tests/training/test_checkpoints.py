"""Checkpoints are complete or not there, checked when read, few, and not too frequent."""

import itertools
import logging
import os
import random

import keras
import ml_dtypes
import numpy as np
import pytest
from run_files import files_no_longer_than

from keras_deit.core.errors import InputError
from keras_deit.optimizers import AdamW
from keras_deit.training.checkpoints import (
    CheckpointManager,
    Progress,
    TrainingState,
    fingerprint,
)
from keras_deit.training.checkpoints.file import read_checkpoint, write_checkpoint

on_every_backend = pytest.mark.backends("tensorflow", "jax", "torch")

TENSORS = {
    "00000 kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "00001 seed": np.array([7, 2**32 - 1], np.uint32),
    "00002 iteration": np.array(2**40, np.int64),
    "00003 scale": np.array(0.5, np.float16),
    "00004 half": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "00005 dynamic": np.array(True),
}
METADATA = {"progress": {"epoch": 3, "step": 1}, "text": "ä", "number": 0.1 + 0.2}


class Clock:
    """A time that passes when it is told to."""

    now = 0.0


class State:
    """A state that takes some time to read."""

    def __init__(self, clock=None, seconds=0.0):
        self._clock = clock or Clock()
        self._seconds = seconds

    def read(self):
        self._clock.now += self._seconds
        return TENSORS


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_holds_what_was_written_to_the_bit(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, TENSORS, METADATA)
    tensors, metadata = read_checkpoint(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype and tensors[name].shape == value.shape
        assert tensors[name].tobytes() == value.tobytes()
    assert names(tmp_path) == ["a.safetensors"]


def test_a_change_of_any_byte_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, TENSORS, METADATA)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        corrupt = bytearray(content)
        corrupt[position] ^= 1
        path.write_bytes(corrupt)
        with pytest.raises(InputError) as error:
            read_checkpoint(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_file_is_corrupt(tmp_path, length):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, TENSORS, METADATA)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=str(path)):
        read_checkpoint(path)


def test_a_full_disk_leaves_the_checkpoints_that_are_there(tmp_path):
    manager = CheckpointManager(tmp_path)
    first = manager.save(State(), Progress(0, 1))
    before = first.read_bytes()
    with files_no_longer_than(200), pytest.raises(InputError, match="step-0000002") as error:
        manager.save(State(), Progress(0, 2))
    assert "\n" not in str(error.value)
    assert names(tmp_path) == [first.name] and first.read_bytes() == before


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, keep=2)
    for epoch, step in ((0, 5), (0, 12), (1, 0), (10, 3)):
        manager.save(State(), Progress(epoch, step))
    assert names(tmp_path) == [
        "epoch-00001-step-0000000.safetensors",
        "epoch-00010-step-0000003.safetensors",
    ]
    with pytest.raises(InputError, match="At least one"):
        CheckpointManager(tmp_path, keep=0)


def test_a_corrupt_checkpoint_is_skipped_with_a_warning_and_renamed(tmp_path, caplog):
    writer = CheckpointManager(tmp_path, keep=3)
    assert writer.load() is None
    paths = [writer.save(State(), Progress(0, step)) for step in (1, 2, 3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-5])
    (tmp_path / "partial-epoch-00000-step-0000004.safetensors").write_bytes(b"killed")
    reader = CheckpointManager(tmp_path)
    with caplog.at_level(logging.WARNING):
        progress, _ = reader.load()
    assert reader.latest == paths[1] and progress.step == 2
    assert str(paths[2]) in caplog.text
    assert names(tmp_path) == [f"corrupt-{paths[2].name}", paths[0].name, paths[1].name]


def test_a_training_does_not_start_again_if_all_checkpoints_are_corrupt(tmp_path):
    manager = CheckpointManager(tmp_path)
    for step in (1, 2):
        manager.save(State(), Progress(0, step)).write_bytes(b"")
    with pytest.raises(InputError, match="None of the 2 checkpoints"):
        CheckpointManager(tmp_path).load()


def test_progress_is_loaded_with_the_tensors(tmp_path):
    progress = Progress(
        2, 7, {"loss": 0.1}, ({"epoch": 0, "loss": 1 / 3},), {"epoch": 1}, ("a.jpg",), 4
    )
    metadata = {"teacher": "0123", "classes": ["a", "b"]}
    lines = []
    writer = CheckpointManager(tmp_path, resume_metadata=metadata, print_fn=lines.append)
    path = writer.save(State(), progress)
    reader = CheckpointManager(tmp_path, resume_metadata=metadata, print_fn=lines.append)
    found, tensors = reader.load()
    assert found == progress
    assert tensors.keys() == TENSORS.keys()
    (line,) = lines
    assert str(path) in line and "epoch 3, step 7" in line


def test_a_training_with_other_metadata_is_not_resumed(tmp_path):
    CheckpointManager(tmp_path, resume_metadata={"teacher": "0123"}).save(State(), Progress())
    other = CheckpointManager(tmp_path, resume_metadata={"teacher": "4567"})
    with pytest.raises(InputError, match="teacher was 0123 and is 4567 now"):
        other.load()


def test_metadata_of_an_earlier_version_is_upgraded(tmp_path):
    CheckpointManager(tmp_path, resume_metadata={"lehrer": "0123"}).save(State(), Progress())
    reader = CheckpointManager(
        tmp_path,
        resume_metadata={"teacher": "0123"},
        upgrade=lambda metadata: {"teacher": metadata["lehrer"]},
    )
    assert reader.load() is not None


@pytest.mark.parametrize(
    ("interval", "cost", "expected"),
    [
        (300.0, 1.0, 300.0),
        # They take 3 % of the time and no more.
        (300.0, 30.0, 1000.0),
        (0.0, 30.0, 0.0),
    ],
)
def test_checkpoints_take_a_small_share_of_the_time(
    tmp_path, monkeypatch, interval, cost, expected
):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    manager = CheckpointManager(tmp_path, interval)
    manager.save(State(clock, cost), Progress())
    assert (manager.written, manager.seconds_spent) == (1, cost)
    clock.now += max(expected - 0.1, 0.0)
    assert manager.due() is (expected == 0.0)
    clock.now += 0.2
    assert manager.due()


def test_a_process_that_does_not_write_writes_nothing(tmp_path):
    manager = CheckpointManager(tmp_path, 0.0, writes=False)
    assert manager.save(State(), Progress()) is None
    assert not manager.due() and not os.listdir(tmp_path)
    without_folder = CheckpointManager(None)
    assert without_folder.load() is None and not without_folder.due()


@pytest.mark.parametrize(("stored", "count"), itertools.product((1, 4), (1, 2)))
def test_progress_between_two_steps_has_a_number_of_micro_batches(stored, count):
    progress = Progress(epoch=1, step=2 * stored, micro_batches=stored).with_micro_batches(count)
    assert (progress.step, progress.micro_batches) == (2 * count, count)


def _model(units=3):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(units)]
    )
    model.compile(AdamW(0.1), loss="mse")
    x = np.linspace(-1, 1, 8 * 4, dtype="float32").reshape(8, 4)
    model.train_on_batch(x, np.ones((8, units), "float32"))
    return model, x


def _three_steps(model, x):
    for _ in range(3):
        model.train_on_batch(x, np.ones((8, 3), "float32"))
    # PyTorch's arrays would change with the weights.
    return [np.array(weight) for weight in model.get_weights()]


@on_every_backend
def test_a_model_trains_from_a_restored_state_as_it_did_before():
    model, x = _model()
    state = TrainingState(model)
    stored = state.read()
    assert {"kernel", "bias", "iteration", "seed_generator_state"} <= {
        name.split()[-1] for name in stored
    }
    results = _three_steps(model, x)
    state.assign(stored, "stored", micro_batches=1)
    for first, second in zip(results, _three_steps(model, x), strict=True):
        np.testing.assert_array_equal(first, second)


def _draws() -> list[float]:
    """Draws from every global generator."""
    drawn = [
        *(random.random(), random.gauss(0, 1), np.random.random(), np.random.normal()),
        *np.array(keras.ops.convert_to_numpy(keras.random.uniform((2,)))),
    ]
    if keras.backend.backend() == "torch":
        drawn.append(float(keras.ops.convert_to_tensor(0.0).new_empty(()).uniform_()))
    return [float(value) for value in drawn]


@on_every_backend
def test_the_global_generators_are_part_of_the_state():
    model, _ = _model()
    # The second of two draws of a normal distribution is kept in the generator.
    _draws()
    state = TrainingState(model)
    stored = state.read()
    expected = _draws()
    assert _draws() != expected
    state.restore_random_state()
    assert _draws() == expected
    state.capture_random_state()
    state.assign(stored, "stored", micro_batches=1)
    assert _draws() == expected
    # An earlier version has stored less.
    less = {name: value for name, value in stored.items() if not name.startswith("random ")}
    state.assign(less, "stored", micro_batches=1)


@on_every_backend
def test_a_state_is_restored_into_a_training_with_other_metrics():
    model, x = _model()
    stored = TrainingState(model).read()
    model.compile(model.optimizer, loss="mse", metrics=["mae"])
    model.train_on_batch(x, np.zeros((8, 3), "float32"))
    state = TrainingState(model)
    state.assign(stored, "stored", micro_batches=1)
    state.assign_metrics(stored)
    restored = state.read()
    assert restored.keys() > stored.keys()
    for name, value in stored.items():
        np.testing.assert_array_equal(restored[name], value)


def test_a_state_of_another_model_is_refused_and_nothing_is_assigned():
    model, _ = _model()
    other, _ = _model(units=5)
    before = other.get_weights()
    with pytest.raises(InputError, match=r"stored .*kernel is \(4, 3\)"):
        TrainingState(other).assign(TrainingState(model).read(), "stored", micro_batches=1)
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_stored(value):
    model, _ = _model()
    kernel = model.get_weights()[0]
    kernel[0, 0] = value
    model.layers[-1].kernel.assign(kernel)
    with pytest.raises(InputError, match="kernel is not finite"):
        TrainingState(model).read()


def test_a_fingerprint_identifies_the_weights():
    model, _ = _model()
    same = keras.models.clone_model(model)
    same.set_weights(model.get_weights())
    assert fingerprint(same) == fingerprint(model)
    kernel, bias = model.get_weights()
    same.set_weights([kernel, np.nextafter(bias, 1)])
    assert fingerprint(same) != fingerprint(model)
