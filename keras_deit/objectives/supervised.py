"""Supervised training."""

from typing import TYPE_CHECKING

from keras_deit.core.errors import InputError
from keras_deit.losses import label_loss
from keras_deit.objectives.objective import (
    Batch,
    Objective,
    decisions,
    fused_logits,
    hits,
    register_objective,
)

if TYPE_CHECKING:
    from keras_deit.data import Augmentation


@register_objective
class Supervised(Objective):
    """Trains the mean of the heads' logits on the labels, or each head by itself.

    It logs `loss`, `class_loss` (the same without regularization) and `accuracy`, and the accuracy
    of each head if there are several. For a mixed label the accuracy refers to its largest class.

    Args:
        loss: loss of the labels: "cross_entropy"; "binary_cross_entropy" as in DeiT III, averaged
            over the classes, for which every class of a mixed image has the target 1, so it does
            not allow label smoothing; or "sigmoid_cross_entropy", summed over the classes, for
            which the targets are those of the mixed image.
        target_smoothing: label smoothing of the targets of "binary_cross_entropy", after every
            class of a mixed image has got the target 1; in [0, 1).
        per_head_loss: whether the loss is the mean of the losses of the heads, so that each of them
            has to tell the classes apart by itself, instead of the loss of their mean logits.
    """

    losses = ("class_loss",)

    def __init__(
        self,
        loss: str = "cross_entropy",
        target_smoothing: float = 0.0,
        per_head_loss: bool = False,
    ):
        if not 0 <= target_smoothing < 1 or (target_smoothing and loss != "binary_cross_entropy"):
            raise InputError(
                "target_smoothing should be in [0, 1), and 0 with another loss than "
                f"'binary_cross_entropy'. Received: {target_smoothing} with the loss {loss!r}"
            )
        smoothing = {"label_smoothing": target_smoothing} if target_smoothing else {}
        self.label_loss = label_loss(loss, **smoothing)
        self.loss = loss
        self.target_smoothing = target_smoothing
        self.per_head_loss = per_head_loss

    @property
    def label(self) -> str:
        return "none"  # Earlier versions named runs so, for no distillation.

    def check(self, augmentation: "Augmentation") -> None:
        smoothing = augmentation.label_smoothing
        if self.loss == "binary_cross_entropy" and smoothing > 0:
            raise InputError(
                "loss 'binary_cross_entropy' needs label_smoothing 0: smoothed, every class would "
                f"be a target. Received: label_smoothing={smoothing}"
            )

    def build(self, model):
        super().build(model)
        heads = list(self.heads.output)
        by_head = tuple(f"{name}_accuracy" for name in heads) if len(heads) > 1 else ()
        self.metrics = (*by_head, "accuracy")

    def compute_loss(self, batch: Batch, training: bool) -> dict:
        outputs = batch.outputs
        if self.per_head_loss and isinstance(outputs, dict):
            logits = list(outputs.values())
        else:
            logits = [fused_logits(outputs)]
        losses = [self.label_loss(batch.labels, x, batch.sample_weight) for x in logits]
        loss = sum(losses) / len(losses)
        return {"loss": loss, "class_loss": loss}

    def compute_metrics(self, batch: Batch) -> dict:
        figures = accuracies(batch)
        return {name: figures[name] for name in self.metrics}


def accuracies(batch: Batch) -> dict:
    """Returns whether each head, and the mean of all heads, predicts the label.

    Returns:
        1.0 or 0.0 per image (batch,), by "accuracy" for the mean and "HEAD_accuracy" for a head.
    """
    fused = fused_logits(batch.outputs)
    wanted = decisions(batch.labels, fused)
    by_head = {f"{name}_accuracy": hits(wanted, x) for name, x in batch.outputs.items()}
    return {"accuracy": hits(wanted, fused), **by_head}
