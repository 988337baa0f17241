"""Classifiers of keras.applications as teachers: names, heads, weights, image sizes."""

import socket
import time

import keras
import numpy as np
import pytest
from harness import numpy
from keras import layers

from keras_deit import InputError
from keras_deit.teachers import (
    TeacherContract,
    applications,
    build_teacher_model,
    list_teachers,
    pixel_format,
)


@pytest.mark.parametrize("name", ["ResNet50", "resnet50", "applications:ResNet50"])
def test_a_keras_applications_name_with_or_without_prefix(name, monkeypatch):
    seen = {}

    def build(model_name, input_shape, **arguments):
        seen.update(model_name=model_name, input_shape=input_shape, **arguments)
        return keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten()])

    monkeypatch.setattr(applications, "_build", build)
    _, contract = build_teacher_model(name, 10, 40, 48)
    assert seen == {"model_name": "ResNet50", "input_shape": (40, 48, 3), "classes": 10}
    assert contract == TeacherContract(pixel_format("caffe", 40, 48), "logits", 10)


def test_keras_applications_classifier_gives_logits():
    model, contract = build_teacher_model("MobileNetV2", 4, 32, 32)
    assert contract == TeacherContract(pixel_format("-1-1", 32, 32), "logits", 4)
    assert model.layers[-1].activation is keras.activations.linear
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32") * 2 - 1
    assert np.abs(numpy(model(images)).sum(axis=1) - 1).min() > 1e-3


def use_random_weights(monkeypatch):
    constructor = keras.applications.MobileNetV2

    def without_download(weights, **arguments):
        assert weights == "imagenet"
        return constructor(weights=None, **arguments)

    monkeypatch.setattr(keras.applications, "MobileNetV2", without_download)


def test_imagenet_weights_with_another_class_count_get_a_new_head(monkeypatch):
    use_random_weights(monkeypatch)
    model, contract = build_teacher_model("MobileNetV2", 4, 32, 32, weights="imagenet")
    assert (model.output_shape, contract.num_classes) == ((None, 4), 4)
    assert isinstance(model.layers[-2], layers.GlobalAveragePooling2D)


def test_imagenet_weights_with_imagenet_classes_have_their_own_image_size(monkeypatch):
    use_random_weights(monkeypatch)
    model, contract = build_teacher_model("MobileNetV2", 1000, 32, 32, weights="imagenet")
    assert model.input_shape == (None, 224, 224, 3)
    assert contract == TeacherContract(pixel_format("-1-1", 224, 224), "logits", 1000)


def test_every_keras_applications_model_is_offered():
    constructors = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(applications.MODELS) == constructors
    assert len(list_teachers()) == len(set(list_teachers()))


@pytest.mark.parametrize("name", sorted(applications.MODELS))
def test_smallest_image_is_that_of_keras_applications(name: str):
    minimum = applications.MODELS[name][1]
    with pytest.raises(InputError, match=f"{minimum}x{minimum} .*{minimum - 1}x99"):
        build_teacher_model(name, 10, minimum - 1, 99)
    # MobileNetV3 does not check its image size.
    if not name.startswith("MobileNetV3"):
        with pytest.raises(ValueError, match=f"at least {minimum}x{minimum}"):
            getattr(keras.applications, name)(
                weights=None, input_shape=(minimum - 1, minimum - 1, 3)
            )


@pytest.mark.backends("torch")
def test_nasnet_mobile_is_refused_on_torch():
    with pytest.raises(InputError, match=r"NASNetMobile.*torch"):
        build_teacher_model("NASNetMobile", 10, 224, 224)
    with pytest.raises(ValueError, match="torch"):
        keras.applications.NASNetMobile(weights=None)


def test_unknown_weights_are_refused():
    with pytest.raises(InputError, match="weights='imagenet'"):
        build_teacher_model("kerascv:resnet50_v2", 10, 32, 32, weights="imagenet")
    with pytest.raises(InputError, match=r"'imagenet'.*'noisy-student'"):
        build_teacher_model("ResNet50", 10, 32, 32, weights="noisy-student")


def test_the_error_for_weights_that_cannot_be_fetched_names_the_teacher(monkeypatch):
    def fail(**arguments):
        raise Exception("URL fetch failure on https://weights: None -- [Errno -2]")

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    with pytest.raises(InputError, match=r"applications:ResNet50 .*https://weights"):
        build_teacher_model("ResNet50", 10, 32, 32, weights="imagenet")


@pytest.mark.parametrize("name", ["MobileNetV2", "kerascv:resnet50_v2_imagenet"])
def test_weights_behind_a_host_that_does_not_answer_fail_within_seconds(
    name, tmp_path, monkeypatch
):
    import keras_cv

    def fetch(*_, **__):
        keras.utils.get_file("weights.h5", "http://silent.invalid/weights.h5", cache_dir=tmp_path)

    def fetch_preset(*_, **__):
        socket.create_connection(("silent.invalid", 443))

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(20) or [])
    monkeypatch.setattr("keras_deit.core.network._SECONDS", 0.2)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setattr(keras.applications, "MobileNetV2", fetch)
    monkeypatch.setattr(keras_cv.models.ResNetV2Backbone, "from_preset", fetch_preset)
    start = time.monotonic()
    weights = None if ":" in name else "imagenet"
    with pytest.raises(InputError, match=r"silent\.invalid: no answer"):
        build_teacher_model(name, 10, 32, 32, weights=weights)
    assert time.monotonic() - start < 10
