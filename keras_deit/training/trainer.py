"""Trains a model from a job to a finished run."""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import disk_errors_as_input_errors, exclusive_lock
from keras_deit.core.precision import training_precision
from keras_deit.core.processes import (
    all_gather,
    barrier,
    is_writer,
    num_replicas_in_sync,
    process_index_and_count,
)
from keras_deit.core.progress import progress_logger
from keras_deit.data import (
    BadImages,
    Dataset,
    Source,
    load_dataset,
    num_batches,
    steps_per_epoch,
    take_examples,
)
from keras_deit.distributed import split_like, strategy_scope
from keras_deit.models import Classifier, abstract_model
from keras_deit.objectives import Objective, TrainingModel
from keras_deit.objectives.scoring import Scores, compute_features, score_student
from keras_deit.optimizers import (
    Optimization,
    build_optimizer,
    check_accumulation,
    select_trainable,
)
from keras_deit.pretrained import create_model
from keras_deit.pretrained.sources import find_weights
from keras_deit.recipes import Recipe
from keras_deit.teachers import Teacher, check_teacher_name
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing
from keras_deit.training.callbacks import tensorboard_events
from keras_deit.training.changes import check_unchanged, data_summary
from keras_deit.training.checkpoints import CheckpointManager, fingerprint
from keras_deit.training.identity import as_started, run_digests, run_identity, short_name
from keras_deit.training.input_pipeline import InputPipeline, training_class_weights
from keras_deit.training.job import Job
from keras_deit.training.log import LogFile, log_file
from keras_deit.training.loop import TrainingData, TrainingLoop
from keras_deit.training.report import environment, start_report, training_summary
from keras_deit.training.run import Run, flatten
from keras_deit.training.steps import dataset_steps
from keras_deit.training.teachers import values_of, with_teacher
from keras_deit.training.time_limit import limit


