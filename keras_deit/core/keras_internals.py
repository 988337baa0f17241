"""Everything of Keras that this package uses and that is not public, each with its reason.

Only `autotuning.py` uses something else, the place where Keras makes its data sets.

`tests/core/test_keras_internals.py` fails with the name that a new release of Keras has changed.
"""

import contextlib
import functools
import itertools
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import keras

# Attributes and methods, by the class whose instances have them, for the test.
USED = {
    keras.Model: ("_symbolic_build", "_nodes_by_depth"),
    keras.Function: ("_nodes_by_depth",),
    keras.layers.Layer: ("_flatten_layers", "_inbound_nodes", "_tracker"),
    keras.Variable: ("_value", "_layout"),
    keras.StatelessScope: ("add_update", "get_current_value"),
    keras.optimizers.Optimizer: (
        *("_clip_gradients", "_apply_weight_decay", "_backend_update_step"),
        *("_get_variable_index", "_get_current_learning_rate"),
        *("_iterations", "_learning_rate", "_accumulated_gradients"),
    ),
}
# The same on one backend.
USED_ON = {
    "tensorflow": {
        keras.Model: ("_maybe_symbolic_build",),
        keras.optimizers.Optimizer: ("_all_reduce_sum_gradients",),
    },
    "jax": {keras.Model: ("jax_state_sync",)},
    "torch": {},
}


def build_from_first_batch(model: keras.Model, batches: Iterator) -> Iterator:
    """Creates all variables of a compiled model, and returns the batches with the first one back.

    Keras builds a model when `fit` has seen a batch. The variables of its metrics then come on
    TensorFlow with the first step, which is too late to restore them from a checkpoint. Keras has
    no public method for this.

    Args:
        model: compiled.
        batches: an iterator over batches as `fit` takes them.
    """
    first = next(batches)
    model._symbolic_build(data_batch=first)
    if keras.backend.backend() == "tensorflow":
        # Under tf.distribute Keras calls this in every `fit` and `evaluate` with a batch that it
        # takes from the iterator and then neither trains on nor counts.
        model._maybe_symbolic_build = lambda **data: None
    return itertools.chain([first], batches)


def sync_state(model: keras.Model) -> None:
    """Writes the state of JAX's training step back into the model's variables.

    On JAX Keras keeps the state in the step's arguments during an epoch, and a checkpoint between
    two steps needs it. The method has a public name but is not documented.
    """
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


@contextlib.contextmanager
def without_importing_tensorflow() -> Iterator[None]:
    """Keeps Keras from importing TensorFlow in the block, on another backend.

    Keras imports it, which takes seconds, to ask whether what it serializes is an object of
    TensorFlow. If nothing has imported it before, it is none.
    """
    from keras.src.utils.module_utils import tensorflow

    if "tensorflow" in sys.modules:
        yield
        return
    available, tensorflow._available = tensorflow._available, False
    try:
        yield
    finally:
        tensorflow._available = available


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that a layer holds directly.

    `keras.Model.layers` is public, but other layers have no such property.
    """
    return list(layer._flatten_layers(include_self=False, recursive=False))


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Lets a built layer be given further state, as Keras's own `enable_lora` does."""
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()


