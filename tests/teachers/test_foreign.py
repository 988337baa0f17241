"""Teachers of other libraries: SavedModels, ONNX files and models of timm."""

import json
import sys
import types

import keras
import numpy as np
import pytest
from foreign_files import kernel, save_onnx, save_saved_model
from harness import numpy, run

from keras_deit import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.serving import model_card
from keras_deit.teachers import (
    Teacher,
    TeacherRequest,
    TorchModel,
    abstract_teacher,
    check_teacher_name,
    foreign,
    load_foreign,
)

every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
STUDENT = ImageFormat(16, 16)
FLAGS = {"pixels": "0-1", "outputs": "logits"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def saved_model(folder):
    return f"savedmodel:{save_saved_model(folder / 'saved')}"


@pytest.fixture(scope="module")
def onnx_file(folder):
    return f"onnx:{save_onnx(folder / 'model.onnx')}"


def load(name, num_classes=10, **options):
    return load_foreign(name, num_classes, 16, 16, **{**FLAGS, **options})


def images(count=5):
    """Images of a student, normalized by ImageNet's mean and std."""
    pixels = np.random.default_rng(0).random((count, 16, 16, 3))
    return ((pixels - STUDENT.mean) / STUDENT.std).astype("float32")


def answers_of_runtime(name, pixels):
    """Runs a file in its own runtime, without this package."""
    prefix, _, path = name.partition(":")
    if prefix == "savedmodel":
        import tensorflow as tf

        model = tf.saved_model.load(path)
        return model.signatures["serve"](pixels=tf.constant(pixels))["logits"].numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})[0]


@every_backend
@pytest.mark.parametrize("kind", ["saved_model", "onnx_file"])
def test_a_teacher_answers_as_its_own_runtime_to_the_bit(kind, request):
    name = request.getfixturevalue(kind)
    loaded = load(name)
    teacher = Teacher(loaded.model, loaded.contract, STUDENT)
    pixels = numpy(teacher.conversion(images()))
    answers = numpy(run(loaded.model, pixels))
    np.testing.assert_array_equal(answers, answers_of_runtime(name, pixels))
    np.testing.assert_allclose(answers, pixels.reshape(5, -1) @ kernel(), atol=1e-4)
    # In a compiled function, such as a training step, too.
    compiled = keras.Sequential([keras.Input((16, 16, 3)), teacher])
    labels = np.argmax(compiled.predict(images(), verbose=0), axis=-1)
    np.testing.assert_array_equal(labels, np.argmax(answers, axis=-1))
    assert not teacher.variables
    teacher.check(images())


@every_backend
def test_a_teacher_comes_back_from_its_configuration(onnx_file):
    loaded = load(onnx_file)
    teacher = Teacher(loaded.model, loaded.contract, STUDENT)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(teacher)))
    twin = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(numpy(twin(images())), numpy(teacher(images())))
    assert twin.model.digest() == loaded.model.digest()


def test_a_file_of_one_batch_size_is_run_in_parts(folder, onnx_file):
    fixed = load(f"onnx:{save_onnx(folder / 'fixed.onnx', batch=2)}")
    pixels = np.random.default_rng(1).random((5, 16, 16, 3), "float32")
    np.testing.assert_array_equal(numpy(fixed.model(pixels)), numpy(load(onnx_file).model(pixels)))


def test_the_digest_of_a_file_is_that_of_its_contents(folder, saved_model):
    other = load(f"savedmodel:{save_saved_model(folder / 'other', classes=9)}", 9)
    assert load(saved_model).model.digest() == load(saved_model).model.digest()
    assert load(saved_model).model.digest() != other.model.digest()


def test_what_an_export_of_this_package_says_needs_no_flags(folder, saved_model):
    assert foreign.CARD == model_card.CARD_VALUES
    path = save_saved_model(folder / "exported", probabilities=1.0)
    card = {"model": {"classes": [f"class {i}" for i in range(10)]}}
    (path / foreign.CARD).write_text(json.dumps(card))
    found = load_foreign(f"savedmodel:{path}", 10, 16, 16)
    assert found.classes == card["model"]["classes"]
    assert (found.contract.outputs, found.contract.image_format.std) == ("logits", (1.0,) * 3)
    assert found.contract.image_format.height == 16


def test_images_of_any_size_are_those_of_the_student(folder):
    path = save_saved_model(folder / "any", size=None)
    assert load(f"savedmodel:{path}").contract.image_format.width == 16


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("savedmodel:nowhere", "there is no SavedModel nowhere"),
        ("onnx:nowhere.onnx", "there is no ONNX file nowhere"),
    ],
)
def test_a_file_that_is_missing_is_one_line(name, error):
    with pytest.raises(InputError, match=error):
        check_teacher_name(name)


