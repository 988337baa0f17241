"""Makes the arguments of the functions that Keras compiles on JAX."""

import keras


def training_state(model: keras.Model) -> tuple[list, ...]:
    """Returns the state that a compiled model's `train_step` takes on JAX."""
    kinds = (
        *(model.trainable_variables, model.non_trainable_variables),
        *(model.optimizer.variables, model.metrics_variables),
    )
    return tuple([variable.value for variable in variables] for variables in kinds)
