"""The answers of several runs for the same images."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.precision import precision
from keras_deit.data import BadImages, Source
from keras_deit.evaluation.measuring import ROWS, Answers, answer, rows_model
from keras_deit.training import InputPipeline, Run, load_run

_TAKEN = ("ground truth", "both", *ROWS)


def compared_runs(paths: Sequence[str | os.PathLike], run: Run) -> dict[str, Run]:
    """Returns runs by the shortest names that tell them apart.

    Args:
        paths: their directories.
        run: the run that they are compared with.

    Raises:
        InputError: a directory is not that of a finished run with the same classes.
    """
    runs = runs_by_name(paths)
    wanted = sorted(run.config["class_names"])
    for each in runs.values():
        if sorted(each.config["class_names"]) != wanted:
            raise InputError(f"{each.path} has other classes than {run.path}.")
    return runs


def runs_by_name(paths: Sequence[str | os.PathLike]) -> dict[str, Run]:
    """Returns runs by the shortest names that tell them apart.

    Raises:
        InputError: a directory is not that of a run.
    """
    runs = [load_run(path) for path in paths]
    return dict(zip(shortest_names([each.path for each in runs]), runs, strict=True))


def shortest_names(paths: Sequence[pathlib.Path]) -> list[str]:
    """Returns the names of directories, or where these are not unique their paths."""
    names = [path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 and name not in _TAKEN else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def answers_of_run(
    run: Run,
    source: Source,
    class_names: Sequence[str],
    policy: str,
    batch_size: int,
    title: str,
) -> np.ndarray:
    """Returns the classes that the final weights of a run give to images, integers (images,).

    Args:
        run: the run, which sees the images in its own evaluation view.
        source: the images.
        class_names: the names of the classes by index, in which the answers are.
        policy: of `BadImages`.
        batch_size: images at a time.
        title: title of the progress bar.
    """
    config = run.config
    with precision(config["run"].get("mixed_precision", "float32")):
        model = run.model()
        view = config["crop_ratio"], config["interpolation"]
        pipeline = InputPipeline(model.image_format, len(class_names), *view, BadImages(policy))
        found = answer(rows_model({"scores": model}, None), source, pipeline, batch_size, title)
    order = np.array([class_names.index(name) for name in config["class_names"]])
    return order[np.argmax(found.rows["scores"]["fused"], axis=1)]


def compared_answers(answers: Answers, others: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the classes that labels, teacher, other runs and heads give, in this order.

    Args:
        answers: of the model that is evaluated.
        others: answers of other runs by their name.
    """
    classes = {row: np.argmax(logits, axis=1) for row, logits in answers.rows["scores"].items()}
    teacher = {name: classes.pop(name) for name in ("teacher",) if name in classes}
    both = classes.pop("fused")
    # With one head both are the same.
    fused = {"both": both} if len(classes) > 1 else {}
    return {"ground truth": answers.labels, **teacher, **others, **classes, **fused}
