"""Models without LayerScale that compute the same."""

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers import MLP, FixupAttention, FixupMLP, LayerScale
from keras_deit.layers.channels import gated_kernel
from keras_deit.layers.settings import LAYER_SETTINGS, lora_parts, quantized_layers
from keras_deit.models.classifier import Classifier


def fold_layer_scale(model: Classifier) -> Classifier:
    """Returns a model whose LayerScale is a part of the dense layers before it; for inference.

    The function is the same, with two multiplications of all tokens fewer in each block
    (H. Touvron's thesis, §3.5). The scalars of ReZero, and those and the biases of Fixup, are
    folded likewise.

    Args:
        model: DeiT, DeiT III or CaiT; it does not change. A model without LayerScale is returned
            itself.

    Raises:
        InputError: the family cannot be without LayerScale, or layers are quantized or have LoRA.
    """
    if not _has_layer_scale(model):
        return model
    values = model.values_without_layer_scale()
    if values is None:
        raise InputError(f"{type(model).__name__} has no form without LayerScale.")
    if _is_adapted(model):
        raise InputError(f"{model.name} has quantized layers or LoRA: fold LayerScale before.")
    config = {key: v for key, v in model.get_config().items() if key != LAYER_SETTINGS}
    folded = type(model).from_config({**config, **values})
    own = {variable.path: variable for variable in model.weights}
    for variable in folded.weights:
        variable.assign(ops.copy(own[variable.path].value))
    for old, new in zip(_branches(model), _branches(folded), strict=True):
        _fold(old, new)
    return folded


def folds_layer_scale(model: Classifier) -> bool:
    """Returns whether `fold_layer_scale` takes a model and changes it."""
    has_form = model.values_without_layer_scale() is not None
    return has_form and _has_layer_scale(model) and not _is_adapted(model)


def _is_adapted(model: Classifier) -> bool:
    return bool(quantized_layers(model)) or any(True for _ in lora_parts(model))


def _branches(model: Classifier) -> list[list[keras.layers.Layer]]:
    """Returns the layers of the residual branches, one after the other."""
    blocks = (block for block in model.blocks if hasattr(block, "branch_layers"))
    return [branch for block in blocks for branch in block.branch_layers()]


def _has_layer_scale(model: Classifier) -> bool:
    return any(isinstance(layer, LayerScale) for branch in _branches(model) for layer in branch)


def _fold(branch: list, target: list) -> None:
    """Gives the dense layers of a branch without LayerScale what the other one multiplies by."""
    source, layer = branch[1], target[1]
    last = layer.projection if hasattr(layer, "projection") else layer.contract
    if isinstance(source, (FixupAttention, FixupMLP)):
        first = layer.expand if isinstance(source, FixupMLP) else layer.qkv
        before, *between, after = ops.unstack(source.scalar_biases.value)
        behind = layer.hidden_channels if isinstance(layer, MLP) else layer.output_channels
        read, attended = gated_kernel(first, layer.input_channels), gated_kernel(last, behind)
        first.bias.assign(first.bias + before * ops.sum(read, axis=0) + sum(between))
        last.bias.assign(last.bias + after * ops.sum(attended, axis=0))
    for scale in branch:
        if isinstance(scale, LayerScale):
            last.kernel.assign(last.kernel * scale.gamma)
            last.bias.assign(last.bias * scale.gamma)
