"""What is used of Keras and is not public is still there, and is used in one file only."""

import ast
import inspect
import pathlib

import keras
import numpy as np
import pytest

from keras_deit.core import keras_internals as internals

ROOT = pathlib.Path(__file__).parents[2]
FILE = ROOT / "keras_deit" / "core" / "keras_internals.py"
USED = [(cls, name) for cls, names in internals.USED.items() for name in names]
# Keras documents these for subclasses; torch and TensorFlow have private names of their own.
FOREIGN = {"_fields", "_asdict", "_replace", "_exit"}


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
    message = f"Keras has no {cls.__name__}.{name} any more: see {FILE.name}"
    assert hasattr(instance(cls), name), message


def test_keras_still_sums_over_replicas_by_this_name():
    assert hasattr(keras.optimizers.Optimizer, "_all_reduce_sum_gradients")


def test_the_hooks_of_an_optimizer_are_called_with_the_same_arguments():
    for name in ("_clip_gradients", "_apply_weight_decay", "_backend_update_step"):
        theirs = inspect.signature(getattr(keras.optimizers.Optimizer, name))
        ours = inspect.signature(getattr(internals.OptimizerHooks, name))
        assert list(ours.parameters) == list(theirs.parameters), name


def private_names(path: pathlib.Path) -> set[str]:
    """Returns the names that begin with one underscore and are read from another object than
    `self`, `cls` or `super()`, or overridden in a subclass of a Keras class."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        if not own and not node.attr.startswith("__"):
            found.add(node.attr)
    return found - FOREIGN


def defined_names() -> set[str]:
    """Returns every private attribute and function that this package defines itself."""
    names = set()
    for path in (ROOT / "keras_deit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def test_private_names_of_keras_are_in_that_file_only():
    ours = defined_names()
    of_keras = {name for names in internals.USED.values() for name in names}
    for path in (ROOT / "keras_deit").rglob("*.py"):
        if path != FILE:
            used = private_names(path)
            assert not used - ours, f"{path}: {used - ours}"
            assert not used & of_keras, f"{path}: {used & of_keras}"


def test_the_search_finds_what_it_looks_for():
    assert {"_symbolic_build", "_flatten_layers"} <= private_names(FILE)


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
