"""What is set on layers after they are built: frozen layers, dtype policies, quantization, LoRA,
regularizers, constraints and rates. Keras stores it for the layers that a functional model lists,
but not for layers inside of them.
"""

import functools
import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from keras_deit.core.keras_internals import sublayers, unlocked, without_importing_tensorflow

# The key in the configuration of a model or layer. It is there only if something has been set.
LAYER_SETTINGS = "layer_settings"
# Values of a layer's configuration that are not attributes to assign.
_APPLIED_BY_METHODS = {"dtype", "quantization_config", "lora_rank", "lora_alpha"}
_OF_VARIABLES = ("_regularizer", "_constraint")
_NEW_VARIABLE = {"trainable": True, "regularizer": None, "constraint": None}


class CompositeLayer(keras.layers.Layer):
    """A layer made of other layers, which it creates or builds in `build`.

    What is set on these after that is in its configuration.

    Args:
        layer_settings: result of `layer_settings` of a layer with the same arguments, which is
            applied at the end of `build`.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _keeping_settings(cls.build)

    def __init__(self, *, layer_settings: dict | None = None, **kwargs):
        super().__init__(**kwargs)
        # Keras would track a dictionary that is assigned normally.
        object.__setattr__(self, "_given_settings", layer_settings or {})

    def get_config(self):
        if "_as_built" not in vars(self):
            return super().get_config()
        return {**super().get_config(), **layer_settings(self)}


def _keeping_settings(build):
    @functools.wraps(build)
    def wrapper(self, *args, **kwargs):
        build(self, *args, **kwargs)
        # A subclass may extend the method of its base.
        if inspect.unwrap(type(self).build) is build:
            remember_as_built(self)
            apply_settings(self, self._given_settings)

    return wrapper


def remember_as_built(layer: keras.layers.Layer) -> None:
    """Remembers the settings of a layer or model that has just been built."""
    object.__setattr__(layer, "_as_built", {**_settings(layer), "trainable": True})
    if not layer.trainable:
        # A constructor assigns it before there are layers inside.
        for inner in sublayers(layer):
            inner.trainable = False


def layer_settings(layer: keras.layers.Layer) -> dict:
    """Returns what has been set on the layers inside of a layer or model since it was built.

    Returns:
        {"layer_settings": for `apply_settings`}; an empty dictionary if nothing has been set.
    """
    changed = _changes(_settings(layer, fresh=False), vars(layer)["_as_built"])
    # Its own configuration has `trainable` itself.
    return {LAYER_SETTINGS: changed} if changed.keys() - {"trainable"} else {}


def apply_settings(layer: keras.layers.Layer, settings: dict) -> None:
    """Sets on the layers inside of a built layer what `layer_settings` has returned."""
    # LoRA and quantization create variables, which have to exist before they are frozen.
    _apply_configs(layer, settings)
    _apply_to_variables(layer, settings)


class LoRA(NamedTuple):
    """What LoRA adds to a variable: scale·first·second ("LoRA", Hu et al., 2021, §4.1)."""

    variable: keras.Variable
    first: keras.Variable
    second: keras.Variable
    scale: float

    def added(self) -> np.ndarray:
        """Returns it, in float32."""
        factors = (keras.ops.convert_to_numpy(factor.value) for factor in (self.first, self.second))
        return np.float32(self.scale) * np.matmul(*factors)


def lora_parts(layer: keras.layers.Layer) -> Iterator[LoRA]:
    """Yields what LoRA adds to the variables in a layer or model."""
    if getattr(layer, "lora_enabled", False):
        own = _own_variables(layer)
        kind = "kernel" if "kernel" in own else "embeddings"
        factors = (own[f"lora_{kind}_{letter}"] for letter in "ab")
        yield LoRA(own[kind], *factors, layer.lora_alpha / layer.lora_rank)
    for inner in sublayers(layer):
        yield from lora_parts(inner)


def quantized_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers in a layer or model that are quantized."""
    inner = [found for below in sublayers(layer) for found in quantized_layers(below)]
    return inner if layer.quantization_mode is None else [layer, *inner]


