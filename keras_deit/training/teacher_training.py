"""The training of a teacher: a supervised one on the images that its student sees."""

import dataclasses
import functools
import pathlib
import shutil
import time

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, exclusive_lock
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.keras_internals import sublayers
from keras_deit.core.processes import barrier, has_accelerator, is_writer
from keras_deit.data import Dataset, Source, num_batches
from keras_deit.layers.settings import CompositeLayer
from keras_deit.models import Classifier
from keras_deit.objectives import TrainingModel
from keras_deit.objectives.scoring import score
from keras_deit.optimizers import build_optimizer
from keras_deit.recipes import TeacherRecipe
from keras_deit.teachers import (
    ImageConversion,
    TeacherContract,
    absolute_teacher_weights,
    build_teacher_model,
    load_teacher_model,
    replace_head,
    save_teacher_model,
    teacher_record,
)
from keras_deit.teachers.teacher import as_logits
from keras_deit.training.changes import LISTING, changes_since, check_unchanged, data_summary
from keras_deit.training.checkpoints import CheckpointManager, fingerprint
from keras_deit.training.earlier_formats import upgraded_teacher_metadata
from keras_deit.training.identity import teacher_recipe_identity
from keras_deit.training.input_pipeline import InputPipeline, training_class_weights
from keras_deit.training.loop import TrainingData, objective_loop
from keras_deit.training.report import weights_line
from keras_deit.training.steps import dataset_steps
from keras_deit.training.time_limit import TimeLimit

# The teacher is the same for every seed of the student.
_TEACHER_SEED = 0


def fine_tune_teacher(
    name: str,
    dataset: Dataset,
    recipe: TeacherRecipe,
    pipeline: InputPipeline,
    path: pathlib.Path,
    weights: str | None = None,
    pixels: str | None = None,
    outputs: str | None = None,
    accept_changed_data: bool = False,
    checkpoint_seconds: float = 300.0,
) -> dict[str, float]:
    """Trains a teacher by name or file on a dataset, with a new head if the classes differ.

    Args:
        name: as for `build_teacher_model`, or the path of a `.keras` file.
        dataset, recipe, pipeline, path: as for `fit_teacher`.
        weights: as for `build_teacher_model`.
        pixels, outputs: the contract of a `.keras` file that has none beside it.
        accept_changed_data: whether a stopped training resumes although the data has changed.
        checkpoint_seconds: as for `fit_teacher`.

    Returns:
        Top-1 on the validation and on the test split.

    Raises:
        InputError: there is no such teacher, the batch size is not possible, another process
            trains it, or the data has changed.
    """
    dataset_steps(recipe.optimization, dataset)
    classes = teacher_record(name).get("classes")
    # New weights and the generators of random layers are drawn when a model is built or loaded.
    keras.utils.set_random_seed(_TEACHER_SEED)
    if name.endswith(".keras"):
        model, contract = load_teacher_model(name, pixels=pixels, outputs=outputs)
        # Before its head is replaced by one with random weights.
        source = fingerprint(model)
    else:
        size = recipe.model_size(pipeline.image_format)
        values = (name, dataset.num_classes, *size, weights)
        model, contract = build_teacher_model(*values, **stochastic_depth(recipe))
        source = f"{name}, weights {weights}"
    if contract.num_classes != dataset.num_classes or (
        classes and classes != [*dataset.class_names]
    ):
        model, contract = replace_head(model, contract, dataset.num_classes)
    with exclusive_lock(lock_file(path)):
        check_output(path)
        values = (model, contract, dataset, recipe, pipeline, path, source)
        return fit_teacher(*values, checkpoint_seconds, accept_changed_data)


def stochastic_depth(recipe: TeacherRecipe) -> dict:
    """Returns the argument of `build_teacher_model` for stochastic depth, if the recipe has it."""
    return {"drop_path_rate": recipe.drop_path_rate} if recipe.drop_path_rate else {}


def lock_file(path: pathlib.Path) -> pathlib.Path:
    """Returns the lock of the process that trains the teacher in a file."""
    return _checkpoints(path) / "lock"


def listing_beside(path: pathlib.Path) -> pathlib.Path:
    """Returns the file that lists the data which the teacher in a file was trained on."""
    return path.with_suffix(f".{LISTING}")


def _checkpoints(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".checkpoints")


def check_output(path: pathlib.Path) -> None:
    """Checks that a new teacher can be kept in a file.

    Raises:
        InputError: it is not a `.keras` file, exists already, or cannot be written.
    """
    if path.suffix != ".keras":
        raise InputError(f"A teacher is kept in a .keras file. Received: {path}.")
    if path.exists():
        raise InputError(f"{path} exists already; give another --output.")
    check_writable(path)


