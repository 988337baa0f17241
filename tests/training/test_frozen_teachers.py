"""Trainings whose teacher is a model of this package, a SavedModel or an ONNX file."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from foreign_files import save_onnx, save_saved_model
from harness import numpy
from run_files import Killed, before_call, kill, quiet, result_bits

from keras_deit import InputError, create_model, register_model
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import load_dataset
from keras_deit.models import RegNet
from keras_deit.pretrained import save_safetensors
from keras_deit.recipes import DIGITS
from keras_deit.teachers import TeacherRequest, check_teacher_name, load_teacher_model
from keras_deit.training import (
    InputPipeline,
    fine_tune_teacher,
    resolve_teacher,
    teacher_of_run,
    train_job,
)

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
pytestmark = pytest.mark.usefixtures("eager")
NAME = "tiny_convnet"
PIPELINE = InputPipeline(ImageFormat(16, 16), 10, 1.0, "bilinear")


@pytest.fixture(scope="module", autouse=True)
def tiny_convnet(registries):
    sizes = {"widths": (4, 8), "depth": (1, 1), "group_width": 4, "stem_width": 4}
    register_model(NAME, RegNet, image_size=32, **sizes)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def recipe():
    """One epoch of two steps."""
    recipe = DIGITS.objective.values["teacher_recipe"]
    training = {"epochs": 1, "warmup_epochs": 0, "batch_size": 600}
    optimization = dataclasses.replace(recipe.optimization, **training)
    return dataclasses.replace(recipe, optimization=optimization, image_size=16)


def weights(path, num_classes):
    """Writes weights of a teacher under timm's names."""
    save_safetensors(create_model(NAME, num_classes=num_classes), path)
    return str(path)


def resolve(digits, folder, lines, **request):
    request = TeacherRequest(NAME, **request)
    return resolve_teacher(request, digits, PIPELINE, str(folder), 100, print_fn=lines.append)


def objective(name):
    return {"teacher": name, "teacher_pixels": "0-1", "teacher_outputs": "logits"}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A teacher in a runtime that is another one than the backend."""
    folder = tmp_path_factory.mktemp("foreign")
    if keras.backend.backend() == "tensorflow":
        return f"onnx:{save_onnx(folder / 'model.onnx')}"
    return f"savedmodel:{save_saved_model(folder / 'saved')}"


@pytest.fixture(scope="module")
def job(tiny_job, foreign):
    return tiny_job({"ema_decay": 0.75}, {"checkpoint_seconds": 0.0}, objective(foreign))


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory, eager):
    return train_job(job, str(tmp_path_factory.mktemp("whole") / "run"), quiet)


@every_backend
@pytest.mark.nightly("jax")
def test_a_training_with_a_foreign_teacher_resumes_to_the_bit(
    job, foreign, whole, tmp_path, monkeypatch
):
    assert whole.config["teacher"] == foreign
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 4, kill)
        train_job(job, str(tmp_path / "run"), quiet)
    assert result_bits(train_job(job, str(tmp_path / "run"), quiet)) == result_bits(whole)


def test_a_run_knows_if_its_teacher_was_replaced_or_is_gone(job, whole):
    request, student = job.recipe.objective.teacher_request, ImageFormat(16, 16)
    path = pathlib.Path(whole.config["teacher"].partition(":")[2])
    kept = path.read_bytes()
    teacher, note = teacher_of_run(whole.config, request, student)
    assert (teacher.contract.num_classes, note) == (10, "")
    save_onnx(path, seed=5)
    _, note = teacher_of_run(whole.config, request, student)
    assert "another one than in the training" in note
    path.unlink()
    assert "does not exist any more" in teacher_of_run(whole.config, request, student)[1]
    path.write_bytes(kept)


def test_a_teacher_of_other_classes_is_refused_before_the_training(tiny_job, tmp_path):
    path = save_onnx(tmp_path / "seven.onnx", classes=7)
    job = tiny_job(None, None, objective(f"onnx:{path}"))
    with pytest.raises(InputError, match="has 7 classes, dataset digits has 10"):
        train_job(job, str(tmp_path / "run"), quiet)


def test_weights_with_the_classes_of_the_data_are_a_frozen_teacher(digits, tmp_path):
    path = weights(tmp_path / "ten.safetensors", 10)
    teacher, source = resolve(digits, tmp_path / "teachers", [], weights=path)
    assert source == NAME and not (tmp_path / "teachers").exists()
    assert teacher.contract.image_format == ImageFormat(16, 16)
    images = np.random.default_rng(0).random((4, 16, 16, 3), "float32")
    same = create_model(NAME, path, num_classes=10, image_size=16)
    np.testing.assert_allclose(numpy(teacher.model(images)), numpy(same(images)), atol=1e-6)
    with pytest.raises(InputError, match=rf"Teacher {NAME}: There is no weights file"):
        check_teacher_name(NAME, str(tmp_path / "none.pth"))


def test_weights_of_other_classes_are_fine_tuned_and_kept(digits, recipe, tmp_path):
    path = weights(tmp_path / "seven.safetensors", 7)
    values = {"weights": path, "recipe": recipe}
    teacher, source = resolve(digits, tmp_path / "teachers", [], **values)
    assert source.startswith(str(tmp_path / "teachers" / NAME))
    assert teacher.contract.num_classes == 10
    assert isinstance(teacher.model, RegNet)
    kept, _ = load_teacher_model(source)
    for one, other in zip(teacher.model.weights, kept.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))
    assert resolve(digits, tmp_path / "teachers", [], **values)[1] == source
    # Other weights under the same name are another teacher.
    weights(tmp_path / "seven.safetensors", 7)
    assert resolve(digits, tmp_path / "teachers", [], **values)[1] != source


def test_a_model_of_the_package_is_trained_as_a_teacher(digits, recipe, tmp_path):
    path = tmp_path / "teacher.keras"
    momentum = dataclasses.replace(recipe, batch_norm_momentum=0.5)
    top1 = fine_tune_teacher(NAME, digits, momentum, PIPELINE, path)
    assert {"validation", "test"} == top1.keys()
    model, contract = load_teacher_model(path)
    assert contract.image_format.mean == model.image_format.mean
    assert model.get_layer("stem").norm.momentum == 0.5
