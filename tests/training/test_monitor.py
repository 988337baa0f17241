"""The best weights are chosen by the figure that the objective monitors."""

import pytest
from run_files import quiet

from keras_deit import InputError, Supervised
from keras_deit.training import train_job
from keras_deit.training.loop import TrainingLoop

pytestmark = pytest.mark.usefixtures("eager")


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
    with pytest.raises(InputError, match=r"Unknown.*val_nothing.*val_accuracy") as error:
        train_job(tiny_job(objective=Unknown()), tmp_path / "run", print_fn=quiet)
    assert len(epochs) == 1
    assert "\n" not in str(error.value)
