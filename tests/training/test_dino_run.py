"""A run of DINO: resumed after a kill, evaluated, planned, and as the start of another recipe."""

import keras
import numpy as np
import pytest
from run_files import Killed, before_call, kill, quiet, result_bits
from weight_files import stored_weights

from keras_deit.evaluation import evaluate_run
from keras_deit.planning import PlanOverrides, make_plan
from keras_deit.training import make_job, train_job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eager")]
SMALL = {"embed_dim": 12, "depth": 1, "epochs": 3, "batch_size": 400, "local_crops": 1}
# As the recipe `digits` has them, which starts with its weights.
PATCHES = {"patch_size": 4}


@pytest.fixture(scope="module")
def job():
    small = {"prototypes": 16, "projector_width": 8, "bottleneck": 8, "freeze_epochs": 0.5}
    return make_job(
        dataset="digits",
        recipe="dino_digits",
        model="deit_tiny_patch16_224",
        checkpoint_seconds=0.0,
        validation_epochs=1,
        **SMALL,
        **PATCHES,
        **small,
    )


@pytest.fixture(scope="module")
def run(job, tmp_path_factory, eager):
    return train_job(job, str(tmp_path_factory.mktemp("dino") / "run"), quiet)


@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("tensorflow")
def test_a_killed_run_ends_like_one_that_is_not(job, run, tmp_path, monkeypatch):
    # A run on JAX starts by compiling for long.
    for number in (4,) if keras.backend.backend() == "jax" else (1, 4):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            before_call(patch, "step_ends", number, kill)
            train_job(job, str(tmp_path), quiet)
    assert result_bits(train_job(job, str(tmp_path), quiet)) == result_bits(run)


def test_its_evaluation_shows_neighbors_and_a_linear_probe_of_student_and_teacher(run):
    found = evaluate_run(str(run.path), batch_size=360)
    for name, key in (("scores", "test"), ("ema_scores", "test_ema")):
        assert set(found[name]["features"]) == {"knn_top1", "linear_top1"}
        assert found[name] == run.summary[key]
    # The teacher's weights are the averages, and it has no class head of its own.
    student, teacher = stored_weights(run.final_weights), stored_weights(run.ema_weights)
    same = {name for name in student if np.array_equal(student[name], teacher[name])}
    assert 0 < len(same) < len(student)


def test_a_linear_probe_is_fitted_at_the_end_alone(run):
    assert all(row["val_knn_top1"] > 0 for row in run.history)
    assert not any("val_linear_top1" in row for row in run.history)
    assert run.summary["test"]["features"]["linear_top1"] > 0


def test_its_plan_has_its_steps_and_the_size_of_its_checkpoint(job, run):
    planned = make_plan(job, PlanOverrides(device_memory_gb=1))
    assert planned.steps == run.summary["steps"]
    (file, *_) = sorted((run.path / "checkpoints").glob("*.safetensors"))
    # The names of so small weights take more bytes than their values.
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert file.stat().st_size - header == pytest.approx(planned.checkpoint, rel=0.1)


def test_its_weights_start_a_recipe_with_a_new_head(run, tmp_path):
    job = make_job(
        dataset="digits",
        recipe="digits",
        model="deit_tiny_patch16_224",
        weights=str(run.path),
        objective="supervised",
        epochs=1,
        batch_size=400,
        embed_dim=SMALL["embed_dim"],
        depth=SMALL["depth"],
    )
    started = train_job(job, str(tmp_path), quiet)
    assert started.summary["steps"] == 3
