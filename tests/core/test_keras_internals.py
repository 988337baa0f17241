"""What is used of Keras and is not public is still there, and is used in one file only."""

import ast
import importlib
import inspect
import pathlib
import warnings

import keras
import numpy as np
import pytest

from keras_deit.core import keras_internals as internals
from keras_deit.pretrained.weights_file import open_weights

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "keras_deit"
FILE = PACKAGE / "core" / "keras_internals.py"
TABLES = (internals.USED, internals.USED_ON[keras.backend.backend()])
USED = [(cls, name) for table in TABLES for cls, names in table.items() for name in names]
ALL_NAMES = {
    name
    for table in (internals.USED, *internals.USED_ON.values())
    for names in table.values()
    for name in names
}
# `os._exit` is documented, and `GroupedOptimizer` sets the others by
# the names of its slots.
FOREIGN = {"_exit", "_momentums", "_velocities"}

KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])


def instance(cls):
    """Returns an object of a Keras class as it is when its private names are read."""
    if cls is keras.Variable:
        return keras.Variable(0.0)
    if cls is keras.optimizers.Optimizer:
        optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
        optimizer.build([keras.Variable(0.0)])
        return optimizer
    if cls is keras.Model:
        inputs = keras.Input((2,))
        return keras.Model(inputs, keras.layers.Dense(1)(inputs))
    if cls is keras.Function:
        inputs = keras.Input((2,))
        return cls(inputs, keras.ops.relu(inputs))
    return cls()


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize(("cls", "name"), USED, ids=lambda value: getattr(value, "__name__", value))
def test_keras_still_has_it(cls, name):
    if name == "_layout" and keras.backend.backend() != "jax":
        pytest.skip("It is read on JAX only, and before Keras 3.15 PyTorch's variables lack it.")
    message = f"Keras has no {cls.__name__}.{name} any more: see {FILE.name}"
    assert hasattr(instance(cls), name), message


def private_functions(cls) -> list[str]:
    """Returns the private methods and properties that a class itself defines."""
    return [name for name in vars(cls) if name.startswith("_") and not name.startswith("__")]


def overridden_names(cls) -> set[str]:
    """Returns the private names of Keras's classes that a class overrides."""
    bases = [base for base in cls.__mro__[1:] if base.__module__.split(".")[0] == "keras"]
    return {name for name in private_functions(cls) if any(name in vars(base) for base in bases)}


def test_the_hooks_of_an_optimizer_are_called_with_the_same_arguments():
    hooks = overridden_names(internals.OptimizerHooks)
    # All of them are Keras's, so that none is a method that nobody calls.
    assert hooks == set(private_functions(internals.OptimizerHooks)) and len(hooks) == 5
    for name in hooks:
        theirs = inspect.signature(getattr(keras.optimizers.Optimizer, name))
        ours = inspect.signature(getattr(internals.OptimizerHooks, name))
        assert list(ours.parameters) == list(theirs.parameters), name


def read_names(path: pathlib.Path) -> set[str]:
    """Returns the names with one underscore in front that are read as attributes."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    names = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")} - FOREIGN


def own_names() -> set[str]:
    """Returns every attribute and method that a class of this package defines or sets."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                names |= set().union(*map(class_names, node.body))
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "object.__setattr__":
                names.add(getattr(node.args[1], "value", ""))
    return names


def class_names(statement: ast.stmt) -> set[str]:
    """Returns the names that a statement in the body of a class defines."""
    if isinstance(statement, ast.FunctionDef):
        return {statement.name}
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return set()
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def test_private_names_of_keras_are_read_in_that_file_only():
    ours = own_names()
    for path in PACKAGE.rglob("*.py"):
        if path != FILE:
            used = read_names(path)
            assert not used - ours, f"{path}: {used - ours}"
            assert not used & ALL_NAMES, f"{path}: {used & ALL_NAMES}"


def test_the_search_finds_every_name_of_the_table():
    read = read_names(FILE) | overridden_names(internals.OptimizerHooks)
    replaced = {"_maybe_symbolic_build"}
    assert {name for name in ALL_NAMES if name.startswith("_")} == (read & ALL_NAMES) | replaced


def test_private_methods_of_keras_are_overridden_in_that_file_only():
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass)]
        for cls in classes:
            if cls.__module__ == module.__name__ != internals.__name__:
                assert not overridden_names(cls), f"{path}: {cls.__name__} {overridden_names(cls)}"


