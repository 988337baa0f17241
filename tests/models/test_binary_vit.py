"""What is binary in BinaryViT, what it costs, its files, and what it refuses."""

import keras
import numpy as np
import pytest
from binary_model_cases import BINARY
from harness import numpy, randomize
from parity_systems import PUBLISHED

from keras_deit import InputError, list_models
from keras_deit.layers import BinaryBlock, BinaryDense, BinaryMerging, BinaryUnit
from keras_deit.layers.binary import sign
from keras_deit.layers.introspection import binary_weights
from keras_deit.models import BinaryViT, abstract_model, count_macs, count_operations, get_spec
from keras_deit.pretrained import load_pretrained, save_safetensors

NAMES = {
    "binary_vit_small_patch4_224": "binaryvit",
    "binary_vit_small_patch4_star_224": "binaryvit_star",
    "binary_deit_small_patch16_224": "binary_deit_class_token",
    "binary_deit_small_patch16_gap_224": "binary_deit_average",
    "binary_deit_small_patch16_gap_branches_224": "binary_deit_average_branches",
    "binary_deit_small_patch16_gap_branches_affine_224": "binary_deit_average_branches_affine",
}


@pytest.fixture(scope="module")
def model():
    return BINARY.build_random()


def size(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def test_every_name_is_below():
    assert set(NAMES) == set(list_models("binary*"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if "_gap_224" in name else pytest.mark.slow) for name in NAMES],
)
@pytest.mark.backends("torch")
def test_parameters_and_operations_are_the_published_ones(name):
    built, published = abstract_model(name), PUBLISHED[f"{NAMES[name]}_224px_1000"]
    assert size(built.trainable_weights) == published["params"]
    assert size(built.non_trainable_weights) == published["running_statistics"]
    assert size(variable for variable, _ in binary_weights(built)) == published["binary_weights"]
    spec = get_spec(name)
    assert float(f"{count_operations(built) / 1e9:.4g}") == spec.gops
    if spec.published_gops:
        assert spec.gops == pytest.approx(spec.published_gops, rel=0.01)


def test_operations_of_binary_numbers_count_one_64th(model):
    """Two models that differ in whether the convolution between their stages is binary."""
    star = BINARY.build(binary_merging=False)
    merged = 8 * 4 * 12 * 24
    assert count_macs(model) == count_macs(star)
    saved = count_operations(star) - count_operations(model)
    assert saved == pytest.approx(merged * 63 / 64)
    plain = abstract_model("deit_tiny_patch16_224", depth=1)
    assert count_operations(plain) == count_macs(plain)


def test_binary_weights_of_an_output_are_two_values(model):
    found = binary_weights(model)
    assert len(found) == 7 + 6 + 1
    for kernel, function in found:
        values, rounded = numpy(kernel), numpy(function(kernel.value))
        for k in range(values.shape[-1]):
            scale = np.abs(values[..., k]).mean()
            np.testing.assert_allclose(np.unique(rounded[..., k]), [-scale, scale], rtol=1e-5)
            assert len(np.unique(rounded[..., k])) == 2


def test_the_binary_weights_are_those_that_are_computed_with(model):
    dense = model.blocks[0].projection.dense
    ((kernel, function),) = dense.binary_weights()
    inputs = np.random.default_rng(0).normal(size=(2, 3, kernel.shape[0])).astype("float32")
    signs = np.sign(inputs + numpy(dense.shift))
    np.testing.assert_allclose(numpy(dense(inputs)), signs @ numpy(function(kernel)), atol=1e-5)


def test_a_positive_factor_in_front_of_a_sign_changes_nothing(model):
    dense = model.blocks[0].expand.dense
    twin = BinaryDense(dense.outputs)
    inputs = np.random.default_rng(0).normal(size=(2, 3, dense.kernel.shape[0])).astype("float32")
    twin.build(inputs.shape)
    twin.set_weights([3 * numpy(dense.shift), numpy(dense.kernel)])
    np.testing.assert_array_equal(numpy(twin(3 * inputs)), numpy(dense(inputs)))


