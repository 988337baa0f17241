"""The data of a training and of its evaluation for Keras's own `fit` and `evaluate`.

They are offered as `keras_deit.data.train_dataset` and `evaluation_dataset`. They are made here
because they need recipes, which are above the data.
"""

import dataclasses
from typing import Literal

import keras

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.processes import has_accelerator
from keras_deit.data import (
    MAX_IMAGE_PIXELS,
    Augmentation,
    BadImages,
    Dataset,
    Source,
    load_dataset,
    num_batches,
    steps_per_epoch,
)
from keras_deit.data.batch_datasets import BatchDataset, TrainBatchDataset
from keras_deit.data.datasets import loaded_size
from keras_deit.data.mixing import one_hot_smoothed
from keras_deit.data.pipeline import evaluation_elements, train_elements
from keras_deit.models import Classifier, abstract_model, get_spec, list_models
from keras_deit.recipes import (
    AUTO,
    Recipe,
    Situation,
    apply_options,
    auto_recipe,
    default_recipe,
    get_recipe,
    recipe_options,
)
from keras_deit.recipes.options import checked_values
from keras_deit.training.input_pipeline import InputPipeline

LabelMode = Literal["categorical", "int"]
_LABEL_MODES = ("categorical", "int")
_OPTIONS = (*Augmentation.__dataclass_fields__, "sampling")


def train_dataset(
    dataset: str | Dataset,
    recipe: str | Recipe | None = None,
    model: keras.Model | ImageFormat | str | None = None,
    batch_size: int | None = None,
    *,
    seed: int = 0,
    split: str = "train",
    label_mode: LabelMode | None = None,
    workers: int | None = None,
    data_dir: str | None = None,
    test_share: float | None = None,
    on_bad_image: str = "fail",
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    **options,
) -> TrainBatchDataset:
    """Returns the batches of a training for `model.fit`, augmented and mixed as a recipe does it.

    They are those of `keras_deit.train` with the same recipe, seed and batch size, bit for bit. An
    epoch has all full batches; what is left over begins the next one.

    Args:
        dataset: "digits", "folder:PATH" or a name of TensorFlow Datasets, or what `load_dataset`
            returns.
        recipe: name of a recipe, or the recipe; by default "digits" for digits, and else "auto",
            which is chosen for the data.
        model: what is trained: it says the size and normalization of the images and, if it is
            compiled, which labels its loss takes. A `Classifier`, a `Distiller` or
            `TrainingModel`, the name of a model, or an `ImageFormat` for a model of others; by
            default that of the recipe.
        batch_size: images in a batch; by default that of the recipe.
        seed: of the order of the images, of augmentation and mixing, 0 or more.
        split: "train", "validation" or "test".
        label_mode: "categorical" for rows of probabilities (batch, classes), which hold what mixing
            and label smoothing do; "int" for classes (batch,), of a recipe without both. By default
            "int" for a model that is compiled with a sparse loss, and else "categorical".
        workers: threads that make batches; by default as many as there are cores.
        data_dir, test_share, on_bad_image, max_image_pixels: as for `load_dataset`.
        **options: values of the augmentation instead of those of the recipe by the names of their
            flags, such as `mixup_alpha=0.0`; and `sampling="balanced"`.

    Returns:
        A `keras.utils.PyDataset` of (images, labels): float32 (batch, height, width, 3),
        normalized, and float32 (batch, classes) or int32 (batch,). It has a length, `class_names`,
        `image_format` and `epoch`.

    Raises:
        InputError: there is no such recipe, model, split or option; the data cannot be read, have
            other classes than the model, or fewer images than a batch; or integers cannot be the
            labels of the recipe.
    """
    data = _loaded(dataset, data_dir, on_bad_image, test_share, max_image_pixels)
    recipe = _resolved(recipe, data, model, options)
    pipeline = _pipeline(model, recipe, data, on_bad_image)
    optimization = dataclasses.replace(
        recipe.optimization,
        batch_size=batch_size or recipe.optimization.batch_size,
        accumulation_steps=1,
    )
    mode = _label_mode(label_mode, model, "categorical")
    if mode == "int":
        _check_integers(recipe)
    source = _split(data, split)
    images = len(source) * optimization.passes_per_epoch
    length = steps_per_epoch(images, optimization.batch_size)
    arguments, named = pipeline.train_arguments(source, recipe.augmentation, optimization, seed)
    elements = train_elements(*arguments, **named)
    if mode == "int":
        elements = elements.map(lambda batch: _with_labels(batch, lambda rows: rows.argmax(-1)))
    rows = named["shard"].train_size(optimization.batch_size) * pipeline.views
    return TrainBatchDataset(
        elements, length, pipeline.image_format, rows, data.class_names, workers
    )


