"""What a run prints."""

import keras
import numpy as np

from keras_deit.distillation.execution import replicas
from keras_deit.models import Classifier
from keras_deit.training.job import Job
from keras_deit.training.optimizer import undecayed_variables

_ROWS = {
    "teacher": "teacher",
    "class": "class head",
    "distillation": "distillation head",
    "fused": "fused",
}


def start_report(job: Job, student: Classifier, steps: int, teacher: str | None) -> dict:
    """The numbers that a run really works with, in the order they are printed."""
    recipe, optimisation = job.recipe, job.recipe.optimisation
    undecayed = sum(int(np.prod(v.shape)) for v in undecayed_variables(student))
    total = sum(int(np.prod(v.shape)) for v in student.trainable_variables)
    return {
        "model": f"{recipe.model} ({recipe.name} recipe)",
        "parameters": f"{total:,}, {total - undecayed:,} of them with weight decay",
        "data": f"{job.dataset}, {job.train_examples or 'all'} training examples",
        "distillation": recipe.distillation,
        "teacher": teacher or "none",
        "images per step": f"{optimisation.batch_size} on {replicas()} device(s)",
        "steps": f"{steps * optimisation.epochs:,} ({optimisation.epochs} epochs of {steps})",
        "peak learning rate": f"{optimisation.peak_learning_rate:.3g}",
        "backend": f"{keras.backend.backend()}, {job.mixed_precision}, seed {job.seed}",
    }


def score_table(scores: dict[str, dict[str, float]]) -> str:
    """Top-1 and agreement with the teacher by head, as lines of text."""
    lines = [f"{'':20}{'top-1':>8}{'agreement with teacher':>26}"]
    for name, label in _ROWS.items():
        if name in scores:
            row = scores[name]
            agreement = f"{row['agreement']:.4f}" if "agreement" in row else "-"
            lines.append(f"{label:20}{row['top1']:8.4f}{agreement:>26}")
    return "\n".join(lines)


def final_report(summary: dict, run_dir) -> str:
    """The end of a run: its table, its speed and its directory."""
    lines = [f"Test split, {summary['test_examples']} images:", score_table(summary["test"])]
    if summary["median_step_ms"] is not None:
        lines.append(
            f"Median step {summary['median_step_ms']} ms, {summary['images_per_second']} images/s."
        )
    lines.append(f"Run directory: {run_dir}")
    return "\n".join(lines)
