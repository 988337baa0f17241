"""Checkpoints as files: whole or not there, known when broken, few, and not too often."""

import logging
import os

import keras
import ml_dtypes
import numpy as np
import pytest
from run_files import files_no_longer_than

from keras_deit.core.errors import InputError
from keras_deit.optimizers import AdamW
from keras_deit.training.checkpoints import (
    CheckpointManager,
    CheckpointStore,
    Progress,
    TrainingState,
    fingerprint,
)
from keras_deit.training.checkpoints.file import read_checkpoint, write_checkpoint

TENSORS = {
    "00000 kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "00001 seed": np.array([7, 2**32 - 1], np.uint32),
    "00002 iteration": np.array(2**40, np.int64),
    "00003 scale": np.array(0.5, np.float16),
    "00004 half": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "00005 dynamic": np.array(True),
}
RECORD = {"place": {"epoch": 3, "step": 1}, "text": "ä", "number": 0.1 + 0.2}


def test_what_is_read_is_what_was_written_to_the_bit(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, TENSORS, RECORD)
    tensors, record = read_checkpoint(path)
    assert record == RECORD
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype and tensors[name].shape == value.shape
        assert tensors[name].tobytes() == value.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_every_single_byte_counts(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, TENSORS, RECORD)
    content = path.read_bytes()
    for progress in range(0, len(content), 7):
        broken = bytearray(content)
        broken[progress] ^= 1
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"cannot be read|checksum") as error:
            read_checkpoint(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_file_cut_short_is_broken(tmp_path, length):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, TENSORS, RECORD)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(path)


