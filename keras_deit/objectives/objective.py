"""The base class of objectives: contents of a batch, loss, metrics, and their registry."""

import inspect
from typing import TYPE_CHECKING, ClassVar

import keras
from keras import ops

from keras_deit.core.errors import InputError, missing_method, unknown_name
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.registry import Registry
from keras_deit.losses import are_distributions
from keras_deit.objectives.batch import Batch, Features
from keras_deit.objectives.length import TrainingLength
from keras_deit.objectives.requirements import check_heads
from keras_deit.objectives.target_network import TargetNetwork
from keras_deit.teachers import Replay, Teacher, TeacherRequest

if TYPE_CHECKING:
    # Importing it for real would import OpenCV.
    from keras_deit.data import Augmentation, View

_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Objective:
    """The objective for which a student is trained. `register_objective` registers a subclass.

    The arguments of a subclass's constructor are values of the recipe, so they need defaults and
    have flags. Their help text comes from the section Args of the class docstring. An objective is
    data until `build` is called: recipes contain it, and `copy` returns an unbuilt one. An argument
    named `teacher_recipe` has the flags of a teacher's training.

    Class attributes:
        views: number of augmented copies of an image in a batch of a training.
        uses_index: whether a batch has the position of each image in its split.
        losses: names of the losses in the result of `compute_loss` that are logged, besides "loss".
        metrics: names of the metrics in the result of `compute_metrics`, which are averaged.
        monitor: name of the logged value by which the best weights are selected.
        mode: whether the best value of `monitor` is the largest ("max") or the smallest ("min").
        flag_names: names of flags by constructor argument, if they are different.

    Attributes:
        teacher: the teacher that `use_teacher` has set, or None.
        replay: the stored labels of a teacher that `use_replay` has set, or None.
        embedder: model from the student's features to the embeddings by which images are compared,
            or None. `build` makes it. It is stored beside the weights of a run.
        length: the length of the training that `use_length` has set, or None outside of a run.
    """

    views: int = 1
    uses_index: bool = False
    losses: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    monitor: ClassVar[str] = "val_accuracy"
    mode: ClassVar[str] = "max"
    flag_names: ClassVar[dict[str, str]] = {}
    teacher: Teacher | None = None
    replay: Replay | None = None
    embedder: keras.Model | None = None
    length: TrainingLength | None = None

    def __new__(cls, *args, **kwargs):
        objective = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        bound = signature.bind(objective, *args, **kwargs)
        bound.apply_defaults()
        objective._values = {name: bound.arguments[name] for name in cls.defaults()}
        return objective

    @property
    def values(self) -> dict:
        """The arguments of the constructor by name."""
        return dict(self._values)

    @classmethod
    def defaults(cls) -> dict:
        """Returns the default of every argument of the constructor."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {p.name: p.default for p in parameters if p.kind not in _UNNAMED}

    def copy(self, **changes) -> "Objective":
        """Returns an unbuilt objective with some values changed.

        Args:
            **changes: new values by name.

        Raises:
            InputError: there is no such value, or it is out of range.
        """
        for name in changes:
            if name not in self._values:
                raise unknown_name(f"value of {type(self).__name__}", name, self._values)
        return type(self)(**{**self._values, **changes})

    def __eq__(self, other):
        return type(self) is type(other) and self._values == other._values

    def __hash__(self):
        # Values such as a list have no hash.
        return hash(type(self))

    def __repr__(self):
        values = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"{type(self).__name__}({values})"

    @property
    def label(self) -> str:
        """A short name for the directory of a run."""
        return objective_name(type(self))

    def check(self, augmentation: "Augmentation") -> None:
        """Checks that the objective can be trained with an augmentation.

        Args:
            augmentation: settings of the recipe.

        Raises:
            InputError: it cannot.
        """

    def augmented_views(self, augmentation: "Augmentation") -> "int | tuple[View, ...]":
        """Returns the views of an image in a batch of a training, by default `views` equal ones.

        Args:
            augmentation: settings of the recipe.
        """
        return self.views

    def image_equivalents(self, image_format: ImageFormat) -> float:
        """Returns how many images of the student's format the views of an image amount to."""
        return self.views

    @property
    def trains_heads(self) -> bool:
        """Whether the heads of the student are trained, so that its labels mean something.

        By default an objective with a `validate` of its own, by features, trains none.
        """
        return not self.validates_features

    @property
    def averages(self) -> TargetNetwork | None:
        """The averages of the student's weights that a run saves and scores as their EMA, unless
        its optimization has one."""
        return None

    @property
    def teacher_request(self) -> TeacherRequest | None:
        """The teacher that the objective needs; None for none.

        The training loads or trains this teacher and passes it to `use_teacher` before `build`.
        """
        return None

    def use_teacher(self, teacher: keras.layers.Layer | None) -> None:
        """Sets the teacher that `teacher_request` asks for.

        Args:
            teacher: layer that maps the student's images to logits (batch, classes). It is frozen,
                and no part of a checkpoint.
        """
        if teacher is not None:
            teacher.trainable = False
        self.teacher = teacher

    def use_replay(self, replay: Replay) -> None:
        """Sets the stored labels of a teacher, `replay:DIR`, instead of a teacher.

        The batches of the training then have `Replay.targets` beside their labels.

        Args:
            replay: labels of the views of the training.

        Raises:
            InputError: the objective cannot learn from them.
        """
        raise InputError(
            f"{type(self).__name__} cannot learn from stored labels; Distillation can. Received: "
            f"{replay.path}"
        )

    def use_length(self, length: TrainingLength) -> None:
        """Sets the length of the training, for schedules and for what is kept of every image.

        A run calls it before `build`, and again when it starts or resumes: a time limit, or an
        extension to more epochs, may have changed the steps. What a compiled step computes with
        then has to be in a variable, which is assigned here; those of a `TargetNetwork` are.
        """
        self.length = length
        for part in self.tracked():
            if isinstance(part, TargetNetwork):
                part.set_steps(length.steps)

    def build(self, model: keras.Model) -> None:
        """Creates further layers and variables, which are trained and checkpointed.

        A layer has to be built here too, because the optimizer has to know its variables.

        Args:
            model: the student.

        Raises:
            InputError: it is a copy of a model with several heads that has lost them.
        """
        check_heads(model)
        self.model = model
        heads = getattr(model, "heads", None)
        self.heads = heads or keras.Model(model.input, {"class": model.output})

    def tracked(self) -> list:
        """Returns the layers and variables of a built objective.

        They are its attributes, or in lists and dictionaries that are its attributes.
        """
        kinds = (keras.layers.Layer, keras.Variable, keras.random.SeedGenerator)
        values = keras.tree.flatten(list(vars(self).values()))
        return [value for value in values if isinstance(value, kinds)]

    def forward(self, images, training: bool):
        """Computes the outputs for the images of a batch; by default the logits by head."""
        return self.heads(images, training=training)

    def predictions(self, batch: Batch):
        """Returns the logits (batch, classes) that the metrics given to `compile` see."""
        return fused_logits(batch.outputs)

    def has_targets(self, training: bool) -> bool:
        """Returns whether `targets` is called in training, or in validation."""
        return False

    def targets(self, batch: Batch) -> dict:
        """Computes constant targets by name, to which no gradient is propagated."""
        return {}

    def compute_loss(self, batch: Batch, training: bool) -> dict:
        """Computes the loss.

        Returns:
            "loss", a scalar to minimize, and a scalar for each name in `losses` that is logged.
        """
        raise missing_method(self, "compute_loss(batch, training)", "a training")

    def compute_metrics(self, batch: Batch) -> dict:
        """Computes the metrics.

        Returns:
            One value per image (batch,) for each name in `metrics` that is logged.
        """
        logits = self.predictions(batch)
        return {"accuracy": hits(decisions(batch.labels, logits), logits)}

    def after_step(self, changed, steps) -> None:
        """Updates variables of the objective after a step, such as a `TargetNetwork`.

        It is called inside the step's program, with the weights after the step. Accumulated
        gradients and a step that is skipped, because it is not finite, change no weight.

        Args:
            changed: whether the optimizer changed the weights in this step, a scalar bool.
            steps: number of steps of the optimizer before this one, a scalar integer.
        """

    def activation_bytes(self, images: int) -> int:
        """Returns the bytes of the largest arrays in a step besides what layers save; an estimate.

        They are those of the loss, such as images times classes that are many, and of the forward
        pass of a target network. By default they are small in comparison, and 0. The objective is
        built, but its variables may have no memory.

        Args:
            images: number of images that a device processes at once, whatever their views.
        """
        return 0

    def fault(self, logs: dict) -> str | None:
        """Returns what the logs of a training or an evaluation reveal to be wrong with its data.

        Args:
            logs: figures by name, tensors or numbers. A step cannot raise an error for what it
                finds in its batch, but make a figure `nan` that is never so otherwise.

        Returns:
            One sentence for the error, or None.
        """
        return None

    def logged(self, training: bool) -> tuple[str, ...]:
        """Returns which of `losses` and `metrics` are logged in training, or in validation."""
        return (*self.losses, *self.metrics)

    def validate(self, train: Features, validation: Features) -> dict[str, float] | None:
        """Computes scores after an epoch, from the features of both splits.

        If a subclass implements this, it replaces the validation by loss and metrics, and also
        computes the final scores, unless there is a `score_test`. `keras-deit evaluate` calls it on
        an objective that is not built, so it uses the arguments of the constructor and no layer.

        Args:
            train: features of the training split, without augmentation.
            validation: features of the validation or the test split.

        Returns:
            Scores by name, such as {"knn_top1": 0.9}.
        """
        return None

    def score_test(self, train: Features, validation: Features, test: Features) -> dict | None:
        """Computes the final scores, at the end of a run and of an evaluation.

        A subclass implements it if `validate` chooses something by the validation split, such as a
        number of neighbors, or if some figures take too long for every validation. By default it
        is `validate(train, test)`.

        Args:
            train, validation: features of these splits.
            test: features of the split that is scored, which may be the validation split.
        """
        return self.validate(train, test)

    @property
    def has_score_test(self) -> bool:
        """Whether the class implements `score_test`."""
        return type(self).score_test is not Objective.score_test

    @property
    def validates_features(self) -> bool:
        """Whether the class implements `validate`."""
        return type(self).validate is not Objective.validate


