"""DINO's projection head, and the center of what the teacher's head answers."""

import keras
from keras import ops

from keras_deit.core.processes import mean_over_replicas, num_replicas_in_sync
from keras_deit.layers.dense import Dense

_EPSILON = 1e-12


class DinoHead(keras.layers.Layer):
    """Maps features to scores of prototypes (DINO, appendix C, "Projection head").

    An MLP of three layers with GELU ends in a bottleneck, whose outputs are normalized to length 1.
    The scores are their cosines with the prototypes: a linear layer without bias whose weights are
    normalized, with the length 1 as in the authors' `norm_last_layer`.

    Args:
        prototypes: number K of prototypes.
        hidden: width of the two hidden layers.
        bottleneck: width of the bottleneck.
        norm: whether the hidden layers have batch normalization before GELU, as in the authors'
            `use_bn_in_head`.

    Input: features (batch, width). Output: scores in [-1, 1], float32 (batch, prototypes).
    """

    def __init__(
        self,
        prototypes: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        norm: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.prototypes = prototypes
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        self._layers_in_order = []
        for number in (1, 2):
            activation = None if norm else "gelu"
            dense = Dense(hidden, activation, kernel_initializer=normal, name=f"hidden{number}")
            self._layers_in_order.append(dense)
            if norm:
                self._layers_in_order += _norm_and_gelu(number)
        dense = Dense(bottleneck, kernel_initializer=normal, name="bottleneck")
        self._layers_in_order.append(dense)

    def build(self, input_shape):
        shape = tuple(input_shape)
        for layer in self._layers_in_order:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        # Only the directions matter.
        self.kernel = self.add_weight(
            shape=(shape[-1], self.prototypes),
            initializer="random_normal",
            autocast=False,
            name="prototypes",
        )

    def call(self, features, frozen=False, training=False):
        """Computes the scores.

        Args:
            features: (batch, width).
            frozen: whether the prototypes get no gradient, a scalar bool.
            training: whether batch normalization takes the statistics of the batch.
        """
        x = features
        for layer in self._layers_in_order:
            x = layer(x, training=training)
        x = _normalized(ops.cast(x, "float32"), axis=-1)
        kernel = ops.cast(self.kernel, "float32")
        kernel = ops.where(frozen, ops.stop_gradient(kernel), kernel)
        return ops.matmul(x, _normalized(kernel, axis=0))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.prototypes)


class Center(keras.layers.Layer):
    """The moving average of the teacher's mean scores (DINO, §3.1, "Avoiding collapse").

    Once a step of the optimizer, center ← m·center + (1 − m)·mean, over all views of all images of
    the step: those of all replicas and of all its micro-batches.

    Args:
        prototypes: number K of scores.
        momentum: m, in [0, 1).
    """

    def __init__(self, prototypes: int, momentum: float = 0.9, **kwargs):
        super().__init__(**{"name": "center", "trainable": False, **kwargs})
        self.momentum = momentum
        values = {"initializer": "zeros", "dtype": "float32", "trainable": False, "autocast": False}
        self.value = self.add_weight(shape=(prototypes,), name="center", **values)
        self._sum = self.add_weight(shape=(prototypes,), name="sum", **values)
        self._count = self.add_weight(shape=(), name="count", **values)
        self.built = True

    def collect(self, scores) -> None:
        """Adds the scores of a micro-batch, (rows, prototypes), unless they are not finite."""
        mean = mean_over_replicas(ops.mean(ops.stop_gradient(scores), axis=0))
        finite = ops.all(ops.isfinite(mean))
        self._sum.assign(self._sum + ops.where(finite, mean, ops.zeros_like(mean)))
        self._count.assign(self._count + ops.cast(finite, "float32"))

    def update(self, changed) -> None:
        """Moves the center to the mean of what was collected.

        Args:
            changed: whether the optimizer changed the weights in this step, a scalar bool.
        """
        moves = ops.logical_and(changed, self._count > 0)
        mean = self._sum / ops.maximum(self._count, 1.0)
        step = (1 - self.momentum) * (mean - self.value)
        self.value.assign(self.value + ops.where(moves, step, ops.zeros_like(step)))
        kept = ops.where(changed, 0.0, 1.0)
        self._sum.assign(self._sum * kept)
        self._count.assign(self._count * kept)


def _norm_and_gelu(number: int) -> list[keras.layers.Layer]:
    """Returns the layers behind the dense layer of this number, with PyTorch's momentum.

    As in the authors' training, replicas share the statistics of a batch.
    """
    norm = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, synchronized=num_replicas_in_sync() > 1, name=f"norm{number}"
    )
    return [norm, keras.layers.Activation("gelu", name=f"gelu{number}")]


def _normalized(x, axis: int):
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=axis, keepdims=True) + _EPSILON)
