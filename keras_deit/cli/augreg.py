"""The command that chooses among AugReg's released checkpoints, and reads their names."""

import math

from keras_deit.core.errors import InputError
from keras_deit.recipes import Option
from keras_deit.recipes.augreg import AUGREG_FINETUNE, fine_tuning_recipe, pretraining_recipe
from keras_deit.recipes.augreg_index import (
    FOLDER,
    IndexRow,
    nearest_transfer,
    read_index,
    recommended,
)
from keras_deit.recipes.augreg_names import (
    CLASSES,
    PRETRAINING_SIZE,
    TRANSFERS,
    AugRegCheckpoint,
    parse_checkpoint,
)

_BATCH_SIZE = AUGREG_FINETUNE.optimization.batch_size


def augreg_options() -> list[Option]:
    return [
        Option(
            "data",
            str,
            "Pretraining: i21k for ImageNet-21k in 300 epochs, i21k_30 in 30, i1k for ImageNet-1k.",
            tuple(CLASSES),
            default="i21k",
        ),
        Option(
            "finetuned",
            str,
            "Data set of the fine-tunes to choose from, such as imagenet2012 or cifar100.",
        ),
        Option(
            "train_images",
            int,
            "How many training images you have: the fine-tunes are those to the data set that has "
            "about as many.",
            minimum=1,
        ),
        Option("resolution", int, "Only fine-tunes for images of this side in pixels."),
        Option(
            "model",
            str,
            "Only this model, by the name in the paper or here, such as S/16.",
        ),
        Option("max_parameters", float, "Only models with no more parameters."),
        Option(
            "min_images_per_second",
            float,
            "Only models that classify so many images in a second on a V100, as the index says.",
        ),
    ]


def augreg(values: dict) -> None:
    """Prints which checkpoints fit, or what the name of one says."""
    given, *others = values.pop("index")
    if others:
        raise InputError(f"Give one index, or one name of a checkpoint. Received: {others[0]}, too")
    if not given.lower().endswith(".csv"):
        if values.keys() - {"data"}:
            raise InputError(f"The flags are for an index, a .csv file. Received: {given!r}")
        print("\n".join(_checkpoint_lines(parse_checkpoint(given))))
        return
    rows, images = read_index(given), values.pop("train_images", None)
    finetuned = values.get("finetuned")
    lines = [f"The files are in {FOLDER}."]
    if images is not None:
        if finetuned is not None:
            raise InputError("Give finetuned or train_images, not both.")
        known = TRANSFERS.keys() & {row.fine_tuned.fine_tuning.data for row in rows}
        if not known:
            raise InputError(f"{given} has fine-tunes to none of {', '.join(TRANSFERS)}.")
        finetuned = values["finetuned"] = nearest_transfer(images, sorted(known))
        lines.append(
            f"Chosen by the fine-tunes to {finetuned}, whose {TRANSFERS[finetuned].images:,} "
            f"images are the nearest to {images:,} of those that the authors fine-tuned to."
        )
    for row in recommended(rows, **values):
        lines += ["", *_row_lines(row, finetuned is not None, images)]
    print("\n".join(lines))


def _row_lines(row: IndexRow, fine_tuned: bool, images: int | None) -> list[str]:
    checkpoint = row.fine_tuned if fine_tuned else row.pretrained
    speed = "" if math.isnan(row.images_per_second) else f", {row.images_per_second:,.0f} images/s"
    lines = [
        f"{checkpoint.model()}, {checkpoint.image_size} pixels: "
        f"{row.parameters / 1e6:.1f} M parameters{speed}",
        f"  {row.file}.npz",
        f"    pretrained: validation {row.validation:.4f}, test {row.test:.4f}",
        f"    {_pretraining_command(row.pretrained)}",
    ]
    if fine_tuned:
        lines += [
            f"  {row.fine_tuned_file}.npz",
            f"    fine-tuned: validation {row.fine_tuned_validation:.4f}, "
            f"test {row.fine_tuned_test:.4f}",
            f"    {_fine_tuning_command(row.fine_tuned, f'{row.file}.npz', images)}",
        ]
    return lines


def _checkpoint_lines(checkpoint: AugRegCheckpoint) -> list[str]:
    classes = "" if checkpoint.classes is None else f", {checkpoint.classes:,} classes"
    lines = [
        f"{checkpoint.model()}, {checkpoint.image_size} pixels{classes}",
        f"  {_pretraining_command(checkpoint)}",
    ]
    if checkpoint.fine_tuning is not None:
        pretrained = f"{str(checkpoint).partition('--')[0]}.npz"
        lines.append(f"  {_fine_tuning_command(checkpoint, pretrained, None)}")
    return lines


def _pretraining_command(checkpoint: AugRegCheckpoint) -> str:
    recipe, values = pretraining_recipe(checkpoint)
    return _command(recipe, checkpoint.model(PRETRAINING_SIZE), values)


def _fine_tuning_command(checkpoint: AugRegCheckpoint, weights: str, images: int | None) -> str:
    recipe, values = fine_tuning_recipe(checkpoint.fine_tuning)
    name, size = checkpoint.model(), checkpoint.image_size
    if not name.endswith(f"_{size}"):
        values["image_size"] = size
    if images is not None:
        if images < _BATCH_SIZE:
            values["batch_size"] = 2 ** int(math.log2(images))
        values["dataset"] = "folder:PATH"
    return _command(recipe, name, {"weights": weights, **values})


def _command(recipe: str, model: str, values: dict) -> str:
    flags = "".join(f" --{name} {value}" for name, value in values.items())
    return f"keras-deit train --recipe {recipe} --model {model}{flags}"
