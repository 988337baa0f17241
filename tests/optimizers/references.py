"""The optimizers and the schedules in NumPy and float64."""

import math

import numpy as np


def clipped(gradients, largest):
    """Returns the gradients divided by one number: their global norm is at most `largest`."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return [g / max(norm / largest, 1.0) if largest else g for g in gradients]


def adamw(p, g, state, t, rate, decay, epsilon):
    """Does a step of torch.optim.AdamW; `state` is (m, v)."""
    m, v = (0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g**2)
    p = p * (1 - rate * decay)
    root = np.sqrt(v) / math.sqrt(1 - 0.999**t)
    return p - rate / (1 - 0.9**t) * m / (root + epsilon), (m, v)


def adam(p, g, state, t, rate, decay, epsilon):
    """Does a step of torch.optim.Adam, whose weight decay is a part of the gradient."""
    return adamw(p, g + decay * p, state, t, rate, 0.0, epsilon)


def lamb(p, g, state, t, rate, decay, epsilon):
    """Does a step of Apex's FusedLAMB after its clipping.

    Only variables with weight decay have a trust ratio.
    """
    m, v = (0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g**2)
    u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + epsilon) + decay * p
    norms = np.linalg.norm(p), np.linalg.norm(u)
    ratio = norms[0] / norms[1] if decay and min(norms) > 0 else 1.0
    return p - rate * ratio * u, (m, v)


def sgd(p, g, state, t, rate, decay, momentum):
    """Does a step of torch.optim.SGD with Nesterov momentum; `state` is (b, nothing)."""
    g = g + decay * p
    b = momentum * state[0] + g
    return p - rate * (g + momentum * b), (b, None)


def heavy_ball(p, g, state, t, rate, decay, momentum):
    """Does a step of torch.optim.SGD without Nesterov's form."""
    b = momentum * state[0] + g + decay * p
    return p - rate * b, (b, None)


def train(step, start, gradients, rates, groups, last, clip=None):
    """Returns the variables after some steps.

    Args:
        step: one of the functions above.
        start: values of the variables.
        gradients: of all variables, for each step.
        rates: learning rate of each step.
        groups: weight decay and learning rate factor of each variable.
        last: ε, or the momentum.
        clip: largest norm of all gradients together.
    """
    values = [p.astype("float64") for p in start]
    states = [(np.zeros(p.shape), np.zeros(p.shape)) for p in start]
    for t, (rate, all_gradients) in enumerate(zip(rates, gradients, strict=True), 1):
        now = clipped([g.astype("float64") for g in all_gradients], clip)
        for i, (decay, factor) in enumerate(groups):
            values[i], states[i] = step(values[i], now[i], states[i], t, rate * factor, decay, last)
    return values


def step_cosine(step, peak, total, warmup, start=1e-6, end=1e-5):
    """Returns the learning rate of a step: linear warm-up, then half a cosine."""
    if step < warmup:
        return start + (peak - start) * step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1)
    return end + (peak - end) * (1 + math.cos(math.pi * progress)) / 2


def epoch_cosine(epoch, peak, epochs, warmup, start=1e-6, end=1e-5):
    """Returns the learning rate of an epoch: timm's cosine, stepped at the end of each epoch with
    the number of that epoch."""
    t = max(epoch - 1, 0)
    if t < warmup:
        return start + t * (peak - start) / warmup
    return end + (peak - end) * (1 + math.cos(math.pi * t / epochs)) / 2