class GraphNode(NamedTuple):
    """One call in a symbolic graph.

    Attributes:
        operation: a layer or an operation of `keras.ops`.
        args, kwargs: what it was called with; tensors are symbolic.
        outputs: its symbolic results.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict
    outputs: list


def symbolic_graph(function: Callable, args: tuple, kwargs: dict) -> list[GraphNode]:
    """Calls a function with new symbolic tensors and returns the graph that leads to its results.

    `keras.Function` is public, but its nodes are not.

    Args:
        function: such as the method `call` of a layer, which has to be built.
        args, kwargs: arguments of the call; only shapes and dtypes of symbolic tensors in them are
            used.
    """
    args, kwargs = keras.tree.map_structure(_new_input, (args, kwargs))
    with _symbolic_variables():
        outputs = keras.tree.flatten(function(*args, **kwargs))
    graph = keras.Function(
        [x for x in keras.tree.flatten((args, kwargs)) if _is_symbolic(x)],
        [x for x in outputs if _is_symbolic(x)],
    )
    nodes = [
        node
        for depth in sorted(graph._nodes_by_depth, reverse=True)
        for node in graph._nodes_by_depth[depth]
        if not node.is_input
    ]
    for node in nodes:
        # The layers stay as they were before.
        node.operation._inbound_nodes.remove(node)
    return [GraphNode(n.operation, n.arguments.args, n.arguments.kwargs, n.outputs) for n in nodes]


def _is_symbolic(value) -> bool:
    return isinstance(value, keras.KerasTensor)


def _new_input(value):
    if not _is_symbolic(value):
        return value
    return keras.Input(batch_shape=value.shape, dtype=value.dtype)


_OPERATORS = {
    **{"__add__": keras.ops.add, "__sub__": keras.ops.subtract},
    **{"__mul__": keras.ops.multiply, "__truediv__": keras.ops.divide},
    "__matmul__": keras.ops.matmul,
}


@contextlib.contextmanager
def _symbolic_variables() -> Iterator[None]:
    """Lets a variable stand left of a symbolic tensor in a sum or product.

    Keras's operators of a variable call the backend, which refuses symbolic tensors.
    """
    before = {name: getattr(keras.Variable, name) for name in _OPERATORS}
    try:
        for name, function in _OPERATORS.items():
            setattr(keras.Variable, name, functools.partialmethod(function))
        yield
    finally:
        for name, method in before.items():
            setattr(keras.Variable, name, method)


def calls_before(model: keras.Model, counted: list[keras.layers.Layer]) -> dict[int, int]:
    """Returns how many calls of some layers come before each layer of a functional model.

    They are counted on the longest path from the inputs to the layer. If the layer is called
    several times, the call with the fewest before it counts.

    Args:
        model: functional.
        counted: layers of the model.

    Returns:
        The count by the id of the layer or operation.
    """
    ids = {id(layer) for layer in counted}
    passed, before = {}, {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            called = id(node.operation)
            count = max((passed[id(tensor)] for tensor in node.input_tensors), default=0)
            before[called] = min(before.get(called, count), count)
            passed |= dict.fromkeys(map(id, node.output_tensors), count + (called in ids))
    return before


@contextlib.contextmanager
def replaced_value(variable: keras.Variable, value) -> Iterator[None]:
    """Gives a variable another backend tensor during the block.

    `Variable.assign` would distribute the value over the devices of the variable's layout.
    """
    before = variable._value
    variable._value = value
    try:
        yield
    finally:
        variable._value = before


class RecordedState(keras.StatelessScope):
    """A scope in which variables are read as outside of it, and what is assigned stays inside.

    A `keras.StatelessScope` does not see the values of one around it, as Keras opens on JAX. Its
    public methods are documented for reading results only.

    Args:
        values: values by the id of the variable, which are read instead of those outside.

    Attributes:
        initial: the values before they were assigned, by the id of the variable.
        assigned: the variables that were assigned.
        losses: what layers have added by `add_loss`.
    """

    def __init__(self, values: dict | None = None):
        super().__init__(collect_losses=True, initialize_variables=False)
        self.state_mapping.update(values or {})
        self.initial = {}
        self.assigned = []

    def get_current_value(self, variable):
        value = super().get_current_value(variable)
        if value is None and self.original_scope is not None:
            value = self.original_scope.get_current_value(variable)
        return value

    def add_update(self, update):
        variable, _ = update
        if id(variable) not in self.initial:
            value = self.get_current_value(variable)
            # A copy, because some backends assign in place.
            self.initial[id(variable)] = keras.ops.copy(variable._value if value is None else value)
            self.assigned.append(variable)
        super().add_update(update)


def has_memory(layer: keras.layers.Layer) -> bool:
    """Returns whether the variables of a built layer have values, unlike those of abstract ones."""
    return all(variable._value is not None for variable in layer.variables)


def stored_value(variable: keras.Variable):
    """Returns the value of a variable in its own dtype, also where a layer computes in 16 bits.

    There `Variable.value` is rounded to 16 bits, and Keras has no public way around it.
    """
    from keras.src.backend.common.variables import AutocastScope

    with AutocastScope(None):
        return keras.ops.convert_to_tensor(variable.value)


def global_seed_generator() -> keras.random.SeedGenerator:
    """Returns the generator that `keras.random` uses without a seed.

    Its state is part of that of a training, and Keras has no public way to it.
    """
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator()


def own_layout(variable: keras.Variable):
    """Returns the layout that a variable was created with; None if it was given none.

    `Distribution.get_variable_layout` of Keras reads it the same way.
    """
    return variable._layout


# The weights of a functional model in a `.weights.h5` file are below this group, which is nowhere
# documented; Keras ignores what else a file holds.
STORED_WEIGHTS = "layers/"


@contextlib.contextmanager
def left_out_weights_are_errors() -> Iterator[None]:
    """Makes `load_weights` fail where Keras only warns that it leaves weights of a model out.

    The warning has no class of its own, so that its text tells it from others.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping nested container")
        yield


