"""The Keras model that trains a student for an objective."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
from keras import ops

from keras_deit.core.compilation import check_takes_logits, compile_as_saved
from keras_deit.core.errors import InputError, missing_method
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.keras_internals import sublayers
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.layers.introspection import no_weight_decay
from keras_deit.losses import BalancedAccuracy, image_weights
from keras_deit.objectives.ema import AveragedModel, ExponentialMovingAverage
from keras_deit.objectives.faults import FaultChecks, nan_unless
from keras_deit.objectives.finite import FiniteMean, with_finite_statistics
from keras_deit.objectives.jit import compiled_on_tensorflow, jit_plan
from keras_deit.objectives.objective import Batch, Objective
from keras_deit.objectives.target_network import TargetNetwork


class TrainingModel(FaultChecks, AveragedModel):
    """Trains a student for an objective, in Keras's own training step.

    Args:
        student: model of this package, or any functional Keras classifier that returns logits.
        objective: objective, which is built here and cannot be used for another training.
        training_mode: whether the student is trained in training mode. If not, as in DeiT's
            fine-tuning at 384, nothing is dropped and batch statistics do not change.
        ema_decay: decay of the exponential moving average `ema` of the student's weights, which
            starts at its present weights; 0 for no EMA. See
            `ExponentialMovingAverage.swap_weights`.
        ema_warmup: whether the decay has a warm-up, see `ExponentialMovingAverage`.
        class_weights: weight of each class in the losses of a training, which an objective gets in
            `Batch.sample_weight`; None for the same. See `losses.image_weights`.
        label_smoothing: that the labels of a training contain, which the weights do not depend on.
        balanced_accuracy: whether the mean of the accuracies of the classes is logged too.
        skip_nonfinite: whether the logged losses leave out values that are not finite, for an
            optimizer that skips such steps.

    Raises:
        InputError: the objective does not fit the student, or `ema_decay` is out of range.
    """

    def __init__(
        self,
        student: keras.Model,
        objective: Objective,
        training_mode: bool = True,
        ema_decay: float = 0.0,
        skip_nonfinite: bool = False,
        ema_warmup: bool = True,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        balanced_accuracy: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= ema_decay < 1:
            raise InputError(f"ema_decay should be at least 0 and below 1. Received: {ema_decay}")
        objective.build(student)
        _check_built(objective)
        self.student = student
        self.objective = objective
        # Keras finds layers and variables in a list of the model, not in the objective. In a
        # `.keras` file they are numbered by class in this order: student, teacher, heads.
        self.tracked_by_objective = objective.tracked()
        self._heads = objective.heads
        self.ema = None
        if ema_decay:
            self.ema = ExponentialMovingAverage(student, ema_decay, ema_warmup, name="ema")
        self.training_mode = training_mode
        self.ema_decay = ema_decay
        self.ema_warmup = ema_warmup
        self.class_weights = None
        if class_weights is not None:
            self.class_weights = tuple(map(float, class_weights))
            _check_class_weights(self.class_weights, student)
        self.label_smoothing = label_smoothing
        self.balanced_accuracy = balanced_accuracy
        classes = student.output_shape[-1]
        self._balanced = BalancedAccuracy(classes) if balanced_accuracy else None
        self.skip_nonfinite = skip_nonfinite
        self._evaluating = False
        # A mean named "loss" replaces Keras's own, which comes before it.
        losses = (*objective.losses, *(("loss",) if skip_nonfinite else ()))
        loss_mean = FiniteMean if skip_nonfinite else keras.metrics.Mean
        self._trackers = {
            **{name: loss_mean(name=name) for name in losses},
            **{name: keras.metrics.Mean(name=name) for name in objective.metrics},
        }

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of this training, without those that a model inside was compiled with.

        Keras leaves them out of a model that is a direct part, but not of one in a layer, such as
        a `Teacher`; they would overwrite the log of this training under the same names.
        """
        inner = {id(metric) for model in _models_inside(self) for metric in model.metrics}
        return [metric for metric in super().metrics if id(metric) not in inner]

    def expected_images(self) -> ImageFormat | None:
        """Returns the format of the student's images; None if it is not known."""
        return getattr(self.student, "image_format", None)

    @property
    def training_values(self) -> dict:
        """The arguments of the constructor besides student and objective."""
        return {
            "training_mode": self.training_mode,
            "ema_decay": self.ema_decay,
            "ema_warmup": self.ema_warmup,
            "class_weights": self.class_weights,
            "label_smoothing": self.label_smoothing,
            "balanced_accuracy": self.balanced_accuracy,
            "skip_nonfinite": self.skip_nonfinite,
        }

    def no_weight_decay(self) -> list[keras.Variable]:
        """Returns what the student and the objective's layers exclude from weight decay."""
        layers = (self.student, *self.objective_layers)
        return [variable for layer in layers for variable in no_weight_decay(layer)]

    @property
    def objective_layers(self) -> list[keras.layers.Layer]:
        """The layers that the objective created, such as a projector.

        The layers of a model that shares weights with the student, such as its `feature_model`,
        belong to the student.
        """
        others = (self.objective.teacher, *sublayers(self.student), *self.student.variables)
        tracked = [x for x in self.objective.tracked() if isinstance(x, keras.layers.Layer)]
        own = _own_layers(tracked, {id(other) for other in others})
        return list({id(layer): layer for layer in own}.values())

    def layer_groups(self) -> list[tuple[keras.layers.Layer, int]]:
        """Returns the student's `layer_groups`, and the objective's layers with the heads.

        Raises:
            InputError: the student does not group its layers.
        """
        if not hasattr(self.student, "layer_groups"):
            raise missing_method(self.student, "layer_groups()", "layer_decay")
        groups = self.student.layer_groups()
        top = max(group for _, group in groups)
        return [*groups, *((layer, top) for layer in self.objective_layers)]

    @property
    def averages(self) -> ExponentialMovingAverage | TargetNetwork | None:
        """The averages of the student's weights: the EMA, or those of the objective."""
        return self.objective.averages if self.ema is None else self.ema

    def call(self, images, training=False):
        """Computes the outputs of the objective, such as each head's logits by name."""
        return self.objective.forward(images, training=training and self.training_mode)

    def compile(self, optimizer="adamw", loss=None, jit_compile="auto", **kwargs):
        """Configures the training, as `keras.Model.compile` does.

        Args:
            optimizer: any Keras optimizer.
            loss: loss of labels and logits, which replaces the label loss of the objective.
            jit_compile: as in Keras; on TensorFlow without an accelerator "auto" and True compile
                the student's part of the step (see `jit_plan`).
            **kwargs: arguments of Keras's `compile`. `metrics` get the fused logits.

        Raises:
            InputError: the objective computes its own loss, or a loss or metric would take the
                logits for probabilities.
        """
        metrics = {name: kwargs.get(name) for name in ("metrics", "weighted_metrics")}
        check_takes_logits(self.student.name, loss=loss, **metrics)
        self._wanted_jit, self._given_loss = jit_compile, loss
        whole, student = jit_plan(jit_compile, self.student)
        self._jit_student = student and not kwargs.get("run_eagerly", False)
        if loss is not None:
            if not hasattr(self.objective, "label_loss"):
                raise InputError(
                    f"{type(self.objective).__name__} computes its own loss. Received: loss={loss}"
                )
            self.objective.label_loss = _as_loss(loss)
        super().compile(optimizer=optimizer, jit_compile=whole, **kwargs)

    def get_compile_config(self):
        # The arguments as they were given, not what they became on this machine.
        config = super().get_compile_config()
        if not config:
            return config
        loss = self._given_loss and keras.saving.serialize_keras_object(self._given_loss)
        return {**config, "loss": loss, "jit_compile": self._wanted_jit}

    def compile_from_config(self, config):
        compile_as_saved(self, config)

    def train_step(self, *args):
        # Keras calls train_step(data) on TensorFlow and PyTorch, train_step(state, data) on JAX.
        *state, data = args
        data = self._with_targets(data, True, *state)
        step = self._student_step(super().train_step)
        if self.skip_nonfinite:
            step = with_finite_statistics(step, self, self.student)
        return step(*state, data)

    @property
    def updates_after_step(self) -> bool:
        overridden = type(self.objective).after_step is not Objective.after_step
        return super().updates_after_step or overridden

    def after_step(self, changed, steps):
        super().after_step(changed, steps)
        self.objective.after_step(changed, steps)

    def test_step(self, *args):
        *state, data = args
        data = self._with_targets(data, False, *state)
        return self._student_step(super().test_step)(*state, data)

    def evaluate(self, *args, **kwargs):
        with self._evaluation():
            return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self._evaluation():
            return super().test_on_batch(*args, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        batch, possible = self._possible(Batch.unpack(x, y, sample_weight, y_pred))
        if training and self.class_weights is not None:
            batch.sample_weight = self._weighted(batch)
        terms = self.objective.compute_loss(batch, training)
        if possible is not None:
            possible = ops.all(possible)
            terms = {name: nan_unless(possible, term) for name, term in terms.items()}
        self._check_names("losses", {*terms, "loss"}, training)
        if "loss" not in terms:
            raise InputError(f"{type(self.objective).__name__}.compute_loss should return a loss.")
        for name in terms.keys() - {"loss"}:
            self._track_loss(name, terms[name], x)
        regularization = sum(self.losses) / num_replicas_in_sync() if self.losses else 0.0
        total = terms["loss"] + regularization
        if self.skip_nonfinite:
            self._track_loss("loss", total, x)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        batch, possible = self._possible(Batch.unpack(x, y, sample_weight, y_pred))
        figures = self.objective.compute_metrics(batch)
        if possible is not None:
            figures = {name: nan_unless(possible, values) for name, values in figures.items()}
        self._check_names("metrics", figures.keys(), training=not self._evaluating)
        for name, values in figures.items():
            self._trackers[name].update_state(values, sample_weight=sample_weight)
        predictions = self.objective.predictions(batch)
        if self._balanced is not None:
            self._balanced.update_state(batch.labels, predictions, sample_weight)
        return super().compute_metrics(x, batch.labels, predictions, sample_weight)

    def get_metrics_result(self):
        logged = self.objective.logged(training=not self._evaluating)
        silent = {*self.objective.losses, *self.objective.metrics} - set(logged)
        return {k: v for k, v in super().get_metrics_result().items() if k not in silent}

    def _weighted(self, batch: Batch):
        """Returns the weights of the images, times those of their classes."""
        weights = image_weights(batch.labels, self.class_weights, self.label_smoothing)
        return weights if batch.sample_weight is None else weights * batch.sample_weight

    def _check_names(self, kind: str, returned: set[str], training: bool) -> None:
        """Checks the names of the losses or metrics that the objective has computed.

        One that is missing would be logged as 0, and one that is not declared would be lost.
        """
        declared = {*getattr(self.objective, kind)}
        missing = (declared & {*self.objective.logged(training)}) - returned
        surplus = returned - declared - {"loss"}
        if missing or surplus:
            raise InputError(
                f"{type(self.objective).__name__} should compute the {kind} that it declares: "
                f"{', '.join(sorted(declared))}. Missing: {', '.join(sorted(missing)) or 'none'}; "
                f"not declared: {', '.join(sorted(surplus)) or 'none'}."
            )

    def _with_targets(self, data, training: bool, state=None):
        """Returns the batch with the objective's targets beside the labels."""
        if not self.objective.has_targets(training):
            return data
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        batch = Batch.unpack(x, y, sample_weight)
        if state is None:
            targets = self.objective.targets(batch)
        else:
            # On JAX the step's variables are arguments of the compiled function. A teacher's
            # weights that are read anywhere else would become constants in the program.
            frozen = zip(self.non_trainable_variables, state[1], strict=True)
            with keras.StatelessScope(state_mapping=list(frozen)):
                targets = self.objective.targets(batch)
        index = {} if batch.index is None else {"index": batch.index}
        y = {"labels": batch.labels, **index, **targets}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _student_step(self, step):
        return compiled_on_tensorflow(step) if self._jit_student else step

    def _track_loss(self, name, loss, images):
        # Keras divided the loss by the number of replicas; the log shows that of the batch.
        self._trackers[name].update_state(
            ops.stop_gradient(loss) * num_replicas_in_sync(), sample_weight=_count(images)
        )

    @contextlib.contextmanager
    def _evaluation(self) -> Iterator[None]:
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False


def _count(images):
    """Returns the number of images in a batch, which can have views of several sizes."""
    return ops.shape(keras.tree.flatten(images)[0])[0]


def _models_inside(layer: keras.layers.Layer) -> Iterator[keras.Model]:
    for inner in sublayers(layer):
        if isinstance(inner, keras.Model):
            yield inner
        yield from _models_inside(inner)


def _own_layers(layers: list[keras.layers.Layer], others: set[int]) -> Iterator:
    """Yields the layers, or their sublayers, that have no variable in `others`.

    Args:
        layers: layers of the objective.
        others: ids of other layers and variables.
    """
    for layer in layers:
        shared = [variable for variable in layer.variables if id(variable) in others]
        if id(layer) in others:
            continue
        if not shared:
            yield layer
        elif len(shared) < len(layer.variables):
            yield from _own_layers(sublayers(layer), others)


def _check_class_weights(class_weights: tuple[float, ...], student: keras.Model) -> None:
    classes = student.output_shape[-1]
    if len(class_weights) != classes or min(class_weights) < 0:
        raise InputError(
            f"class_weights should be {classes} numbers of 0 or more. Received: {class_weights}"
        )


def _check_built(objective: Objective) -> None:
    if objective.mode not in ("min", "max"):
        raise InputError(
            f"mode of {type(objective).__name__} should be min or max. Received: {objective.mode!r}"
        )
    for layer in objective.tracked():
        if isinstance(layer, keras.layers.Layer) and not layer.built:
            raise InputError(
                f"{type(objective).__name__} should build its layer {layer.name} in `build`: the "
                "optimizer has to know its variables."
            )


def _as_loss(loss) -> keras.losses.Loss:
    """Returns a `Loss` object for any value that `compile` accepts as a loss."""
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)


class _FunctionLoss(keras.losses.Loss):
    """A function of labels and logits as a `Loss` object."""

    def __init__(self, function):
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)
