"""The suite "imagenet": weights on val, V2 and ReaL beside what is published of them."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import (
    atomic_write,
    check_writable,
    file_digest,
    read_json,
    user_path,
    write_json,
)
from keras_deit.data.imagenet import SIZES, ImagenetSet
from keras_deit.evaluation.figures import classification_figures, top1_interval
from keras_deit.evaluation.imagenet_page import imagenet_page
from keras_deit.evaluation.measuring import answer, rows_model
from keras_deit.evaluation.predictions import EvaluationView, load_classifier
from keras_deit.models import Classifier, get_spec, list_models
from keras_deit.models.spec import Result
from keras_deit.pretrained.sources import Source, find_weights
from keras_deit.training import InputPipeline

SUITE = "imagenet"
_CLASSES = 1000
_INDEX = ".index.json"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights to evaluate.

    Attributes:
        source: as the user gave them, or the address of released ones.
        model: name of the model; None if the file says it.
        digest: identifies the contents of their files, and which part of them.
    """

    source: str
    model: str | None
    digest: str


def evaluate_imagenet(
    output: str | pathlib.Path,
    sets: Mapping[str, ImagenetSet],
    models: Sequence[str] = (),
    weights: Sequence[str] = (),
    batch_size: int = 64,
    print_fn=print,
) -> dict:
    """Evaluates weights on the sets of ImageNet, each in the evaluation view of its model.

    After each set the results are written. The same command goes on after a kill, and another one
    with the same output adds rows: weights with the same contents are not evaluated again.

    Args:
        output: JSON file to write; a page in Markdown is written beside it.
        sets: as `load_imagenet_sets` returns them.
        models: names of models: one for each of the weights or one for all; none if the files say
            it or have the names that they were released with. Without weights, the released ones.
        weights: files of any format, or `hf://` addresses.
        batch_size: images at a time.
        print_fn: called with each line for the user.

    Returns:
        JSON values: the number of images and the digest of the `data` by set, and the `rows`, each
        with `model`, `weights`, its `view`, the figures of the mean of the heads by set ("val",
        "real", "v2"; shares, not percent), what is `published`, and the `difference` of both.

    Raises:
        InputError: weights are missing or have no 1,000 classes, or the output holds something
            else or figures on other data.
    """
    output = user_path(output)
    page = output.with_suffix(".md")
    for path in (output, page):
        check_writable(path)
    document = _earlier(output, _data(sets))
    for item in _weights(models, weights):
        row = _row(document["rows"], item)
        missing = [
            name
            for name, each in sets.items()
            if name not in row or (each.real is not None and "real" not in row)
        ]
        if not missing:
            print_fn(f"{item.source}: evaluated before.")
            continue
        model, view, _ = load_classifier(item.source, item.model)
        _describe(row, item, model, view)
        heads = rows_model({"scores": model}, None)
        pipeline = InputPipeline(model.image_format, _CLASSES, *view[:2])
        for name in missing:
            found = answer(heads, sets[name].source, pipeline, batch_size, f"{model.name} {name}")
            row |= _figures(name, found, sets[name].real)
            row["difference"] = _differences(row)
            _write(output, page, document)
            top1 = row[name]["top1"]
            print_fn(f"{item.source}: {name} top-1 {100 * top1:.2f} %.")
    _write(output, page, document)
    return document


def _data(sets: Mapping[str, ImagenetSet]) -> dict[str, dict]:
    """Returns the number of images and the digest by set, with ReaL as one of its own."""
    found = {name: (len(each.source), each.digest) for name, each in sets.items()}
    for each in sets.values():
        if each.real is not None:
            found["real"] = sum(map(bool, each.real)), each.real_digest
    return {
        name: {"images": count, "expected": SIZES[name], "digest": digest}
        for name, (count, digest) in found.items()
    }


def _earlier(output: pathlib.Path, data: dict) -> dict:
    """Returns what was evaluated before on the same data."""
    if not output.exists():
        return {"suite": SUITE, "data": data, "rows": []}
    document = read_json(output, f"{output} is not of the suite {SUITE}")
    rows, earlier = document.get("rows"), document.get("data")
    if (
        document.get("suite") != SUITE
        or not isinstance(rows, list)
        or not isinstance(earlier, dict)
    ):
        raise InputError(f"{output} is not of the suite {SUITE}; give another --output.")
    for name in data.keys() & earlier.keys():
        if data[name]["digest"] != earlier[name].get("digest"):
            raise InputError(f"{output} has figures on other images of {name}; give another file.")
    document["data"] = {**earlier, **data}
    return document


