"""How well classifiers do, and how often they agree with the teacher."""

import warnings

import keras
from keras import ops

from keras_deit.models import Classifier
from keras_deit.training.callbacks import EvaluationProgress


def score_student(
    student: Classifier, teacher: keras.Layer | None, data, batches: int, title: str
) -> dict[str, dict[str, float]]:
    """Scores of every head, of their fusion and of the teacher.

    Args:
        student: a model of this package.
        teacher: as `Distiller` takes it, or None.
        data, batches, title: as for `score`.

    Returns:
        As `score`, by the names "class", "distillation" where there is one, "fused", and
        "teacher" where there is one.
    """
    heads = student.heads
    outputs = {**heads.output, "fused": student(heads.input)}
    if teacher is not None:
        outputs["teacher"] = teacher(heads.input)
    return score(keras.Model(heads.input, outputs), data, batches, title)


def score(model: keras.Model, data, batches: int, title: str) -> dict[str, dict[str, float]]:
    """Top-1 of each output of a model, and how often each decides as the teacher does.

    Args:
        model: images to logits or probabilities (batch, classes), by name.
        data: one pass of batches of images, integer labels and, where some do not count, weights.
        batches: how many there are.
        title: of the progress bar.

    Returns:
        By the output's name `top1` and, where one is called "teacher", `agreement`: shares in
        [0, 1].
    """
    scorer = Scorer(model)
    scorer.compile()
    progress = EvaluationProgress(title, batches)
    try:
        with warnings.catch_warnings():
            # Grain does not tell Keras how long a pass over the data is.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            results = scorer.evaluate(data, callbacks=[progress], verbose=0, return_dict=True)
    finally:
        progress.close()
    # Six places tell apart what a million images can.
    return {
        name: {figure: round(float(results[key]), 6) for figure, key in keys.items()}
        for name, keys in scorer.keys.items()
    }


class Scorer(keras.Model):
    """Counts hits under Keras's `evaluate`, which works on however many devices there are.

    Args:
        model: as for `score`.
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model
        names = list(model.output)
        figures = ("top1", "agreement") if "teacher" in names else ("top1",)
        self.keys = {name: {figure: f"{name}_{figure}" for figure in figures} for name in names}
        self.shares = {
            key: keras.metrics.Mean(name=key)
            for keys in self.keys.values()
            for key in keys.values()
        }

    def call(self, images, training=False):
        return self.model(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        return ops.zeros(())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        decisions = {name: ops.cast(ops.argmax(y_pred[name], -1), "int32") for name in self.keys}
        wanted = {"top1": ops.cast(ops.reshape(y, (-1,)), "int32")}
        if "teacher" in decisions:
            wanted["agreement"] = decisions["teacher"]
        for name, keys in self.keys.items():
            for figure, key in keys.items():
                hits = ops.cast(decisions[name] == wanted[figure], "float32")
                self.shares[key].update_state(hits, sample_weight=sample_weight)
        return self.get_metrics_result()
