"""Where weights come from: a file, a folder, the directory of a run, or the hub."""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterator

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import absolute_path, read_json, user_path
from keras_deit.pretrained import hub
from keras_deit.pretrained.matching import WITHOUT_DISTILLATION
from keras_deit.pretrained.own_weights import RUN_WEIGHTS, missing_weights, run_model

# What transformers calls a class that has no name.
_PLACEHOLDER = re.compile(r"LABEL_\d+")


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights that are there.

    Attributes:
        name: what the user gave, for messages.
        path: path of the file.
        part: which of several weights in the file, such as "ema"; None for the plain ones.
        without_distillation: whether a plain model takes a file with a distillation token.
    """

    name: str
    path: pathlib.Path
    part: str | None = None
    without_distillation: bool = False


def find_weights(source: str | pathlib.Path) -> Source:
    """Returns the file of a source, which is downloaded if it is on the hub.

    Args:
        source: path of a file, of the directory of a run, or of a folder as Hugging Face has it, or
            `hf://OWNER/NAME`. After a # stands which of its weights are wanted: `final`, `best` or
            `ema` of a run, a word in the keys of a checkpoint such as `ema` or `teacher`; and
            `#without_distillation`.

    Raises:
        InputError: there is no such file.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"Weights should be a path or {hub.PREFIX}OWNER/NAME. Received: {source}")
    text, options = _split(str(source))
    is_on_hub = text.startswith(hub.PREFIX)
    without_distillation = WITHOUT_DISTILLATION in options
    parts = [option.lower() for option in options if option not in ("", WITHOUT_DISTILLATION)]
    if len(parts) > 1:
        raise InputError(f"One of the weights should be named after the #. Received: {source}")
    part = parts[0] if parts else None
    path = hub.download(text) if is_on_hub else user_path(text)
    if path.is_dir():
        is_of_run = run_model(path) is not None
        path = _file_of_run(path, part or "final") if is_of_run else _file_in(path)
        part = None if is_of_run else part
    if not path.is_file():
        raise InputError(f"There is no weights file {text!r}.")
    shard = re.search(r"-\d{5}-of-(\d{5})\.", path.name)
    if shard and int(shard[1]) > 1:
        raise InputError(
            f"{text} is one of {int(shard[1])} shards; give their index, .index.json, or folder."
        )
    return Source(str(source), path, part, without_distillation)


def absolute_source(source: str | pathlib.Path) -> str:
    """Returns a source of weights with an absolute path, unless it is on the hub.

    Args:
        source: as for `find_weights`; it need not exist.

    Raises:
        InputError: the path is the address of a bucket.
    """
    text, _ = _split(str(source))
    options = str(source)[len(text) :]
    return f"{text if text.startswith(hub.PREFIX) else absolute_path(text)}{options}"


def _split(source: str) -> tuple[str, list[str]]:
    """Returns a source without what stands after a # in it, and that, the last one first."""
    text, options = source, []
    is_on_hub = text.startswith(hub.PREFIX)
    while "#" in text and (is_on_hub or not user_path(text).exists()):
        text, _, option = text.rpartition("#")
        options.append(option)
    return text, options


def _file_of_run(folder: pathlib.Path, weights: str) -> pathlib.Path:
    if weights not in RUN_WEIGHTS:
        raise unknown_name("weights of a run", weights, RUN_WEIGHTS)
    path = folder / RUN_WEIGHTS[weights]
    if path.is_file():
        return path
    raise missing_weights(folder, weights)


def _file_in(folder: pathlib.Path) -> pathlib.Path:
    found = [folder / name for name in hub.FILES if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"{str(folder)!r} is a directory, neither of a run nor with weights: it has no "
            f"config.json of a run and none of {', '.join(hub.FILES)}."
        )
    return found[0]


def normalization_beside(path: pathlib.Path) -> tuple | None:
    """Returns mean and std of the images that weights are for, as in `ImageFormat`.

    They are in the configuration beside the file that timm, transformers or a run of this package
    wrote; None if it says nothing.
    """
    for values in _configurations_beside(path):
        if values.get("do_normalize") is False:
            return (0.0,) * 3, (1.0,) * 3
        pair = [values.get(key, values.get(f"image_{key}")) for key in ("mean", "std")]
        if all(_is_triple(value) for value in pair) and min(pair[1]) > 0:
            return tuple(pair[0]), tuple(pair[1])
    return None


def class_names_beside(path: pathlib.Path, count: int) -> tuple[str, ...] | None:
    """Returns the names of the classes in the configuration beside a file of weights.

    They are `label_names` of timm or `id2label` of transformers; None if it names no or other
    classes, or calls them LABEL_0 and so on.

    Args:
        path: path of the file.
        count: the number of classes of the model.
    """
    for values in _configurations_beside(path):
        names, by_index = values.get("label_names"), values.get("id2label")
        if names is None and isinstance(by_index, dict):
            names = [by_index.get(str(index)) for index in range(len(by_index))]
        if (
            isinstance(names, list)
            and len(names) == count
            and all(isinstance(name, str) and not _PLACEHOLDER.fullmatch(name) for name in names)
        ):
            return tuple(names)
    return None


def _configurations_beside(path: pathlib.Path) -> Iterator[dict]:
    for name in hub.CONFIGS:
        try:
            values = read_json(path.parent / name, name)
        except InputError:
            continue
        inner = values.get("pretrained_cfg")
        yield {**values, **(inner if isinstance(inner, dict) else {})}


def _is_triple(value) -> bool:
    numbers = value if isinstance(value, list) else []
    return len(numbers) == 3 and all(
        isinstance(number, (int, float)) and math.isfinite(number) for number in numbers
    )
