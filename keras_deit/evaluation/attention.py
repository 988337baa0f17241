"""Attention maps: where a model looks."""

import math
import numbers
import pathlib

import cv2
import keras
import numpy as np

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.core.files import atomic_write
from keras_deit.evaluation.predictions import Predictor
from keras_deit.layers.positions import Grid
from keras_deit.models import Classifier
from keras_deit.models.features import stage_grid

KINDS = ("rollout", "last", "class", "distillation")
_TOKENS = {"class": 0, "distillation": 1}
# Maps of all blocks for so many images at a time.
BATCH = 16
# The least side of a picture in pixels.
_PICTURE_SIDE = 384
# The share of the image in an overlay that is not the color of the map.
_IMAGE_SHARE = 0.45


def attention_maps(
    model: Classifier, images, kind: str = "rollout", layer: int | None = None
) -> np.ndarray:
    """Returns how much each patch is attended to.

    Args:
        model: a model with attention.
        images: (batch, height, width, channels), normalized as `model.image_format` says.
        kind: "class" for the class token's attention in one block, "last" for that in the last
            block, "distillation" for that of the distillation token in one block. "rollout" for
            the attention of the class token through all blocks: the mean of the heads and the
            identity, multiplied from block to block (Abnar and Zuidema, "Quantifying Attention
            Flow in Transformers", 2020).
        layer: of "class" and "distillation", the index of the block in `model.blocks`, negative
            ones count from the end; None for the last.

    Returns:
        float32, in [0, 1]. Rollout: (batch, rows, columns). The others: (batch, heads, rows,
        columns), and (batch, classes, rows, columns) if each class has a token. The attention to
        all tokens sums to one; what goes to the class and distillation tokens is left out. In a
        model of stages a map has the grid of its block, and rollout that of the first one: a
        pooling there counts as the mean of the patches that a new one covers.

    Raises:
        InputError: there is no such kind or block, the model has no attention, or the token takes
            no part in the block.
    """
    if kind not in KINDS:
        raise unknown_name("kind of attention map", kind, KINDS)
    if kind in ("rollout", "last") and layer is not None:
        raise InputError(f"layer is for the kinds class and distillation. Received: {kind}")
    if kind == "rollout":
        blocks = _blocks_with_maps(model)
        maps = in_batches(model.attention_model(), images, lambda found: _rollout(model, found))
    else:
        token = "class" if kind == "last" else kind
        blocks = [_block_with_token(model, token, -1 if layer is None else layer)]
        single = keras.Model(model.input, model.attention_model().output[blocks[0].name])
        patches = math.prod(_grid(model, blocks[0]))
        maps = in_batches(single, images, lambda found: _of_token(model, found, token, patches))
    return maps.reshape(*maps.shape[:-1], *_grid(model, blocks[0]))


def saliency(model: Classifier, images) -> np.ndarray:
    """Returns where a model looks, in the size of the images (H. Touvron's thesis, §3.7.2.5).

    It is the mean over the heads of the class token's attention, resized and scaled to [0, 1]: of
    the first block of class attention (CaiT), of the pooling (PatchConvNet), or of the last block.

    Args:
        model: a model with attention.
        images: (batch, height, width, channels), normalized as `model.image_format` says.

    Returns:
        float32 (batch, height, width).

    Raises:
        InputError: the model has no attention from a class token.
    """
    with_token, maps = _blocks_with(model, "class"), model.attention_model().output
    # The first block of class attention sees the object, the next one its context.
    of_classes = [
        index
        for index, block in enumerate(model.blocks)
        if index in with_token and maps[block.name].shape[2] < block.input.shape[1]
    ]
    first = of_classes[0] if of_classes else -1
    maps = attention_maps(model, images, "class", first).mean(axis=1)
    height, width = model.input_shape[1:3]
    resized = [cv2.resize(m, (width, height), interpolation=cv2.INTER_CUBIC) for m in maps]
    return np.stack([_scaled(each) for each in resized])


