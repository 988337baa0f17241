"""Evaluating a finished run gives what its training measured, as a table."""

import json
import re
import shutil
import sys

import keras
import numpy as np
import pytest
from weight_files import stored_weights

from keras_deit import InputError, create_model
from keras_deit.cli.evaluating import evaluate
from keras_deit.data import evaluation_dataset, load_dataset
from keras_deit.evaluation import evaluate_run, final_report, score_table
from keras_deit.objectives import Supervised
from keras_deit.training import Run, train_job

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]


@pytest.fixture(scope="module")
def training(tiny_job):
    return tiny_job({"epochs": 1, "warmup_epochs": 0, "ema_decay": 0.75})


@pytest.fixture(scope="module")
def run(training, tmp_path_factory, eager):
    """A finished run with an average of its weights."""
    return train_job(training, str(tmp_path_factory.mktemp("run")), print_fn=lambda line: None)


def test_the_test_split_is_evaluated_as_by_the_training(run):
    found = evaluate_run(run.path)
    assert found["examples"] == 360
    assert found["scores"] == run.summary["test"]
    assert found["ema_scores"] == run.summary["test_ema"]
    final, averaged = (run.model(weights).get_weights() for weights in ("final", "ema"))
    assert any(not np.array_equal(*pair) for pair in zip(final, averaged, strict=True))


def test_the_validation_split_is_evaluated_as_by_the_training(run):
    found = evaluate_run(str(run.path), "validation", batch_size=77)
    assert found["examples"] == 180
    expected = run.history[-1]["val_accuracy"]
    assert found["scores"]["fused"]["top1"] == pytest.approx(expected, abs=1e-6)


def test_the_prepared_data_of_a_run_may_lie_elsewhere_now(run, monkeypatch):
    places = []

    def load(name, data_dir, *reading):
        places.append(data_dir)
        return load_dataset(name, None, *reading)

    monkeypatch.setattr(sys.modules["keras_deit.evaluation.evaluated_data"], "load_dataset", load)
    evaluate({"run_dir": str(run.path), "data_dir": "~/moved", "batch_size": 400})
    evaluate({"run_dir": str(run.path), "batch_size": 400})
    assert places == ["~/moved", run.config["data_dir"]]


def test_compared_runs_answer_for_the_same_images(run, tmp_path):
    """A copy whose classes are listed in another order, as another loader may do it."""
    other = Run(shutil.copytree(run.path, tmp_path / "other"))
    names = run.config["class_names"]
    other.config_file.write_text(json.dumps({**run.config, "class_names": names[::-1]}))
    other.finish(other.summary)
    found = evaluate_run(run.path, compare=[other.path])
    matrix = np.array(found["disagreement"]["matrix"])
    titles = ["ground truth", "teacher", "other", "class", "distillation", "both"]
    assert found["disagreement"]["names"] == titles
    top1 = {name: 1 - scores["top1"] for name, scores in found["scores"].items()}
    for title, row in {"teacher": "teacher", "class": "class", "both": "fused"}.items():
        assert matrix[0, titles.index(title)] == pytest.approx(top1[row], abs=1e-6)
    # Its answer for one class is that of the run for the class at the other end.
    truth = np.array(found["confusion"]["fused"])
    assert matrix[0, 2] == pytest.approx(1 - np.trace(truth[:, ::-1]) / truth.sum(), abs=1e-6)
    assert len(found["token_cosine"]) == len(found["attention_distance"]) == 1
    assert set(found["branch_norms"]) == {"attention", "mlp"}
    json.dumps(found, allow_nan=False)
    other.config_file.write_text(json.dumps({**run.config, "class_names": [*names[:-1], "x"]}))
    other.finish(other.summary)
    with pytest.raises(InputError, match="other has other classes"):
        evaluate_run(run.path, compare=[other.path])


def test_keras_evaluates_a_data_set_with_the_same_top1(run):
    model = run.model()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    for split in ("test", "validation"):
        data = evaluation_dataset("digits", model=model, split=split, batch_size=50)
        found = model.evaluate(data, return_dict=True, verbose=0)["accuracy"]
        assert round(found, 6) == evaluate_run(run.path, split)["scores"]["fused"]["top1"]


