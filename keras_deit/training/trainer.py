"""Trains a model from a job to a finished run."""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence

from keras_deit.core.errors import InputError
from keras_deit.core.files import disk_errors_as_input_errors, exclusive_lock
from keras_deit.core.names import printable
from keras_deit.core.precision import training_precision
from keras_deit.core.processes import all_gather, barrier, is_writer
from keras_deit.core.progress import progress_logger
from keras_deit.core.random_state import set_random_seed
from keras_deit.data import BadImages, Dataset, load_dataset
from keras_deit.distributed import strategy_scope
from keras_deit.objectives import Objective, TrainingModel
from keras_deit.objectives.scoring import Scores
from keras_deit.pretrained.own_weights import RUN_BEST
from keras_deit.training.callbacks import tensorboard_events
from keras_deit.training.changes import check_unchanged, data_summary
from keras_deit.training.checkpoints import CheckpointManager
from keras_deit.training.earlier_formats import as_started, run_digests
from keras_deit.training.embedders import save_embedder
from keras_deit.training.extension import started_minutes, with_teacher_of
from keras_deit.training.identity import run_identity, short_name
from keras_deit.training.input_pipeline import InputPipeline, training_class_weights
from keras_deit.training.job import Job
from keras_deit.training.log import LogFile, log_file
from keras_deit.training.loop import objective_loop
from keras_deit.training.preparation import (
    build_student,
    check_recipe,
    compile_training,
    dataset_of,
    student_optimization,
    training_data,
    training_source,
)
from keras_deit.training.report import environment, start_report, training_summary
from keras_deit.training.run import Run, flatten
from keras_deit.training.steps import dataset_steps, training_length
from keras_deit.training.teachers import teacher_fingerprint, values_of, with_teacher
from keras_deit.training.time_limit import TimeLimit
from keras_deit.training.validation import score_split


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
        stored = run.config["run"]
        job = with_teacher_of(as_started(job, stored), stored, run.steps_file)
    identity = run_identity(job)
    if run.holds_same_data(job):
        identity["dataset"] = run.config["run"]["dataset"]
        names = printable(job.dataset), printable(identity["dataset"])
        print_fn(f"{names[0]} holds the same data as {names[1]} did.")
    run.check(identity, job.extend)

    def train() -> None:
        with log_file(run.log_file) as log, _writing(job):
            say = functools.partial(_print, print_fn)
            _train(job, run, identity, end, say, log, score or score_split, command)

    if run.summary is None or run.length_to_extend(identity) is not None:
        train()
        return run
    lost = run.lost_weights()
    if {*lost} - {*RUN_BEST}:
        run.check_restorable(lost)
        print_fn(
            f"{run.path} holds this run, finished, but {', '.join(lost)} is gone or damaged: "
            "the files of final and averaged weights are written again from the last checkpoint."
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
    try:
        dataset = load_dataset(job.dataset, None, "skip", job.test_share)
    except InputError as error:  # Such as a folder that is gone.
        return str(error).rstrip(".")
    return run.changes_of_data(dataset)


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
    check_recipe(recipe, objective)

    # Load the data.
    dataset = dataset_of(job)
    changes = run.changes_of_data(dataset) if run.config_file.is_file() else ""
    check_unchanged(changes, job.accept_changed_data, "Give another --run_dir", print_fn)
    splits = dataclasses.replace(dataset, train=training_source(job, dataset))
    optimization, steps = dataset_steps(student_optimization(job), dataset)
    bad_images = BadImages(job.on_bad_image)

    # Build the student and its teacher. Weights may bring another normalization of the images.
    set_random_seed(job.seed)
    student = build_student(job, dataset.num_classes)
    image_format = student.image_format
    pipeline = InputPipeline(
        image_format, dataset.num_classes, recipe.crop_ratio, recipe.interpolation, bad_images
    )
    objective, teacher = with_teacher(job, run, objective, dataset, pipeline, print_fn)
    # Again, because it must make no difference whether a teacher was trained just now.
    set_random_seed(job.seed)
    objective.use_length(training_length(optimization, steps, splits))
    class_weights = training_class_weights(optimization, splits)
    model = compile_training(job, student, objective, optimization, steps, class_weights)
    data = training_data(job, model, splits, pipeline, optimization, steps)

    with exclusive_lock(run.lock):
        length = run.length_to_extend(identity)
        if length is not None:
            print_fn(f"Extending a run of {length}.")
            # Before its new configuration: a run that is killed in between can be extended again.
            run.reopen()
        # Another process has finished it meanwhile, or it is whole again.
        elif run.summary is not None and not {*run.lost_weights()} - {*RUN_BEST}:
            return
        time_limit = None
        if end is not None:
            passes = _final_passes(model, splits)
            stored = run.config["run"] if run.config_file.is_file() else identity
            minutes = job.minutes, started_minutes(stored, run.steps_file)
            time_limit = TimeLimit(end, run.steps_file, model, data, optimization, passes, *minutes)
            optimization, data = time_limit.optimization, time_limit.data
        steps = data.steps_per_epoch // optimization.accumulation_steps
        shown = teacher["teacher"] and f"{teacher['teacher']}, {teacher['teacher_figure']}"
        if "teacher_replay" in teacher:
            shown += f", labels of {teacher['teacher_replay']}"
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
        checkpoints = _checkpoints(job, run, splits, objective, print_fn)
        events = tuple(tensorboard_events(run.tensorboard))
        loop = objective_loop(
            *(model, "student", data, optimization, checkpoints, events),
            on_nan=job.on_nan,
            monitor=job.monitor,
            time_limit=time_limit,
        )

        # Restore, then train and validate each epoch.
        loop.restore()
        length = training_length(optimization, steps, splits)
        objective.use_length(dataclasses.replace(length, steps=steps * loop.epochs))
        with loop.running():
            while not loop.finished:
                loop.train_epoch()
                if loop.validate():
                    run.save_weights(student, run.best_weights)
                    save_embedder(run, objective.embedder, "best")
                run.write_metrics(loop.progress.history)
                loop.end_epoch()

        # Save and score.
        split = dataset.reported_split
        score = functools.partial(
            *(score_model, objective, student, splits, split, pipeline),
            optimization.micro_batch_size,
        )
        run.save_weights(student, run.final_weights)
        save_embedder(run, objective.embedder, "final")
        summary = {split: score(split), f"{split}_examples": len(getattr(dataset, split))}
        if model.averages is not None:
            with model.averages.swap_weights(student):
                run.save_weights(student, run.ema_weights)
                summary[f"{split}_ema"] = score(f"{split}, EMA")
        summary["bad_images"] = all_gather(bad_images.names)
        # Of a run that was finished before and lost its weights, the figures of that time stay.
        summary = {**training_summary(loop, optimization, steps), **summary, **(finished or {})}
        run.finish(summary, {*lost} & {*RUN_BEST} if finished else ())
        progress_logger.info(f"finished: {json.dumps(summary)}")
        # Every process reads the summary that one of them has written.
        barrier("run")


def default_run_dir(job: Job, ending: str | None = None) -> str:
    """Returns a directory for this run alone, so that the same command finds it again.

    Args:
        job: what the run does.
        ending: instead of the seed in the name.
    """
    recipe = job.recipe
    ending = ending or f"seed{job.seed}"
    name = "-".join((recipe.model, short_name(job.dataset), recipe.objective.label, ending))
    paths = [f"runs/{name}-{digest}" for digest in run_digests(job)]
    return next((path for path in paths if Run(path).config_file.is_file()), paths[0])


def _accepted_changes(run: Run, changes: str) -> dict:
    """Returns the changes of the data with which a run went on, all of them."""
    stored = run.config.get("accepted_data_changes", []) if run.config_file.is_file() else []
    accepted = [*stored, changes] if changes else stored
    return {"accepted_data_changes": accepted} if accepted else {}


def _final_passes(model: TrainingModel, splits: Dataset) -> float:
    """Returns what is evaluated after the last step, in validation splits."""
    split = getattr(splits, splits.reported_split)
    # Temperatures need the validation split once more.
    passes = len(split) / len(splits.validation) + (split is not splits.validation)
    return passes * (1 if model.averages is None else 2)


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
        **({"fine_class_names": list(dataset.fine_class_names)} if dataset.coarse_of else {}),
        "examples": dataset.examples,
        "on_bad_image": job.on_bad_image,
        "max_image_pixels": job.max_image_pixels,
        "exif_orientation": job.exif_orientation,
        "crop_ratio": pipeline.crop_ratio,
        "interpolation": pipeline.interpolation,
        "data": data_summary(dataset),
        **teacher,
        "effective": effective,
    }


def _checkpoints(
    job: Job, run: Run, splits: Dataset, objective: Objective, print_fn: Callable[[str], None]
) -> CheckpointManager:
    teacher, replay = objective.teacher, objective.replay
    identity = teacher and teacher_fingerprint(teacher)
    if replay is not None:
        teacher, identity = replay, replay.teacher["teacher_digest"]
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
            "teacher": identity,
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
