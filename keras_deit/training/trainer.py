"""From a job to a finished run."""

import importlib.util
import pathlib

import keras

from keras_deit.data import (
    Dataset,
    load_dataset,
    steps_per_epoch,
    take_examples,
    train_pipeline,
)
from keras_deit.distillation import Distiller, Teacher
from keras_deit.errors import InputError
from keras_deit.models import Classifier, create_model, get_spec
from keras_deit.training.callbacks import Checkpoint, StepTimer, save_weights
from keras_deit.training.evaluation import evaluation_data, score
from keras_deit.training.fitting import fit, precision
from keras_deit.training.job import Job
from keras_deit.training.optimizer import build_optimizer
from keras_deit.training.report import start_report
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.strategies import replicas, strategy_scope
from keras_deit.training.teacher_training import obtain_teacher


def train(job: Job, run_dir: str | None = None, say=print) -> tuple[dict, pathlib.Path]:
    """Trains a student, with the teacher that the job asks for, and evaluates both.

    A finished run is not repeated: its result is read from its directory.

    Args:
        job: what to do.
        run_dir: of the run; None for one that the job names itself.
        say: called with each line for the user.

    Returns:
        The summary, as in `summary.json`, and the run's directory.

    Raises:
        InputError: what was asked for cannot be done, or the loss stopped being finite.
    """
    run = RunDirectory(run_dir or job.default_run_dir())
    run.check(job.identity())
    finished = run.read_summary()
    if finished is not None:
        say(f"{run.path} holds this run, finished; its result:")
        return finished, run.path
    with (
        strategy_scope(job.strategy, job.tpu, job.virtual_devices),
        precision(job.mixed_precision),
    ):
        summary = _Training(job, run, say).run()
    run.finish(summary)
    return summary, run.path


class _Training:
    """The parts of one training; those that bad input can break are made first."""

    def __init__(self, job: Job, run: RunDirectory, say):
        self._job = job
        self._run = run
        self._say = say
        self._recipe = job.recipe
        self._dataset = load_dataset(job.dataset, job.data_dir)
        self._steps = _checked_steps(job, self._dataset)
        keras.utils.set_random_seed(job.seed)
        self._student = _build_student(job, self._dataset)
        self._crop_ratio = (
            self._recipe.evaluation_crop_ratio or get_spec(self._recipe.model).crop_ratio
        )
        self._teacher, self._teacher_source = self._obtain_teacher()

    def run(self) -> dict:
        """Trains and evaluates; the summary."""
        # Again: whether a teacher was trained just now or loaded must make no difference.
        keras.utils.set_random_seed(self._job.seed)
        distiller = self._compile()
        self._start(distiller)
        timer = self._fit(distiller)
        save_weights(self._student, self._run.final_weights)
        test = self._evaluation_data(self._dataset.test)
        return {
            "test": score(self._student, self._teacher, test, "test"),
            "test_examples": len(self._dataset.test),
            "steps": self._steps * self._recipe.optimisation.epochs,
            **_speed(timer, self._recipe.optimisation.batch_size),
        }

    def _obtain_teacher(self) -> tuple[Teacher | None, str | None]:
        if self._recipe.teacher is None:
            return None, None
        image_format = self._student.image_format
        model, contract, source = obtain_teacher(self._job, self._dataset, image_format)
        teacher = Teacher(model, contract, image_format)
        images, _ = next(iter(self._evaluation_data(self._dataset.validation)))
        teacher.check(images)
        return teacher, source

    def _compile(self) -> Distiller:
        recipe = self._recipe
        distiller = Distiller(
            self._student,
            self._teacher if recipe.distillation != "none" else None,
            recipe.distillation,
            recipe.alpha,
            recipe.temperature,
            recipe.validate_agreement,
        )
        distiller.compile(build_optimizer(self._student, recipe.optimisation, self._steps))
        return distiller

    def _start(self, distiller: Distiller) -> None:
        student = self._student
        effective = start_report(self._job, student, self._steps, self._teacher_source)
        for name, value in effective.items():
            self._say(f"{name:24} {value}")
        values = {**student.get_config(), "name": self._recipe.model}
        values.pop("trainable")
        self._run.start(
            {
                "run": self._job.identity(),
                "data_dir": self._job.data_dir,
                "model": values,
                "class_names": list(self._dataset.class_names),
                "crop_ratio": self._crop_ratio,
                "interpolation": self._recipe.augmentation.interpolation,
                "teacher": self._teacher_source,
                "teacher_contract": self._teacher and self._teacher.contract.to_dict(),
                "effective": effective,
            }
        )

    def _fit(self, distiller: Distiller) -> StepTimer:
        recipe, run = self._recipe, self._run
        source = self._dataset.train
        if self._job.train_examples is not None:
            source = take_examples(source, self._job.train_examples)
        data = train_pipeline(
            source,
            self._student.image_format,
            recipe.augmentation,
            self._dataset.num_classes,
            recipe.optimisation.batch_size,
            self._job.seed,
        )
        return fit(
            distiller,
            "student",
            data,
            recipe.optimisation,
            self._steps,
            validation_data=self._evaluation_data(self._dataset.validation),
            validation_epochs=recipe.validation_epochs,
            callbacks=(
                Checkpoint(self._student, run.checkpoint, recipe.validation_epochs),
                keras.callbacks.CSVLogger(run.metrics_file),
                *_tensorboard(run.tensorboard),
            ),
            kept=run.checkpoint,
        )

    def _evaluation_data(self, source):
        return evaluation_data(
            source,
            self._student,
            self._recipe.optimisation.batch_size,
            self._crop_ratio,
            self._recipe.augmentation.interpolation,
        )


def _checked_steps(job: Job, dataset: Dataset) -> int:
    batch_size = job.recipe.optimisation.batch_size
    if batch_size % replicas():
        raise InputError(
            f"batch_size {batch_size} cannot be shared evenly by {replicas()} devices."
        )
    if job.train_examples is not None:
        seen = take_examples(dataset.train, job.train_examples)
        steps_per_epoch(len(seen), batch_size)
    return steps_per_epoch(len(dataset.train), batch_size)


def _build_student(job: Job, dataset: Dataset) -> Classifier:
    recipe = job.recipe
    return create_model(recipe.model, num_classes=dataset.num_classes, **recipe.model_values)


def _tensorboard(path: pathlib.Path) -> list[keras.callbacks.Callback]:
    # Keras writes the events through TensorFlow, whatever the backend.
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [keras.callbacks.TensorBoard(path, write_graph=False)]


def _speed(timer: StepTimer, batch_size: int) -> dict[str, float | None]:
    median = timer.median()
    return {
        "median_step_ms": None if median is None else round(1e3 * median, 2),
        "images_per_second": None if median is None else round(batch_size / median, 1),
    }
