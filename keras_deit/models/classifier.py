"""The base class of every model: a functional Keras classifier."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import keras
from keras import ops

from keras_deit.core.compilation import check_takes_logits, compile_as_saved, given_arguments
from keras_deit.core.errors import InputError, missing_method
from keras_deit.core.image_checks import ImageChecks, with_image_checks
from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat
from keras_deit.core.keras_internals import names_to_save, sublayers
from keras_deit.core.precision import precision
from keras_deit.layers import Block
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.introspection import attention_layers
from keras_deit.layers.settings import (
    LAYER_SETTINGS,
    apply_settings,
    layer_settings,
    remember_as_built,
)
from keras_deit.models.constructor import recording_arguments
from keras_deit.models.features import Features, forward_features
from keras_deit.models.introspection import Introspection
from keras_deit.models.of_block import OfBlock, norm
from keras_deit.models.weight_names import Table, count_known

# The layer that computes the mean of several heads.
FUSED_LOGITS = "logits"


class Classifier(ImageChecks, Introspection, keras.Model):
    """A functional Keras model with one or more heads: the base of every architecture.

    `model(images)` returns logits (batch, num_classes): those of the one head, or the mean of the
    heads' logits (the fusion of the published DeiT code). `model.heads` returns those of each.

    A subclass builds its layers in `__init__` and passes them on. Its constructor arguments are
    its configuration. `image_size` and `num_classes` are among them if images of another size or
    another number of classes should be possible, and `in_channels` for other images than color
    images.

    The methods and properties below are what the rest of the package asks of a model. They answer
    from the layers (see `keras_deit.layers.introspection`); a subclass overrides what it knows
    better.

    Args:
        inputs: the symbolic images.
        heads: symbolic logits by name, "class" first.

    Raises:
        InputError: there is no head "class".
    """

    # The names that weights of the family have in published files, by who publishes them.
    weight_tables: ClassVar[dict[str, Table]] = {}
    # Regular expressions of what published files hold besides the weights, and what can be ignored
    # if a model has no such weight. PyTorch counts the batches that a BatchNormalization has seen.
    ignored_weights: ClassVar[tuple[str, ...]] = (r".*\.num_batches_tracked",)
    # Regular expressions of what only the head of a published file takes: it is left out together
    # with that head if the model has none of it and another number of classes.
    head_weights: ClassVar[tuple[str, ...]] = ()
    # Regular expressions of constructor arguments that make no difference after training, so that a
    # model takes weights that were trained with other values.
    training_values: ClassVar[tuple[str, ...]] = (r".*drop.*",)
    _normalization = (IMAGENET_MEAN, IMAGENET_STD)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = recording_arguments(cls.__init__)

    def __init__(self, inputs, heads: dict, **kwargs):
        if "class" not in heads:
            names = ", ".join(heads) or "none"
            raise InputError(f"{type(self).__name__} should have a head 'class'. Received: {names}")
        logits = list(heads.values())
        if len(logits) == 1:
            outputs = logits[0]
        else:
            outputs = keras.layers.Average(dtype="float32", name=FUSED_LOGITS)(logits)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self._heads = heads
        remember_as_built(self)

    @property
    def heads(self) -> keras.Model:
        """A model that shares the weights: images to {"class": logits, "distillation": logits}.

        The second entry exists only if the model has a distillation token.
        """
        return self._part(dict(self._heads), f"{self.name}_heads")

    def _part(self, outputs, name: str) -> keras.Model:
        """Returns a model from the images to other outputs, which warns of images as this one."""
        return with_image_checks(keras.Model(self.input, outputs, name=name), self.expected_images)

    def __dir__(self):
        return names_to_save(super().__dir__(), left_out=("heads",))

    def compile(self, *args, **kwargs):
        """Configures a training, as `keras.Model.compile` does.

        Raises:
            InputError: a loss or metric would take the logits for probabilities.
        """
        given = given_arguments(keras.Model.compile, args, kwargs)
        names = ("loss", "metrics", "weighted_metrics")
        check_takes_logits(self.name, **{name: given.get(name) for name in names})
        super().compile(**given)

    def compile_from_config(self, config):
        compile_as_saved(self, config)

    @property
    def num_classes(self) -> int:
        """0 if the model has no heads and returns features instead of logits."""
        arguments = vars(self).get("_constructor_arguments", {})
        return self.output_shape[-1] if arguments.get("num_classes", 1) else 0

    @property
    def image_format(self) -> ImageFormat:
        """The images that this model takes; with ImageNet's mean and std unless it is told others,
        by its name, by `set_normalization` or by the configuration beside weights that are
        loaded."""
        height, width, channels = self.input_shape[1:]
        return ImageFormat(height, width, *self._normalization).with_channels(channels)

    def set_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Says how the images that the weights were trained on are normalized, see `ImageFormat`.

        Args:
            mean, std: of each channel, in units of [0, 1] pixels.
        """
        image_format = ImageFormat(*self.input_shape[1:3], mean, std)
        channels = self.input_shape[3]
        if len(image_format.mean) not in (3, channels):
            raise InputError(
                f"{self.name} takes images of {channels} channels. Received: mean={mean}, std={std}"
            )
        object.__setattr__(self, "_normalization", (image_format.mean, image_format.std))

    @property
    def blocks(self) -> list[keras.layers.Layer]:
        """The blocks, from the images to the heads.

        Raises:
            InputError: a block is inside of another layer, where it has no tensors of the model.
        """
        for layer in self.layers:
            if hidden := next(_blocks_in(layer), None):
                raise InputError(
                    f"{type(self).__name__} should call its blocks itself, one by one. "
                    f"Received: {hidden.name} inside of {layer.name}"
                )
        return [layer for layer in self.layers if isinstance(layer, Block)]

    @property
    def head_layers(self) -> dict[str, keras.layers.Layer]:
        """The layer that computes the logits of each head, by the name of the head.

        It is empty if `num_classes` is 0.

        Raises:
            InputError: logits do not come from a layer of the model with weights. A subclass can
                override the property and name the layers.
        """
        names = self._heads if self.num_classes else ()
        return {name: self._head_layer(name) for name in names}

    def _head_layer(self, name: str) -> keras.layers.Layer:
        for layer in self.layers:
            # A model in the model, such as a sequential one, has tensors of its own.
            is_simple = layer.weights and not isinstance(layer, keras.Model)
            if is_simple and layer.output is self._heads[name]:
                return layer
        raise InputError(
            f"{type(self).__name__} should override the property head_layers: the logits of its "
            f"head {name!r} do not come from one layer with weights."
        )

    def weight_names(self) -> dict[str, Table]:
        """Returns the names that the weights have in published files, by who publishes them.

        "authors" is the default; "timm" is there if timm's names differ.
        """
        return self.weight_tables

    @classmethod
    def describe_weights(cls, names: list[str]) -> str | None:
        """Returns what a published file with tensors of these names holds.

        None if it does not belong to this family. By default it does if most of the names are in
        `weight_tables`.
        """
        return cls.__name__ if 2 * count_known(cls.weight_tables, names) > len(names) else None

    def values_without_layer_scale(self) -> dict | None:
        """Returns the constructor arguments of the same model without LayerScale.

        None if there is no such model, and `fold_layer_scale` leaves the family as it is.
        """
        return None

    def explain_misfit(self, held: dict, wanted: dict) -> str | None:
        """Returns in one line why a file of the family does not fit this model.

        None, as by default, lets the error list the tensors that do not fit.

        Args:
            held, wanted: shapes by name of what the file holds, and of what it should.
        """
        return None

    def init_head_bias(self, bias: float) -> None:
        """Sets the kernel of every head to 0 and its bias to `bias`.

        AugReg starts at −log of the number of classes: a sigmoid loss then begins near that of a
        guess instead of far above it.

        Raises:
            InputError: a head has no kernel or no bias.
        """
        layers = self.head_layers.values()
        if any(getattr(x, name, None) is None for x in layers for name in ("kernel", "bias")):
            method = "init_head_bias(bias) for its head without kernel or bias"
            raise missing_method(self, method, "the head_bias of a recipe")
        for layer in layers:
            layer.kernel.assign(ops.zeros(layer.kernel.shape, layer.kernel.dtype))
            layer.bias.assign(ops.full(layer.bias.shape, bias, layer.bias.dtype))

    def feature_model(self) -> keras.Model:
        """Returns a model that shares the weights: images to the input of the class head."""
        head = self.head_layers.get("class")
        features = head.input if head else self._heads["class"]
        return self._part(features, "features")

    def patch_grid(self) -> tuple[int, int]:
        """Returns rows and columns of the patches, in a model of stages those of the last one.

        Raises:
            InputError: no layer has a method `patch_grid(input_shape)`; a subclass can override
                this one.
        """
        for layer in reversed(self.layers):
            if hasattr(layer, "patch_grid"):
                return layer.patch_grid(layer.input.shape)
        raise missing_method(self, "patch_grid()", "forward_features")

    def forward_features(self, images, intermediates: Sequence[int] = ()) -> Features:
        """Returns what the model makes of images before its heads.

        From symbolic images (`keras.Input`) it returns symbolic tensors, on which another head can
        be put: for segmentation, detection, retrieval.

        Args:
            images: (batch, height, width, channels), normalized as `image_format` says.
            intermediates: indices of `blocks` after which the patches are wanted, too; negative
                ones count from the end.

        Raises:
            InputError: there is no such block, or the grid of the patches is not known.
        """
        return forward_features(self, images, intermediates)

    def reset_classifier(self, num_classes: int) -> "Classifier":
        """Returns a model with new heads for another number of classes, and a copy of the other
        weights; this one does not change.

        Args:
            num_classes: 0 for no heads: the model then returns features.

        Raises:
            InputError: the family has no argument `num_classes`, or it is not 0 or more.
        """
        if "num_classes" not in self._constructor_arguments:
            raise InputError(f"{type(self).__name__} has no argument num_classes.")
        model = type(self).from_config({**self.get_config(), "num_classes": num_classes})
        new = {id(variable) for variable, _ in model.class_axes()}
        new |= {id(weight) for layer in model.head_layers.values() for weight in layer.weights}
        own = {variable.path: variable for variable in self.weights}
        for variable in model.weights:
            if id(variable) not in new:
                variable.assign(ops.copy(own[variable.path].value))
        return model

    def token_model(self) -> keras.Model:
        """Returns a model that shares the weights: images to the output of every block by name.

        Raises:
            InputError: the model has no blocks.
        """
        outputs = {block.name: block.output for block in self.blocks}
        if not outputs:
            raise InputError(f"token_model needs a model of blocks. Received: {self.name}")
        return self._part(outputs, "tokens")

    def attention_model(self) -> keras.Model:
        """Returns a model that shares the weights: images to attention maps by name of the block.

        A map has the shape (batch, heads, queries, keys), float32.

        Raises:
            InputError: no block has attention, or one that has it does not return its maps.
        """
        maps = {}
        for block in self.blocks:
            if hasattr(block, "attention_maps"):
                maps[block.name] = OfBlock(block, "attention_maps")(block.input)
            elif attention_layers(block):
                raise missing_method(block, "attention_maps(tokens)", "attention_model()")
        if not maps:
            raise missing_method(self, "attention_maps(tokens) on its blocks", "an attention map")
        return self._part(maps, "attention")

    def branch_model(self) -> keras.Model:
        """Returns a model that shares the weights: images to the norms of residual branches.

        By name of the block and of the branch, such as "attention" and "mlp", it has ‖f‖/‖x‖ of
        x + f: (batch,), float32, over all tokens and channels, in inference. f is what is added,
        LayerScale included.

        Raises:
            InputError: no block returns its residual branches.
        """
        norms = {}
        for block in self.blocks:
            if hasattr(block, "residual_branches"):
                branches = OfBlock(block, "residual_branches")(block.input)
                norms[block.name] = {
                    name: norm(branch) / norm(main) for name, (branch, main) in branches.items()
                }
        if not norms:
            raise missing_method(self, "residual_branches(tokens) on its blocks", "branch_model()")
        return self._part(norms, "branches")

    def get_config(self):
        is_usual = self._normalization == Classifier._normalization
        return {
            **self._constructor_arguments,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype_policy.name,
            **({} if is_usual else {"normalization": self._normalization}),
            **layer_settings(self),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        values = dict(config)
        settings = values.pop(LAYER_SETTINGS, {})
        normalization = values.pop("normalization", None)
        with precision(values.pop("dtype", None) or keras.config.dtype_policy()):
            model = cls(**values)
        if normalization is not None:
            model.set_normalization(*normalization)
        apply_settings(model, settings)
        return model


def _blocks_in(layer: keras.layers.Layer) -> Iterator[Block]:
    """Yields the blocks inside of a layer that is no block itself."""
    inner = () if isinstance(layer, Block) else sublayers(layer)
    for below in inner:
        yield from [below] if isinstance(below, Block) else _blocks_in(below)


def classification_head(
    num_classes: int, name: str, kernel_init: str = "normal", width: int = 0
) -> keras.layers.Layer:
    """Returns the linear layer from a token to logits; for 0 classes one that changes nothing.

    It computes in float32 under every dtype policy, because losses and fused logits need it.

    Args:
        num_classes: number of classes.
        name: name of the layer.
        kernel_init: initial values, as `dense_initializers` takes them.
        width: width of the token, which "torch" needs.
    """
    if num_classes == 0:
        return keras.layers.Identity(dtype="float32", name=name)
    initial = dense_initializers(kernel_init, width, may_skip=False)
    return Dense(num_classes, **initial, dtype="float32", name=name)
