"""What a run prints."""

import keras
import numpy as np

from keras_deit.distillation.execution import replicas
from keras_deit.models import Classifier
from keras_deit.recipes import Optimisation
from keras_deit.training.job import Job
from keras_deit.training.optimisation import undecayed_variables

_ROWS = {
    "teacher": "teacher",
    "class": "class head",
    "distillation": "distillation head",
    "fused": "fused",
}


def start_report(job: Job, student: Classifier, steps: int, teacher: str | None) -> dict:
    """The numbers that a run really works with, in the order they are printed."""
    recipe, optimisation = job.recipe, job.recipe.optimisation
    return {
        "model": f"{recipe.model} ({recipe.name} recipe)",
        "parameters": parameters_line(student, optimisation.trainable),
        "data": f"{job.dataset}, {job.train_examples or 'all'} training examples",
        "distillation": recipe.distillation,
        "teacher": teacher or "none",
        "images per step": _images(optimisation),
        "steps": f"{steps * optimisation.epochs:,} ({optimisation.epochs} epochs of {steps})",
        "optimiser": _optimiser(optimisation),
        "schedule": _schedule(optimisation),
        "peak learning rate": f"{optimisation.peak_learning_rate:.3g}",
        "label loss": optimisation.loss.replace("_", " "),
        "backend": f"{keras.backend.backend()}, {job.mixed_precision}, seed {job.seed}",
    }


def _images(optimisation: Optimisation) -> str:
    parts = optimisation.accumulation_steps
    accumulated = f", in {parts} parts one after the other" if parts > 1 else ""
    return f"{optimisation.batch_size} on {replicas()} device(s){accumulated}"


def parameters_line(student: Classifier, trainable: str) -> str:
    """How many parameters are trained, and how many of them decay.

    Args:
        student: or its outline.
        trainable: of the recipe.
    """
    trained, undecayed = (
        sum(int(np.prod(variable.shape)) for variable in variables)
        for variables in (student.trainable_variables, undecayed_variables(student))
    )
    only = "" if trainable == "all" else f" ({trainable} only)"
    decayed = f"{trained - undecayed:,} with weight decay and {undecayed:,} without"
    return f"{trained:,}{only}, {decayed}"


def _optimiser(optimisation: Optimisation) -> str:
    parts = [optimisation.optimizer, f"weight decay {optimisation.weight_decay:g}"]
    if optimisation.gradient_clip:
        parts.append(f"gradients clipped to {optimisation.gradient_clip:g}")
    if optimisation.layer_decay != 1:
        parts.append(f"layer decay {optimisation.layer_decay:g}")
    if optimisation.ema_decay:
        parts.append(f"EMA {optimisation.ema_decay:g}")
    if not optimisation.training_mode:
        parts.append("student in evaluation mode")
    return ", ".join(parts)


def _schedule(optimisation: Optimisation) -> str:
    duration = f"{optimisation.warmup_epochs:g} epochs"
    if optimisation.warmup_steps is not None:
        duration = f"{optimisation.warmup_steps:,} steps"
    return (
        f"{optimisation.schedule}, from {optimisation.warmup_learning_rate:g} over {duration} of "
        f"warm-up to {optimisation.min_learning_rate:g}"
    )


def score_table(
    scores: dict[str, dict[str, float]], ema: dict[str, dict[str, float]] | None = None
) -> str:
    """Top-1 and agreement with the teacher by head, as lines of text.

    Args:
        scores: of the trained weights, by head.
        ema: of their moving average, where one was taken: rows of their own.
    """
    rows = [(label, scores[name]) for name, label in _ROWS.items() if name in scores]
    students = {name: row for name, row in (ema or {}).items() if name != "teacher"}
    rows += [(f"{label}, EMA", students[n]) for n, label in _ROWS.items() if n in students]
    width = 26 if ema else 20
    lines = [f"{'':{width}}{'top-1':>8}{'agreement with teacher':>26}"]
    for label, row in rows:
        agreement = f"{row['agreement']:.4f}" if "agreement" in row else "-"
        lines.append(f"{label:{width}}{row['top1']:8.4f}{agreement:>26}")
    return "\n".join(lines)


def final_report(summary: dict, run_dir) -> str:
    """The end of a run: its table, its speed and its directory."""
    table = score_table(summary["test"], summary.get("test_ema"))
    lines = [f"Test split, {summary['test_examples']} images:", table]
    if summary["median_step_ms"] is not None:
        lines.append(
            f"Median step {summary['median_step_ms']} ms, {summary['images_per_second']} images/s."
        )
    if summary["skipped_steps"]:
        lines.append(f"Steps without finite gradients, left out: {summary['skipped_steps']}.")
    if summary["bad_images"]:
        lines.append(f"Unreadable images, listed in summary.json: {len(summary['bad_images'])}.")
    lines.append(f"Run directory: {run_dir}")
    return "\n".join(lines)