def _named_layers(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns the layers that a layer holds directly by names that are the same in any process.

    A name that Keras made up, such as dense_7, becomes that of the class, with a number of its own.
    """
    named = {}
    for inner in sublayers(layer):
        kind = type(inner).__name__.lower()
        made_up = re.sub(r"_\d+$", "", inner.name).replace("_", "") == kind
        name = kind if made_up else inner.name
        same = sum(re.fullmatch(rf"{re.escape(name)}(#\d+)?", other) is not None for other in named)
        named[f"{name}#{same}" if same else name] = inner
    return named


def _own_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    others = {id(variable) for inner in sublayers(layer) for variable in inner.weights}
    return {variable.name: variable for variable in layer.weights if id(variable) not in others}


def _settings(layer: keras.layers.Layer, fresh: bool = True) -> dict:
    """Returns everything that can be set, without the configuration of the layer itself.

    Args:
        layer: built.
        fresh: whether nothing has been set on layers inside that know how they were built.
    """
    if fresh and "_as_built" in vars(layer):
        return vars(layer)["_as_built"]
    return {
        "trainable": layer.trainable,
        "variables": {name: _of_variable(v) for name, v in _own_variables(layer).items()},
        "layers": {
            name: {**_settings(inner, fresh), "config": _config(inner)}
            for name, inner in _named_layers(layer).items()
        },
    }


@without_importing_tensorflow()
def _config(layer: keras.layers.Layer) -> dict:
    """Returns the configuration of a layer as JSON; nothing for one that Keras cannot store."""
    if isinstance(layer, keras.Model):
        return {}
    try:
        config = _plain(keras.saving.serialize_keras_object(layer.get_config()))
    except (NotImplementedError, TypeError, ValueError):
        return {}
    return {key: v for key, v in config.items() if key not in ("trainable", LAYER_SETTINGS)}


def _plain(value):
    """Returns a serialized value without the marks of objects that several layers share, which
    Keras adds while it saves or loads a file."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "shared_object_id"}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _of_variable(variable: keras.Variable) -> dict:
    regularizer, constraint = variable.regularizer, variable.constraint
    return {
        "trainable": variable.trainable,
        "regularizer": regularizer and _plain(keras.regularizers.serialize(regularizer)),
        "constraint": constraint and _plain(keras.constraints.serialize(constraint)),
    }


def _changes(now: dict, before: dict, inherited: bool | None = None) -> dict:
    """Returns the settings that differ.

    Args:
        now, before: results of `_settings`.
        inherited: `trainable` of the innermost layer around this one for which it is among the
            changes. Assigning it assigns it to all layers inside.
    """
    changed = {}
    if now["trainable"] != (before["trainable"] if inherited is None else inherited):
        changed["trainable"] = inherited = now["trainable"]
    old, new = before.get("config", {}), now.get("config", {})
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    changed["config"] = {key: new.get(key) for key in keys}
    changed["variables"] = {}
    for name, values in now["variables"].items():
        expected = before["variables"].get(name, _NEW_VARIABLE)
        if inherited is not None and expected["trainable"]:
            expected = {**expected, "trainable": inherited}
        differing = {
            key: value
            for key, value in values.items()
            # What the configuration of the layer says is not repeated.
            if value != expected[key] and not (value and value in changed["config"].values())
        }
        if differing:
            changed["variables"][name] = differing
    layers = {
        name: _changes(inner, before["layers"][name], inherited)
        for name, inner in now["layers"].items()
        if name in before["layers"]
    }
    changed["layers"] = {name: inner for name, inner in layers.items() if inner}
    return {key: value for key, value in changed.items() if value not in ({},)}


def _apply_configs(layer: keras.layers.Layer, settings: dict) -> None:
    if config := settings.get("config"):
        _apply_config(layer, config)
    named = _named_layers(layer)
    for name, inner in settings.get("layers", {}).items():
        _apply_configs(named[name], inner)


def _apply_config(layer: keras.layers.Layer, changed: dict) -> None:
    """Gives a built layer the attributes of one that is created with the changed configuration."""
    twin = type(layer).from_config({**_config(layer), **changed})
    for key in changed.keys() - _APPLIED_BY_METHODS:
        if hasattr(twin, key):
            setattr(layer, key, getattr(twin, key))
    if hasattr(twin, "seed_generator") and not hasattr(layer, "seed_generator"):
        # Layers with a rate of 0 have none.
        with unlocked(layer):
            layer.seed_generator = twin.seed_generator
    if any(key.endswith(_OF_VARIABLES) for key in changed):
        twin.build_from_config(layer.get_build_config())
        own = _own_variables(layer)
        for name, variable in _own_variables(twin).items():
            if name in own:
                own[name].regularizer, own[name].constraint = (
                    variable.regularizer,
                    variable.constraint,
                )
    if "dtype" in changed:
        _apply_policy(layer, twin)
    if changed.get("lora_rank"):
        layer.enable_lora(changed["lora_rank"], lora_alpha=changed.get("lora_alpha"))
        _restart_lora_after_loading(layer)


def _apply_policy(layer: keras.layers.Layer, twin: keras.layers.Layer) -> None:
    policy = twin.dtype_policy
    if policy.quantization_mode is None:
        layer.dtype_policy = policy
        return
    _, source = policy.name.split("_from_")
    layer.dtype_policy = source
    # Without a check of the type, as the one that has quantized it may have done.
    config = getattr(twin, "quantization_config", None)
    layer.quantize(policy.quantization_mode, type_check=False, config=config)


def _restart_lora_after_loading(layer: keras.layers.Layer) -> None:
    """Lets LoRA go on after its weights are loaded.

    Keras merges it into the kernel when it saves and sets both factors to 0 when it loads. Then
    both gradients are 0 for ever. Another first factor changes no output.
    """
    load = layer.load_own_variables

    def load_and_restart(store):
        load(store)
        first = getattr(layer, "lora_kernel_a", None)
        if first is not None:
            first.assign(keras.initializers.HeUniform()(first.shape, first.dtype))

    layer.load_own_variables = load_and_restart


def _apply_to_variables(layer: keras.layers.Layer, settings: dict) -> None:
    if "trainable" in settings:
        layer.trainable = settings["trainable"]
    own = _own_variables(layer)
    for name, values in settings.get("variables", {}).items():
        variable = own[name]
        if values.get("trainable", variable.trainable) != variable.trainable:
            variable.trainable = values["trainable"]
        if "regularizer" in values:
            variable.regularizer = keras.regularizers.get(values["regularizer"])
        if "constraint" in values:
            variable.constraint = keras.constraints.get(values["constraint"])
    named = _named_layers(layer)
    for name, inner in settings.get("layers", {}).items():
        _apply_to_variables(named[name], inner)
