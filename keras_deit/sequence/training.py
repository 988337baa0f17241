"""Loss, metrics and schedules of sequence-to-sequence trainings."""

import keras
import numpy as np
from keras import ops

from keras_deit.sequence.decoding import END, START, padded
from keras_deit.sequence.model import PADDING


@keras.saving.register_keras_serializable(package="keras_deit")
class TokenCrossentropy(keras.losses.Loss):
    """The mean cross-entropy of the tokens of a batch that are not padded, with label smoothing.

    With weights of the positions it is the mean over all positions of weight times cross-entropy,
    as of Keras's losses; `PairBatches` has those for the mean over the tokens of all devices.

    The target of the right token is 1 − s, and that of each other one s / (vocabulary − 1), as in
    fairseq ("Scaling neural machine translation", Ott et al. 2018, §3).

    Args:
        label_smoothing: s.

    Labels: integers (batch, positions), padded with 0. Outputs: logits (batch, positions,
    vocabulary).
    """

    def __init__(self, label_smoothing: float = 0.1, name: str = "token_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is None:
            mask = ops.cast(ops.not_equal(y_true, PADDING), "float32")
            # Keras takes the mean over all positions, so that it becomes that over the tokens.
            sample_weight = mask / ops.maximum(ops.mean(mask), 1e-7)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        labels = ops.cast(y_true, "int32")
        right = ops.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
        smoothing = self.label_smoothing
        others = ops.sum(log_probabilities, axis=-1) - right
        other = smoothing / (y_pred.shape[-1] - 1)
        return -(1 - smoothing) * right - other * others

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="keras_deit")
class TokenAccuracy(keras.metrics.Mean):
    """The share of the tokens, padding left out, whose largest logit is the right one."""

    def __init__(self, name: str = "token_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.cast(y_true, "int32")
        hits = ops.cast(ops.equal(labels, ops.cast(ops.argmax(y_pred, -1), "int32")), "float32")
        mask = ops.cast(ops.not_equal(labels, PADDING), "float32")
        return super().update_state(hits, sample_weight=mask)


@keras.saving.register_keras_serializable(package="keras_deit")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then ∝ 1/√step ("Attention is all you need", §5.3).

    Args:
        peak: learning rate at the end of the warm-up; the paper's is width^−0.5 · warmup^−0.5.
        warmup_steps: steps of the warm-up.
    """

    def __init__(self, peak: float, warmup_steps: int):
        self.peak = peak
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1
        warmup = float(self.warmup_steps)
        return self.peak * ops.minimum(step / warmup, ops.sqrt(warmup / step))

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable(package="keras_deit")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, as for Adagrad, which decays by itself (thesis, §4.3.5).

    Args:
        peak: learning rate after the warm-up.
        warmup_steps: steps of the warm-up.
    """

    def __init__(self, peak: float, warmup_steps: int):
        self.peak = peak
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32") + 1
        return self.peak * ops.minimum(step / float(self.warmup_steps), 1.0)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


def teacher_forcing(sources, targets) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the inputs and the labels of `fit` for pairs of sequences.

    Args:
        sources, targets: tokens of each pair, without start and end.
    """
    inputs = {
        "source": padded([[*source, END] for source in sources]),
        "target": padded([[START, *target] for target in targets]),
    }
    return inputs, padded([[*target, END] for target in targets])
