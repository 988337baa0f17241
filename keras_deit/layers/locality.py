"""LSA: self-attention in which no token attends to itself.

"Vision Transformer for Small-Size Datasets" (Lee et al., 2021), §3.3.
"""

import keras
import numpy as np
from keras import ops

from keras_deit.layers.activations import ActivationCosts, SavedActivations
from keras_deit.layers.attention import MultiHeadSelfAttention

_LOWEST = float(np.finfo("float32").min)


def with_diagonal(logits, value: float = _LOWEST):
    """Returns attention logits whose diagonal is replaced.

    Args:
        logits: (..., length, length), float32.
        value: the value on the diagonal; by default the lowest one, which softmax makes 0.
    """
    return ops.where(np.eye(logits.shape[-1], dtype=bool), value, logits)


@keras.saving.register_keras_serializable(package="keras_deit")
class LocalitySelfAttention(MultiHeadSelfAttention):
    """LSA: self-attention with a learned temperature for each head, in which no token attends to
    itself ("Vision Transformer for Small-Size Datasets", Lee et al., 2021, §3.3).

    The learned factor multiplies QKᵀ, and the diagonal is then replaced by the lowest value of
    float32, in which the softmax is computed under every dtype policy. The class token does not
    attend to itself either. A token that is alone attends to itself.

    Args:
        initial_scale: initial factor; None for 1/√head_dim.

    The other arguments, input and output are those of `MultiHeadSelfAttention`.
    """

    def __init__(
        self,
        num_heads: int,
        qkv_bias: bool = True,
        head_dim: int | None = None,
        kernel_init: str = "normal",
        use_projection: bool = True,
        initial_scale: float | None = None,
        **kwargs,
    ):
        super().__init__(num_heads, qkv_bias, head_dim, kernel_init, use_projection, **kwargs)
        self.initial_scale = initial_scale

    def build(self, input_shape):
        super().build(input_shape)
        initial = self.initial_scale or self._head_dim**-0.5
        self.scale = self.add_weight(
            shape=(self.num_heads,),
            initializer=keras.initializers.Constant(initial),
            name="scale",
        )

    def attend(self, query, key, value):
        maps = ops.cast(self._probabilities(query, key), value.dtype)
        return ops.einsum("bhqk,bkhd->bqhd", maps, value)

    def attention_probabilities(self, tokens):
        """Returns the softmax output (batch, num_heads, length, length), float32."""
        query, key, _ = self._queries_keys_values(tokens)
        return self._probabilities(query, key)

    def _probabilities(self, query, key):
        # The query is scaled first because the product could overflow in float16.
        query = query * ops.cast(self.scale, query.dtype)[:, None]
        logits = ops.cast(ops.einsum("bqhd,bkhd->bhqk", query, key), "float32")
        return ops.softmax(with_diagonal(logits))

    def saved_activations(self, input_shape, costs: ActivationCosts) -> SavedActivations:
        """Returns what is saved of one image, without the input.

        Keras computes product, exponential and softmax as separate operations here.
        """
        maps = self.num_heads * input_shape[1] ** 2 / costs.shards
        return self._saved_tokens(input_shape, costs, 3, 2) + SavedActivations(0, 3 * maps, maps)

    def get_config(self):
        return {**super().get_config(), "initial_scale": self.initial_scale}
