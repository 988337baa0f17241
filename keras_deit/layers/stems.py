"""Layers that turn images into patches."""

import math

import keras
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.gelu import gelu
from keras_deit.layers.initializers import conv_bias, conv_kernel, dense_initializers
from keras_deit.layers.introspection import layer_macs
from keras_deit.layers.settings import CompositeLayer

# The strides of the hMLP stem's convolutions, whose kernels are as large as their strides.
_HMLP_STRIDES = (4, 2, 2)
# The channels of the first convolution of the residual stem.
_STEM_WIDTH = 16


@keras.saving.register_keras_serializable(package="keras_deit")
class PatchEmbedding(CompositeLayer):
    """Cuts an image into patches and projects each to a token (ViT §3.1).

    Patches follow each other row by row. Pixels right of or below the last complete patch are
    ignored, as in a convolution without padding.

    Args:
        patch_size: side of a patch in pixels, or (height, width).
        embed_dim: width of a token.
        kernel_init: initial values, as `dense_initializers` takes them.

    Input: images (batch, height, width, channels).
    Output: tokens (batch, height//patch_size · width//patch_size, embed_dim).
    """

    def __init__(
        self,
        patch_size: int | tuple[int, int],
        embed_dim: int,
        kernel_init: str = "torch",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.kernel_init = kernel_init

    def build(self, input_shape):
        fan_in = math.prod(self._sides()) * input_shape[-1]
        self.projection = keras.layers.Conv2D(
            self.embed_dim,
            kernel_size=self.patch_size,
            strides=self.patch_size,
            **dense_initializers(self.kernel_init, fan_in),
            data_format="channels_last",
            dtype=self.dtype_policy,
            name="projection",
        )
        self.projection.build(input_shape)

    def call(self, images):
        if keras.backend.backend() == "jax":
            return self._product(images)
        grid = self.projection(images)
        return ops.reshape(grid, (-1, grid.shape[1] * grid.shape[2], self.embed_dim))

    def _product(self, images):
        """Returns the tokens by a matrix product, since XLA's convolution takes longer: on a CPU
        twice as long with its gradient, on a GPU a twentieth of the inference of DeiT-B."""
        (rows, columns), (height, width) = self.patch_grid(images.shape), self._sides()
        images = images[:, : rows * height, : columns * width]
        patches = ops.reshape(images, (-1, rows, height, columns, width, images.shape[-1]))
        patches = ops.transpose(patches, (0, 1, 3, 2, 4, 5))
        kernel = ops.reshape(self.projection.kernel, (-1, self.embed_dim))
        patches = ops.reshape(patches, (-1, rows * columns, kernel.shape[0]))
        return ops.matmul(patches, kernel) + self.projection.bias

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the patches."""
        _, height, width, _ = input_shape
        rows, columns = self._sides()
        return height // rows, width // columns

    def _sides(self) -> tuple[int, int]:
        is_pair = isinstance(self.patch_size, (tuple, list))
        return tuple(self.patch_size) if is_pair else (self.patch_size,) * 2

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return layer_macs(self.projection, input_shape)

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image."""
        return SavedActivations(math.prod(input_shape[1:]))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(self.patch_grid(input_shape)), self.embed_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "kernel_init": self.kernel_init,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class ConvStem(CompositeLayer):
    """Four 3×3 convolutions of stride 2 with exact GELU between them (PatchConvNet).

    They have `embed_dim`/8, /4, /2 and `embed_dim` channels and no bias. The padding is one pixel
    on every side, as in the published models; Keras's "same" pads two sides only.

    Args:
        embed_dim: width of a patch, a multiple of 8.

    Input: images (batch, height, width, channels).
    Output: a grid (batch, ⌈height/16⌉, ⌈width/16⌉, embed_dim).

    Raises:
        InputError: `embed_dim` is not a multiple of 8.
    """

    def __init__(self, embed_dim: int, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % 8:
            raise InputError(f"embed_dim {embed_dim} is not a multiple of 8.")
        self.embed_dim = embed_dim

    def build(self, input_shape):
        self.convolutions = []
        shape = input_shape
        for number, divisor in enumerate((8, 4, 2, 1), start=1):
            convolution = keras.layers.Conv2D(
                self.embed_dim // divisor,
                kernel_size=3,
                strides=2,
                use_bias=False,
                kernel_initializer=conv_kernel(),
                data_format="channels_last",
                dtype=self.dtype_policy,
                name=f"conv{number}",
            )
            convolution.build(_padded_shape(shape))
            shape = convolution.compute_output_shape(_padded_shape(shape))
            self.convolutions.append(convolution)

    def call(self, images):
        *first, last = self.convolutions
        grid = images
        for convolution in first:
            grid = gelu(convolution(_padded(grid)))
        return last(_padded(grid))

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the patches."""
        _, height, width, _ = input_shape
        return -(-height // 16), -(-width // 16)

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return sum(layer_macs(*step) for step in _steps(self.convolutions, input_shape, padding=1))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image and the GELUs."""
        made = _output_sizes(self.convolutions, input_shape, padding=1)
        gelus = (costs.gelu(size, sharded=False) for size in made[:-1])
        return sum(gelus, SavedActivations(math.prod(input_shape[1:])))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.patch_grid(input_shape), self.embed_dim)

    def get_config(self):
        return {**super().get_config(), "embed_dim": self.embed_dim}


@keras.saving.register_keras_serializable(package="keras_deit")
class HierarchicalMLPStem(CompositeLayer):
    """The hMLP stem: tokens of 16×16 pixels in three steps, from 4×4 pixels to a vector, then
    twice from 2×2 vectors to one ("Three things everyone should know about Vision Transformers"
    §5).

    Each step is a convolution without overlap and a batch normalization, with exact GELU after the
    first two. Patches do not see each other, except through the batch statistics in training,
    which are those of one replica's batch.

    Args:
        embed_dim: width of a token, a multiple of 4; the first two steps have a quarter of it.

    Input: images (batch, height, width, channels). Pixels right of or below the last complete
    patch are ignored.
    Output: tokens (batch, height//16 · width//16, embed_dim), row by row.

    Raises:
        InputError: `embed_dim` is not a multiple of 4.
    """

    def __init__(self, embed_dim: int, **kwargs):
        super().__init__(**kwargs)
        if embed_dim % 4:
            raise InputError(
                f"embed_dim should be a multiple of 4 for the hMLP stem. Received: {embed_dim}"
            )
        self.embed_dim = embed_dim

    def build(self, input_shape):
        shape = input_shape
        widths = (self.embed_dim // 4, self.embed_dim // 4, self.embed_dim)
        self.convs, self.norms = [], []
        for number, (stride, width) in enumerate(zip(_HMLP_STRIDES, widths, strict=True), start=1):
            conv = keras.layers.Conv2D(
                width,
                kernel_size=stride,
                strides=stride,
                kernel_initializer=conv_kernel(),
                bias_initializer=conv_bias(stride**2 * shape[-1]),
                data_format="channels_last",
                dtype=self.dtype_policy,
                name=f"conv{number}",
            )
            # PyTorch's defaults, which the authors keep; its momentum of 0.1 is 0.9 in Keras.
            norm = keras.layers.BatchNormalization(
                epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name=f"norm{number}"
            )
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            norm.build(shape)
            self.convs.append(conv)
            self.norms.append(norm)

    def call(self, images, training=False):
        grid = images
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if index > 0:
                grid = gelu(grid)
            grid = norm(conv(grid), training=training)
        return ops.reshape(grid, (-1, grid.shape[1] * grid.shape[2], self.embed_dim))

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the patches."""
        _, height, width, _ = input_shape
        return height // 16, width // 16

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return sum(layer_macs(*step) for step in _steps(self.convs, input_shape))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image, the norms and the GELUs."""
        made = _output_sizes(self.convs, input_shape)
        saved = [costs.norm(size) for size in made]
        saved += [costs.gelu(size, sharded=False) for size in made[:-1]]
        return sum(saved, SavedActivations(math.prod(input_shape[1:])))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(self.patch_grid(input_shape)), self.embed_dim)

    def get_config(self):
        return {**super().get_config(), "embed_dim": self.embed_dim}


@keras.saving.register_keras_serializable(package="keras_deit")
class ResidualConvStem(PatchEmbedding):
    """A small convolutional network in place of the patch projection, for little training data.

    A 3×3 convolution at full resolution, then for each halving of the image a 3×3 convolution of
    stride 2 and a residual block of two (He et al., 2016). Each convolution has batch normalization
    and ReLU. Convolutional stems make transformers learn faster and more stably ("Early
    Convolutions Help Transformers See Better", Xiao et al., 2021); the residual blocks are this
    package's: better on letters and digits, not on photographs, see docs/recipes.md.

    The first convolution has 16 channels, and each halving doubles them, up to `embed_dim`, which
    the last one always has.

    Args:
        patch_size: pixels of the image for each token along a side, a power of two above 1.
        embed_dim: width of a token.

    Input: images (batch, height, width, channels), with sides that are multiples of `patch_size`.
    Output: tokens (batch, height//patch_size · width//patch_size, embed_dim), row by row.

    Raises:
        InputError: `patch_size` is not a power of two above 1.
    """

    def __init__(self, patch_size: int, embed_dim: int, **kwargs):
        super().__init__(patch_size, embed_dim, **kwargs)
        if patch_size < 2 or patch_size & (patch_size - 1):
            raise InputError(
                "patch_size should be a power of two above 1 for the convolutional stem. "
                f"Received: {patch_size}"
            )

    def build(self, input_shape):
        shape, self.convs, self.norms = input_shape, [], []
        halvings = self.patch_size.bit_length() - 1
        widths = [min(2**i * _STEM_WIDTH, self.embed_dim) for i in range(halvings)]
        layout = [(widths[0], 1)]
        for width in [*widths[1:], self.embed_dim]:
            layout += [(width, 2), (width, 1), (width, 1)]
        for number, (width, stride) in enumerate(layout, start=1):
            conv = keras.layers.Conv2D(
                width,
                kernel_size=3,
                strides=stride,
                use_bias=False,
                kernel_initializer=conv_kernel(),
                data_format="channels_last",
                dtype=self.dtype_policy,
                name=f"conv{number}",
            )
            norm = keras.layers.BatchNormalization(
                axis=-1, epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name=f"norm{number}"
            )
            conv.build(_padded_shape(shape))
            shape = conv.compute_output_shape(_padded_shape(shape))
            norm.build(shape)
            self.convs.append(conv)
            self.norms.append(norm)

    def call(self, images, training=False):
        grid, shortcut = images, None
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            # After the first convolution each stage has three; the last two are a residual block.
            in_stage = (index - 1) % 3 if index else 0
            if in_stage == 1:
                shortcut = grid
            grid = norm(conv(_padded(grid)), training=training)
            grid = ops.relu(grid + shortcut if in_stage == 2 else grid)
        return ops.reshape(grid, (-1, grid.shape[1] * grid.shape[2], self.embed_dim))

    def macs(self, input_shape) -> int:
        """Returns the multiply-adds for one image."""
        return sum(layer_macs(*step) for step in _steps(self.convs, input_shape, padding=1))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image, the outputs of the ReLUs and the norms."""
        made = _output_sizes(self.convs, input_shape, padding=1)
        saved = [costs.norm(size) for size in made]
        return sum(saved, SavedActivations(math.prod(input_shape[1:]) + sum(made)))


def _padded(grid):
    return ops.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _padded_shape(shape, padding: int = 1):
    batch, height, width, channels = shape
    return (batch, height + 2 * padding, width + 2 * padding, channels)


def _steps(convolutions: list[keras.layers.Conv2D], input_shape, padding: int = 0):
    """Yields convolutions that follow each other, with the padded shapes of their inputs."""
    for convolution in convolutions:
        padded = _padded_shape(input_shape, padding)
        yield convolution, padded
        input_shape = convolution.compute_output_shape(padded)


def _output_sizes(convolutions, input_shape, padding: int = 0) -> list[int]:
    """Returns the size of what each convolution in a row computes of one image."""
    steps = _steps(convolutions, input_shape, padding)
    return [math.prod(layer.compute_output_shape(shape)[1:]) for layer, shape in steps]
