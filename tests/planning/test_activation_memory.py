"""The estimate of the activations: what JAX needs, what it grows with, and what it refuses."""

import json
import math
import pathlib

import keras
import pytest
from processes import end, start
from two_views import TwoViews

from keras_deit import InputError, Supervised
from keras_deit.core.abstract import build_abstract
from keras_deit.core.precision import precision
from keras_deit.layers import Block
from keras_deit.layers.activations import ACTIVATION_COSTS, saved_activations
from keras_deit.models import abstract_model
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import select_trainable
from keras_deit.planning.activations import activation_bytes
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing

DEIT = "deit_tiny_patch16_224"
# For each case the model and its values, the devices, how many of them share a model, and the
# objective.
STEPS = {
    "deit": (DEIT, {"patch_size": 8, "depth": 2, "num_heads": 3}, 1, 1, "supervised"),
    "long": (DEIT, {"patch_size": 4, "depth": 2, "num_heads": 4}, 1, 1, "supervised"),
    "cait": (
        "cait_xxs24_224",
        {"patch_size": 8, "depth": 2, "drop_path_rate": 0.1},
        *(1, 1, "supervised"),
    ),
    "sl vit": ("sl_vit_patch4_32", {"patch_size": 8, "depth": 2}, 1, 1, "supervised"),
    "sl cait": ("sl_cait_patch4_32", {"patch_size": 8, "depth": 2}, 1, 1, "supervised"),
    "resmlp": ("resmlp_12_224", {"patch_size": 8, "depth": 2}, 1, 1, "supervised"),
    "patchconvnet": ("patchconvnet_s20_224", {"depth": 2}, 1, 1, "supervised"),
    "hybrid": (
        "vit_small_r26_s32_224",
        {"depth": 2, "num_heads": 3, "stem_depths": (1, 1), "stem_width": 32},
        *(1, 1, "supervised"),
    ),
    "batch norms": (
        "cvit_224",
        {
            **{"patch_size": 2, "depth": 2, "num_heads": 3},
            **{"stem_depths": (1, 1, 1), "stem_channels": (8, 8, 16)},
        },
        *(1, 1, "supervised"),
    ),
    "hmlp": (
        "deit_small_patch16_18x2_LS",
        {"depth": 2, "num_heads": 3, "stem": "hmlp"},
        *(1, 1, "supervised"),
    ),
    "windows": (
        "sl_swin_patch2_32",
        {"patch_size": 2, "depth": (2, 2), "num_heads": (3, 6), "window_size": 8},
        *(1, 1, "supervised"),
    ),
    "conv stem": (
        DEIT,
        {"patch_size": 4, "depth": 2, "num_heads": 3, "stem": "conv"},
        *(1, 1, "supervised"),
    ),
    "t2t": ("t2t_small_data_64", {"depth": 1}, *(1, 1, "supervised")),
    "binary": (
        "binary_vit_small_patch4_224",
        {"depth": (1, 1), "num_heads": 2, "embed_dim": 32, "mlp_ratio": 4, "reduction": (2, 1)},
        *(1, 1, "supervised"),
    ),
    "split": (DEIT, {"patch_size": 8, "depth": 2, "num_heads": 4}, 2, 2, "supervised"),
    "two views": (DEIT, {"patch_size": 8, "depth": 2, "num_heads": 3}, 1, 1, "two views"),
}


# A compilation with all optimizations takes long: the others are for the nightly tests.
OFTEN = {"cait", "resmlp", "two views"}


@pytest.fixture(scope="module")
def step_memory(request):
    """The estimate and what JAX's compiled step needs, in bytes, by case."""
    script = pathlib.Path(__file__).with_name("step_memory.py")
    nightly = request.config.getoption("nightly")
    cases = {name: case for name, case in STEPS.items() if nightly or name in OFTEN}
    # The memory is that of the optimized program, which a cached one does not tell.
    settings = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "JAX_COMPILATION_CACHE_DIR": ""}
    return json.loads(end(start(script, json.dumps(cases), backend="jax", **settings)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=() if name in OFTEN else pytest.mark.nightly, id=name)
        for name in STEPS
    ],
)
def test_activations_are_nearly_what_jax_needs(case, step_memory):
    estimated, needed = step_memory[case]
    # What T2T needs is mostly attention maps, of which the program for a CPU keeps fewer.
    assert estimated == pytest.approx(needed, rel=0.35 if case == "t2t" else 0.2)


def small(name=DEIT, **values):
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 2, "num_classes": 10}
    return abstract_model(name, **{**sizes, "depth": 2, **values})