def _weights(models: Sequence[str], sources: Sequence[str]) -> list[Weights]:
    """Returns the weights with their models; all files are looked at before anything is done."""
    if not sources and not models:
        raise InputError("Give models, weights or both.")
    if not sources:
        sources = [_released(name) for name in models]
    if len(models) == 1:
        models = [models[0]] * len(sources)
    if models and len(models) != len(sources):
        raise InputError(f"Give one model or {len(sources)}. Received: {len(models)}")
    names = models or [_published(source)[0] for source in sources]
    return [
        Weights(str(source), name, _digest(find_weights(source)))
        for source, name in zip(sources, names, strict=True)
    ]


def _released(name: str) -> str:
    files = get_spec(name).files
    found = next((file for file in files if file.startswith("hf://")), None)
    if found is None:
        raise InputError(f"{name} has no released weights on the hub; give its file as weights.")
    return found


def _published(source: str) -> tuple[str | None, Result | None]:
    """Returns model and result of weights that have the name that they are released with."""
    plain = source.partition("#")[0]
    names = {plain, pathlib.Path(plain).name}
    for model in list_models(pretrained=True):
        for result in get_spec(model).results:
            if names & {*result.files}:
                return model, result
    return None, None


def _digest(source: Source) -> str:
    """Returns what identifies weights, also those in shards."""
    files = [source.path]
    if source.path.name.endswith(_INDEX):
        shards = read_json(source.path, f"{source.name} is corrupt").get("weight_map", {})
        files += [source.path.parent / name for name in sorted(set(shards.values()))]
    digests = [*map(file_digest, files), source.part or "", str(source.without_distillation)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _row(rows: list[dict], weights: Weights) -> dict:
    """Returns the row of weights with the same contents, or a new one."""
    identity = {"digest": weights.digest, "asked": weights.model}
    for row in rows:
        if isinstance(row, dict) and {**row, **identity} == row:
            return row
    rows.append(identity)
    return identity


def _describe(row: dict, weights: Weights, model: Classifier, view: EvaluationView) -> None:
    """Adds what the weights are and what is published of them."""
    if model.num_classes != _CLASSES:
        raise InputError(f"{weights.source} has {model.num_classes} classes, not ImageNet's 1,000.")
    published = _published(weights.source)[1]
    is_named = published is not None
    if published is None and model.name in list_models():
        published = next(iter(get_spec(model.name).results), None)
    size = model.image_format.height, model.image_format.width
    row |= {
        "model": model.name,
        "weights": weights.source,
        "view": {
            "image_size": size,
            "crop_ratio": view.crop_ratio,
            "interpolation": view.interpolation,
        },
    }
    if published is None:
        return
    figures = {
        "val": {"top1": published.top1, "top5": published.top5},
        "real": {"top1": published.real},
        "v2": {"top1": published.v2},
    }
    row["published"] = {
        "training": published.training,
        # Other weights of the model may be those of another training.
        "is_assumed": not is_named,
        "sources": [s for s in (published.source, published.further_source) if s],
        **{
            name: {figure: round(value / 100, 6) for figure, value in values.items() if value}
            for name, values in figures.items()
        },
    }


def _figures(name: str, found, real: Sequence[frozenset[int]] | None) -> dict[str, dict]:
    """Returns the figures of a set and, with ReaL's labels, those of val by these."""
    logits = found.rows["scores"]["fused"]
    figures = {
        "images": len(found.labels),
        "images_per_second": round(found.images_per_second, 1),
        **classification_figures(found.labels, logits),
    }
    if real is None:
        return {name: figures}
    labels = [real[index] for index in found.indices]
    answers = np.argmax(logits, axis=1)
    hits = np.array([int(a) in each for a, each in zip(answers, labels, strict=True) if each])
    if not len(hits):
        raise InputError("ReaL has no label for any of the images.")
    by_real = {"images": len(hits), "top1": float(hits.mean())}
    return {name: figures, "real": {**by_real, "top1_interval": list(top1_interval(hits))}}


def _differences(row: dict) -> dict[str, dict[str, float]]:
    """Returns measured minus published, by set and figure."""
    published = row.get("published", {})
    return {
        name: {
            figure: round(row[name][figure] - value, 6) for figure, value in published[name].items()
        }
        for name in ("val", "real", "v2")
        if name in row and published.get(name)
    }


def _write(output: pathlib.Path, page: pathlib.Path, document: dict) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, document)
    with atomic_write(page) as partial:
        partial.write_text(imagenet_page(document), "utf-8")
