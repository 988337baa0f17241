"""`scripts/convert.py` as a command."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from harness import numpy, randomize
from keras_deit.training.run_directory import RunDirectory
from safetensors.numpy import load_file

from keras_deit import create_model
from keras_deit.pretrained import save_safetensors

ROOT = pathlib.Path(__file__).parents[2]
TINY = "deit_tiny_patch16_224"
STUDENT = {
    "name": "deit_tiny_distilled_patch16_224",
    "image_size": 16,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_classes": 3,
}


def convert(folder, *flags):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # The libraries that the tests import set how much TensorFlow logs.
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, ROOT / "scripts" / "convert.py", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With weights of a published model for seven classes, and a finished run."""
    folder = tmp_path_factory.mktemp("home")
    keras.utils.set_random_seed(3)
    model = create_model(TINY, num_classes=7)
    save_safetensors(model, folder / "tiny.safetensors")
    run = RunDirectory(folder / "run")
    keys = ("run", "data_dir", "class_names", "crop_ratio", "interpolation", "teacher")
    run.start({**dict.fromkeys(keys), "model": STUDENT, "teacher_contract": None})
    student = create_model(**STUDENT)
    randomize(student)
    student.save_weights(run.final_weights)
    return folder


def logits(model):
    height, width = model.input_shape[1:3]
    images = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")
    return numpy(model(images))


SIZES = {"embed_dim": 48, "depth": 3, "num_heads": 4, "patch_size": 8, "num_classes": 7}


def test_values_of_the_model(folder):
    """The published file of a small CaiT, at a size that is not square; to .keras and on."""
    weights = ROOT / "tests" / "pretrained" / "data" / "cait_nested.pth"
    flags = [f"--{name}={value}" for name, value in SIZES.items() if name != "num_classes"]
    asked = ["--model=cait_xxs24_224", f"--weights={weights}", "--output=cait.keras"]
    done = convert(folder, *asked, *flags, "--image_size=32x64")
    assert done.returncode == 0, done.stderr
    expected = create_model("cait_xxs24_224", weights, image_size=(32, 64), **SIZES)
    converted = keras.saving.load_model(folder / "cait.keras")
    np.testing.assert_array_equal(logits(converted), logits(expected))
    refused = convert(folder, "--weights=cait.keras", "--output=b.keras", "--embed_dim=4")
    assert refused.returncode == 2
    assert refused.stderr == "error: embed_dim of cait_xxs24_224 cannot change; it is 48.\n"


def test_other_classes_are_told_in_one_line(folder):
    asked = [f"--model={TINY}", "--weights=tiny.safetensors", "--output=three.keras"]
    done = convert(folder, *asked, "--num_classes=3")
    assert done.returncode == 0
    assert done.stderr == (
        "tiny.safetensors has another class count than the 3 of this model; "
        "not loaded: class_head.\n"
    )


def test_from_published_weights_and_back(folder):
    """The class count is the file's, the positions are resized, .keras says what it is of."""
    arguments = (f"--model={TINY}", "--weights=tiny.safetensors", "--image_size=64")
    done = convert(folder, *arguments, "--output=small.keras")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == (
        f"{TINY} for images of 64×64, 7 classes: 152 weights, 5,491,207 parameters."
    )
    assert lines[1].startswith("small.keras, 2")
    expected = create_model(TINY, folder / "tiny.safetensors", 7, image_size=64)
    np.testing.assert_array_equal(
        logits(keras.models.load_model(folder / "small.keras")), logits(expected)
    )
    done = convert(folder, "--weights=small.keras", "--output=back.safetensors")
    assert done.returncode == 0, done.stderr
    first, back = load_file(folder / "tiny.safetensors"), load_file(folder / "back.safetensors")
    assert first.keys() == back.keys()
    for name in first.keys() - {"pos_embed"}:
        np.testing.assert_array_equal(first[name], back[name])
    assert back["pos_embed"].shape == (1, 17, 192)


def test_a_file_that_is_there_is_kept(folder):
    (folder / "there.weights.h5").write_text("precious")
    arguments = (f"--model={TINY}", "--weights=tiny.safetensors", "--output=there.weights.h5")
    done = convert(folder, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: there.weights.h5 is there already; give another --output, or --overwrite.\n"
    )
    assert (folder / "there.weights.h5").read_text() == "precious"
    done = convert(folder, *arguments, "--overwrite")
    assert done.returncode == 0, done.stderr
    loaded = create_model(TINY, folder / "there.weights.h5", 7)
    expected = create_model(TINY, folder / "tiny.safetensors", 7)
    np.testing.assert_array_equal(logits(loaded), logits(expected))


def test_the_student_of_a_run(folder):
    done = convert(folder, "--weights=run", "--output=student.safetensors", "--image_size=32")
    assert done.returncode == 0, done.stderr
    assert "for images of 32×32, 3 classes" in done.stdout
    values = {**STUDENT, "image_size": 32}
    student = create_model(**STUDENT, weights=folder / "run" / "final.weights.h5")
    save_safetensors(student, folder / "direct.safetensors")
    expected = create_model(**values, weights=folder / "direct.safetensors")
    received = create_model(**values, weights=folder / "student.safetensors")
    np.testing.assert_array_equal(logits(received), logits(expected))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--weights=tiny.safetensors", "--output=a.keras"),
         "tiny.safetensors does not say which model it is of; give its name."),
        (("--weights=tiny.safetensors", "--output=a.h5"),
         "--output should end in .weights.h5, .keras, .safetensors, not be 'a.h5'."),
        (("--weights=run", f"--model={TINY}", "--output=a.keras"),
         f"run holds a deit_tiny_distilled_patch16_224, not a {TINY}."),
        (("--weights=tiny.safetensors", "--model=deit_small_patch16_224", "--output=a/b.keras"),
         "a/b.keras cannot be written: there is no folder a."),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(folder, flags, message):
    before = sorted(folder.iterdir())
    done = convert(folder, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message}\n"
    assert sorted(folder.iterdir()) == before


def test_what_does_not_fit_leaves_no_file(folder):
    arguments = ("--weights=tiny.safetensors", "--model=deit_small_patch16_224")
    done = convert(folder, *arguments, "--output=a.keras")
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: tiny.safetensors does not fit deit_small_patch16_224: 0 ten")
    assert not (folder / "a.keras").exists()
