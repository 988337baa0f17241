"""What a training consists of, made from its job: the student, its training model and the data."""

import dataclasses
import functools

import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.processes import num_replicas_in_sync, process_index_and_count
from keras_deit.data import Dataset, Source, load_dataset, steps_per_epoch, take_examples
from keras_deit.distributed import split_like
from keras_deit.models import Classifier, abstract_model
from keras_deit.objectives import Objective, TrainingModel
from keras_deit.optimizers import (
    Optimization,
    build_optimizer,
    check_accumulation,
    select_trainable,
)
from keras_deit.pretrained import create_model
from keras_deit.pretrained.sources import find_weights
from keras_deit.recipes import Recipe
from keras_deit.teachers import check_teacher_name
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.job import Job
from keras_deit.training.loop import TrainingData
from keras_deit.training.validation import validate_model


def check_recipe(recipe: Recipe, objective: Objective) -> None:
    """Checks all names and sizes of a recipe, before the data is loaded.

    Raises:
        InputError: one is not possible.
    """
    abstract = abstract_model(recipe.model, **recipe.model_values)
    if abstract.input_shape[-1] != 3:
        raise InputError(
            f"The images of a training have 3 channels. Received: {recipe.model} with "
            f"{abstract.input_shape[-1]} channels; train it by fit on data of your own."
        )
    split_like(abstract)
    check_accumulation(recipe.optimization, num_replicas_in_sync())
    if recipe.weights is not None:
        find_weights(recipe.weights)
    if objective.teacher_request is not None:
        request = objective.teacher_request
        check_teacher_name(request.name, request.weights)
    if objective.validates_features and process_index_and_count()[1] > 1:
        raise InputError(
            f"{type(objective).__name__} validates features, which works in one process only."
        )


def dataset_of(job: Job) -> Dataset:
    """Returns the dataset that a job names.

    Raises:
        InputError: there is none, or an image of it is not possible.
    """
    return load_dataset(
        *(job.dataset, job.data_dir, job.on_bad_image, job.test_share, job.max_image_pixels),
        job.exif_orientation,
        job.coarse,
    )


def training_source(job: Job, dataset: Dataset) -> Source:
    """Returns the images that the student is trained on, as many as the job says."""
    if job.train_examples is None:
        return dataset.train
    source = take_examples(dataset.train, job.train_examples)
    steps_per_epoch(len(source), job.recipe.optimization.batch_size)
    return source


def build_student(job: Job, num_classes: int) -> Classifier:
    """Returns the model that is trained, with the weights that it starts from."""
    recipe = job.recipe
    student = create_model(
        recipe.model, recipe.weights, num_classes=num_classes, **recipe.model_values
    )
    if recipe.head_bias is not None and (recipe.weights is None or recipe.fine_tunes):
        student.init_head_bias(recipe.head_bias)
    if job.activation_checkpointing:
        enable_activation_checkpointing(student)
    return student


def student_optimization(job: Job) -> Optimization:
    """Returns the optimization of the student; a time limit needs a schedule by step."""
    optimization = job.recipe.optimization
    if job.minutes is None:
        return optimization
    return dataclasses.replace(optimization, schedule="cosine", steps=None)


def compile_training(
    job: Job,
    student: Classifier,
    objective: Objective,
    optimization: Optimization,
    steps: int,
    class_weights: np.ndarray | None,
) -> TrainingModel:
    """Returns the student and its objective, compiled.

    Args:
        job: what to do.
        student, objective: to train; the objective has its teacher.
        optimization: of the student.
        steps: steps of the optimizer in an epoch.
        class_weights: as for `TrainingModel`.

    Raises:
        InputError: the validation has no figure of the name that is to be monitored.
    """
    select_trainable(student, optimization.trainable)
    balanced = "balanced" in (optimization.class_weight, optimization.sampling)
    model = TrainingModel(
        student,
        objective,
        optimization.training_mode,
        optimization.ema_decay,
        skip_nonfinite=job.on_nan == "skip",
        ema_warmup=optimization.ema_warmup,
        class_weights=class_weights,
        label_smoothing=job.recipe.augmentation.label_smoothing,
        balanced_accuracy=not objective.validates_features
        and (balanced or job.monitor == "balanced_accuracy"),
    )
    if model.ema is not None and objective.embedder is not None:
        raise InputError(
            f"{type(objective).__name__} has layers after the features, of which no moving average "
            f"is kept: leave --ema_decay out. Received: {optimization.ema_decay}"
        )
    adjustable = job.minutes is not None
    model.compile(build_optimizer(model, optimization, steps, adjustable))
    _check_monitor(job.monitor, model)
    return model


def _check_monitor(monitor: str | None, model: TrainingModel) -> None:
    objective = model.objective
    # What an objective computes from features is known at the first validation.
    if monitor is None or objective.validates_features:
        return
    own = ("balanced_accuracy",) if model.balanced_accuracy else ()
    known = ("loss", *objective.logged(training=False), *own)
    if monitor not in known:
        raise unknown_name("figure of the validation to monitor", monitor, known)


def training_data(
    job: Job,
    model: TrainingModel,
    splits: Dataset,
    pipeline: InputPipeline,
    optimization: Optimization,
    steps: int,
) -> TrainingData:
    """Returns the batches of a training, with its validation.

    Args:
        job: what to do.
        model: as `compile_training` returns it.
        splits: the dataset, whose training split is `training_source`.
        pipeline: pipeline of the student's images.
        optimization: of the student.
        steps: steps of the optimizer in an epoch.
    """
    recipe = job.recipe
    return TrainingData(
        pipeline.for_objective(model.objective).train_batches(
            splits.train, recipe.augmentation, optimization, job.seed
        ),
        steps * optimization.accumulation_steps,
        functools.partial(validate_model, model, splits, pipeline, optimization.micro_batch_size),
        recipe.validation_epochs,
        pipeline.bad_images,
    )
