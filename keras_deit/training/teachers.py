"""The teacher of a training: resolved from a name or a file, and trained if that is needed."""

import pathlib
import shutil
import time

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, exclusive_lock, user_path
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.precision import precision
from keras_deit.core.processes import barrier, has_accelerator, is_writer
from keras_deit.data import Dataset, Source, num_batches, take_examples
from keras_deit.objectives import Supervised, TrainingModel
from keras_deit.objectives.scoring import score
from keras_deit.optimizers import build_optimizer
from keras_deit.recipes import TeacherRecipe, default_teacher_recipe
from keras_deit.teachers import (
    ImageConversion,
    Teacher,
    TeacherContract,
    TeacherRequest,
    build_teacher_model,
    check_classes,
    load_teacher_model,
    own_head_classes,
    replace_head,
    save_teacher_model,
    stored_top1,
)
from keras_deit.teachers.teacher import as_logits
from keras_deit.training.checkpoints import CheckpointManager, fingerprint
from keras_deit.training.identity import (
    teacher_file_names,
    teacher_recipe_identity,
    upgraded_teacher_metadata,
)
from keras_deit.training.input_pipeline import InputPipeline, training_class_weights
from keras_deit.training.loop import TrainingData, TrainingLoop
from keras_deit.training.report import weights_line
from keras_deit.training.steps import dataset_steps
from keras_deit.training.time_limit import limit

# The teacher is the same for every seed of the student.
_TEACHER_SEED = 0


def resolve_teacher(
    request: TeacherRequest,
    dataset: Dataset,
    pipeline: InputPipeline,
    teacher_dir: str,
    batch_size: int,
    checkpoint_seconds: float = 300.0,
) -> tuple[Teacher, str]:
    """Returns the teacher that an objective asks for.

    A teacher that has to be trained is trained in float32, whatever the precision of the student,
    and kept for the next run that asks for the same.

    Args:
        request: the teacher.
        dataset: to train it on.
        pipeline: pipeline of the student's images, which the teacher sees.
        teacher_dir: where trained teachers are kept.
        batch_size: number of images that its contract is checked with.
        checkpoint_seconds: seconds from one checkpoint of its training to the next.

    Returns:
        The teacher, and where it comes from: a name or the path of a file.

    Raises:
        InputError: there is no such teacher, it has another number of classes than the data, or its
            images or outputs are not what its contract declares.
    """
    model, contract, source = _resolve(request, dataset, pipeline, teacher_dir, checkpoint_seconds)
    teacher = Teacher(model, contract, pipeline.image_format)
    images, *_ = next(iter(pipeline.evaluation_batches(dataset.validation, batch_size)))
    teacher.check(images)
    return teacher, source


# A teacher whose accuracy is above that of a guess by less than this share of what is left to 1
# teaches hardly anything.
_WEAK = 0.2
# The images that a teacher of unknown accuracy is scored on.
_SCORED_IMAGES = 256


def teacher_weakness(
    teacher: Teacher, source: str, dataset: Dataset, pipeline: InputPipeline, batch_size: int
) -> str | None:
    """Returns a sentence if a teacher is hardly better than a guess on the validation split.

    Args:
        teacher, source: as `resolve_teacher` returns them.
        dataset: with the validation split.
        pipeline: pipeline of the student's images.
        batch_size: images at a time, if its accuracy is not stored beside it.
    """
    guess = 1 / dataset.num_classes
    top1 = stored_top1(source).get("validation")
    if top1 is None:
        count = min(_SCORED_IMAGES, len(dataset.validation))
        top1 = _accuracy(teacher, take_examples(dataset.validation, count), pipeline, batch_size)
    if top1 >= guess + _WEAK * (1 - guess):
        return None
    return (
        f"the teacher is hardly better than a guess: top-1 {top1:.3f} on the validation split, and "
        f"a guess has {guess:.3f}"
    )


