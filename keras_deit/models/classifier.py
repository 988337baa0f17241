"""What every architecture has in common."""

import numbers

import keras

from keras_deit.errors import InputError
from keras_deit.layers import PositionEmbedding
from keras_deit.layers.initializers import dense_kernel
from keras_deit.models.image_format import IMAGENET_MEAN, IMAGENET_STD, ImageFormat
from keras_deit.models.precision import precision


class Classifier(keras.Model):
    """A functional Keras model with one or two heads: the base of every architecture.

    `model(images)` gives logits (batch, num_classes): those of the one head, or the mean of the
    two heads' logits (the fusion of the published DeiT code). `model.heads` gives each head's.

    Args:
        inputs: the symbolic images.
        heads: symbolic logits by name, "class" first.
        config: the constructor arguments of the architecture, for `get_config`.
    """

    def __init__(self, inputs, heads: dict, config: dict, **kwargs):
        logits = list(heads.values())
        if len(logits) == 1:
            outputs = logits[0]
        else:
            outputs = keras.layers.Average(dtype="float32", name="logits")(logits)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self._heads = heads
        self._config = config

    @property
    def heads(self) -> keras.Model:
        """A model over the same weights: images to {"class": logits, "distillation": logits}.

        The second entry is there only where the model has a distillation token.
        """
        return keras.Model(self.input, dict(self._heads), name=f"{self.name}_heads")

    def __dir__(self):
        # Keras saves whatever `dir` shows, and would walk through a new `heads` at every save.
        return [name for name in super().__dir__() if name != "heads"]

    @property
    def num_classes(self) -> int:
        return self.output_shape[-1]

    @property
    def image_format(self) -> ImageFormat:
        """The images this model takes. Every published model takes ImageNet's mean and std."""
        height, width = self.input_shape[1:3]
        return ImageFormat(height, width, IMAGENET_MEAN, IMAGENET_STD)

    @property
    def undecayed(self) -> list[keras.Variable]:
        """Variables that the authors spare from weight decay besides those of rank 1: the
        positions and the class token. The distillation token is not among them."""
        layers = [layer for layer in self.layers if isinstance(layer, PositionEmbedding)]
        layers += [layer for layer in self.layers if layer.name == "class_token"]
        return [variable for layer in layers for variable in layer.trainable_variables]

    def start_heads(self, bias: float) -> None:
        """Makes every head's logits `bias`, whatever the image: its kernel 0 and its bias `bias`.

        AugReg starts so, at −log of the number of classes: a loss of every class by itself then
        begins near the one of a guess, not far above it.
        """
        for layer in self.layers:
            if layer.name in ("class_head", "distillation_head"):
                layer.kernel.assign(keras.ops.zeros_like(layer.kernel))
                layer.bias.assign(keras.ops.full_like(layer.bias, bias))

    def get_config(self):
        return {
            **self._config,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        values = dict(config)
        with precision(values.pop("dtype", None) or keras.config.dtype_policy()):
            return cls(**values)


def class_head(num_classes: int, name: str) -> keras.layers.Dense:
    """The linear layer from a token to logits, in float32 under any policy: losses and fused
    logits are made of these."""
    return keras.layers.Dense(
        num_classes, kernel_initializer=dense_kernel(), dtype="float32", name=name
    )


def check_width(embed_dim: int, num_heads: int) -> None:
    """Makes sure that the heads share the width of the tokens evenly.

    Raises:
        InputError: they do not.
    """
    if embed_dim % num_heads:
        raise InputError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}.")


def check_rate(**rates: float) -> None:
    """Makes sure that a model's rates of dropping are ones, whatever its blocks make of them.

    Raises:
        InputError: one is not in [0, 1); it is named.
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise InputError(f"{name} should be in [0, 1). Received: {rate}")


def check_positive(**sizes: float) -> None:
    """Makes sure that sizes of a model are above 0, and whole numbers but for ratios.

    Raises:
        InputError: one is not; it is named.
    """
    for name, value in sizes.items():
        kind = numbers.Real if name.endswith("_ratio") else numbers.Integral
        if not isinstance(value, kind):
            expected = "number" if kind is numbers.Real else "whole number"
            raise InputError(f"{name} should be a {expected}. Received: {value!r}")
        if value <= 0:
            raise InputError(f"{name} should be above 0. Received: {value}")


def patch_grid(
    image_size: int | tuple[int, int], patch_size: int, patch_name: str = "patch_size"
) -> tuple[int, int]:
    """Height and width of an image, in pixels, checked against the patch size.

    Args:
        image_size: of both sides, or (height, width).
        patch_size: side of a patch.
        patch_name: what the user knows that as.

    Raises:
        InputError: a side is not a positive multiple of `patch_size`, or no whole number.
    """
    check_positive(patch_size=patch_size)
    sides = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size,) * 2
    if len(sides) != 2 or not all(isinstance(side, numbers.Integral) for side in sides):
        raise InputError(
            "image_size should be a side in pixels or (height, width), whole numbers. "
            f"Received: {image_size!r}"
        )
    if any(side < patch_size or side % patch_size for side in sides):
        shown = "×".join(map(str, sides if isinstance(image_size, (tuple, list)) else sides[:1]))
        lower = max(min(sides) // patch_size, 1) * patch_size
        raise InputError(
            f"image_size {shown} is not a multiple of {patch_name} {patch_size}; "
            f"{lower} and {lower + patch_size} are."
        )
    return sides
