"""An index of images by what a model makes of them, and the search in it."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence

import numpy as np

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import atomic_write, user_path
from keras_deit.core.names import printable
from keras_deit.data.folder_files import image_files
from keras_deit.evaluation.predictions import Predictor
from keras_deit.objectives.retrieval import SIGMA
from keras_deit.training import load_run
from keras_deit.training.checkpoints.state import fingerprint
from keras_deit.training.embedders import load_embedder
from keras_deit.version import __version__

# From so many images on the search is that of faiss, which is approximate.
FAISS_IMAGES = 100_000
FORMAT = 1
# Neighbors in the graph of faiss, and how many are looked at when it is built and searched.
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 32, 80, 256
# Of so many times the images that are wanted the exact cosine decides.
_CANDIDATES = 4
# Instead of size and time of a file that is not there.
_GONE = (-1, -1)


class Embedding:
    """A model that embeds images, with the projector of its run if there is one.

    Args:
        source, model, weights, batch_size: as for `Predictor`.

    Attributes:
        predictor: of the model.
        record: what identifies the model, as JSON values.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        model: str | None = None,
        weights: str = "final",
        batch_size: int = 32,
    ):
        self.predictor = Predictor(source, model, weights, batch_size=batch_size)
        self._embedder = None
        is_run = (
            not str(source).startswith("hf://") and (user_path(source) / "config.json").is_file()
        )
        if is_run:
            self._embedder = load_embedder(load_run(source), weights)
        parts = [self.predictor.model, *([self._embedder] if self._embedder else [])]
        here = os.path.exists(user_path(source)) if not str(source).startswith("hf://") else False
        self.record = {
            "source": os.path.abspath(user_path(source)) if here else str(source),
            "model": model,
            "weights": weights,
            "name": self.predictor.model.name,
            "digest": "-".join(fingerprint(part) for part in parts),
        }

    def iterate(self, images, on_error: Callable[[InputError], None] | None = None):
        """Yields names and embeddings, see `Predictor.iterate_embeddings`."""
        return self.predictor.iterate_embeddings(images, on_error, self._embedder)


@dataclasses.dataclass(frozen=True)
class Match:
    """An image that a search has found.

    Attributes:
        path: of its file.
        cosine: of its embedding with that of the query.
        state: "" if the file is what was indexed, else "changed" or "gone".
        label: its folder below the indexed one, which is its class; "" if it is in that itself.
    """

    path: str
    cosine: float
    state: str = ""
    label: str = ""


