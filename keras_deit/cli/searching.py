"""The commands index and search: images that look alike to a model."""

import dataclasses
import os

import numpy as np

from keras_deit.cli.predicting import noting, source_options
from keras_deit.core.errors import InputError
from keras_deit.core.files import atomic_write, check_output_file, user_path
from keras_deit.core.names import printable
from keras_deit.evaluation.image_index import (
    FAISS_IMAGES,
    Embedding,
    index_folder,
    load_index,
    votes,
)
from keras_deit.evaluation.search_page import search_page
from keras_deit.recipes import Option

INDEX, PAGE = "images.index.npz", "search.html"
# Queries at a time, and classes with the most votes that are printed.
_BATCH_SIZE, _SHOWN_CLASSES = 8, 5


def index_options() -> list[Option]:
    return [
        *source_options(),
        Option("output", str, "File to write the index into.", default=INDEX),
        Option("overwrite", bool, "Whether to replace the output."),
        Option("batch_size", int, "Images at a time.", default=32, minimum=1),
    ]


def index(values: dict) -> None:
    """Embeds the images of a folder and writes an index of them."""
    folder, *others = values["folder"]
    if others:
        raise InputError(f"Give one folder of images. Received: {others[0]}, too")
    output = user_path(values["output"])
    if not output.name.endswith(".npz"):
        raise InputError(f"--output should end in .npz. Received: {str(output)!r}")
    check_output_file(output, values.get("overwrite", False))
    errors: list[InputError] = []
    embedding = _embedding(values, values["batch_size"])
    found = index_folder(folder, embedding, noting(errors))
    found.save(output)
    kind = "faiss" if len(found) >= FAISS_IMAGES else "exact search"
    print(
        f"{output}: {len(found):,} images of {printable(found.folder)}, "
        f"{found.embeddings.shape[1]} numbers each, {kind}."
    )
    if errors:
        print(f"Left out: {len(errors)} images that cannot be read.")
    flag = "" if output.name == INDEX and output.parent == user_path(".") else f" --index {output}"
    print(f"Search in it: keras-deit search photo.jpg{flag}")


def search_options() -> list[Option]:
    given = "; by default that of the index, from where it was"
    return [
        *(dataclasses.replace(o, help=o.help.rstrip(".") + given) for o in source_options()),
        Option("index", str, "Index that keras-deit index has written.", default=INDEX),
        Option("top_k", int, "Number of images for each query.", default=10, minimum=1),
        Option("vote", int, "Number of the nearest images that vote on the class.", minimum=1),
        Option("output", str, f"Page to write the images into; by default {PAGE}, replaced."),
        Option("overwrite", bool, "Whether to replace the output."),
    ]


def search(values: dict) -> None:
    """Prints the nearest images of an index for each image, and writes a page with them."""
    output = user_path(values.get("output", PAGE))
    check_output_file(output, values.get("overwrite", False) or "output" not in values)
    images = load_index(values["index"])
    top_k, voting = values["top_k"], values.get("vote", 0)
    if voting and not any(map(os.path.dirname, images.paths)):
        raise InputError(
            f"--vote needs an index of a folder with a folder for each class. {images.folder} has "
            "images only."
        )
    if {"run_dir", "model", "weights"} & values.keys():
        embedding = _embedding(values, _BATCH_SIZE)
    else:
        record = images.record
        source = record["source"], record.get("model"), record["weights"]
        embedding = Embedding(*source, batch_size=_BATCH_SIZE)
    images.check_model(embedding, values["index"])
    errors: list[InputError] = []
    queries, rows = [], []
    for names, embeddings in embedding.iterate(values["images"], noting(errors)):
        queries += names
        rows.append(embeddings)
    # Together, because faiss reads its graph for each search.
    found = images.search(np.concatenate(rows), max(top_k, voting)) if rows else []
    for query, matches in zip(queries, found, strict=True):
        print(printable(query))
        if voting:
            shares = list(votes(matches[:voting]).items())[:_SHOWN_CLASSES]
            print("  class: " + ", ".join(f"{printable(name)} {p:.3f}" for name, p in shares))
        for match in matches[:top_k]:
            state = f"  ({match.state} since it was indexed)" if match.state else ""
            print(f"  {match.cosine:.4f}  {printable(match.path)}{state}")
    if queries:
        turned = embedding.predictor.turns_upright
        shown = [matches[:top_k] for matches in found]
        with atomic_write(output) as partial:
            partial.write_text(search_page(images, queries, shown, turned), "utf-8")
        print(f"Written: {output}")
    if errors:
        raise InputError(f"{len(errors)} of the images could not be read.")


def _embedding(values: dict, batch_size: int) -> Embedding:
    run_dir, model, weights = (values.get(name) for name in ("run_dir", "model", "weights"))
    if run_dir is not None:
        if model is not None:
            raise InputError("Give --run_dir or --model, not both.")
        return Embedding(user_path(run_dir), None, weights or "final", batch_size)
    if model is None and weights is None:
        raise InputError("Give --run_dir, --model or --weights.")
    return Embedding(weights or model, model if weights else None, batch_size=batch_size)
