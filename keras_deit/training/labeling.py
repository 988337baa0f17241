"""The labels of a teacher for every view of a training: made once, and replayed in others."""

import json
import os
import pathlib
import time
from collections.abc import Callable

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import (
    check_writable,
    disk_errors_as_input_errors,
    exclusive_lock,
    lock_if_free,
    user_path,
)
from keras_deit.core.processes import process_index_and_count
from keras_deit.core.progress import Progress
from keras_deit.core.random_state import set_random_seed
from keras_deit.data import BadImages, Dataset, say_folder, train_pipeline
from keras_deit.distributed import Devices
from keras_deit.objectives import Distillation, Objective
from keras_deit.objectives.jit import jit_plan
from keras_deit.recipes import Option
from keras_deit.teachers import LabelFormat, Replay, Teacher, is_replay
from keras_deit.teachers.replay import PREFIX, RECORD
from keras_deit.training.identity import views_identity
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.job import Job
from keras_deit.training.options import make_job, training_options
from keras_deit.training.preparation import (
    build_student,
    check_recipe,
    dataset_of,
    student_optimization,
    training_source,
)
from keras_deit.training.replay import check_views
from keras_deit.training.run import Run
from keras_deit.training.steps import dataset_steps
from keras_deit.training.teachers import with_teacher

# How often it is looked whether another process has made what is missing.
_WAIT_SECONDS = 0.5

# The options of a training that have nothing to do with its views or its teacher.
_NOT_OF_VIEWS = (
    *("run_dir", "minutes", "extend", "mixed_precision", "activation_checkpointing", "monitor"),
    *("keep_checkpoints", "on_nan", "accept_changed_data", "validate_agreement"),
    *Devices.__dataclass_fields__,
)


def labeling_options() -> list[Option]:
    """Returns all options of `label_views`."""
    return [
        Option("output", str, "Directory of the labels, for --teacher replay:DIR.", required=True),
        Option(
            "top_k",
            int,
            "Number of classes whose probabilities a soft label has; the others share the rest.",
            default=LabelFormat.top_k,
            minimum=1,
        ),
        *(option for option in training_options() if option.name not in _NOT_OF_VIEWS),
    ]


def label_views(output: str, top_k: int = LabelFormat.top_k, **given) -> Replay:
    """Stores what the teacher of a training says about every view of it.

    Any training with the same data, seed, batch size, augmentation and image size can then learn
    from `teacher="replay:DIR"` instead, whatever its model is. Labels that are there already stay,
    so the same call goes on where it was stopped, or to more steps; several processes that do the
    same call at once, on one machine or on a disk that all of them see, share the work.

    Args:
        output: directory of the labels.
        top_k: number of classes whose probabilities are stored for soft distillation.
        **given: the options of the training, with its teacher, as for `make_job`.

    Raises:
        InputError: the training has no teacher, what is asked for is not possible, or the directory
            has labels of other views or of another teacher.
    """
    return label_job(make_job(**given), output, top_k)


def label_job(
    job: Job,
    output: str | os.PathLike,
    top_k: int = LabelFormat.top_k,
    print_fn: Callable[[str], None] = print,
) -> Replay:
    """Stores what the teacher of a job says about every view of it; see `label_views`.

    Args:
        job: the training, with its teacher.
        output, top_k, and errors: as for `label_views`.
        print_fn: called with each line for the user.
    """
    objective = _checked_objective(job)
    path = user_path(output).absolute()
    check_writable(path / RECORD)
    with disk_errors_as_input_errors(str(path), "The same command goes on once it can."):
        dataset = dataset_of(job)
        say_folder(dataset, print_fn)
        set_random_seed(job.seed)
        image_format = build_student(job, dataset.num_classes).image_format
        views = views_identity(job, dataset, image_format)
        soft = {"temperature": float(objective.temperature), "top_k": top_k}
        is_soft = objective.kind == "soft"
        labels = LabelFormat(dataset.num_classes, objective.kind, **(soft if is_soft else {}))
        # Before the teacher, which may have to be trained first.
        if (path / RECORD).is_file():
            _check_format(Replay(path), views, labels)
        pipeline = InputPipeline(
            *(image_format, dataset.num_classes, job.recipe.crop_ratio, job.recipe.interpolation),
            BadImages(job.on_bad_image),
        )
        # No run has begun with this teacher.
        objective, record = with_teacher(job, Run(path), objective, dataset, pipeline, print_fn)
        if objective.teacher is None:
            raise InputError("There is no teacher to label with.")
        request = objective.teacher_request
        own = {name: getattr(request, name) for name in ("weights", "pixels", "outputs")}
        record = json.loads(json.dumps({**record, "teacher_request": own}))
        optimization, steps = dataset_steps(student_optimization(job), dataset)
        replay = _begun(path, job, views, labels, record, steps * optimization.epochs)
        _label(replay, job, objective.teacher, dataset, pipeline, print_fn)
        print_fn(_result(replay))
        return replay


def _result(replay: Replay) -> str:
    files = map(replay.file, range(len(replay.files)))
    size = sum(file.stat().st_size for file in files)
    views = replay.batches * replay.batch_size
    line = f"{views:,} views, {size / 1e6:,.3g} MB; use them with --teacher {PREFIX}{replay.path}."
    if replay.labels.kind == "hard":
        return line
    mean, largest = replay.distance()
    return (
        f"{line} Probabilities of {replay.labels.top_k} of {replay.labels.num_classes} classes: "
        f"total variation distance from the teacher's {mean:.2g} on average, {largest:.2g} at most."
    )


