"""Training and fine-tuning a teacher."""

import dataclasses
import json
import pathlib
import shutil

import keras

from keras_deit.data import (
    Dataset,
    Share,
    num_batches,
    steps_per_epoch,
)
from keras_deit.distillation.execution import (
    is_writer,
    process_share,
    replicas,
    wait_for_all_processes,
)
from keras_deit.distillation.image_conversion import ImageConversion
from keras_deit.distillation.teachers import (
    TeacherContract,
    build_teacher_model,
    load_teacher_model,
    replace_head,
    save_teacher_model,
)
from keras_deit.errors import InputError
from keras_deit.models.image_format import ImageFormat
from keras_deit.recipes import Optimisation, TeacherRecipe
from keras_deit.training.checkpoints import CheckpointStore, Keeper, fingerprint
from keras_deit.training.fitting import Data, Fitting
from keras_deit.training.optimisation import build_optimizer, learning_rate_schedule
from keras_deit.training.reading import Reading
from keras_deit.training.run_directory import check_writable, writing_alone
from keras_deit.training.scoring import score

# The teacher is the same for every seed of the student.
_TEACHER_SEED = 0


def check_steps(recipe, dataset: Dataset, flag: str = "batch_size") -> int:
    """The steps in an epoch of a recipe's training.

    Args:
        recipe: a `Recipe` or `TeacherRecipe`.
        dataset: to train on.
        flag: what the batch size is called in an error.

    Raises:
        InputError: a batch larger than the data, or one that the devices cannot share evenly, or
            a warm-up longer than the training.
    """
    optimisation, (_, processes) = recipe.optimisation, process_share()
    return steps_of(optimisation, dataset.name, len(dataset.train), replicas(), flag, processes)


def steps_of(
    optimisation: Optimisation,
    name: str,
    examples: int,
    sharing: int,
    flag: str = "batch_size",
    processes: int = 1,
) -> int:
    """The steps in an epoch of a training.

    Args:
        optimisation: of the training.
        name: of the dataset.
        examples: for training that it has.
        sharing: devices that share a batch.
        flag, and errors: as in `check_steps`.
        processes: that the devices belong to.
    """
    batch_size, parts = optimisation.batch_size, optimisation.accumulation_steps
    if batch_size % (sharing * parts):
        accumulated = f" in {parts} parts (accumulation_steps)" if parts > 1 else ""
        raise InputError(
            f"{flag} {batch_size} cannot be shared evenly by {sharing} devices{accumulated}."
        )
    Share(0, processes, parts).train_size(batch_size)
    if batch_size > examples:
        raise InputError(
            f"{flag} {batch_size} is larger than the {examples} training examples of {name}."
        )
    steps = steps_per_epoch(examples, batch_size)
    learning_rate_schedule(optimisation, steps)
    return steps


def teacher_size(recipe: TeacherRecipe, student_format: ImageFormat) -> tuple[int, int]:
    """Height and width in pixels of what a teacher by name takes."""
    if recipe.image_size is not None:
        return recipe.image_size, recipe.image_size
    return student_format.height, student_format.width


def fine_tune_teacher(
    name: str,
    dataset: Dataset,
    recipe: TeacherRecipe,
    reading: Reading,
    path: pathlib.Path,
    weights: str | None = None,
    pixels: str | None = None,
    outputs: str | None = None,
) -> dict[str, float]:
    """Trains a teacher by name or file on a dataset, with a new head where the classes differ.

    Args:
        name: as `build_teacher_model` takes it, or the path of a `.keras` file.
        dataset, recipe, reading, path: as for `train_teacher`.
        weights: "imagenet" for a keras.applications name.
        pixels, outputs: the contract of a `.keras` file that has none beside it.

    Returns:
        Top-1 on the validation and on the test split.

    Raises:
        InputError: no such teacher, or a batch size that cannot be.
    """
    check_steps(recipe, dataset)
    if name.endswith(".keras"):
        model, contract = load_teacher_model(name, pixels=pixels, outputs=outputs)
        # Before its head is replaced by one with random weights.
        source = fingerprint(model)
    else:
        size = teacher_size(recipe, reading.image_format)
        model, contract = build_teacher_model(name, dataset.num_classes, *size, weights)
        source = f"{name}, weights {weights}"
    if contract.num_classes != dataset.num_classes:
        model, contract = replace_head(model, contract, dataset.num_classes)
    return train_teacher(model, contract, dataset, recipe, reading, path, source)


