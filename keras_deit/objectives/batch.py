"""What an objective computes with: a batch inside a step, and the features of a split."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class Batch:
    """A batch inside a step.

    Attributes:
        images: (batch, height, width, 3), or (batch, views, height, width, 3) if the objective
            asks for several views; {"global": ..., "local": ...} if it asks for views of two sizes,
            those of the student's size first.
        labels: integers (batch,), or distributions (batch, classes) in a training.
        index: position of each image in its split, (batch,); None unless the objective asks for it.
        sample_weight: weights of the images, (batch,), or None.
        targets: result of `Objective.targets`.
        outputs: result of `Objective.forward`; None before the forward pass.
    """

    images: Any
    labels: Any
    index: Any = None
    sample_weight: Any = None
    targets: dict = dataclasses.field(default_factory=dict)
    outputs: Any = None

    @classmethod
    def unpack(cls, x, y, sample_weight=None, outputs=None) -> "Batch":
        """Returns the batch for the x, y and sample_weight of Keras's step."""
        rest = dict(y) if isinstance(y, dict) else {"labels": y}
        labels, index = rest.pop("labels"), rest.pop("index", None)
        return cls(x, labels, index, sample_weight, rest, outputs)


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of a split: the input of the class head for every image.

    Attributes:
        features: float32 (images, width); what the `embedder` of the objective makes of them, if it
            has one.
        labels: integers (images,).
        fine_labels: of data with two levels of labels, the fine ones, integers (images,); else
            None.
        probabilities: of the classes of the model by its heads, (images, classes), for the final
            scores of data with two levels of labels, if the objective trains the heads; else None.
    """

    features: Any
    labels: Any
    fine_labels: Any = None
    probabilities: Any = None
