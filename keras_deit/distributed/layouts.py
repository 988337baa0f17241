"""How the weights of a model are split when several devices share it."""

import keras

from keras_deit.core.errors import missing_method
from keras_deit.core.keras_internals import own_layout
from keras_deit.layers.introspection import MODEL_AXIS
from keras_deit.models import Classifier

BATCH_AXIS = "batch"

# By path: the shape of a variable, and the mesh axis of each of its dimensions.
SplitAxes = dict[str, tuple[tuple[int, ...], tuple[str | None, ...]]]


def split_axes(model: Classifier, model_devices: int) -> SplitAxes:
    """Returns the variables that are split over the devices, by path.

    Every device has a copy of the others, and of those that cannot be split evenly.

    Args:
        model: model of this package; it may be abstract.
        model_devices: devices that share a copy of the model.

    Raises:
        InputError: the model does not say how its layers are split.
    """
    declared = model.model_parallel_axes()
    if not declared:
        raise missing_method(model, "model_parallel_axes()", "--strategy model_parallel")
    return {
        variable.path: (tuple(variable.shape), axes)
        for variable, axes in declared
        if all(
            size % model_devices == 0
            for size, axis in zip(variable.shape, axes, strict=True)
            if axis == MODEL_AXIS
        )
    }


class LayerwiseParallel(keras.distribution.ModelParallel):
    """`ModelParallel` that splits variables as the layers of a model declare.

    A variable gets its layout when it is created, and is known by its path then. So the layout is
    taken from an abstract model before the model itself is built.

    Args:
        device_mesh: with the axes `BATCH_AXIS` and `MODEL_AXIS`.
        **kwargs: of `keras.distribution.ModelParallel`.
    """

    def __init__(self, device_mesh: keras.distribution.DeviceMesh, **kwargs):
        layout_map = keras.distribution.LayoutMap(device_mesh)
        super().__init__(layout_map=layout_map, batch_dim_name=BATCH_AXIS, **kwargs)
        self._split: SplitAxes = {}

    def split_like(self, model: Classifier) -> None:
        """Splits the models that are built from now on as this one, which may be abstract."""
        self._split = split_axes(model, self.device_mesh.shape[1])

    def get_variable_layout(self, variable) -> keras.distribution.TensorLayout:
        """Returns the layout that a variable was created with, such as a slot, or the model's."""
        given = own_layout(variable)
        if given is not None:
            return given
        shape, axes = self._split.get(variable.path, (None, ()))
        if shape != tuple(variable.shape):
            axes = (None,) * len(variable.shape)
        return keras.distribution.TensorLayout(axes, self.device_mesh)


def split_like(model: Classifier) -> None:
    """Prepares the present distribution for a model; does nothing unless models are split."""
    distribution = keras.distribution.distribution()
    if isinstance(distribution, LayerwiseParallel):
        distribution.split_like(model)
