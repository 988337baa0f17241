"""What goes on inside of a model: its tokens, its residual branches, the reach of its attention."""

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.evaluation.attention import checked_images, in_batches
from keras_deit.models import Classifier
from keras_deit.models.features import token_grid


def diagnostics(model: Classifier, images) -> dict:
    """Returns the figures of the three functions below that a model has.

    Args:
        model: a model of this package.
        images: (batch, height, width, channels), normalized as `model.image_format` says.

    Returns:
        Plain JSON values: "token_cosine" as a list, "branch_norms" as lists by the name of the
        branch, and "attention_distance" as a list for each layer. What the model lacks, such as a
        distillation token or attention, has no key.

    Raises:
        InputError: the images have another rank, or there are none.
    """
    images = checked_images(images)
    functions = (token_cosine, branch_norms, attention_distance)
    found = {}
    for function in functions:
        try:
            values = function(model, images)
        except InputError:  # With these images it can only be that the model lacks it.
            continue
        found[function.__name__] = keras.tree.map_structure(lambda array: array.tolist(), values)
    return found


def token_cosine(model: Classifier, images) -> np.ndarray:
    """Returns the cosine of the class and the distillation token after each block.

    It is that of each image, and then their mean (H. Touvron's thesis, §3.4: it grows from block to
    block, up to 0.93 in the last one of DeiT-B).

    Args:
        model, images: as for `diagnostics`.

    Returns:
        float32 (blocks,), for the blocks that have both tokens, in their order.

    Raises:
        InputError: the model has no distillation token.
    """
    tokens = []
    if "distillation" in model.heads.output:
        rows, columns = model.patch_grid()
        outputs = [block.output for block in model.blocks]
        tokens = [x[:, :2] for x in outputs if len(x.shape) == 3 and x.shape[1] > rows * columns]
    if not tokens:
        raise InputError(f"{model.name} has no distillation token beside its patches.")
    pairs = keras.Model(model.input, [keras.ops.cast(pair, "float32") for pair in tokens])
    cosines = in_batches(
        pairs, images, lambda found: np.stack([_cosine(p) for p in _listed(found)], axis=1)
    )
    return cosines.mean(axis=0)


def branch_norms(model: Classifier, images) -> dict[str, np.ndarray]:
    """Returns the norm of each residual branch over that of the main branch, by layer.

    Of x + f(x) it is ‖f(x)‖₂ / ‖x‖₂ with f after LayerScale, in inference (H. Touvron's thesis,
    figure 3.6). The norm is that of all tokens and channels of an image, which the thesis does not
    say, and the ratio is the mean over the images. Class attention and class-MLP change the class
    tokens alone, so these are the x there.

    Args:
        model, images: as for `diagnostics`.

    Returns:
        By the name of the branch, float32 (blocks,), for the blocks that have it, in their order:
        "attention" and "mlp", with "attention_b" and "mlp_b" in parallel blocks; "cross_patch" and
        "gather" in ResMLP, "convolution" in PatchConvNet.

    Raises:
        InputError: no block returns its residual branches.
    """
    norms = model.branch_model()
    places = [(block, name) for block, found in norms.output.items() for name in found]
    ratios = in_batches(
        norms, images, lambda found: np.stack([found[b][name] for b, name in places], axis=1)
    ).mean(axis=0)
    by_name = {name: [] for _, name in places}
    for (_, name), ratio in zip(places, ratios, strict=True):
        by_name[name].append(ratio)
    return {name: np.array(values) for name, values in by_name.items()}


def attention_distance(model: Classifier, images) -> list[np.ndarray]:
    """Returns how far each head of self-attention looks from patch to patch, in pixels.

    It is the distance between the centers of two patches, weighted with the attention from the one
    to the other, and the mean over patches and images ("An Image is Worth 16x16 Words",
    Dosovitskiy et al., 2021, figure 7 right). As in probing-vits of Sayak Paul and A. Gosthipaty,
    class and distillation tokens are left out and the rest of the attention is not scaled up, so a
    head that attends to these tokens reaches less far.

    Args:
        model, images: as for `diagnostics`.

    Returns:
        For each block with self-attention over the patches, in their order, float32 (heads,).

    Raises:
        InputError: there is no such block.
    """
    maps, grids = model.attention_model().output, {}
    for block in model.blocks:
        # Class attention has fewer queries than tokens.
        if block.name in maps and maps[block.name].shape[2] == block.input.shape[1]:
            grids[block.name] = token_grid(model, block.input)
    grids = {name: grid for name, grid in grids.items() if grid is not None}
    if not grids:
        raise InputError(f"{model.name} has no self-attention over its patches.")
    size = model.input_shape[1:3]
    distances = [_distances(grid, size) for grid in grids.values()]
    attention = keras.Model(model.input, [maps[name] for name in grids])

    def reached(found):
        pairs = zip(_listed(found), distances, strict=True)
        return np.concatenate([_mean_distance(each, far) for each, far in pairs], axis=1)

    means = in_batches(attention, images, reached).mean(axis=0)
    heads = [maps[name].shape[1] for name in grids]
    return np.split(means, np.cumsum(heads)[:-1])


def _listed(outputs) -> list[np.ndarray]:
    # Keras returns the output of a model that has one alone, and no list.
    return outputs if isinstance(outputs, list) else [outputs]


def _cosine(pair: np.ndarray) -> np.ndarray:
    """Returns the cosine of two tokens, (batch,) of (batch, 2, width)."""
    first, second = pair[:, 0].astype("float64"), pair[:, 1].astype("float64")
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return (first * second).sum(axis=-1) / norms


def _distances(grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Returns the distances in pixels between the centers of patches, (patches, patches)."""
    y, x = np.indices(grid).reshape(2, -1) * (np.array(size) / grid)[:, None]
    return np.hypot(y[:, None] - y, x[:, None] - x)


def _mean_distance(maps: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Returns the mean distance of each head, (batch, heads)."""
    patches = len(distances)
    return np.einsum("bhqk,qk->bh", maps[..., -patches:, -patches:], distances) / patches