def overlay(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns a gray image whose color says where a map is large (cividis: blue to yellow).

    Args:
        pixels: uint8 RGB (height, width, 3).
        values: a map in [0, 1] of any size.

    Returns:
        uint8 RGB (height, width, 3).
    """
    height, width = pixels.shape[:2]
    scaled = _scaled(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC))
    levels = np.round(255 * scaled).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS)[..., ::-1].astype(np.float32)
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    mixed = _IMAGE_SHARE * gray + (1 - _IMAGE_SHARE) * colors * (0.3 + 0.7 * gray / 255)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def attention_picture(
    predictor: Predictor, image, kind: str = "rollout", layer: int | None = None
) -> np.ndarray:
    """Returns an image beside itself under its attention map, the mean over the heads.

    Args:
        predictor: the predictor.
        image: one image, as `Predictor` takes it.
        kind, layer: as for `attention_maps`.

    Returns:
        uint8 RGB (height, 2·width, 3), with sides of at least 384 pixels each.

    Raises:
        InputError: what `attention_maps` raises, or the image cannot be read.
    """
    model = predictor.model
    maps = attention_maps(model, predictor.inputs(image)[None], kind, layer)[0]
    scale = -(-_PICTURE_SIDE // min(model.input_shape[1:3]))
    pixels = predictor.view(image, scale)
    mean = maps.reshape(-1, *maps.shape[-2:]).mean(axis=0)
    return np.concatenate([pixels, overlay(pixels, mean)], axis=1)


def write_picture(path: pathlib.Path, pixels: np.ndarray) -> None:
    """Writes a PNG file atomically.

    Args:
        path: its path.
        pixels: uint8 RGB (height, width, 3).
    """
    with atomic_write(path) as partial:
        partial.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def _scaled(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def checked_images(images) -> np.ndarray:
    """Returns images of any backend as an array.

    Raises:
        InputError: they have another rank, or there are none.
    """
    images = keras.ops.convert_to_numpy(images)
    if images.ndim != 4 or not len(images):
        raise InputError(f"Images are (batch, height, width, channels). Received: {images.shape}")
    return images


def in_batches(model: keras.Model, images, function) -> np.ndarray:
    """Returns a function of the outputs of a model, for all images, float32.

    Args:
        model: maps images to any structure of tensors.
        images: (batch, height, width, channels).
        function: from that structure, of NumPy arrays, to an array whose first axis is the batch.

    Raises:
        InputError: the images have another rank, or there are none.
    """
    images = checked_images(images)
    results = []
    for start in range(0, len(images), BATCH):
        found = model(images[start : start + BATCH], training=False)
        results.append(function(keras.tree.map_structure(keras.ops.convert_to_numpy, found)))
    return np.concatenate(results).astype("float32")


def _blocks_with_maps(model: Classifier) -> list[keras.layers.Layer]:
    maps = model.attention_model().output
    return [block for block in model.blocks if block.name in maps]


def _grid(model: Classifier, block: keras.layers.Layer) -> Grid:
    return stage_grid(model, block.input, "an attention map")


def _blocks_with(model: Classifier, token: str) -> list[int]:
    """Returns the indices of the blocks with attention from a token."""
    if token not in model.heads.output:
        return []
    return [
        model.blocks.index(block)
        for block in _blocks_with_maps(model)
        if block.input.shape[1] > math.prod(_grid(model, block))
    ]


def _block_with_token(model: Classifier, token: str, layer: int) -> keras.layers.Layer:
    blocks, found = model.blocks, _blocks_with(model, token)
    if not found:
        raise InputError(f"{model.name} has no attention from a {token} token.")
    is_index = isinstance(layer, numbers.Integral) and -len(blocks) <= layer < len(blocks)
    if not is_index or layer % len(blocks) not in found:
        raise InputError(
            f"{model.name} has attention from a {token} token in its blocks "
            f"{', '.join(map(str, found))}. Received: layer={layer}"
        )
    return blocks[layer]


def _of_token(model: Classifier, maps: np.ndarray, token: str, patches: int) -> np.ndarray:
    """Returns the rows of a token, without the columns of tokens: (batch, heads, patches)."""
    of_patches = maps[..., -patches:]
    if maps.shape[2] == model.num_classes and _has_token_per_class(model):
        return of_patches.mean(axis=1)
    return of_patches[:, :, _TOKENS[token]]


def _has_token_per_class(model: Classifier) -> bool:
    """Whether the class head takes a token for each class."""
    return len(model.feature_model().output.shape) == 3


def _rollout(model: Classifier, maps: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the attention of the class token through all blocks: (batch, first patches).

    Without a class token it is the mean over the patches; with one for each class, over these.
    """
    blocks = _blocks_with_maps(model)
    grids = [_grid(model, block) for block in blocks]
    flow, before = None, grids[0]
    for block, grid in zip(blocks, grids, strict=True):
        length = block.input.shape[1]
        attended = _mixed_with_identity(maps[block.name].mean(axis=1).astype("float64"), length)
        if flow is None:
            flow = attended
        else:
            flow = attended @ _with_new_tokens(_pooled(flow, before, grid), length)
        before = grid
    tokens = flow.shape[1] - math.prod(before)
    is_per_class = _has_token_per_class(model)
    queries = flow[:, :tokens] if is_per_class else flow[:, :1] if tokens else flow
    return queries[..., -math.prod(grids[0]) :].mean(axis=1)


def _mixed_with_identity(attention: np.ndarray, length: int) -> np.ndarray:
    """Returns what each token of a block consists of: half of what it attends to, half of itself.

    The queries are the first tokens; the keys are the last ones, without the class tokens if these
    attend to the patches alone. Other tokens do not change.
    """
    batch, queries, keys = attention.shape
    full = np.broadcast_to(np.eye(length), (batch, length, length)).copy()
    full[:, :queries] /= 2
    full[:, :queries, length - keys :] += attention / 2
    return full


def _with_new_tokens(flow: np.ndarray, length: int) -> np.ndarray:
    """Returns the flow with the tokens that have entered before the patches since."""
    batch, old, inputs = flow.shape
    new = length - old
    if not new:
        return flow
    larger = np.zeros((batch, length, inputs + new))
    larger[:, :new, :new] = np.eye(new)
    larger[:, new:, new:] = flow
    return larger


def _pooled(flow: np.ndarray, before: Grid, grid: Grid) -> np.ndarray:
    """Returns the flow with the mean of the patches that each patch of a coarser grid covers."""
    if before == grid:
        return flow
    tokens, patches = np.split(flow, [flow.shape[1] - math.prod(before)], axis=1)
    rows, columns = (_covered(old, new) for old, new in zip(before, grid, strict=True))
    return np.concatenate([tokens, np.kron(rows, columns) @ patches], axis=1)


def _covered(old: int, new: int) -> np.ndarray:
    """Returns how much of each of `new` equal parts of a side lies in its `old` parts."""
    edges = np.arange(new + 1)[:, None] * old / new
    starts = np.arange(old)
    common = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
    return np.maximum(common, 0) * new / old