def activations(student, images=8, backend="jax", objective=None):
    model = build_abstract(lambda: TrainingModel(student, objective or Supervised()))
    return activation_bytes(model, images, backend)


def test_activations_grow_with_depth_and_images():
    saved = {depth: activations(small(depth=depth)) for depth in (2, 3, 4)}
    assert saved[3] - saved[2] == saved[4] - saved[3] > 0
    assert activations(small(), images=16) == 2 * saved[2]
    assert activations(small(), backend="torch") < saved[2]
    with precision("mixed_bfloat16"):
        lower = small()
    assert saved[2] / 2 < activations(lower) < saved[2]


def test_nothing_is_saved_below_the_first_trained_layer():
    student = small()
    select_trainable(student, "head")
    # The input of the head.
    assert activations(student) == 4 * 8 * 24


PATCHES = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "num_classes": 10}
WITH_HEADS = {**PATCHES, "num_heads": 2}
CONV = {"image_size": 32, "embed_dim": 24, "num_classes": 10}
# For each case the model and its values, and the size of the input of its blocks: one block more
# saves that.
BLOCKS = {
    "transformer": (DEIT, WITH_HEADS, 17 * 24),
    "parallel": ("deit_small_patch16_18x2_LS", WITH_HEADS, 17 * 24),
    "talking heads": ("cait_xxs24_224", WITH_HEADS, 16 * 24),
    "mlp": ("resmlp_12_224", {**PATCHES, "pooling": "class_mlp"}, 16 * 24),
    "conv": ("patchconvnet_s20_224", CONV, 2 * 2 * 24),
    "mixed heads": ("cait_small_data_patch4_32", {**WITH_HEADS, "head_dim": 8}, 16 * 24),
    "grouped conv": (
        "regnety_040",
        {"image_size": 32, "widths": (24,), "group_width": 8, "num_classes": 10},
        8 * 8 * 24,
    ),
    "t2t": ("t2t_small_data_32", {**CONV, "num_heads": 2, "token_dim": 8}, 65 * 24),
    "binary": (
        "binary_vit_small_patch4_224",
        {**WITH_HEADS, "mlp_ratio": 2, "reduction": 2},
        16 * 24,
    ),
}
by_block = pytest.mark.parametrize(("name", "values", "size"), BLOCKS.values(), ids=BLOCKS)


@by_block
def test_one_checkpointed_block_more_saves_its_input(name, values, size):
    def saved(depth):
        student = abstract_model(name, **values, depth=depth)
        enable_activation_checkpointing(student)
        return activations(student)

    assert saved(3) - saved(2) == saved(4) - saved(3) == 4 * 8 * size


@by_block
def test_checkpointed_blocks_save_their_inputs_and_the_largest_is_computed_again(
    name, values, size
):
    student = abstract_model(name, **values, depth=3)
    before = activations(student)
    blocks = [(block, block.input.shape) for block in student.blocks]
    costs = ACTIVATION_COSTS["jax"]
    saved = [saved_activations(layer, shape, costs).bytes(4) for layer, shape in blocks]
    inputs = [4 * math.prod(shape[1:]) for _, shape in blocks]
    enable_activation_checkpointing(student)
    assert activations(student) == before + 8 * (sum(inputs) + max(saved) - sum(saved))
    assert activations(student) < before


def test_the_cases_above_have_every_kind_of_block():
    students = [abstract_model(name, **values, depth=3) for name, values, _ in BLOCKS.values()]
    kinds = {type(block) for student in students for block in student.blocks}
    assert kinds == {kind for kind in Block.__subclasses__() if "keras_deit" in kind.__module__}


class _Square(keras.layers.Layer):
    """A layer that does not say what it saves."""

    def call(self, x):
        return x * x


def test_an_unknown_layer_is_refused():
    def build(layer):
        images = keras.Input((4, 4, 3))
        x = layer(keras.layers.Dense(3, name="trained")(images))
        return keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(x)))

    with pytest.raises(InputError, match=r"_Square .*saved_activations"):
        activations(build(_Square()))
    _Square.saved_activations = lambda self, shape, costs: type(costs.norm(0))(7)
    try:
        with_layer = activations(build(_Square()))
    finally:
        del _Square.saved_activations
    assert with_layer - activations(build(keras.layers.Identity())) == 4 * 8 * 7


def test_activations_of_an_objective_with_layers_of_its_own():
    """Each layer of the projector saves its input for each view, and a GELU saves four arrays."""
    width, images, views = 40, 8, 2
    student = activations(small())
    saved = activations(small(), objective=TwoViews(width))
    projector = 24 + 4 * width + width
    assert saved == views * student + 4 * images * views * projector
