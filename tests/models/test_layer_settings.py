"""What is set on layers after building: in files, copies and further training."""

import json

import keras
import numpy as np
import pytest
from harness import numpy
from model_cases import CASES, DISTILLED

from keras_deit import Distiller
from keras_deit.layers import MLP, ResidualConvStem, TransformerBlock
from keras_deit.layers.settings import LAYER_SETTINGS, quantized_layers

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")
on_tensorflow = pytest.mark.backends("tensorflow")


def freeze_body(model):
    for layer in model.layers:
        layer.trainable = layer.name == "class_head"


def freeze_inside(model):
    """Also a variable, and a layer in a frozen block that is not frozen."""
    first, second = (block.attention_branch[1] for block in model.blocks)
    first.qkv.trainable = False
    model.blocks[1].trainable = False
    second.projection.trainable = True
    model.blocks[0].mlp_branch[1].expand.kernel.trainable = False


def quantize(model):
    model.quantize("int8", filters="qkv|class_head")


def quantize_to_4_bits(model):
    model.quantize("int4", filters="qkv")


def adapt(model):
    for block in model.blocks:
        block.attention_branch[1].qkv.enable_lora(2, lora_alpha=4)


def adapt_quantized_and_frozen(model):
    freeze_inside(model)
    quantize(model)
    adapt(model)


def change_precision(model):
    model.blocks[1].mlp_branch[1].expand.dtype_policy = "mixed_bfloat16"
    model.get_layer("norm").dtype_policy = "mixed_bfloat16"


SETTINGS = [
    *(freeze_body, freeze_inside, quantize, quantize_to_4_bits),
    *(adapt, adapt_quantized_and_frozen, change_precision),
]
by_settings = pytest.mark.parametrize("change", SETTINGS, ids=lambda change: change.__name__)


def state(model):
    """Returns what has to be the same of a model and its copy."""
    return (
        [(weight.path, tuple(weight.shape), weight.dtype) for weight in model.weights],
        [weight.path for weight in model.trainable_weights],
        json.dumps(model.get_config()),
    )


def through_file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def through_json(model):
    return type(model).from_config(json.loads(json.dumps(model.get_config())))


@pytest.mark.nightly("jax")
@by_settings
def test_files_and_copies_keep_what_is_set(change, tmp_path):
    model = DISTILLED.build()
    change(model)
    loaded, copy = through_file(model, tmp_path), through_json(model)
    assert state(loaded) == state(copy) == state(model)
    difference = numpy(loaded(DISTILLED.inputs())) - numpy(model(DISTILLED.inputs()))
    # Loading adds LoRA to the kernel, in another order.
    assert np.abs(difference).max() < 1e-6


@by_settings
@on_tensorflow
def test_clones_of_layers_keep_what_is_set(change):
    """Keras copies a functional model layer by layer."""
    model = DISTILLED.build()
    change(model)
    clone = keras.models.clone_model(model)
    assert state(clone)[:2] == state(model)[:2]
    clone.set_weights(model.get_weights())
    inputs = DISTILLED.inputs()
    np.testing.assert_array_equal(numpy(clone(inputs)), numpy(model(inputs)))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items() if case.effects]
)
@pytest.mark.backends("torch")
def test_every_family_keeps_what_is_frozen_and_quantized(case, tmp_path):
    model = case.build()
    # Keras takes a third of a second for each layer.
    model.quantize("int8", filters="class_head|contract")
    model.blocks[0].trainable = False
    loaded = through_file(model, tmp_path)
    assert state(loaded) == state(model)
    assert len(quantized_layers(loaded)) == len(quantized_layers(model)) > 0
    np.testing.assert_array_equal(numpy(loaded(case.inputs())), numpy(model(case.inputs())))


def moved(model, labels):
    before = {weight.path: numpy(weight) for weight in model.weights}
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(DISTILLED.inputs(), labels, epochs=2, verbose=0)
    return {w.path for w in model.weights if not np.array_equal(before[w.path], numpy(w))}


