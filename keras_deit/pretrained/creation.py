"""Models by name, with weights."""

import pathlib

from keras_deit.layers.initializers import skip_init
from keras_deit.models import Classifier, build_model
from keras_deit.pretrained.loading import load_pretrained


def create_model(
    name: str,
    weights: str | pathlib.Path | None = None,
    num_classes: int | None = None,
    dtype: str | None = None,
    **overrides,
) -> Classifier:
    """Builds a model of this package.

    Args:
        name: one of `list_models()`.
        weights: to load: a file, the directory of a run or `hf://OWNER/NAME`, as for
            `load_pretrained`, or None.
        num_classes: number of classes of each head; None for the published number, mostly 1000. If
            the weights have another number, the heads are new.
        dtype: the dtype policy to build it under, such as "mixed_bfloat16"; by default Keras's.
        **overrides: any constructor argument of the model family instead of its published value:
            `image_size` (a side or (height, width)), `patch_size`, `embed_dim`, `depth`,
            `num_heads`, `mlp_ratio`, `drop_path_rate`, ...

    Returns:
        A functional Keras model: images (batch, height, width, 3), normalized as its
        `image_format` says, to logits (batch, num_classes).

    Raises:
        InputError: unknown name or value, sizes that do not fit together, or weights that cannot
            be loaded into the model.
    """
    if weights is None:
        return build_model(name, num_classes, dtype, **overrides)
    with skip_init():
        model = build_model(name, num_classes, dtype, **overrides)
    load_pretrained(model, weights)
    return model
