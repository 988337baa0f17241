"""The lines that a training prints at its start, and what it records."""

import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import sys
from collections.abc import Sequence

import keras
import numpy as np

from keras_deit.core import program_cache
from keras_deit.core.processes import data_parallel_replicas
from keras_deit.data import Dataset
from keras_deit.objectives import Objective, TrainingModel, objective_name
from keras_deit.optimizers import Optimization, no_weight_decay_variables
from keras_deit.training.callbacks import StepTimer
from keras_deit.training.job import Job
from keras_deit.training.loop import TrainingLoop
from keras_deit.version import __version__

_MOST_CLASSES = 20
# Settings of the C library and the backends, which the command may have made itself.
_VARIABLES = (
    *("GLIBC_TUNABLES", "XLA_FLAGS", "TF_XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"),
    *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
)
_PACKAGES = ("numpy", "grain", "opencv-python-headless", "keras-cv")


def start_report(
    job: Job,
    optimization: Optimization,
    model: TrainingModel,
    splits: Dataset,
    steps: int,
    teacher: str | None,
) -> dict[str, str]:
    """Returns the effective values of a training, in the order in which they are printed."""
    recipe = job.recipe
    return {
        "model": f"{recipe.model} ({recipe.name} recipe)",
        "parameters": parameters_line(model, optimization),
        "data": splits.description,
        "objective": _objective(recipe.objective),
        **_balance(optimization, model, splits),
        "teacher": teacher or "none",
        "images per step": _images(optimization),
        "steps": _steps(job, optimization, steps),
        "optimizer": _optimizer(optimization),
        "schedule": _schedule(optimization),
        "peak learning rate": f"{optimization.peak_learning_rate:.3g}",
        "backend": f"{keras.backend.backend()}, {job.mixed_precision}, seed {job.seed}",
    }


def parameters_line(model: TrainingModel, optimization: Optimization) -> str:
    """Returns how many parameters are trained, and how many of them have weight decay.

    Args:
        model: the student with its objective; it may be abstract.
        optimization: of the student.
    """
    trained, without_decay = (
        sum(int(np.prod(variable.shape)) for variable in variables)
        for variables in (model.trainable_variables, no_weight_decay_variables(model))
    )
    only = "" if optimization.trainable == "all" else f" ({optimization.trainable} only)"
    if optimization.weight_decay == 0:
        decay = "without weight decay"
    elif optimization.weight_decay_on == "all":
        decay = "all with weight decay"
    else:
        decay = f"{trained - without_decay:,} with weight decay and {without_decay:,} without"
    return f"{trained:,}{only}, {decay}"


def environment(command: Sequence[str] | None = None) -> dict:
    """Returns when, how and with which versions a training is started, as JSON values.

    Args:
        command: what a shell would start the training with; None for that of this process.
    """
    packages = ("keras", keras.backend.backend(), *_PACKAGES)
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": list(command or sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "devices": _devices(),
        "variables": _variables(),
        "versions": {"keras-deit": __version__, **{p: _version(p) for p in packages}},
    }


def _variables() -> dict[str, str]:
    """Returns the variables of the environment, without the folder of this process's programs."""
    values = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    values = {name: v.removesuffix(program_cache.ADDED.get(name, "")) for name, v in values.items()}
    return {name: value for name, value in values.items() if value}


def _processor() -> str:
    """Returns the name of the processor as far as it is known, and the number of its threads."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        found = next(line for line in lines if line.startswith("model name"))
        name = found.partition(":")[2].strip()
    return f"{name}, {os.cpu_count()} threads"


def _devices() -> list[str]:
    """Returns the names of the accelerators that the backend sees."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    if backend == "torch":
        import torch

        count = torch.cuda.device_count()
        return [torch.cuda.get_device_name(index) for index in range(count)]
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    found = tf.config.list_physical_devices("GPU")
    names = [details(device).get("device_name", device.name) for device in found]
    return names or [device.device_type for device in tf.config.list_logical_devices("TPU")]