def test_an_unknown_split_is_refused_with_the_known_ones(run):
    with pytest.raises(InputError, match=r"validation, test.*'train'"):
        evaluate_run(run.path, "train")


def test_a_run_that_is_not_finished_is_refused(run, tmp_path):
    unfinished = Run(tmp_path)
    unfinished.start(run.config)
    with pytest.raises(InputError, match="not finished"):
        evaluate_run(tmp_path)
    with pytest.raises(InputError, match="not a run directory"):
        evaluate_run(tmp_path / "nowhere")


def test_a_run_whose_teacher_is_gone_is_evaluated_without_agreement(run, tmp_path):
    copied = Run(tmp_path)
    copied.start({**run.config, "teacher": str(tmp_path / "gone.keras")})
    copied.final_weights.write_bytes(run.final_weights.read_bytes())
    lines = []
    found = evaluate_run(tmp_path, print_fn=lines.append)
    assert len(lines) == 1 and "gone.keras" in lines[0]
    assert "ema_scores" not in found
    for row in ("class", "distillation", "fused"):
        assert found["scores"][row] == {"top1": run.summary["test"][row]["top1"]}


def test_a_supervised_run_is_evaluated(tiny_job, tmp_path):
    job = tiny_job({"epochs": 1, "warmup_epochs": 0}, objective=Supervised())
    run = train_job(job, str(tmp_path), print_fn=lambda line: None)
    assert evaluate_run(tmp_path)["scores"] == run.summary["test"]


@pytest.fixture
def copied(run, tmp_path):
    return Run(shutil.copytree(run.path, tmp_path / "copied"))


