"""A run is the same however its paths are written, also one that has stored them as they were."""

import dataclasses
import itertools
import json
import pathlib

import pytest

from keras_deit import create_model
from keras_deit.core.files import absolute_path
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import load_dataset
from keras_deit.pretrained.model_tensors import save_safetensors
from keras_deit.pretrained.sources import absolute_source
from keras_deit.recipes import FINE_TUNING_TEACHER_RECIPE
from keras_deit.teachers import TeacherRequest, absolute_teacher, absolute_teacher_weights
from keras_deit.training import Run, make_job
from keras_deit.training.earlier_formats import spelled_teacher_files
from keras_deit.training.identity import digest, run_identity, teacher_identity
from keras_deit.training.paths import spellings
from keras_deit.training.teacher_training import _upgraded
from keras_deit.training.teachers import _kept_file
from keras_deit.training.trainer import default_run_dir


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_are_absolute_and_names_stay(home):
    for path in ("t.keras", "./t.keras", "~/t.keras", f"{home}/a/../t.keras"):
        assert absolute_teacher(path) == f"{home}/t.keras"
        assert absolute_source(path) == f"{home}/t.keras"
    assert absolute_teacher("onnx:./m.onnx") == f"onnx:{home}/m.onnx"
    assert absolute_teacher("savedmodel:~/m/") == f"savedmodel:{home}/m"
    assert absolute_teacher("replay:labels/") == f"replay:{home}/labels"
    assert absolute_source("./w#ema") == f"{home}/w#ema"
    for name in ("regnety_160", "kerascv:resnet18_v2", "applications:ResNet50", "timm:resnet18"):
        assert absolute_teacher(name) == name
    assert absolute_source("hf://timm/m#ema") == "hf://timm/m#ema"
    weights = absolute_teacher_weights
    assert weights("regnety_160", "w.pth") == weights("timm:resnet18", "./w.pth") == f"{home}/w.pth"
    assert weights("regnety_160", "imagenet") == "imagenet"
    assert weights("regnety_160", None) is None


def given(weights, teacher, teacher_weights=None, teacher_name=None):
    return {
        **{"recipe": "digits", "weights": weights, "teacher": teacher_name or teacher},
        **({"teacher_weights": teacher_weights} if teacher_name else {}),
    }


def test_a_run_is_the_same_however_its_paths_are_written(home):
    ways = ("{}", "./{}", "~/{}", "sub/../{}", f"{home}/{{}}")
    jobs = [
        make_job(**given(way.format("w"), way.format("t.keras")), data_dir=way.format("d"))
        for way in ways
    ]
    identities = [run_identity(job) for job in jobs]
    assert all(identity == identities[0] for identity in identities)
    assert {job.data_dir for job in jobs} == {f"{home}/d"}
    assert len({default_run_dir(job) for job in jobs}) == 1
    weights = [make_job(**given("w", None, way.format("r"), "regnety_160")) for way in ways]
    assert len({digest(run_identity(job)) for job in weights}) == 1


@pytest.mark.parametrize("way", ["{}", "./{}", "~/{}"])
def test_a_run_with_the_paths_as_they_were_written_is_found_and_resumes(way, home):
    job = make_job(**given("w", "t.keras"))
    identity = run_identity(job)
    stored = {
        **{**identity, "weights": way.format("w")},
        "objective": {**identity["objective"], "teacher": way.format("t.keras")},
    }
    assert stored != identity
    present = pathlib.Path(default_run_dir(job))
    folder = present.with_name(present.name.replace(digest(identity), digest(stored)))
    folder.mkdir(parents=True)
    config = {"format": 2, "run": stored, "model": {}, "data_dir": None, "class_names": []}
    config |= {"crop_ratio": 1.0, "interpolation": "bilinear", "teacher": None}
    (folder / "config.json").write_text(json.dumps({**config, "teacher_contract": None}))
    assert default_run_dir(job) == str(folder)
    Run(folder).check(identity)
    assert Run(folder).config["run"] == identity


def test_the_spellings_of_a_folder_have_a_slash_too(home):
    (home / "w").mkdir()
    path = f"{home}/w"
    assert {"w", "./w", "~/w", "w/", "./w/", path, f"{path}/"} <= {*spellings(path)}
    assert f"{path}#ema" == spellings(f"{path}#ema")[0] and "./w#ema" in spellings(f"{path}#ema")
    assert spellings("hf://timm/m") == ["hf://timm/m"]


def test_a_teacher_is_kept_however_its_weights_are_written(home):
    model = create_model("deit_tiny_patch16_224", num_classes=3, image_size=32, depth=1)
    save_safetensors(model, "~/w.safetensors")
    assert [path.name for path in home.iterdir()] == ["w.safetensors"]
    name, image_format = "deit_tiny_patch16_224", ImageFormat(16, 16)
    recipe, dataset = FINE_TUNING_TEACHER_RECIPE, load_dataset("digits")
    request = TeacherRequest(name, absolute_path("w.safetensors"))
    values = (recipe, dataset, image_format)
    literal = dataclasses.replace(request, weights="./w.safetensors")
    kept = home / f"{name}-digits-{digest(teacher_identity(literal, *values))}.keras"
    assert len(spelled_teacher_files(request, *values)) == 2 * 3
    kept.touch()
    assert _kept_file(request, *values, str(home), itertools.repeat) == kept


def test_a_teacher_in_training_is_the_same_however_its_weights_are_written(home):
    for way in ("./w", "~/w", f"{home}/w"):
        stored = {"model": f"regnety_160, weights {way}"}
        found = _upgraded(stored, load_dataset("digits"), accept=False)
        assert found["model"] == f"regnety_160, weights {home}/w"
    for model in ("regnety_160, weights None", "regnety_160, weights imagenet", "0a1b"):
        assert _upgraded({"model": model}, load_dataset("digits"), accept=False)["model"] == model