OBJECTIVES: Registry[type[Objective]] = Registry("objective")


def register_objective(cls: type[Objective]) -> type[Objective]:
    """Registers an objective by the name of its class, in lower case; a class decorator.

    Raises:
        InputError: the class is not an `Objective`, or an argument of its constructor has no
            default or no name.
    """
    if not issubclass(cls, Objective):
        raise InputError(f"An objective should be a keras_deit.Objective. Received: {cls}")
    parameters = inspect.signature(cls.__init__).parameters.values()
    # The constructor of a class without its own is Python's, with *args and **kwargs.
    if cls.__init__ is not object.__init__ and any(p.kind in _UNNAMED for p in parameters):
        raise InputError(
            f"The constructor of {cls.__name__} should name each argument, without * and **."
        )
    for name, default in cls.defaults().items():
        if default is inspect.Parameter.empty:
            raise InputError(f"The argument {name!r} of {cls.__name__} should have a default.")
    OBJECTIVES.add(objective_name(cls), cls)
    return cls


def objective_name(cls: type[Objective]) -> str:
    """Returns the name of an objective in recipes and flags."""
    return cls.__name__.lower()


def get_objective(name: str) -> type[Objective]:
    """Returns an objective class by name.

    Raises:
        InputError: there is no such objective.
    """
    return OBJECTIVES[name]


def registered_objectives() -> dict[str, type[Objective]]:
    """Returns the objectives by name."""
    return {name: OBJECTIVES[name] for name in OBJECTIVES}


def fused_logits(outputs):
    """Returns the mean of the logits of all heads, (batch, classes).

    Args:
        outputs: logits (batch, classes), or a dictionary of logits by head.
    """
    logits = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    return sum(logits) / len(logits)


def decisions(labels, logits):
    """Returns the class of each label, integers (batch,); for a mixed label the largest class."""
    if are_distributions(labels, logits):
        return _argmax(labels)
    return ops.reshape(labels, (-1,))


def hits(wanted, logits):
    """Returns 1.0 for each image whose largest logit is that of the class `wanted`, else 0.0."""
    return ops.cast(ops.cast(wanted, "int32") == _argmax(logits), "float32")


def _argmax(scores):
    return ops.cast(ops.argmax(scores, axis=-1), "int32")
