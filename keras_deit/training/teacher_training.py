"""Teachers that are there, and teachers that have to be trained first."""

import dataclasses
import pathlib

import keras

from keras_deit.data import Dataset, evaluation_pipeline, steps_per_epoch, train_pipeline
from keras_deit.distillation.image_conversion import ImageConversion
from keras_deit.distillation.teachers import (
    TeacherContract,
    build_teacher_model,
    check_classes,
    load_teacher_model,
    own_head_classes,
    replace_head,
    save_teacher_model,
)
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat
from keras_deit.recipes import TeacherRecipe
from keras_deit.training.fitting import fit
from keras_deit.training.job import Job, digest
from keras_deit.training.optimizer import build_optimizer

# The teacher is the same for every seed of the student.
_TEACHER_SEED = 0


def obtain_teacher(
    job: Job, dataset: Dataset, student_format: ImageFormat
) -> tuple[keras.Model, TeacherContract, str]:
    """The teacher that a job asks for: from its file, with its own head, or trained and kept.

    Returns:
        The model, its contract, and where it came from.

    Raises:
        InputError: no such teacher, or one with another number of classes than the data.
    """
    name, weights = job.recipe.teacher, job.recipe.teacher_weights
    if name.endswith(".keras"):
        model, contract = load_teacher_model(
            name, pixels=job.teacher_pixels, outputs=job.teacher_outputs
        )
        check_classes(contract.num_classes, dataset.num_classes, name, dataset.name)
        return model, contract, name
    recipe = job.recipe.teacher_recipe
    size = _teacher_size(recipe, student_format)
    own_classes = own_head_classes(name, dataset.num_classes, weights)
    if own_classes is not None:
        check_classes(own_classes, dataset.num_classes, name, dataset.name)
        return *build_teacher_model(name, dataset.num_classes, *size, weights), name
    path = _kept_path(job, dataset, student_format)
    if not path.is_file():
        model, contract = build_teacher_model(name, dataset.num_classes, *size, weights)
        crop_ratio = job.recipe.evaluation_crop_ratio
        train_teacher(model, contract, dataset, recipe, student_format, path, crop_ratio)
    # Loaded even when it was trained just now, so that both kinds of run do the same.
    return *load_teacher_model(path), str(path)


def teacher_of_run(
    config: dict, student_format: ImageFormat
) -> tuple[keras.Model, TeacherContract] | None:
    """The teacher that a run was distilled from; None where it had none or its file is gone.

    Args:
        config: of the run.
        student_format: of its student.
    """
    source, declared = config["teacher"], config["teacher_contract"]
    if source is None:
        return None
    contract = TeacherContract.from_dict(declared)
    if source.endswith(".keras"):
        return load_teacher_model(source, contract) if pathlib.Path(source).is_file() else None
    weights = config["run"]["recipe"]["teacher_weights"]
    size = (student_format.height, student_format.width)
    return build_teacher_model(source, contract.num_classes, *size, weights)


def fine_tune_teacher(
    name: str,
    dataset: Dataset,
    recipe: TeacherRecipe,
    student_format: ImageFormat,
    path: pathlib.Path,
    crop_ratio: float | None = None,
    weights: str | None = None,
    pixels: str | None = None,
    outputs: str | None = None,
) -> dict[str, float]:
    """Trains a teacher by name or file on a dataset, with a new head where the classes differ.

    Args:
        name: as `build_teacher_model` takes it, or the path of a `.keras` file.
        dataset, recipe, student_format, path, crop_ratio: as for `train_teacher`.
        weights: "imagenet" for a keras.applications name.
        pixels, outputs: the contract of a `.keras` file that has none beside it.

    Returns:
        Top-1 on the validation and on the test split.

    Raises:
        InputError: no such teacher, or `path` is taken.
    """
    if path.suffix != ".keras":
        raise InputError(f"A teacher is kept in a .keras file. Received: {path}.")
    if path.exists():
        raise InputError(f"{path} is there already; give another --output.")
    steps_per_epoch(len(dataset.train), recipe.optimisation.batch_size)
    if name.endswith(".keras"):
        model, contract = load_teacher_model(name, pixels=pixels, outputs=outputs)
    else:
        size = _teacher_size(recipe, student_format)
        model, contract = build_teacher_model(name, dataset.num_classes, *size, weights)
    if contract.num_classes != dataset.num_classes:
        model, contract = replace_head(model, contract, dataset.num_classes)
    return train_teacher(model, contract, dataset, recipe, student_format, path, crop_ratio)


