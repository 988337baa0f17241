"""Trainings with a time limit, and their extension."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from run_files import Killed, before_call, kill, quiet, result_bits
from weight_files import stored_weights

from keras_deit import InputError
from keras_deit.data import Augmentation
from keras_deit.objectives import Dino, Grafit
from keras_deit.optimizers import Optimization
from keras_deit.training import make_job, time_limit, train_job, trainer
from keras_deit.training.checkpoints import Progress
from keras_deit.training.extension import with_teacher_of
from keras_deit.training.identity import run_identity
from keras_deit.training.loop import TrainingData
from keras_deit.training.run import different_values
from keras_deit.training.time_limit import TimeLimit

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]


@pytest.fixture(autouse=True)
def few_measured_steps(monkeypatch):
    monkeypatch.setattr(time_limit, "_UNTIMED_STEPS", 2)
    monkeypatch.setattr(time_limit, "_MIN_STEPS", 3)
    monkeypatch.setattr(time_limit, "_MIN_SECONDS", 0.1)


@pytest.fixture
def seven_steps(monkeypatch):
    """Finds out that seven steps fit, after the steps that are measured."""
    measure = time_limit.steps_until

    def measured(*args):
        measure(*args)
        return 7, 0.0

    monkeypatch.setattr(time_limit, "steps_until", measured)
    monkeypatch.setattr(TimeLimit, "_fitting", lambda self, number: self.epochs)


def test_measuring_changes_nothing(seven_steps, tiny_job, tmp_path):
    """The same run with its number of steps given is the same to the bit."""
    limited = tiny_job(job={"minutes": 0.02})
    run = train_job(limited, str(tmp_path / "limited"), quiet)
    stored = {"steps": 7, "min_epochs": 10, "validation_seconds": 0.0, "minutes": 0.02}
    assert json.loads(run.steps_file.read_text()) == stored
    assert run.summary["steps"] == 7
    plain = tiny_job({"steps": 7})
    other = train_job(plain, str(tmp_path / "plain"), quiet)
    weights = zip(run.model().get_weights(), other.model().get_weights(), strict=True)
    for found, expected in weights:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_killed_training_keeps_its_number_of_steps(seven_steps, tiny_job, tmp_path, monkeypatch):
    job = tiny_job({"ema_decay": 0.9}, {"minutes": 0.02, "checkpoint_seconds": 0.0})
    whole = train_job(job, str(tmp_path / "whole"), quiet)
    path = str(tmp_path / "killed")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 4, kill)
        train_job(job, path, quiet)
    monkeypatch.setattr(time_limit, "steps_until", lambda *args: (900, 0.0))
    resumed = train_job(job, path, quiet)
    assert result_bits(resumed) == result_bits(whole)


def test_a_run_with_minutes_is_extended(seven_steps, tiny_job, tmp_path):
    def train(name, minutes, **values):
        job = tiny_job({"ema_decay": 0.9}, {"minutes": minutes, **values})
        return train_job(job, str(tmp_path / name), quiet)

    runs = {}
    for name in ("killed", "extended"):
        run = runs[name] = train(name, 0.02)
        before = run.history
        with pytest.raises(InputError, match=r"minutes 0.02 there, 0.04 here.*--extend"):
            train(name, 0.04)
        with pytest.raises(InputError, match=r"different run .minutes 0.02 there, 0.01 here"):
            train(name, 0.01, extend=True)
        if name == "killed":
            # Before the new configuration has a checkpoint of its own, and after it has one.
            for method, number in (("restore", 0), ("validate", 1)):
                with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
                    before_call(patch, method, number, kill)
                    train(name, 0.04, extend=True, checkpoint_seconds=0.0)
                assert run.summary is None
        # Once it has begun, the command without --extend resumes it too.
        train(name, 0.04, extend=name == "extended")
        assert [row["epoch"] for row in run.history] == [*range(14)]
        assert run.history[:7] == before and run.summary["steps"] == 14
    assert result_bits(runs["killed"]) == result_bits(runs["extended"])
    train("extended", 0.06, extend=True)
    assert len(runs["extended"].history) == 21


def test_a_run_of_an_earlier_version_is_extended(seven_steps, tiny_job, tmp_path, monkeypatch):
    """Its checkpoints and its `steps.json` do not say of how many minutes they are."""
    with monkeypatch.context() as patch:
        patch.setattr(
            TimeLimit, "state", property(lambda self: {"seconds_left": self.seconds_left})
        )
        run = train_job(tiny_job(job={"minutes": 0.02}), str(tmp_path / "run"), quiet)
    values = json.loads(run.steps_file.read_text())
    del values["minutes"]
    run.steps_file.write_text(json.dumps(values))
    train_job(tiny_job(job={"minutes": 0.04, "extend": True}), str(run.path), quiet)
    assert len(run.history) == 14


FEATURES = {
    "dino": Dino(
        prototypes=16,
        projector_width=8,
        bottleneck=8,
        freeze_epochs=0.5,
        target_warmup_temperature=0.02,
        target_warmup_epochs=1.0,
        local_crops=0,
        linear_probe=False,
    ),
    "grafit": Grafit(projection_dim=8, projection_hidden_dim=32, augmentations=2),
}


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("tensorflow", "jax")
@pytest.mark.parametrize("name", FEATURES)
def test_a_killed_training_of_features_keeps_its_schedules(
    name, seven_steps, tiny_job, tmp_path, monkeypatch
):
    """They are of the epochs that the time limit makes, in the first process too."""
    passes = []

    def limited(*args):
        passes.append(args[5])
        return TimeLimit(*args)

    monkeypatch.setattr(trainer, "TimeLimit", limited)
    job = tiny_job(
        {"batch_size": 400},
        {"minutes": 0.02, "checkpoint_seconds": 0.0},
        FEATURES[name],
        augmentation=Augmentation(mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0),
    )
    whole = train_job(job, str(tmp_path / "whole"), quiet)
    path = str(tmp_path / "killed")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 4, kill)
        train_job(job, path, quiet)
    resumed = train_job(job, path, quiet)
    assert whole.summary["steps"] == resumed.summary["steps"] == 7
    assert whole.summary["test"] == resumed.summary["test"]
    assert whole.metrics_file.read_text() == resumed.metrics_file.read_text()
    expected, found = (stored_weights(run.final_weights) for run in (whole, resumed))
    assert all(np.array_equal(expected[key], found[key]) for key in expected)
    # The test split, twice as large as the validation split, and this; DINO's teacher again.
    assert passes == [{"dino": 6, "grafit": 3}[name]] * 3


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("tensorflow")
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_killed_training_keeps_the_epochs_that_a_change_of_speed_has_left(
    accumulation_steps, tiny_job, tmp_path, monkeypatch
):
    optimization = {
        **{"ema_decay": 0.9, "final_weight_decay": 0.2, "batch_size": 200},
        "accumulation_steps": accumulation_steps,
    }
    job = tiny_job(optimization, {"minutes": 0.02, "checkpoint_seconds": 0.0})
    monkeypatch.setattr(time_limit, "steps_until", lambda *args: (8 * accumulation_steps, 0.0))
    for less, steps in ((False, 8), (True, 5)):
        # One step is an epoch here. After the third one, only five fit.
        epochs = {3: 5, 4: 5, 5: 5} if less else {}
        fitting = lambda self, number, epochs=epochs: epochs.get(number, self.epochs)  # noqa: E731
        monkeypatch.setattr(TimeLimit, "_fitting", fitting)
        path = tmp_path / f"{less}"
        whole = train_job(job, str(path / "whole"), quiet)
        assert whole.summary["steps"] == steps
        rows = whole.metrics_file.read_text().splitlines()
        assert len(rows) == 1 + steps and "val_" in rows[0] and ",," not in rows[-1]
        with monkeypatch.context() as patch, pytest.raises(Killed):
            before_call(patch, "step_ends", 3 * accumulation_steps, kill)
            train_job(job, str(path / "killed"), quiet)
        monkeypatch.setattr(TimeLimit, "_fitting", lambda self, number: self.epochs)
        resumed = train_job(job, str(path / "killed"), quiet)
        assert result_bits(resumed) == result_bits(whole)


class Machine:
    """A clock, and a training of epochs that take different times."""

    def __init__(
        self, folder, monkeypatch, validates=True, resumed=False, minutes=(), **optimization
    ):
        self.now, self.lengths = 1000.0, []
        self.compiles = 40.0 if resumed else 0.0
        validation_epochs = optimization.pop("validation_epochs", 1)
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(time_limit, "time", clock)
        # 1,000 steps of half a second, in 10 epochs of 50 seconds, and a margin.
        monkeypatch.setattr(time_limit, "steps_until", lambda *args: (1000, 4.0 * validates))
        if resumed:
            values = {"steps": 1000, "min_epochs": 10, "validation_seconds": 4.0}
            (folder / "steps.json").write_text(json.dumps(values))
        optimizer = SimpleNamespace(set_schedule=lambda *lengths: self.lengths.append(lengths))
        model = SimpleNamespace(optimizer=optimizer, objective=SimpleNamespace(length=None))
        validate = self.validate if validates else None
        self.limit = TimeLimit(
            1600.0,
            folder / "steps.json",
            model,
            TrainingData(None, 20, validate, validation_epochs),
            Optimization(**{"batch_size": 64, "warmup_epochs": 5.0, **optimization}),
            2,
            *minutes,
        )

    def validate(self):
        self.now += 4.0 + self.compiles
        self.compiles = 0.0
        self.limit.validated()

    def train(self, seconds_per_step, progress=None):
        """Returns the numbers of epochs after each of them."""
        progress, epochs = progress or Progress(), []
        self.limit.start(progress)
        number = progress.epoch
        while number < self.limit.epochs:
            number += 1
            # The program of the step is compiled first, that of a validation afterwards.
            compiles = self.compiles if number == progress.epoch + 1 else 0.0
            self.now += self.limit.data.steps_per_epoch * seconds_per_step(number) + compiles
            self.limit.epoch_ended(number)
            epochs.append(self.limit.epochs)
            if self.limit.data.validate and (
                number % self.limit.data.validation_epochs == 0 or number == self.limit.epochs
            ):
                self.validate()
        self.now += 8.0 if self.limit.data.validate else 0.0
        return epochs


SPEEDS = {
    "steady": lambda number: 0.5,
    "a little slower": lambda number: 0.53,
    "slower from the beginning": lambda number: 1.0,
    "slower from the middle": lambda number: 0.5 if number < 5 else 1.0,
    "slower at last": lambda number: 0.5 if number < 9 else 0.8,
    "now slow and now fast": lambda number: 0.4 if number % 2 else 0.65,
    "paused": lambda number: 1.5 if number == 4 else 0.5,
    "faster": lambda number: 0.2,
}


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize("validates", [True, False])
def test_a_training_ends_in_time_whatever_the_machine_does(name, validates, tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch, validates)
    epochs = machine.train(SPEEDS[name])
    # The last epoch is not shortened any more.
    assert 0.8 * 600 < machine.now - 1000 <= (610 if name == "slower at last" else 600)
    total, warmup = machine.lengths[-1]
    assert total == 100 * epochs[-1] == 100 * len(epochs)
    assert warmup == machine.lengths[0][1]
    if validates and name in ("steady", "a little slower"):
        assert {*epochs} == {10}


@pytest.mark.parametrize("validation_epochs", [1, 3, 100])
def test_a_validation_that_is_rare_lets_it_end_in_time(validation_epochs, tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch, validation_epochs=validation_epochs)
    epochs = machine.train(SPEEDS["slower from the beginning"])
    assert 0.8 * 600 < machine.now - 1000 <= 600
    assert epochs[0] < 10


@pytest.mark.parametrize("epoch", [0, 4])
def test_what_a_process_compiles_after_resuming_is_not_taken_for_speed(
    epoch, tmp_path, monkeypatch
):
    """Two times 40 seconds, for the step and for a validation."""
    machine = Machine(tmp_path, monkeypatch, resumed=True)
    progress = Progress(epoch=epoch, epochs=10, seconds_left=680.0 - 54 * epoch)
    assert {*machine.train(SPEEDS["steady"], progress)} == {10}


def test_another_number_of_micro_batches_changes_no_epoch(tmp_path, monkeypatch):
    lengths = set()
    for accumulation_steps in (1, 2, 4):
        limit = Machine(tmp_path, monkeypatch, accumulation_steps=accumulation_steps).limit
        lengths.add((limit.epochs, limit.data.steps_per_epoch // accumulation_steps))
    assert lengths == {(10, 100)}


def test_a_checkpoint_without_the_time_that_is_left_keeps_its_epochs(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    assert machine.train(lambda number: 5.0, Progress(epoch=7)) == [10, 10, 10]
    assert machine.limit.seconds_left is None


def test_a_training_that_resumes_has_the_time_that_was_left(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch, resumed=True)
    machine.compiles = 0.0
    progress = Progress(epoch=4, epochs=9, seconds_left=300.0)
    machine.now += 86_400
    epochs = machine.train(lambda number: 1.0, progress)
    # The first epoch has compiled, and is not timed.
    assert epochs == [9, 6]


@pytest.mark.parametrize("seconds", [0.5, 0.2, 1.0])
@pytest.mark.parametrize(("epoch", "left"), [(10, -20.0), (10, 40.0), (4, 350.0)])
def test_an_extension_takes_the_further_minutes(seconds, epoch, left, tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch, resumed=True, minutes=(20.0, 10.0))
    progress = Progress(epoch=epoch, epochs=10, seconds_left=left, minutes=10.0)
    epochs = machine.train(lambda number: seconds, progress)
    further = max(left, 0.0) + 600.0
    assert 0.8 * further < machine.now - 1000.0 <= further + 5.0
    assert machine.limit.state["minutes"] == 20.0 and machine.lengths[-1][0] == 100 * epochs[-1]


def test_a_training_out_of_time_ends_with_its_epoch(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    assert machine.train(lambda number: 10.0) == [1]


def test_a_damaged_number_of_steps_is_one_line(tmp_path):
    for content in ("{}", '{"steps": "many"}', "[]", '{"steps": 9, "min_epochs": "many"}'):
        (tmp_path / "steps.json").write_text(content)
        with pytest.raises(InputError, match=r"steps\.json is corrupt"):
            TimeLimit(0.0, tmp_path / "steps.json", None, None, Optimization())


def test_more_steps_fit_into_more_time(tiny_job, tmp_path, monkeypatch):
    """With a clock that goes on by two seconds each time it is read, once in a step."""
    measure, counts = time_limit.steps_until, []

    def measured(*args):
        counts.append(measure(*args)[0])
        return 3, 0.0

    monkeypatch.setattr(time_limit, "steps_until", measured)
    for minutes in (2.0, 4.0, 8.0):
        clock = itertools.count(0, 2)
        monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=clock.__next__))
        job = tiny_job(job={"minutes": minutes})
        train_job(job, str(tmp_path / str(minutes)), quiet, start=0.0)
    assert 10 < counts[0] < 60
    assert 1.7 < (counts[2] - counts[1]) / (counts[1] - counts[0]) < 2.3


def test_steps_epochs_and_minutes_exclude_each_other():
    with pytest.raises(InputError, match="epochs or steps, not both"):
        make_job(epochs=3, steps=5)
    with pytest.raises(InputError, match=r"minutes.*above 0"):
        make_job(minutes=0.0)


def test_a_teacher_has_its_share_of_the_minutes_and_its_own_recipe():
    def recipe(**given):
        return make_job(**given).recipe.objective.values["teacher_recipe"]

    assert recipe(minutes=10.0).minutes == 4.0
    assert recipe(minutes=10.0, teacher_epochs=3).minutes is None
    assert recipe(minutes=10.0, teacher_minutes=1.0).minutes == 1.0
    for student_only in ({"mixup_alpha": 0.3}, {"erase_probability": 0.5}, {"label_smoothing": 0}):
        assert recipe(**student_only) == recipe()
    assert recipe(flip_probability=0.5).augmentation.flip_probability == 0.5


def test_more_minutes_are_no_other_teacher(tmp_path):
    def stored_and(minutes, **given):
        given = {"teacher": "kerascv:resnet18_v2", "minutes": minutes, **given}
        return with_teacher_of(make_job(**given), stored, steps_file)

    steps_file = tmp_path / "steps.json"
    stored = run_identity(make_job(minutes=10.0, teacher="kerascv:resnet18_v2"))
    longer = run_identity(stored_and(20.0))
    assert {*different_values(stored, longer)} == {"minutes"}
    # After the extension the configuration has the new minutes, and the file those of the start.
    stored = longer
    steps_file.write_text('{"minutes": 10.0}')
    assert run_identity(stored_and(20.0)) == longer
    assert {*different_values(stored, run_identity(stored_and(30.0)))} == {"minutes"}
    other = run_identity(stored_and(20.0, teacher_minutes=5.0))
    assert {*different_values(stored, other)} == {"objective.teacher_recipe.minutes"}
