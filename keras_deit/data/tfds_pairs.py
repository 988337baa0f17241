"""Pairs of texts in two languages from TensorFlow Datasets, read without TensorFlow."""

from keras_deit.core.errors import InputError
from keras_deit.data.tfds_source import prepare, tfds_builder

_SPLITS = ("train", "validation", "test")


def load_tfds_pairs(
    name: str, languages: tuple[str, str] | None = None, data_dir: str | None = None
) -> dict[str, list[tuple[str, str]]]:
    """Loads the published splits of a translation dataset, and prepares it first if needed.

    Args:
        name: the name of the dataset with its configuration, "wmt14_translate/de-en".
        languages: those of the source and the target; None for those of the dataset, in its order.
        data_dir: the directory of the prepared data; None for TFDS's default.

    Returns:
        Pairs of source and target by split: "train", and "validation" and "test" if there are.

    Raises:
        InputError: the name is unknown, the data is not prepared and cannot be prepared, it is not
            for translation or not of these languages, or TFDS is not installed.
    """
    builder = tfds_builder(name, data_dir, ("names:en-de",))
    known = _languages(builder, name)
    source, target = languages or known
    if {source, target} != {*known}:
        raise InputError(
            f"{name!r} has the languages {' and '.join(known)}. Received: {source}-{target}"
        )
    prepare(builder, name)
    # Under `tfds.testing.mock_data` a builder knows no splits and accepts any name.
    splits = [split for split in _SPLITS if split in (builder.info.splits or _SPLITS)]
    return {split: _pairs(builder, split, source, target) for split in splits}


def _languages(builder, name: str) -> tuple[str, str]:
    import tensorflow_datasets as tfds

    features = builder.info.features
    if not isinstance(features, tfds.features.Translation) or len(features) != 2:
        raise InputError(
            f"Dataset {name!r} is not for translation: it should have texts in two languages, but "
            f"has {', '.join(sorted(features))}."
        )
    key = builder.info.supervised_keys
    return tuple(key[:2]) if key else tuple(features)


def _pairs(builder, split: str, source: str, target: str) -> list[tuple[str, str]]:
    examples = builder.as_data_source(split=split)
    return [(_text(each[source]), _text(each[target])) for each in examples]


def _text(value) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
