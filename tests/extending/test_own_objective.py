"""An objective that is registered from one file outside of the package works everywhere."""

import keras
import numpy as np
import pytest
from examples import EXAMPLES, module
from weight_files import stored_weights

from keras_deit import create_model, load_run
from keras_deit.objectives import TrainingModel
from keras_deit.objectives.objective import Batch, Features

BACKEND = keras.backend.backend()
FLAGS = ("--epochs=4", "--checkpoint_seconds=0", "--validation_epochs=2", "--projection=8")


@pytest.fixture(scope="module")
def run_dir(contrastive):
    return contrastive.train_in_process("whole", *FLAGS, backend=BACKEND)


def code_lines(text):
    return [line for line in text.splitlines() if line.strip()]


def test_the_objective_has_at_most_sixty_lines():
    text = (EXAMPLES / "contrastive.py").read_text()
    start, end = text.index("@keras_deit.register_objective"), text.index("keras_deit.register_rec")
    assert len(code_lines(text[start:end])) <= 60


@pytest.mark.backends("torch")
def test_the_run_reports_its_figure_and_keeps_the_best_weights(run_dir, contrastive, capsys):
    run = load_run(run_dir)
    assert set(run.summary["test"]["features"]) == {"knn_top1"}
    logged = [row.get("val_knn_top1") for row in run.history]
    assert logged[0] is None and logged[1] is not None and logged[3] is not None
    assert run.summary["best"]["val_knn_top1"] == max(filter(None, logged))
    assert (run_dir / "best.weights.h5").is_file()
    assert {"loss", "similarity", "learning_rate"} <= set(run.history[0])
    contrastive.run("evaluate", f"--run_dir={run_dir}", "--batch_size=360")
    assert f"{run.summary['test']['features']['knn_top1']:.4f}" in capsys.readouterr().out


@pytest.mark.backends("torch")
def test_its_value_is_a_flag_and_part_of_the_run(run_dir):
    objective = load_run(run_dir).config["run"]["objective"]
    assert objective == {"name": "contrastive", "projection": 8}


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax", "torch")
@pytest.mark.nightly("tensorflow", "jax")
def test_a_killed_training_resumes_to_the_same_bits(contrastive, run_dir):
    killed = contrastive.kill_and_resume("killed", *FLAGS, backend=BACKEND)
    for file in ("final.weights.h5", "best.weights.h5"):
        expected, found = (stored_weights(d / file) for d in (run_dir, killed))
        assert expected.keys() == found.keys()
        assert all(np.array_equal(expected[name], found[name]) for name in expected), file
    assert (run_dir / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()


def test_the_loss_is_that_of_the_paper(contrastive):
    objective = module("contrastive").Contrastive(projection=5, contrast=0.3)
    outputs = np.random.default_rng(0).normal(size=(4, 2, 5)).astype("float32")
    outputs /= np.linalg.norm(outputs, axis=-1, keepdims=True)
    # Images 1 and 2 of the batch are copies of one image.
    index = np.array([7, 3, 3, 5])
    views = outputs.swapaxes(0, 1).reshape(8, 5)
    losses = []
    for i in range(8):
        positive = (i + 4) % 8
        others = [j for j in range(8) if j == positive or (j != i and index[j % 4] != index[i % 4])]
        scores = np.exp(views @ views[i] / 0.3)
        losses.append(-np.log(scores[positive] / scores[others].sum()))
    batch = Batch(None, None, keras.ops.convert_to_tensor(index), outputs=outputs)
    found = objective.compute_loss(batch, training=True)["loss"]
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_neighbors_vote(contrastive):
    objective = module("contrastive").Contrastive(neighbors=3)
    train = Features(
        np.array([[1, 0], [2, 0.1], [1, 0.2], [0, 3], [0.1, 1]]), np.array([1, 1, 0, 0, 0])
    )
    validation = Features(np.array([[3.0, 0.1], [0.0, 1.0]]), np.array([1, 1]))
    assert objective.validate(train, validation) == {"knn_top1": 0.5}


def test_its_projector_is_trained_and_the_head_is_not(contrastive):
    values = {"image_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 3}
    student = create_model("deit_tiny_patch16_224", num_classes=10, **values)
    model = TrainingModel(student, module("contrastive").Contrastive(projection=8))
    trained = {variable.path for variable in model.trainable_variables}
    assert sum("projector" in path or path.startswith("dense") for path in trained) == 4
    assert not any("class_head" in path for path in trained)


@pytest.mark.slow
def test_it_trains_with_accumulation_checkpointing_and_ema(contrastive):
    flags = ("--accumulation_steps=2", "--activation_checkpointing", "--ema_decay=0.9")
    run = load_run(contrastive.train("combined", "--epochs=2", *flags))
    assert run.summary["steps"] == 6
    assert set(run.summary["test_ema"]["features"]) == {"knn_top1"}


def test_it_is_planned_with_two_views(contrastive, capsys):
    contrastive.run("plan", "--recipe=contrastive_digits", "--device_memory_gb=1")
    assert "fits" in capsys.readouterr().out