def fit_teacher(
    model: keras.Model,
    contract: TeacherContract,
    dataset: Dataset,
    recipe: TeacherRecipe,
    pipeline: InputPipeline,
    path: pathlib.Path,
    source: str,
    checkpoint_seconds: float = 300.0,
    accept_changed_data: bool = False,
) -> dict[str, float]:
    """Trains a classifier on the training split and keeps it as a `.keras` file.

    It is a supervised training on the images that the teacher sees later: the student's images,
    brought into the teacher's format. A teacher that was trained on images of its own size lost a
    point on the student's. With `train_image_size` of the recipe it sees smaller ones in training
    than later. A stopped training resumes from its newest checkpoint in PATH.checkpoints.

    Args:
        model: returns logits or probabilities, as its contract says; its head has the data's
            number of classes.
        contract: what the model takes and returns.
        dataset: to train on; nothing is chosen on its other splits.
        recipe: how to train.
        pipeline: pipeline of the student's images.
        path: path of the `.keras` file; its contract, its classes, its accuracy and what identifies
            its data are written beside it. The process holds `lock_file(path)`.
        source: identifies the untrained model; the training of another one is not resumed.
        checkpoint_seconds: seconds from one checkpoint to the next.
        accept_changed_data: whether a stopped training resumes although the data has changed.

    Returns:
        Top-1 on the validation and on the test split, on the student's images.

    Raises:
        InputError: a number is not finite any more, or the model has one image size and the recipe
            another one for training.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    keras.utils.set_random_seed(_TEACHER_SEED)
    model.trainable = True
    _set_batch_norm_momentum(model, recipe.batch_norm_momentum)
    student = _on_student_images(model, contract, pipeline.image_format)
    trained, train_pipeline = _in_training(model, contract, pipeline, recipe.train_image_size)
    optimization, steps = dataset_steps(recipe.optimization, dataset)
    end = recipe.minutes and time.monotonic() + 60 * recipe.minutes
    class_weights = training_class_weights(optimization, dataset)
    if class_weights is not None and is_writer():
        print(f"class weights of the teacher: {weights_line(class_weights, dataset.class_names)}")
    training_model = TrainingModel(
        trained or student,
        recipe.objective(),
        class_weights=class_weights,
        label_smoothing=recipe.augmentation.label_smoothing,
    )
    # On TensorFlow without an accelerator XLA's convolutions are many times slower.
    slow_xla = keras.backend.backend() == "tensorflow" and not has_accelerator()
    training_model.compile(
        build_optimizer(training_model, optimization, steps, adjustable=end is not None),
        jit_compile=False if slow_xla else "auto",
    )
    folder = _checkpoints(path)
    record = {"recipe": teacher_recipe_identity(recipe)}
    metadata = {**record, **_resume_metadata(dataset, pipeline, source)}
    _check_data(dataset, folder, accept_changed_data)
    checkpoints = CheckpointManager(
        folder,
        checkpoint_seconds,
        resume_metadata=metadata,
        upgrade=functools.partial(_upgraded, dataset=dataset, accept=accept_changed_data),
        writes=is_writer(),
    )
    batches = train_pipeline.train_batches(
        dataset.train, recipe.augmentation, optimization, _TEACHER_SEED
    )
    data = TrainingData(batches, steps, bad_images=pipeline.bad_images)
    time_limit = None
    if end is not None:
        time_limit = TimeLimit(end, folder / "steps.json", training_model, data, optimization)
        optimization, data = time_limit.optimization, time_limit.data
    loop = objective_loop(
        training_model, "teacher", data, optimization, checkpoints, time_limit=time_limit
    )
    loop.restore()
    with loop.running():
        while not loop.finished:
            loop.train_epoch()
            loop.validate()
            loop.end_epoch()
    top1 = {
        split: _top1(student, getattr(dataset, split), pipeline, recipe, split)
        for split in dataset.examples
        if split != "train"
    }
    if is_writer():
        record |= {"classes": list(dataset.class_names), "data": data_summary(dataset)}
        if dataset.fingerprint is not None:
            dataset.fingerprint.save(listing_beside(path))
        save_teacher_model(model, contract, path, top1=top1, **record)
        # Not all of it, if a training that waits for this one has just made the lock file again.
        shutil.rmtree(folder, ignore_errors=True)
    barrier("teacher")
    return top1


def _check_data(dataset: Dataset, folder: pathlib.Path, accept: bool) -> None:
    """Checks that a training that is resumed has the same data, and lists those of a new one."""
    if dataset.fingerprint is None:
        return
    listing = folder / LISTING
    if any(folder.glob("epoch-*")):
        changes = changes_since(dataset, listing)
        check_unchanged(changes, accept, f"Remove {folder} to start again", print)
    barrier("teacher data")
    if is_writer():
        dataset.fingerprint.save(listing)


def _upgraded(stored: dict, dataset: Dataset, accept: bool) -> dict:
    """Returns the resume metadata of a teacher's checkpoint as this version would have it.

    An earlier version had the name of the data instead of what identifies their contents.
    """
    stored = upgraded_teacher_metadata(stored)
    name, comma, weights = str(stored.get("model")).partition(", weights ")
    if comma and weights != str(None):
        # It may have been written in another way.
        stored["model"] = f"{name}{comma}{absolute_teacher_weights(name, weights)}"
    present = _data_metadata(dataset)
    if "dataset" in stored and stored["dataset"] == dataset.name:
        stored = {**present, **{k: v for k, v in stored.items() if k != "dataset"}}
    return {**stored, **present} if accept else stored


def _data_metadata(dataset: Dataset) -> dict:
    known = dataset.fingerprint is not None
    return {
        **({"data": dataset.fingerprint.digest} if known else {"dataset": dataset.name}),
        "number of training examples": len(dataset.train),
    }


def _resume_metadata(dataset: Dataset, pipeline: InputPipeline, source: str) -> dict:
    image_format = pipeline.image_format
    return {
        "model": source,
        **_data_metadata(dataset),
        "classes": list(dataset.class_names),
        "images": {
            "height": image_format.height,
            "width": image_format.width,
            "mean": list(image_format.mean),
            "std": list(image_format.std),
            "channels": image_format.channels,
            "view": [pipeline.crop_ratio, pipeline.interpolation],
        },
    }


def _top1(
    model: keras.Model, source: Source, pipeline: InputPipeline, recipe: TeacherRecipe, split: str
) -> float:
    batch_size = recipe.optimization.batch_size
    data = pipeline.evaluation_batches(source, batch_size)
    named = keras.Model(model.input, {"own": model.output})
    batches = num_batches(len(source), batch_size)
    return score(named, data, batches, f"teacher, {split}")["own"]["top1"]


def _on_student_images(
    model: keras.Model, contract: TeacherContract, student_format: ImageFormat
) -> keras.Model:
    """Returns a model from the student's images to logits, with the weights of the teacher."""
    images = keras.Input((student_format.height, student_format.width, 3), name="image")
    conversion = ImageConversion(student_format, contract.image_format)
    return keras.Model(images, as_logits(model(conversion(images)), contract))


