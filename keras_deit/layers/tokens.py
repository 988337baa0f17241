"""Learned tokens and positions, and the head of a model with one token per class."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import NOTHING, ActivationCosts, SavedActivations
from keras_deit.layers.initializers import dense_kernel, token_initializer
from keras_deit.layers.positions import AbsolutePositions, PositionTable


@keras.saving.register_keras_serializable(package="keras_deit")
class PrependToken(keras.layers.Layer):
    """Prepends learned tokens to a sequence: the class token or the distillation token.

    The name of the layer says which (DeiT §4 and figure 2).

    Args:
        count: number of tokens; more than one if each class has a token.
        weight_decay: whether a training decays the tokens. The authors' code excludes the class
            token from weight decay, but not the distillation token.
        initializer: initial values, as `token_initializer` takes them.

    Input: tokens (batch, length, width). Output: (batch, count + length, width).
    """

    def __init__(
        self,
        count: int = 1,
        weight_decay: bool = False,
        initializer: str = "normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.count = count
        self.weight_decay = weight_decay
        self.initializer = initializer

    def build(self, input_shape):
        # Rank 3, as in the published files.
        self.token = self.add_weight(
            shape=(1, self.count, input_shape[-1]),
            initializer=token_initializer(self.initializer),
            name="token",
        )

    def call(self, tokens):
        batch = ops.shape(tokens)[0]
        token = ops.broadcast_to(self.token, (batch, self.count, tokens.shape[-1]))
        return ops.concatenate([token, tokens], axis=1)

    def no_weight_decay(self):
        return [] if self.weight_decay else [self.token]

    def layer_group(self, blocks_before: int) -> int:
        """Returns 0: a token that comes in late, as in CaiT, is as far from the heads as the
        patches (timm's groups)."""
        return 0

    def macs(self, input_shape) -> int:
        """Returns 0: the learned tensor is in no matrix product."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns nothing."""
        return NOTHING

    def compute_output_shape(self, input_shape):
        batch, length, width = input_shape
        return (batch, self.count + length, width)

    def get_config(self):
        return {
            **super().get_config(),
            "count": self.count,
            "weight_decay": self.weight_decay,
            "initializer": self.initializer,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each position of a sequence (ViT §3.1).

    Args:
        grid: rows and columns of the patches, which are the last rows·columns tokens. Needed to
            resize the positions for another image size.
        initializer: initial values, as `token_initializer` takes them.
        rows: number of vectors, of which the tokens get the first ones; None for as many as there
            are tokens. Those of another number cannot be resized.

    Input and output: tokens (batch, length, width); the length is fixed when the layer is built.

    Raises:
        InputError: there are more tokens than `rows`.
    """

    def __init__(
        self,
        grid: tuple[int, int] | None = None,
        initializer: str = "normal",
        rows: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.grid = None if grid is None else tuple(grid)
        self.initializer = initializer
        self.rows = rows

    def build(self, input_shape):
        _, length, width = input_shape
        if self.rows is not None and self.rows < length:
            raise InputError(f"{self.rows} rows of positions are too few for {length} tokens.")
        self.positions = self.add_weight(
            shape=(1, self.rows or length, width),
            initializer=token_initializer(self.initializer),
            name="positions",
        )

    def call(self, tokens):
        if self.rows is None:
            return tokens + self.positions
        return tokens + self.positions[:, : tokens.shape[1]]

    def no_weight_decay(self):
        return [self.positions]

    def position_tables(self):
        if self.rows is not None:
            return [PositionTable(self.positions, None)]
        return [AbsolutePositions(self.positions, self.grid)]

    def macs(self, input_shape) -> int:
        """Returns 0: the learned tensor is in no matrix product."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns nothing."""
        return NOTHING

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "grid": self.grid,
            "initializer": self.initializer,
            "rows": self.rows,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class BatchPositions(keras.layers.Layer):
    """Adds a learned vector to all tokens of an image: that of its place in the batch.

    It is what the first public code of CViT does, whose weights compute nothing else with another
    layer. The output of an image depends on the batch that it is in.

    Args:
        rows: number of vectors, and so of images in the largest batch.
        initializer: initial values, as `token_initializer` takes them.

    Input and output: tokens (batch, length, width).

    Raises:
        InputError: a batch has more images than `rows`; inside of TensorFlow's graphs it is
            TensorFlow's own error.
    """

    def __init__(self, rows: int, initializer: str = "normal", **kwargs):
        super().__init__(**kwargs)
        self.rows = rows
        self.initializer = initializer

    def build(self, input_shape):
        self.positions = self.add_weight(
            shape=(self.rows, 1, input_shape[-1]),
            initializer=token_initializer(self.initializer),
            name="positions",
        )

    def call(self, tokens):
        batch = ops.shape(tokens)[0]
        if isinstance(batch, int) and batch > self.rows:
            raise InputError(
                f"{self.name} has positions for batches of at most {self.rows} images. "
                f"Received: a batch of {batch}"
            )
        return tokens + self.positions[:batch]

    def no_weight_decay(self):
        return [self.positions]

    def macs(self, input_shape) -> int:
        """Returns 0: the learned tensor is in no matrix product."""
        return 0

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns nothing."""
        return NOTHING

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rows": self.rows, "initializer": self.initializer}


@keras.saving.register_keras_serializable(package="keras_deit")
class PerClassHead(keras.layers.Layer):
    """Scores each class by its own token: logit k is ⟨kernel k, token k⟩ + bias k (PatchConvNet).

    Input: class tokens (batch, classes, width). Output: logits (batch, classes).
    """

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=input_shape[1:], initializer=dense_kernel(), name="kernel"
        )
        self.bias = self.add_weight(shape=(input_shape[1],), initializer="zeros", name="bias")

    def call(self, tokens):
        # A sum to which OpenVINO 2026.4 would add the bias gets it from the wrong class there.
        products = ops.matmul(tokens[:, :, None, :], self.kernel[:, :, None])
        return ops.squeeze(products, axis=(2, 3)) + self.bias

    def class_axes(self):
        return [(self.kernel, 0), (self.bias, 0)]

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return math.prod(input_shape[1:])

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the input."""
        return SavedActivations(math.prod(input_shape[1:]))

    def compute_output_shape(self, input_shape):
        return input_shape[:-1]
