"""The block of BinaryViT, and the layer between two of its stages."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.binary import (
    BinaryConv,
    BinaryUnit,
    RPReLU,
    exact_policy,
    shortcut,
    token_norm,
)
from keras_deit.layers.binary_attention import BinaryAttention
from keras_deit.layers.block import Block
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.mlp_blocks import Affine
from keras_deit.layers.residual import StochasticDepth
from keras_deit.layers.settings import CompositeLayer

# The initial factor of a main residual branch; that of a pooling branch is 0.
_BRANCH_SCALE = 0.1


def pooled(tokens, grid: tuple[int, int], size: tuple[int, int]):
    """Returns the means of a window around every token; zeros outside of the grid count, too."""
    width = tokens.shape[-1]
    rows, columns = (side // 2 for side in size)
    patches = ops.reshape(tokens, (-1, *grid, width))
    padded = ops.pad(patches, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    means = ops.average_pool(padded, size, 1, "valid", data_format="channels_last")
    return ops.reshape(means, (-1, math.prod(grid), width))


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryBlock(Block):
    """x + D(Affine(Unit(Attention(n)))) with n = Norm(x), then with n = Norm(x) of the result
    x + D(Affine(Unit(Unit(n)))) + Σ Affineₚ(Poolₚ(n)) (BinaryViT, §4).

    All products are of binary numbers, see `BinaryUnit` and `BinaryAttention`; D is stochastic
    depth. Each pooling averages n along the rows or along the columns. Affine is α⊙x + β, with
    α = 0.1 at first, and 0 for the poolings.

    Args:
        num_heads: number of heads of the self-attention.
        mlp_ratio: hidden width of the MLP divided by the width of the tokens, a whole number.
        grid: rows and columns of the tokens; needed for a reduction and for poolings.
        reduction: side of the squares of tokens that share a key and a value.
        pooling_sizes: lengths of the averaging windows, odd numbers; each is laid both ways.
        affine: whether the two main branches have an affine transformation.
        norm: the norms, "batch" or "layer".
        drop_path_rate: rate of the stochastic depth, which is drawn for each branch by itself.
        dropout_rate: rate of the dropout at the end of the two main branches.
        attention_dropout_rate: rate of the dropout of attention probabilities.

    Input and output: tokens (batch, length, width).

    Raises:
        InputError: the sizes do not fit each other.
    """

    supports_activation_checkpointing = True

    def __init__(
        self,
        num_heads: int,
        mlp_ratio: int = 4,
        grid: tuple[int, int] | None = None,
        reduction: int = 1,
        pooling_sizes: tuple[int, ...] = (3, 5),
        affine: bool = True,
        norm: str = "batch",
        drop_path_rate: float = 0.0,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.grid = None if grid is None else tuple(grid)
        self.reduction = reduction
        self.pooling_sizes = tuple(pooling_sizes)
        self.affine = affine
        self.norm = norm
        self.drop_path_rate = drop_path_rate
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate

    def build(self, input_shape):
        batch, length, width = input_shape
        if self.pooling_sizes and math.prod(self.grid or ()) != length:
            raise InputError(
                f"{self.name} pools and needs the grid of its {length} tokens. Received: "
                f"grid={self.grid}"
            )
        policy = exact_policy(self)
        hidden = self.mlp_ratio * width
        self.attention = BinaryAttention(
            self.num_heads,
            self.grid,
            self.reduction,
            self.norm,
            self.attention_dropout_rate,
            dtype=policy,
            name="attention",
        )
        self.projection = BinaryUnit(width, self.norm, dtype=policy, name="projection")
        self.expand = BinaryUnit(hidden, self.norm, dtype=policy, name="expand")
        self.contract = BinaryUnit(width, self.norm, dtype=policy, name="contract")
        self.norm1, self.norm2 = (token_norm(self.norm, policy, f"norm{n}") for n in (1, 2))
        self.affines = [
            Affine(_BRANCH_SCALE, dtype=policy, name=f"affine{n}") for n in (1, 2) if self.affine
        ]
        self.windows = [
            (f"affine_{axis}{size}", window)
            for size in self.pooling_sizes
            for axis, window in (("h", (size, 1)), ("w", (1, size)))
        ]
        self.pooling_affines = [Affine(0.0, dtype=policy, name=name) for name, _ in self.windows]
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy, name="dropout")
        self.drop_path1, self.drop_path2 = (
            StochasticDepth(self.drop_path_rate, dtype=policy, name=f"drop_path{n}") for n in (1, 2)
        )
        for layer in (
            *(self.norm1, self.attention, self.projection, self.norm2, self.expand),
            *(*self.affines, *self.pooling_affines),
        ):
            layer.build(input_shape)
        self.contract.build((batch, length, hidden))

    def call(self, tokens, training=False):
        return self.checkpointed(self._forward, tokens, training)

    def _forward(self, tokens):
        tokens = ops.cast(tokens, self.variable_dtype)
        tokens = tokens + self.drop_path1(self._attended(tokens))
        normed = self.norm2(tokens)
        tokens = tokens + self.drop_path2(self._mlp(normed))
        for branch in self._poolings(normed):
            tokens = tokens + branch
        return ops.cast(tokens, self.compute_dtype)

    def _attended(self, tokens):
        return self._scaled(self.projection(self.attention(self.norm1(tokens))), 0)

    def _mlp(self, normed):
        return self._scaled(self.contract(self.expand(normed)), 1)

    def _scaled(self, branch, index: int):
        branch = self.dropout(branch)
        return self.affines[index](branch) if self.affine else branch

    def _poolings(self, normed):
        return [
            affine(pooled(normed, self.grid, window))
            for affine, (_, window) in zip(self.pooling_affines, self.windows, strict=True)
        ]

    def residual_branches(self, tokens):
        """Returns what each branch adds, and the tokens that it is added to, by its name:
        "attention", "mlp", and "pooling" for all poolings together."""
        tokens = ops.cast(tokens, self.variable_dtype)
        attended = self._attended(tokens)
        after = tokens + attended
        normed = self.norm2(after)
        mlp = self._mlp(normed)
        found = {"attention": (attended, tokens), "mlp": (mlp, after)}
        if self.pooling_sizes:
            found["pooling"] = (sum(self._poolings(normed)), after + mlp)
        return found

    def attention_maps(self, tokens):
        """Returns the binary probabilities divided by their sum, or zeros if all are 0: (batch,
        heads, length, length), float32.

        With a reduction the tokens of a square share what goes to its key.
        """
        normed = self.norm1(ops.cast(tokens, self.variable_dtype))
        maps = self.attention.attention_probabilities(normed)
        if self.reduction > 1:
            maps = self.attention.spread(maps)
        return maps / ops.maximum(ops.sum(maps, axis=-1, keepdims=True), 1e-12)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, all in the dtype of the variables: by the attention
        and the units, and the inputs of norms and affine transformations."""
        hidden = (*input_shape[:-1], self.mlp_ratio * input_shape[-1])
        saved = self.contract.saved_activations(hidden, costs)
        for layer in (self.attention, self.projection, self.expand):
            saved += layer.saved_activations(input_shape, costs)
        others = 2 + len(self.affines) + len(self.pooling_affines)
        total = saved.computed + saved.float32 + others * math.prod(input_shape[1:])
        return SavedActivations(0, total, saved.largest)

    def model_parallel_axes(self):
        return (
            self.attention.model_parallel_axes()
            + self.projection.row_parallel()
            + self.expand.column_parallel()
            + self.contract.row_parallel()
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "grid": self.grid,
            "reduction": self.reduction,
            "pooling_sizes": self.pooling_sizes,
            "affine": self.affine,
            "norm": self.norm,
            "drop_path_rate": self.drop_path_rate,
            "dropout_rate": self.dropout_rate,
            "attention_dropout_rate": self.attention_dropout_rate,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class BinaryMerging(CompositeLayer):
    """Makes a quarter as many tokens between two stages of BinaryViT.

    RPReLU(Norm(BinaryConv(n)) + mean of 2×2 n) with n = Norm(x), where the mean is repeated if the
    output is wider. In full precision, as in BinaryViT*, Norm(Conv(n)): without the shortcut.

    Args:
        width: width of the tokens after it; with `binary` a multiple of that before.
        grid: rows and columns of the tokens before it, even numbers.
        binary: whether the convolution is binary.
        norm: the norms, "batch" or "layer".

    Input: tokens (batch, rows·columns, channels), row by row.
    Output: tokens (batch, rows/2 · columns/2, width).

    Raises:
        InputError: the sizes do not fit each other.
    """

    def __init__(
        self,
        width: int,
        grid: tuple[int, int],
        binary: bool = True,
        norm: str = "batch",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.width = width
        self.grid = tuple(grid)
        self.binary = binary
        self.norm_kind = norm

    def build(self, input_shape):
        batch, length, channels = input_shape
        rows, columns = self.grid
        if rows * columns != length or rows % 2 or columns % 2:
            raise InputError(
                f"{self.name} needs a grid of the {length} tokens with even sides. Received: "
                f"grid={self.grid}"
            )
        if self.binary and self.width % channels:
            raise InputError(
                f"{self.name} repeats its input: the width {self.width} should be a multiple of "
                f"{channels}."
            )
        policy = exact_policy(self)
        if self.binary:
            self.projection = BinaryConv(self.width, 2, dtype=policy, name="projection")
            self.activation = RPReLU(dtype=policy, name="activation")
        else:
            initial = dense_initializers("torch", 4 * channels)
            self.projection = keras.layers.Conv2D(
                self.width,
                kernel_size=2,
                strides=2,
                use_bias=False,
                kernel_initializer=initial["kernel_initializer"],
                data_format="channels_last",
                dtype=policy,
                name="projection",
            )
        self.norm0 = token_norm(self.norm_kind, policy, "norm0")
        self.norm = token_norm(self.norm_kind, policy, "norm")
        self.norm0.build(input_shape)
        self.projection.build((batch, *self.grid, channels))
        made = self.compute_output_shape(input_shape)
        self.norm.build(made)
        if self.binary:
            self.activation.build(made)

    def call(self, tokens):
        channels = tokens.shape[-1]
        normed = self.norm0(ops.cast(tokens, self.variable_dtype))
        patches = ops.reshape(normed, (-1, *self.grid, channels))
        merged = self.norm(self._sequence(self.projection(patches)))
        if self.binary:
            means = ops.average_pool(patches, 2, 2, "valid", data_format="channels_last")
            merged = self.activation(merged + shortcut(self._sequence(means), self.width))
        return ops.cast(merged, self.compute_dtype)

    def _sequence(self, patches):
        return ops.reshape(patches, (-1, math.prod(self.patch_grid()), patches.shape[-1]))

    def patch_grid(self, input_shape=None) -> tuple[int, int]:
        """Returns rows and columns of the tokens after it."""
        rows, columns = self.grid
        return rows // 2, columns // 2

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the inputs of the norms, the convolution and the activation, in the dtype of the
        variables."""
        before = math.prod(input_shape[1:])
        after = math.prod(self.compute_output_shape(input_shape)[1:])
        return SavedActivations(0, 2 * before + (1 + self.binary) * after, before)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(self.patch_grid()), self.width)

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "grid": self.grid,
            "binary": self.binary,
            "norm": self.norm_kind,
        }
