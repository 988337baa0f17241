"""From a job to a finished run."""

import contextlib
import dataclasses
import errno
import pathlib
from collections.abc import Iterator

import keras

from keras_deit.data import (
    BadImages,
    Dataset,
    Source,
    load_dataset,
    num_batches,
    steps_per_epoch,
    take_examples,
)
from keras_deit.distillation import (
    BinaryLabelCrossentropy,
    Distiller,
    LabelCrossentropy,
    SigmoidLabelCrossentropy,
    Teacher,
)
from keras_deit.distillation.execution import gathered, is_writer, summed_replicas
from keras_deit.errors import InputError
from keras_deit.models import Classifier
from keras_deit.pretrained import create_model
from keras_deit.pretrained.sources import local_file
from keras_deit.recipes import Optimisation, Recipe
from keras_deit.training.callbacks import StepTimer, save_weights
from keras_deit.training.checkpoints import CheckpointStore, Keeper, Place, fingerprint
from keras_deit.training.events import Events
from keras_deit.training.fitting import Data, Fitting
from keras_deit.training.job import (
    Job,
    evaluation_crop_ratio,
    evaluation_interpolation,
    student_format,
)
from keras_deit.training.mixed_precision import training_precision
from keras_deit.training.obtaining import check_teacher_of, obtain_teacher
from keras_deit.training.optimisation import (
    build_optimizer,
    check_accumulation,
    select_trainable,
)
from keras_deit.training.reading import Reading
from keras_deit.training.rematerialisation import rematerialise
from keras_deit.training.report import start_report
from keras_deit.training.run_directory import RunDirectory, writing_alone
from keras_deit.training.scoring import score_student
from keras_deit.training.strategies import strategy_scope
from keras_deit.training.teacher_training import check_steps

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_LABEL_LOSSES = {
    "cross_entropy": LabelCrossentropy,
    "binary_cross_entropy": BinaryLabelCrossentropy,
    "sigmoid_cross_entropy": SigmoidLabelCrossentropy,
}


def train(job: Job, run_dir: str | None = None, say=print) -> tuple[dict, pathlib.Path]:
    """Trains a student, with the teacher that the job asks for, and evaluates both.

    A finished run is not repeated: its result is read from its directory. A run that was stopped,
    in whatever way, goes on from its newest checkpoint.

    Args:
        job: what to do.
        run_dir: of the run; None for one that the job names itself.
        say: called with each line for the user.

    Returns:
        The summary, as in `summary.json`, and the run's directory.

    Raises:
        InputError: what was asked for cannot be done, the numbers stopped being finite, or the
            disk is full.
        Stopped: by SIGTERM or Ctrl-C; everything is kept.
    """
    run = RunDirectory(run_dir or job.default_run_dir())
    run.check(job.identity())
    finished = run.read_summary()
    if finished is not None:
        say(f"{run.path} holds this run, finished; its result:")
        return finished, run.path
    devices, precision = strategy_scope(job.devices), training_precision(job.mixed_precision)
    with _full_disk_in_a_line(), devices, precision:
        return _Training(job, run, say if is_writer() else _say_nothing).run(), run.path


def _say_nothing(line: str) -> None:
    """What the processes do that only help."""


@contextlib.contextmanager
def _full_disk_in_a_line() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise InputError(
            f"The disk does not take any more: {' '.join(str(error).split())}. "
            "Once it does, the same command goes on from the last checkpoint."
        ) from error


