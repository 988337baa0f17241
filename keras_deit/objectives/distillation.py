"""Distillation from a teacher, and the model that does it in Keras's `fit`."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import channels_last_images
from keras_deit.losses import HardDistillation, SoftDistillation
from keras_deit.objectives.faults import are_probabilities, nan_unless, usable_rows
from keras_deit.objectives.objective import Batch, fused_logits, hits, register_objective
from keras_deit.objectives.requirements import warn_of_hidden_heads
from keras_deit.objectives.supervised import Supervised, accuracies
from keras_deit.objectives.training_model import TrainingModel
from keras_deit.teachers import Replay, TeacherRequest

KINDS = ("hard", "soft", "none")


@register_objective
class Distillation(Supervised):
    """Trains a student's class head on the labels and its distillation head on a teacher.

    loss = (1 − α)·class loss + α·distillation loss (DeiT §4). A student with one head gets both
    terms on that head, the papers' "usual" distillation. With `kind="none"` the class loss acts on
    the mean of the heads, and there is no teacher, unless `validate_agreement` compares with it.

    It logs `loss`, `class_loss`, `distillation_loss`; the accuracies `class_accuracy`,
    `distillation_accuracy` and, for the mean of the heads, `accuracy`; and `agreement`, the
    fraction of images for which the mean of the heads predicts the class that the teacher predicts.
    Validation runs the teacher only if `validate_agreement` is set. Otherwise its `loss` is the
    class loss.

    Args:
        loss: loss of the labels, as in `Supervised`.
        kind: kind of distillation: "hard" to learn the teacher's decision, "soft" to learn its
            softened distribution, or "none" to learn from the labels alone.
        alpha: weight α of the distillation loss in the loss, in [0, 1].
        temperature: temperature τ of soft distillation.
        teacher: teacher model: a name of this package (regnety_160), a KerasCV name
            (kerascv:resnet18_v2), a keras.applications name (applications:ConvNeXtTiny), a .keras
            file, savedmodel:DIR, onnx:FILE, on the PyTorch backend timm:NAME, or replay:DIR for the
            labels that keras-deit label has stored.
        teacher_weights: weights of the teacher: "imagenet" for the released ones of a
            keras.applications teacher or of a model of this package; for the latter also a file,
            the directory of a run or hf://OWNER/NAME; for a model of timm a checkpoint.
        teacher_pixels: pixels that the teacher in a file takes, if nothing beside it says so:
            "0-255", "0-1", "-1-1", or normalized as "imagenet" or "caffe".
        teacher_outputs: outputs of the teacher in a file, if nothing beside it says so: "logits" or
            "probabilities".
        teacher_recipe: recipe of the teacher's training, a `keras_deit.recipes.TeacherRecipe`, if
            it has to be trained first; None for the default one.
        teacher_optional: whether to train without the teacher, on the labels alone, if it has to be
            trained first and then is hardly better than a guess.
        validate_agreement: whether validation also runs the teacher and logs how often the model
            agrees with it.
    """

    losses = ("class_loss", "distillation_loss")
    flag_names = {"kind": "distillation"}

    def __init__(
        self,
        loss: str = "cross_entropy",
        kind: str = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        teacher: str | None = None,
        teacher_weights: str | None = None,
        teacher_pixels: str | None = None,
        teacher_outputs: str | None = None,
        teacher_recipe: Any = None,
        teacher_optional: bool = False,
        validate_agreement: bool = False,
    ):
        super().__init__(loss)
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise InputError(f"kind of distillation should be one of {known}. Received: {kind!r}")
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha should be in [0, 1]. Received: {alpha}")
        if temperature <= 0:
            raise InputError(f"temperature should be above 0. Received: {temperature}")
        self.kind = kind
        self.alpha = alpha
        self.temperature = temperature
        self.teacher_optional = teacher_optional
        self.validate_agreement = validate_agreement
        self._request = teacher and TeacherRequest(
            teacher, teacher_weights, teacher_recipe, teacher_pixels, teacher_outputs
        )
        is_soft = kind == "soft"
        self.distillation_loss = SoftDistillation(temperature) if is_soft else HardDistillation()

    @property
    def label(self) -> str:
        return self.kind

    def without_teacher(self) -> Supervised:
        """Returns the objective that learns from the same labels alone."""
        return Supervised(self.values["loss"])

    @property
    def teacher_request(self) -> TeacherRequest | None:
        is_unused = self.kind == "none" and not self.validate_agreement
        return None if is_unused else self._request

    def use_replay(self, replay: Replay) -> None:
        # A subclass may ask for other views or targets.
        if type(self) is not Distillation:
            super().use_replay(replay)
        stored = replay.labels
        if self.validate_agreement:
            raise InputError(
                f"{replay.path} has labels for the views of a training, and none for validation: "
                "leave --validate_agreement out, or give the teacher itself."
            )
        if self.kind == "soft" and (stored.kind, stored.temperature) != ("soft", self.temperature):
            raise InputError(
                f"Soft distillation at the temperature {self.temperature:g} needs labels that were "
                f"made for it. {replay.path} has {stored.text} ones."
            )
        self.replay = replay

    def build(self, model):
        super().build(model)
        self.metrics = ("class_accuracy", "distillation_accuracy", "accuracy", "agreement")
        if self.kind != "none":
            warn_of_hidden_heads(model)
        if self.replay is not None:
            self._check_classes(self.replay.labels.num_classes)
            return
        if self.teacher is None:
            if self.kind != "none":
                raise InputError(f"{self.kind} distillation needs a teacher. Received: None")
            return
        self._check_classes(self.teacher.compute_output_shape((None, *model.input_shape[1:]))[-1])

    def _check_classes(self, classes: int) -> None:
        own = self.model.output_shape[-1]
        if classes != own:
            raise InputError(
                f"The teacher has {classes} classes and the student {own}; fine-tune the teacher "
                "to the student's classes with keras-deit train-teacher."
            )

    def has_targets(self, training: bool) -> bool:
        if training:
            return self.kind != "none" and self.replay is None
        return self.validate_agreement and self.teacher is not None

    def targets(self, batch: Batch) -> dict:
        return {"teacher": ops.stop_gradient(self.teacher(batch.images, training=False))}

    def compute_loss(self, batch: Batch, training: bool) -> dict:
        if self.kind == "none":
            return super().compute_loss(batch, training)
        outputs, weights = batch.outputs, batch.sample_weight
        class_loss = self.label_loss(batch.labels, outputs["class"], weights)
        teacher = batch.targets.get("teacher")
        if teacher is None:
            return {"loss": class_loss, "class_loss": class_loss}
        student = outputs.get("distillation", outputs["class"])
        teacher, finite = usable_rows(teacher, student)
        distillation_loss = self.distillation_loss(teacher, student, weights)
        sound = ops.logical_and(ops.all(finite), ops.logical_not(self._is_misread(teacher)))
        distillation_loss = nan_unless(sound, distillation_loss)
        loss = (1 - self.alpha) * class_loss + self.alpha * distillation_loss
        return {
            "loss": nan_unless(sound, loss),
            "class_loss": class_loss,
            "distillation_loss": distillation_loss,
        }

    def compute_metrics(self, batch: Batch) -> dict:
        figures = accuracies(batch)
        if "teacher" in batch.targets:
            fused = fused_logits(batch.outputs)
            teacher, finite = usable_rows(batch.targets["teacher"], fused)
            agreement = nan_unless(finite, hits(ops.argmax(teacher, axis=-1), fused))
            # Infinite, to tell it from `nan`.
            misread = ops.where(self._is_misread(teacher), np.inf, 0.0)
            figures["agreement"] = agreement + ops.cast(misread, agreement.dtype)
        return figures

    def _is_misread(self, teacher):
        """Returns whether outputs of a teacher are probabilities, which only the soft loss would
        take for other logits than they stand for."""
        return are_probabilities(teacher) if self.kind == "soft" else False

    def fault(self, logs: dict) -> str | None:
        agreement = float(logs.get("agreement", 0.0))
        if math.isnan(agreement):
            return "The teacher returns logits that are not finite, and the loss is nan."
        if math.isinf(agreement):
            return (
                "The teacher returns probabilities, and soft distillation needs logits: give a "
                "teacher without its softmax, or keras_deit.Teacher with a contract that declares "
                "probabilities."
            )
        return None

    def logged(self, training: bool) -> tuple[str, ...]:
        silent = set()
        if "distillation" not in self.heads.output:
            silent |= {"distillation_accuracy", "class_accuracy"}
        if not (self.has_targets(training) or (training and self.replay is not None)):
            silent |= {"agreement", "distillation_loss"}
        if self.kind == "none":
            silent.add("distillation_loss")
        return tuple(name for name in super().logged(training) if name not in silent)


@keras.saving.register_keras_serializable(package="keras_deit")
class Distiller(TrainingModel):
    """Distills a teacher into a student with Keras's `compile` and `fit`; see `Distillation`.

    Args:
        student: model of this package, or any functional Keras classifier that returns logits.
        teacher: `Teacher`, or any Keras model that maps the student's images to logits (batch,
            classes). It is frozen (`trainable = False`) and always runs in inference mode. None is
            possible only with `kind="none"`.
        kind: kind of distillation: "hard" to learn the teacher's decision, "soft" to learn its
            softened distribution, or "none".
        alpha: weight α of the distillation loss, in [0, 1].
        temperature: temperature τ of soft distillation.
        validate_agreement: whether `evaluate` and validation run the teacher, and log
            `agreement` and, unless `kind="none"`, `distillation_loss`.
        **kwargs: arguments of `TrainingModel`: `training_mode`, `ema_decay`, `skip_nonfinite`,
            `ema_warmup`, `class_weights`, `label_smoothing`, `balanced_accuracy`.

    Raises:
        InputError: an argument is out of range, the teacher is missing, or it has another number of
            classes than the student.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.layers.Layer | None = None,
        kind: str = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        validate_agreement: bool = False,
        **kwargs,
    ):
        objective = Distillation(
            kind=kind,
            alpha=alpha,
            temperature=temperature,
            validate_agreement=validate_agreement,
        )
        objective.use_teacher(teacher)
        super().__init__(student, objective, **kwargs)

    # The arguments under their names.
    teacher = property(lambda self: self.objective.teacher)
    kind = property(lambda self: self.objective.kind)
    alpha = property(lambda self: self.objective.alpha)
    temperature = property(lambda self: self.objective.temperature)
    validate_agreement = property(lambda self: self.objective.validate_agreement)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "student": serialize(self.student),
            "teacher": None if self.teacher is None else serialize(self.teacher),
            "kind": self.kind,
            "alpha": self.alpha,
            "temperature": self.temperature,
            "validate_agreement": self.validate_agreement,
            **self.training_values,
        }

    # A teacher of KerasCV does not store which images its layers take.
    @classmethod
    @channels_last_images()
    def from_config(cls, config, custom_objects=None):
        models = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects)
            for key in ("student", "teacher")
            if config[key] is not None
        }
        # Files of earlier versions have no warm-up.
        return cls(**{"ema_warmup": False, **config, **models})
