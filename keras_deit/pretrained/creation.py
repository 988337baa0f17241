"""Models by name, with weights."""

import pathlib

from keras_deit.core.errors import InputError
from keras_deit.layers.initializers import skip_init
from keras_deit.models import Classifier, build_model, get_spec
from keras_deit.pretrained import hub
from keras_deit.pretrained.loading import load_pretrained


def create_model(
    name: str,
    weights: str | pathlib.Path | None = None,
    num_classes: int | None = None,
    dtype: str | None = None,
    pretrained: bool = False,
    **overrides,
) -> Classifier:
    """Builds a model of this package.

    Args:
        name: one of `list_models()`.
        weights: to load: a file, the directory of a run or `hf://OWNER/NAME`, as for
            `load_pretrained`, or None.
        num_classes: number of classes of each head; None for the published number, mostly 1000. If
            the weights have another number, the heads are new. 0 for no heads: the model returns
            features.
        dtype: the dtype policy to build it under, such as "mixed_bfloat16"; by default Keras's.
        pretrained: whether to load the weights that were released with the model: of its first
            training in `list_models(name, show=True)` that has a file on the hub, from there or
            from its cache.
        **overrides: any constructor argument of the model family instead of its published value:
            `image_size` (a side or (height, width)), `patch_size`, `embed_dim`, `depth`,
            `num_heads`, `mlp_ratio`, `drop_path_rate`, `in_channels`, ...; and `normalization`,
            mean and std of the images' channels by name, instead of those that come with the model:
            "imagenet", "half" for pixels in [−1, 1], "cifar10", "cifar100", "svhn" or
            "tiny_imagenet". Those beside the weights, if any, come first.

    Returns:
        A functional Keras model: images (batch, height, width, 3), normalized as its
        `image_format` says, to logits (batch, num_classes).

    Raises:
        InputError: unknown name or value, sizes that do not fit together, or weights that cannot
            be loaded into the model, or were not released or cannot be downloaded.
    """
    if pretrained:
        if weights is not None:
            raise InputError(f"Give weights or pretrained, not both. Received: {weights}")
        weights = _downloaded(name)
    if weights is None:
        return build_model(name, num_classes, dtype, **overrides)
    with skip_init():
        model = build_model(name, num_classes, dtype, **overrides)
    load_pretrained(model, weights)
    return model


def _downloaded(name: str) -> str:
    """Returns the source of released weights, which then is in the hub's cache."""
    files = get_spec(name).files
    source = next((file for file in files if file.startswith(hub.PREFIX)), None)
    if not files:
        raise InputError(f"{name} has no released weights.")
    by_hand = f"Fetch one of its files by hand and give weights=FILE: {', '.join(files)}."
    if source is None:
        raise InputError(f"{name} has no weights on the hub. {by_hand}")
    try:
        hub.download(source)
    except InputError as error:
        raise InputError(f"{error} {by_hand}") from error
    return source
