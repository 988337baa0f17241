"""The command `convert` writes weights into other files."""

import logging
import re

import keras
import numpy as np
import pytest
from commands import ROOT, call
from harness import numpy, randomize
from safetensors.numpy import load_file

from keras_deit import create_model
from keras_deit.core.errors import InputError
from keras_deit.pretrained import save_safetensors
from keras_deit.training import Run

TINY = "deit_tiny_patch16_224"
STUDENT = {
    "name": "deit_tiny_distilled_patch16_224",
    "image_size": 16,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_classes": 3,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with weights of a published model for seven classes, and a finished run."""
    home = tmp_path_factory.mktemp("home")
    keras.utils.set_random_seed(3)
    save_safetensors(create_model(TINY, num_classes=7), home / "tiny.safetensors")
    run = Run(home / "run")
    keys = ("data_dir", "class_names", "crop_ratio", "interpolation", "teacher", "teacher_contract")
    run.start({**dict.fromkeys(keys), "run": {"dataset": "digits"}, "model": STUDENT})
    student = create_model(**STUDENT)
    randomize(student)
    run.save_weights(student, run.final_weights)
    return home


@pytest.fixture(autouse=True)
def folder(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def logits(model):
    height, width = model.input_shape[1:3]
    images = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")
    return numpy(model(images))


SIZES = {"embed_dim": 48, "depth": 3, "num_heads": 4, "patch_size": 8, "num_classes": 7}


def test_flags_set_values_of_the_model(folder):
    """The published file of a small CaiT is converted to another size that is not square."""
    weights = ROOT / "tests" / "pretrained" / "data" / "cait_nested.pth"
    flags = [f"--{name}={value}" for name, value in SIZES.items() if name != "num_classes"]
    files = ("--model=cait_xxs24_224", f"--weights={weights}", "--output=cait.keras")
    call("convert", *files, *flags, "--image_size=32x64")
    expected = create_model("cait_xxs24_224", weights, image_size=(32, 64), **SIZES)
    converted = keras.saving.load_model(folder / "cait.keras")
    np.testing.assert_array_equal(logits(converted), logits(expected))
    with pytest.raises(InputError, match=r"embed_dim .*48"):
        call("convert", "--weights=cait.keras", "--output=b.keras", "--embed_dim=4")


def test_another_number_of_classes_is_one_warning(caplog):
    files = (f"--model={TINY}", "--weights=tiny.safetensors", "--output=three.keras")
    with caplog.at_level(logging.WARNING):
        call("convert", *files, "--num_classes=3")
    (record,) = caplog.records
    assert "class_head" in record.getMessage() and "\n" not in record.getMessage()


def test_published_weights_are_converted_and_back(folder):
    """The file has the number of classes, positions are resized, .keras has the model's name."""
    files = (f"--model={TINY}", "--weights=tiny.safetensors", "--output=small.keras")
    lines = call("convert", *files, "--image_size=64").stdout.splitlines()
    expected = create_model(TINY, folder / "tiny.safetensors", 7, image_size=64)
    for part in (TINY, "64×64", "7 classes", f"{expected.count_params():,}"):
        assert part in lines[0]
    size = (folder / "small.keras").stat().st_size / 1e6
    assert lines[1] == f"small.keras, {size:.1f} MB."
    converted = keras.models.load_model(folder / "small.keras")
    np.testing.assert_array_equal(logits(converted), logits(expected))
    call("convert", "--weights=small.keras", "--output=back.safetensors")
    first, back = load_file(folder / "tiny.safetensors"), load_file(folder / "back.safetensors")
    assert first.keys() == back.keys()
    for name in first.keys() - {"pos_embed"}:
        np.testing.assert_array_equal(first[name], back[name])
    assert back["pos_embed"].shape == (1, 17, 192)


def test_an_existing_file_is_kept_without_overwrite(folder):
    file = folder / "there.weights.h5"
    file.write_text("precious")
    files = (f"--model={TINY}", "--weights=tiny.safetensors", f"--output={file.name}")
    with pytest.raises(InputError, match="--overwrite"):
        call("convert", *files)
    assert file.read_text() == "precious"
    call("convert", *files, "--overwrite")
    loaded = create_model(TINY, file, 7)
    expected = create_model(TINY, folder / "tiny.safetensors", 7)
    np.testing.assert_array_equal(logits(loaded), logits(expected))


def test_the_model_of_a_run_is_converted(folder):
    output = call("convert", "--weights=run", "--output=student.safetensors", "--image_size=32")
    assert "32×32, 3 classes" in output.stdout
    student = create_model(**STUDENT, weights=folder / "run" / "final.weights.h5")
    save_safetensors(student, folder / "direct.safetensors")
    found, expected = (
        create_model(**{**STUDENT, "image_size": 32}, weights=folder / f"{name}.safetensors")
        for name in ("student", "direct")
    )
    np.testing.assert_array_equal(logits(found), logits(expected))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--weights=tiny.safetensors", "--output=a.keras"), "tiny.safetensors.*name"),
        (("--weights=tiny.safetensors", "--output=a.h5"), "--output.*a.h5"),
        (("--weights=run", f"--model={TINY}", "--output=a.keras"), f"{STUDENT['name']}.*{TINY}"),
        ((f"--model={TINY}", "--weights=tiny.safetensors", "--output=a/b.keras"), "folder a"),
        # The file does not have the weights of this model.
        (
            ("--model=deit_small_patch16_224", "--weights=tiny.safetensors", "--output=a.keras"),
            "tiny.safetensors.*deit_small_patch16_224",
        ),
    ],
)
def test_bad_input_is_rejected_and_writes_no_file(flags, words, folder):
    before = sorted(folder.iterdir())
    with pytest.raises(InputError) as error:
        call("convert", *flags)
    # An error about weights lists them on further lines.
    assert re.search(words, str(error.value).splitlines()[0])
    assert sorted(folder.iterdir()) == before
