"""Files of teachers and their contracts, and the replacement of a head."""

import json

import keras
import numpy as np
import pytest
from harness import numpy
from keras import layers

from keras_deit import InputError
from keras_deit.teachers import (
    TeacherContract,
    check_classes,
    check_teacher_name,
    load_teacher_model,
    own_head_classes,
    pixel_format,
    replace_head,
    save_teacher_model,
    teacher_record,
)

CONTRACT = TeacherContract(pixel_format("-1-1", 16, 16), "logits", 3)


def small_model(num_classes: int = 3) -> keras.Model:
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.GlobalAveragePooling2D(), layers.Dense(num_classes)]
    )


def outputs_of(model: keras.Model, size: int = 16) -> np.ndarray:
    images = np.random.default_rng(0).random((2, size, size, 3), dtype="float32") * 255
    return numpy(model(images, training=False))


def test_the_error_for_another_number_of_classes_has_the_command_that_helps():
    contract = TeacherContract(pixel_format("0-255", 224, 224), "probabilities", 1000)
    check_classes(contract.num_classes, 1000, "x", "imagenet")
    name = "kerascv:resnet50_v2_imagenet_classifier"
    with pytest.raises(InputError) as raised:
        check_classes(contract.num_classes, 10, name, "digits")
    command = f"keras-deit train-teacher --teacher {name} --dataset digits --output teacher.keras"
    assert command in str(raised.value)
    assert "1000" in str(raised.value) and "10" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "num_classes", "weights", "expected"),
    [
        ("kerascv:resnet50_v2_imagenet_classifier", 10, None, 1000),
        ("kerascv:resnet50_v2_imagenet", 10, None, None),
        ("applications:ResNet50", 1000, "imagenet", 1000),
        ("applications:ResNet50", 10, "imagenet", None),
        ("applications:ResNet50", 1000, None, None),
    ],
)
def test_classes_of_the_head_that_comes_with_trained_weights(name, num_classes, weights, expected):
    assert own_head_classes(name, num_classes, weights) == expected


def test_names_and_files_are_checked_without_building_a_model(tmp_path):
    check_teacher_name("ResNet50")
    check_teacher_name("applications:resnet50")
    check_teacher_name("kerascv:ResNet18_v2")
    with pytest.raises(InputError, match=r"resnet51.*kerascv:resnet50"):
        check_teacher_name("kerascv:resnet51")
    path = tmp_path / "teacher.keras"
    with pytest.raises(InputError, match=r"teacher\.keras"):
        check_teacher_name(str(path))
    path.write_bytes(b"")
    check_teacher_name(str(path))


@pytest.mark.parametrize(
    "head",
    [
        [layers.Dense(3)],
        [layers.Dense(3, activation="softmax")],
        [layers.Dense(3), layers.Softmax()],
        [layers.Dense(3), layers.Activation("softmax")],
    ],
)
def test_the_replaced_head_gives_logits_from_the_same_features(head):
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


def test_the_head_of_a_model_that_does_not_end_in_dense_cannot_be_replaced():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Softmax()])
    with pytest.raises(InputError, match="Flatten"):
        replace_head(model, CONTRACT, 5)
    with pytest.raises(InputError, match="functional"):
        replace_head(keras.Sequential([layers.Dense(3)]), CONTRACT, 5)


def test_model_and_contract_are_restored_from_a_file(tmp_path):
    model, path = small_model(), tmp_path / "runs" / "teacher.keras"
    save_teacher_model(model, CONTRACT, path, dataset="digits", accuracy=0.5)
    assert sorted(file.name for file in path.parent.iterdir()) == ["teacher.json", "teacher.keras"]
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["dataset"], record["accuracy"]) == ("digits", 0.5)
    loaded, contract = load_teacher_model(path)
    assert contract == CONTRACT
    np.testing.assert_array_equal(outputs_of(loaded), outputs_of(model))


def test_a_failed_save_does_not_change_the_old_files(tmp_path):
    path = tmp_path / "teacher.keras"
    save_teacher_model(small_model(), CONTRACT, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        save_teacher_model(small_model(4), CONTRACT, path, accuracy=object())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_error_for_a_file_without_contract_names_the_flags(tmp_path):
    path = tmp_path / "teacher.keras"
    small_model().save(path)
    with pytest.raises(InputError) as raised:
        load_teacher_model(path)
    assert "--teacher_pixels {0-255,0-1,-1-1,imagenet,caffe}" in str(raised.value)
    assert "--teacher_outputs {logits,probabilities}" in str(raised.value)
    assert load_teacher_model(path, CONTRACT)[1] == CONTRACT
    assert load_teacher_model(path, pixels="-1-1", outputs="logits")[1] == CONTRACT


def test_unusable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.keras.*teacher\.h5"):
        load_teacher_model("teacher.h5")
    path = tmp_path / "teacher.keras"
    with pytest.raises(InputError, match=r"teacher\.keras .*exist"):
        load_teacher_model(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(InputError, match=r"teacher\.keras .*read"):
        load_teacher_model(path, CONTRACT)
    small_model(4).save(path)
    with pytest.raises(InputError, match=r"3 classes.*\(None, 4\)"):
        load_teacher_model(path, CONTRACT)
    path.with_suffix(".json").write_text('{"contract": {"outputs": "logits"}}')
    with pytest.raises(InputError, match=r"teacher\.json .*contract"):
        load_teacher_model(path)
    keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()]).save(path)
    with pytest.raises(InputError, match="any size"):
        load_teacher_model(path, pixels="0-1", outputs="logits")


def test_code_in_a_keras_file_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    code = eval(f"lambda x: (open({str(ran)!r}, 'w').close(), x)[1]")
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Lambda(code), layers.Flatten()])
    model.save(tmp_path / "teacher.keras")
    ran.unlink()
    with pytest.raises(InputError, match=r"teacher\.keras"):
        load_teacher_model(str(tmp_path / "teacher.keras"), pixels="0-1", outputs="logits")
    assert not ran.exists()


@pytest.mark.parametrize("values", [{"classes": "ab"}, {"data": ["a"]}, {"data": {"digest": 1}}])
def test_a_record_with_values_of_other_kinds_is_one_line(tmp_path, values):
    (tmp_path / "teacher.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"teacher\.json is not a teacher's contract: its"):
        teacher_record(tmp_path / "teacher.keras")
