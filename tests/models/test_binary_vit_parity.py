"""BinaryViT and its parts compute what the authors' code computes."""

import keras
import numpy as np
import parity_systems
import pytest
from harness import numpy
from keras import ops
from parity_systems import cases, check_model, load

from keras_deit.layers import BinaryConv, BinaryDense, RPReLU
from keras_deit.layers.binary import shortcut, sign, token_norm
from keras_deit.layers.binary_attention import binary_probabilities
from keras_deit.layers.binary_block import pooled
from keras_deit.layers.initializers import skip_init
from keras_deit.models import BinaryViT

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
PYRAMID = "transformer.modeling_vit_extra_res_pyramid.ViTForImageClassification"
FLAT = "transformer.modeling_vit_extra_res.ViTForImageClassification"


def by_case(original):
    return pytest.mark.parametrize("case", cases(original), ids=str)


def one_bit(bits):
    assert bits == 1, "BinaryViT has weights and activations of one bit."
    return {}


def binary_vit(case):
    given = case.arguments
    sizes = [size for size in (3, 5) if given.get(f"avg_res{size}")]

    def poolings(value):
        return {"pooling_sizes": sizes}

    def mlp_ratio(hidden):
        ratios = np.array(hidden) / np.array(given["hidden_size"])
        return {"mlp_ratio": ratios.astype(int).tolist()}

    def fixed(expected):
        def check(value):
            assert value == expected
            return {}

        return check

    known = {
        "avg_res3": poolings,
        "avg_res5": poolings,
        "replace_ln_bn": lambda batch: {"norm": "batch" if batch else "layer"},
        "disable_layerscale": lambda without: {"affine": not without},
        "enable_cls_token": "class_token",
        "weight_bits": one_bit,
        "input_bits": one_bit,
        "some_fp": lambda full: {"binary_merging": not full},
        "num_labels": "num_classes",
        "num_channels": "in_channels",
        "image_size": "image_size",
        "patch_size": "patch_size",
        "hidden_size": "embed_dim",
        "num_attention_heads": "num_heads",
        "intermediate_size": mlp_ratio,
        "reduction_ratio": "reduction",
        "hidden_dropout_prob": "dropout_rate",
        "attention_probs_dropout_prob": "attention_dropout_rate",
        "drop_path": "drop_path_rate",
        # The authors' training sets it; in the merges it is fixed.
        "layer_norm_eps": fixed(1e-5),
        # There is no GELU.
        "hidden_act": lambda name: {},
        "depths": "depth",
        "num_hidden_layers": "depth",
    }
    values = case.constructor(known)
    if "depths" not in given:
        values = {"patch_norm": False, "reduction": 1, **values}
    else:
        # The authors' code for stages takes no other one.
        values["patch_size"] = 4
    with skip_init():
        return BinaryViT(**values)


class _Inside(keras.layers.Layer):
    """What is inside of a block, by the names of the README."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def call(self, tokens):
        block = self.block
        normed = block.norm1(tokens)
        branches = block.residual_branches(tokens)
        return {
            "norm_before": normed,
            "attention": block.attention.attention_probabilities(normed),
            "context": block.attention(normed),
            "attention_output": branches["attention"][0],
            "mlp_output": branches["mlp"][0],
        }


def results(model):
    found = {
        "embeddings": model.get_layer("position_embedding").output,
        "norm": model.get_layer("norm").output,
    }
    for block in model.blocks:
        found[block.name] = block.output
        inside = _Inside(block)(block.input)
        found |= {f"{block.name}_{name}": value for name, value in inside.items()}
    for layer in model.layers:
        if layer.name.startswith("position_embedding_"):
            number = int(layer.name.rpartition("_")[2])
            found[f"merge_{number + 1}"] = layer.output
    return found


@every_backend
@pytest.mark.nightly("jax")
@pytest.mark.parametrize("case", cases(PYRAMID) + cases(FLAT), ids=str)
def test_model(case, tmp_path):
    model = binary_vit(case)
    # The authors do not count running statistics, so that all of theirs are trained.
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trained == case.spec["trainable"] == case.spec["params"]
    load(case, model, tmp_path)
    check_model(case, model, results(model))


def _assert_close(name, found, expected, tolerance):
    limit = tolerance * max(1, np.abs(expected).max())
    assert np.abs(numpy(found) - expected).max() <= limit, name


def _pull_back(function, arguments, cotangent):
    """Returns the value of a function, and the gradients of its sum times the cotangent."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        value, pull = jax.vjp(function, *map(ops.convert_to_tensor, arguments))
        return value, pull(ops.convert_to_tensor(cotangent))
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(argument) for argument in arguments]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return value, tape.gradient(value, tensors, tf.convert_to_tensor(cotangent))
    import torch

    tensors = [torch.tensor(argument, requires_grad=True) for argument in arguments]
    value = function(*tensors)
    value.backward(torch.tensor(cotangent))
    return value.detach(), [tensor.grad for tensor in tensors]