class _Training:
    """The parts of one training; those that bad input can break are made first."""

    def __init__(self, job: Job, run: RunDirectory, say):
        self._job = job
        self._run = run
        self._say = say
        self._recipe = job.recipe
        # Names and sizes before the data, which may have to be prepared first.
        student_format(self._recipe)
        if self._recipe.weights is not None:
            local_file(self._recipe.weights)
        view = (evaluation_crop_ratio(self._recipe), evaluation_interpolation(self._recipe))
        check_teacher_of(job)
        self._dataset = load_dataset(job.dataset, job.data_dir, job.on_bad_image)
        self._source = _training_source(job, self._dataset)
        self._steps = check_steps(self._recipe, self._dataset)
        check_accumulation(self._recipe.optimisation, summed_replicas())
        keras.utils.set_random_seed(job.seed)
        self._student = _build_student(self._recipe, self._dataset.num_classes)
        self._reading = Reading(
            self._student.image_format,
            self._dataset.num_classes,
            view,
            BadImages(job.on_bad_image),
        )
        if job.rematerialise:
            rematerialise(self._student)
        self._teacher, self._teacher_source = self._obtain_teacher()

    def run(self) -> dict:
        """Trains and evaluates, unless another process has just done so; the summary."""
        # Again: whether a teacher was trained just now or loaded must make no difference.
        keras.utils.set_random_seed(self._job.seed)
        distiller = self._compile()
        with writing_alone(self._run.lock):
            if (finished := self._run.read_summary()) is not None:
                return finished
            self._start()
            summary = self._fit(distiller)
            save_weights(self._student, self._run.final_weights)
            summary |= {"test": self._score("test"), "test_examples": len(self._dataset.test)}
            if distiller.ema is not None:
                with distiller.ema.lent_to(self._student):
                    save_weights(self._student, self._run.ema_weights)
                    summary["test_ema"] = self._score("test, EMA")
            summary["bad_images"] = gathered(self._reading.bad_images.names)
            self._run.finish(summary)
        return summary

    def _obtain_teacher(self) -> tuple[Teacher | None, str | None]:
        if self._recipe.teacher is None:
            return None, None
        model, contract, source = obtain_teacher(self._job, self._dataset, self._reading)
        teacher = Teacher(model, contract, self._student.image_format)
        images, *_ = next(iter(self._evaluation_data(self._dataset.validation)))
        teacher.check(images)
        return teacher, source

    def _compile(self) -> Distiller:
        recipe, optimisation = self._recipe, self._recipe.optimisation
        select_trainable(self._student, optimisation.trainable)
        distiller = Distiller(
            self._student,
            self._teacher if recipe.distillation != "none" else None,
            recipe.distillation,
            recipe.alpha,
            recipe.temperature,
            recipe.validate_agreement,
            optimisation.training_mode,
            optimisation.ema_decay,
            skip_nonfinite=self._job.on_nan == "skip",
        )
        optimizer = build_optimizer(self._student, optimisation, self._steps)
        distiller.compile(optimizer, _LABEL_LOSSES[optimisation.loss]())
        return distiller

    def _start(self) -> None:
        student = self._student
        effective = start_report(self._job, student, self._steps, self._teacher_source)
        for name, value in effective.items():
            self._say(f"{name:24} {value}")
        values = {**student.get_config(), "name": self._recipe.model}
        values.pop("trainable")
        crop_ratio, interpolation = self._reading.view
        self._run.start(
            {
                "run": self._job.identity(),
                "data_dir": self._job.data_dir,
                "model": values,
                "class_names": list(self._dataset.class_names),
                "crop_ratio": crop_ratio,
                "interpolation": interpolation,
                "teacher": self._teacher_source,
                "teacher_contract": self._teacher and self._teacher.contract.to_dict(),
                "effective": effective,
            }
        )

    def _fit(self, distiller: Distiller) -> dict:
        recipe, job, run = self._recipe, self._job, self._run
        optimisation = recipe.optimisation
        keeper = Keeper(
            CheckpointStore(run.checkpoints, job.keep_checkpoints),
            job.checkpoint_seconds,
            self._facts(),
            is_writer(),
            self._say,
        )
        data = Data(
            self._reading.train_batches(self._source, recipe.augmentation, optimisation, job.seed),
            self._steps * optimisation.accumulation_steps,
            lambda: self._evaluation_data(self._dataset.validation),
            recipe.validation_epochs,
            self._reading.bad_images,
        )
        fitting = Fitting(
            distiller,
            "student",
            data,
            optimisation,
            keeper,
            left_out=self._teacher,
            callbacks=tuple(_tensorboard(run.tensorboard)),
            on_nan=job.on_nan,
            on_epoch=self._epoch_ended,
        )
        place = fitting.run()
        return {
            "steps": self._steps * optimisation.epochs,
            "skipped_steps": fitting.watch.skipped,
            "best": place.best,
            "checkpoints": {
                "written": keeper.written,
                "seconds": round(keeper.seconds_spent, 3),
            },
            **_speed(fitting.timer, optimisation),
        }

    def _facts(self) -> dict:
        """What must not have changed where a checkpoint is gone on from."""
        return {
            "number of training examples": len(self._source),
            "classes": list(self._dataset.class_names),
            "teacher": self._teacher and fingerprint(self._teacher),
        }

    def _epoch_ended(self, place: Place) -> Place:
        self._run.write_metrics(place.history)
        accuracy = place.history[-1].get("val_accuracy")
        if accuracy is None or accuracy <= place.best.get("val_accuracy", -1.0):
            return place
        save_weights(self._student, self._run.best_weights)
        return dataclasses.replace(place, best={"epoch": place.epoch, "val_accuracy": accuracy})

    def _score(self, title: str) -> dict:
        test = self._dataset.test
        data, batches = self._evaluation_data(test), num_batches(len(test), self._images_at_once)
        return score_student(self._student, self._teacher, data, batches, title)

    def _evaluation_data(self, source: Source):
        return self._reading.evaluation_batches(source, self._images_at_once)

    @property
    def _images_at_once(self) -> int:
        # What is too large for a step is so for an evaluation.
        optimisation = self._recipe.optimisation
        return optimisation.batch_size // optimisation.accumulation_steps


def _build_student(recipe: Recipe, num_classes: int) -> Classifier:
    student = create_model(
        recipe.model, recipe.weights, num_classes=num_classes, **recipe.model_values
    )
    if recipe.head_bias is not None and recipe.weights is None:
        student.start_heads(recipe.head_bias)
    return student


def _training_source(job: Job, dataset: Dataset) -> Source:
    if job.train_examples is None:
        return dataset.train
    source = take_examples(dataset.train, job.train_examples)
    steps_per_epoch(len(source), job.recipe.optimisation.batch_size)
    return source


def _tensorboard(path: pathlib.Path) -> list[keras.callbacks.Callback]:
    if not is_writer():
        return []
    try:
        # Keras writes the events through them, whatever the backend.
        import tensorboard  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError:
        return []
    return [Events(path, write_graph=False)]


def _speed(timer: StepTimer, optimisation: Optimisation) -> dict[str, float | None]:
    median = timer.median()
    if median is None:
        return {"median_step_ms": None, "images_per_second": None}
    seconds = median * optimisation.accumulation_steps
    return {
        "median_step_ms": round(1e3 * seconds, 2),
        "images_per_second": round(optimisation.batch_size / seconds, 1),
    }