def _in_training(
    model: keras.Model, contract: TeacherContract, pipeline: InputPipeline, size: int | None
) -> tuple[keras.Model | None, InputPipeline]:
    """Returns the same layers for training images of another size, and the pipeline of these.

    Without another size the model is None and the pipeline the one that is given.
    """
    if size is None or (size, size) == (
        pipeline.image_format.height,
        pipeline.image_format.width,
    ):
        return None, pipeline

    def of_size(image_format: ImageFormat) -> ImageFormat:
        return dataclasses.replace(image_format, height=size, width=size)

    images = keras.Input((size, size, 3), name="image")
    try:
        if isinstance(model, Classifier):
            raise ValueError("Its positions are those of one size.")
        layers = keras.models.clone_model(model, images, clone_function=lambda layer: layer)
    except ValueError as error:
        raise InputError(
            f"Teacher {model.name} takes images of one size, so it cannot be trained at "
            f"{size} pixels (train_image_size): choose a keras_deit: or applications: convnet."
        ) from error
    smaller = dataclasses.replace(contract, image_format=of_size(contract.image_format))
    pipeline = dataclasses.replace(pipeline, image_format=of_size(pipeline.image_format))
    return _on_student_images(layers, smaller, pipeline.image_format), pipeline


def _set_batch_norm_momentum(model: keras.Model, momentum: float | None) -> None:
    if momentum is not None:
        for layer in _all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = momentum


def _all_layers(layer: keras.layers.Layer):
    """Yields the layers in models and in layers of this package. Those in the layers of other
    packages keep what these give them: the figures of their teachers were measured so."""
    for inner in sublayers(layer):
        yield inner
        if isinstance(inner, (keras.Model, CompositeLayer)):
            yield from _all_layers(inner)