def test_sublayers_are_those_that_a_layer_holds_directly():
    inner = keras.Sequential([keras.layers.Dense(1)])
    outer = keras.Sequential([inner, keras.layers.Dense(2)])
    assert internals.sublayers(outer) == outer.layers
    assert internals.sublayers(keras.layers.Dense(1)) == []


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_value_is_replaced_during_the_block():
    variable = keras.Variable(np.zeros(2, "float32"))
    with internals.replaced_value(variable, keras.ops.ones(2)):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), [1, 1])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), [0, 0])


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_building_from_the_first_batch_creates_all_variables_and_loses_no_batch():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("adam", "mse", metrics=["mae"])
    batch = (np.ones((4, 2), "float32"), np.ones((4, 3), "float32"))
    batches = internals.build_from_first_batch(model, iter([batch] * 3))
    assert model.optimizer.built
    assert len(model.metrics_variables) >= 4
    before = model.get_weights()
    model.fit((b for b in batches), steps_per_epoch=3, epochs=1, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 3
    assert not np.array_equal(before[0], model.get_weights()[0])


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_graph_has_every_call_of_a_layer_and_of_an_operation():
    shared, inputs, ops = keras.layers.Dense(3), keras.Input((3,)), keras.ops
    shared(inputs)
    shift, calls = keras.Variable(np.ones(3, "float32")), len(shared._inbound_nodes)
    nodes = internals.symbolic_graph(
        lambda x: shift * ops.matmul(shared(shared(x)), shared.kernel), (inputs,), {}
    )
    names = [type(node.operation).__name__ for node in nodes]
    assert names == ["Dense", "Dense", "Matmul", "Multiply"]
    assert [tuple(x.shape) for x in nodes[-1].outputs] == [(None, 3)]
    # Neither the layer nor Keras's variables are changed.
    assert len(shared._inbound_nodes) == calls
    assert keras.Variable.__mul__.__module__.startswith("keras.")


class Outer(keras.Model):
    """A model with a layer of its own and a property that counts how often it is read."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.reads = 0

    def call(self, x):
        return self.dense(x)

    @property
    def counted(self):
        self.reads += 1
        return None


class WithoutCounted(Outer):
    def __dir__(self):
        return internals.names_to_save(super().__dir__(), ("counted",))


@pytest.mark.parametrize(("cls", "reads"), [(Outer, 1), (WithoutCounted, 0)])
def test_keras_reads_at_a_save_what_dir_lists(cls, reads, tmp_path):
    model = cls()
    model(np.ones((1, 2)))
    model.save_weights(tmp_path / "a.weights.h5")
    assert min(model.reads, 1) == reads


def test_the_weights_in_a_weights_file_are_those_of_the_model(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((1, 2)), np.ones((1, 1)), verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    with open_weights(tmp_path / "a.weights.h5") as file:
        shapes = sorted(kind.shape for kind in file.kinds)
    assert shapes == sorted(tuple(weight.shape) for weight in model.weights)


class Nested(keras.layers.Layer):
    """A layer with layers in a list of tuples."""

    def __init__(self, depth: int, **kwargs):
        super().__init__(**kwargs)
        self.pairs = [(keras.layers.Dense(2),) for _ in range(depth)]

    def call(self, x):
        for (layer,) in self.pairs:
            x = layer(x)
        return x


@pytest.mark.skipif(KERAS < (3, 15), reason="Keras 3.14 leaves them out in silence.")
def test_weights_that_keras_leaves_out_with_a_warning_are_an_error(tmp_path):
    inputs = keras.Input((2,))
    smaller, model = (keras.Model(inputs, Nested(depth, name="x")(inputs)) for depth in (0, 1))
    smaller.save_weights(tmp_path / "a.weights.h5")
    with pytest.warns(UserWarning):
        model.load_weights(tmp_path / "a.weights.h5")
    with pytest.raises(UserWarning), internals.left_out_weights_are_errors():
        model.load_weights(tmp_path / "a.weights.h5")
    with warnings.catch_warnings(), internals.left_out_weights_are_errors():
        warnings.simplefilter("ignore", append=True)
        warnings.warn("Something else", stacklevel=1)
