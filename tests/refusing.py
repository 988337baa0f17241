"""Lets imports of some distributions raise in scripts of tests, as if they were not there."""

import importlib.machinery
import sys


class _Refuse:
    """Finds the distributions, as some libraries look for them, and raises when one is imported."""

    def __init__(self, names):
        self._names = names

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self._names:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError("imported " + spec.name, name=spec.name)

    def exec_module(self, module):
        pass


def refuse(names) -> None:
    """From here on, importing a distribution of these names raises."""
    sys.meta_path.insert(0, _Refuse(names))


def require_none(names) -> None:
    """Fails where one of them was imported before or in spite of `refuse`."""
    loaded = set(names) & set(sys.modules)
    assert not loaded, loaded
