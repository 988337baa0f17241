"""Measuring models on a split in one pass: the answers of every head, and their figures."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.data import Source, num_batches
from keras_deit.evaluation.figures import (
    classification_figures,
    confusion_counts,
    figures_by_class,
    fit_temperature,
    reliability_bins,
)
from keras_deit.models import Classifier
from keras_deit.objectives.scoring import Outputs, Scores, compute_outputs
from keras_deit.training import InputPipeline

# The order of the rows in a result; heads of other names come after these.
ROWS = ("teacher", "class", "distillation", "fused")
# What is added to the rows of a model in the result, by the name of its scores.
SUFFIXES = {"scores": "", "ema_scores": ", EMA"}


@dataclasses.dataclass(frozen=True)
class Answers:
    """What models and a teacher answer for the images of a split.

    Attributes:
        rows: by the name of the scores ("scores", "ema_scores") the logits of each head, of "fused"
            and, if there is one, of the "teacher", float32 (images, classes).
        labels: integers (images,).
        images_per_second: of all models together, with reading the images.
    """

    rows: dict[str, dict[str, np.ndarray]]
    labels: np.ndarray
    images_per_second: float

    @property
    def by_title(self) -> dict[str, np.ndarray]:
        """The logits by the name of the row, such as "class, EMA"; the teacher's come once."""
        return {
            row if row == "teacher" else row + SUFFIXES[scores]: values
            for scores, logits in self.rows.items()
            for row, values in logits.items()
        }

    @property
    def scores(self) -> dict[str, Scores]:
        """Top-1 and agreement with the teacher as in the summary of a run."""
        return {name: _scores(rows, self.labels) for name, rows in self.rows.items()}


def answer(
    models: dict[str, Classifier],
    teacher: keras.Layer | None,
    source: Source,
    pipeline: InputPipeline,
    batch_size: int,
    title: str,
) -> Answers:
    """Returns the answers of models of one image format, and of a teacher, in one pass.

    Args:
        models: by the name of their scores.
        teacher: layer that maps the images of the models to logits, or None.
        source: the images.
        pipeline: pipeline of the images of the models.
        batch_size: images at a time.
        title: title of the progress bar.

    Raises:
        InputError: a model has no heads, or none of the images can be read.
    """
    for model in models.values():
        if not model.num_classes:
            raise InputError(f"{model.name} has no heads, so it has no figures.")
    data = pipeline.evaluation_batches(source, batch_size)
    rows = _Rows(models, teacher)
    rows.compile()
    found: Outputs = compute_outputs(rows, data, num_batches(len(source), batch_size), title)
    if not len(found.labels):
        raise InputError(f"None of the {len(source)} images of the {title} split can be read.")
    taught = found.outputs.get("teacher", {})
    return Answers(
        {name: _in_order({**found.outputs[name], **taught}) for name in models},
        found.labels.reshape(-1),
        found.images_per_second,
    )


def figures_of(
    answers: Answers,
    calibration: Answers | None,
    class_names: Sequence[str],
    print_fn=print,
) -> dict[str, dict]:
    """Returns what is known of each row of answers, as JSON values.

    Args:
        answers: of the evaluated split.
        calibration: of the validation split, from which the temperatures are; None to leave
            `temperature` and `ece_scaled` out.
        class_names: the names of the classes by index.
        print_fn: called with a line for each row whose logits are not finite: it has no figures.

    Returns:
        `figures`, `per_class`, `confusion` and `reliability`, each by row; see
        `keras_deit.evaluation.figures`.
    """
    known = calibration.by_title if calibration else {}
    result = {name: {} for name in ("figures", "per_class", "confusion", "reliability")}
    labels = answers.labels
    for row, logits in answers.by_title.items():
        if bad := int(np.sum(~np.isfinite(logits).all(axis=1))):
            print_fn(f"{row}: no figures, because its logits for {bad} images are not finite.")
            continue
        temperature = None
        if row in known and np.isfinite(known[row]).all():
            temperature = fit_temperature(calibration.labels, known[row])
        result["figures"][row] = classification_figures(labels, logits, temperature)
        result["per_class"][row] = figures_by_class(labels, logits, class_names)
        result["confusion"][row] = confusion_counts(labels, logits)
        result["reliability"][row] = reliability_bins(labels, logits)
    return result


class _Rows(keras.Model):
    """The logits of the heads of several models, of their means and of a teacher."""

    def __init__(self, models: dict[str, Classifier], teacher: keras.Layer | None):
        # TensorFlow would not take a name that begins with an underscore.
        super().__init__(name="rows")
        self.models = {
            name: keras.Model(model.input, {**model.heads.output, "fused": model.output})
            for name, model in models.items()
        }
        self.teacher = teacher

    def call(self, images, training=False):
        rows = {name: model(images, training=training) for name, model in self.models.items()}
        if self.teacher is not None:
            rows["teacher"] = {"teacher": self.teacher(images)}
        return keras.tree.map_structure(lambda logits: keras.ops.cast(logits, "float32"), rows)


def _in_order(rows: dict) -> dict:
    names = [*(name for name in ROWS if name in rows), *(name for name in rows if name not in ROWS)]
    return {name: rows[name] for name in names}


def _scores(rows: dict[str, np.ndarray], labels: np.ndarray) -> Scores:
    decisions = {name: np.argmax(logits, axis=-1) for name, logits in rows.items()}
    expected = {"top1": labels}
    if "teacher" in decisions:
        expected["agreement"] = decisions["teacher"]
    return {
        name: {figure: _share(decided == wanted) for figure, wanted in expected.items()}
        for name, decided in decisions.items()
    }


def _share(hits: np.ndarray) -> float:
    # As a mean of Keras, which the scores of a training are: float32, with six digits.
    return round(float(np.float32(np.sum(hits)) / np.float32(len(hits))), 6)
