"""Teachers that are trained, kept, found again and fine-tuned."""

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
from keras_deit.teachers import load_teacher_model
from keras_deit.teachers.teacher import TeacherContract
from keras_deit.training import InputPipeline, check_output, fine_tune_teacher, train_teacher
from keras_deit.training.teachers import resolve_teacher, teacher_of_run

_STUDENT = ImageFormat(16, 16)
_READING = InputPipeline(_STUDENT, 10, (1.0, "bilinear"))


@pytest.fixture
def recipe():
    """Two epochs of two steps."""
    return dataclasses.replace(
        DIGITS.teacher_recipe,
        optimization=dataclasses.replace(
            DIGITS.teacher_recipe.optimization, epochs=2, warmup_epochs=1, batch_size=600
        ),
        image_size=16,
    )


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def _small_convnet(name, num_classes, height, width, weights=None):
    del weights
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


def test_a_teacher_is_trained_once_and_then_found(tiny_job, digits, recipe, tmp_path, monkeypatch):
    built = []

    def build(*arguments):
        built.append(arguments)
        return _small_convnet(*arguments)

    module = "keras_deit.training.teachers.build_teacher_model"
    monkeypatch.setattr(module, build)
    job = tiny_job(
        teacher="kerascv:resnet18_v2", teacher_recipe=recipe, job={"teacher_dir": str(tmp_path)}
    )
    first, contract, source = resolve_teacher(job, digits, _READING)
    again, _, same = resolve_teacher(dataclasses.replace(job, seed=5), digits, _READING)
    assert same == source and len(built) == 1
    assert built[0] == ("kerascv:resnet18_v2", 10, 16, 16, None)
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.layers[1].momentum == 0.9
    assert contract.num_classes == 10
    record = json.loads((tmp_path / source.split("/")[-1]).with_suffix(".json").read_text())
    assert set(record["top1"]) == {"validation", "test"}
    # Another way to train it is another teacher.
    longer = dataclasses.replace(recipe, optimization=dataclasses.replace(recipe.optimization))
    longer = dataclasses.replace(
        longer, optimization=dataclasses.replace(recipe.optimization, weight_decay=0.1)
    )
    changed = dataclasses.replace(
        job, recipe=dataclasses.replace(job.recipe, teacher_recipe=longer)
    )
    assert resolve_teacher(changed, digits, _READING)[2] != source
    assert len(built) == 2


def test_a_teacher_by_name_comes_back_at_the_size_of_its_contract(monkeypatch):
    monkeypatch.setattr("keras_deit.training.teachers.build_teacher_model", _small_convnet)
    _, contract = _small_convnet("small", 10, 24, 20)
    config = {
        "teacher": "kerascv:resnet18_v2",
        "teacher_contract": contract.to_dict(),
        "run": {"recipe": {"teacher_weights": None}},
    }
    assert teacher_of_run(config)[0].input_shape == (None, 24, 20, 3)


def test_a_kept_teacher_is_float32_and_belongs_to_its_backend(
    tiny_job, digits, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr("keras_deit.training.teachers.build_teacher_model", _small_convnet)
    job = tiny_job(
        teacher="kerascv:resnet18_v2", teacher_recipe=recipe, job={"teacher_dir": str(tmp_path)}
    )
    with precision("mixed_bfloat16"):
        model, _, source = resolve_teacher(job, digits, _READING)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    monkeypatch.setattr("keras.backend.backend", lambda: "another")
    from keras_deit.training.teachers import _kept_path

    assert str(_kept_path(job, digits, _STUDENT).resolve()) != source


def test_a_batch_larger_than_the_data_names_its_flag(tiny_job, digits, recipe, tmp_path):
    optimization = dataclasses.replace(recipe.optimization, batch_size=2000)
    job = tiny_job(
        teacher="kerascv:resnet18_v2",
        teacher_recipe=dataclasses.replace(recipe, optimization=optimization),
        job={"teacher_dir": str(tmp_path)},
    )
    with pytest.raises(InputError, match="teacher_batch_size 2000 is larger than the 1257"):
        resolve_teacher(job, digits, _READING)


def test_training_a_teacher_fits_it_and_reports_its_accuracy(digits, recipe, tmp_path):
    keras.utils.set_random_seed(0)
    model, contract = _small_convnet("small", 10, 16, 16)
    before = [weight.copy() for weight in model.get_weights()]
    path = tmp_path / "folder" / "teacher.keras"
    scores = train_teacher(model, contract, digits, recipe, _READING, path, "a model")
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(changed)
    kept, kept_contract = load_teacher_model(path)
    assert kept_contract == contract
    images = np.stack([digits.test[index][0] for index in range(50)]).astype("float32")
    images = keras.ops.image.resize(images, (16, 16))
    np.testing.assert_allclose(kept.predict(images), model.predict(images), atol=1e-5)
    assert 0 <= scores["test"] <= 1 and scores["test"] * 360 == pytest.approx(
        round(scores["test"] * 360)
    )


def test_fine_tuning_replaces_a_head_of_other_classes(digits, recipe, teacher_file, tmp_path):
    two = Dataset(
        "two",
        ("even", "odd"),
        *(
            ArraySource(
                np.stack([source[index][0] for index in range(len(source))]), source.labels % 2
            )
            for source in (digits.train, digits.validation, digits.test)
        ),
    )
    path = tmp_path / "two.keras"
    pipeline = dataclasses.replace(_READING, num_classes=2)
    fine_tune_teacher(str(teacher_file), two, recipe, pipeline, path)
    model, contract = load_teacher_model(path)
    assert model.output_shape == (None, 2) and contract.num_classes == 2
    with pytest.raises(InputError, match="there already"):
        check_output(path)
    with pytest.raises(InputError, match=r"\.keras"):
        check_output(tmp_path / "two.h5")
    with pytest.raises(InputError, match="not a folder to write in"):
        check_output(path / "below" / "a_file.keras")


def test_the_teacher_of_a_run_is_found_while_its_file_is_there(teacher_file, tmp_path):
    _, contract = load_teacher_model(teacher_file)
    config = {"teacher": str(teacher_file), "teacher_contract": contract.to_dict()}
    model, declared = teacher_of_run(config)
    assert declared == contract and model.output_shape == (None, 10)
    gone = {**config, "teacher": str(tmp_path / "gone.keras")}
    assert teacher_of_run(gone) is None
    assert teacher_of_run({"teacher": None, "teacher_contract": None}) is None
