"""How well each head does, and how often it agrees with the teacher."""

import warnings

import keras
from keras import ops

from keras_deit.data import Source, evaluation_pipeline, load_dataset
from keras_deit.distillation import Teacher
from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.training.callbacks import EvaluationProgress
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.teacher_training import teacher_of_run

SPLITS = ("validation", "test")


def evaluate_run(run_dir: str, split: str = "test", batch_size: int = 64) -> dict:
    """Evaluates the final student of a run on a split of its data.

    Args:
        run_dir: of a finished run.
        split: "validation" or "test".
        batch_size: images at a time.

    Returns:
        `scores` as of `score`, and the number of `examples`.

    Raises:
        InputError: no such split, or not a finished run.
    """
    if split not in SPLITS:
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")
    run = RunDirectory(run_dir)
    student, config = run.load_student(), run.read_config()
    source = getattr(load_dataset(config["run"]["dataset"], config["data_dir"]), split)
    found = teacher_of_run(config, student.image_format)
    teacher = Teacher(*found, student.image_format) if found else None
    view = (config["crop_ratio"], config["interpolation"])
    data = evaluation_data(source, student, batch_size, *view)
    return {"scores": score(student, teacher, data, split), "examples": len(source)}


def evaluation_data(
    source: Source, student: Classifier, batch_size: int, crop_ratio: float, interpolation: str
):
    """One pass over a split as a student sees it: normalised images and integer labels."""
    image_format = student.image_format
    return evaluation_pipeline(source, image_format, batch_size, crop_ratio, interpolation)


def score(
    student: Classifier, teacher: keras.Layer | None, data, title: str
) -> dict[str, dict[str, float]]:
    """Top-1 of every head, and how often each decides as the teacher does.

    Args:
        student: a model of this package.
        teacher: as `Distiller` takes it, or None.
        data: one pass of batches of images and integer labels.
        title: of the progress bar.

    Returns:
        By name ("class", "distillation" where there is one, "fused", "teacher" where there is
        one) `top1` and, where there is a teacher, `agreement`: shares in [0, 1].
    """
    scorer = Scorer(student, teacher)
    scorer.compile()
    progress = EvaluationProgress(title)
    try:
        with warnings.catch_warnings():
            # Grain does not tell Keras how long a pass over the data is.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            results = scorer.evaluate(data, callbacks=[progress], verbose=0, return_dict=True)
    finally:
        progress.close()
    scores = {}
    for name in scorer.names:
        # Six places tell apart what a million images can.
        scores[name] = {"top1": round(float(results[f"{name}_top1"]), 6)}
        if teacher is not None:
            scores[name]["agreement"] = round(float(results[f"{name}_agreement"]), 6)
    return scores


class Scorer(keras.Model):
    """Student and teacher side by side; `evaluate` counts, on however many devices."""

    def __init__(self, student, teacher):
        super().__init__()
        heads = student.heads
        outputs = {**heads.output, "fused": student(heads.input)}
        if teacher is not None:
            outputs["teacher"] = teacher(heads.input)
        self.names = list(outputs)
        self.both = keras.Model(heads.input, outputs)
        figures = ("top1", "agreement") if teacher is not None else ("top1",)
        self.shares = {
            f"{name}_{figure}": keras.metrics.Mean(name=f"{name}_{figure}")
            for name in outputs
            for figure in figures
        }

    def call(self, images, training=False):
        return self.both(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        return ops.zeros(())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        decisions = {n: ops.cast(ops.argmax(y_pred[n], -1), "int32") for n in self.names}
        wanted = {"top1": ops.cast(ops.reshape(y, (-1,)), "int32")}
        if "teacher" in decisions:
            wanted["agreement"] = decisions["teacher"]
        for name, decision in decisions.items():
            for figure, target in wanted.items():
                hits = ops.cast(decision == target, "float32")
                self.shares[f"{name}_{figure}"].update_state(hits)
        return self.get_metrics_result()