def train_job(
    job: Job,
    run_dir: str | None = None,
    print_fn=print,
    start: float | None = None,
    score: Callable[..., Scores] | None = None,
    command: Sequence[str] | None = None,
) -> Run:
    """Trains a model as a job says, and scores it on the test split.

    A finished run is not repeated: its result is read from its directory. A run that was stopped,
    in whatever way, resumes from its newest checkpoint. A run can be extended to more epochs, see
    `Job.extend`; one that is being extended is not finished, and resumes like any other.

    Args:
        job: what to do.
        run_dir: directory of the run; None for one below runs/ with a name made from the job.
        print_fn: called with each line for the user.
        start: time of `time.monotonic()` from which the minutes of the job count; None for now.
        score: scores the trained model, and then the moving average of its weights, if there is
            one; it has the arguments of `score_split`, which is the default.
        command: the command that would do the same, for `config.json`; None for that of this
            process.

    Raises:
        InputError: what was asked for is not possible, a number is not finite any more, or the disk
            is full.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    end = job.minutes and (time.monotonic() if start is None else start) + 60 * job.minutes
    run = Run(run_dir or default_run_dir(job))
    if run.config_file.is_file():
        job = as_started(job, run.config["run"])
    identity = run_identity(job)
    if run.holds_same_data(job):
        identity["dataset"] = run.config["run"]["dataset"]
        print_fn(f"{job.dataset} holds the same data as {identity['dataset']} did.")
    run.check(identity, job.extend)

    def train() -> None:
        with log_file(run.log_file) as log, _writing(job):
            say = functools.partial(_print, print_fn)
            _train(job, run, identity, end, say, log, score or score_split, command)

    if run.summary is None or run.length_to_extend(identity) is not None:
        train()
        return run
    lost = run.lost_weights()
    if lost and lost != [run.best_weights.name]:
        run.check_restorable(lost)
        print_fn(
            f"{run.path} holds this run, finished, but {', '.join(lost)} is gone or damaged: "
            "final and averaged weights are written again from the last checkpoint."
        )
        train()
        lost = run.lost_weights()
    else:
        print_fn(f"{run.path} holds this run, finished; its result:")
    if lost:
        print_fn(f"{', '.join(lost)} is gone or damaged; no checkpoint has those weights.")
    if changes := _changes_of_folder(job, run):
        print_fn(f"The data has changed since: {changes}. Another --run_dir trains on it.")
    return run


def _changes_of_folder(job: Job, run: Run) -> str:
    """Returns in what the folder of a finished run has changed; other data is not looked at."""
    if not job.dataset.startswith("folder:"):
        return ""
    return run.changes_of_data(load_dataset(job.dataset, None, "skip", job.test_share))


def _train(
    job: Job,
    run: Run,
    identity: dict,
    end: float | None,
    print_fn: Callable[[str], None],
    log: LogFile,
    score_model: Callable[..., Scores],
    command: Sequence[str] | None,
) -> None:
    recipe = job.recipe

    # Resolve names and check sizes, before the data, which may have to be prepared first.
    objective = recipe.objective.copy()
    _check(recipe, objective)

    # Load the data.
    dataset = load_dataset(
        *(job.dataset, job.data_dir, job.on_bad_image, job.test_share, job.max_image_pixels)
    )
    changes = run.changes_of_data(dataset) if run.config_file.is_file() else ""
    check_unchanged(changes, job.accept_changed_data, "Give another --run_dir", print_fn)
    splits = dataclasses.replace(dataset, train=_training_source(job, dataset))
    optimization, steps = dataset_steps(_optimization(job), dataset)
    bad_images = BadImages(job.on_bad_image)

    # Build the student and its teacher. Weights may bring another normalization of the images.
    keras.utils.set_random_seed(job.seed)
    student = _build_student(job, dataset.num_classes)
    image_format = student.image_format
    pipeline = InputPipeline(
        image_format, dataset.num_classes, recipe.crop_ratio, recipe.interpolation, bad_images
    )
    objective, teacher = with_teacher(job, run, objective, dataset, pipeline, print_fn)
    # Again, because it must make no difference whether a teacher was trained just now.
    keras.utils.set_random_seed(job.seed)
    class_weights = training_class_weights(optimization, splits)
    model = _compile(job, student, objective, optimization, steps, class_weights)
    data = _training_data(job, model, splits, pipeline, optimization, steps)

    with exclusive_lock(run.lock):
        length = run.length_to_extend(identity)
        if length is not None:
            print_fn(f"Extending a run of {length}.")
            # Before its new configuration: a run that is killed in between can be extended again.
            run.reopen()
        # Another process has finished it meanwhile, or it is whole again.
        elif run.summary is not None and not set(run.lost_weights()) - {run.best_weights.name}:
            return
        if end is not None:
            optimization, data = _within(end, run, model, data, optimization, splits)
        steps = data.steps_per_epoch // optimization.accumulation_steps
        shown = teacher["teacher"] and f"{teacher['teacher']}, {teacher['teacher_figure']}"
        effective = start_report(job, optimization, model, splits, steps, shown)
        for name, value in effective.items():
            print_fn(f"{name:24} {value}")
        for note in (*recipe.about.reasons, *dataset.notes):
            print_fn(f"{'':24} {note}")
        finished, lost = run.summary, run.lost_weights()
        if finished is None:
            accepted = _accepted_changes(run, changes)
            config = _config(job, student, dataset, pipeline, teacher, effective)
            accepted["environment"] = environment(command)
            run.start({**config, **accepted}, dataset)
        log.start()
        checkpoints = _checkpoints(job, run, splits, objective.teacher, print_fn)
        events = tuple(tensorboard_events(run.tensorboard))
        loop = TrainingLoop(
            *(model, "student", data, optimization, checkpoints, events),
            on_nan=job.on_nan,
            monitor=job.monitor,
        )

        # Restore, then train and validate each epoch.
        loop.restore()
        with loop.running():
            while not loop.finished:
                loop.train_epoch()
                if loop.validate():
                    run.save_weights(student, run.best_weights)
                run.write_metrics(loop.progress.history)
                loop.end_epoch()

        # Save and score.
        split = dataset.reported_split
        score = functools.partial(
            *(score_model, objective, student, splits, split, pipeline),
            optimization.micro_batch_size,
        )
        run.save_weights(student, run.final_weights)
        summary = {split: score(split), f"{split}_examples": len(getattr(dataset, split))}
        if model.ema is not None:
            with model.ema.swap_weights(student):
                run.save_weights(student, run.ema_weights)
                summary[f"{split}_ema"] = score(f"{split}, EMA")
        summary["bad_images"] = all_gather(bad_images.names)
        # Of a run that was finished before and lost its weights, the figures of that time stay.
        summary = {**training_summary(loop, optimization, steps), **summary, **(finished or {})}
        run.finish(summary, {*lost} & {run.best_weights.name} if finished else ())
        progress_logger.info(f"finished: {json.dumps(summary)}")
        # Every process reads the summary that one of them has written.
        barrier("run")


def default_run_dir(job: Job) -> str:
    """Returns a directory for this run alone, so that the same command finds it again."""
    recipe = job.recipe
    name = "-".join(
        (recipe.model, short_name(job.dataset), recipe.objective.label, f"seed{job.seed}")
    )
    paths = [f"runs/{name}-{digest}" for digest in run_digests(job)]
    return next((path for path in paths if Run(path).config_file.is_file()), paths[0])


def score_split(
    objective: Objective,
    student: Classifier,
    splits: Dataset,
    split: str,
    pipeline: InputPipeline,
    batch_size: int,
    title: str | None = None,
) -> Scores:
    """Scores a trained model on a split, as its objective does it.

    Args:
        objective: objective of the training; its teacher, if there is one, is scored too.
        student: the trained model.
        splits: the dataset, with the images that the student is trained on as its training split.
        split: "validation" or "test".
        pipeline: pipeline of the student's images.
        batch_size: images at a time.
        title: title of the progress bar; by default the name of the split.

    Returns:
        Figures by the names of the rows of the report.
    """
    source, title = getattr(splits, split), title or split
    data, batches = _pass_over(source, pipeline, batch_size)
    if not objective.validates_features:
        return score_student(student, objective.teacher, data, batches, title)
    train = compute_features(student, *_pass_over(splits.train, pipeline, batch_size), "train")
    scored = compute_features(student, data, batches, title)
    return {"features": objective.validate(train, scored)}


def _pass_over(source: Source, pipeline: InputPipeline, batch_size: int):
    return pipeline.evaluation_batches(source, batch_size), num_batches(len(source), batch_size)


def _check(recipe: Recipe, objective: Objective) -> None:
    """Checks all names and sizes of a recipe."""
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
        check_teacher_name(objective.teacher_request.name)
    if objective.validates_features and process_index_and_count()[1] > 1:
        raise InputError(
            f"{type(objective).__name__} validates features, which works in one process only."
        )


def _training_source(job: Job, dataset: Dataset) -> Source:
    if job.train_examples is None:
        return dataset.train
    source = take_examples(dataset.train, job.train_examples)
    steps_per_epoch(len(source), job.recipe.optimization.batch_size)
    return source


def _build_student(job: Job, num_classes: int) -> Classifier:
    recipe = job.recipe
    student = create_model(
        recipe.model, recipe.weights, num_classes=num_classes, **recipe.model_values
    )
    if recipe.head_bias is not None and recipe.weights is None:
        student.init_head_bias(recipe.head_bias)
    if job.activation_checkpointing:
        enable_activation_checkpointing(student)
    return student


def _accepted_changes(run: Run, changes: str) -> dict:
    """Returns the changes of the data with which a run went on, all of them."""
    stored = run.config.get("accepted_data_changes", []) if run.config_file.is_file() else []
    accepted = [*stored, changes] if changes else stored
    return {"accepted_data_changes": accepted} if accepted else {}


def _optimization(job: Job) -> Optimization:
    """Returns the optimization of the student; a time limit needs a schedule by step."""
    optimization = job.recipe.optimization
    if job.minutes is None:
        return optimization
    return dataclasses.replace(optimization, schedule="cosine", steps=None)


def _within(
    end: float,
    run: Run,
    model: TrainingModel,
    data: TrainingData,
    optimization: Optimization,
    splits: Dataset,
) -> tuple[Optimization, TrainingData]:
    """Returns the optimization and the data of as many steps as can be done until a time."""
    split = getattr(splits, splits.reported_split)
    # Temperatures need the validation split once more.
    passes = len(split) / len(splits.validation) + (split is not splits.validation)
    passes *= 2 if optimization.ema_decay else 1
    return limit(end, run.steps_file, model, data, optimization, passes)


def _compile(
    job: Job,
    student: Classifier,
    objective: Objective,
    optimization: Optimization,
    steps: int,
    class_weights: np.ndarray | None,
) -> TrainingModel:
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


def _training_data(
    job: Job,
    model: TrainingModel,
    splits: Dataset,
    pipeline: InputPipeline,
    optimization: Optimization,
    steps: int,
) -> TrainingData:
    recipe = job.recipe
    return TrainingData(
        pipeline.for_objective(model.objective).train_batches(
            splits.train, recipe.augmentation, optimization, job.seed
        ),
        steps * optimization.accumulation_steps,
        functools.partial(_validate, model, splits, pipeline, optimization.micro_batch_size),
        recipe.validation_epochs,
        pipeline.bad_images,
    )


def _validate(
    model: TrainingModel,
    splits: Dataset,
    pipeline: InputPipeline,
    batch_size: int,
    callback: keras.callbacks.Callback,
) -> dict[str, float]:
    objective = model.objective
    if not objective.validates_features:
        batches = pipeline.for_objective(objective).evaluation_batches(
            splits.validation, batch_size
        )
        return model.evaluate(batches, callbacks=[callback], return_dict=True, verbose=0)
    train, validation = (
        compute_features(
            *(model.student, *_pass_over(getattr(splits, name), pipeline, batch_size)),
            *(name, [callback]),
        )
        for name in ("train", "validation")
    )
    return objective.validate(train, validation)


def _config(job, student, dataset, pipeline, teacher, effective) -> dict:
    values = {**student.get_config(), "name": job.recipe.model}
    # What is frozen belongs to the recipe.
    values = {k: v for k, v in values.items() if k not in ("trainable", "layer_settings")}
    # Loading the weights of a run reads it beside them.
    mean, std = values.pop("normalization", (None, None))
    return {
        "run": run_identity(job),
        "data_dir": job.data_dir,
        "model": values,
        **({"image_mean": mean, "image_std": std} if mean else {}),
        "class_names": list(dataset.class_names),
        "examples": dataset.examples,
        "on_bad_image": job.on_bad_image,
        "max_image_pixels": job.max_image_pixels,
        "crop_ratio": pipeline.crop_ratio,
        "interpolation": pipeline.interpolation,
        "data": data_summary(dataset),
        **teacher,
        "effective": effective,
    }


def _checkpoints(
    job: Job, run: Run, splits: Dataset, teacher: Teacher | None, print_fn: Callable[[str], None]
) -> CheckpointManager:
    count = {"number of training examples": len(splits.train)}
    contract = flatten(values_of(teacher)) if teacher else {}
    contract = {f"teacher's {name}": value for name, value in contract.items()}
    # Earlier versions did not store it; then it was compared with that of the run.
    earlier, accepted = contract, count if job.accept_changed_data else {}
    return CheckpointManager(
        run.checkpoints,
        job.checkpoint_seconds,
        job.keep_checkpoints,
        resume_metadata={
            **count,
            "classes": list(splits.class_names),
            "teacher": teacher and fingerprint(teacher),
            **contract,
        },
        upgrade=lambda stored: {**earlier, **stored, **accepted},
        writes=is_writer(),
        print_fn=print_fn,
    )


def _print(print_fn: Callable[[str], None], line: str) -> None:
    """Prints a line and records it in the log, in the process that writes."""
    if is_writer():
        print_fn(line)
        progress_logger.info(line)


@contextlib.contextmanager
def _writing(job: Job) -> Iterator[None]:
    """The devices and the precision of a training, whose full disk is one line."""
    advice = "Once it can, the same command resumes from the last checkpoint."
    with (
        disk_errors_as_input_errors("The disk", advice),
        strategy_scope(job.devices),
        training_precision(job.mixed_precision),
    ):
        yield
