"""Blocks that compute their activations again instead of keeping them."""

import keras


class Rematerialised(keras.layers.Layer):
    """A block that keeps its input alone for the backward pass, if `rematerialise` is set.

    Everything between is computed once more there ("Training Deep Nets with Sublinear Memory
    Cost", Chen et al., 2016). That belongs to a training, not to the model: it is in no
    configuration. Whatever is random in the block is drawn before and handed in: Keras's seed
    generators would draw other numbers the second time.
    """

    rematerialise = False

    def through(self, function, tokens, training: bool):
        """`function(tokens)`, whose activations are kept or not; not kept only in training."""
        run = keras.remat(function) if self.rematerialise and training else function
        return run(tokens)
