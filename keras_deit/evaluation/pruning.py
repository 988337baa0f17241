"""Pruning a model at several rates, and what each of them costs and gains."""

import statistics
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import exclusive_lock, file_digest, read_json, write_json
from keras_deit.core.precision import precision
from keras_deit.core.processes import process_index_and_count
from keras_deit.data import BadImages, Dataset, say_folder
from keras_deit.data.folder_files import listed
from keras_deit.evaluation.evaluate import skipping
from keras_deit.evaluation.measuring import answer, rows_model, some_images
from keras_deit.evaluation.report import train_with_report
from keras_deit.models import Classifier, count_macs
from keras_deit.models.pruning import choose, close_gates, count_gates, pruned
from keras_deit.pretrained import create_model
from keras_deit.pretrained.conversion import save_model
from keras_deit.teachers import TeacherContract, save_teacher_model
from keras_deit.training import InputPipeline, Job, Run, dataset_of
from keras_deit.training.pruning import Pruning, make_pruning

# The largest difference between a pruned model and the one whose gates are closed.
_ROUNDING = 1e-5
# Images at a time of a measurement of speed, its rounds, and seconds after which no more begin.
_BATCH, _ROUNDS, _SECONDS = 64, 40, 60
_LEAST_ROUNDS = 5
# Title, key and format of the columns of the table.
_COLUMNS = (
    ("rate", "rate", "{:g}"),
    ("parameters", "parameters", "{:,}"),
    ("MACs", "macs", "{:,}"),
    ("pruned", "validation_pruned", "{:.4f}"),
    ("validation", "validation", "{:.4f}"),
    ("top-1", "top1", "{:.4f}"),
    ("images/s", "images_per_second", "{:,.0f}"),
    ("times as fast", "times_as_fast", "{:.2f}"),
)


