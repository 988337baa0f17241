"""Training on JAX without TensorFlow, KerasCV, TensorFlow Datasets and TensorBoard."""

import json

import pytest
from processes import end, start

pytestmark = pytest.mark.slow

# None in `sys.modules` is how Python knows a module that it must not find.
SCRIPT = """
import json, sys

absent = ("tensorflow", "keras_cv", "tensorflow_datasets", "tensorboard")
sys.modules.update(dict.fromkeys(absent))

import keras_deit
from keras_deit.evaluation import evaluate_run


def refusal(**options):
    try:
        keras_deit.train(**options, run_dir="refused")
    except keras_deit.InputError as error:
        return str(error)


run = keras_deit.train(
    print_fn=lambda line: None, teacher=sys.argv[1], run_dir="run", epochs=2, validation_epochs=1,
    batch_size=400, depth=1, embed_dim=24, accept_teacher=True,
)
found = [name for name in sys.modules if name.split(".")[0] in absent and sys.modules[name]]
print(json.dumps({
    "summary": run.summary,
    "evaluated": evaluate_run("run")["scores"],
    "default teacher": refusal(),
    "dataset": refusal(dataset="cifar10", distillation="none"),
    "found": found,
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("without")


@pytest.fixture(scope="module")
def result(folder, teacher_file):
    process = start("-c", SCRIPT, str(teacher_file), backend="jax", cwd=folder)
    return json.loads(end(process).splitlines()[-1])


def test_a_student_is_distilled_and_evaluated(result, folder):
    summary = result["summary"]
    assert summary["steps"] == 6
    assert set(summary["test"]) == {"teacher", "class", "distillation", "fused"}
    assert result["evaluated"] == summary["test"]
    assert result["found"] == []
    assert not (folder / "run" / "tensorboard").exists()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("default teacher", ("csp_darknet_tiny", "keras-deit[tensorflow]", "applications:NAME")),
        ("dataset", ("cifar10", "keras-deit[tfds]", "folder:PATH")),
    ],
)
def test_what_needs_a_missing_package_is_refused_before_anything_is_written(
    result, folder, case, words
):
    message = result[case]
    assert all(word in message for word in words) and "\n" not in message
    assert {path.name for path in folder.iterdir()} == {"run"}


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.nightly), "torch"])
def test_where_it_is_installed_building_and_training_do_not_import_it(backend):
    values = "image_size=8, patch_size=4, embed_dim=12, depth=1, num_heads=2, num_classes=3"
    script = f"""
import sys
import numpy as np
import keras_deit
from keras_deit.core.random_state import set_random_seed

set_random_seed(0)
model = keras_deit.create_model("cait_xxs24_224", {values}, class_depth=1)
model.get_config()
model.compile("sgd", "mse")
model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 3)), verbose=0)
print("tensorflow" in sys.modules)
from keras.src.utils.module_utils import tensorflow
print(tensorflow.available)
"""
    assert end(start("-c", script, backend=backend)).split() == ["False", "True"]
