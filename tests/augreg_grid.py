"""An index of AugReg's checkpoints by the grid of the authors', with made-up accuracies."""

import csv
import itertools

from keras_deit.recipes.augreg_names import (
    LEVELS,
    MODELS,
    TRANSFERS,
    AugRegCheckpoint,
    FineTuning,
)

COLUMNS = (
    *("name", "ds", "epochs", "lr", "aug", "wd", "do", "sd", "best_val", "final_val"),
    *("final_test", "adapt_ds", "adapt_lr", "adapt_steps", "adapt_resolution", "adapt_final_val"),
    *("adapt_final_test", "params", "infer_samples_per_sec", "filename", "adapt_filename"),
)
EPOCHS = {"i1k": 300, "i21k": 300, "i21k_30": 30}
GRID = [
    (level, decay, rate)
    for level, decay, rate in itertools.product(LEVELS, (0.03, 0.1), (0.0, 0.1))
]


def checkpoints():
    """Returns the 759 pretrained checkpoints."""
    for name, data in itertools.product(MODELS, EPOCHS):
        for level, decay, rate in GRID if name != "B_8" else [("medium2", 0.1, 0.0)]:
            yield AugRegCheckpoint(name, data, EPOCHS[data], 0.001, level, decay, rate, rate)


def fine_tunings():
    """Returns the 68 fine-tunings of a checkpoint."""
    for size, (data, transfer) in itertools.product((224, 384), TRANSFERS.items()):
        for steps, rate in itertools.product(transfer.steps, transfer.learning_rates):
            yield FineTuning(data, steps, rate, size)


def row(checkpoint, tuning, validation, tuned_validation):
    """Returns the values of a row by column."""
    tuned = AugRegCheckpoint(**{**vars(checkpoint), "fine_tuning": tuning})
    place = list(MODELS).index(checkpoint.architecture)
    values = (
        *(checkpoint.architecture, checkpoint.data, checkpoint.epochs, 0.001),
        *(checkpoint.augmentation, checkpoint.weight_decay, checkpoint.dropout_rate),
        *(checkpoint.drop_path_rate, validation + 0.01, validation, validation - 0.01),
        *(tuning.data, tuning.learning_rate, tuning.steps, tuning.image_size),
        *(tuned_validation, tuned_validation - 0.02, 5_000_000 * (place + 1)),
        *(round(3000 / (place + 1) * (224 / tuning.image_size) ** 2, 1), checkpoint, tuned),
    )
    return dict(zip(COLUMNS, values, strict=True))


def accuracies(checkpoint, tuning):
    """Returns made-up accuracies, the pretraining's best with "light1" and 0.03, of which the best
    fine-tune has 0.01."""
    place = list(MODELS).index(checkpoint.architecture)
    validation = 0.3 + 0.01 * place + 0.002 * (checkpoint.augmentation == "light1")
    validation += 0.001 * (checkpoint.weight_decay == 0.03) - checkpoint.dropout_rate / 1000
    tuned = 0.5 + 0.02 * place + 0.01 * (tuning.learning_rate == 0.01)
    # Of another checkpoint the fine-tunes are better, which does not matter.
    tuned += 0.001 * (tuning.steps > 500) + 0.03 * (checkpoint.augmentation == "strong2")
    return round(validation, 5), round(tuned + 0.04 * (tuning.image_size == 384), 5)


def write_index(path, rows=None):
    """Writes an index: all rows, or the given ones."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(all_rows() if rows is None else rows)
    return path


def all_rows():
    tunings = list(fine_tunings())
    for checkpoint in checkpoints():
        for tuning in tunings:
            if checkpoint.architecture != "B_8" or tuning.image_size == 224:
                yield row(checkpoint, tuning, *accuracies(checkpoint, tuning))