def train_teacher(
    model: keras.Model,
    contract: TeacherContract,
    dataset: Dataset,
    recipe: TeacherRecipe,
    student_format: ImageFormat,
    path: pathlib.Path,
    crop_ratio: float | None = None,
) -> dict[str, float]:
    """Trains a classifier on the training split and keeps it as a `.keras` file.

    It is trained on what it will be shown: the student's images, brought into its own format. A
    teacher trained on images of its own size was measured to lose a point on the student's.

    Args:
        model: gives logits or probabilities, as its contract says; its head has the data's
            number of classes.
        contract: what the model takes and gives.
        dataset: to train on; nothing is chosen on its other splits.
        recipe: how to train.
        student_format: the images that the student takes.
        path: of the `.keras` file; its contract goes beside it.
        crop_ratio: of the evaluation; None for 0.875.

    Returns:
        Top-1 on the validation and on the test split, of the student's images.
    """
    keras.utils.set_random_seed(_TEACHER_SEED)
    optimisation = recipe.optimisation
    steps = steps_per_epoch(len(dataset.train), optimisation.batch_size)
    model.trainable = True
    _set_batch_norm_momentum(model, recipe.batch_norm_momentum)
    seeing = _on_student_images(model, contract, student_format)
    seeing.compile(
        build_optimizer(seeing, optimisation, steps),
        loss=keras.losses.CategoricalCrossentropy(from_logits=contract.outputs == "logits"),
        # Keras compiles "auto" where there is an accelerator. On the CPU it does not, and should
        # not: XLA's convolutions are many times slower there than TensorFlow's own.
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    data = train_pipeline(
        dataset.train,
        student_format,
        recipe.augmentation,
        dataset.num_classes,
        optimisation.batch_size,
        _TEACHER_SEED,
    )
    fit(seeing, "teacher", data, optimisation, steps)
    scores = {}
    for split in ("validation", "test"):
        evaluation = evaluation_pipeline(
            getattr(dataset, split),
            student_format,
            optimisation.batch_size,
            crop_ratio or 0.875,
            recipe.augmentation.interpolation,
        )
        scores[split] = _top1(seeing, evaluation)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_teacher_model(model, contract, path, top1=scores, recipe=dataclasses.asdict(recipe))
    return scores


def _on_student_images(
    model: keras.Model, contract: TeacherContract, student_format: ImageFormat
) -> keras.Model:
    images = keras.Input((student_format.height, student_format.width, 3), name="image")
    conversion = ImageConversion(student_format, contract.image_format)
    return keras.Model(images, model(conversion(images)))


def _top1(model: keras.Model, data) -> float:
    hits = examples = 0
    for images, labels in data:
        hits += int((model.predict_on_batch(images).argmax(-1) == labels).sum())
        examples += len(labels)
    return hits / examples


def _set_batch_norm_momentum(model: keras.Model, momentum: float | None) -> None:
    if momentum is not None:
        for layer in _layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = momentum


def _layers(model: keras.Model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _teacher_size(recipe: TeacherRecipe, student_format: ImageFormat) -> tuple[int, int]:
    if recipe.image_size is not None:
        return recipe.image_size, recipe.image_size
    return student_format.height, student_format.width


def _kept_path(job: Job, dataset: Dataset, student_format: ImageFormat) -> pathlib.Path:
    identity = {
        "teacher": job.recipe.teacher,
        "weights": job.recipe.teacher_weights,
        "recipe": dataclasses.asdict(job.recipe.teacher_recipe),
        "student_format": dataclasses.asdict(student_format),
        "dataset": dataset.name,
        "classes": dataset.class_names,
        "examples": len(dataset.train),
    }
    readable = f"{job.recipe.teacher}-{dataset.name}".replace(":", "_").replace("/", "_")
    return pathlib.Path(job.teacher_dir) / f"{readable}-{digest(identity)}.keras"
