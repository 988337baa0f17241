"""The settings of an optimization: a part of every recipe."""

import dataclasses

from keras_deit.core.errors import InputError, unknown_name

# The learning rates of the papers are for this many images in a step (DeiT §5.4).
REFERENCE_BATCH_SIZE = 512

OPTIMIZERS = ("adamw", "lamb", "sgd")
SCHEDULES = ("cosine", "epoch_cosine")
TRAINABLE = ("all", "attention", "head")


@dataclasses.dataclass(frozen=True)
class Optimization:
    """How the weights are trained. The defaults are DeiT's (§5.4), with a schedule by step.

    Attributes:
        epochs: passes over the training data.
        batch_size: images in a step, on all devices together.
        accumulation_steps: micro-batches that a batch is divided into. Their gradients are
            accumulated, so a device has so many times fewer images at once.
        optimizer: "adamw", "lamb" or "sgd" (with Nesterov momentum), each as the authors ran it.
        learning_rate: at the peak.
        learning_rate_scaling: whether `learning_rate` is for 512 images in a step and scales with
            `batch_size`; the recipes of DeiT III and LAMB do not scale.
        schedule: "cosine", linear warm-up and then half a cosine, changing at every step; or
            "epoch_cosine", the authors' own, constant within an epoch and one epoch late.
        warmup_epochs: from `warmup_learning_rate` to the peak.
        warmup_steps: of schedule "cosine", instead of `warmup_epochs`; None for those.
        warmup_learning_rate, min_learning_rate: where the schedule starts and ends, not scaled.
        weight_decay: multiplied by the learning rate at each step.
        adam_epsilon: ε of "adamw" and "lamb".
        momentum: of "sgd".
        clip_norm: largest norm of all gradients together, 0 for no clipping; by default 1 for
            "lamb", which includes clipping, and 0 for the others.
        layer_decay: layer-wise learning rate decay: the factor from one block to the block below;
            1 for the same learning rate everywhere.
        trainable: "all" weights, "attention" for attention layers, class head and positions, or
            "head" for the heads.
        training_mode: whether the student trains in training mode. If not, as in DeiT's
            fine-tuning at 384, there is no stochastic depth and batch statistics do not change.
        ema_decay: of the exponential moving average (EMA) of all weights, which is updated at
            every step and evaluated beside them; 0 for none.
    """

    epochs: int = 300
    batch_size: int = 1024
    accumulation_steps: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    learning_rate_scaling: bool = True
    schedule: str = "cosine"
    warmup_epochs: float = 5
    warmup_steps: int | None = None
    warmup_learning_rate: float = 1e-6
    min_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    adam_epsilon: float = 1e-8
    momentum: float = 0.9
    clip_norm: float | None = None
    layer_decay: float = 1.0
    trainable: str = "all"
    training_mode: bool = True
    ema_decay: float = 0.0

    def __post_init__(self):
        for field, known in _CHOICES.items():
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        for field in ("epochs", "batch_size", "learning_rate", "adam_epsilon"):
            require(field, getattr(self, field), getattr(self, field) > 0, "above 0")
        for field in ("warmup_learning_rate", "min_learning_rate", "weight_decay"):
            require(field, getattr(self, field), getattr(self, field) >= 0, "0 or more")
        for field in ("momentum", "ema_decay"):
            value = getattr(self, field)
            require(field, value, 0 <= value < 1, "at least 0 and below 1")
        require("clip_norm", self.clip_norm, self.gradient_clip >= 0, "0 or more")
        require("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "in (0, 1]")
        steps = self.accumulation_steps
        divides = steps >= 1 and self.batch_size % steps == 0
        require("accumulation_steps", steps, divides, f"a divisor of batch_size={self.batch_size}")
        in_range = 0 <= self.warmup_epochs <= self.epochs
        require("warmup_epochs", self.warmup_epochs, in_range, f"from 0 to epochs={self.epochs}")
        if self.warmup_steps is not None:
            require("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "0 or more")
            by_step = self.schedule == "cosine"
            require("schedule with warmup_steps", self.schedule, by_step, "'cosine'")

    @property
    def peak_learning_rate(self) -> float:
        if not self.learning_rate_scaling:
            return self.learning_rate
        return self.learning_rate * self.batch_size / REFERENCE_BATCH_SIZE

    @property
    def gradient_clip(self) -> float:
        """The norm that all gradients together are clipped to; 0 for no clipping."""
        if self.clip_norm is None:
            return 1.0 if self.optimizer == "lamb" else 0.0
        return self.clip_norm

    @property
    def micro_batch_size(self) -> int:
        """Images in a micro-batch, on all devices together."""
        return self.batch_size // self.accumulation_steps


_CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "trainable": TRAINABLE}


def require(field: str, value, condition: bool, expected: str) -> None:
    """Checks the value of a field.

    Raises:
        InputError: `condition` is not met.
    """
    if not condition:
        raise InputError(f"{field} should be {expected}. Received: {value}")
