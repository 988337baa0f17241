"""A flag for every value of the models."""

from absl import flags

from keras_deit.models import list_models, model_values

_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    str: flags.DEFINE_string,
    float: flags.DEFINE_float,
}


def define(text: str) -> None:
    """Defines them, unset.

    Args:
        text: of the help.
    """
    for name, value in _values().items():
        if name == "image_size":
            flags.DEFINE(_Sides(), name, None, text, serializer=None)
        else:
            # Where a value is None, LayerScale is off; it is a number otherwise.
            _DEFINE.get(type(value), flags.DEFINE_float)(name, None, text)


def given() -> dict:
    """The values that the command line sets."""
    values = {name: flags.FLAGS[name].value for name in _values()}
    return {name: value for name, value in values.items() if value is not None}


class _Sides(flags.ArgumentParser):
    """A side in pixels, or height and width with an × between them."""

    syntactic_help = "SIDE or HEIGHTxWIDTH"

    def parse(self, argument):
        if isinstance(argument, int):
            return argument
        try:
            sides = tuple(int(side) for side in argument.lower().split("x"))
        except ValueError:
            sides = ()
        if len(sides) not in (1, 2):
            raise ValueError("a side in pixels is wanted, or HEIGHTxWIDTH")
        return sides if len(sides) == 2 else sides[0]

    def flag_type(self):
        return "pixels"


def _values() -> dict:
    values = {}
    for name in list_models():
        values |= model_values(name)
    del values["num_classes"]
    return values
