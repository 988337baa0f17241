"""The outline of a teacher tells its size and its work, and needs neither memory nor network."""

import keras
import pytest

from keras_deit import InputError, count_macs, create_model
from keras_deit.teachers import build_teacher_model
from keras_deit.teachers.abstract import abstract_teacher


@pytest.mark.parametrize(
    ("name", "size"),
    [("applications:MobileNetV2", 64), ("applications:Xception", 71), ("kerascv:resnet18_v2", 32)],
)
def test_the_outline_of_a_teacher_is_the_teacher(name, size):
    outline = abstract_teacher(name, 7, size, size)
    model, _ = build_teacher_model(name, 7, size, size)
    assert outline.parameters == model.count_params()
    assert outline.weight_bytes == sum(
        keras.ops.convert_to_numpy(v.value).nbytes for v in model.variables
    )
    if name == "applications:MobileNetV2":
        assert outline.macs == count_macs(model)


def test_published_operations_of_teachers():
    """10⁹ multiply-adds of the papers' tables: ResNet (He et al.), Xception's and VGG's in Keras's
    own, EfficientNetV2-S at 384 (Tan & Le 2021, table 7)."""
    for name, size, published in (
        ("applications:ResNet50", 224, 3.8),
        ("applications:Xception", 299, 8.4),
        ("applications:VGG16", 224, 15.5),
        ("kerascv:efficientnetv2_s_imagenet", 384, 8.4),
    ):
        macs = abstract_teacher(name, 1000, size, size).macs
        assert macs / 1e9 == pytest.approx(published, rel=0.03), name


def test_a_teacher_of_this_package_and_a_broken_file(tmp_path):
    model = create_model(
        "deit_tiny_patch16_224", image_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2
    )
    path = tmp_path / "teacher.keras"
    model.save(path)
    outline = abstract_teacher(str(path), 10, 1, 1)
    assert (outline.macs, outline.parameters) == (count_macs(model), model.count_params())
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="could not be read"):
        abstract_teacher(str(path), 10, 1, 1)
    with pytest.raises(InputError, match="Unknown teacher"):
        abstract_teacher("applications:MobileNetV9", 10, 32, 32)