def test_attention_probabilities_are_zero_or_the_step(model):
    for block in model.blocks:
        tokens = np.random.default_rng(0).normal(size=(2, *block.input.shape[1:]))
        found = numpy(block.attention.attention_probabilities(tokens.astype("float32")))
        assert set(np.unique(found)) == {np.float32(0), numpy(block.attention.step)[()]}
        maps = numpy(block.attention_maps(tokens.astype("float32")))
        assert maps.shape == (2, block.num_heads, tokens.shape[1], tokens.shape[1])
        sums = maps.sum(axis=-1)
        np.testing.assert_allclose(sums[sums > 0], 1, rtol=1e-5)


def test_the_gradient_of_a_sign_is_a_triangle():
    import tensorflow as tf

    inputs = tf.constant([-1.5, -1.0, -0.75, 0.0, 0.5, 1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = sign(inputs)
    np.testing.assert_array_equal(value, [-1, -1, -1, 0, 1, 1, 1])
    np.testing.assert_allclose(tape.gradient(value, inputs), [0, 0, 0.5, 2, 1, 0, 0], atol=1e-7)


def test_poolings_add_nothing_at_first():
    block = BinaryBlock(2, grid=(2, 3))
    tokens = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    block(tokens)
    branches = block.residual_branches(tokens)
    assert not np.any(numpy(branches["pooling"][0]))
    assert np.any(numpy(branches["mlp"][0]))


def test_weights_of_another_image_size_have_their_positions_resized(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_safetensors(model, path)
    larger = BINARY.build(image_size=(32, 32))
    load_pretrained(larger, path)
    assert larger.get_layer("position_embedding").positions.shape == (1, 64, 12)
    assert larger.get_layer("position_embedding_0").positions.shape == (1, 16, 24)
    kernel, other = (m.blocks[1].expand.dense.kernel for m in (model, larger))
    np.testing.assert_array_equal(numpy(kernel), numpy(other))


def test_one_stage_takes_numbers():
    flat = BinaryViT(
        **{"image_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2},
        **{"mlp_ratio": 2, "reduction": 1, "num_classes": 3, "class_token": True},
        pooling_sizes=(),
    )
    randomize(flat)
    assert flat.blocks[0].output.shape == (None, 5, 8)
    assert keras.ops.shape(flat(np.zeros((1, 16, 16, 3), "float32"))) == (1, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 100}, "image_size 100 is not a multiple .* 32; 96 and 128"),
        ({"depth": (1, 2)}, r"a number for each stage.*depth=\(1, 2\)"),
        ({"num_heads": (1, 2, 0, 4)}, "num_heads should be above 0"),
        ({"num_heads": 3}, "embed_dim 64, is not a multiple of num_heads 3"),
        ({"embed_dim": (64, 96, 128, 256)}, "the width 96 should be a multiple of 64"),
        ({"pooling_sizes": (4,)}, r"odd numbers. Received: \(4,\)"),
        ({"norm": "group"}, "norm 'group'"),
        ({"class_token": True}, "class token has no place in a grid"),
        ({"mlp_ratio": 2.5}, "mlp_ratio should be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values, message):
    with pytest.raises(InputError, match=message) as caught:
        BinaryViT(**values)
    assert "\n" not in str(caught.value)


def test_layers_refuse_sizes_that_do_not_fit():
    with pytest.raises(InputError, match="multiples of each other"):
        BinaryUnit(9).build((None, 4, 6))
    with pytest.raises(InputError, match="needs the grid of its 6 tokens"):
        BinaryBlock(2).build((None, 6, 8))
    with pytest.raises(InputError, match="multiples of the reduction 2"):
        BinaryBlock(2, grid=(2, 3), reduction=2).build((None, 6, 8))
    with pytest.raises(InputError, match="even sides"):
        BinaryMerging(8, (2, 3)).build((None, 6, 8))
