"""Groups of variables: which are trained, which have weight decay, and their learning rates."""

from collections import defaultdict
from collections.abc import Iterable

import keras

from keras_deit.core.errors import InputError, missing_method, unknown_name
from keras_deit.layers.introspection import no_weight_decay
from keras_deit.models import Classifier
from keras_deit.optimizers.settings import TRAINABLE


def no_weight_decay_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns the trainable variables without weight decay.

    They are those of rank 1 or less (biases, norms, LayerScale), every bias, and those that the
    model or its layers list in `no_weight_decay()`, such as positions and the class token.
    """
    listed = {id(variable) for variable in no_weight_decay(model)}
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) <= 1 or variable.name == "bias" or id(variable) in listed
    ]


def learning_rate_factors(model: Classifier, layer_decay: float) -> dict[str, float]:
    """Returns the learning rate factor of each trainable variable under layer-wise decay, by path.

    The factor is `layer_decay` to the power of the number of blocks between a layer and the heads
    (BEiT, §3.2): with depth d, d + 1 for patch embedding, tokens and positions, d + 1 − i for
    block i, 0 for the final norm and the heads.

    Args:
        model: model of this package.
        layer_decay: factor between the learning rates of a block and of the block above it; 1 for
            the same learning rate everywhere.

    Raises:
        InputError: the model does not group its layers, has no blocks, or has two variables with
            the same path in different groups.
    """
    if not hasattr(model, "layer_groups"):
        raise missing_method(model, "layer_groups()", "layer_decay")
    groups = model.layer_groups()
    top = max(group for _, group in groups)
    if top == 0:
        raise InputError(f"layer_decay needs a model of blocks. Received: {model.name}")
    grouped = defaultdict(list)
    for layer, group in groups:
        grouped[group] += layer.trainable_variables
    return {
        path: layer_decay ** (top - group)
        for group, variables in grouped.items()
        for path in unique_paths(variables, model)
    }


def select_trainable(model: Classifier, which: str) -> None:
    """Makes some of a model's weights trainable and freezes the others.

    A file does not save which single weights are trainable. Call this at every start, before an
    optimizer is built.

    Args:
        model: model of this package.
        which: "all"; "attention" for the attention layers, the class head and the position
            embeddings ("Three things everyone should know about Vision Transformers" §4; as in the
            authors' script, norms and the distillation head stay frozen); "head" for the heads.

    Raises:
        InputError: there is no such choice, or the model has no attention or no heads.
    """
    if which not in TRAINABLE:
        raise unknown_name("choice of trainable weights", which, TRAINABLE)
    if which != "all" and not isinstance(model, Classifier):
        raise InputError(
            f"trainable {which!r} needs a keras_deit.Classifier. Received: {model.name}, a "
            f"{type(model).__name__}"
        )
    # On TensorFlow Keras ignores an assignment that changes nothing at the top level.
    model.trainable = False
    model.trainable = True
    if which == "all":
        return
    heads = model.head_layers
    if which == "head":
        chosen = [variable for head in heads.values() for variable in head.variables]
    else:
        attention = model.attention_variables()
        if not attention:
            method = "attention_probabilities(tokens) on its attention layers"
            raise missing_method(model, method, f"--trainable attention of {model.name}")
        positions = [table.variable for table in model.position_tables() if table.is_embedding]
        chosen = [*attention, *positions, *heads["class"].variables]
    ids = {id(variable) for variable in chosen}
    for variable in model.trainable_variables:
        variable.trainable = id(variable) in ids


def unique_paths(chosen: Iterable[keras.Variable], model: keras.Model) -> list[str]:
    """Returns the paths of some of a model's trainable variables.

    Raises:
        InputError: another trainable variable has the same path.
    """
    chosen = list(chosen)
    ids = {id(variable) for variable in chosen}
    others = {v.path for v in model.trainable_variables if id(v) not in ids}
    shared = sorted({variable.path for variable in chosen} & others)
    if shared:
        raise InputError(
            f"{model.name} has variables with the same path in different groups of the optimizer: "
            f"{', '.join(shared[:5])}. Give its layers different names."
        )
    return [variable.path for variable in chosen]
