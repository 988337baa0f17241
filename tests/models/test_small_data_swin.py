"""Swin for small data sets, and its block, against the authors' code."""

import keras
import numpy as np
import pytest
from harness import numpy
from parity_systems import PUBLISHED, cases, check_counts, check_model, check_module, load, module
from safetensors.numpy import load_file, save_file
from swin_model_cases import SWIN

from keras_deit import InputError, create_model
from keras_deit.core.precision import precision
from keras_deit.layers import SwinBlock, WindowAttention
from keras_deit.layers.initializers import skip_init
from keras_deit.layers.positions import resize_positions
from keras_deit.models import SmallDataSwin, abstract_model
from keras_deit.models.small_data.weights import SWIN_TABLES
from keras_deit.optimizers.param_groups import learning_rate_factors
from keras_deit.pretrained import save_safetensors
from keras_deit.pretrained.own_weights import check_sizes

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")

# Our arguments by the authors'; what is missing in a case has the authors' default.
_COMMON = {
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "qk_scale": "qk_scale",
    "window_size": "window_size",
    "num_heads": "num_heads",
    "is_LSA": "lsa",
}
_MODEL = {
    **_COMMON,
    "img_size": "image_size",
    "patch_size": "patch_size",
    "in_chans": "in_channels",
    "num_classes": "num_classes",
    "embed_dim": "embed_dim",
    "depths": "depth",
    "drop_rate": "dropout_rate",
    "attn_drop_rate": "attention_dropout_rate",
    "drop_path_rate": "drop_path_rate",
    "patch_norm": "patch_norm",
    "is_SPT": "spt",
    # The authors' code takes it and adds the positions always.
    "ape": lambda is_added: {},
    # A setting of a training.
    "use_checkpoint": lambda is_set: {},
}
_MODEL_DEFAULTS = {
    "image_size": 224,
    "patch_size": 4,
    "num_classes": 1000,
    "depth": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "window_size": 7,
    "mlp_ratio": 4.0,
    "drop_path_rate": 0.1,
}
_BLOCK = {
    **_COMMON,
    "input_resolution": "grid",
    "shift_size": "shift",
    "drop": "dropout_rate",
    "attn_drop": "attention_dropout_rate",
    "drop_path": "drop_path_rate",
    # The width of the tokens.
    "dim": lambda width: {},
}


def by_case(name):
    found = [case for case in cases(name) if case.spec["original"]["class"] == name]
    return pytest.mark.parametrize("case", found, ids=str)


def results(model):
    """Returns the symbolic results by the names of the parity cases."""
    found = {layer.name: layer.output for layer in model.layers if layer.name != "image"}
    of_stage = {block.name.partition("_block")[0]: block.output for block in model.blocks}
    return {
        **found,
        **of_stage,
        **{f"merge_{name[8:]}": x for name, x in found.items() if name.startswith("merging")},
        "patch_embedding": found.get("patch_norm", found["patch_embedding"]),
        "tokens": found["position_embedding"],
        "blocks": model.blocks[-1].output,
    }


@every_backend
@pytest.mark.nightly("jax")
@by_case("models.swin.SwinTransformer")
def test_swin_is_that_of_the_authors(case, tmp_path):
    with skip_init():
        model = SmallDataSwin(**{**_MODEL_DEFAULTS, **case.constructor(_MODEL)})
    check_counts(case, model)
    load(case, model, tmp_path)
    check_model(case, model, results(model))


@every_backend
@by_case("models.swin.SwinTransformerBlock")
def test_a_block_is_that_of_the_authors(case, tmp_path):
    block = SwinBlock(norm_epsilon=1e-5, name="block", **case.constructor(_BLOCK))
    ours, theirs = "stage_{stage}_block_{block}", "layers.{stage}.blocks.{block}."
    table = {
        path.replace(ours, "block"): (name.replace(theirs, ""), layout)
        for path, (name, layout) in SWIN_TABLES["authors"].items()
        if path.startswith(ours)
    }
    model = module(block, case.arrays["tokens"].shape[1:], table)
    type(model).ignored_weights = SmallDataSwin.ignored_weights
    check_counts(case, model)
    load(case, model, tmp_path)
    check_module(case, model, case.arrays["tokens"])