def evaluation_dataset(
    dataset: str | Dataset,
    recipe: str | Recipe | None = None,
    model: keras.Model | ImageFormat | str | None = None,
    batch_size: int = 64,
    *,
    split: str = "validation",
    label_mode: LabelMode | None = None,
    crop_ratio: float | None = None,
    interpolation: str | None = None,
    workers: int | None = None,
    data_dir: str | None = None,
    test_share: float | None = None,
    on_bad_image: str = "fail",
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> BatchDataset:
    """Returns one pass over a split for `model.evaluate`, `predict` and `validation_data`.

    The images are those of `keras_deit.evaluate_run`: resized and cropped at the center, in their
    order, the last batch smaller. With `on_bad_image="skip"` the batches have weights, 0 for an
    image that cannot be read: `weighted_metrics` leave it out.

    Args:
        dataset, recipe, model, workers, data_dir, test_share, on_bad_image, max_image_pixels: as
            for `train_dataset`.
        batch_size: images in a batch.
        split: "train", "validation" or "test".
        label_mode: "categorical" for one-hot rows, "int" for classes. By default "int" for a model
            that is compiled with a sparse loss and for a `TrainingModel`, and else "categorical".
        crop_ratio, interpolation: of the evaluation view; by default those of the recipe, which
            are those that the model was published with if it has none.

    Returns:
        A `keras.utils.PyDataset` of (images, labels), or (images, labels, weights).

    Raises:
        InputError: as for `train_dataset`.
    """
    data = _loaded(dataset, data_dir, on_bad_image, test_share, max_image_pixels)
    recipe = _resolved(recipe, data, model, {})
    pipeline = _pipeline(model, recipe, data, on_bad_image, crop_ratio, interpolation)
    mode = _label_mode(label_mode, model, "int" if hasattr(model, "objective") else "categorical")
    source = _split(data, split)
    arguments, named = pipeline.evaluation_arguments(source, batch_size)
    elements = evaluation_elements(*arguments, **named)
    if mode == "categorical":

        def one_hot(labels):
            return one_hot_smoothed(labels, data.num_classes, 0.0)

        elements = elements.map(lambda batch: _with_labels(batch, one_hot))
    rows = min(batch_size, len(source))
    length = num_batches(len(source), batch_size)
    return BatchDataset(elements, length, pipeline.image_format, rows, data.class_names, workers)


def _loaded(dataset, data_dir, on_bad_image, test_share, max_image_pixels) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset
    return load_dataset(dataset, data_dir, on_bad_image, test_share, max_image_pixels)


def _resolved(recipe: str | Recipe | None, data: Dataset, model, options: dict) -> Recipe:
    """Returns a recipe for a model, with the options."""
    known = [option for option in recipe_options() if option.name in _OPTIONS]
    options = checked_values(options, known)
    name = _student_name(model)
    if not isinstance(recipe, Recipe):
        recipe = recipe or default_recipe(data.name)
        recipe = _chosen_for(data, name) if recipe == AUTO else get_recipe(recipe)
    return apply_options(recipe.for_model(name or recipe.model), options)


def _chosen_for(data: Dataset, model: str | None) -> Recipe:
    return auto_recipe(Situation(loaded_size(data, with_side=True), has_accelerator(), model=model))


def _student_name(model) -> str | None:
    """Returns the name by which the package knows a model; None if it does not."""
    if isinstance(model, str):
        return get_spec(model).name
    name = getattr(_student(model), "name", None)
    return name if name in list_models() else None


def _student(model):
    """Returns the model that a `TrainingModel` trains; any other model itself."""
    return getattr(model, "student", model)


def _pipeline(
    model,
    recipe: Recipe,
    data: Dataset,
    on_bad_image: str,
    crop_ratio: float | None = None,
    interpolation: str | None = None,
) -> InputPipeline:
    image_format = _image_format(model, recipe)
    if len(image_format.mean) != 3:
        raise InputError(
            f"The images of the data have 3 channels. Received: a model with "
            f"{len(image_format.mean)} channels"
        )
    _check_classes(_student(model), data)
    pipeline = InputPipeline(
        image_format,
        data.num_classes,
        recipe.crop_ratio if crop_ratio is None else crop_ratio,
        interpolation or recipe.interpolation,
        BadImages(on_bad_image),
    )
    is_training_model = hasattr(model, "objective")
    return pipeline.for_objective(model.objective) if is_training_model else pipeline


def _image_format(model, recipe: Recipe) -> ImageFormat:
    if model is None or isinstance(model, str):
        return abstract_model(recipe.model, **recipe.model_values).image_format
    if isinstance(model, ImageFormat):
        return model
    image_format = getattr(_student(model), "image_format", None)
    if image_format is None:
        raise InputError(
            f"{_student(model).name} does not say how its images are normalized: give "
            "model=ImageFormat(height, width, mean, std) of keras_deit.core.image_format."
        )
    return image_format


def _check_classes(student, data: Dataset) -> None:
    classes = getattr(student, "num_classes", None) if isinstance(student, Classifier) else None
    if classes and classes != data.num_classes:
        raise InputError(
            f"{student.name} has {classes} classes and {data.name} has {data.num_classes}: "
            f"create_model({student.name!r}, num_classes={data.num_classes}) fits."
        )


def _split(data: Dataset, split: str) -> Source:
    if split not in data.examples:
        raise unknown_name(f"split of {data.name}", split, data.examples)
    return getattr(data, split)


def _label_mode(given: str | None, model, default: str) -> str:
    if given is not None and given not in _LABEL_MODES:
        raise unknown_name("label_mode", given, _LABEL_MODES)
    loss = getattr(model, "loss", None) if isinstance(model, keras.Model) else None
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return given or ("int" if "sparse" in name.lower() else default)


def _check_integers(recipe: Recipe) -> None:
    """Checks that labels are classes after the augmentation."""
    augmentation = recipe.augmentation
    mixing = {name: getattr(augmentation, name) for name in ("mixup_alpha", "cutmix_alpha")}
    if not augmentation.mix_probability:
        mixing = {}
    changed = {**mixing, "label_smoothing": augmentation.label_smoothing}
    if any(changed.values()):
        values = ", ".join(f"{name}={value}" for name, value in changed.items() if value)
        raise InputError(
            f"The labels of the recipe {recipe.name} are no integers ({values}): compile with "
            "keras.losses.CategoricalCrossentropy(from_logits=True), or set these to 0."
        )


def _with_labels(batch: tuple, function) -> tuple:
    """Returns a batch with a function of its labels in their place."""
    images, labels, *weights = batch
    if isinstance(labels, dict):
        return images, {**labels, "labels": function(labels["labels"])}, *weights
    return images, function(labels), *weights