def prune(print_fn: Callable[[str], None] = print, **options) -> dict:
    """Prunes a model, exactly as the command `keras-deit prune` does.

    Its gates are trained once. For each rate it is pruned by them, fine-tuned as a run of its own,
    and measured. The same call again resumes what was stopped, and repeats nothing that is
    finished.

    Args:
        print_fn: called with each line for the user.
        **options: any flag of the command by its name, such as `run_dir="runs/mine"` and
            `rate=[0.2, 0.4]`.

    Returns:
        What `pruning.json` in the directory of the result holds: the number of `gates`, and `rows`,
        that of the model itself, rate 0, first. A row has the `rate`; the `run_dir`; `parameters`;
        `macs`; top-1 on the validation split, right after the pruning (`validation_pruned`) and
        after the fine-tuning (`validation`), and on the reported split (`top1`);
        `images_per_second`; and how many `times_as_fast` as the model itself it is, the median of
        measurements that alternate with those of the model.

    Raises:
        InputError: what `make_pruning` or a training raises, or the model has been pruned wrongly.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    pruning = make_pruning(**options)
    if process_index_and_count()[1] > 1:
        raise InputError("A model is pruned in one process.")
    pruning.folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(pruning.folder / "lock"):
        result = _prune(pruning, print_fn)
    print_fn(f"\n{pruning_table(result['rows'])}")
    print_fn(f"{pruning.result_file} holds this; a rate in {pruning.folder} is a run.")
    return result


def _prune(pruning: Pruning, print_fn: Callable[[str], None]) -> dict:
    data = dataset_of(pruning.job)
    say_folder(data, print_fn)
    _check_classes(data, pruning.class_names)
    model = _unpruned(pruning, data)
    run = _trained(pruning.gate_job(), pruning.gate_folder, print_fn)
    gated = run.model()
    finished = _stored(pruning)
    rows = [finished.get(_digest(run)) or _row_of_model(model, data, pruning, run)]
    for rate in pruning.rates:
        kept = choose(gated, rate, pruning.equal_heads)
        narrow = pruned(gated, kept)
        if not pruning.weights_of(rate).is_file():
            save_model(narrow, pruning.weights_of(rate))
        job = pruning.finetuning_job(rate, narrow.get_config()["kept"])
        run = _trained(job, pruning.folder_of(rate), print_fn)
        row = finished.get(_digest(run))
        if row is None:
            images = _images(model, data, pruning)
            _check(narrow, gated, kept, images)
            row = {
                "rate": rate,
                "digest": _digest(run),
                "run_dir": str(run.path),
                **_size(narrow),
                "validation_pruned": _top1(narrow, data, pruning, "validation"),
                "validation": run.history[-1]["val_accuracy"],
                "top1": run.summary[data.reported_split]["fused"]["top1"],
                **relative_speed(run.model(), model, images),
            }
        rows.append(row)
        write_json(pruning.result_file, {"gates": count_gates(gated), "rows": rows})
    return {"gates": count_gates(gated), "rows": rows}


def _check_classes(data: Dataset, wanted: Sequence[str]) -> None:
    """Checks that the classes of the data are those of the run that is pruned, in their order."""
    if not wanted or tuple(data.class_names) == tuple(wanted):
        return
    different = sorted({*wanted} ^ {*data.class_names})
    what = f"Only one of the two has: {listed(different)}." if different else "Their order differs."
    raise InputError(f"{data.name} has other classes than the run that is pruned. {what}")


def _unpruned(pruning: Pruning, data: Dataset) -> Classifier:
    """Returns the model to prune, which is also written if it is the teacher."""
    recipe = pruning.job.recipe
    with precision(pruning.job.mixed_precision):
        model = create_model(
            recipe.model, pruning.weights, num_classes=data.num_classes, **recipe.model_values
        )
    if pruning.distillation and not pruning.teacher_file.is_file():
        contract = TeacherContract(model.image_format, "logits", data.num_classes)
        classes = list(data.class_names)
        save_teacher_model(model, contract, pruning.teacher_file, classes=classes)
    return model


def _trained(job: Job, folder, print_fn: Callable[[str], None]) -> Run:
    print_fn(f"\n{folder}:")
    return train_with_report(job, str(folder), print_fn)


def _stored(pruning: Pruning) -> dict[str, dict]:
    """Returns the rows of an earlier call by the digests of the weights that they are of."""
    if not pruning.result_file.is_file():
        return {}
    complaint = f"{pruning.result_file} is not the result of a pruning"
    rows = read_json(pruning.result_file, complaint).get("rows", [])
    return {row["digest"]: row for row in rows}


def _digest(run: Run) -> str:
    return file_digest(run.final_weights)


def _row_of_model(model: Classifier, data: Dataset, pruning: Pruning, run: Run) -> dict:
    images = _images(model, data, pruning)
    return {
        "rate": 0.0,
        # Its own weights may be on the hub; those with gates start from them.
        "digest": _digest(run),
        "run_dir": pruning.weights,
        **_size(model),
        "validation": _top1(model, data, pruning, "validation"),
        "top1": _top1(model, data, pruning, data.reported_split),
        **relative_speed(model, model, images),
        "times_as_fast": 1.0,
    }


def _size(model: Classifier) -> dict[str, int]:
    return {"parameters": model.count_params(), "macs": count_macs(model)}


def _pipeline(model: Classifier, data: Dataset, pruning: Pruning) -> InputPipeline:
    recipe = pruning.job.recipe
    view = (recipe.crop_ratio, recipe.interpolation, BadImages(pruning.job.on_bad_image))
    return InputPipeline(model.image_format, data.num_classes, *view)


def _images(model: Classifier, data: Dataset, pruning: Pruning) -> np.ndarray:
    images = some_images(data.validation, _pipeline(model, data, pruning))
    return np.resize(images, (_BATCH, *images.shape[1:]))


def _top1(model: Classifier, data: Dataset, pruning: Pruning, split: str) -> float:
    pipeline = skipping(_pipeline(model, data, pruning))
    rows = rows_model({"scores": model}, None)
    return answer(rows, getattr(data, split), pipeline, _BATCH, split).scores["scores"]["fused"][
        "top1"
    ]


def _check(narrow: Classifier, gated: Classifier, kept: list, images: np.ndarray) -> None:
    """Checks in float32 that a pruned model computes what closed gates make of the other one."""
    if gated.compute_dtype != "float32":
        return
    gates = gated.get_weights()
    close_gates(gated, kept)
    hard = gated.predict_on_batch(images)
    gated.set_weights(gates)
    difference = float(np.max(np.abs(hard - narrow.predict_on_batch(images))))
    scale = max(1.0, float(np.max(np.abs(hard))))
    if not difference <= _ROUNDING * scale:
        raise InputError(
            f"The pruned model differs by {difference:.2g} from the one whose gates are closed, by "
            "more than rounding: this is a mistake in its layers."
        )


def relative_speed(model: keras.Model, base: keras.Model, images: np.ndarray) -> dict[str, float]:
    """Measures the inference of a model and of another one by turns, so that what else the machine
    does slows down both alike.

    Args:
        model, base: the models, which take the same images.
        images: a batch of them.

    Returns:
        `images_per_second` of the model, and the median over the rounds of how many
        `times_as_fast` it is.
    """
    for either in (model, base):
        for _ in range(2):  # It is compiled first.
            either.predict_on_batch(images)
    own, ratios, start = [], [], time.monotonic()
    while len(own) < _ROUNDS and (len(own) < _LEAST_ROUNDS or time.monotonic() - start < _SECONDS):
        own.append(_seconds(model, images))
        ratios.append(_seconds(base, images) / own[-1])
    speed = len(images) / statistics.median(own)
    return {
        "images_per_second": round(speed, 1),
        "times_as_fast": round(statistics.median(ratios), 3),
    }


def _seconds(model: keras.Model, images: np.ndarray) -> float:
    start = time.perf_counter()
    model.predict_on_batch(images)
    return time.perf_counter() - start


def pruning_table(rows: list[dict]) -> str:
    """Returns the rows of a pruning as a Markdown table.

    Args:
        rows: as `prune` returns them.
    """
    lines = [[title for title, _, _ in _COLUMNS]]
    lines += [
        [form.format(row[key]) if key in row else "" for _, key, form in _COLUMNS] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(f'{cell:>{w}}' for cell, w in zip(line, widths, strict=True))} |"
        for line in lines
    )
