"""Runs, teachers and models of version 0.1.0.dev0 still work; README.md describes them."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from weight_files import stored_weights

from keras_deit import Distiller, load_run
from keras_deit.data import load_dataset
from keras_deit.evaluation import evaluate_run
from keras_deit.models import abstract_model
from keras_deit.recipes import DIGITS
from keras_deit.serving import export_run
from keras_deit.training import InputPipeline, Job, fine_tune_teacher, resolve_teacher, train_job
from keras_deit.training.identity import digest
from keras_deit.training.trainer import default_run_dir

FOLDER = pathlib.Path(__file__).with_name("format1")
BACKEND = keras.backend.backend()
# Another processor may round otherwise than the one that wrote the files.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])
# The files were written with Keras 3.15, and an older Keras does not read all of them.
pytestmark = pytest.mark.skipif(KERAS < (3, 15), reason="needs Keras 3.15")

on_every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


def job(teacher="teacher.keras", teacher_recipe=None, **values):
    """Returns the job that the fixtures were written with."""
    objective = DIGITS.objective.copy(
        teacher=teacher,
        teacher_recipe=teacher_recipe or DIGITS.objective.values["teacher_recipe"],
    )
    sizes = {"embed_dim": 24, "depth": 1, "drop_path_rate": 0.1, "dropout_rate": 0.1}
    training = {"epochs": 3, "warmup_epochs": 1, "batch_size": 400}
    recipe = dataclasses.replace(
        DIGITS,
        model_values={**DIGITS.model_values, **sizes},
        optimization=dataclasses.replace(
            DIGITS.optimization, **training, ema_decay=0.9, clip_norm=1.0
        ),
        objective=objective,
        validation_epochs=1,
    )
    return Job("digits", recipe, keep_checkpoints=1, **values)


def teacher_recipe(**optimization):
    recipe = DIGITS.objective.values["teacher_recipe"]
    optimization = dataclasses.replace(recipe.optimization, batch_size=400, **optimization)
    return dataclasses.replace(recipe, optimization=optimization)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the fixtures, as they lay in the folder that the runs were started in."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for config in tmp_path.glob("*/config.json"):
        config.write_text(config.read_text().replace("FIXTURE", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same_weights(first, second):
    first, second = stored_weights(first), stored_weights(second)
    assert first and first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], **TOLERANCE, err_msg=name)


@contextlib.contextmanager
def no_training():
    """Fails if a training starts."""

    def refuse(*args, **kwargs):
        pytest.fail("a model is trained")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", refuse)
        yield


def test_a_finished_run_opens(folder):
    run = load_run("finished")
    assert run.summary["test"]["fused"]["top1"] > 0
    assert [row["epoch"] for row in run.history] == [0, 1, 2]
    model = run.model()
    assert model.name == "deit_tiny_distilled_patch16_224"
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    averaged = run.model("ema")
    assert not np.allclose(model.predict(images, verbose=0), averaged.predict(images, verbose=0))


def test_a_finished_run_is_not_trained_again(folder):
    with no_training():
        run = train_job(job(), "finished", print_fn=lambda line: None)
    assert run.summary == json.loads((FOLDER / "finished" / "summary.json").read_text())


def test_a_different_job_is_refused_and_the_value_is_named(folder):
    with pytest.raises(ValueError, match="seed"):
        train_job(job(seed=1), "finished")


def test_what_old_runs_did_not_store_makes_no_difference(folder):
    given = job().recipe.objective.copy(teacher_pixels="0-255", teacher_outputs="logits")
    other = dataclasses.replace(job().recipe, objective=given)
    with no_training():
        run = train_job(dataclasses.replace(job(), recipe=other), "finished", lambda line: None)
    assert run.summary


def test_a_finished_run_evaluates_to_the_same_figures(folder):
    result = evaluate_run("finished", batch_size=400)
    summary = load_run("finished").summary
    for name, stored_scores in (("scores", "test"), ("ema_scores", "test_ema")):
        for row, figures in summary[stored_scores].items():
            assert result[name][row] == pytest.approx(figures, abs=1 / 360), (name, row)


def test_a_finished_run_exports(folder):
    version = export_run("finished", print_fn=lambda line: None)
    assert (version / "saved_model.pb").is_file()


@pytest.mark.slow
@on_every_backend
def test_a_stopped_run_resumes_and_ends_as_if_it_had_not_been_stopped(folder):
    lines = []
    run = train_job(job(), f"stopped-{BACKEND}", print_fn=lines.append)
    assert any("resum" in line.lower() for line in lines), lines
    whole = files_of(folder / f"whole-{BACKEND}")
    assert run.summary["steps"] == whole["summary"]["steps"]
    assert len(run.history) == len(whole["rows"])
    same = len(run.history)
    if BACKEND == "torch":
        # After the epoch that is resumed dropout draws other numbers than in that version, where
        # PyTorch's data loaders went on with the same generator.
        same -= 1
    else:
        for name in ("final", "ema"):
            file = f"{name}.weights.h5"
            assert_same_weights(run.path / file, folder / f"whole-{BACKEND}" / file)
    for row, expected in zip(run.history[:same], whole["rows"][:same], strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-3)


def files_of(path):
    with (path / "metrics.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return {"rows": rows, "summary": json.loads((path / "summary.json").read_text())}


def test_the_directory_that_an_old_command_chose_is_found(folder):
    """The name of the directory ends in a digest, which old versions computed otherwise."""
    old = json.loads((folder / "finished" / "config.json").read_text())["run"]
    present = pathlib.Path(default_run_dir(job()))
    path = folder / "runs" / f"{present.name.rsplit('-', 1)[0]}-{digest(old)}"
    assert path.name != present.name
    shutil.copytree(folder / "finished", path)
    assert pathlib.Path(default_run_dir(job())).resolve() == path


@pytest.mark.slow
def test_a_kept_teacher_is_found_and_not_trained_again(folder, monkeypatch):
    recipe = dataclasses.replace(teacher_recipe(epochs=1, warmup_epochs=0), image_size=32)
    request = job("applications:MobileNetV3Small", recipe).recipe.objective.teacher_request
    dataset = load_dataset("digits")
    pipeline = InputPipeline(image_format(), dataset.num_classes, 1.0, "bilinear")
    with no_training():
        teacher, source = resolve_teacher(request, dataset, pipeline, "teachers", 100)
    assert pathlib.Path(source).parent == folder / "teachers"
    assert teacher.contract.num_classes == 10


def image_format():
    recipe = job().recipe
    return abstract_model(recipe.model, **recipe.model_values).image_format


def test_the_training_of_a_teacher_resumes(folder):
    recipe = dataclasses.replace(teacher_recipe(epochs=3, warmup_epochs=1), image_size=None)
    dataset = load_dataset("digits")
    pipeline = InputPipeline(image_format(), dataset.num_classes, 1.0, "bilinear")
    top1 = fine_tune_teacher(
        "teacher.keras", dataset, recipe, pipeline, folder / "stopped-teacher.keras"
    )
    resumed, whole = (
        keras.saving.load_model(folder / f"{name}-teacher.keras", compile=False).get_weights()
        for name in ("stopped", "whole")
    )
    # The batch normalization takes the bias of the convolution away, so its gradient is nothing but
    # rounding errors, which differ between processors.
    bias = 1
    del resumed[bias], whole[bias]
    for first, second in zip(resumed, whole, strict=True):
        np.testing.assert_allclose(first, second, **TOLERANCE)
    expected = json.loads((folder / "whole-teacher.json").read_text())["top1"]
    assert top1 == pytest.approx(expected, abs=1 / 360)


def test_a_saved_distiller_loads_and_trains_on(folder):
    distiller = keras.models.load_model("distiller.keras")
    expected = np.load("distiller.npz")
    assert isinstance(distiller, Distiller)
    outputs = distiller(expected["x"])
    for name in ("class", "distillation"):
        np.testing.assert_allclose(outputs[name], expected[name], **TOLERANCE)
    ema = np.concatenate([w.ravel() for w in distiller.ema.get_weights()])
    np.testing.assert_allclose(ema, expected["ema"], **TOLERANCE)
    objective = distiller.objective
    assert (objective.kind, objective.alpha, objective.temperature) == ("soft", 0.3, 2.0)
    history = distiller.fit(expected["x"], np.array([0, 1, 2, 0]), verbose=0).history
    assert np.isfinite(history["loss"][0])


def test_a_compiled_model_with_the_optimizer_of_that_time_loads(folder):
    model = keras.models.load_model("compiled.keras")
    expected = np.load("compiled.npz")
    np.testing.assert_allclose(model(expected["x"]), expected["logits"], **TOLERANCE)
    momentums = [v for v in model.optimizer.variables if v.path.endswith("_momentums")]
    slots = np.concatenate([np.ravel(v) for v in momentums])
    np.testing.assert_allclose(slots, expected["slots"], **TOLERANCE)
    assert model.optimizer.no_weight_decay
