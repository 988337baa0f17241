"""A student that sees images of another size, with its own weights."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_deit.core.abstract import build_abstract
from keras_deit.core.keras_internals import stored_value
from keras_deit.layers.positions import PositionTable
from keras_deit.models import Classifier

Resize = Callable[[object], object]


def has_fixed_size(student: keras.Model) -> bool:
    """Returns whether a model takes images of one size only, as ResMLP does.

    Its layers over the patches have a weight for each patch, or the model is not one of this
    package's and says nothing of its positions.
    """
    if not isinstance(student, Classifier) or "image_size" not in student.get_config():
        return True
    return any(not _can_be_resized(table) for table in student.position_tables())


class ResizedStudent:
    """The features of a student for images of another size, by the student's own weights.

    A functional Keras model has one image size. So this has a model for the other size whose
    variables have no memory: in a call the student's values stand for them, its positions resized
    bicubically, and gradients reach the student's weights. Batch statistics and the state of random
    layers go on in the student.

    Args:
        student: model that `has_fixed_size` does not hold of.
        image_size: side of the images in pixels.

    Raises:
        InputError: the size does not fit the patches.
    """

    def __init__(self, student: Classifier, image_size: int):
        config = {**student.get_config(), "image_size": image_size}
        # Both in the same thread, because the variables have no values.
        resized, self._features = build_abstract(lambda: _model_and_features(student, config))
        self.image_size = image_size
        resizes = _resizes(student, resized)
        pairs = zip(resized.variables, student.variables, strict=True)
        self._variables = [(own, of_student, resizes.get(id(own))) for own, of_student in pairs]

    def __call__(self, images, training: bool = False):
        """Returns the input of the class head, (batch, width).

        Args:
            images: (batch, image_size, image_size, channels).
            training: whether in training mode.
        """
        values = {}
        for own, of_student, resize in self._variables:
            value = stored_value(of_student)
            values[id(own)] = resize(value) if resize else value
        pairs = [(own, values[id(own)]) for own, _, _ in self._variables]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            before = {id(own): scope.get_current_value(own) for own, _, _ in self._variables}
            features = self._features(images, training=training)
        for own, of_student, resize in self._variables:
            after = scope.get_current_value(own)
            if resize is None and after is not before[id(own)]:
                of_student.assign(after)
        return features


def _model_and_features(student: Classifier, config: dict) -> tuple[Classifier, keras.Model]:
    model = type(student).from_config(config)
    return model, model.feature_model()


def _can_be_resized(table: PositionTable) -> bool:
    return table.grid is not None and type(table).resize is not PositionTable.resize


def _resizes(student: Classifier, resized: Classifier) -> dict[int, Resize]:
    """Returns the function that resizes a value of the student, by the id of the variable."""
    tables = zip(student.position_tables(), resized.position_tables(), strict=True)
    return {
        id(other.variable): _resize(own, other) for own, other in tables if own.grid != other.grid
    }


def _resize(source: PositionTable, target: PositionTable) -> Resize:
    """Returns a table's `resize` as an operation with a gradient: a matrix, because it is linear in
    the values, or a constant."""
    shape = tuple(source.variable.shape)
    grids = source.grid, target.grid
    constant = source.resize(np.zeros(shape, "float32"), *grids)
    if constant.any():
        return lambda value: ops.convert_to_tensor(constant)
    rows = np.eye(shape[-2], dtype="float32")
    matrix = source.resize(rows[None] if len(shape) == 3 else rows, *grids)
    matrix = matrix.reshape(-1, shape[-2])
    return lambda value: ops.matmul(ops.convert_to_tensor(matrix, value.dtype), value)
