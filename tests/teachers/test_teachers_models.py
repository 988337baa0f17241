"""Teachers by name: architecture, contract, head, file."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_deit.core.errors import InputError
from keras_deit.objectives import applications_models, kerascv_models
from keras_deit.teachers import (
    build_teacher_model,
    check_classes,
    list_teachers,
    load_teacher_model,
    pixel_format,
    replace_head,
    save_teacher_model,
)
from keras_deit.teachers.kerascv_configs import BACKBONES, WEIGHTED_PRESETS
from keras_deit.teachers.teacher import TeacherContract

CONTRACT = TeacherContract(pixel_format("-1-1", 16, 16), "logits", 3)


def small_model(num_classes: int = 3) -> keras.Model:
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.GlobalAveragePooling2D(), layers.Dense(num_classes)]
    )


def outputs_of(model: keras.Model, size: int = 16) -> np.ndarray:
    images = np.random.default_rng(0).random((2, size, size, 3), dtype="float32") * 255
    return ops.convert_to_numpy(model(images, training=False))


def keras_cv_models():
    import keras_cv

    return keras_cv.models


def count_parameters(family: str, preset: str) -> int:
    """Without allocating them: variables made in a stateless scope are not initialized."""
    with keras.StatelessScope():
        backbone = getattr(keras_cv_models(), family)(
            include_rescaling=True, input_shape=(64, 64, 3), **BACKBONES[family][preset]
        )
        return backbone.count_params()


def count_keras_application(name: str) -> int:
    with keras.StatelessScope():
        constructor = getattr(keras.applications, name)
        return constructor(weights=None, include_top=False, input_shape=(64, 64, 3)).count_params()


def preset_parameters(family: str, preset: str) -> int:
    return getattr(keras_cv_models(), family).presets[preset]["metadata"]["params"]


def test_names_are_those_of_kerascv():
    import keras_cv

    presets = keras_cv.models.ImageClassifier.presets
    classifiers = set(presets) - set(keras_cv.models.ImageClassifier.backbone_presets)
    assert set(WEIGHTED_PRESETS["ImageClassifier"]) == classifiers
    for family, configs in BACKBONES.items():
        family_class = getattr(keras_cv.models, family)
        assert set(configs) == set(family_class.presets) - set(family_class.presets_with_weights)
        assert set(WEIGHTED_PRESETS.get(family, [])) == set(family_class.presets_with_weights)
    covered = {name for family in BACKBONES for name in getattr(keras_cv.models, family).presets}
    left = set(keras_cv.models.ImageClassifier.backbone_presets) - covered
    assert all(name.startswith(("vitdet", "videoswin")) for name in left)


counts = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="a parameter count does not depend on the backend, and tracing is slow on JAX",
)


# The larger members of each family differ from these in the same few numbers and were compared
# once; tracing them all takes minutes.
@counts
@pytest.mark.parametrize(
    ("family", "preset"),
    [
        *(("ResNetBackbone", f"resnet{depth}") for depth in (18, 34, 50)),
        *(("ResNetV2Backbone", f"resnet{depth}_v2") for depth in (18, 34, 101)),
        *(("EfficientNetV2Backbone", f"efficientnetv2_{size}") for size in ("s", "b0")),
        *(("CSPDarkNetBackbone", f"csp_darknet_{size}") for size in ("tiny", "s")),
        *(("YOLOV8Backbone", f"yolo_v8_{size}_backbone") for size in ("xs", "s", "m", "l", "xl")),
    ],
)
def test_parameter_count_is_that_of_kerascv(family: str, preset: str):
    assert count_parameters(family, preset) == preset_parameters(family, preset)


@counts
@pytest.mark.parametrize(("preset", "head_inputs"), [("mit_b0", 256), ("mit_b1", 512)])
def test_mit_parameter_count(preset: str, head_inputs: int):
    # KerasCV's figure includes a Dense head of 10 classes.
    head = head_inputs * 10 + 10
    assert (
        count_parameters("MiTBackbone", preset) == preset_parameters("MiTBackbone", preset) - head
    )


@counts
@pytest.mark.parametrize(
    ("preset", "width", "out"), [("b0", 32, 16), ("b2", 32, 16), ("b3", 40, 24), ("b4", 48, 24)]
)
def test_efficientnet_lite_parameter_count(preset: str, width: int, out: int):
    # KerasCV's figure is of a first block that expands the stem's 32 channels to its own scaled
    # width: a 1x1 convolution with its normalization, and a wider depthwise and projection.
    family, preset = "EfficientNetLiteBackbone", f"efficientnetlite_{preset}"
    expansion = (32 + 4) * width + (width - 32) * (9 + 4 + out)
    assert count_parameters(family, preset) == preset_parameters(family, preset) - expansion


# KerasCV's own figures are absent (DenseNet) or of an older implementation (the others). The
# Normalization layer of keras.applications' EfficientNet has 7 variables.
@counts
@pytest.mark.parametrize(
    ("family", "preset", "application", "normalization"),
    [
        ("MobileNetV3Backbone", "mobilenet_v3_small", "MobileNetV3Small", 0),
        ("MobileNetV3Backbone", "mobilenet_v3_large", "MobileNetV3Large", 0),
        ("DenseNetBackbone", "densenet121", "DenseNet121", 0),
        ("DenseNetBackbone", "densenet169", "DenseNet169", 0),
        ("EfficientNetV1Backbone", "efficientnetv1_b0", "EfficientNetB0", 7),
        ("EfficientNetV1Backbone", "efficientnetv1_b3", "EfficientNetB3", 7),
    ],
)
def test_parameter_count_is_that_of_keras_applications(family, preset, application, normalization):
    expected = count_keras_application(application) - normalization
    assert count_parameters(family, preset) == expected


def test_kerascv_classifier_takes_0_to_255_and_survives_its_file(tmp_path):
    model, contract = build_teacher_model("kerascv:ResNet18_V2", 5, 32, 32)
    assert contract == TeacherContract(pixel_format("0-255", 32, 32), "logits", 5)
    assert type(model).__name__ == "ImageClassifier"
    outputs = outputs_of(model, 32)
    assert outputs.shape == (2, 5)
    assert outputs.min() < 0
    rescaling = [layer for layer in model.backbone.layers if isinstance(layer, layers.Rescaling)]
    assert [layer.scale for layer in rescaling] == [1 / 255]

    save_teacher_model(model, contract, tmp_path / "teacher.keras")
    loaded, loaded_contract = load_teacher_model(tmp_path / "teacher.keras")
    assert loaded_contract == contract
    np.testing.assert_array_equal(outputs_of(loaded, 32), outputs)

    wider, wider_contract = replace_head(loaded, loaded_contract, 7)
    assert (wider.output_shape, wider_contract.num_classes) == ((None, 7), 7)


@pytest.mark.parametrize("name", ["ResNet50", "resnet50", "applications:ResNet50"])
def test_a_keras_applications_name_with_or_without_prefix(name, monkeypatch):
    seen = {}

    def build(model_name, input_shape, **arguments):
        seen.update(model_name=model_name, input_shape=input_shape, **arguments)
        return small_model(10)

    monkeypatch.setattr(applications_models, "_build", build)
    _, contract = build_teacher_model(name, 10, 40, 48)
    assert seen == {"model_name": "ResNet50", "input_shape": (40, 48, 3), "classes": 10}
    assert contract == TeacherContract(pixel_format("caffe", 40, 48), "logits", 10)


def test_keras_applications_classifier_gives_logits():
    model, contract = build_teacher_model("MobileNetV2", 4, 32, 32)
    assert contract == TeacherContract(pixel_format("-1-1", 32, 32), "logits", 4)
    assert model.layers[-1].activation is keras.activations.linear
    assert outputs_of(model, 32).shape == (2, 4)


def imagenet_weights_are_random(monkeypatch):
    constructor = keras.applications.MobileNetV2

    def without_download(weights, **arguments):
        assert weights == "imagenet"
        return constructor(weights=None, **arguments)

    monkeypatch.setattr(keras.applications, "MobileNetV2", without_download)


def test_imagenet_weights_with_another_class_count_get_a_new_head(monkeypatch):
    imagenet_weights_are_random(monkeypatch)
    model, contract = build_teacher_model("MobileNetV2", 4, 32, 32, weights="imagenet")
    assert (model.output_shape, contract.num_classes) == ((None, 4), 4)
    assert isinstance(model.layers[-2], layers.GlobalAveragePooling2D)


def test_imagenet_weights_with_imagenet_classes_come_at_their_own_size(monkeypatch):
    imagenet_weights_are_random(monkeypatch)
    model, contract = build_teacher_model("MobileNetV2", 1000, 32, 32, weights="imagenet")
    assert model.input_shape == (None, 224, 224, 3)
    assert contract == TeacherContract(pixel_format("-1-1", 224, 224), "logits", 1000)


def test_every_keras_applications_model_is_offered():
    constructors = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(applications_models.MODELS) == constructors
    assert len(list_teachers()) == len(set(list_teachers()))


@pytest.mark.parametrize("name", sorted(applications_models.MODELS))
def test_smallest_image_is_that_of_keras_applications(name: str):
    minimum = applications_models.MODELS[name][1]
    with pytest.raises(InputError, match=f"at least {minimum}x{minimum} .*: {minimum - 1}x99"):
        build_teacher_model(name, 10, minimum - 1, 99)
    refused_on_torch = name == "NASNetMobile" and keras.backend.backend() == "torch"
    # MobileNetV3 does not check its image size.
    if not name.startswith("MobileNetV3") and not refused_on_torch:
        with pytest.raises(ValueError, match=f"at least {minimum}x{minimum}"):
            getattr(keras.applications, name)(
                weights=None, input_shape=(minimum - 1, minimum - 1, 3)
            )


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("kerascv:densenet121", (16, 16), "at least 32x32 pixels. Received: 16x16"),
        ("kerascv:csp_darknet_s", (33, 48), "2x2 pixels, multiples of 2. Received: 33x48"),
        ("kerascv:mit_b0", (64, 80), "64x64 pixels, multiples of 32. Received: 64x80"),
        ("kerascv:mit_b0", (64, 96), "square images. Received: 64x96"),
        ("kerascv:resnet19_v2", (64, 64), "Unknown teacher.*kerascv:resnet18_v2"),
        ("applications:ResNet51", (64, 64), "Unknown teacher.*applications:ResNet50"),
        ("resnet18_v2", (64, 64), "Unknown teacher.*kerascv:resnet18_v2"),
    ],
)
def test_names_and_sizes_that_do_not_do(name, size, message):
    with pytest.raises(InputError, match=message):
        build_teacher_model(name, 10, *size)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras refuses it on torch only")
def test_nasnet_mobile_is_refused_on_torch():
    with pytest.raises(InputError, match="NASNetMobile does not run on the torch backend"):
        build_teacher_model("NASNetMobile", 10, 224, 224)
    with pytest.raises(ValueError, match="not available with the torch backend"):
        keras.applications.NASNetMobile(weights=None)


def test_weights_that_do_not_do():
    with pytest.raises(InputError, match=r"part of its name.*weights='imagenet'"):
        build_teacher_model("kerascv:resnet50_v2", 10, 32, 32, weights="imagenet")
    with pytest.raises(InputError, match=r"None or 'imagenet'. Received: 'noisy-student'"):
        build_teacher_model("ResNet50", 10, 32, 32, weights="noisy-student")


class Preset:
    """Stands for a KerasCV class: gives a model built here in the place of a download."""

    def __init__(self, model=None):
        self.model, self.calls = model, []

    def from_preset(self, preset, **arguments):
        self.calls.append((preset, arguments))
        if self.model is None:
            raise ConnectionError("Failed to resolve 'api.kaggle.com'\nand a second line")
        return self.model


def test_a_preset_that_cannot_be_fetched_is_one_line(monkeypatch):
    monkeypatch.setattr(keras_cv_models(), "ResNetV2Backbone", Preset())
    with pytest.raises(InputError) as raised:
        build_teacher_model("kerascv:resnet50_v2_imagenet", 10, 32, 32)
    assert str(raised.value) == (
        "The weights of teacher kerascv:resnet50_v2_imagenet could not be fetched from Kaggle: "
        "Failed to resolve 'api.kaggle.com'"
    )


def test_imagenet_weights_that_cannot_be_fetched_are_one_line(monkeypatch):
    def fail(**arguments):
        raise Exception("URL fetch failure on https://weights: None -- [Errno -2]")

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    with pytest.raises(InputError, match="applications:ResNet50 could not be fetched: URL fetch"):
        build_teacher_model("ResNet50", 10, 32, 32, weights="imagenet")


@pytest.mark.parametrize(("rescaling", "pixels"), [(True, "0-255"), (False, "0-1")])
def test_a_preset_s_backbone_tells_its_pixel_range(rescaling, pixels, monkeypatch):
    backbone = keras_cv_models().YOLOV8Backbone(
        include_rescaling=rescaling,
        input_shape=(32, 32, 3),
        **BACKBONES["YOLOV8Backbone"]["yolo_v8_xs_backbone"],
    )
    preset = Preset(backbone)
    monkeypatch.setattr(keras_cv_models(), "YOLOV8Backbone", preset)
    model, contract = build_teacher_model("kerascv:yolo_v8_xs_backbone_coco", 6, 32, 32)
    assert preset.calls == [("yolo_v8_xs_backbone_coco", {"input_shape": (32, 32, 3)})]
    assert contract == TeacherContract(pixel_format(pixels, 32, 32), "logits", 6)
    assert model.output_shape == (None, 6)


def test_a_classifier_preset_keeps_its_own_head(monkeypatch):
    models = keras_cv_models()
    config = BACKBONES["YOLOV8Backbone"]["yolo_v8_xs_backbone"]
    backbone = models.YOLOV8Backbone(include_rescaling=True, **config)
    classifier = models.ImageClassifier(backbone, 1000)
    monkeypatch.setattr(models, "ImageClassifier", Preset(classifier))
    model, contract = build_teacher_model("kerascv:resnet50_v2_imagenet_classifier", 10, 64, 64)
    assert model is classifier
    assert contract == TeacherContract(pixel_format("0-255", 64, 64), "probabilities", 1000)


def test_kerascv_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keras_cv", None)
    message = r"'keras-deit\[tensorflow\]'. Without them: --teacher applications:NAME"
    with pytest.raises(InputError, match=message):
        kerascv_models.build_kerascv_model("kerascv:resnet18", 10, 32, 32)


def test_another_class_count_is_refused_with_the_command_that_helps():
    contract = TeacherContract(pixel_format("0-255", 224, 224), "probabilities", 1000)
    check_classes(contract.num_classes, 1000, "x", "imagenet")
    with pytest.raises(InputError) as raised:
        check_classes(contract.num_classes, 10, "kerascv:resnet50_v2_imagenet_classifier", "digits")
    assert str(raised.value) == (
        "Teacher kerascv:resnet50_v2_imagenet_classifier has 1000 classes, dataset digits has 10: "
        "fine-tune it with `python scripts/train_teacher.py --teacher "
        "kerascv:resnet50_v2_imagenet_classifier --dataset digits --output teacher.keras`, then "
        "pass --teacher teacher.keras."
    )


@pytest.mark.parametrize(
    "head",
    [
        [layers.Dense(3)],
        [layers.Dense(3, activation="softmax")],
        [layers.Dense(3), layers.Softmax()],
        [layers.Dense(3), layers.Activation("softmax")],
    ],
)
def test_replaced_head_is_logits_on_the_same_features(head):
    body = [keras.Input((16, 16, 3)), layers.GlobalAveragePooling2D()]
    hidden = layers.Dense(8, activation="relu")
    model = keras.Sequential([*body, hidden, *head])
    contract = TeacherContract(pixel_format("0-1", 16, 16), "probabilities", 3)
    new_model, new_contract = replace_head(model, contract, 5)
    assert new_contract == TeacherContract(pixel_format("0-1", 16, 16), "logits", 5)
    features = outputs_of(keras.Model(model.inputs[0], hidden.output))
    kernel, bias = new_model.layers[-1].get_weights()
    np.testing.assert_allclose(
        outputs_of(new_model), features @ kernel + bias, rtol=1e-4, atol=1e-3
    )


def test_a_model_that_does_not_end_in_dense_keeps_its_head():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Softmax()])
    with pytest.raises(InputError, match="ends in Flatten, not in a Dense"):
        replace_head(model, CONTRACT, 5)
    with pytest.raises(InputError, match="not a functional or a built sequential"):
        replace_head(keras.Sequential([layers.Dense(3)]), CONTRACT, 5)


def test_saved_file_and_contract_come_back(tmp_path):
    model, path = small_model(), tmp_path / "runs" / "teacher.keras"
    save_teacher_model(model, CONTRACT, path, dataset="digits", accuracy=0.5)
    assert sorted(file.name for file in path.parent.iterdir()) == ["teacher.json", "teacher.keras"]
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["dataset"], record["accuracy"]) == ("digits", 0.5)
    loaded, contract = load_teacher_model(path)
    assert contract == CONTRACT
    np.testing.assert_array_equal(outputs_of(loaded), outputs_of(model))


def test_a_failed_save_leaves_the_old_files(tmp_path):
    path = tmp_path / "teacher.keras"
    save_teacher_model(small_model(), CONTRACT, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        save_teacher_model(small_model(4), CONTRACT, path, accuracy=object())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_without_contract_needs_the_flags(tmp_path):
    path = tmp_path / "teacher.keras"
    small_model().save(path)
    with pytest.raises(InputError) as raised:
        load_teacher_model(path)
    assert "--teacher_pixels {0-255,0-1,-1-1,imagenet,caffe}" in str(raised.value)
    assert "--teacher_outputs {logits,probabilities}" in str(raised.value)
    assert load_teacher_model(path, CONTRACT)[1] == CONTRACT
    assert load_teacher_model(path, pixels="-1-1", outputs="logits")[1] == CONTRACT


def test_files_that_do_not_do(tmp_path):
    with pytest.raises(InputError, match=r"ends in .keras. Received: teacher.h5"):
        load_teacher_model("teacher.h5")
    path = tmp_path / "teacher.keras"
    with pytest.raises(InputError, match="does not exist"):
        load_teacher_model(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(InputError, match="could not be read"):
        load_teacher_model(path, CONTRACT)
    small_model(4).save(path)
    with pytest.raises(InputError, match=r"declares 3 classes.*\(None, 4\)"):
        load_teacher_model(path, CONTRACT)
    path.with_suffix(".json").write_text('{"contract": {"outputs": "logits"}}')
    with pytest.raises(InputError, match=r"teacher.json is not a teacher's contract"):
        load_teacher_model(path)
    keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()]).save(path)
    with pytest.raises(InputError, match="takes images of any size"):
        load_teacher_model(path, pixels="0-1", outputs="logits")
