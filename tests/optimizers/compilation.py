"""Functions and steps compiled as Keras's training step compiles them, on every backend."""

import keras


def compiled(function):
    """Returns a function that is compiled with XLA if the backend has it."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return function


def compiled_step(optimizer, variables):
    """Returns a function that takes gradients and does one step of a built optimizer."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda gradients: optimizer.apply(gradients, variables))
    if backend == "torch":
        return lambda gradients: optimizer.apply(gradients, variables)
    pure = compiled(optimizer.stateless_apply)

    def step(gradients):
        state = [variable.value for variable in optimizer.variables]
        values, state = pure(state, gradients, [variable.value for variable in variables])
        changed = zip([*variables, *optimizer.variables], [*values, *state], strict=True)
        for variable, value in changed:
            variable.assign(value)

    return step
