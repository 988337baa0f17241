"""The images of which a model is wrong and most sure, as pictures with what each head says."""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.names import printable
from keras_deit.data import Source
from keras_deit.evaluation.attention import BATCH, attention_maps, overlay
from keras_deit.evaluation.figures import probabilities
from keras_deit.evaluation.html_parts import data_address
from keras_deit.evaluation.predictions import Predictor

# The sides of the pictures in pixels: sharp on a phone, and 30 of them with attention stay small.
_SIDE = 160
# Images of so few pixels are shown as they are, pixel by pixel.
_SMALL = 64
_TOKENS = ("class", "distillation")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a head says about an image.

    Attributes:
        label: index of its most probable class.
        probability: that of this class.
        of_truth: probability of the right class.
    """

    label: int
    probability: float
    of_truth: float


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes:
        title: what it shows.
        address: data address with its content.
        small: whether its pixels should be seen.
    """

    title: str
    address: str
    small: bool = False


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image with a wrong answer.

    Attributes:
        index: position in its split.
        path: of its file, as text to show; empty if it has none.
        truth: index of its class.
        answers: by the name of the head, or "teacher".
        pictures: the image, and where the tokens look.
    """

    index: int
    path: str
    truth: int
    answers: dict[str, Answer]
    pictures: tuple[Picture, ...] = ()

    def as_json(self) -> dict:
        """Returns plain JSON values for `mistake_from`."""
        return dataclasses.asdict(self)


def mistake_from(values: dict) -> Mistake:
    """Returns what `Mistake.as_json` has made into JSON values."""
    answers = {row: Answer(**answer) for row, answer in values["answers"].items()}
    pictures = tuple(Picture(**picture) for picture in values["pictures"])
    return Mistake(**{**values, "answers": answers, "pictures": pictures})


def most_confident_mistakes(
    labels: np.ndarray, outputs: dict[str, np.ndarray], row: str, indices: np.ndarray, count: int
) -> list[Mistake]:
    """Returns the images of which a head is wrong, the one that it is most sure of first.

    Args:
        labels: class indices, integers (images,).
        outputs: logits or probabilities (images, classes) by head, and of the teacher.
        row: the head whose mistakes are meant.
        indices: positions of the images in their split, integers (images,).
        count: the most images to return.
    """
    sure = probabilities(outputs[row]).max(axis=1)
    wrong = np.flatnonzero(np.argmax(outputs[row], axis=1) != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    if not len(chosen):
        return []
    chances = {name: probabilities(values[chosen]) for name, values in outputs.items()}
    mistakes = []
    for place, index in enumerate(chosen):
        truth = int(labels[index])
        answers = {name: _answer(rows[place], truth) for name, rows in chances.items()}
        mistakes.append(Mistake(int(indices[index]), "", truth, answers))
    return mistakes


def with_pictures(
    mistakes: Iterable[Mistake], source: Source, predictor: Predictor
) -> list[Mistake]:
    """Returns mistakes with their pictures and paths; what cannot be read has none.

    Args:
        mistakes: images of a split.
        source: the examples of that split.
        predictor: of the model that makes the mistakes.
    """
    mistakes = list(mistakes)
    images = [_read(source, each.index) for each in mistakes]
    readable = [image for image in images if image is not None]
    maps = _maps(predictor, readable)
    place, result = 0, []
    for each, image in zip(mistakes, images, strict=True):
        pictures = ()
        if image is not None:
            own = {token: values[place] for token, values in maps.items()}
            pictures, place = tuple(_pictures(predictor, image, own)), place + 1
        path = _path(source, each.index)
        result.append(dataclasses.replace(each, path=path, pictures=pictures))
    return result


def _answer(chances: np.ndarray, truth: int) -> Answer:
    best = int(np.argmax(chances))
    return Answer(best, float(chances[best]), float(chances[truth]))


def _read(source: Source, index: int) -> np.ndarray | None:
    try:
        return source[index][0]
    except InputError:  # Gone or damaged since it was evaluated.
        return None


def _path(source: Source, index: int) -> str:
    paths = getattr(source, "paths", None)
    return "" if paths is None else printable(str(paths[index]))


def _maps(predictor: Predictor, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the attention of each token in its last block, the mean over the heads."""
    if not images:
        return {}
    inputs = np.stack([predictor.inputs(image) for image in images])
    # Batches of one size: JAX compiles each operation for every other one.
    padded = inputs[np.arange(BATCH * -(-len(inputs) // BATCH)) % len(inputs)]
    found = {}
    for token in _TOKENS:
        try:
            found[token] = attention_maps(predictor.model, padded, token).mean(axis=1)
        except InputError:  # The model has no such token, or no attention.
            continue
    return found


def _pictures(predictor: Predictor, image: np.ndarray, maps: dict[str, np.ndarray]):
    view = predictor.view(image)
    small = max(view.shape[:2]) <= _SMALL
    scale = _SIDE / max(view.shape[:2])
    size = [max(1, round(scale * side)) for side in view.shape[1::-1]]
    shown = cv2.resize(view, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    as_seen = data_address(view[..., ::-1], ".png") if small else _jpeg(shown)
    yield Picture("the image as the model sees it", as_seen, small)
    for token, values in maps.items():
        yield Picture(f"attention of the {token} token", _jpeg(overlay(shown, values)))


def _jpeg(pixels: np.ndarray) -> str:
    return data_address(pixels[..., ::-1], ".jpg")