def test_a_disk_that_is_full_leaves_what_is_there(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    first = store.write(0, 1, TENSORS, RECORD)
    before = first.read_bytes()
    message = r"epoch-00000-step-0000002.* cannot be written"
    with files_no_longer_than(200), pytest.raises(InputError, match=message) as e:
        store.write(0, 2, TENSORS, RECORD)
    assert "\n" not in str(e.value)
    assert store.paths() == [first] and first.read_bytes() == before
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_the_newest_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for epoch, step in ((0, 5), (0, 12), (1, 0), (10, 3)):
        store.write(epoch, step, TENSORS, RECORD)
    assert [path.name for path in store.paths()] == [
        "epoch-00010-step-0000003.safetensors",
        "epoch-00001-step-0000000.safetensors",
    ]
    with pytest.raises(InputError, match="At least one"):
        CheckpointStore(tmp_path, keep=0)


def test_a_broken_newest_one_is_passed_over_with_a_warning(tmp_path, caplog):
    store = CheckpointStore(tmp_path, keep=3)
    assert store.read_newest() is None
    paths = [store.write(0, step, TENSORS, {"step": step}) for step in (1, 2, 3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-5])
    (tmp_path / "partial-epoch-00000-step-0000004.safetensors").write_bytes(b"killed")
    with caplog.at_level(logging.WARNING):
        path, _, record = store.read_newest()
    assert path == paths[1] and record == {"step": 2}
    assert str(paths[2]) in caplog.text and "one before" in caplog.text
    store.tidy(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"broken-{paths[2].name}",
        paths[0].name,
        paths[1].name,
    ]


def test_where_all_are_broken_nothing_is_begun_anew_in_silence(tmp_path):
    store = CheckpointStore(tmp_path)
    for step in (1, 2):
        store.write(0, step, TENSORS, RECORD).write_bytes(b"")
    with pytest.raises(InputError, match="None of the 2 checkpoints"):
        store.read_newest()


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


def test_a_state_that_is_put_back_goes_on_as_it_did():
    model, x = _model()
    state = TrainingState(model)
    kept = state.read()
    names = {name.split()[-1] for name in kept}
    assert {"kernel", "bias", "iteration", "seed_generator_state"} <= names
    ends = _three_steps(model, x)
    state.assign(kept, "kept", parts=1)
    for first, second in zip(ends, _three_steps(model, x), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_training_may_go_on_with_other_metrics():
    model, x = _model()
    kept = TrainingState(model).read()
    model.compile(model.optimizer, loss="mse", metrics=["mae"])
    model.train_on_batch(x, np.zeros((8, 3), "float32"))
    state = TrainingState(model)
    state.assign(kept, "kept", parts=1)
    state.assign_metrics(kept)
    after = state.read()
    assert after.keys() > kept.keys()
    for name, value in kept.items():
        np.testing.assert_array_equal(after[name], value)


def test_a_state_of_another_model_is_refused_whole():
    model, _ = _model()
    other, _ = _model(units=5)
    before = other.get_weights()
    with pytest.raises(InputError, match=r"kept is of another training: kernel is \(4, 3\)"):
        TrainingState(other).assign(TrainingState(model).read(), "kept", parts=1)
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_kept(value):
    model, _ = _model()
    kernel = model.get_weights()[0]
    kernel[0, 0] = value
    model.layers[-1].kernel.assign(kernel)
    with pytest.raises(InputError, match="kernel is not finite"):
        TrainingState(model).read()


def test_a_fingerprint_is_that_of_the_weights():
    model, _ = _model()
    same = keras.models.clone_model(model)
    same.set_weights(model.get_weights())
    assert fingerprint(same) == fingerprint(model)
    kernel, bias = model.get_weights()
    same.set_weights([kernel, np.nextafter(bias, 1)])
    assert fingerprint(same) != fingerprint(model)


class _Clock:
    """A time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


class _SlowState:
    """A state whose reading takes some time."""

    def __init__(self, clock, seconds):
        self._clock = clock
        self._seconds = seconds

    def read(self):
        self._clock.now += self._seconds
        return TENSORS


@pytest.mark.parametrize(
    ("interval", "cost", "apart"),
    [
        (300.0, 1.0, 300.0),
        # 3 % of the time and no more.
        (300.0, 30.0, 1000.0),
        (0.0, 30.0, 0.0),
    ],
)
def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch, interval, cost, apart):
    clock = _Clock(monkeypatch)
    manager = CheckpointManager(CheckpointStore(tmp_path), interval)
    manager.write(_SlowState(clock, cost), Progress())
    assert (manager.written, manager.seconds_spent) == (1, cost)
    clock.now += max(apart - 0.1, 0.0)
    assert manager.due() is (apart == 0.0)
    clock.now += 0.2
    assert manager.due()


def test_a_place_comes_back_with_its_tensors(tmp_path):
    progress = Progress(
        2, 7, {"loss": 0.1}, ({"epoch": 0, "loss": 1 / 3},), {"epoch": 1}, ("a.jpg",)
    )
    facts = {"teacher": "0123", "classes": ["a", "b"]}
    lines = []
    writer = CheckpointManager(CheckpointStore(tmp_path), facts=facts, print_fn=lines.append)
    assert writer.read() is None
    path = writer.write(_SlowState(_NoClock, 0.0), progress)
    reader = CheckpointManager(CheckpointStore(tmp_path), facts=facts, print_fn=lines.append)
    assert reader.read() == progress
    assert lines == [f"Going on from {path}: epoch 3, step 7."]
    assert reader.take_tensors().keys() == TENSORS.keys()
    assert reader.take_tensors() is None
    other = CheckpointManager(CheckpointStore(tmp_path), facts={**facts, "teacher": "4567"})
    with pytest.raises(InputError, match="its teacher was 0123 and is 4567 now"):
        other.read()


class _NoClock:
    now = 0.0


def test_only_the_process_that_writes_writes(tmp_path):
    manager = CheckpointManager(CheckpointStore(tmp_path), 0.0, writes=False)
    assert manager.write(_SlowState(_NoClock, 0.0), Progress()) is None
    assert not manager.due() and not os.listdir(tmp_path)
    nowhere = CheckpointManager(None)
    assert nowhere.read() is None and not nowhere.due()
