"""What the operations of `keras.ops` and Keras's attention compute and save."""

import math

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.keras_internals import sublayers
from keras_deit.layers.costs import NOTHING, ActivationCosts, SavedActivations
from keras_deit.layers.tracing import ANSWERS, Shape, TracedCall, of_keras


def _words(text: str) -> set[str]:
    return set(text.split())


# Names of the classes that Keras has for its operations, which are not public.
_MATRIX_PRODUCTS = {"Matmul", "Dot", "Inner"}
_SAVE_NOTHING = _words(
    """
    Add Subtract Negative Average Mean Sum Cumsum Reshape Ravel Transpose Swapaxes Moveaxis GetItem
    Slice Concatenate Stack Unstack Split ArraySplit Hsplit Vsplit Hstack Vstack Squeeze ExpandDims
    BroadcastTo Repeat Tile Roll Flip Rot90 Pad Take Cast Copy ConvertToTensor StopGradient
    Rearrange Diagonal Tril Triu Equal NotEqual Greater GreaterEqual Less LessEqual LogicalAnd
    LogicalOr LogicalNot OnesLike ZerosLike FullLike Argmax Argmin Floor Ceil Round Sign Size
    AveragePool DepthToSpace SpaceToDepth
    """
)
_SAVE_INPUTS = _words(
    """
    Multiply Divide TrueDivide Maximum Minimum Where Max Min Amax Amin Absolute Square Power Clip
    Prod Var Std MaxPool
    """
)
_SAVE_INPUT_AND_OUTPUT = _words(
    """
    ReLU Relu Relu6 LeakyRelu Elu Selu Celu Silu Sigmoid HardSigmoid HardSilu LogSigmoid Softplus
    Softsign Tanh Exp Log Sqrt Rsqrt Reciprocal Softmax LogSoftmax Normalize Erf Glu
    """
)
_NORMS = {"LayerNorm", "RMSNorm", "BatchNorm"}


def operation_macs(call: TracedCall) -> int:
    """Returns the multiply-adds of an operation.

    Raises:
        InputError: the operation is not known.
    """
    name, shapes = _name(call), _shapes(call)
    if name in _MATRIX_PRODUCTS:
        return math.prod(call.outputs[0]) * shapes[0][-1]
    if name == "Einsum":
        return einsum_macs(call.operation.subscripts, shapes)
    if name == "DotProductAttention":
        (images, queries, heads, width), keys = shapes[0], shapes[1][1]
        return 2 * images * queries * keys * heads * width
    if name in _SAVE_NOTHING | _SAVE_INPUTS | _SAVE_INPUT_AND_OUTPUT | _NORMS | {"Gelu"}:
        return 0
    raise _unknown(name)


def operation_saves(call: TracedCall, costs: ActivationCosts) -> SavedActivations:
    """Returns what an operation saves for the backward pass.

    Raises:
        InputError: the operation is not known.
    """
    name, made = _name(call), sum(map(math.prod, call.outputs))
    size = sum(map(math.prod, call.inputs))
    if name in _SAVE_NOTHING or (name in ("Multiply", "Divide", "TrueDivide") and _scales(call)):
        return NOTHING
    if name in _SAVE_INPUTS | _MATRIX_PRODUCTS | {"Einsum"}:
        return SavedActivations(size, largest=made)
    if name in _SAVE_INPUT_AND_OUTPUT:
        return SavedActivations(size + made, largest=made)
    if name == "Gelu":
        return costs.keras_gelu(size)
    if name in _NORMS:
        return costs.norm(size)
    if name == "DotProductAttention":
        (images, queries, heads, _), keys = call.inputs[0], call.inputs[1][1]
        maps = costs.attention_maps(images * heads * queries * keys)
        return SavedActivations(size + (costs.attended - 1) * made) + maps
    raise _unknown(name)


def _name(call: TracedCall) -> str:
    name = type(call.operation).__name__
    # A user's operation may have the name of one of Keras's.
    return name if of_keras(call.operation) else f"{name} of {type(call.operation).__module__}"


def _shapes(call: TracedCall) -> list[Shape]:
    """Returns the shapes of tensors, variables and constants."""
    return [tuple(x.shape) for x in call.arguments if hasattr(x, "shape")]


def _scales(call: TracedCall) -> bool:
    """Returns whether an operation multiplies a tensor by a number or divides it by one."""
    left, right = call.arguments
    is_number = isinstance(right, (int, float))
    return is_number or (isinstance(left, (int, float)) and _name(call) == "Multiply")


def _unknown(name: str) -> InputError:
    return InputError(
        f"What the operation {name} computes and saves is not known: "
        f"it should be in a layer with methods {ANSWERS}."
    )


def einsum_macs(equation: str, shapes: list[Shape]) -> int:
    """Returns the multiply-adds of an `einsum` of two arrays: the product of all its sides.

    Raises:
        InputError: there are more than two, for which the order matters.
    """
    if len(shapes) == 1:
        return 0
    if len(shapes) > 2:
        raise _unknown(f"einsum {equation!r} of {len(shapes)} arrays")
    sides = {}
    operands = equation.replace(" ", "").split("->")[0].split(",")
    for letters, shape in zip(operands, shapes, strict=True):
        before, dots, after = letters.partition("...")
        rest = len(shape) - len(before + after) if dots else 0
        # Broadcast sides have numbers from the last, as in a sum of arrays.
        names = [*before, *range(rest, 0, -1), *after]
        for name, side in zip(names, shape, strict=True):
            sides[name] = max(side, sides.get(name, 1))
    return math.prod(sides.values())


def projections(attention: keras.layers.MultiHeadAttention) -> list[keras.layers.EinsumDense]:
    """Returns the projections of queries, keys, values and of the result."""
    return [x for x in sublayers(attention) if isinstance(x, keras.layers.EinsumDense)]


def attention_lengths(attention: keras.layers.MultiHeadAttention, input_shape) -> tuple[int, int]:
    """Returns the numbers of queries and of keys.

    Args:
        attention: Keras's.
        input_shape: shape of the tokens, or a list with the shapes of queries and values first.

    Raises:
        InputError: the attention is not among tokens (batch, length, width).
    """
    shapes = input_shape if isinstance(input_shape, list) else [input_shape] * 2
    if len(shapes[0]) != 3:
        raise _unknown(f"{type(attention).__name__} of {len(shapes[0])} dimensions")
    return shapes[0][1], shapes[1][1]


def attention_saves(
    attention: keras.layers.MultiHeadAttention, input_shape, costs: ActivationCosts
) -> SavedActivations:
    """Returns what Keras's attention saves of one image, its inputs included.

    With dropout it writes the maps, and a boolean mask of their size.

    Raises:
        InputError: the attention is not among tokens (batch, length, width).
    """
    queries, keys = attention_lengths(attention, input_shape)
    inputs = set(map(tuple, input_shape if isinstance(input_shape, list) else [input_shape]))
    of_queries = queries * (attention.key_dim + costs.attended * attention.value_dim)
    of_keys = keys * (attention.key_dim + attention.value_dim)
    projected = attention.num_heads * (of_queries + of_keys)
    maps = attention.num_heads * queries * keys
    saved = SavedActivations(projected + sum(math.prod(shape[1:]) for shape in inputs))
    if attention.dropout > 0:
        return saved + SavedActivations(0, 2.25 * maps, maps)
    return saved + costs.attention_maps(maps)
