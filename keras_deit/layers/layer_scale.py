"""LayerScale."""

import keras


@keras.saving.register_keras_serializable(package="keras_deit")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel of a residual branch by a learned factor (CaiT §2.1).

    Args:
        initial_value: of every factor; small, and smaller the deeper the model.

    Input and output: (..., width).
    """

    def __init__(self, initial_value: float, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape):
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_value),
            name="gamma",
        )

    def call(self, inputs):
        return inputs * self.gamma

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial_value": self.initial_value}
