"""How the weights of the models are laid out where several devices share a model."""

import re

import keras

BATCH_AXIS, MODEL_AXIS = "batch", "model"

_IN_A_BLOCK = r"^(class_)?block_\d+/"
_INTO = r"(attention(_\w)?/(qkv|query|key|value)|mlp(_\w)?/expand|expand|cross_patch)"
_OUT_OF = r"(attention(_\w)?/projection|mlp(_\w)?/contract|contract)"

# The first matrix of each pair is split by its columns, the second by its rows, so that between
# them no device needs what another has (Megatron-LM, Shoeybi et al., 2019, §3).
_LAYOUTS = {
    f"{_IN_A_BLOCK}{_INTO}/kernel$": (None, MODEL_AXIS),
    f"{_IN_A_BLOCK}{_INTO}/bias$": (MODEL_AXIS,),
    f"{_IN_A_BLOCK}{_OUT_OF}/kernel$": (MODEL_AXIS, None),
    f"{_IN_A_BLOCK}depthwise/kernel$": (None, None, MODEL_AXIS, None),
    f"{_IN_A_BLOCK}depthwise/bias$": (MODEL_AXIS,),
}


def layout_axes(path: str, shape: tuple[int, ...], model_devices: int) -> tuple[str | None, ...]:
    """The axes of the mesh that a variable's dimensions are split over.

    The kernels of the attentions and MLPs of all blocks are split, of every architecture. What is
    small, stands outside of the blocks or cannot be split evenly is copied to every device.

    Args:
        path: of the variable.
        shape: of the variable.
        model_devices: devices that share a model.
    """
    for pattern, axes in _LAYOUTS.items():
        if re.search(pattern, path) and len(axes) == len(shape):
            split = [size for size, axis in zip(shape, axes, strict=True) if axis is not None]
            if all(size % model_devices == 0 for size in split):
                return axes
    return (None,) * len(shape)


class BlocksSplit(keras.distribution.ModelParallel):
    """`ModelParallel` with the layout of `layout_axes`.

    Args:
        device_mesh: of the axes `BATCH_AXIS` and `MODEL_AXIS`.
        **kwargs: of `keras.distribution.ModelParallel`.
    """

    def __init__(self, device_mesh: keras.distribution.DeviceMesh, **kwargs):
        layout_map = keras.distribution.LayoutMap(device_mesh)
        super().__init__(layout_map=layout_map, batch_dim_name=BATCH_AXIS, **kwargs)

    def get_variable_layout(self, variable) -> keras.distribution.TensorLayout:
        """The layout that a variable was given, such as a slot its variable's, or else ours."""
        given = getattr(variable, "_layout", None)
        if given is not None:
            return given
        axes = layout_axes(variable.path, variable.shape, self.device_mesh.shape[1])
        return keras.distribution.TensorLayout(axes, self.device_mesh)
