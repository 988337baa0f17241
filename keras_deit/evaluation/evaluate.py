"""Evaluating a finished run, or weights of a model."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error, unknown_name
from keras_deit.core.files import write_json
from keras_deit.core.precision import precision
from keras_deit.data import MAX_IMAGE_PIXELS, BadImages, Source, load_evaluation_data, say_folder
from keras_deit.evaluation.class_names import model_classes
from keras_deit.evaluation.comparing import answers_of_run, compared_answers, compared_runs
from keras_deit.evaluation.diagnostics import diagnostics
from keras_deit.evaluation.disagreement import disagreement
from keras_deit.evaluation.evaluated_data import (
    EvaluatedData,
    checked_split,
    data_for_run,
    relabeled,
    say_absent_classes,
)
from keras_deit.evaluation.grouping import GROUPS, figures_of_videos, video_names
from keras_deit.evaluation.measuring import Answers, answer, figures_of, rows_model, some_images
from keras_deit.evaluation.predictions import load_classifier
from keras_deit.models import Classifier
from keras_deit.objectives import Objective
from keras_deit.objectives.scoring import Scores
from keras_deit.pretrained.own_weights import RUN_WEIGHTS
from keras_deit.training import (
    InputPipeline,
    Run,
    data_summary,
    load_run,
    objective_from,
    request_of_run,
    score_split,
    teacher_of_run,
)
from keras_deit.training.embedders import load_embedder
from keras_deit.training.run import flatten

SPLITS = ("validation", "test")

# Figures are stored with six digits.
_SAME_FIGURE = 1.5e-6


def evaluate_run(
    run_dir: str,
    split: str | None = None,
    batch_size: int = 64,
    weights: str | None = None,
    dataset: str | None = None,
    on_bad_image: str | None = None,
    max_image_pixels: int | None = None,
    print_fn=print,
    write: bool = False,
    keep: Callable[[Answers, Source], None] | None = None,
    compare: Sequence[str | os.PathLike] = (),
    group_by: str | None = None,
    data_dir: str | None = None,
) -> dict:
    """Evaluates the model of a run on a split of its data, or of other data with its classes.

    Args:
        run_dir: directory of a finished run.
        split: "validation" or "test"; None for the test split, or for the validation split of data
            without one.
        batch_size: number of images at a time.
        weights: "final", "best" or "ema", see `Run.model`; None for the final weights and, if the
            run has it, their moving average.
        dataset: name of other data, see `load_evaluation_data`; None for the data of the run. Its
            classes are matched by name; it may have fewer. Temperatures stay those of the
            validation split of the run.
        on_bad_image: "fail" or "skip" for images that cannot be read; None for what the run did.
        max_image_pixels: the most pixels of an image that is decoded; None for that of the run.
        print_fn: function that is called with each line for the user.
        write: whether to write the result into `evaluation.json` of the run, if it is `of_run`.
        keep: called with the answers of the heads to all images, and their source, unless the
            objective computes its own scores from features.
        compare: directories of other runs with the same classes, whose answers for the same images
            the `disagreement` holds too.
        group_by: "video" for the figures of whole videos too, see `figures_of_videos`.
        data_dir: where the prepared data of TensorFlow Datasets are now; None for where they were.

    Returns:
        JSON values: `scores` as in the summary of the run, the `split` and its number of `examples`
        and, if the run has a moving average of its weights, the `ema_scores` of that; what
        identifies the `data`, None for data that are part of a package; if they are not those of
        the training, `data_changes` and `teacher_changes` in words; if figures of the same split
        are others than in the summary of the run, `differs_from_summary` with both by name; and
        `of_run`, whether they are those of the final weights on the reported split of the run's
        own, unchanged data.

        Unless the objective computes its own scores from features, also `images_per_second` of all
        models together, the `class_names`, and by row ("class", "class, EMA", "teacher", ...) the
        `figures`, the figures `per_class`, the `confusion` matrix and the `reliability` bins, see
        `keras_deit.evaluation.figures`, whose temperatures are fitted on the validation split;
        the `disagreement` of labels, teacher, compared runs and heads; with `group_by` the figures
        of `videos`; and what the model has of
        `keras_deit.evaluation.diagnostics`, on 128 images.

    Raises:
        InputError: there is no such split, a run is not finished, or the data has classes that the
            run does not have.
    """
    _check_split(split)
    _check_group(group_by)
    run = load_run(run_dir)
    others = compared_runs(compare, run)
    config, summary = run.config, run.summary or {}
    identity = config["run"]
    notes = {}
    bad_images = BadImages(on_bad_image or config.get("on_bad_image", "fail"))
    with precision(identity.get("mixed_precision", "float32")):
        models = {"scores": run.model(weights or "final")}
        if weights is None and run.ema_weights.is_file():
            models["ema_scores"] = run.model("ema")
        embedder = load_embedder(run, weights or "final")
        image_format = models["scores"].image_format
        with corrupt_as_input_error(f"{run.path} has a corrupt {run.config_file.name}"):
            objective = objective_from(identity)
        request = request_of_run(config, objective)
        if request is not None and config["teacher"] is None:
            objective = objective.without_teacher()
        elif request is not None:
            teacher, note = teacher_of_run(config, request, image_format)
            if note:
                print_fn(note)
                notes["teacher_changes"] = note
            objective.use_teacher(teacher)
        objective.embedder = embedder
        loaded = data_for_run(run, dataset, data_dir, max_image_pixels, print_fn)
        data = loaded.data
        notes["data"] = data_summary(data)
        if dataset is None and (changes := run.changes_of_data(data)):
            print_fn(f"The data has changed since the training: {changes}.")
            notes["data_changes"] = changes
        split = split or data.reported_split
        source = checked_split(data, split, bad_images.policy)
        if dataset is not None:
            say_absent_classes(source, data.class_names, print_fn)
        pipeline = InputPipeline(
            *(image_format, data.num_classes, config["crop_ratio"], config["interpolation"]),
            bad_images,
        )
        found = _evaluation(
            *(objective, models, loaded, split, pipeline, batch_size, print_fn),
            *(keep, others, group_by),
        )
    _say_bad_images(bad_images, print_fn)
    changes = {}
    if dataset is None:
        known = {"scores": split, "ema_scores": f"{split}_ema"}
        if weights in RUN_WEIGHTS:
            known = {"scores": {"final": split, "ema": f"{split}_ema"}.get(weights)}
        for name, key in known.items():
            changes |= _changes(summary.get(key), found.get(name), key)
    for figure, (before, now) in changes.items():
        print_fn(f"{figure} was {before:.4f} when the run was finished, and is {now:.4f} now.")
    if changes:
        notes["differs_from_summary"] = changes
    is_own = weights is None and dataset is None and "data_changes" not in notes
    notes["of_run"] = is_own and split == data.reported_split
    result = {"split": split, "examples": len(source), **found, **notes}
    if write and notes["of_run"]:
        _write(run, result, print_fn)
    return result


def _evaluation(
    objective: Objective | None,
    models: dict[str, Classifier],
    loaded: EvaluatedData,
    split: str,
    pipeline: InputPipeline,
    batch_size: int,
    print_fn: Callable[[str], None],
    keep: Callable[[Answers, Source], None] | None = None,
    others: dict[str, Run] | None = None,
    group_by: str | None = None,
) -> dict:
    """Returns the scores of the models, and the figures of their heads if these are logits."""
    data = loaded.data
    source, policy = getattr(data, split), pipeline.bad_images.policy
    if objective is not None and objective.validates_features:
        if others or group_by:
            what = "compare" if others else "group"
            raise InputError(f"{type(objective).__name__} has no answers to {what}.")
        splits, name_of_split = loaded.with_train(split)
        return {
            name: score_split(
                *(objective, model, splits, name_of_split, pipeline, batch_size), title=split
            )
            for name, model in models.items()
        }
    if group_by is not None:
        video_names(source)
    rows = rows_model(models, objective and objective.teacher)
    measure = functools.partial(answer, rows)
    answers = measure(source, pipeline, batch_size, split)
    if keep is not None:
        keep(answers, source)
    answers_of_others = {
        name: answers_of_run(other, source, data.class_names, policy, batch_size, name)
        for name, other in (others or {}).items()
    }
    calibration, calibrating = None, loaded.calibration(print_fn)
    if calibrating is source:
        calibration = answers
    elif calibrating is not None:
        try:
            calibration = measure(calibrating, skipping(pipeline), batch_size, "validation")
        except InputError as error:
            print_fn(f"No temperatures: {error}")
    found = evaluation_of(
        *(answers, calibration, data.class_names, models["scores"]),
        *(some_images(source, pipeline), answers_of_others, print_fn),
    )
    if group_by is not None:
        found["videos"] = figures_of_videos(answers, source)
    return found


def skipping(pipeline: InputPipeline) -> InputPipeline:
    """Returns a pipeline for a split whose unreadable images do not matter."""
    return dataclasses.replace(pipeline, bad_images=BadImages("skip"))


def evaluation_of(
    answers: Answers,
    calibration: Answers | None,
    class_names: Sequence[str],
    model: Classifier,
    images: np.ndarray,
    others: Mapping[str, np.ndarray] | None = None,
    print_fn: Callable[[str], None] = print,
) -> dict:
    """Returns what `evaluate_run` says of the answers to a split, as JSON values.

    Args:
        answers, calibration, class_names, print_fn: as for `figures_of`.
        model: the model, for `diagnostics`.
        images: normalized images for these.
        others: answers of other runs by their name, for the `disagreement`.
    """
    return {
        "images_per_second": round(answers.images_per_second, 1),
        "class_names": list(class_names),
        **answers.scores,
        **figures_of(answers, calibration, class_names, print_fn),
        "disagreement": disagreement(compared_answers(answers, others or {})),
        **{
            name: values
            for name, values in diagnostics(model, images).items()
            # JSON has no nan, which a model that has diverged answers.
            if np.isfinite(keras.tree.flatten(values)).all()
        },
    }


def _write(run: Run, result: dict, print_fn: Callable[[str], None]) -> None:
    try:
        write_json(run.evaluation_file, result)
    except PermissionError as error:
        print_fn(f"{run.evaluation_file} cannot be written: {error.strerror}.")


def _changes(before: Scores | None, now: Scores | None, key: str) -> dict[str, tuple]:
    """Returns the figures of a summary that are others now: both by their name."""
    before, now = flatten(before or {}), flatten(now or {})
    return {
        f"{key} {name}": (before[name], now[name])
        for name in sorted(before.keys() & now.keys())
        if not abs(before[name] - now[name]) <= _SAME_FIGURE
    }


def evaluate_weights(
    dataset: str,
    model: str | None = None,
    weights: str | None = None,
    split: str | None = None,
    batch_size: int = 64,
    data_dir: str | None = None,
    on_bad_image: str = "fail",
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    print_fn=print,
    group_by: str | None = None,
) -> dict:
    """Evaluates weights that are of no run, in the evaluation view of the published model.

    Args:
        dataset: name of the data, see `load_evaluation_data`. Its classes are matched with the
            model's by name, see `model_classes`; it may have fewer. Temperatures are fitted on its
            validation split, if it has one.
        model: name of the model; its released weights, if no others are given.
        weights: a file of any format, `hf://OWNER/NAME`, or the directory of a run.
        split: "validation" or "test"; None for the test split, or for the validation split of data
            without one.
        batch_size: number of images at a time.
        data_dir: the directory of prepared data of TensorFlow Datasets.
        on_bad_image: "fail" or "skip" for images that cannot be read.
        max_image_pixels: the most pixels of an image that is decoded.
        print_fn: called with each line for the user.
        group_by: as for `evaluate_run`.

    Returns:
        JSON values as those of `evaluate_run`, with the `model` and the `weights`.

    Raises:
        InputError: the weights or the data cannot be loaded, or a class of the data is not one of
            the model's.
    """
    _check_split(split)
    _check_group(group_by)
    if model is None and weights is None:
        raise InputError("Give a model, weights or both.")
    data = load_evaluation_data(dataset, data_dir, max_image_pixels)
    say_folder(data, print_fn)
    classifier, view, names = load_classifier(weights or model, model if weights else None)
    classes, class_names, note = model_classes(
        data.class_names, names, classifier.num_classes, data.name
    )
    if note:
        print_fn(note)
    data = relabeled(data, classes, class_names)
    split = split or data.reported_split
    bad_images = BadImages(on_bad_image)
    source = checked_split(data, split, bad_images.policy)
    say_absent_classes(source, class_names, print_fn)
    pipeline = InputPipeline(classifier.image_format, len(class_names), *view[:2], bad_images)
    found = _evaluation(
        *(None, {"scores": classifier}, EvaluatedData(data, data), split, pipeline, batch_size),
        print_fn,
        group_by=group_by,
    )
    _say_bad_images(bad_images, print_fn)
    return {
        "split": split,
        "examples": len(source),
        "model": classifier.name,
        "weights": weights or "released",
        **found,
        "data": data_summary(data),
    }


def _check_group(group_by: str | None) -> None:
    if group_by not in (None, *GROUPS):
        raise unknown_name("group_by", group_by, GROUPS)


def _check_split(split: str | None) -> None:
    if split not in (None, *SPLITS):
        raise InputError(f"split should be one of {', '.join(SPLITS)}. Received: {split!r}")


def _say_bad_images(bad_images: BadImages, print_fn: Callable[[str], None]) -> None:
    if bad_images.names:
        print_fn(f"Unreadable images, not counted: {len(bad_images.names)}.")
