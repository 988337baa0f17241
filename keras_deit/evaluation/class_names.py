"""Names of classes: ImageNet's, and which class of a model one of a dataset is."""

from collections import Counter
from collections.abc import Sequence

from keras_deit.core.errors import InputError
from keras_deit.models.imagenet import imagenet_class_names, imagenet_synsets

_IMAGENET_CLASSES = 1000


def default_class_names(count: int) -> tuple[str, ...]:
    """Returns ImageNet's names for 1,000 classes, and else the indices of the classes."""
    is_imagenet = count == _IMAGENET_CLASSES
    return imagenet_class_names() if is_imagenet else tuple(map(str, range(count)))


def model_classes(
    data_names: Sequence[str], model_names: Sequence[str] | None, count: int, data: str
) -> tuple[list[int], tuple[str, ...], str]:
    """Returns which class of a model each class of a dataset is.

    They are matched by name. Classes of ImageNet also have their WordNet id, each of the words of
    their name and their index as a name, in any capitals and with _ for a space. The classes of a
    model that has no names are those of data with as many classes, in their order.

    Args:
        data_names: the names of the classes of the data by index.
        model_names: those of the model; None if they are not known.
        count: the number of classes of the model.
        data: the name of the data, for an error.

    Returns:
        The index of the model's class by the index of the class of the data; the names of the
        model's classes; and a sentence if they were not matched by name.

    Raises:
        InputError: the model does not have a class of the data, or two classes of the data are one.
    """
    if model_names is None and count != _IMAGENET_CLASSES:
        if len(data_names) != count:
            raise InputError(
                f"{data} has {len(data_names)} classes and the model {count}, whose names are not "
                "known."
            )
        note = f"The classes of the model have no names; they are taken for those of {data}."
        return list(range(count)), tuple(data_names), note
    names = tuple(model_names or imagenet_class_names())
    known = {name: index for index, name in enumerate(names)}
    if model_names is None:
        known = {**_imagenet_index(), **known}
    found = [known.get(name, known.get(_plain(name))) for name in data_names]
    missing = [name for name, index in zip(data_names, found, strict=True) if index is None]
    if model_names is None and len(missing) == count:
        note = f"The classes of {data} are not named as ImageNet's; they are taken in their order."
        return list(range(count)), tuple(data_names), note
    if missing:
        raise InputError(
            f"The model does not have {len(missing)} of the classes of {data}: "
            f"{', '.join(missing[:10])}."
        )
    twice = [names[index] for index, times in Counter(found).items() if times > 1]
    if twice:
        raise InputError(f"Several classes of {data} are the model's {twice[0]!r}.")
    return found, names, ""


def _imagenet_index() -> dict[str, int]:
    """Returns the index of a class by all its names that no other class has."""
    found: dict[str, set[int]] = {}
    for index, (name, synset) in enumerate(
        zip(imagenet_class_names(), imagenet_synsets(), strict=True)
    ):
        for word in (synset, str(index), name, *name.split(", ")):
            found.setdefault(_plain(word), set()).add(index)
    return {word: min(indices) for word, indices in found.items() if len(indices) == 1}


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()
