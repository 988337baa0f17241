"""Computes Swin and its layers in plain NumPy and float64, as Swin's paper defines them."""

import numpy as np
from numpy_reference import at, dense, mlp, patch_tokens, softmax


def layer_norm(x, w):
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation * w["gamma"] + w["beta"]


def windows_of(grid, window_size, shift):
    """Returns the tokens of every window, as lists of (row, column, place in the window).

    Shifted windows are cut off at the border: tokens of opposite borders do not see each other,
    although they share the places of one window in the rolled grid.
    """
    sides = [min(side, window_size) for side in grid]
    shifts = [shift if side > window_size else 0 for side in grid]
    found = {}
    for row, column in np.ndindex(grid):
        key, place = [], []
        for position, side, size, moved in zip((row, column), grid, sides, shifts, strict=True):
            rolled = (position - moved) % side
            key += [rolled // size, position < moved]
            place.append(rolled % size)
        found.setdefault(tuple(key), []).append((row, column, place))
    return sides, list(found.values())


def window_maps(x, w, num_heads, grid, window_size, shift=0):
    """Computes one head and one pair of tokens after the other."""
    query, key, _ = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    size = query.shape[-1] // num_heads
    sides, windows = windows_of(grid, window_size, shift)
    maps = np.zeros((len(x), num_heads, x.shape[1], x.shape[1]))
    for head in range(num_heads):
        columns = slice(head * size, (head + 1) * size)
        factor = w["scale"][head] if "scale" in w else size**-0.5
        for window in windows:
            tokens = [row * grid[1] + column for row, column, _ in window]
            for token, (_, _, place) in zip(tokens, window, strict=True):
                offsets = [np.subtract(place, other) + sides - 1 for _, _, other in window]
                bias = [
                    w["relative_positions"][down * (2 * sides[1] - 1) + right, head]
                    for down, right in np.array(offsets)
                ]
                q, k = query[:, token, columns], key[:, tokens][..., columns]
                logits = factor * np.einsum("bd,bkd->bk", q, k) + bias
                if "scale" in w and len(tokens) > 1:
                    logits[:, tokens.index(token)] = -np.inf
                maps[:, head, token, tokens] = softmax(logits)
    return maps


def window_attention(x, w, num_heads, grid, window_size, shift=0):
    value = np.split(dense(x, at(w, "qkv")), 3, axis=-1)[2]
    maps = window_maps(x, w, num_heads, grid, window_size, shift)
    parts = np.split(value, num_heads, axis=-1)
    attended = [maps[:, head] @ part for head, part in enumerate(parts)]
    return dense(np.concatenate(attended, axis=-1), at(w, "projection"))


def swin_block(x, w, **arguments):
    x = x + window_attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), **arguments)
    return x + mlp(layer_norm(x, at(w, "norm2")), at(w, "mlp"))


def patch_merging(x, w, grid):
    """Concatenates the tokens of each cell column by column."""
    rows, columns = grid
    x = x.reshape(len(x), rows, columns, -1)
    merged = []
    for row in range(0, rows, 2):
        for column in range(0, columns, 2):
            cell = [x[:, row + down, column + right] for right in (0, 1) for down in (0, 1)]
            merged.append(np.concatenate(cell, axis=-1))
    return dense(layer_norm(np.stack(merged, axis=1), at(w, "norm")), at(w, "projection"))


def swin_blocks(images, w, grid, depth, num_heads, window_size):
    """Returns the output and the attention maps of every block by its name, of the base model."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    x = layer_norm(x, at(w, "patch_norm")) + w["position_embedding/positions"]
    tokens, maps = {}, {}
    for stage, (blocks, heads) in enumerate(zip(depth, num_heads, strict=True)):
        if stage:
            x = patch_merging(x, at(w, f"merging_{stage - 1}"), grid)
            grid = tuple(side // 2 for side in grid)
        for block in range(blocks):
            name = f"stage_{stage}_block_{block}"
            values = {
                "num_heads": heads,
                "grid": grid,
                "window_size": window_size,
                "shift": window_size // 2 * (block % 2),
            }
            normed = layer_norm(x, at(w, f"{name}/norm1"))
            maps[name] = window_maps(normed, at(w, f"{name}/attention"), **values)
            tokens[name] = x = swin_block(x, at(w, name), **values)
    return tokens, maps


def swin_logits(images, w, **arguments):
    tokens, _ = swin_blocks(images, w, **arguments)
    *_, x = tokens.values()
    return dense(layer_norm(x, at(w, "norm")).mean(axis=1), at(w, "class_head"))