@pytest.mark.parametrize("values", [{}, {"spt": True}, {"lsa": True}, {"spt": True, "lsa": True}])
@pytest.mark.parametrize(("name", "classes"), [("patch2_32", 10), ("patch4_64", 200)])
def test_parameters_are_the_published_ones(name, classes, values):
    model = abstract_model(f"swin_small_data_{name}", **values)
    key = "+".join(["swin", *values])
    assert model.count_params() == PUBLISHED[f"{key}_{name[7:]}px_{classes}"]["params"]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_lsa_leaves_out_the_diagonal_and_other_windows(policy):
    """The maps are those of the whole grid, in float16 too."""
    with precision(policy):
        attention = WindowAttention(2, (4, 8), 4, 2, lsa=True)
    tokens = keras.random.normal((3, 32, 8))
    attention.build(tokens.shape)
    maps = numpy(attention.attention_probabilities(keras.ops.cast(tokens, attention.compute_dtype)))
    assert maps.shape == (3, 2, 32, 32) and np.isfinite(numpy(attention(tokens))).all()
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-6)
    assert (maps[:, :, range(32), range(32)] == 0).all()
    # The four rows are one window high; the columns 2 to 5 are one window, 6 and 7 the half of one.
    window = (np.arange(32) % 8 + 2) // 4
    different = window[:, None] != window
    assert (maps[:, :, different] < 1e-30).all()
    assert (maps[:, :, ~different & ~np.eye(32, dtype=bool)] > 0).all()


def test_without_mask_and_bias_the_windows_are_small_images():
    """A shift of 0 and a bias of 0 leave plain attention in every window."""
    attention = WindowAttention(2, (4, 4), 2)
    attention.build((None, 16, 8))
    attention.relative_positions.assign(np.zeros((9, 2)))
    inner = WindowAttention(2, (2, 2), 2)
    inner.build((None, 4, 8))
    inner.set_weights(attention.get_weights())
    tokens = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype("float32")
    found = numpy(attention(tokens.reshape(1, 16, 8))).reshape(4, 4, 8)
    corner = numpy(inner(tokens[:, 2:, 2:].reshape(1, 4, 8))).reshape(2, 2, 8)
    np.testing.assert_allclose(found[2:, 2:], corner, atol=1e-6)


def random_swin(**values):
    return SWIN.build_random(lsa=True, **values)