def names_to_save(names: Iterable[str], left_out: tuple[str, ...]) -> list[str]:
    """Returns the result of a layer's `__dir__` without the properties that are not to be saved.

    Keras saves whatever `dir` lists and walks through the value of each property. There is no
    public way to leave one out.

    Args:
        names: names of `super().__dir__()`.
        left_out: properties that create a layer or a model whenever they are read.
    """
    return [name for name in names if name not in left_out]


def accumulated_gradients(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the variables in which an optimizer sums up gradients; empty without accumulation.

    A checkpoint has to tell them from the slots.
    """
    return optimizer._accumulated_gradients if optimizer.gradient_accumulation_steps else []


def iterations_variable(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the variable that counts calls of `apply`.

    `Optimizer.iterations` is that number divided by the gradient accumulation steps.
    """
    return optimizer._iterations


def list_operations() -> types.SimpleNamespace:
    """Returns PyTorch's operations on lists of tensors by their names, such as `mul_`."""
    import torch

    names = ("add_", "div", "div_", "lerp_", "mul", "mul_", "sqrt_", "sub_")
    return types.SimpleNamespace(**{name: getattr(torch, f"_foreach_{name}") for name in names})


class OptimizerHooks(keras.optimizers.Optimizer):
    """Keras's optimizer, whose private steps a subclass can override under public names.

    `keras.optimizers.Optimizer` has one public hook, `update_step`. Clipping a summed gradient,
    skipping a step, and a weight decay that differs between variables need the others.
    """

    def clip_gradients(self, gradients: list) -> list:
        """Clips the gradients before they are applied."""
        return super()._clip_gradients(gradients)

    def sum_over_replicas(self, grads_and_vars: list) -> list:
        """Sums the gradients of the replicas of a `tf.distribute` strategy (TensorFlow only)."""
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def apply_updates(self, gradients: list, variables: list, learning_rate) -> None:
        """Updates all variables by `update_step`."""
        super()._backend_update_step(gradients, variables, learning_rate)

    def decay_weights(self, variables: list) -> None:
        """Decays the weights before the step; `update_step` of a subclass may do it instead."""
        super()._apply_weight_decay(variables)

    def current_learning_rate(self):
        """Returns the learning rate of the next step."""
        return super()._get_current_learning_rate()

    def variable_index(self, variable: keras.Variable) -> int:
        """Returns the index of a variable among the slots."""
        return self._get_variable_index(variable)

    @property
    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule | None:
        """The learning rate schedule; None for a constant learning rate."""
        rate = self._learning_rate
        is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        return rate if is_schedule else None

    def _clip_gradients(self, grads):
        return self.clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return self.sum_over_replicas(grads_and_vars)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        self.apply_updates(grads, trainable_variables, learning_rate)

    def _apply_weight_decay(self, variables):
        self.decay_weights(variables)

    def _get_current_learning_rate(self):
        return self.current_learning_rate()
