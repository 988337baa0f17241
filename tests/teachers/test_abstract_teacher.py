"""Abstract teachers have the sizes of the real ones, and need neither memory nor network."""

import math

import keras
import pytest

from keras_deit import InputError, count_macs, create_model
from keras_deit.core.image_format import ImageFormat
from keras_deit.teachers import TeacherRequest, abstract_teacher, build_teacher_model

STUDENT = ImageFormat(32, 32)
slow = pytest.mark.slow


def build(name, num_classes, size, **request):
    return abstract_teacher(TeacherRequest(name, **request), num_classes, size, size, STUDENT)


def shapes(model):
    return [(variable.path, tuple(variable.shape), variable.dtype) for variable in model.variables]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("applications:MobileNetV2", 64),
        pytest.param("applications:Xception", 71, marks=slow),
        ("kerascv:resnet18_v2", 32),
    ],
)
def test_an_abstract_teacher_has_the_variables_of_the_teacher(name, size):
    # Keras numbers the layers of a model that have no name of their own.
    keras.utils.clear_session(free_memory=False)
    teacher = build(name, 7, size)
    keras.utils.clear_session(free_memory=False)
    model, contract = build_teacher_model(name, 7, size, size)
    assert shapes(teacher.model) == shapes(model)
    assert teacher.contract == contract
    assert all(variable._value is None for variable in teacher.variables)
    assert count_macs(teacher.model) == count_macs(model)


@pytest.mark.parametrize(
    ("name", "size", "published"),
    [
        # In 10⁹, from the papers: ResNet (He et al.), Xception and VGG as in keras.applications.
        ("applications:ResNet50", 224, 3.8),
        ("applications:Xception", 299, 8.4),
        ("applications:VGG16", 224, 15.5),
    ],
)
def test_multiply_adds_agree_with_the_papers(name, size, published):
    macs = count_macs(build(name, 1000, size).model)
    assert macs / 1e9 == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(
    ("name", "request_values", "size"),
    [
        pytest.param("kerascv:efficientnetv2_s_imagenet_classifier", {}, 1000, marks=slow),
        ("kerascv:efficientnetv2_s_imagenet", {}, 7),
        ("applications:MobileNetV2", {"weights": "imagenet"}, 7),
    ],
)
def test_trained_weights_are_not_downloaded(name, request_values, size):
    """The sizes are those of the architecture, and of the head that comes with the weights."""
    teacher = build(name, 7, 64, **request_values)
    assert teacher.contract.num_classes == size
    assert teacher.compute_output_shape((None, 32, 32, 3)) == (None, size)
    head = max(teacher.model.weights, key=lambda w: w.shape[-1] == size and len(w.shape) == 2)
    assert math.prod(head.shape) == 1280 * size


def test_an_abstract_teacher_from_a_file(tmp_path):
    model = create_model(
        "deit_tiny_patch16_224", image_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2
    )
    path = tmp_path / "teacher.keras"
    model.save(path)
    teacher = build(str(path), 10, 1, pixels="0-1", outputs="logits")
    assert shapes(teacher.model) == shapes(model)
    assert teacher.contract.num_classes == 1000
    with pytest.raises(InputError, match=r"--teacher_pixels"):
        build(str(path), 10, 1)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"teacher\.keras"):
        build(str(path), 10, 1, pixels="0-1", outputs="logits")
    with pytest.raises(InputError, match="MobileNetV9"):
        build("applications:MobileNetV9", 10, 32)
