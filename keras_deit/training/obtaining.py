"""The teacher of a run: from its file, with its own head, or trained and kept."""

import dataclasses
import pathlib

import keras

from keras_deit.data import Dataset
from keras_deit.distillation.teachers import (
    TeacherContract,
    build_teacher_model,
    check_classes,
    check_teacher_name,
    load_teacher_model,
    own_head_classes,
)
from keras_deit.models.image_format import ImageFormat
from keras_deit.models.precision import precision
from keras_deit.training.job import Job, digest
from keras_deit.training.reading import Reading
from keras_deit.training.run_directory import check_writable
from keras_deit.training.teacher_training import check_steps, teacher_size, train_teacher


def check_teacher_of(job: Job) -> None:
    """Finds what is wrong with a job's teacher without data and without building it.

    Raises:
        InputError: no such name or file.
    """
    if job.recipe.teacher is not None:
        check_teacher_name(job.recipe.teacher)


def obtain_teacher(
    job: Job, dataset: Dataset, reading: Reading
) -> tuple[keras.Model, TeacherContract, str]:
    """The teacher that a job asks for.

    A teacher that has to be trained is, in float32 whatever the student's precision, and kept for
    the next run that asks for the same.

    Args:
        job: asks for a teacher.
        dataset: to train it on.
        reading: of the data, as the images that the teacher will be shown.

    Returns:
        The model, its contract, and where it came from: a name or the path of a file.

    Raises:
        InputError: no such teacher, or one with another number of classes than the data.
    """
    name, weights = job.recipe.teacher, job.recipe.teacher_weights
    if name.endswith(".keras"):
        model, contract = load_teacher_model(
            name, pixels=job.teacher_pixels, outputs=job.teacher_outputs
        )
        check_classes(contract.num_classes, dataset.num_classes, name, dataset.name)
        return model, contract, str(pathlib.Path(name).resolve())
    recipe = job.recipe.teacher_recipe
    size = teacher_size(recipe, reading.image_format)
    own_classes = own_head_classes(name, dataset.num_classes, weights)
    with precision("float32"):
        if own_classes is not None:
            check_classes(own_classes, dataset.num_classes, name, dataset.name)
            return *build_teacher_model(name, dataset.num_classes, *size, weights), name
        path = _kept_path(job, dataset, reading.image_format)
        if not path.is_file():
            check_writable(path)
            check_steps(recipe, dataset, "teacher_batch_size")
            model, contract = build_teacher_model(name, dataset.num_classes, *size, weights)
            train_teacher(
                *(model, contract, dataset, recipe, reading, path, f"{name}, weights {weights}"),
                checkpoint_seconds=job.checkpoint_seconds,
            )
        # Loaded even when it was trained just now, so that both kinds of run do the same.
        return *load_teacher_model(path), str(path.resolve())


def teacher_of_run(config: dict) -> tuple[keras.Model, TeacherContract] | None:
    """The teacher that a run was distilled from; None where it had none or its file is gone.

    Args:
        config: of the run.
    """
    source = config["teacher"]
    if source is None:
        return None
    contract = TeacherContract.from_dict(config["teacher_contract"])
    if source.endswith(".keras"):
        return load_teacher_model(source, contract) if pathlib.Path(source).is_file() else None
    size = (contract.image_format.height, contract.image_format.width)
    weights = config["run"]["recipe"]["teacher_weights"]
    return build_teacher_model(source, contract.num_classes, *size, weights)


def _kept_path(job: Job, dataset: Dataset, student_format: ImageFormat) -> pathlib.Path:
    identity = {
        "teacher": job.recipe.teacher,
        "weights": job.recipe.teacher_weights,
        "recipe": dataclasses.asdict(job.recipe.teacher_recipe),
        "student_format": dataclasses.asdict(student_format),
        "dataset": dataset.name,
        "classes": dataset.class_names,
        "examples": len(dataset.train),
        "backend": keras.backend.backend(),
    }
    readable = f"{job.recipe.teacher}-{dataset.name}".replace(":", "_").replace("/", "_")
    return pathlib.Path(job.teacher_dir) / f"{readable}-{digest(identity)}.keras"
