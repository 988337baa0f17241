"""The constructor arguments of models, which are their configuration."""

import functools
import inspect

import keras

from keras_deit.core.image_format import channels_last_images
from keras_deit.models.introspection import Introspection

# Arguments of every Keras model, which `get_config` reads from the model itself.
_KERAS_ARGUMENTS = ("name", "trainable", "dtype")


def recording_arguments(constructor):
    """Wraps a constructor so that the arguments of the outermost call become the configuration."""
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def wrapper(self, *args, **kwargs):
        if "_constructor_arguments" not in vars(self):
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            _, *named = bound.arguments.items()
            values = {}
            for name, value in named:
                is_rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                values |= value if is_rest else {name: value}
            values = {k: v for k, v in values.items() if k not in _KERAS_ARGUMENTS}
            # Keras would track a dictionary that is assigned normally.
            object.__setattr__(self, "_constructor_arguments", values)
        with channels_last_images():
            constructor(self, *args, **kwargs)

    # Keras looks at the arguments of a constructor without looking through wrappers.
    wrapper.__signature__ = signature
    return wrapper


def constructor_values(cls: type[keras.Model]) -> dict:
    """Returns the constructor arguments of a model class with their defaults.

    Arguments that a class passes on to its base class by `**kwargs` are included.
    """
    values = {}
    # Before this base of `Classifier` are the classes of this package and of its users, after it
    # those of Keras.
    for base in cls.__mro__[: cls.__mro__.index(Introspection)]:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        own = {p.name: p.default for p in parameters if p.default is not p.empty}
        values = {**own, **values}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return values
