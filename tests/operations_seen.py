"""Records which operations a model really runs, and in which dtype."""

import keras


def operations(model: keras.Model, images, training: bool = False) -> set[tuple[str, str]]:
    """Name and dtype of the first operand of each operation of a call, as the backend has them."""
    how = {"jax": _on_jax, "tensorflow": _on_tensorflow, "torch": _on_torch}
    return set(how[keras.backend.backend()](model, images, training))


def _on_jax(model, images, training):
    import jax

    def call(trainable, frozen, images):
        return model.stateless_call(trainable, frozen, images, training=training)[0]

    def walk(program):
        for equation in program.eqns:
            if equation.invars:
                yield equation.primitive.name, equation.invars[0].aval.dtype.name
            for inner in jax.tree.leaves(tuple(equation.params.values())):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from walk(inner)

    values = (
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    return walk(jax.make_jaxpr(call)(*values, images).jaxpr)


def _on_tensorflow(model, images, training):
    import tensorflow as tf

    graph = tf.function(lambda x: model(x, training=training)).get_concrete_function(images).graph
    return [(op.type, op.inputs[0].dtype.name) for op in graph.get_operations() if op.inputs]


def _on_torch(model, images, training):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            if arguments and isinstance(arguments[0], torch.Tensor):
                name = function.overloadpacket.__name__
                found.append((name, str(arguments[0].dtype).removeprefix("torch.")))
            return function(*arguments, **(named or {}))

    with Record():
        model(images, training=training)
    return found
