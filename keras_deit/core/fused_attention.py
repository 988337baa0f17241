"""Attention through the fused kernel of the device."""

import functools

import keras
from keras import ops

from keras_deit.core.processes import has_accelerator


def dot_product_attention(query, key, value, scale: float = 1.0):
    """Returns softmax(scale·QKᵀ)·V, without attention maps where the device can.

    It is `keras.ops.dot_product_attention`, but for two cases. On a GPU JAX refuses the gradient of
    cuDNN's attention where a number of tokens is odd, as it is with a class token, and Keras then
    falls back to attention maps. There one token of padding makes the number even for the gradient,
    and the kernel is given the lengths without it. On PyTorch Keras copies its tensors before the
    kernel, which takes them as they are.

    Args:
        query: (batch, length, num_heads, head_dim).
        key: (batch, attended length, num_heads, head_dim).
        value: like `key`, or with narrower heads, as an attention has them that is pruned.
        scale: factor of the logits. It scales the query and not the product where the kernel does
            not do so itself, because the product could overflow in float16.
    """
    is_of_torch = keras.backend.backend() == "torch" and not isinstance(query, keras.KerasTensor)
    if is_of_torch and value.shape[-1] == query.shape[-1]:
        return _attention_of_torch(query, key, value, scale)
    if scale != 1.0:
        query = query * scale
    if value.shape[-1] < query.shape[-1]:
        return _attention_of_narrow_values(query, key, value)
    if _jax_refuses_gradient(query, key):
        return _attention_on_gpu("cudnn")(query, key, value)
    if keras.backend.backend() == "jax" and not has_accelerator():
        return _attention_of_matrices(query, key, value)
    return ops.dot_product_attention(query, key, value, scale=1.0)


def _attention_of_torch(query, key, value, scale: float):
    from torch.nn.functional import scaled_dot_product_attention

    query, key, value = (ops.transpose(tensor, (0, 2, 1, 3)) for tensor in (query, key, value))
    attended = scaled_dot_product_attention(query, key, value, scale=scale)
    return ops.transpose(attended, (0, 2, 1, 3))


def _attention_of_narrow_values(query, key, value):
    """Returns the same of values whose heads are narrower than those of the keys.

    Fused kernels take all heads of one width, so the values get zeros, which costs less than maps.
    On TensorFlow and JAX a CPU has no such kernel.
    """
    is_symbolic = isinstance(query, keras.KerasTensor)
    if not is_symbolic and (keras.backend.backend() == "torch" or has_accelerator()):
        missing = query.shape[-1] - value.shape[-1]
        padded = ops.pad(value, ((0, 0), (0, 0), (0, 0), (0, missing)))
        return dot_product_attention(query, key, padded)[..., : value.shape[-1]]
    return _attention_of_matrices(query, key, value)


def _attention_of_matrices(query, key, value):
    """Returns the same by products of the matrices of each head.

    For the CPU XLA compiles them to faster programs than JAX's products of tensors whose heads are
    behind their length: a layer of 198 tokens and three heads takes 0.7 of the time.
    """
    query, key, value = (ops.transpose(tensor, (0, 2, 1, 3)) for tensor in (query, key, value))
    key = ops.transpose(key, (0, 1, 3, 2))
    logits = ops.matmul(ops.cast(query, "float32"), ops.cast(key, "float32"))
    maps = ops.cast(ops.softmax(logits), value.dtype)
    return ops.transpose(ops.matmul(maps, value), (0, 2, 1, 3))


def _jax_refuses_gradient(query, key) -> bool:
    return (
        keras.backend.backend() == "jax"
        and not isinstance(query, keras.KerasTensor)
        and (query.shape[1] % 2 == 1 or key.shape[1] % 2 == 1)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 128
        and keras.backend.standardize_dtype(query.dtype) in ("bfloat16", "float16")
        and _gpu_has_fused_attention()
    )


@functools.cache
def _gpu_has_fused_attention() -> bool:
    """Returns whether JAX runs on a GPU that cuDNN's attention supports, Ampere or later."""
    import jax

    device = jax.local_devices()[0]
    return device.platform == "gpu" and float(getattr(device, "compute_capability", 0)) >= 8.0


@functools.cache
def _attention_on_gpu(implementation: str):
    """Returns JAX's attention as a function that pads the tokens only where it is differentiated.

    Args:
        implementation: "cudnn", or "xla", which runs everywhere.
    """
    import jax

    def padded(query, key, value):
        batch, length = query.shape[:2]
        attended = jax.nn.dot_product_attention(
            *(_with_even_length(tensor) for tensor in (query, key, value)),
            scale=1.0,
            query_seq_lengths=jax.numpy.full((batch,), length, "int32"),
            key_value_seq_lengths=jax.numpy.full((batch,), key.shape[1], "int32"),
            implementation=implementation,
        )
        return attended[:, :length]

    @jax.custom_vjp
    def attention(query, key, value):
        return jax.nn.dot_product_attention(
            query, key, value, scale=1.0, implementation=implementation
        )

    attention.defvjp(
        lambda *tensors: jax.vjp(padded, *tensors), lambda pullback, gradient: pullback(gradient)
    )
    return attention


def _with_even_length(tensor):
    return ops.pad(tensor, ((0, 0), (0, tensor.shape[1] % 2), (0, 0), (0, 0)))
