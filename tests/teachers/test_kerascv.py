"""KerasCV's classifiers as teachers: names, architectures, presets."""

import sys

import keras
import numpy as np
import pytest
from harness import numpy
from keras import layers

from keras_deit import InputError
from keras_deit.core.abstract import build_abstract
from keras_deit.teachers import (
    TeacherContract,
    build_teacher_model,
    load_teacher_model,
    pixel_format,
    replace_head,
    save_teacher_model,
)
from keras_deit.teachers.kerascv import build_kerascv_model
from keras_deit.teachers.kerascv_configs import BACKBONES, WEIGHTED_PRESETS


def outputs_of(model: keras.Model, size: int = 16) -> np.ndarray:
    images = np.random.default_rng(0).random((2, size, size, 3), dtype="float32") * 255
    return numpy(model(images, training=False))


def keras_cv_models():
    import keras_cv

    return keras_cv.models


def count_parameters(family: str, preset: str) -> int:
    """Returns the number of parameters of a backbone."""
    constructor, config = getattr(keras_cv_models(), family), BACKBONES[family][preset]
    arguments = {"include_rescaling": True, "input_shape": (64, 64, 3), **config}
    return build_abstract(lambda: constructor(**arguments)).count_params()


def count_keras_application(name: str) -> int:
    constructor = getattr(keras.applications, name)
    arguments = {"weights": None, "include_top": False, "input_shape": (64, 64, 3)}
    return build_abstract(lambda: constructor(**arguments)).count_params()


def preset_parameters(family: str, preset: str) -> int:
    return getattr(keras_cv_models(), family).presets[preset]["metadata"]["params"]


def test_names_are_those_of_kerascv_itself():
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


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


# The larger members of each family differ from these in the same few numbers and were compared
# once. Tracing all of them takes minutes.
@pytest.mark.parametrize(
    ("family", "preset"),
    [
        ("ResNetBackbone", "resnet18"),
        ("ResNetV2Backbone", "resnet18_v2"),
        *(slow("ResNetBackbone", f"resnet{depth}") for depth in (34, 50)),
        *(slow("ResNetV2Backbone", f"resnet{depth}_v2") for depth in (34, 101)),
        *(slow("EfficientNetV2Backbone", f"efficientnetv2_{size}") for size in ("s", "b0")),
        *(slow("CSPDarkNetBackbone", f"csp_darknet_{size}") for size in ("tiny", "s")),
        *(slow("YOLOV8Backbone", f"yolo_v8_{size}_backbone") for size in ("xs", "s", "m")),
        *(slow("YOLOV8Backbone", f"yolo_v8_{size}_backbone") for size in ("l", "xl")),
    ],
)
def test_parameter_count_is_that_of_kerascv(family: str, preset: str):
    assert count_parameters(family, preset) == preset_parameters(family, preset)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "head_inputs"), [("mit_b0", 256), ("mit_b1", 512)])
def test_mit_parameter_count(preset: str, head_inputs: int):
    # KerasCV's figure includes a Dense head of 10 classes.
    head = head_inputs * 10 + 10
    assert (
        count_parameters("MiTBackbone", preset) == preset_parameters("MiTBackbone", preset) - head
    )


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
@pytest.mark.parametrize(
    ("family", "preset", "application", "normalization"),
    [
        ("MobileNetV3Backbone", "mobilenet_v3_small", "MobileNetV3Small", 0),
        slow("MobileNetV3Backbone", "mobilenet_v3_large", "MobileNetV3Large", 0),
        slow("DenseNetBackbone", "densenet121", "DenseNet121", 0),
        slow("DenseNetBackbone", "densenet169", "DenseNet169", 0),
        slow("EfficientNetV1Backbone", "efficientnetv1_b0", "EfficientNetB0", 7),
        slow("EfficientNetV1Backbone", "efficientnetv1_b3", "EfficientNetB3", 7),
    ],
)
def test_parameter_count_is_that_of_keras_applications(family, preset, application, normalization):
    expected = count_keras_application(application) - normalization
    assert count_parameters(family, preset) == expected


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_kerascv_classifier_takes_0_to_255_and_is_restored_from_its_file(tmp_path):
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


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("kerascv:densenet121", (16, 16), r"32x32 .*16x16"),
        ("kerascv:csp_darknet_s", (33, 48), r"2x2 .*multiples of 2.*33x48"),
        ("kerascv:mit_b0", (64, 80), r"64x64 .*multiples of 32.*64x80"),
        ("kerascv:mit_b0", (64, 96), r"square .*64x96"),
        ("kerascv:resnet19_v2", (64, 64), r"resnet19_v2.*kerascv:resnet18_v2"),
        ("applications:ResNet51", (64, 64), r"ResNet51.*applications:ResNet50"),
        ("resnet18_v2", (64, 64), r"'resnet18_v2'.*kerascv:resnet18_v2"),
    ],
)
def test_unknown_names_and_sizes_are_refused(name, size, message):
    with pytest.raises(InputError, match=message):
        build_teacher_model(name, 10, *size)


class Preset:
    """Replaces a KerasCV class, and returns a given model instead of downloading one."""

    def __init__(self, model=None):
        self.model, self.calls = model, []

    def from_preset(self, preset, **arguments):
        self.calls.append((preset, arguments))
        if self.model is None:
            raise ConnectionError("Failed to resolve 'api.kaggle.com'\nand a second line")
        return self.model


def test_the_error_for_a_preset_that_cannot_be_fetched_is_one_line(monkeypatch):
    monkeypatch.setattr(keras_cv_models(), "ResNetV2Backbone", Preset())
    with pytest.raises(InputError, match=r"kerascv:resnet50_v2_imagenet .*'api.kaggle.com'$"):
        build_teacher_model("kerascv:resnet50_v2_imagenet", 10, 32, 32)


@pytest.mark.parametrize(("rescaling", "pixels"), [(True, "0-255"), (False, "0-1")])
def test_pixels_depend_on_the_rescaling_in_the_backbone(rescaling, pixels, monkeypatch):
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


def test_a_classifier_preset_has_its_own_head(monkeypatch):
    models = keras_cv_models()
    config = BACKBONES["YOLOV8Backbone"]["yolo_v8_xs_backbone"]
    backbone = models.YOLOV8Backbone(include_rescaling=True, **config)
    classifier = models.ImageClassifier(backbone, 1000)
    monkeypatch.setattr(models, "ImageClassifier", Preset(classifier))
    model, contract = build_teacher_model("kerascv:resnet50_v2_imagenet_classifier", 10, 64, 64)
    assert model is classifier
    assert contract == TeacherContract(pixel_format("0-255", 64, 64), "probabilities", 1000)


def test_the_error_without_kerascv_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    with pytest.raises(InputError, match=r"keras-deit\[tensorflow\].*--teacher applications:"):
        build_kerascv_model("kerascv:resnet18", 10, 32, 32)
