"""Keras's default of channels_first changes nothing: images are (batch, height, width, 3)."""

import keras
import numpy as np
import pytest
from harness import numpy
from model_cases import CASES

from keras_deit.teachers.files import build_teacher_model, load_teacher_model, save_teacher_model


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    yield lambda: keras.config.set_image_data_format("channels_first")
    keras.config.set_image_data_format(before)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_models_are_built_loaded_and_copied_with_the_same_logits(case, channels_first, tmp_path):
    model = case.build_random()
    expected = numpy(model(case.inputs()))
    model.save(tmp_path / "a.keras")
    channels_first()
    loaded = keras.models.load_model(tmp_path / "a.keras")
    for copy in (loaded, case.build(), keras.models.clone_model(model)):
        copy.set_weights(model.get_weights())
        np.testing.assert_array_equal(numpy(copy(case.inputs())), expected)
    assert keras.config.image_data_format() == "channels_first"


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_model_with_every_kind_of_convolution_is_trained(channels_first):
    channels_first()
    case = CASES["PatchConvNet"]
    model = case.build()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(case.inputs(), np.arange(len(case.inputs())), verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("name", ["kerascv:resnet18_v2", "applications:MobileNetV2"])
def test_teachers_are_built_and_loaded(name, channels_first, tmp_path):
    channels_first()
    model, contract = build_teacher_model(name, 5, 32, 32)
    save_teacher_model(model, contract, tmp_path / "a.keras")
    loaded, _ = load_teacher_model(tmp_path / "a.keras")
    images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(numpy(loaded(images)), numpy(model(images)), rtol=0, atol=1e-5)
