"""The settings of an optimization: a part of every recipe."""

import dataclasses

from keras_deit.core.errors import InputError, unknown_name

# The learning rates of the papers are for this many images in a step (DeiT §5.4).
REFERENCE_BATCH_SIZE = 512

OPTIMIZERS = ("adamw", "adam", "lamb", "sgd")
SCHEDULES = ("cosine", "epoch_cosine", "step")
# The least number of steps in an epoch of a training whose length is given in steps.
_MIN_EPOCH_STEPS = 100
TRAINABLE = ("all", "attention", "head")
DECAYED = ("kernels", "all")
CLASS_WEIGHTS = ("none", "balanced")
SAMPLINGS = ("shuffled", "balanced")


@dataclasses.dataclass(frozen=True)
class Optimization:
    """How the weights are trained. The defaults are DeiT's (§5.4), with a schedule by step.

    Attributes:
        epochs: number of epochs.
        passes_per_epoch: number of passes over the training data in an epoch, each in an order of
            its own, so that an image is in two batches rather than twice in one. 3 in the code of
            "Vision Transformer for Small-Size Datasets", 1 elsewhere.
        steps: number of steps of the whole training instead of epochs. An epoch is then at least
            100 steps, or all of them, and their number is rounded down to whole epochs.
        batch_size: number of images in a step, on all devices together.
        accumulation_steps: number of micro-batches in a batch, whose gradients are accumulated, so
            that a device processes so many times fewer images at once.
        optimizer: optimizer: "adamw", "adam", "lamb" or "sgd".
        learning_rate: largest learning rate, which is reached at the end of the warm-up.
        learning_rate_scaling: whether the learning rate is given for 512 images in a step and
            scaled in proportion to the batch size. The recipes of DeiT III and LAMB do not scale
            it.
        schedule: schedule of the learning rate: "cosine", a linear warm-up and then half a cosine,
            updated at every step; "epoch_cosine" as in the authors' code, updated once per epoch
            and one epoch late; or "step", a linear warm-up and then a factor again and again.
        decay_epochs: number of epochs from one factor to the next, with the schedule "step".
        decay_factor: factor of the learning rate in the schedule "step".
        warmup_epochs: number of epochs of the linear warm-up.
        warmup_steps: number of steps of the linear warm-up instead of epochs, with the schedule
            "cosine" or "step".
        warmup_learning_rate: learning rate at the start of the warm-up, never scaled.
        min_learning_rate: learning rate at the end of the schedule, and the least one of "step";
            never scaled.
        weight_decay: weight decay, which is multiplied by the learning rate at each step; decoupled
            in "adamw" and "lamb", added to the gradient in "adam" and "sgd".
        final_weight_decay: weight decay at the end of the training, to which it changes by half a
            cosine at every step, as in DINO; None for the same weight decay all the time.
        weight_decay_on: variables with weight decay: "kernels" for all but biases, norms, scales,
            positions and class tokens; or "all" for every variable.
        adam_epsilon: constant ε for numerical stability in "adamw", "adam" and "lamb".
        momentum: momentum of "sgd".
        nesterov: whether the momentum of "sgd" is Nesterov's.
        clip_norm: largest global norm of the gradients; 0 for no clipping. By default 1 for
            "lamb", which includes clipping, and 0 for the others.
        clip_each: whether clip_norm limits the norm of the gradient of each variable by itself, as
            in DINO's code.
        layer_decay: layer-wise learning rate decay: factor between the learning rates of a block
            and of the block above it; 1 for the same learning rate everywhere.
        trainable: weights to train: "all"; "attention" for the attention layers, the class head and
            the position embeddings; or "head" for the heads only.
        training_mode: whether the model runs in training mode during training. Without it, as in
            DeiT's fine-tuning at 384 pixels, there is no stochastic depth and batch statistics do
            not change.
        ema_decay: decay of the exponential moving average (EMA) of the weights, which is updated at
            every step and evaluated too; 0 for no EMA.
        ema_warmup: whether the decay of the EMA at step t, counted from 0, is at most
            (1 + t) / (10 + t), so that the average fits the length of the training. Without it a
            decay of 0.99996 needs some 100,000 steps to forget the initial weights.
        class_weight: weight of each image in the losses: "none"; or "balanced" for N / (C n) with
            N images of C classes, n of them of the image's own. A mixed image has the mean of its
            classes' weights.
        sampling: images of an epoch: "shuffled" for each of them once; or "balanced" for equally
            many of each class, as many as there are images altogether.
    """

    epochs: int = 300
    passes_per_epoch: int = 1
    steps: int | None = None
    batch_size: int = 1024
    accumulation_steps: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    learning_rate_scaling: bool = True
    schedule: str = "cosine"
    decay_epochs: float = 30.0
    decay_factor: float = 0.1
    warmup_epochs: float = 5
    warmup_steps: int | None = None
    warmup_learning_rate: float = 1e-6
    min_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    weight_decay_on: str = "kernels"
    final_weight_decay: float | None = None
    adam_epsilon: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = True
    clip_norm: float | None = None
    clip_each: bool = False
    layer_decay: float = 1.0
    trainable: str = "all"
    training_mode: bool = True
    ema_decay: float = 0.0
    ema_warmup: bool = True
    class_weight: str = "none"
    sampling: str = "shuffled"

    def __post_init__(self):
        for field, known in _CHOICES.items():
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        for field in ("epochs", "batch_size", "learning_rate", "adam_epsilon", "decay_epochs"):
            require(field, getattr(self, field), getattr(self, field) > 0, "above 0")
        for field in ("warmup_learning_rate", "min_learning_rate", "weight_decay"):
            require(field, getattr(self, field), getattr(self, field) >= 0, "0 or more")
        final = self.final_weight_decay
        changes = final is None or (final >= 0 and self.weight_decay > 0)
        require("final_weight_decay", final, changes, "0 or more, with a weight_decay above 0")
        for field in ("momentum", "ema_decay"):
            value = getattr(self, field)
            require(field, value, 0 <= value < 1, "at least 0 and below 1")
        require("clip_norm", self.clip_norm, self.gradient_clip >= 0, "0 or more")
        require("decay_factor", self.decay_factor, 0 < self.decay_factor <= 1, "in (0, 1]")
        require("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "in (0, 1]")
        require("steps", self.steps, self.steps is None or self.steps >= 1, "1 or more")
        passes = self.passes_per_epoch
        require("passes_per_epoch", passes, passes >= 1, "1 or more")
        micro_batches = self.accumulation_steps
        divides = micro_batches >= 1 and self.batch_size % micro_batches == 0
        expected = f"a divisor of batch_size={self.batch_size}"
        require("accumulation_steps", micro_batches, divides, expected)
        in_range = 0 <= self.warmup_epochs <= self.epochs
        require("warmup_epochs", self.warmup_epochs, in_range, f"from 0 to epochs={self.epochs}")
        twice = self.class_weight == self.sampling == "balanced"
        require("sampling with class_weight 'balanced'", self.sampling, not twice, "'shuffled'")
        if self.warmup_steps is not None:
            require("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "0 or more")
            by_step = self.schedule != "epoch_cosine"
            require("schedule with warmup_steps", self.schedule, by_step, "'cosine' or 'step'")

    def with_steps(self, steps: int, max_warmup: float) -> "Optimization":
        """Returns the same training with another number of steps, whatever it had.

        Args:
            steps: number of steps of the whole training.
            max_warmup: largest share of them in the warm-up, if that has a number of steps.
        """
        warmup_steps = self.warmup_steps
        if warmup_steps is not None:
            warmup_steps = min(warmup_steps, int(max_warmup * steps))
        return dataclasses.replace(self, steps=steps, warmup_steps=warmup_steps)

    def in_epochs(self, steps_per_epoch: int, min_epochs: int = 1) -> tuple["Optimization", int]:
        """Returns the same training in epochs, and the number of steps in one of them.

        With `steps` an epoch is at least 100 steps, in whole passes over the data, or all steps if
        there are fewer: each epoch starts a `fit` of Keras, which takes half a second. Its length
        does not depend on that of the training, so that this can be extended.

        Args:
            steps_per_epoch: number of steps in the passes over the training data of an epoch.
            min_epochs: number of epochs for which epochs of `steps` are made shorter than that.
        """
        if self.steps is None:
            return self, steps_per_epoch
        passes = -(-_MIN_EPOCH_STEPS // steps_per_epoch)
        whole = min(self.steps, passes * steps_per_epoch)
        steps_per_epoch = min(max(1, self.steps // min_epochs), whole)
        epochs = self.steps // steps_per_epoch
        share = min(1, self.steps // whole / self.epochs) * whole / steps_per_epoch
        warmup_epochs = self.warmup_epochs * share
        if self.warmup_epochs <= self.epochs:
            warmup_epochs = min(warmup_epochs, epochs)
        changes = {"epochs": epochs, "warmup_epochs": warmup_epochs, "steps": None}
        if self.schedule == "step":
            changes["decay_epochs"] = self.decay_epochs * share
        return dataclasses.replace(self, **changes), steps_per_epoch

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate at the end of the warm-up, scaled with the batch size."""
        if not self.learning_rate_scaling:
            return self.learning_rate
        return self.learning_rate * self.batch_size / REFERENCE_BATCH_SIZE

    @property
    def gradient_clip(self) -> float:
        """The largest global norm of the gradients; 0 for no clipping."""
        if self.clip_norm is None:
            return 1.0 if self.optimizer == "lamb" else 0.0
        return self.clip_norm

    @property
    def micro_batch_size(self) -> int:
        """The number of images in a micro-batch, on all devices together."""
        return self.batch_size // self.accumulation_steps


_CHOICES = {
    **{"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "trainable": TRAINABLE},
    **{"weight_decay_on": DECAYED, "class_weight": CLASS_WEIGHTS, "sampling": SAMPLINGS},
}


def require(field: str, value, condition: bool, expected: str) -> None:
    """Checks the value of a field.

    Args:
        field: name of the field.
        value: value that was received.
        condition: whether the value is valid.
        expected: description of valid values.

    Raises:
        InputError: `condition` is not met.
    """
    if not condition:
        raise InputError(f"{field} should be {expected}. Received: {value}")
