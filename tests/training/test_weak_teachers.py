"""Teachers that are trained from scratch, and those that are too weak."""

import pytest
from run_files import quiet

from keras_deit.evaluation import evaluate_run, final_report
from keras_deit.objectives import Distillation
from keras_deit.recipes import (
    FINE_TUNING_TEACHER_RECIPE,
    FROM_SCRATCH_TEACHER_RECIPE,
    default_teacher_recipe,
)
from keras_deit.training import make_job, train_job

pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]


def test_a_teacher_without_weights_is_trained_from_scratch():
    scratch, tuned = FROM_SCRATCH_TEACHER_RECIPE, FINE_TUNING_TEACHER_RECIPE
    assert default_teacher_recipe("kerascv:resnet18_v2") is scratch
    assert default_teacher_recipe("applications:ResNet50", "imagenet") is tuned
    assert default_teacher_recipe("kerascv:resnet50_v2_imagenet") is tuned
    given = {"recipe": "deit_distilled", "teacher": "kerascv:resnet18_v2"}
    assert make_job(**given).recipe.objective.values["teacher_recipe"] == scratch


def test_a_weak_teacher_is_said_so_and_an_optional_one_is_left_out(tiny_job, tmp_path):
    """The teacher of the tiny job has random weights."""
    lines = []
    train_job(tiny_job(), str(tmp_path / "warned"), lines.append)
    assert any(line.startswith("WARNING: the teacher is no better than a guess") for line in lines)
    lines.clear()
    job = tiny_job(objective={"teacher_optional": True})
    run = train_job(job, str(tmp_path / "left_out"), lines.append)
    assert any(line.startswith("No teacher: the teacher is no better") for line in lines)
    assert run.config["teacher"] is None and "teacher" not in run.summary["test"]
    scores = evaluate_run(run.path, print_fn=quiet)["scores"]
    assert scores["fused"] == run.summary["test"]["fused"]


def test_the_report_says_if_teacher_and_student_are_far_apart(tiny_job, tmp_path):
    run = train_job(tiny_job(), str(tmp_path / "run"), quiet)
    summary = run.summary
    for difference, words in ((0.3, "better by 30.0 points"), (-0.2, "worse by 20.0 points")):
        summary["test"]["fused"]["top1"] = 0.5
        summary["test"]["teacher"]["top1"] = 0.5 + difference
        run.finish(summary)
        assert words in final_report(run)
    summary["test"]["teacher"]["top1"] = 0.51
    run.finish(summary)
    assert "points" not in final_report(run)


def test_the_objective_without_its_teacher_has_the_same_loss():
    objective = Distillation("binary_cross_entropy", teacher="kerascv:resnet18_v2")
    assert objective.without_teacher().values["loss"] == "binary_cross_entropy"
