"""The best weights are chosen by a figure of the validation; classes can be balanced."""

import pytest
from run_files import Killed, before_call, kill, quiet, result_bits

from keras_deit import InputError, Supervised
from keras_deit.training import train_job
from keras_deit.training.loop import TrainingLoop

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]


class Unknown(Supervised):
    """An objective that monitors a figure that no validation has."""

    monitor = "val_nothing"


def test_a_figure_that_no_validation_has_is_refused_at_the_first_one(
    tiny_job, tmp_path, monkeypatch
):
    epochs = []
    train_epoch = TrainingLoop.train_epoch
    monkeypatch.setattr(
        TrainingLoop, "train_epoch", lambda self: (epochs.append(1), train_epoch(self))
    )
    with pytest.raises(InputError, match=r"val_nothing.*val_accuracy") as error:
        train_job(tiny_job(objective=Unknown()), tmp_path / "run", print_fn=quiet)
    assert len(epochs) == 1
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("monitor", "best"), [("loss", min), ("val_balanced_accuracy", max), (None, max)]
)
def test_the_monitored_figure_chooses_the_best_epoch(tiny_job, tmp_path, monitor, best):
    job = tiny_job({"epochs": 3}, {"monitor": monitor}, objective=Supervised())
    run = train_job(job, tmp_path / "run", print_fn=quiet)
    name = f"val_{(monitor or 'accuracy').removeprefix('val_')}"
    values = [row[name] for row in run.history]
    assert run.summary["best"] == {"epoch": values.index(best(values)) + 1, name: best(values)}
    assert run.config["run"].get("monitor") == job.monitor
    # The validation split of digits has 18 images of each class.
    if monitor == "val_balanced_accuracy":
        assert values == pytest.approx([row["val_accuracy"] for row in run.history])


def test_an_unknown_figure_is_refused_before_the_training(tiny_job, tmp_path):
    job = tiny_job(job={"monitor": "acuracy"}, objective=Supervised())
    with pytest.raises(InputError, match=r"'acuracy'.*accuracy") as error:
        train_job(job, tmp_path / "run", print_fn=quiet)
    assert "\n" not in str(error.value) and not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("values", [{"class_weight": "balanced"}, {"sampling": "balanced"}])
def test_a_balanced_training_is_another_run_and_resumes_to_the_bit(tiny_job, tmp_path, values):
    job = tiny_job({**values, "ema_decay": 0.9}, {"checkpoint_seconds": 0.0})
    lines = []
    whole = train_job(job, tmp_path / "whole", print_fn=lines.append)
    assert any(line.startswith(("class weights", "sampling")) for line in lines)
    assert whole.config["run"]["optimization"].items() >= values.items()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 4, kill)
        train_job(job, tmp_path / "killed", print_fn=quiet)
    killed = train_job(job, tmp_path / "killed", print_fn=quiet)
    assert result_bits(killed) == result_bits(whole)
    with pytest.raises(InputError, match="a different run"):
        train_job(tiny_job({"ema_decay": 0.9}), tmp_path / "killed", print_fn=quiet)


def test_classes_are_not_balanced_twice(tiny_job):
    with pytest.raises(InputError, match=r"sampling with class_weight .*'shuffled'"):
        tiny_job({"class_weight": "balanced", "sampling": "balanced"})