def damage(path):
    """Flips a bit near the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["final_weights", "ema_weights", "config_file"])
def test_damaged_files_of_a_run_are_not_used(copied, name):
    path = getattr(copied, name)
    if name == "config_file":
        path.write_text(json.dumps({**json.loads(path.read_text()), "crop_ratio": 0.5}))
    else:
        damage(path)
    with pytest.raises(InputError, match=rf"{path.name}"):
        evaluate_run(copied.path)
    if name != "config_file":
        with pytest.raises(InputError, match=r"SHA-256.*summary\.json.*last checkpoint"):
            create_model(**copied.config["model"], weights=path)


def test_other_figures_than_at_the_end_of_the_training_are_said(copied):
    lines, summary = [], copied.summary
    summary["test"]["class"]["top1"] += 0.25
    copied.finish(summary)
    found = evaluate_run(copied.path, print_fn=lines.append)
    ((name, (before, now)),) = found["differs_from_summary"].items()
    assert name == "test class.top1" and before == pytest.approx(now + 0.25)
    assert lines == [f"{name} was {before:.4f} when the run was finished, and is {now:.4f} now."]


def test_lost_weights_are_written_again_from_the_last_checkpoint(copied, training):
    expected = {p: stored_weights(p) for p in (copied.final_weights, copied.ema_weights)}
    before, lines = copied.summary, []
    copied.final_weights.unlink()
    damage(copied.ema_weights)
    with pytest.raises(InputError, match=r"final\.weights\.h5 is gone.*writes .* again"):
        evaluate_run(copied.path)
    train_job(training, str(copied.path), print_fn=lines.append)
    assert re.search(r"final\.weights\.h5, ema\.weights\.h5 is gone or damaged", lines[0].replace(
        "ema.weights.h5, final.weights.h5", "final.weights.h5, ema.weights.h5"))  # fmt: skip
    for path, weights in expected.items():
        assert all(np.array_equal(w, stored_weights(path)[n]) for n, w in weights.items())
    assert {**copied.summary, "digests": 0} == {**before, "digests": 0}
    assert "differs_from_summary" not in evaluate_run(copied.path)
    # Without a checkpoint nothing is trained again without a word.
    shutil.rmtree(copied.checkpoints)
    copied.final_weights.write_bytes(b"cut")
    for use in (lambda: evaluate_run(copied.path), lambda: train_job(training, str(copied.path))):
        with pytest.raises(InputError, match=r"no checkpoint to write it again from.*ema"):
            use()


@pytest.mark.parametrize(
    "content",
    ["{}", '{"test": {"class": "x"}}', "[" * 100_000, '{"test": {"a": {"top1": []}}}'],
)
def test_a_summary_that_is_none_is_one_line(copied, content):
    copied.summary_file.write_text(content)
    with pytest.raises(InputError, match="corrupt summary") as raised:
        final_report(copied)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changed",
    [
        *({"model": []}, {"class_names": "abc"}, {"format": "2"}, {"run": {"dataset": 3}}),
        *({"model": {"embed_dim": 200_000}}, {"model": {"depth": 10**9}}, {"model": {"depth": []}}),
        *({"run": {"objective": 1}}, {"teacher_contract": {"outputs": 3}}, {"crop_ratio": None}),
    ],
    ids=str,
)
def test_a_configuration_of_other_kinds_is_one_line(copied, changed):
    config = json.loads(copied.config_file.read_text())
    for name, value in changed.items():
        both = isinstance(value, dict) and isinstance(config[name], dict)
        config[name] = {**config[name], **value} if both else value
    copied.config_file.write_text(json.dumps(config))
    copied.summary_file.unlink()
    with pytest.raises(InputError) as raised:
        evaluate_run(copied.path)
    assert "\n" not in str(raised.value)


SCORES = {
    "teacher": {"top1": 0.75, "agreement": 1.0},
    "class": {"top1": 0.5, "agreement": 0.25},
    "fused": {"top1": 0.625, "agreement": 0.375},
}


def cells(table):
    """Returns the cells of a table by the title of the row."""
    header, *rows = table.splitlines()
    # Titles and cells have two spaces or more between them.
    return header.split("  ")[-1], {row[: row.index("  ")]: row.split()[-2:] for row in rows}


def test_the_table_has_a_row_for_each_head_and_its_average():
    ema = {**SCORES, "fused": {"top1": 0.875, "agreement": 0.125}}
    last, rows = cells(score_table(SCORES, ema))
    assert "agreement" in last
    assert rows == {
        "teacher": ["0.7500", "1.0000"],
        "class head": ["0.5000", "0.2500"],
        "fused": ["0.6250", "0.3750"],
        "class head, EMA": ["0.5000", "0.2500"],
        "fused, EMA": ["0.8750", "0.1250"],
    }


def test_the_table_shows_figures_of_any_objective():
    table = score_table({"features": {"knn_top1": 0.9}, "class": {"top1": 0.5}})
    header, *rows = table.splitlines()
    assert "knn_top1" in header and "top-1" in header
    # The names of other rows come after the known ones; a missing figure is a dash.
    assert [row.split() for row in rows] == [
        ["class", "head", "0.5000", "-"],
        ["features", "-", "0.9000"],
    ]


def test_columns_are_aligned():
    lines = score_table(SCORES, SCORES).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_the_report_of_a_run_has_its_table_speed_and_directory(run):
    report = final_report(run)
    assert score_table(run.summary["test"], run.summary["test_ema"]) in report
    assert f"{run.summary['median_step_ms']} ms" in report
    assert str(run.path) in report and "360" in report
    assert "Skipped" not in report and "Unreadable" not in report


def test_the_report_of_a_run_has_skipped_steps_and_bad_images(run, tmp_path):
    copied = Run(tmp_path)
    copied.start(run.config)
    summary = {"median_step_ms": None, "skipped_steps": 3, "bad_images": ["a.jpg", "b.jpg"]}
    copied.finish({**run.summary, **summary})
    lines = final_report(copied).splitlines()
    assert any("Skipped" in line and line.endswith("3.") for line in lines)
    assert any("Unreadable" in line and line.endswith("2.") for line in lines)
    assert not any(" ms" in line for line in lines)
