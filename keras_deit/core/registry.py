"""Things that can be registered by name: model families, models, objectives, recipes."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from keras_deit.core.errors import InputError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by name.

    A user's own value can be replaced, because a notebook's cell may run again. A value of the
    package cannot: what has its name in an old run means that value.

    Args:
        kind: what the values are, for errors, such as "model".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._values: dict[str, T] = {}
        self._protected: frozenset[str] = frozenset()

    def add(self, name: str, value: T) -> None:
        """Registers a value, in the place of one that has the same name.

        Raises:
            InputError: the name is that of a value of the package.
        """
        if name in self._protected:
            raise InputError(
                f"{name!r} is a {self.kind} of keras_deit and cannot be replaced; choose another "
                "name."
            )
        self._values[name] = value

    def protect(self) -> None:
        """Makes the present values those of the package."""
        self._protected = frozenset(self._values)

    def __getitem__(self, name: str) -> T:
        if name not in self._values:
            raise unknown_name(self.kind, name, self._values)
        return self._values[name]

    def __contains__(self, name) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def values(self) -> list[T]:
        return list(self._values.values())
