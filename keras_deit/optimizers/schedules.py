"""Two cosine schedules, by step and by epoch as in the authors' code, and one of steps down.

The step stays an integer until it is divided by the total, because float32 cannot represent every
integer above 2²⁴. 1 + cos(πx) is computed as 2·sin²(π(1 − x)/2), which is accurate for a cosine
near −1 too.
"""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deit")
class StepCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak, then half a cosine to the end, updated at every step.

    Args:
        peak: learning rate after the warm-up.
        total_steps: number of steps of the whole training.
        warmup_steps: number of steps of the warm-up.
        start, end: learning rates before the warm-up and after the last step.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        start: float = 1e-6,
        end: float = 1e-5,
    ):
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.start = start
        self.end = end

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        decay_steps = max(self.total_steps - self.warmup_steps, 1)
        remaining = self.warmup_steps + decay_steps - step
        cosine = _cosine(self.peak, self.end, remaining, decay_steps)
        return _warmup(self.start, self.peak, step, self.warmup_steps, cosine)

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "start": self.start,
            "end": self.end,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak, which a factor multiplies again and again.

    Without warm-up it is PyTorch's `StepLR`.

    Args:
        peak: learning rate after the warm-up.
        decay_steps: number of steps, from the first of the training, from one factor to the next.
        factor: the factor, at most 1.
        warmup_steps: number of steps of the warm-up.
        start, end: learning rate before the warm-up, and the least one after it.
    """

    def __init__(
        self,
        peak: float,
        decay_steps: int,
        factor: float = 0.1,
        warmup_steps: int = 0,
        start: float = 1e-6,
        end: float = 0.0,
    ):
        self.peak = peak
        self.decay_steps = decay_steps
        self.factor = factor
        self.warmup_steps = warmup_steps
        self.start = start
        self.end = end

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        count = ops.cast(ops.floor_divide(step, self.decay_steps), "float32")
        decayed = ops.maximum(self.peak * ops.power(self.factor, count), self.end)
        return _warmup(self.start, self.peak, step, self.warmup_steps, decayed)

    def get_config(self):
        return {
            "peak": self.peak,
            "decay_steps": self.decay_steps,
            "factor": self.factor,
            "warmup_steps": self.warmup_steps,
            "start": self.start,
            "end": self.end,
        }


@keras.saving.register_keras_serializable(package="keras_deit")
class AdjustableCosine(StepCosine):
    """The same schedule, whose lengths can be set after the training step is compiled.

    They are variables of the optimizer, which is what a compiled step reads anew at every call. So
    the speed of a training can be measured with the step that it consists of.

    Attributes:
        lengths: variables of `total_steps` and `warmup_steps`, which the optimizer sets.
    """

    lengths: tuple[keras.Variable, keras.Variable]

    def __call__(self, step):
        total, warmup = (ops.cast(variable, "float32") for variable in self.lengths)
        step = ops.cast(step, "float32")
        # A length of at least 1 keeps both branches finite.
        rise = ops.maximum(warmup, 1.0)
        share = ops.clip((total - step) / ops.maximum(total - warmup, 1.0), 0.0, 1.0)
        cosine = self.end + (self.peak - self.end) * ops.square(ops.sin(share * (math.pi / 2)))
        linear = self.start + step * ((self.peak - self.start) / rise)
        return ops.where(step < warmup, linear, cosine)


@keras.saving.register_keras_serializable(package="keras_deit")
class EpochCosine(keras.optimizers.schedules.LearningRateSchedule):
    """The authors' schedule: timm's cosine as their script steps it.

    With f(t) = start + t·(peak − start)/W for t < W and, not shifted by the warm-up,
    f(t) = end + (peak − end)·(1 + cos(πt/E))/2 from there on, epoch 0 runs at f(0) and epoch e ≥ 1
    at f(e − 1): the scheduler is stepped at the end of an epoch with that epoch's own number.

    Args:
        peak: learning rate at the end of the warm-up.
        epochs: number E of epochs.
        steps_per_epoch: number of batches in an epoch, which have the same learning rate.
        warmup_epochs: number W of epochs of the warm-up.
        start, end: learning rates before the warm-up and at the minimum of the cosine. With an end
            equal to the peak the schedule is constant after the warm-up; with one above the peak it
            rises, as in some of the authors' runs.
    """

    def __init__(
        self,
        peak: float,
        epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 5,
        start: float = 1e-6,
        end: float = 1e-5,
    ):
        self.peak = peak
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.warmup_epochs = warmup_epochs
        self.start = start
        self.end = end

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        t = ops.maximum(ops.floor_divide(step, self.steps_per_epoch) - 1, 0)
        cosine = _cosine(self.peak, self.end, self.epochs - t, self.epochs)
        return _warmup(self.start, self.peak, t, self.warmup_epochs, cosine)

    def get_config(self):
        return {
            "peak": self.peak,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "warmup_epochs": self.warmup_epochs,
            "start": self.start,
            "end": self.end,
        }


def _cosine(peak, end, remaining, whole):
    remaining = ops.cast(ops.clip(remaining, 0, whole), "float32")
    return end + (peak - end) * ops.square(ops.sin(remaining * (math.pi / 2 / whole)))


def _warmup(start, peak, t, duration, afterwards):
    if duration == 0:
        return afterwards
    t = ops.cast(t, "float32")
    return ops.where(t < duration, start + t * ((peak - start) / duration), afterwards)
