"""The 1,000 classes of ImageNet-1k, in their order."""

import functools
import importlib.resources


@functools.cache
def imagenet_class_names() -> tuple[str, ...]:
    """Returns the names of ImageNet's 1,000 classes (WordNet's lemmas), in their order."""
    return _lines("imagenet_classes.txt")


@functools.cache
def imagenet_synsets() -> tuple[str, ...]:
    """Returns the WordNet ids of ImageNet's 1,000 classes, such as n01440764, in their order."""
    return _lines("imagenet_synsets.txt")


def _lines(file: str) -> tuple[str, ...]:
    path = importlib.resources.files("keras_deit.models") / file
    return tuple(path.read_text("utf-8").splitlines())