@pytest.mark.parametrize("change", [freeze_inside, adapt_quantized_and_frozen])
def test_training_moves_the_same_weights_after_loading(change, tmp_path):
    """LoRA goes on, although Keras loads 0 for both of its factors."""
    model = DISTILLED.build()
    change(model)
    loaded = through_file(model, tmp_path)
    labels = np.arange(3)
    expected = moved(model, labels)
    assert moved(loaded, labels) == expected <= {w.path for w in model.trainable_weights}


@on_tensorflow
def test_regularizers_constraints_and_rates_come_into_force_as_in_a_plain_model(tmp_path):
    """In Keras they do so when the model is built again."""
    model = DISTILLED.build(dropout_rate=0.1)
    norm, attention, dropout, _ = model.blocks[0].attention_branch
    attention.qkv.kernel_regularizer = keras.regularizers.L2(0.1)
    attention.projection.kernel_constraint = keras.constraints.MaxNorm(0.3)
    norm.gamma.regularizer = keras.regularizers.L1(0.2)
    dropout.rate = 0.4
    model.get_layer("class_head").activation = keras.activations.softmax
    loaded = through_file(model, tmp_path)
    norm, attention, dropout, _ = loaded.blocks[0].attention_branch
    assert attention.qkv.kernel.regularizer.get_config()["l2"] == pytest.approx(0.1)
    assert attention.projection.kernel.constraint.max_value == 0.3
    assert norm.gamma.regularizer.get_config()["l1"] == pytest.approx(0.2)
    assert dropout.rate == 0.4
    assert loaded.get_layer("class_head").activation is keras.activations.softmax
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    kernel = np.sum(numpy(attention.qkv.kernel) ** 2)
    expected = 0.1 * kernel + 0.2 * np.abs(numpy(norm.gamma)).sum()
    assert sum(map(float, loaded.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.nightly("jax")
def test_a_distiller_in_a_file_keeps_what_is_set_on_its_student_and_teacher(tmp_path):
    student, teacher = DISTILLED.build(name="student"), DISTILLED.build(name="teacher")
    adapt_quantized_and_frozen(student)
    quantize(teacher)
    distiller = Distiller(student, teacher)
    distiller.compile("sgd")
    distiller.fit(DISTILLED.inputs(), np.arange(3), verbose=0)
    loaded = through_file(distiller, tmp_path)
    assert state(loaded.student) == state(student)
    assert state(loaded.teacher) == state(teacher)
    loaded.fit(DISTILLED.inputs(), np.arange(3), verbose=0)


@on_tensorflow
def test_a_model_on_which_nothing_is_set_is_stored_as_before():
    assert LAYER_SETTINGS not in DISTILLED.build().get_config()
    model = DISTILLED.build(trainable=False)
    assert LAYER_SETTINGS not in model.get_config()
    assert not through_json(model).trainable_weights


@on_tensorflow
def test_layers_in_a_users_own_model_keep_what_is_set():
    inputs = keras.Input((6, 8))
    tokens = MLP(16)(TransformerBlock(2, name="block")(inputs))
    model = keras.Model(inputs, tokens)
    model.quantize("int8", filters="qkv|expand")
    copy = keras.Model.from_config(json.loads(json.dumps(model.get_config())))
    assert [layer.name for layer in quantized_layers(copy)] == ["qkv", "expand", "expand"]
    assert [w.path for w in copy.trainable_weights] == [w.path for w in model.trainable_weights]


@on_tensorflow
def test_a_convolutional_stem_keeps_what_is_set():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, ResidualConvStem(4, 8)(inputs))
    model.layers[1].norms[0].trainable = False
    copy = keras.Model.from_config(json.loads(json.dumps(model.get_config())))
    assert [w.path for w in copy.trainable_weights] == [w.path for w in model.trainable_weights]