def test_relative_positions_are_resized_with_the_window(tmp_path):
    """A grid that becomes smaller than a window, and another size of window."""
    file = tmp_path / "a.safetensors"
    model = random_swin(image_size=(32, 32), window_size=4)
    save_safetensors(model, file)
    values = {**SWIN.arguments, "lsa": True}
    for changed, sides in (
        ({"image_size": (8, 16), "window_size": 4}, ((4, 4), (2, 4))),
        ({"image_size": (32, 32), "window_size": 2}, ((2, 2), (2, 2))),
        ({"image_size": (32, 64), "window_size": 4}, ((4, 4), (4, 4))),
    ):
        other = create_model("swin_small_data_patch2_32", file, **{**values, **changed})
        for stage, window in enumerate(sides):
            name = f"stage_{stage}_block_1"
            held, found = (
                numpy(m.get_layer(name).attention_branch[1].relative_positions)
                for m in (model, other)
            )
            size = tuple(2 * side - 1 for side in window)
            expected = resize_positions(held[None], (7, 7), size)[0]
            np.testing.assert_array_equal(found, expected)
        positions = [numpy(m.get_layer("position_embedding").positions) for m in (model, other)]
        grid = tuple(side // 2 for side in changed["image_size"])
        np.testing.assert_array_equal(positions[1], resize_positions(positions[0], (16, 16), grid))
        assert np.isfinite(numpy(other(np.zeros((1, *changed["image_size"], 3))))).all()


def test_constants_of_the_authors_modules_are_ignored(tmp_path):
    model, file = random_swin(), tmp_path / "a.safetensors"
    save_safetensors(model, file)
    constants = {
        "layers.0.blocks.1.attn_mask": np.zeros((8, 4, 4), "float32"),
        "layers.0.blocks.1.attn.relative_position_index": np.zeros((4, 4), "int64"),
    }
    save_file({**load_file(file), **constants}, file)
    again = create_model("swin_small_data_patch2_32", file, **{**SWIN.arguments, "lsa": True})
    for own, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
    with pytest.raises(InputError, match=r"Swin.*lacks|attn\.scale"):
        create_model("swin_small_data_patch2_32", file, **SWIN.arguments)


def test_a_file_of_our_own_knows_its_stages(tmp_path):
    """A damaged configuration with more blocks than weights is found before they are built."""
    SWIN.build().save_weights(tmp_path / "a.weights.h5")
    values = {"name": "swin_small_data_patch2_32", **SWIN.arguments}
    check_sizes({**values, "depth": [2, 2]}, tmp_path / "a.weights.h5")
    with pytest.raises(InputError, match=r"\[2, 10000000\]"):
        check_sizes({**values, "depth": [2, 10_000_000]}, tmp_path / "a.weights.h5")


def test_initial_values_are_pytorchs_and_stochastic_depth_grows():
    model = create_model("swin_small_data_patch2_32", drop_path_rate=0.1, depth=(1, 2, 1))
    dense = {"qkv": 96, "projection": 96}
    attention = model.blocks[0].attention_branch[1]
    for name, fan_in in dense.items():
        for values in getattr(attention, name).get_weights():
            assert 0.9 < np.abs(values).max() * fan_in**0.5 <= 1
    for kernel in model.get_layer("class_head").get_weights():
        assert 0 < np.abs(kernel).max() <= 384**-0.5
    for table in (attention.relative_positions, model.get_layer("position_embedding").positions):
        assert 0.015 < np.std(numpy(table)) < 0.025
    rates = [block.drop_path_rate for block in model.blocks]
    np.testing.assert_allclose(rates, [0, 0.1 / 3, 0.2 / 3, 0.1])
    assert [block.shift for block in model.blocks] == [0, 0, 2, 0]


def test_merging_belongs_to_the_block_that_follows():
    factors = learning_rate_factors(SWIN.build(), 0.5)
    assert factors["patch_norm/gamma"] == factors["position_embedding/positions"] == 0.5**5
    assert factors["stage_0_block_1/attention/relative_positions"] == 0.5**3
    assert factors["merging_0/projection/kernel"] == factors["stage_1_block_0/norm1/beta"] == 0.25
    assert factors["norm/gamma"] == factors["class_head/kernel"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 40}, r"image_size 40 does.*window_size 4; image_size 32 or 64 does"),
        ({"image_size": (32, 24)}, r"image_size 24 does not fit.*image_size 16 or 32 does"),
        ({"image_size": 33}, "image_size 33 .*patch_size 2.* 32 or 64"),
        ({"window_size": 3}, "image_size 24 or 48 does, or window_size 2 or 4"),
        ({"patch_size": 64}, "patch_size 64.*image_size 256 does"),
        ({"depth": 2}, "depth .*each stage: 2"),
        ({"depth": (2, 0, 2)}, "depth .*above 0"),
        ({"num_heads": (3, 6)}, r"\(2, 6, 4\).*\(3, 6\)"),
        ({"num_heads": (5, 6, 12)}, "embed_dim 96.*num_heads 5"),
        ({"spt": True, "patch_size": 1, "image_size": 16}, "patch_size .*SPT"),
        ({"dropout_rate": 1.5}, "dropout_rate"),
        ({"window_size": 0}, "window_size"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values, message):
    with pytest.raises(InputError, match=message) as error:
        abstract_model("swin_small_data_patch2_32", **values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": (4, 6), "window_size": 4}, "Windows of 4 .*4×6"),
        ({"grid": (4, 4), "window_size": 4, "shift": 4}, "shift .*window_size 4.*4"),
        ({"grid": (4, 4), "talking_heads": True}, "talking heads"),
    ],
)
def test_a_block_that_cannot_be_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        SwinBlock(2, **values).build((None, 16, 8))