def check_output(path: pathlib.Path) -> None:
    """Makes sure that a new teacher can be kept in a file.

    Raises:
        InputError: it is no `.keras` file, is there already, or cannot be written.
    """
    if path.suffix != ".keras":
        raise InputError(f"A teacher is kept in a .keras file. Received: {path}.")
    if path.exists():
        raise InputError(f"{path} is there already; give another --output.")
    check_writable(path)


def train_teacher(
    model: keras.Model,
    contract: TeacherContract,
    dataset: Dataset,
    recipe: TeacherRecipe,
    reading: Reading,
    path: pathlib.Path,
    source: str,
    checkpoint_seconds: float = 300.0,
) -> dict[str, float]:
    """Trains a classifier on the training split and keeps it as a `.keras` file.

    It is trained on what it will be shown: the student's images, brought into its own format. A
    teacher trained on images of its own size was measured to lose a point on the student's. A
    training that was stopped goes on from its newest checkpoint, in PATH.checkpoints.

    Args:
        model: gives logits or probabilities, as its contract says; its head has the data's
            number of classes.
        contract: what the model takes and gives.
        dataset: to train on; nothing is chosen on its other splits.
        recipe: how to train.
        reading: of the data, as images of the student.
        path: of the `.keras` file; its contract and accuracy go beside it.
        source: what tells the untrained model from others; the training of another is not gone on
            with.
        checkpoint_seconds: from one checkpoint to the next.

    Returns:
        Top-1 on the validation and on the test split, of the student's images.

    Raises:
        InputError: the numbers stopped being finite.
        Stopped: by SIGTERM or Ctrl-C; everything is kept.
    """
    keras.utils.set_random_seed(_TEACHER_SEED)
    model.trainable = True
    _set_batch_norm_momentum(model, recipe.batch_norm_momentum)
    seeing = _on_student_images(model, contract, reading.image_format)
    record = {"recipe": dataclasses.asdict(recipe)}
    facts = {
        **record,
        "model": source,
        "dataset": dataset.name,
        "classes": list(dataset.class_names),
        "number of training examples": len(dataset.train),
        "images": {**dataclasses.asdict(reading.image_format), "view": reading.view},
    }
    # Through JSON and back, as what they are compared with.
    facts = json.loads(json.dumps(facts))
    folder = path.with_suffix(".checkpoints")
    with writing_alone(folder / "lock"):
        keeper = Keeper(CheckpointStore(folder), checkpoint_seconds, facts, is_writer())
        _fit(seeing, contract, dataset, recipe, reading, keeper)
        top1 = {
            split: _top1(seeing, getattr(dataset, split), reading, recipe, split)
            for split in ("validation", "test")
        }
        if is_writer():
            save_teacher_model(model, contract, path, top1=top1, **record)
            shutil.rmtree(folder)
    wait_for_all_processes("teacher")
    return top1


def _fit(seeing, contract, dataset, recipe, reading, keeper) -> None:
    optimisation = recipe.optimisation
    steps = check_steps(recipe, dataset)
    # Keras compiles with XLA where there is an accelerator. On the CPU it does not, and should
    # not: XLA's convolutions are many times slower there than TensorFlow's own.
    seeing.compile(
        build_optimizer(seeing, optimisation, steps),
        loss=keras.losses.CategoricalCrossentropy(from_logits=contract.outputs == "logits"),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    batches = reading.train_batches(dataset.train, recipe.augmentation, optimisation, _TEACHER_SEED)
    Fitting(seeing, "teacher", Data(batches, steps), optimisation, keeper).run()


def _top1(model, source, reading, recipe, title) -> float:
    batch_size = recipe.optimisation.batch_size
    data = reading.evaluation_batches(source, batch_size)
    named = keras.Model(model.input, {"own": model.output})
    batches = num_batches(len(source), batch_size)
    return score(named, data, batches, f"teacher, {title}")["own"]["top1"]


def _on_student_images(
    model: keras.Model, contract: TeacherContract, student_format: ImageFormat
) -> keras.Model:
    images = keras.Input((student_format.height, student_format.width, 3), name="image")
    conversion = ImageConversion(student_format, contract.image_format)
    return keras.Model(images, model(conversion(images)))


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
