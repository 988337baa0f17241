"""Attention that is padded where JAX refuses the gradient of the GPU's kernel."""

import numpy as np
import pytest
from keras import ops

from keras_deit.core.fused_attention import _attention_on_gpu


@pytest.mark.backends("jax")
@pytest.mark.parametrize("lengths", [(5, 5), (1, 5)])
def test_padding_changes_neither_value_nor_gradient(lengths):
    """The kernel of a GPU is left out; JAX's other implementation takes the same lengths."""
    import jax

    generator = np.random.default_rng(0)
    query, key, value = (
        generator.normal(size=(2, length, 3, 8)).astype("float32")
        for length in (lengths[0], lengths[1], lengths[1])
    )

    def loss(attention):
        return lambda *tensors: (attention(*tensors) ** 2).sum()

    padded = jax.jit(jax.value_and_grad(loss(_attention_on_gpu("xla")), (0, 1, 2)))
    plain = jax.jit(
        jax.value_and_grad(
            loss(lambda *tensors: ops.dot_product_attention(*tensors, scale=1.0)), (0, 1, 2)
        )
    )
    for actual, expected in zip(
        jax.tree.leaves(padded(query, key, value)),
        jax.tree.leaves(plain(query, key, value)),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