@dataclasses.dataclass(frozen=True)
class ImageIndex:
    """Images with their embeddings.

    Attributes:
        embeddings: of length 1, float32 (images, width).
        paths: of the files, relative to `folder`.
        states: size in bytes and time of the last change in nanoseconds of each file, int64
            (images, 2).
        folder: absolute path of the indexed folder.
        record: what identifies the model, see `Embedding`.
        graph: what faiss has made of the embeddings, uint8; empty for few images.
    """

    embeddings: np.ndarray
    paths: tuple[str, ...]
    states: np.ndarray
    folder: str
    record: dict
    graph: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the index as one file, atomically."""
        about = {
            "format": FORMAT,
            "version": __version__,
            "folder": self.folder,
            "record": self.record,
            "paths": self.paths,
        }
        arrays = {
            # Of names that are not UTF-8, JSON has the bytes as escapes.
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "embeddings": self.embeddings,
            "states": self.states,
            "graph": self.graph,
        }
        with atomic_write(user_path(path)) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)

    def check_model(self, embedding: Embedding, path: str | os.PathLike) -> None:
        """Checks that queries are embedded by the model of the index.

        Raises:
            InputError: they are not.
        """
        if embedding.record["digest"] != self.record["digest"]:
            raise InputError(
                f"{path} was made with other weights than those of {embedding.record['source']} "
                f"({self.record['name']} of {self.record['source']}, digest "
                f"{self.record['digest']}; here {embedding.record['name']}, "
                f"{embedding.record['digest']}): index the folder again."
            )

    def search(self, queries: np.ndarray, top_k: int = 10) -> list[list[Match]]:
        """Returns the most similar images for each query, the most similar one first.

        Exact for fewer than 100,000 images; above faiss finds the candidates, of which the exact
        cosine chooses.

        Args:
            queries: of length 1, float32 (queries, width).
            top_k: images for each; of fewer images all.

        Raises:
            InputError: `top_k` is below 1, or faiss is missing.
        """
        if top_k < 1:
            raise InputError(f"top_k should be 1 or more. Received: {top_k}")
        count = min(top_k, len(self))
        found = []
        for query, near in zip(queries, self._candidates(queries, count), strict=True):
            cosines = (self.embeddings if near is None else self.embeddings[near]) @ query
            order = np.argsort(-cosines, kind="stable")[:count]
            places = order if near is None else near[order]
            pairs = zip(places, cosines[order], strict=True)
            found.append([self._match(place, cosine) for place, cosine in pairs])
        return found

    def _candidates(self, queries: np.ndarray, count: int) -> list[np.ndarray | None]:
        """Returns the places of the images to compare each query with; None for all."""
        if not len(self.graph):
            return [None] * len(queries)
        faiss = import_faiss()
        graph = faiss.deserialize_index(self.graph)
        graph.hnsw.efSearch = max(_SEARCH_WIDTH, _CANDIDATES * count)
        _, near = graph.search(queries, min(_CANDIDATES * count, len(self)))
        # A place without a candidate is -1.
        return [np.sort(row[row >= 0]) for row in near]

    def _match(self, place: int, cosine: float) -> Match:
        path = os.path.join(self.folder, self.paths[place])
        now = _state(path)
        state = "gone" if now == _GONE else "changed"
        if now == tuple(self.states[place]):
            state = ""
        return Match(path, float(cosine), state, os.path.dirname(self.paths[place]))


def votes(matches: Sequence[Match], sigma: float = SIGMA) -> dict[str, float]:
    """Returns the share of each class in the votes of images that a search has found.

    Each votes for its class with the weight exp(cos / σ), as in "Grafit" (Touvron et al., 2021,
    §3.3). Images without a class do not vote.

    Args:
        matches: found for one query.
        sigma: temperature σ.

    Returns:
        The shares by class, the largest first; they sum to 1.
    """
    voting = [match for match in matches if match.label]
    highest = max((match.cosine for match in voting), default=0.0)
    sums: dict[str, float] = {}
    for match in voting:
        weight = math.exp((match.cosine - highest) / sigma)
        sums[match.label] = sums.get(match.label, 0.0) + weight
    total = sum(sums.values())
    return {label: sums[label] / total for label in sorted(sums, key=sums.get, reverse=True)}


def index_folder(
    folder: str | os.PathLike,
    embedding: Embedding,
    on_error: Callable[[InputError], None] | None = None,
) -> ImageIndex:
    """Embeds all images below a folder.

    Args:
        folder: whose images are indexed.
        embedding: what embeds them.
        on_error: called with the `InputError` of an image that cannot be read, which is then left
            out; None to raise it.

    Raises:
        InputError: there is no such folder, no image in it, or none that can be read; or there are
            so many that faiss is needed, and it is missing.
    """
    root = os.path.abspath(user_path(folder))
    if not os.path.isdir(root):
        raise InputError(f"No such folder: {str(folder)!r}. Give a folder with images.")
    files = image_files(root)
    if len(files) >= FAISS_IMAGES:
        import_faiss()
    # Before they are read, so that what changes meanwhile counts as changed.
    before = {path: _state(path) for path in files}
    paths, rows = [], []
    for names, embeddings in embedding.iterate(files, on_error):
        paths += names
        rows.append(embeddings)
    if not paths:
        raise InputError(f"None of the {len(files)} images in {printable(root)} can be read.")
    embeddings = np.concatenate(rows)
    return ImageIndex(
        embeddings,
        tuple(os.path.relpath(path, root) for path in paths),
        np.array([before[path] for path in paths], np.int64),
        root,
        embedding.record,
        _graph(embeddings),
    )


def load_index(path: str | os.PathLike) -> ImageIndex:
    """Reads an index.

    Raises:
        InputError: there is none, it is corrupt, or a newer version wrote it.
    """
    file = user_path(path)
    if not file.is_file():
        raise InputError(f"There is no index {file}; keras-deit index makes one.")
    with corrupt_as_input_error(f"{file} is no index of images, or corrupt"):
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            embeddings, states, graph = (arrays[n] for n in ("embeddings", "states", "graph"))
        version, record = about["format"], about["record"]
        paths = tuple(about["paths"])
        index = ImageIndex(embeddings, paths, states, about["folder"], record, graph)
        if len(embeddings) != len(paths) or states.shape != (len(paths), 2):
            raise ValueError("its parts have different lengths")
        _ = record["digest"], record["source"], record["name"]
    if version > FORMAT:
        raise InputError(f"{file} was written by a newer version of keras_deit; index again.")
    return index


def import_faiss():
    """Returns the module faiss.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            f"An index of {FAISS_IMAGES:,} images or more needs faiss: "
            "pip install 'keras-deit[search]'"
        ) from error
    return faiss


def _graph(embeddings: np.ndarray) -> np.ndarray:
    """Returns the graph by which faiss searches, as bytes (uint8); empty for few images."""
    if len(embeddings) < FAISS_IMAGES:
        return np.empty(0, np.uint8)
    faiss = import_faiss()
    graph = faiss.IndexHNSWFlat(embeddings.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _BUILD_WIDTH
    graph.add(np.ascontiguousarray(embeddings, np.float32))
    return faiss.serialize_index(graph)


def _state(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return _GONE
    return status.st_size, status.st_mtime_ns
