"""Evaluating a finished run gives what its training measured, as a table."""

import pytest

from keras_deit import InputError
from keras_deit.evaluation import evaluate_run, final_report, score_table
from keras_deit.objectives import Supervised
from keras_deit.training import Run, train_job

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def run(tiny_job, tmp_path_factory, eager):
    """A finished run with an average of its weights."""
    path = tmp_path_factory.mktemp("run")
    job = tiny_job({"epochs": 1, "warmup_epochs": 0, "ema_decay": 0.75})
    return train_job(job, str(path), print_fn=lambda line: None)


def test_the_test_split_is_evaluated_as_by_the_training(run):
    found = evaluate_run(run.path)
    assert found["examples"] == 360
    assert found["scores"] == run.summary["test"]
    assert found["ema_scores"] == run.summary["test_ema"]
    assert found["scores"]["fused"] != found["ema_scores"]["fused"]


def test_the_validation_split_is_evaluated_as_by_the_training(run):
    found = evaluate_run(str(run.path), "validation", batch_size=77)
    assert found["examples"] == 180
    expected = run.history[-1]["val_accuracy"]
    assert found["scores"]["fused"]["top1"] == pytest.approx(expected, abs=1e-6)


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
