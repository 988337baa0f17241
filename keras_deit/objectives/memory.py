"""The memory of the embeddings of all training images, and the neighborhood loss against it."""

import keras
from keras import ops

# Far below every cosine divided by a temperature, and finite in float32.
_NEVER = -1e9


class Memory(keras.layers.Layer):
    """One embedding and one label for each training image.

    An image is in the memory once it has been in a batch; until then it is nobody's neighbor. Its
    first embedding is stored as it is, and later ones are averaged with the stored one:
    m ← (m + g(x)) / 2, scaled to length 1 ("Grafit", Touvron et al. 2021, §3.1). All of it are
    variables that are not trained, so that they are a part of checkpoints. Under a `tf.distribute`
    strategy every replica has a copy, and on JAX every device of a data-parallel training.

    Args:
        num_images: number of training images N.
        dim: width of an embedding.
    """

    def __init__(self, num_images: int, dim: int, **kwargs):
        super().__init__(**{"name": "memory", "trainable": False, "dtype": "float32", **kwargs})
        values = {"initializer": "zeros", "trainable": False}
        self.embeddings = self.add_weight(shape=(num_images, dim), name="embeddings", **values)
        # 0 for an image that was not seen yet, and otherwise its label + 1.
        self.classes = self.add_weight(shape=(num_images,), dtype="int32", name="classes", **values)
        self.built = True

    def probabilities(self, embeddings, index, sigma: float):
        """Returns the probability of each image of the memory to be the neighbor of an image.

        It is ∝ exp(cos / σ), and 0 for the image itself and for images that were not seen yet.

        Args:
            embeddings: of length 1, (batch, dim).
            index: position of each image in the training split, integers (batch,).
            sigma: temperature σ.

        Returns:
            (batch, N), whose rows sum to 1.
        """
        return ops.exp(self._log_probabilities(embeddings, index, sigma))

    def losses(self, embeddings, labels, index, sigma: float):
        """Returns −log of the probability that the neighbor of an image has its label.

        Args:
            embeddings, index, sigma: as for `probabilities`.
            labels: integers (batch,).

        Returns:
            The losses (batch,), and 1.0 or 0.0 for each: 0 for an image whose label no other image
            of the memory has, and whose loss is 0 then.
        """
        chances = self._log_probabilities(embeddings, index, sigma)
        same = ops.expand_dims(ops.cast(labels, "int32"), 1) + 1 == self.classes
        same = ops.logical_and(same, ops.logical_not(self._own(index)))
        found = ops.logsumexp(ops.where(same, chances, _NEVER), axis=1)
        counted = ops.any(same, axis=1)
        return ops.where(counted, -found, 0.0), ops.cast(counted, "float32")

    def update(self, embeddings, labels, index) -> None:
        """Remembers the images of a batch; one with an embedding that is not finite is left out.

        Args:
            embeddings, labels, index: as for `losses`.
        """
        index, labels = ops.cast(index, "int32"), ops.cast(labels, "int32")
        # Two copies of an image, which a batch across epochs can have, leave the same behind.
        same = ops.cast(index[:, None] == index, "float32")
        finite = ops.all(ops.isfinite(embeddings), axis=1)
        embeddings = ops.where(finite[:, None], embeddings, 0.0)
        mean = ops.matmul(same, embeddings) / ops.sum(same, axis=1, keepdims=True)
        old, old_classes = ops.take(self.embeddings, index, axis=0), ops.take(self.classes, index)
        finite = ops.matmul(same, ops.cast(finite, "float32")[:, None]) == ops.sum(
            same, axis=1, keepdims=True
        )
        new = ops.where(finite, ops.normalize(old + mean, axis=-1), old)
        classes = ops.where(finite[:, 0], labels + 1, old_classes)
        places = index[:, None]
        self.embeddings.assign(ops.scatter_update(self.embeddings, places, new))
        self.classes.assign(ops.scatter_update(self.classes, places, classes))

    def _log_probabilities(self, embeddings, index, sigma: float):
        # A copy, because PyTorch's `update` changes what its gradient is computed with.
        kept = ops.copy(ops.stop_gradient(self.embeddings))
        logits = ops.matmul(embeddings, ops.transpose(kept)) / sigma
        left_out = ops.logical_or(self._own(index), self.classes == 0)
        return ops.log_softmax(ops.where(left_out, _NEVER, logits), axis=-1)

    def _own(self, index):
        """Returns where the image itself is in the memory, (batch, N)."""
        positions = ops.arange(self.classes.shape[0], dtype="int32")
        return ops.expand_dims(ops.cast(index, "int32"), 1) == positions
