"""What the rest of the package asks of a model about its variables and what it costs."""

import keras

from keras_deit.core.errors import missing_method
from keras_deit.core.keras_internals import calls_before
from keras_deit.layers.activations import ActivationCosts, SavedActivations, model_activations
from keras_deit.layers.introspection import (
    SplitVariable,
    attention_layers,
    kernel_variable,
    model_macs,
    model_parallel_axes,
    no_weight_decay,
    position_tables,
)
from keras_deit.layers.positions import PositionTable


class Introspection:
    """The methods of a `Classifier` that answer from its layers.

    `keras_deit.layers.introspection` asks the layers; a subclass of `Classifier` overrides what it
    knows better.
    """

    def no_weight_decay(self) -> list[keras.Variable]:
        """Returns the variables without weight decay, besides biases and those of rank 1."""
        return [variable for layer in self.layers for variable in no_weight_decay(layer)]

    def layer_groups(self) -> list[tuple[keras.layers.Layer, int]]:
        """Returns the layers with the group that each belongs to in layer-wise decay.

        Group 0 is the patch embedding with tokens and positions, group i is block i and what leads
        to it, and the last group is the final norm with the heads (BEiT, §3.2). What counts is the
        number of blocks on the longest path from the images. A layer can answer otherwise by a
        method `layer_group(blocks_before)`.

        Raises:
            InputError: blocks are not layers of the model itself.
        """
        blocks = {id(block) for block in self.blocks}
        if not blocks <= {id(layer) for layer in self.layers}:
            raise missing_method(self, "layer_groups()", "layer_decay")
        before = calls_before(self, self.blocks)
        groups = []
        for layer in self.layers:
            group = before[id(layer)]
            if hasattr(layer, "layer_group"):
                group = layer.layer_group(group)
            elif group or id(layer) in blocks:
                group += 1
            groups.append((layer, group))
        top = max(group for _, group in groups)
        return [(layer, top if self._is_head(layer) else group) for layer, group in groups]

    def _is_head(self, layer: keras.layers.Layer) -> bool:
        return any(layer.output is logits for logits in self._heads.values())

    def attention_variables(self) -> list[keras.Variable]:
        """Returns the variables of the attention layers.

        They are trained with `trainable="attention"`, together with the class head and the
        positions ("Three things everyone should know about Vision Transformers" §4).

        Raises:
            InputError: a block has attention maps and no attention layer that is known.
        """
        variables = []
        for layer in self.layers:
            found = attention_layers(layer)
            if not found and hasattr(layer, "attention_maps"):
                method = "attention_probabilities(tokens) on its attention layer"
                raise missing_method(layer, method, "--trainable attention")
            variables += [variable for attention in found for variable in attention.weights]
        return variables

    def position_tables(self) -> list[PositionTable]:
        """Returns the variables whose shape depends on the image size, with their resize rule."""
        return [table for layer in self.layers for table in position_tables(layer)]

    def class_axes(self) -> list[tuple[keras.Variable, int]]:
        """Returns the variables that have an axis with one entry per class, with that axis.

        Raises:
            InputError: a head is not a dense layer and does not answer.
        """
        return [axis for layer in self.head_layers.values() for axis in _class_axes(layer)]

    def model_parallel_axes(self) -> list[SplitVariable]:
        """Returns the variables that are split when several devices share the model."""
        return [split for layer in self.layers for split in model_parallel_axes(layer)]

    def macs(self) -> int:
        """Returns the multiply-adds for one image, for `count_macs`."""
        return model_macs(self)

    def saved_activations(self, costs: ActivationCosts) -> SavedActivations:
        """Returns what a training step saves of one image, for `keras-deit plan`."""
        return model_activations(self, costs)


def _class_axes(head: keras.layers.Layer) -> list[tuple[keras.Variable, int]]:
    if hasattr(head, "class_axes"):
        return head.class_axes()
    if not isinstance(head, keras.layers.Dense):
        raise missing_method(head, "class_axes()", "the number of classes in a weight file")
    return [(kernel_variable(head), 1), *([] if head.bias is None else [(head.bias, 0)])]