def training_summary(loop: TrainingLoop, optimization: Optimization, steps: int) -> dict:
    """Returns what `summary.json` says of a training, without its scores."""
    checkpoints = loop.checkpoints
    return {
        "steps": steps * loop.epochs,
        "skipped_steps": loop.finite.skipped,
        "best": loop.progress.best,
        "checkpoints": {
            "written": checkpoints.written,
            "seconds": round(checkpoints.seconds_spent, 3),
        },
        **_speed(loop.timer, optimization),
    }


def _speed(timer: StepTimer, optimization: Optimization) -> dict[str, float | None]:
    median = timer.median()
    if median is None:
        return {"median_step_ms": None, "images_per_second": None}
    seconds = median * optimization.accumulation_steps
    return {
        "median_step_ms": round(1e3 * seconds, 2),
        "images_per_second": round(optimization.batch_size / seconds, 1),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _balance(optimization: Optimization, model: TrainingModel, splits: Dataset) -> dict[str, str]:
    if optimization.sampling == "balanced":
        return {"sampling": "balanced, equally many images of each class in an epoch"}
    if model.class_weights is None:
        return {}
    return {"class weights": weights_line(model.class_weights, splits.class_names)}


def weights_line(class_weights: Sequence[float], class_names: Sequence[str]) -> str:
    """Returns the weights of the classes by name, of many classes those of the extreme ones."""
    by_weight = sorted(zip(class_weights, class_names, strict=True))
    shown = [f"{name} {weight:.3g}" for weight, name in by_weight]
    if len(shown) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        shown = [*shown[:half], f"{len(shown) - 2 * half} more", *shown[-half:]]
    return ", ".join(shown)


def _objective(objective: Objective) -> str:
    values = [
        f"{name} {value}"
        for name, value in objective.values.items()
        if isinstance(value, (str, int, float)) and value is not False and name != "teacher"
    ]
    return ", ".join([objective_name(type(objective)), *values])


def _images(optimization: Optimization) -> str:
    count = optimization.accumulation_steps
    accumulated = f", in {count} micro-batches" if count > 1 else ""
    return f"{optimization.batch_size} on {data_parallel_replicas()} device(s){accumulated}"


def _steps(job: Job, optimization: Optimization, steps: int) -> str:
    epochs = optimization.epochs
    adjusted = "" if job.minutes is None else ", fewer or more if the speed changes"
    return f"{steps * epochs:,} ({epochs} epochs of {steps}){adjusted}"


def _optimizer(optimization: Optimization) -> str:
    values = [optimization.optimizer, f"weight decay {optimization.weight_decay:g}"]
    if optimization.final_weight_decay is not None:
        values[-1] += f" to {optimization.final_weight_decay:g}"
    if optimization.gradient_clip:
        each = ", each by itself" if optimization.clip_each else ""
        values.append(f"gradients clipped to {optimization.gradient_clip:g}{each}")
    if optimization.layer_decay != 1:
        values.append(f"layer decay {optimization.layer_decay:g}")
    if optimization.ema_decay:
        warmup = "" if optimization.ema_warmup else " without warm-up"
        values.append(f"EMA {optimization.ema_decay:g}{warmup}")
    if not optimization.training_mode:
        values.append("model in evaluation mode")
    return ", ".join(values)


def _schedule(optimization: Optimization) -> str:
    duration = f"{optimization.warmup_epochs:g} epochs"
    if optimization.warmup_steps is not None:
        duration = f"{optimization.warmup_steps:,} steps"
    steps = ""
    if optimization.schedule == "step":
        steps = f", times {optimization.decay_factor:g} every {optimization.decay_epochs:g} epochs"
    return (
        f"{optimization.schedule}, from {optimization.warmup_learning_rate:g} over {duration} of "
        f"warm-up to {optimization.min_learning_rate:g}{steps}"
    )
