"""DINO: self-distillation without labels."""

import dataclasses
import functools
import logging
import math
from typing import TYPE_CHECKING, ClassVar

from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.layers.tracing import largest_call
from keras_deit.objectives.dino_head import Center, DinoHead
from keras_deit.objectives.frozen import knn_top1, linear_probe_top1
from keras_deit.objectives.objective import Batch, Features, Objective, register_objective
from keras_deit.objectives.requirements import check_unmixed, pooled_features
from keras_deit.objectives.resized_student import ResizedStudent, has_fixed_size
from keras_deit.objectives.step_counter import StepCounter
from keras_deit.objectives.target_network import TargetNetwork

if TYPE_CHECKING:
    # Importing it for real would import OpenCV.
    from keras_deit.data import Augmentation, View

_logger = logging.getLogger("keras_deit")
_GLOBAL_CROPS = 2
# The smallest area of a global crop that DINO's code advises where there are no local ones.
_ADVISED_CROP = 0.14


@register_objective
class Dino(Objective):
    """Learns features without labels: "Emerging Properties in Self-Supervised Vision Transformers"
    (Caron et al., 2021).

    The student has to answer for every view of an image what a teacher answers for another one.
    The teacher is the student with the moving average of its weights, a `TargetNetwork`, and sees
    the two global crops alone. Both have a projection head in the place of the class head, which is
    not trained. The loss is the mean over images and pairs of views of −Σ p_t·log p_s, with
    p_s = softmax(s / student_temperature) and p_t = softmax((t − center) / target_temperature).

    It logs `loss`; `target_entropy`, the entropy of p_t, and `mean_target_entropy`, that of the
    mean of p_t over the batch, both as shares of ln K. Collapse shows in them: the same answer for
    all images makes them equal, a single prototype makes both 0, equal shares make both 1. A
    validation computes `knn_top1` of frozen features, by which the best weights are selected; the
    scores of a finished run have `linear_top1` too.

    The crop, policy and flip of the first global crop are those of the augmentation. A model of a
    fixed image size, as ResMLP, is trained with the global crops alone; DINO's code then advises
    a `crop_scale` from 0.14 to 1.

    Args:
        prototypes: number K of outputs of the projection head of DINO.
        projector_width: width of the hidden layers of the projection head of DINO.
        bottleneck: width of the bottleneck of the projection head of DINO.
        head_norm: whether the projection head of DINO has batch normalization, with which small
            trainings start; the teacher's has the statistics of its batch, too.
        student_temperature: temperature of the student's answers in DINO.
        target_temperature: temperature of the teacher's answers in DINO.
        target_warmup_temperature: temperature of the teacher's answers in DINO at the start.
        target_warmup_epochs: epochs in which the temperature of the teacher's answers in DINO goes
            linearly from its value at the start to the final one.
        target_momentum: momentum of the teacher's weights at the start of DINO; it grows to 1 by
            half a cosine.
        center_momentum: momentum of the center of the teacher's answers in DINO.
        freeze_epochs: epochs at the start in which the prototypes of DINO are not trained.
        local_crops: number of local crops of each image in DINO.
        local_crop_size: side of the local crops in pixels.
        local_crop_scale: range of the area of a local crop, as fractions of the image's area.
        second_auto_augment: augmentation policy of the second global crop; by default that of the
            first.
        local_auto_augment: augmentation policy of the local crops; by default that of the first
            global crop.
        neighbors: number of training images that vote on the class of an image in a validation.
        linear_probe: whether the scores of a finished run of DINO have those of a linear probe.
    """

    losses = ("mean_target_entropy",)
    metrics = ("target_entropy",)
    monitor: ClassVar[str] = "val_knn_top1"
    # Whether the student cannot see the local crops that were asked for.
    _without_local_crops = False

    def __init__(
        self,
        prototypes: int = 65536,
        projector_width: int = 2048,
        bottleneck: int = 256,
        head_norm: bool = False,
        student_temperature: float = 0.1,
        target_temperature: float = 0.04,
        target_warmup_temperature: float = 0.04,
        target_warmup_epochs: float = 0.0,
        target_momentum: float = 0.996,
        center_momentum: float = 0.9,
        freeze_epochs: float = 1.0,
        local_crops: int = 8,
        local_crop_size: int = 96,
        local_crop_scale: tuple[float, float] = (0.05, 0.4),
        second_auto_augment: str | None = None,
        local_auto_augment: str | None = None,
        neighbors: int = 20,
        linear_probe: bool = True,
    ):
        temperatures = (student_temperature, target_temperature, target_warmup_temperature)
        if min(temperatures) <= 0:
            raise InputError(f"DINO's temperatures should be above 0. Received: {temperatures}")
        if not (0 <= target_momentum <= 1 and 0 <= center_momentum < 1):
            raise InputError(
                "target_momentum should be in [0, 1] and center_momentum in [0, 1). Received: "
                f"{target_momentum}, {center_momentum}"
            )
        if min(prototypes, projector_width, bottleneck, local_crop_size) < 1 or local_crops < 0:
            raise InputError(
                "prototypes, projector_width, bottleneck and local_crop_size should be 1 or more, "
                f"local_crops 0 or more. Received: {prototypes}, {projector_width}, {bottleneck}, "
                f"{local_crop_size}, {local_crops}"
            )
        self.prototypes, self.head_widths = prototypes, (projector_width, bottleneck)
        self.head_norm = head_norm
        self.student_temperature, self.target_temperature = temperatures[:2]
        self.target_warmup_temperature = target_warmup_temperature
        self.target_warmup_epochs, self.freeze_epochs = target_warmup_epochs, freeze_epochs
        self.target_momentum, self.center_momentum = target_momentum, center_momentum
        self.local_crops, self.local_crop_size = local_crops, local_crop_size
        self.local_crop_scale = tuple(local_crop_scale)
        self.policies = (second_auto_augment, local_auto_augment)
        self.neighbors, self.linear_probe = neighbors, linear_probe

    @property
    def views(self) -> int:
        """The number of crops of an image."""
        return _GLOBAL_CROPS + self.local_crops

    def check(self, augmentation: "Augmentation") -> None:
        check_unmixed(augmentation, "DINO learns without labels and does not mix images")
        self.augmented_views(augmentation)

    def augmented_views(self, augmentation: "Augmentation") -> "tuple[View, ...]":
        from keras_deit.data import View

        if self._without_local_crops and augmentation.crop_scale[0] > _ADVISED_CROP:
            _logger.warning(
                "Without local crops DINO's code advises --crop_scale %s,1. Received: %s",
                *(_ADVISED_CROP, ",".join(f"{value:g}" for value in augmentation.crop_scale)),
            )
        second, local = (policy or augmentation.auto_augment for policy in self.policies)
        local = dataclasses.replace(
            augmentation, auto_augment=local, crop_scale=self.local_crop_scale
        )
        return (
            View(augmentation),
            View(dataclasses.replace(augmentation, auto_augment=second)),
            *(View(local, self.local_crop_size) for _ in range(self.local_crops)),
        )

    def image_equivalents(self, image_format):
        size = self.local_crop_size**2 / (image_format.height * image_format.width)
        return _GLOBAL_CROPS + self.local_crops * size

    def use_length(self, length):
        super().use_length(length)
        if hasattr(self, "counter"):
            self.counter.use_length(length)

    def build(self, model):
        super().build(model)
        if self.length is None:
            raise InputError(
                "DINO has schedules over the whole training. Call use_length(TrainingLength(steps, "
                "steps_per_epoch, num_images)) before it is built."
            )
        if hasattr(model, "head_layers"):
            for head in model.head_layers.values():
                head.trainable = False
        self.features = pooled_features(model, "DINO")
        values = (self.prototypes, *self.head_widths, self.head_norm)
        self.head = DinoHead(*values, name="dino_head")
        self.head.build(self.features.output_shape)
        layers = (self.features, self.head)
        self.target = TargetNetwork(layers, self.target_momentum, self.length.steps)
        self.center = Center(self.prototypes, self.center_momentum)
        self.counter = StepCounter(self.length)
        if self.local_crops and has_fixed_size(model):
            _logger.warning(
                "%s takes images of one size only: DINO trains it with the two global crops alone.",
                model.name,
            )
            self.local_crops, self._without_local_crops = 0, True
        self.resized = ResizedStudent(model, self.local_crop_size) if self.local_crops else None

    @property
    def averages(self):
        return self.target

    def forward(self, images, training: bool):
        crops = images if isinstance(images, dict) else {"global": images}
        count = crops["global"].shape[1]
        rows = _rows(crops["global"])
        features = [_by_image(self.features(rows, training=training), count)]
        if "local" in crops:
            small = self.resized(_rows(crops["local"]), training=training)
            features.append(_by_image(small, self.local_crops))
        features = ops.concatenate(features, axis=1)
        frozen = self.counter.share_of(self.freeze_epochs) < 1
        student = self.head(_rows(features), frozen=frozen, training=training)
        target = functools.partial(self._scores, training=training)
        scores = self.target.predict(target, _rows(crops["global"][:, :_GLOBAL_CROPS]))
        target = (scores - self.center.value) / self._temperature()
        return {
            "student": _by_image(student, features.shape[1]),
            "target": _by_image(ops.log_softmax(target), _GLOBAL_CROPS),
            "target_scores": _by_image(scores, _GLOBAL_CROPS),
        }

    def _scores(self, images, training):
        return self.head(self.features(images, training=False), training=training)

    def _temperature(self):
        """Returns the temperature of the teacher's answers in this step, a scalar."""
        start, end = self.target_warmup_temperature, self.target_temperature
        return start + (end - start) * self.counter.share_of(self.target_warmup_epochs)

    def activation_bytes(self, images):
        prototypes, width = self.prototypes, self.head_widths[1]
        # The student's scores, their log-softmax and the gradients of both; of the teacher its
        # scores, answers and their logarithms.
        scores = images * (4 * self.views + 3 * _GLOBAL_CROPS) * prototypes
        # Student and teacher normalize the prototypes; the student's have gradients.
        kernels = 6 * width * prototypes
        shape = self.features.input_shape
        return 4 * (scores + kernels + images * _GLOBAL_CROPS * largest_call(self.features, shape))

    def predictions(self, batch: Batch):
        return batch.outputs["student"][:, 0]

    def compute_loss(self, batch: Batch, training: bool) -> dict:
        outputs = batch.outputs
        loss, entropy = dino_loss(outputs["student"], outputs["target"], self.student_temperature)
        if training:
            self.center.collect(_rows(outputs["target_scores"]))
        replicas = num_replicas_in_sync()
        return {"loss": loss / replicas, "mean_target_entropy": entropy / replicas}

    def compute_metrics(self, batch: Batch) -> dict:
        target = batch.outputs["target"]
        entropy = -ops.sum(ops.exp(target) * target, axis=-1) / math.log(self.prototypes)
        return {"target_entropy": ops.mean(entropy, axis=-1)}

    def after_step(self, changed, steps):
        self.target.update(changed, steps)
        self.center.update(changed)
        self.counter.update(changed, steps)

    def validate(self, train: Features, validation: Features) -> dict[str, float]:
        return {"knn_top1": knn_top1(train, validation, self.neighbors)}

    def score_test(self, train: Features, validation: Features, test: Features) -> dict:
        scores = self.validate(train, test)
        if self.linear_probe:
            scores["linear_top1"] = linear_probe_top1(train, test)
        return scores