def test_what_cannot_be_a_teacher_is_one_line(folder, saved_model):
    (folder / "text.onnx").write_text("text")
    with pytest.raises(InputError, match=r"text\.onnx is no ONNX file"):
        load(f"onnx:{folder / 'text.onnx'}")
    with pytest.raises(InputError, match="takes images of 5 channels"):
        load(f"onnx:{save_onnx(folder / 'wide.onnx', size=5, channels=4)}")
    with pytest.raises(InputError, match="pass --teacher_pixels"):
        load(saved_model, pixels=None)
    several = save_saved_model(folder / "several", output="scores", sums=1.0)
    with pytest.raises(InputError, match=r"several outputs.*scores, sums"):
        load(f"savedmodel:{several}")
    with pytest.raises(InputError, match="cannot be trained"):
        check_teacher_name(saved_model, to_train=True)
    with pytest.raises(InputError, match="has 10 classes, dataset digits has 3"):
        foreign.check_foreign_classes(load(saved_model), saved_model, 3, "digits")


def test_a_missing_runtime_is_one_line(onnx_file, monkeypatch):
    monkeypatch.setattr(foreign.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs onnxruntime.*keras-deit.onnx."):
        check_teacher_name(onnx_file)


def test_a_plan_knows_such_a_teacher(saved_model):
    request = TeacherRequest(saved_model, pixels="0-1", outputs="logits")
    teacher = abstract_teacher(request, 10, 16, 16, STUDENT)
    assert (teacher.contract.num_classes, teacher.model.device_bytes) == (10, 0)


@every_backend
def test_timm_without_its_backend_or_package_is_one_line(monkeypatch):
    is_torch = keras.backend.backend() == "torch"
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr(foreign.importlib.util, "find_spec", lambda name: None)
    error = "needs timm, which is not installed" if is_torch else "KERAS_BACKEND=torch"
    with pytest.raises(InputError, match=error):
        check_teacher_name("timm:resnet18")


def small_module(num_classes):
    """Stands for a model of timm."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, num_classes),
    )
    module.num_classes = num_classes
    half = (0.5, 0.5, 0.5)
    module.pretrained_cfg = {"input_size": (3, 24, 20), "mean": half, "std": half}
    return module


@pytest.fixture
def timm(monkeypatch):
    """A package with one model, whose published head has 7 classes."""
    import torch

    def create_model(name, pretrained=False, checkpoint_path="", num_classes=7):
        if name != "small":
            raise RuntimeError(f"Unknown model ({name})")
        module = small_module(num_classes)
        if checkpoint_path:
            module.load_state_dict(torch.load(checkpoint_path))
        return module

    package = types.ModuleType("timm")
    package.create_model = create_model
    package.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "timm", package)
    return package


@pytest.mark.backends("torch")
def test_a_model_of_timm_is_a_teacher_as_it_is(timm, tmp_path):
    import torch

    loaded = load_foreign("timm:small", 10, 16, 16)
    contract = loaded.contract
    assert (contract.num_classes, contract.image_format.std) == (7, (0.5,) * 3)
    teacher = Teacher(loaded.model, contract, STUDENT)
    pixels = teacher.conversion(images())
    assert tuple(pixels.shape) == (5, 24, 20, 3)
    module = small_module(7).eval()
    with torch.no_grad():
        expected = module(pixels.permute(0, 3, 1, 2))
    np.testing.assert_array_equal(numpy(teacher(images(), training=True)), expected.numpy())
    assert not list(teacher.parameters())
    assert loaded.model.count_params() == sum(x.numel() for x in module.parameters())
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(loaded.model)))
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.digest() == loaded.model.digest()
    # A checkpoint with the classes of the data.
    torch.save(small_module(10).state_dict(), tmp_path / "own.pth")
    own = load_foreign("timm:small", 10, 16, 16, weights=str(tmp_path / "own.pth"))
    assert own.contract.num_classes == 10
    assert own.model.digest() != loaded.model.digest()
    with pytest.raises(InputError, match=r"there is no weights file .*none\.pth"):
        load_foreign("timm:small", 10, 16, 16, weights="none.pth")
    with pytest.raises(InputError, match="timm:large cannot be loaded: Unknown model"):
        load_foreign("timm:large", 10, 16, 16)


@pytest.mark.backends("torch")
def test_a_module_of_the_user_is_a_teacher_but_is_not_saved():
    model = TorchModel(small_module(7), 7)
    assert tuple(model(images()).shape) == (5, 7)
    with pytest.raises(InputError, match="cannot be saved"):
        model.get_config()