def _accuracy(teacher: Teacher, source: Source, pipeline: InputPipeline, batch_size: int) -> float:
    hits, count = 0.0, 0.0
    for images, labels, *weights in pipeline.evaluation_batches(source, batch_size):
        right = np.argmax(keras.ops.convert_to_numpy(teacher(images, training=False)), axis=-1)
        kept = np.asarray(weights[0]) if weights else np.ones(len(right))
        classes = np.argmax(np.asarray(labels), axis=-1) if np.ndim(labels) > 1 else labels
        hits += float(np.sum((right == np.asarray(classes)) * kept))
        count += float(np.sum(kept))
    return hits / max(count, 1.0)


def _resolve(request, dataset, pipeline, teacher_dir, checkpoint_seconds):
    name, weights = request.name, request.weights
    if name.endswith(".keras"):
        model, contract = load_teacher_model(name, pixels=request.pixels, outputs=request.outputs)
        check_classes(contract.num_classes, dataset.num_classes, name, dataset.name)
        return model, contract, str(user_path(name).resolve())
    recipe = request.recipe or default_teacher_recipe(request.name, request.weights)
    size = recipe.model_size(pipeline.image_format)
    own_classes = own_head_classes(name, dataset.num_classes, weights)
    with precision("float32"):
        if own_classes is not None:
            check_classes(own_classes, dataset.num_classes, name, dataset.name)
            return *build_teacher_model(name, dataset.num_classes, *size, weights), name
        path = _kept_file(request, recipe, dataset, pipeline.image_format, teacher_dir)
        if not path.is_file():
            check_writable(path)
            dataset_steps(recipe.optimization, dataset, "teacher_batch_size")
            model, contract = build_teacher_model(name, dataset.num_classes, *size, weights)
            source = f"{name}, weights {weights}"
            fit_teacher(
                *(model, contract, dataset, recipe, pipeline, path, source),
                checkpoint_seconds=checkpoint_seconds,
            )
        # It is loaded even if it was trained just now, so that both kinds of runs do the same.
        return *load_teacher_model(path), str(path.resolve())


def _kept_file(
    request: TeacherRequest,
    recipe: TeacherRecipe,
    dataset: Dataset,
    student_format: ImageFormat,
    teacher_dir: str,
) -> pathlib.Path:
    """Returns the file that a trained teacher is kept in, also one of an earlier version."""
    names = teacher_file_names(request, recipe, dataset, student_format)
    paths = [pathlib.Path(teacher_dir) / name for name in names]
    return next((path for path in paths if path.is_file()), paths[0])


def teacher_of_run(
    config: dict, request: TeacherRequest, student_format: ImageFormat
) -> Teacher | None:
    """Returns the teacher that a run was distilled from; None if its file is gone.

    Args:
        config: configuration of the run.
        request: teacher request of its objective.
        student_format: format of the images that the teacher gets.
    """
    source = config["teacher"]
    contract = TeacherContract.from_dict(config["teacher_contract"])
    if source.endswith(".keras"):
        if not pathlib.Path(source).is_file():
            return None
        return Teacher(*load_teacher_model(source, contract), student_format)
    size = (contract.image_format.height, contract.image_format.width)
    model = build_teacher_model(source, contract.num_classes, *size, request.weights)
    return Teacher(*model, student_format)