def dino_loss(student, target, temperature: float):
    """Returns the loss of DINO (§3.1, equation 3), and the entropy of the teacher's mean answer.

    Args:
        student: scores (batch, crops, prototypes), the global crops first.
        target: logarithms of the teacher's answers for the global crops, (batch, global crops,
            prototypes).
        temperature: of the student.

    Returns:
        The mean of −Σ p_t·log p_s over images and pairs of a global crop and another crop: among
        2 global and n local ones 2·(2 + n) − 2. And the entropy of the mean answer of the teacher,
        divided by ln K. Both are scalars.
    """
    crops, globals_ = student.shape[1], target.shape[1]
    log_student = ops.log_softmax(student / temperature)
    shares = ops.exp(target)
    terms = -ops.matmul(shares, ops.swapaxes(log_student, 1, 2))
    others = 1 - ops.eye(globals_, crops)
    pairs = globals_ * crops - min(globals_, crops)
    loss = ops.mean(ops.sum(terms * others, axis=(1, 2))) / pairs
    mean = ops.mean(shares, axis=(0, 1))
    entropy = -ops.sum(mean * ops.log(ops.maximum(mean, 1e-30)))
    return loss, entropy / math.log(student.shape[-1])


def _rows(values):
    """Returns views (batch, views, ...) as rows (batch·views, ...)."""
    return ops.reshape(values, (-1, *values.shape[2:]))


def _by_image(rows, views: int):
    """Returns rows (batch·views, width) by image, (batch, views, width)."""
    return ops.reshape(rows, (-1, views, rows.shape[-1]))
