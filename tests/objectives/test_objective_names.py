"""An objective computes what it declares, and nothing else."""

import keras
import numpy as np
import pytest
from small_models import small_student
from two_views import TwoViews

from keras_deit import InputError, Objective, Supervised
from keras_deit.objectives import TrainingModel

IMAGES, LABELS = np.zeros((4, 8, 8, 3), "float32"), np.array([0, 1, 2, 0])


class Named(Objective):
    """An objective that computes losses and metrics of the given names."""

    losses, metrics = ("extra",), ("figure",)

    def __init__(self, computed_losses=("extra",), computed_metrics=("figure",)):
        self.computed_losses = computed_losses
        self.computed_metrics = computed_metrics

    def compute_loss(self, batch, training):
        loss = keras.ops.mean(batch.outputs["class"] ** 2)
        return {name: loss for name in ("loss", *self.computed_losses) if name}

    def compute_metrics(self, batch):
        return {name: batch.outputs["class"][:, 0] for name in self.computed_metrics}


def fit(objective):
    model = TrainingModel(small_student(), objective)
    model.compile("sgd", run_eagerly=True)
    return model.fit(IMAGES, LABELS, verbose=0).history


def test_what_is_declared_and_computed_is_logged():
    assert {"loss", "extra", "figure"} <= fit(Named()).keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"computed_losses": ()}, "Named.*losses.*Missing: extra; not declared: none"),
        ({"computed_losses": ("extra", "other")}, "losses.*Missing: none; not declared: other"),
        ({"computed_metrics": ()}, "Named.*metrics.*Missing: figure; not declared: none"),
        ({"computed_metrics": ("figure", "other")}, "metrics.*Missing: none; not declared: other"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_other_names_than_those_declared_are_refused(given, message):
    with pytest.raises(InputError, match=message) as error:
        fit(Named(**given))
    assert "\n" not in str(error.value)


class NoLoss(Named):
    def compute_loss(self, batch, training):
        return {"extra": keras.ops.mean(batch.outputs["class"])}


def test_an_objective_has_to_return_a_loss():
    with pytest.raises(InputError, match=r"NoLoss.*loss"):
        fit(NoLoss())


class NoMode(Supervised):
    mode = "maximum"


def test_a_mode_is_min_or_max():
    with pytest.raises(InputError, match=r"NoMode.*min.*max.*'maximum'"):
        TrainingModel(small_student(), NoMode())


def test_a_loss_for_an_objective_that_has_its_own_is_refused():
    model = TrainingModel(small_student(), TwoViews(width=4))
    with pytest.raises(InputError, match=r"TwoViews.*mse"):
        model.compile("sgd", loss="mse")
    supervised = TrainingModel(small_student(), Supervised())
    supervised.compile("sgd", loss=keras.losses.CategoricalHinge())
    assert isinstance(supervised.objective.label_loss, keras.losses.CategoricalHinge)