def _checked_objective(job: Job) -> Objective:
    objective = job.recipe.objective.copy()
    request = objective.teacher_request
    # A subclass may ask for other views or targets.
    if type(objective) is not Distillation or request is None or objective.kind == "none":
        raise InputError(
            "Labels are stored for a distillation: give --teacher, and --distillation hard or soft."
        )
    if is_replay(request.name):
        raise InputError(f"Give the teacher itself. Received: --teacher {request.name}")
    if process_index_and_count()[1] > 1:
        raise InputError(
            "Each process labels alone: start the same command several times, without "
            "--num_processes."
        )
    check_recipe(job.recipe, objective)
    return objective


def _begun(
    path: pathlib.Path, job: Job, views: dict, labels: LabelFormat, record: dict, batches: int
) -> Replay:
    """Returns the labels in a directory, which are begun here if there are none or too few."""
    per_file = None
    with exclusive_lock(path / "lock", wait_fn=lambda holder: None):
        if (path / RECORD).is_file():
            replay = Replay(path)
            _check_format(replay, views, labels)
            for name in ("teacher_digest", "teacher_contract", "teacher_class_order"):
                if replay.teacher[name] != record[name]:
                    raise InputError(
                        f"{path} has labels of another teacher ({name}). Give another --output."
                    )
            if replay.batches >= batches:
                return replay
            per_file = replay.batches_per_file
        batch_size = job.recipe.optimization.batch_size
        return Replay.create(path, views, record, labels, batch_size, batches, per_file)


def _check_format(replay: Replay, views: dict, labels: LabelFormat) -> None:
    """Checks that labels are of these views and stored like this."""
    check_views(replay, views, "Give another --output")
    if replay.labels != labels:
        raise InputError(
            f"{replay.path} has {replay.labels.text} labels, and not {labels.text} ones. Give "
            "another --output."
        )


def _label(
    replay: Replay,
    job: Job,
    teacher: Teacher,
    dataset: Dataset,
    pipeline: InputPipeline,
    print_fn: Callable[[str], None],
) -> None:
    """Makes the files of labels that are missing or corrupt.

    What another process makes is waited for, and made here if that process ends before.
    """
    labeler = _Labeler(replay, job, teacher, dataset, pipeline)
    missing = [n for n in range(len(replay.files)) if not _is_whole(replay, n, print_fn)]
    done = replay.batches - sum(len(replay.files[number]) for number in missing)
    print_fn(
        f"{replay.teacher['teacher']}, {replay.teacher['teacher_figure']}; labels of "
        f"{replay.batches:,} batches, {done:,} of them there already."
    )
    said = False
    with Progress("labels", replay.batches, "batch", done) as bar:
        while missing:
            made = False
            for number in missing:
                with lock_if_free(replay.file(number).with_suffix(".lock")) as is_mine:
                    if is_mine and not _is_whole(replay, number, print_fn):
                        labeler.label(number, bar)
                        made = True
            missing = [number for number in missing if not _is_whole(replay, number, print_fn)]
            if missing and not made:
                if not said:
                    print_fn("Waiting for other processes that label the rest.")
                said = True
                time.sleep(_WAIT_SECONDS)


def _is_whole(replay: Replay, number: int, print_fn: Callable[[str], None]) -> bool:
    """Returns whether a file has all its labels; one that is corrupt is said to be made again."""
    try:
        return replay.is_labeled(number)
    except InputError as error:
        print_fn(f"It is made again: {error}")
        replay.file(number).unlink(missing_ok=True)
        return False


class _Labeler:
    """Runs a teacher on the views of a training.

    Args:
        replay: where the labels go.
        job: the training.
        teacher: takes the views.
        dataset: all of it.
        pipeline: of the student's images.
    """

    def __init__(self, replay: Replay, job: Job, teacher: Teacher, dataset: Dataset, pipeline):
        self._replay = replay
        optimization = job.recipe.optimization
        self._arguments, self._options = pipeline.train_arguments(
            training_source(job, dataset), job.recipe.augmentation, optimization, job.seed
        )
        image_format = pipeline.image_format
        images = keras.Input((image_format.height, image_format.width, 3), name="image")
        self._model = keras.Model(images, teacher(images))
        # As in the step of a training.
        whole, _ = jit_plan("auto", self._model)
        self._model.compile(jit_compile=whole)

    def label(self, number: int, bar: Progress) -> None:
        """Makes a file of labels.

        Args:
            number: its number.
            bar: counts the batches.

        Raises:
            InputError: an output of the teacher is not finite.
        """
        shard, replay = self._options["shard"], self._replay
        batches = replay.files[number]
        start, stop = (shard.micro_batches * batch for batch in (batches.start, batches.stop))
        elements = iter(train_pipeline(*self._arguments, **self._options, start=start, stop=stop))
        labels = []
        for batch in batches:
            logits = np.empty((replay.batch_size, replay.labels.num_classes), np.float32)
            for part in range(shard.micro_batches):
                element = batch * shard.micro_batches + part
                _, rows = shard.train_rows(element, replay.batch_size)
                logits[rows] = self._model.predict_on_batch(next(elements)[0])
            labels.append(replay.labels.encode(logits))
            bar.update()
        replay.write(number, labels)