def _with_weights(layer, *names):
    """Returns the function of the layer's input and of these weights; others stay as they are."""

    def function(inputs, *values):
        if not layer.built:
            layer.build(inputs.shape)
        weights = [getattr(layer, name) for name in names]
        with keras.StatelessScope(zip(weights, values, strict=True)):
            return layer(inputs)

    return function


def _transposed(axes, function):
    return lambda inputs, weights: function(inputs, ops.transpose(weights, axes))


# By the name in the file: the function, its arguments, and their gradients.
GRADIENTS = {
    "sign": (sign, ("x",), ("dx",)),
    "attention": (binary_probabilities, ("probs", "a"), ("dprobs", "da")),
    "linear": ("dense", ("x", "W"), ("dx", "dW")),
    "conv": ("conv", ("x", "W"), ("dx", "dW")),
    "rprelu": (
        "rprelu",
        ("x", "move1", "slope", "move2"),
        ("dx", "dmove1", "dslope", "dmove2"),
    ),
}


def _function(part, arrays):
    if part == "dense":
        layer = BinaryDense(len(arrays["linear/W"]))
        return _transposed((1, 0), _with_weights(layer, "kernel"))
    if part == "conv":
        layer = BinaryConv(len(arrays["conv/W"]), arrays["conv/W"].shape[-1])
        return _transposed((2, 3, 1, 0), _with_weights(layer, "kernel"))
    if part == "rprelu":
        return _with_weights(RPReLU(), "before", "slope", "after")
    return part


@pytest.fixture(scope="module")
def arrays():
    return dict(np.load(parity_systems.FOLDER / "binary_primitives.npz"))


@every_backend
@pytest.mark.parametrize("name", GRADIENTS)
def test_part_and_its_gradients(name, arrays):
    part, arguments, gradients = GRADIENTS[name]
    given = [arrays[f"{name}/{argument}"] for argument in arguments]
    value, found = _pull_back(_function(part, arrays), given, arrays[f"{name}/dy"])
    _assert_close(name, value, arrays[f"{name}/y"], 1e-5)
    for gradient, own in zip(gradients, found, strict=True):
        _assert_close(gradient, own, arrays[f"{name}/{gradient}"], 1e-5)


@every_backend
def test_batch_norm(arrays):
    part = {name.partition("/")[2]: value for name, value in arrays.items() if "norm/" in name}
    norm = token_norm("batch", None, "norm")
    norm.build(part["x"].shape)
    before = [part[name] for name in ("weight", "bias", "running_mean", "running_var")]
    norm.set_weights(before)
    _assert_close("evaluation", norm(part["x"]), part["y_eval"], 1e-5)
    value, (gradient,) = _pull_back(
        lambda inputs: _without_updates(norm, inputs), [part["x"]], part["dy"]
    )
    _assert_close("training", value, part["y_train"], 1e-5)
    _assert_close("gradient", gradient, part["dx"], 1e-5)
    norm(part["x"], training=True)
    # PyTorch divides the variance of the batch by n - 1, Keras by n.
    count = np.prod(part["x"].shape[:-1])
    added = part["running_var_after"] - 0.9 * part["running_var"]
    expected = 0.9 * part["running_var"] + added * (count - 1) / count
    _assert_close("mean", norm.moving_mean, part["running_mean_after"], 1e-5)
    _assert_close("variance", norm.moving_variance, expected, 1e-5)


def _without_updates(norm, inputs):
    with keras.StatelessScope():
        return norm(inputs, training=True)


@every_backend
def test_poolings_and_means_of_groups(arrays):
    grid = arrays["pool/x"].shape[1:3]
    tokens = ops.reshape(arrays["pool/x"], (len(arrays["pool/x"]), -1, arrays["pool/x"].shape[-1]))
    for name, window in (("h3", (3, 1)), ("w3", (1, 3)), ("h5", (5, 1)), ("w5", (1, 5))):
        found = ops.reshape(pooled(tokens, grid, window), arrays["pool/x"].shape)
        _assert_close(name, found, arrays[f"pool/{name}"], 1e-5)
    inputs, expected = arrays["groupmean/x"], arrays["groupmean/y"]
    found = shortcut(ops.convert_to_tensor(inputs), expected.shape[-1])
    _assert_close("groupmean", found, expected, 1e-5)
