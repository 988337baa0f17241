"""Swin for small data sets, with SPT and LSA: SL-Swin.

"Vision Transformer for Small-Size Datasets" (Lee, Lee and Song, 2021);
github.com/aanna0701/SPT_LSA_ViT, models/swin.py.
"""

from collections.abc import Callable

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.layers import (
    PatchEmbedding,
    PatchMerging,
    PositionEmbedding,
    ShiftedPatchPooling,
    ShiftedPatchTokenization,
    SwinBlock,
)
from keras_deit.models.arguments import (
    check_classes,
    check_image_size,
    check_positive,
    check_rate,
    check_ratio,
)
from keras_deit.models.classifier import Classifier, classification_head
from keras_deit.models.registry import register_family
from keras_deit.models.small_data import weights


@register_family
class SmallDataSwin(Classifier):
    """Swin, as its authors train it from scratch on images of 32 and 64 pixels.

    The tokens of each stage attend to each other within windows, which every second block shifts by
    half a window. Between two stages every 2×2 tokens become one of twice the width. Positions are
    learned twice: absolute ones, which are added to the patches, and a bias for each head and
    relative position. Dense layers start as PyTorch's do, and stochastic depth grows from block to
    block.

    Args:
        image_size: side in pixels, or (height, width); every stage has a grid of whole windows, or
            one that is not larger than a window.
        patch_size: side of a patch in pixels; 2 or more with `spt`.
        embed_dim: width of the tokens of the first stage.
        depth: number of blocks of each stage.
        num_heads: number of heads of each stage.
        window_size: side of a window in tokens. A stage of fewer tokens is one window.
        mlp_ratio: hidden width of the MLPs divided by the width of the tokens.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of QKᵀ; None for 1/√(width of a head). With `lsa` its initial value.
        patch_norm: whether a norm follows the patch embedding; with `spt` none does.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 in the first.
        spt: whether shifted patch tokenization embeds the patches and merges them between stages
            (§3.1).
        lsa: whether the self-attention is locality self-attention (§3.2).
        num_classes: number of classes; 0 for no head: the output is then what it would take.
        dropout_rate: rate of the dropout after the positions, each attention and both layers of
            each MLP.
        attention_dropout_rate: rate of the dropout of attention probabilities.
        in_channels: number of channels of the images; 1 for gray images.

    Input: images (batch, height, width, in_channels), normalized as `image_format` says.
    Output: logits (batch, num_classes), float32.
    """

    weight_tables = weights.SWIN_TABLES
    # Constants of the authors' modules: the index into the relative positions, and the mask of
    # shifted windows.
    ignored_weights = (
        *Classifier.ignored_weights,
        r".*\.relative_position_index",
        r".*\.attn_mask",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 2,
        embed_dim: int = 96,
        depth: tuple[int, ...] = (2, 6, 4),
        num_heads: tuple[int, ...] = (3, 6, 12),
        window_size: int = 4,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        patch_norm: bool = True,
        drop_path_rate: float = 0.0,
        spt: bool = False,
        lsa: bool = False,
        num_classes: int = 10,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        in_channels: int = 3,
        **kwargs,
    ):
        stages = _checked_stages(depth, num_heads)
        check_positive(embed_dim=embed_dim, window_size=window_size, in_channels=in_channels)
        check_classes(num_classes)
        check_ratio(mlp_ratio=mlp_ratio)
        check_rate(
            drop_path_rate=drop_path_rate,
            dropout_rate=dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
        )
        check_positive(patch_size=patch_size)
        size = check_image_size(image_size, 1)
        _check_windows(size, patch_size, len(stages), window_size)
        inputs = keras.Input((*size, in_channels), name="image")
        if spt:
            embedding = ShiftedPatchTokenization(
                patch_size, embed_dim, "torch", name="patch_embedding"
            )
        else:
            embedding = PatchEmbedding(patch_size, embed_dim, name="patch_embedding")
        x, grid = embedding(inputs), embedding.patch_grid(inputs.shape)
        if patch_norm and not spt:
            x = keras.layers.LayerNormalization(epsilon=1e-5, name="patch_norm")(x)
        x = PositionEmbedding(grid, name="position_embedding")(x)
        if dropout_rate > 0:
            x = keras.layers.Dropout(dropout_rate, name="dropout")(x)
        drop_path = iter(np.linspace(0, drop_path_rate, sum(depth)))
        for stage, (blocks, heads) in enumerate(stages):
            if stage:
                merging = ShiftedPatchPooling if spt else PatchMerging
                width = embed_dim * 2**stage
                x = merging(width, grid, kernel_init="torch", name=f"merging_{stage - 1}")(x)
                grid = tuple(side // 2 for side in grid)
            for block in range(blocks):
                x = SwinBlock(
                    heads,
                    grid,
                    window_size,
                    shift=window_size // 2 * (block % 2),
                    qk_scale=qk_scale,
                    attention_dropout_rate=attention_dropout_rate,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    drop_path_rate=float(next(drop_path)),
                    dropout_rate=dropout_rate,
                    lsa=lsa,
                    norm_epsilon=1e-5,
                    kernel_init="torch",
                    name=f"stage_{stage}_block_{block}",
                )(x)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
        x = keras.layers.GlobalAveragePooling1D("channels_last", name="mean")(x)
        head = classification_head(num_classes, "class_head", "torch", x.shape[-1])
        super().__init__(inputs, {"class": head(x)}, **kwargs)

    def weight_names(self):
        return weights.of_model(self)

    @classmethod
    def describe_weights(cls, names):
        return weights.describe_swin(names)


def _checked_stages(depth, num_heads) -> list[tuple[int, int]]:
    """Returns the number of blocks and of heads of each stage.

    Raises:
        InputError: they are not the same number of whole numbers above 0.
    """
    for name, values in (("depth", depth), ("num_heads", num_heads)):
        if not isinstance(values, (tuple, list)) or not values:
            raise InputError(f"{name} should be a tuple with a number for each stage: {values!r}")
        for value in values:
            check_positive(**{name: value})
    if len(depth) != len(num_heads):
        raise InputError(
            f"depth {tuple(depth)} and num_heads {tuple(num_heads)} should have a number for each "
            "stage, so as many numbers as each other."
        )
    return list(zip(depth, num_heads, strict=True))


def _fits(side: int, patch_size: int, stages: int, window_size: int) -> bool:
    """Returns whether a side of an image has whole patches, an even number of them before each
    merging, and whole windows."""
    patches, rest = divmod(side, patch_size)
    if rest or not patches or patches % 2 ** (stages - 1):
        return False
    grids = (patches // 2**stage for stage in range(stages))
    return all(grid <= window_size or grid % window_size == 0 for grid in grids)


def _check_windows(size: tuple[int, int], patch_size: int, stages: int, window_size: int) -> None:
    """Checks that an image can be cut into patches and windows in every stage.

    Raises:
        InputError: it cannot; the message names the next sizes that can.
    """
    wrong = next((s for s in size if not _fits(s, patch_size, stages, window_size)), None)
    if wrong is None:
        return
    # A multiple of this fits.
    whole = patch_size * 2 ** (stages - 1) * window_size
    images = _next_to(wrong, whole, lambda s: _fits(s, patch_size, stages, window_size))
    windows = _next_to(
        window_size, max(size), lambda w: all(_fits(s, patch_size, stages, w) for s in size)
    )
    other = f", or window_size {windows}" if windows else ""
    raise InputError(
        f"image_size {wrong} does not fit patch_size {patch_size}, {stages} stages and "
        f"window_size {window_size}; image_size {images} does{other}."
    )


def _next_to(value: int, reach: int, fits: Callable[[int], bool]) -> str:
    """Returns the next smaller and the next larger number that fit, as words."""
    below = [number for number in range(1, value) if fits(number)][-1:]
    above = next(([n] for n in range(value + 1, value + reach + 1) if fits(n)), [])
    return " or ".join(map(str, below + above))
