"""From a job to a finished run."""

import importlib.util
import pathlib

import keras

from keras_deit.data import (
    Dataset,
    Source,
    evaluation_pipeline,
    load_dataset,
    num_batches,
    steps_per_epoch,
    take_examples,
    train_pipeline,
)
from keras_deit.distillation import (
    BinaryLabelCrossentropy,
    Distiller,
    LabelCrossentropy,
    Teacher,
)
from keras_deit.pretrained import create_model
from keras_deit.pretrained.sources import local_file
from keras_deit.training.callbacks import Checkpoint, StepTimer, save_weights
from keras_deit.training.fitting import fit
from keras_deit.training.job import Job, evaluation_crop_ratio, student_format
from keras_deit.training.mixed_precision import training_precision
from keras_deit.training.obtaining import check_teacher_of, obtain_teacher
from keras_deit.training.optimisation import build_optimizer, select_trainable
from keras_deit.training.rematerialisation import rematerialise
from keras_deit.training.report import start_report
from keras_deit.training.run_directory import RunDirectory
from keras_deit.training.scoring import score_student
from keras_deit.training.strategies import strategy_scope
from keras_deit.training.teacher_training import check_steps

_LABEL_LOSSES = {
    "cross_entropy": LabelCrossentropy,
    "binary_cross_entropy": BinaryLabelCrossentropy,
}


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
    with strategy_scope(job.devices), training_precision(job.mixed_precision):
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
        # Names and sizes before the data, which may have to be prepared first.
        student_format(self._recipe)
        if self._recipe.weights is not None:
            local_file(self._recipe.weights)
        self._crop_ratio = evaluation_crop_ratio(self._recipe)
        check_teacher_of(job)
        self._dataset = load_dataset(job.dataset, job.data_dir)
        self._source = _training_source(job, self._dataset)
        self._steps = check_steps(self._recipe, self._dataset)
        keras.utils.set_random_seed(job.seed)
        self._student = create_model(
            self._recipe.model,
            self._recipe.weights,
            num_classes=self._dataset.num_classes,
            **self._recipe.model_values,
        )
        if job.rematerialise:
            rematerialise(self._student)
        self._teacher, self._teacher_source = self._obtain_teacher()

    def run(self) -> dict:
        """Trains and evaluates; the summary."""
        # Again: whether a teacher was trained just now or loaded must make no difference.
        keras.utils.set_random_seed(self._job.seed)
        distiller = self._compile()
        self._start()
        timer = self._fit(distiller)
        save_weights(self._student, self._run.final_weights)
        summary = {"test": self._score("test"), "test_examples": len(self._dataset.test)}
        if distiller.ema is not None:
            with distiller.ema.lent_to(self._student):
                save_weights(self._student, self._run.ema_weights)
                summary["test_ema"] = self._score("test, EMA")
        summary["steps"] = self._steps * self._recipe.optimisation.epochs
        return summary | _speed(timer, self._recipe.optimisation.batch_size)

    def _obtain_teacher(self) -> tuple[Teacher | None, str | None]:
        if self._recipe.teacher is None:
            return None, None
        image_format = self._student.image_format
        model, contract, source = obtain_teacher(
            self._job, self._dataset, image_format, self._crop_ratio
        )
        teacher = Teacher(model, contract, image_format)
        images, _ = next(iter(self._evaluation_data(self._dataset.validation)))
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
        every, last = recipe.validation_epochs, recipe.optimisation.epochs
        validated = [epoch for epoch in range(1, last + 1) if epoch % every == 0 or epoch == last]
        data = train_pipeline(
            self._source,
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
            validation_epochs=validated,
            callbacks=(
                Checkpoint(self._student, run.checkpoint, validated),
                keras.callbacks.CSVLogger(run.metrics_file),
                *_tensorboard(run.tensorboard),
            ),
            kept=run.checkpoint,
        )

    def _score(self, title: str) -> dict:
        test, batch_size = self._dataset.test, self._recipe.optimisation.batch_size
        data, batches = self._evaluation_data(test), num_batches(len(test), batch_size)
        return score_student(self._student, self._teacher, data, batches, title)

    def _evaluation_data(self, source):
        return evaluation_pipeline(
            source,
            self._student.image_format,
            self._recipe.optimisation.batch_size,
            self._crop_ratio,
            self._recipe.augmentation.interpolation,
        )


def _training_source(job: Job, dataset: Dataset) -> Source:
    if job.train_examples is None:
        return dataset.train
    source = take_examples(dataset.train, job.train_examples)
    steps_per_epoch(len(source), job.recipe.optimisation.batch_size)
    return source


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
