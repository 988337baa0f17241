"""Computes the layers, DeiT and the losses in plain NumPy and float64.

`w` holds the weights by their path, as `harness.weights_by_path` returns them; `at` returns those
below a path.
"""

import math

import numpy as np

erf = np.vectorize(math.erf)


def at(w, prefix):
    return {path[len(prefix) + 1 :]: v for path, v in w.items() if path.startswith(f"{prefix}/")}


def dense(x, w):
    return x @ w["kernel"] + w.get("bias", 0)


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def softmax(x):
    return np.exp(log_softmax(x))


def layer_norm(x, w):
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered**2).mean(axis=-1, keepdims=True)
    return centered / np.sqrt(variance + 1e-6) * w["gamma"] + w["beta"]


def attention_maps(x, w, num_heads):
    """Computes one sample and one head after the other."""
    query, key, _ = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    maps = np.zeros((len(x), num_heads, x.shape[1], x.shape[1]))
    size = x.shape[-1] // num_heads
    for sample, head in np.ndindex(len(x), num_heads):
        columns = slice(head * size, (head + 1) * size)
        q, k = query[sample, :, columns], key[sample, :, columns]
        maps[sample, head] = softmax(q @ k.T / math.sqrt(size))
    return maps


def attention(x, w, num_heads):
    """Computes one sample and one head after the other."""
    value = np.split(dense(x, at(w, "qkv")), 3, axis=-1)[2]
    maps = attention_maps(x, w, num_heads)
    attended = np.zeros_like(x)
    size = x.shape[-1] // num_heads
    for sample, head in np.ndindex(len(x), num_heads):
        columns = slice(head * size, (head + 1) * size)
        attended[sample, :, columns] = maps[sample, head] @ value[sample, :, columns]
    return dense(attended, at(w, "projection"))


def mlp(x, w):
    return dense(gelu(dense(x, at(w, "expand"))), at(w, "contract"))


def attention_branch(x, w, num_heads):
    return attention(layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads) * w.get(
        "layer_scale1/gamma", 1
    )


def mlp_branch(x, w):
    return mlp(layer_norm(x, at(w, "norm2")), at(w, "mlp")) * w.get("layer_scale2/gamma", 1)


def block(x, w, num_heads):
    x = x + attention_branch(x, w, num_heads)
    return x + mlp_branch(x, w)


def block_maps(x, w, num_heads):
    return attention_maps(layer_norm(x, at(w, "norm1")), at(w, "attention"), num_heads)


def patch_tokens(images, w):
    """Computes one patch after the other, row by row; ignores incomplete patches on the right and
    at the bottom."""
    kernel = w["projection/kernel"]
    size = kernel.shape[0]
    rows, columns = images.shape[1] // size, images.shape[2] // size
    tokens = []
    for row in range(rows):
        for column in range(columns):
            patch = images[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            tokens.append(np.einsum("byxc,yxcd->bd", patch, kernel) + w["projection/bias"])
    return np.stack(tokens, axis=1)


def prepend(tokens, token):
    return np.concatenate([np.repeat(token, len(tokens), axis=0), tokens], axis=1)


def deit_blocks(images, w, depth, num_heads):
    """Returns the output and the attention maps of every block, by its name."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    if "distillation_token/token" in w:
        x = prepend(x, w["distillation_token/token"])
    x = prepend(x, w["class_token/token"]) + w["position_embedding/positions"]
    tokens, maps = {}, {}
    for name in (f"block_{index}" for index in range(depth)):
        maps[name] = block_maps(x, at(w, name), num_heads)
        tokens[name] = x = block(x, at(w, name), num_heads)
    return tokens, maps


def deit_heads(images, w, depth, num_heads):
    """Returns the logits of the class head and, if the weights have one, the distillation head."""
    tokens, _ = deit_blocks(images, w, depth, num_heads)
    return token_heads(tokens[f"block_{depth - 1}"], w)


def token_heads(x, w):
    x = layer_norm(x, at(w, "norm"))
    heads = {"class": dense(x[:, 0], at(w, "class_head"))}
    if "distillation_token/token" in w:
        heads["distillation"] = dense(x[:, 1], at(w, "distillation_head"))
    return heads


def label_crossentropy(labels, logits):
    """Takes integers (batch,) or distributions (batch, classes); returns one value per sample."""
    if labels.ndim == 1:
        labels = np.eye(logits.shape[-1])[labels]
    return -(labels * log_softmax(logits.astype("float64"))).sum(axis=-1)


def binary_label_crossentropy(labels, logits):
    """Returns the mean over the classes; a class with any share is a full target."""
    targets = (labels > 0).astype(float) if labels.ndim == 2 else np.eye(logits.shape[-1])[labels]
    right = 1 / (1 + np.exp(-logits.astype("float64")))
    return -np.where(targets == 1, np.log(right), np.log1p(-right)).mean(axis=-1)


def sigmoid_label_crossentropy(targets, logits):
    """Returns the sum over the classes; the share of a class is its target."""
    right = 1 / (1 + np.exp(-logits.astype("float64")))
    return -(targets * np.log(right) + (1 - targets) * np.log1p(-right)).sum(axis=-1)


def hard_distillation(teacher, student):
    return label_crossentropy(teacher.argmax(axis=-1), student)


def soft_distillation(teacher, student, temperature):
    teacher, student = (logits.astype("float64") / temperature for logits in (teacher, student))
    log_p, log_q = (
        x
        - x.max(axis=-1, keepdims=True)
        - np.log(np.exp(x - x.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True))
        for x in (teacher, student)
    )
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