def fine_tune_teacher(
    name: str,
    dataset: Dataset,
    recipe: TeacherRecipe,
    pipeline: InputPipeline,
    path: pathlib.Path,
    weights: str | None = None,
    pixels: str | None = None,
    outputs: str | None = None,
    checkpoint_seconds: float = 300.0,
) -> dict[str, float]:
    """Trains a teacher by name or file on a dataset, with a new head if the classes differ.

    Args:
        name: as for `build_teacher_model`, or the path of a `.keras` file.
        dataset, recipe, pipeline, path: as for `fit_teacher`.
        weights: "imagenet" for a keras.applications name.
        pixels, outputs: the contract of a `.keras` file that has none beside it.
        checkpoint_seconds: as for `fit_teacher`.

    Returns:
        Top-1 on the validation and on the test split.

    Raises:
        InputError: there is no such teacher, or the batch size is not possible.
    """
    dataset_steps(recipe.optimization, dataset)
    # New weights and the generators of random layers are drawn when a model is built or loaded.
    keras.utils.set_random_seed(_TEACHER_SEED)
    if name.endswith(".keras"):
        model, contract = load_teacher_model(name, pixels=pixels, outputs=outputs)
        # Before its head is replaced by one with random weights.
        source = fingerprint(model)
    else:
        size = recipe.model_size(pipeline.image_format)
        model, contract = build_teacher_model(name, dataset.num_classes, *size, weights)
        source = f"{name}, weights {weights}"
    if contract.num_classes != dataset.num_classes:
        model, contract = replace_head(model, contract, dataset.num_classes)
    arguments = (model, contract, dataset, recipe, pipeline, path, source)
    return fit_teacher(*arguments, checkpoint_seconds)


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
) -> dict[str, float]:
    """Trains a classifier on the training split and keeps it as a `.keras` file.

    It is a supervised training on the images that the teacher sees later: the student's images,
    brought into the teacher's format. A teacher that was trained on images of its own size lost a
    point on the student's. A stopped training resumes from its newest checkpoint in
    PATH.checkpoints.

    Args:
        model: returns logits or probabilities, as its contract says; its head has the data's
            number of classes.
        contract: what the model takes and returns.
        dataset: to train on; nothing is chosen on its other splits.
        recipe: how to train.
        pipeline: pipeline of the student's images.
        path: path of the `.keras` file; its contract and accuracy are written beside it.
        source: identifies the untrained model; the training of another one is not resumed.
        checkpoint_seconds: seconds from one checkpoint to the next.

    Returns:
        Top-1 on the validation and on the test split, on the student's images.

    Raises:
        InputError: a number is not finite any more.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    keras.utils.set_random_seed(_TEACHER_SEED)
    model.trainable = True
    _set_batch_norm_momentum(model, recipe.batch_norm_momentum)
    student = _on_student_images(model, contract, pipeline.image_format)
    optimization, steps = dataset_steps(recipe.optimization, dataset)
    end = recipe.minutes and time.monotonic() + 60 * recipe.minutes
    class_weights = training_class_weights(optimization, dataset)
    if class_weights is not None and is_writer():
        print(f"class weights of the teacher: {weights_line(class_weights, dataset.class_names)}")
    training_model = TrainingModel(
        student,
        Supervised(),
        class_weights=class_weights,
        label_smoothing=recipe.augmentation.label_smoothing,
    )
    # On TensorFlow without an accelerator XLA's convolutions are many times slower.
    slow_xla = keras.backend.backend() == "tensorflow" and not has_accelerator()
    training_model.compile(
        build_optimizer(training_model, optimization, steps, adjustable=end is not None),
        jit_compile=False if slow_xla else "auto",
    )
    folder = path.with_suffix(".checkpoints")
    record = {"recipe": teacher_recipe_identity(recipe)}
    metadata = {**record, **_resume_metadata(dataset, pipeline, source)}
    with exclusive_lock(folder / "lock"):
        checkpoints = CheckpointManager(
            folder,
            checkpoint_seconds,
            resume_metadata=metadata,
            upgrade=upgraded_teacher_metadata,
            writes=is_writer(),
        )
        batches = pipeline.train_batches(
            dataset.train, recipe.augmentation, optimization, _TEACHER_SEED
        )
        data = TrainingData(batches, steps, bad_images=pipeline.bad_images)
        if end is not None:
            steps_file = folder / "steps.json"
            optimization, data = limit(end, steps_file, training_model, data, optimization)
        loop = TrainingLoop(training_model, "teacher", data, optimization, checkpoints)
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
            save_teacher_model(model, contract, path, top1=top1, **record)
            shutil.rmtree(folder)
    barrier("teacher")
    return top1


def _resume_metadata(dataset: Dataset, pipeline: InputPipeline, source: str) -> dict:
    image_format = pipeline.image_format
    return {
        "model": source,
        "dataset": dataset.name,
        "classes": list(dataset.class_names),
        "number of training examples": len(dataset.train),
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


def _set_batch_norm_momentum(model: keras.Model, momentum: float | None) -> None:
    if momentum is not None:
        for layer in _all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = momentum


def _all_layers(model: keras.Model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
