"""DeiT and distilled DeiT.

"Training data-efficient image transformers & distillation through attention" (Touvron et al.,
2021).
"""

import keras

from keras_deit.errors import InputError
from keras_deit.layers import PatchEmbedding, PositionEmbedding, PrependToken, TransformerBlock
from keras_deit.layers.initializers import dense_kernel
from keras_deit.models.classifier import Classifier, check_positive, patch_grid
from keras_deit.models.model_spec import ModelSpec


@keras.saving.register_keras_serializable(package="keras_deit")
class DeiT(Classifier):
    """The data-efficient image transformer, with or without a distillation token.

    The tokens are [class, (distillation,) patches], and positions are added to all of them
    (§4, figure 2). The distillation token has a head of its own.

    Args:
        image_size: side in pixels, or (height, width); multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        embed_dim: width of the tokens, a multiple of `num_heads`.
        depth: number of blocks.
        num_heads: of each self-attention.
        mlp_ratio: hidden width of the MLPs over `embed_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        drop_path_rate: of the last block; it grows linearly from 0 at the first.
        distilled: whether there is a distillation token with its head.
        num_classes: of each head.

    Input: images (batch, height, width, 3), normalised as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        distilled: bool = False,
        num_classes: int = 1000,
        **kwargs,
    ):
        height, width = patch_grid(image_size, patch_size)
        check_positive(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            num_classes=num_classes,
        )
        if embed_dim % num_heads:
            raise InputError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}.")
        inputs = keras.Input((height, width, 3), name="image")
        x = PatchEmbedding(patch_size, embed_dim, name="patch_embedding")(inputs)
        if distilled:
            x = PrependToken(name="distillation_token")(x)
        x = PrependToken(name="class_token")(x)
        x = PositionEmbedding(name="position_embedding")(x)
        for index in range(depth):
            x = TransformerBlock(
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate * index / max(depth - 1, 1),
                name=f"block_{index}",
            )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
        heads = {"class": _head(num_classes, "class_head")(x[:, 0])}
        if distilled:
            heads["distillation"] = _head(num_classes, "distillation_head")(x[:, 1])
        config = {
            "image_size": image_size,
            "patch_size": patch_size,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "qkv_bias": qkv_bias,
            "drop_path_rate": drop_path_rate,
            "distilled": distilled,
            "num_classes": num_classes,
        }
        super().__init__(inputs, heads, config, **kwargs)


def _head(num_classes: int, name: str) -> keras.layers.Dense:
    # float32 under any policy: losses and fused logits are made of these.
    return keras.layers.Dense(
        num_classes, kernel_initializer=dense_kernel(), dtype="float32", name=name
    )


_SOURCE = "github.com/facebookresearch/deit, README_deit.md"
_TINY = {"embed_dim": 192, "num_heads": 3}
_SMALL = {"embed_dim": 384, "num_heads": 6}
_BASE = {"embed_dim": 768, "num_heads": 12}

_ROWS = (
    # name, image size, width, parameters, top-1, top-5 of the released weights
    ("deit_tiny_patch16_224", 224, _TINY, 5_717_416, 72.202, 91.124),
    ("deit_small_patch16_224", 224, _SMALL, 22_050_664, 79.854, 94.968),
    ("deit_base_patch16_224", 224, _BASE, 86_567_656, 81.846, 95.594),
    ("deit_base_patch16_384", 384, _BASE, 86_859_496, 82.890, 96.222),
    ("deit_tiny_distilled_patch16_224", 224, _TINY, 5_910_800, 74.476, 91.920),
    ("deit_small_distilled_patch16_224", 224, _SMALL, 22_436_432, 81.164, 95.376),
    ("deit_base_distilled_patch16_224", 224, _BASE, 87_338_192, 83.372, 96.482),
    ("deit_base_distilled_patch16_384", 384, _BASE, 87_630_032, 85.224, 97.186),
)

DEIT_MODELS = tuple(
    ModelSpec(
        name=name,
        architecture=DeiT,
        config={
            "image_size": image_size,
            "patch_size": 16,
            "depth": 12,
            **width,
            "distilled": "_distilled_" in name,
        },
        parameters=parameters,
        top1=top1,
        top5=top5,
        crop_ratio=0.875,
        interpolation="bicubic",
        source=_SOURCE,
    )
    for name, image_size, width, parameters, top1, top5 in _ROWS
)
