"""Training a student beside a frozen teacher."""

import contextlib

import keras
from keras import ops

from keras_deit.distillation.arguments import check_distillation, check_teacher
from keras_deit.distillation.execution import (
    compiled_on_tensorflow,
    jit_plan,
    summed_replicas,
)
from keras_deit.distillation.finite_mean import FiniteMean
from keras_deit.distillation.finite_statistics import with_finite_statistics
from keras_deit.distillation.losses import (
    HardDistillation,
    LabelCrossentropy,
    SoftDistillation,
    are_distributions,
)
from keras_deit.distillation.weight_average import AveragedTraining, WeightAverage


@keras.saving.register_keras_serializable(package="keras_deit")
class Distiller(AveragedTraining):
    """Trains a student's class head on the labels and its distillation head on the teacher.

    loss = (1 − α)·class loss + α·distillation loss (DeiT §4). A student with one head gets both
    terms on that head, the papers' "usual" distillation. With `kind="none"` the class loss acts
    on `student(images)`, the mean of the heads.

    Logged: `loss`, `class_loss`, `distillation_loss`; the accuracies `class_accuracy`,
    `distillation_accuracy` and, of the fused heads, `accuracy`; and `agreement`, how often the
    fused decision is the teacher's. Under mixed labels an image counts as its largest part.
    Validation does not run the teacher unless `validate_agreement`: its `loss` is then the class
    loss alone.

    Args:
        student: a model of this package, or any functional Keras classifier that gives logits.
        teacher: a `Teacher`, or any Keras model from the student's images to logits (batch,
            classes). It is frozen (`trainable = False`) and always runs in inference mode. None
            only with `kind="none"`.
        kind: "hard" for the teacher's decision, "soft" for its softened distribution, "none".
        alpha: weight α of the distillation loss, in [0, 1].
        temperature: τ of the soft loss.
        validate_agreement: whether `evaluate` and validation run the teacher, and log
            `agreement` and, unless `kind="none"`, `distillation_loss`.
        training_mode: whether the student is trained in training mode. If not, as in DeiT's
            fine-tuning at 384, nothing is dropped and batch statistics stay as they are.
        ema_decay: of the average of the student's weights that `ema` then keeps, beginning with
            the ones it has now; 0 for none. Nothing here uses the averages: see
            `WeightAverage.lent_to`.
        skip_nonfinite: whether the logged losses leave out what is not finite, beside an optimiser
            that leaves out such steps.

    Raises:
        InputError: an argument out of its range, a missing teacher, or a teacher with another
            number of classes than the student.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Layer | None = None,
        kind: str = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        validate_agreement: bool = False,
        training_mode: bool = True,
        ema_decay: float = 0.0,
        skip_nonfinite: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_distillation(kind, alpha, temperature, ema_decay)
        check_teacher(student, teacher, kind)
        self.student = student
        self.teacher = teacher
        if teacher is not None:
            teacher.trainable = False
        self.kind = kind
        self.alpha = alpha
        self.temperature = temperature
        self.validate_agreement = validate_agreement
        self.training_mode = training_mode
        self.ema_decay = ema_decay
        self.ema = WeightAverage(student, ema_decay, name="ema") if ema_decay else None
        self.skip_nonfinite = skip_nonfinite
        self._evaluating = False
        self._heads = getattr(student, "heads", None) or keras.Model(
            student.input, {"class": student.output}
        )
        distillation = SoftDistillation(temperature) if kind == "soft" else HardDistillation()
        self._distillation_loss = distillation
        # Keras's own mean of the loss comes before these: one of the same name takes its place.
        losses = ("class_loss", "distillation_loss", *(("loss",) if skip_nonfinite else ()))
        loss_mean = FiniteMean if skip_nonfinite else keras.metrics.Mean
        shares = ("class_accuracy", "distillation_accuracy", "accuracy", "agreement")
        self._trackers = {
            **{name: loss_mean(name=name) for name in losses},
            **{name: keras.metrics.Mean(name=name) for name in shares},
        }

    def call(self, images, training=False):
        """Images (batch, height, width, 3) to each head's logits (batch, classes), by name."""
        return self._heads(images, training=training and self.training_mode)

    def compile(self, optimizer="adamw", loss=None, jit_compile="auto", **kwargs):
        """As `keras.Model.compile`.

        Args:
            optimizer: any Keras optimiser.
            loss: the class loss, on logits; `LabelCrossentropy` where none is given.
            jit_compile: as in Keras, but on TensorFlow without an accelerator "auto" and True
                compile the student's part of the step (`jit_plan` says why).
            **kwargs: as in Keras. `metrics` see the fused logits.
        """
        self._jit_wanted = jit_compile
        whole, student = jit_plan(jit_compile, self.student)
        self._jit_student = student and not kwargs.get("run_eagerly", False)
        loss = loss or LabelCrossentropy()
        super().compile(optimizer=optimizer, loss=loss, jit_compile=whole, **kwargs)

    def get_compile_config(self):
        # What was asked for, not what it came to on this machine.
        config = super().get_compile_config()
        return config and {**config, "jit_compile": self._jit_wanted}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def train_step(self, *args):
        # Keras calls train_step(data) on TensorFlow and PyTorch, train_step(state, data) on JAX.
        *state, data = args
        if self.kind != "none":
            data = self._with_teacher(data, *state)
        step = self._student_step(super().train_step)
        if self.skip_nonfinite:
            step = with_finite_statistics(step, self, self.student)
        return step(*state, data)

    def test_step(self, *args):
        *state, data = args
        if self._teacher_validates:
            data = self._with_teacher(data, *state)
        return self._student_step(super().test_step)(*state, data)

    def evaluate(self, *args, **kwargs):
        with self._evaluation():
            return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self._evaluation():
            return super().test_on_batch(*args, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, teacher = _split(y)
        fused = self.kind == "none"
        class_logits = _fuse(y_pred) if fused else y_pred["class"]
        total = super().compute_loss(x, labels, class_logits, sample_weight, training)
        # Keras added the student's regularisation, which is neither loss's.
        regularisation = sum(self.losses) / summed_replicas() if self.losses else 0.0
        class_loss = total - regularisation
        self._track_loss("class_loss", class_loss, class_logits)
        if teacher is None or fused:
            return self._logged(total, class_logits)
        student = y_pred.get("distillation", y_pred["class"])
        distillation_loss = self._distillation_loss(teacher, student, sample_weight)
        self._track_loss("distillation_loss", distillation_loss, student)
        mixed = (1 - self.alpha) * class_loss + self.alpha * distillation_loss
        return self._logged(mixed + regularisation, class_logits)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        labels, teacher = _split(y)
        fused = _fuse(y_pred)
        mixed = are_distributions(labels, fused)
        targets = _decisions(labels) if mixed else ops.reshape(labels, (-1,))
        pairs = {"accuracy": (targets, fused), "class_accuracy": (targets, y_pred["class"])}
        if "distillation" in y_pred:
            pairs["distillation_accuracy"] = (targets, y_pred["distillation"])
        if teacher is not None:
            pairs["agreement"] = (_decisions(teacher), fused)
        for name, (wanted, logits) in pairs.items():
            hits = ops.cast(ops.cast(wanted, "int32") == _decisions(logits), "float32")
            self._trackers[name].update_state(hits, sample_weight=sample_weight)
        return super().compute_metrics(x, labels, fused, sample_weight)

    def get_metrics_result(self):
        results = super().get_metrics_result()
        for name in self._silent_metrics():
            results.pop(name, None)
        return results

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
            "training_mode": self.training_mode,
            "ema_decay": self.ema_decay,
            "skip_nonfinite": self.skip_nonfinite,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        models = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects)
            for key in ("student", "teacher")
            if config[key] is not None
        }
        return cls(**{**config, **models})

    @property
    def _teacher_validates(self) -> bool:
        return self.validate_agreement and self.teacher is not None

    @contextlib.contextmanager
    def _evaluation(self):
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False

    def _student_step(self, step):
        return compiled_on_tensorflow(step) if self._jit_student else step

    def _with_teacher(self, data, state=None):
        """The batch with the teacher's logits beside its labels."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if state is None:
            logits = self.teacher(x, training=False)
        else:
            # On JAX the step's variables are arguments of the compiled function. Read anywhere
            # else, the teacher's weights would become constants inside the program.
            frozen = zip(self.non_trainable_variables, state[1], strict=True)
            with keras.StatelessScope(state_mapping=list(frozen)):
                logits = self.teacher(x, training=False)
        targets = {"labels": y, "teacher": ops.stop_gradient(logits)}
        return keras.utils.pack_x_y_sample_weight(x, targets, sample_weight)

    def _logged(self, total, logits):
        if self.skip_nonfinite:
            self._track_loss("loss", total, logits)
        return total

    def _track_loss(self, name, loss, logits):
        # Keras divided the loss by the number of replicas; the log shows the batch's own.
        self._trackers[name].update_state(
            ops.stop_gradient(loss) * summed_replicas(), sample_weight=ops.shape(logits)[0]
        )

    def _silent_metrics(self) -> set[str]:
        """Names of the metrics that this pass has no values for."""
        silent = set()
        if "distillation" not in self._heads.output:
            silent |= {"distillation_accuracy", "class_accuracy"}
        distilling = self.kind != "none"
        with_teacher = self._teacher_validates if self._evaluating else distilling
        if not with_teacher:
            silent.add("agreement")
        if not with_teacher or not distilling:
            silent.add("distillation_loss")
        return silent


def _split(y):
    """Labels, and the teacher's logits where `_with_teacher` put them beside."""
    return (y["labels"], y["teacher"]) if isinstance(y, dict) else (y, None)


def _fuse(heads):
    logits = list(heads.values())
    return sum(logits) / len(logits)


def _decisions(scores):
    return ops.cast(ops.argmax(scores, axis=-1), "int32")
