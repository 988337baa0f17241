"""The teacher of a training is trained, kept, found again, and fine-tuned."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.precision import precision
from keras_deit.data import Dataset, load_dataset
from keras_deit.data.source import ArraySource
from keras_deit.recipes import DIGITS
from keras_deit.teachers import TeacherContract, TeacherRequest, load_teacher_model
from keras_deit.training import (
    InputPipeline,
    check_output,
    fine_tune_teacher,
    resolve_teacher,
    teacher_of_run,
)
from keras_deit.training.teachers import fit_teacher

pytestmark = pytest.mark.usefixtures("eager")

STUDENT_FORMAT = ImageFormat(16, 16)
PIPELINE = InputPipeline(STUDENT_FORMAT, 10, 1.0, "bilinear")


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def recipe():
    """Two epochs of two steps."""
    recipe = DIGITS.objective.values["teacher_recipe"]
    training = {"epochs": 2, "warmup_epochs": 1, "batch_size": 600}
    optimization = dataclasses.replace(recipe.optimization, **training)
    return dataclasses.replace(recipe, optimization=optimization, image_size=16)


def small_convnet(name, num_classes, height, width, weights=None):
    """Stands for `build_teacher_model`."""
    model = keras.Sequential(
        [
            keras.Input((height, width, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(num_classes),
        ],
        name=name.split(":")[-1],
    )
    image_format = ImageFormat(height, width, (0,) * 3, (1 / 255,) * 3)
    return model, TeacherContract(image_format, "logits", num_classes)


@pytest.fixture
def built(monkeypatch):
    """Collects the arguments of the teachers that are built."""
    calls = []

    def build(*arguments):
        calls.append(arguments)
        return small_convnet(*arguments)

    monkeypatch.setattr("keras_deit.training.teachers.build_teacher_model", build)
    return calls


def request(recipe):
    return TeacherRequest("kerascv:resnet18_v2", recipe=recipe)


def resolve(recipe, digits, folder):
    return resolve_teacher(request(recipe), digits, PIPELINE, str(folder), batch_size=100)


def changed(recipe, **values):
    optimization = dataclasses.replace(recipe.optimization, **values)
    return dataclasses.replace(recipe, optimization=optimization)


def test_a_teacher_is_trained_once_and_then_found(digits, recipe, tmp_path, built):
    first, source = resolve(recipe, digits, tmp_path)
    again, same_source = resolve(recipe, digits, tmp_path)
    assert same_source == source
    assert built == [("kerascv:resnet18_v2", 10, 16, 16, None)]
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.model.layers[1].momentum == 0.9
    assert first.contract.num_classes == 10
    record = json.loads((tmp_path / source.split("/")[-1]).with_suffix(".json").read_text())
    assert set(record["top1"]) == {"validation", "test"}
    # Another way to train it is another teacher.
    assert resolve(changed(recipe, weight_decay=0.1), digits, tmp_path)[1] != source
    assert len(built) == 2


def test_a_kept_teacher_is_float32_and_belongs_to_its_backend(
    digits, recipe, tmp_path, built, monkeypatch
):
    recipe = changed(recipe, epochs=1, warmup_epochs=0)
    with precision("mixed_bfloat16"):
        teacher, _ = resolve(recipe, digits, tmp_path)
    assert {layer.dtype_policy.name for layer in teacher.model.layers} == {"float32"}

    class IsTrained(Exception):
        pass

    def fit_teacher(*args, **kwargs):
        raise IsTrained

    monkeypatch.setattr("keras_deit.training.teachers.fit_teacher", fit_teacher)
    resolve(recipe, digits, tmp_path)
    monkeypatch.setattr(keras.backend, "backend", lambda: "another")
    with pytest.raises(IsTrained):
        resolve(recipe, digits, tmp_path)


def test_a_teacher_by_name_has_the_size_of_its_contract(built):
    _, contract = small_convnet("small", 10, 24, 20)
    config = {
        "teacher": "applications:MobileNetV3Small",
        "teacher_contract": contract.to_dict(),
    }
    request = TeacherRequest("applications:MobileNetV3Small", weights="imagenet")
    teacher, note = teacher_of_run(config, request, STUDENT_FORMAT)
    assert not note
    assert teacher.model.input_shape == (None, 24, 20, 3)
    assert built == [("applications:MobileNetV3Small", 10, 24, 20, "imagenet")]
    assert teacher(np.zeros((2, 16, 16, 3), "float32")).shape == (2, 10)


def test_the_teacher_of_a_run_is_found_while_its_file_is_there(teacher_file, tmp_path):
    _, contract = load_teacher_model(teacher_file)
    config = {"teacher": str(teacher_file), "teacher_contract": contract.to_dict()}
    request = TeacherRequest(str(teacher_file))
    teacher, note = teacher_of_run(config, request, STUDENT_FORMAT)
    assert not note
    assert teacher.contract == contract and teacher.model.output_shape == (None, 10)
    gone = {**config, "teacher": str(tmp_path / "gone.keras")}
    teacher, note = teacher_of_run(gone, request, STUDENT_FORMAT)
    assert teacher is None and "gone.keras does not exist" in note


def test_a_batch_larger_than_the_data_is_refused_by_the_name_of_its_flag(
    digits, recipe, tmp_path, built
):
    with pytest.raises(InputError, match=r"teacher_batch_size 2000 .*1257"):
        resolve(changed(recipe, batch_size=2000), digits, tmp_path)
    assert not built


def test_a_teacher_is_fitted_and_kept_with_its_accuracy(digits, recipe, tmp_path):
    keras.utils.set_random_seed(0)
    model, contract = small_convnet("small", 10, 16, 16)
    before = [weight.copy() for weight in model.get_weights()]
    path = tmp_path / "folder" / "teacher.keras"
    scores = fit_teacher(model, contract, digits, recipe, PIPELINE, path, "a model")
    weights = model.get_weights()
    assert not any(np.array_equal(a, b) for a, b in zip(before, weights, strict=True))
    kept, kept_contract = load_teacher_model(path)
    assert kept_contract == contract
    for one, other in zip(weights, kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert json.loads(path.with_suffix(".json").read_text())["top1"] == scores
    assert 0 <= scores["test"] <= 1
    assert scores["test"] * 360 == pytest.approx(round(scores["test"] * 360))
    assert not path.with_suffix(".checkpoints").exists()


def test_fine_tuning_replaces_a_head_of_other_classes(digits, recipe, teacher_file, tmp_path):
    splits = (digits.train, digits.validation, digits.test)
    sources = [
        ArraySource(np.stack([split[i][0] for i in range(len(split))]), split.labels % 2)
        for split in splits
    ]
    parity = Dataset("parity", ("even", "odd"), *sources)
    path = tmp_path / "parity.keras"
    pipeline = dataclasses.replace(PIPELINE, num_classes=2)
    fine_tune_teacher(str(teacher_file), parity, recipe, pipeline, path)
    model, contract = load_teacher_model(path)
    assert model.output_shape == (None, 2) and contract.num_classes == 2


def test_a_file_that_a_teacher_cannot_be_kept_in_is_refused(tmp_path):
    check_output(tmp_path / "new" / "teacher.keras")
    (tmp_path / "there.keras").touch()
    for name, message in (
        ("there.keras", "exists already"),
        ("teacher.h5", r"\.keras file"),
        ("there.keras/below/teacher.keras", "not a writable folder"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(tmp_path / name)
