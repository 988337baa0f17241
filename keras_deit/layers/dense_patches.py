"""The patch embedding of models whose authors wrote it as a dense layer."""

import math

import keras

from keras_deit.layers.activations import ActivationCosts, SavedActivations, traced_activations
from keras_deit.layers.dense import Dense
from keras_deit.layers.initializers import dense_initializers
from keras_deit.layers.settings import CompositeLayer
from keras_deit.layers.shifted_patches import flat_patches


@keras.saving.register_keras_serializable(package="keras_deit")
class DensePatchEmbedding(CompositeLayer):
    """Cuts an image into square patches and projects each, flattened, to a token.

    It computes what `PatchEmbedding` does. Its kernel is a matrix, as in the authors' files, and
    initial values that depend on the number of inputs and outputs are theirs, too.

    Args:
        patch_size: side of a patch in pixels.
        embed_dim: width of a token.
        kernel_init: initial values, as `dense_initializers` takes them.

    Input: images (batch, height, width, channels).
    Output: tokens (batch, height//patch_size · width//patch_size, embed_dim), row by row.
    """

    def __init__(self, patch_size: int, embed_dim: int, kernel_init: str = "normal", **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.kernel_init = kernel_init

    def build(self, input_shape):
        features = self.patch_size**2 * input_shape[-1]
        self.projection = Dense(
            self.embed_dim,
            **dense_initializers(self.kernel_init, features),
            dtype=self.dtype_policy,
            name="projection",
        )
        self.projection.build((*self.compute_output_shape(input_shape)[:2], features))

    def call(self, images):
        return self.projection(flat_patches(images, self.patch_size))

    def patch_grid(self, input_shape) -> tuple[int, int]:
        """Returns rows and columns of the patches."""
        _, height, width, _ = input_shape
        return height // self.patch_size, width // self.patch_size

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns the image."""
        return traced_activations(self, input_shape, costs)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], math.prod(self.patch_grid(input_shape)), self.embed_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "kernel_init": self.kernel_init,
        }
