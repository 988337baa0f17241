"""The layers, DeiT and the losses once more, in plain NumPy and float64.

`w` holds the weights by their path, as `harness.weights_by_path` gives them; `at` gives those
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


def attention(x, w, num_heads):
    """One sample and one head after the other."""
    query, key, value = np.split(dense(x, at(w, "qkv")), 3, axis=-1)
    attended = np.zeros_like(x)
    size = x.shape[-1] // num_heads
    for sample in range(len(x)):
        for head in range(num_heads):
            columns = slice(head * size, (head + 1) * size)
            q, k, v = (part[sample, :, columns] for part in (query, key, value))
            attended[sample, :, columns] = softmax(q @ k.T / math.sqrt(size)) @ v
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


def patch_tokens(images, w):
    """One patch after the other, row by row; what is left over on the right and below is cut."""
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


def deit_heads(images, w, depth, num_heads):
    """{"class": logits} and, where the weights have one, the distillation head's."""
    x = patch_tokens(images.astype("float64"), at(w, "patch_embedding"))
    distilled = "distillation_token/token" in w
    if distilled:
        x = prepend(x, w["distillation_token/token"])
    x = prepend(x, w["class_token/token"])
    x = x + w["position_embedding/positions"]
    for index in range(depth):
        x = block(x, at(w, f"block_{index}"), num_heads)
    x = layer_norm(x, at(w, "norm"))
    heads = {"class": dense(x[:, 0], at(w, "class_head"))}
    if distilled:
        heads["distillation"] = dense(x[:, 1], at(w, "distillation_head"))
    return heads


def label_crossentropy(labels, logits):
    """One value per sample, of integers (batch,) or distributions (batch, classes)."""
    if labels.ndim == 1:
        labels = np.eye(logits.shape[-1])[labels]
    return -(labels * log_softmax(logits.astype("float64"))).sum(axis=-1)


def binary_label_crossentropy(labels, logits):
    """Of each sample, the mean over the classes; whatever part a class has, it is a full target."""
    targets = (labels > 0).astype(float) if labels.ndim == 2 else np.eye(logits.shape[-1])[labels]
    right = 1 / (1 + np.exp(-logits.astype("float64")))
    return -np.where(targets == 1, np.log(right), np.log1p(-right)).mean(axis=-1)


def sigmoid_label_crossentropy(targets, logits):
    """Of each sample, the sum over the classes; the part that a class has is its target."""
    right = 1 / (1 + np.exp(-logits.astype("float64")))
    return -(targets * np.log(right) + (1 - targets) * np.log1p(-right)).sum(axis=-1)


def hard_distillation(teacher, student):
    return label_crossentropy(teacher.argmax(axis=-1), student)


def soft_distillation(teacher, student, temperature):
    teacher, student = (logits.astype("float64") / temperature for logits in (teacher, student))
    p, q = softmax(teacher), softmax(student)
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=-1)
