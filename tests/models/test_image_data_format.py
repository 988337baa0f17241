"""Keras's default of channels_first changes nothing: images are (batch, height, width, 3)."""

import keras
import numpy as np
import pytest
from harness import numpy
from model_cases import CASES

from keras_deit import Distiller, create_model
from keras_deit.core.image_format import ImageFormat
from keras_deit.teachers import Teacher, TeacherContract, pixel_format
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


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.parametrize("in_layer", [True, False])
def test_a_distiller_with_a_teacher_of_kerascv_is_loaded(in_layer, channels_first, tmp_path):
    import keras_cv

    body = keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=[8], stackwise_depth=[1], include_rescaling=True, input_shape=(16, 16, 3)
    )
    model = keras_cv.models.ImageClassifier(body, 10, activation=None)
    contract = TeacherContract(pixel_format("0-255", 16, 16), "logits", 10)
    teacher = Teacher(model, contract, ImageFormat(16, 16)) if in_layer else model
    sizes = {"image_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    student = create_model("deit_tiny_patch16_224", num_classes=10, **sizes)
    distiller = Distiller(student, teacher)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    expected = numpy(distiller.teacher(images))
    distiller.save(tmp_path / "a.keras")
    channels_first()
    loaded = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(numpy(loaded.teacher(images)), expected, rtol=0, atol=1e-5)
    assert keras.config.image_data_format() == "channels_first"
