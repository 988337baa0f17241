"""What makes a run different from another one, and how identities of earlier versions are read."""

import dataclasses
import json
import pathlib

import pytest

from keras_deit import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import load_dataset
from keras_deit.objectives import Distillation, Objective, Supervised
from keras_deit.objectives.objective import OBJECTIVES
from keras_deit.recipes import (
    DIGITS,
    FROM_SCRATCH_TEACHER_RECIPE,
    get_recipe,
)
from keras_deit.teachers import TeacherRequest
from keras_deit.training import Job, Run, make_job, objective_from, request_of_run
from keras_deit.training.earlier_formats import (
    as_started,
    run_digests,
    teacher_file_names,
    upgraded_run,
    upgraded_teacher_metadata,
)
from keras_deit.training.identity import (
    digest,
    run_identity,
    teacher_identity,
    teacher_recipe_identity,
)
from keras_deit.training.trainer import default_run_dir

FORMAT_1 = pathlib.Path(__file__).parents[1] / "compatibility" / "format1"


def with_field(values, default, value=None):
    """Returns a dataclass instance as a later version would make it, with one more field."""
    cls = type(values)
    later = dataclasses.make_dataclass(
        cls.__name__, [("sharpness", float, default)], bases=(cls,), frozen=True
    )
    fields = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    return later(**fields, **({} if value is None else {"sharpness": value}))


def later_job(job, part, **values):
    """Returns a job of a later version, in which one part has one more field."""
    changed = with_field(getattr(job.recipe, part), 0.0, values.get("sharpness"))
    return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, **{part: changed}))


def with_distillation(job, **values):
    """Returns a job whose distillation has further values."""
    objective = job.recipe.objective.copy()
    objective._values |= values
    return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, objective=objective))


def started(tmp_path, identity):
    """Returns a run that was started with an identity."""
    run = Run(tmp_path / "run")
    others = {"model": {}, "class_names": [], "crop_ratio": 1.0, "interpolation": "bilinear"}
    absent = dict.fromkeys(("data_dir", "teacher", "teacher_contract"))
    run.start({"run": identity, **others, **absent})
    return run


def test_only_what_differs_from_the_defaults_is_stored():
    identity = run_identity(make_job(seed=3, epochs=20, alpha=0.25))
    optimization = type(DIGITS.optimization)
    stored = identity["optimization"]
    assert stored == {
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 1.2e-2,
        "warmup_epochs": pytest.approx(10 * 20 / 110),
    }
    assert all(getattr(optimization, name) != value for name, value in stored.items())
    assert identity["seed"] == 3
    assert not {"train_examples", "mixed_precision", "head_bias"} & set(identity)
    objective = identity["objective"]
    assert {name: objective[name] for name in ("name", "alpha", "teacher")} == {
        "name": "distillation",
        "alpha": 0.25,
        "teacher": "kerascv:csp_darknet_tiny",
    }
    assert not {"kind", "temperature", "teacher_weights"} & set(objective)
    assert objective["teacher_recipe"] == teacher_recipe_identity(
        DIGITS.objective.values["teacher_recipe"]
    )
    assert json.loads(json.dumps(identity)) == identity


def test_where_and_how_a_run_is_computed_is_not_part_of_its_identity():
    values = {"checkpoint_seconds": 1.0, "on_nan": "skip", "accumulation_steps": 2}
    assert run_identity(make_job(**values)) == run_identity(make_job())


def test_the_default_recipe_of_a_teacher_is_stored_too():
    """A later version may have another default, which would be another teacher."""
    job = make_job(recipe="deit_distilled", teacher="kerascv:resnet18_v2")
    stored = run_identity(job)["objective"]["teacher_recipe"]
    assert stored == teacher_recipe_identity(FROM_SCRATCH_TEACHER_RECIPE)
    assert stored["optimization"]["epochs"] == 60


def check_field_of_a_later_version(job, later, other, key, tmp_path):
    assert run_identity(later) == run_identity(job)
    assert run_digests(later) == run_digests(job)
    assert default_run_dir(later) == default_run_dir(job)
    run = started(tmp_path, run_identity(job))
    run.check(run_identity(later))
    # Another value than the default makes it another run, which format 1 could not express.
    (other_digest,) = run_digests(other)
    assert other_digest not in run_digests(job)
    with pytest.raises(InputError, match=rf"{key} .* 0\.5 here"):
        run.check(run_identity(other))


@pytest.mark.parametrize("part", ["optimization", "augmentation"])
def test_a_field_that_a_later_version_adds_leaves_a_run_what_it_was(part, tmp_path):
    job = make_job()
    later, other = later_job(job, part), later_job(job, part, sharpness=0.5)
    check_field_of_a_later_version(job, later, other, rf"{part}\.sharpness", tmp_path)


def test_an_argument_of_an_objective_that_a_later_version_adds_leaves_a_run_what_it_was(
    tmp_path, monkeypatch
):
    job = make_job()
    later, other = (with_distillation(job, sharpness=value) for value in (0.0, 0.5))
    defaults = {**Distillation.defaults(), "sharpness": 0.0}
    monkeypatch.setattr(Distillation, "defaults", classmethod(lambda cls: defaults))
    check_field_of_a_later_version(job, later, other, r"objective\.sharpness", tmp_path)


def test_a_field_that_a_later_version_adds_leaves_a_teacher_what_it_was():
    recipe = DIGITS.objective.values["teacher_recipe"]
    dataset, image_format = load_dataset("digits"), ImageFormat(16, 16)
    request = TeacherRequest("kerascv:resnet18_v2")
    digests = []
    for value in (None, 0.5):
        optimization = with_field(recipe.optimization, 0.0, value)
        later = with_field(dataclasses.replace(recipe, optimization=optimization), 0.0)
        digests.append(teacher_file_names(request, later, dataset, image_format))
    assert digests[0] == teacher_file_names(request, recipe, dataset, image_format)
    assert digests[1][0] != digests[0][0]
    present = digest(teacher_identity(request, recipe, dataset, image_format))
    assert digests[0][0] == f"kerascv_resnet18_v2-digits-{present}.keras"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"epochs": 5}, "optimization.epochs"),
        ({"label_smoothing": 0.2}, "augmentation.label_smoothing"),
        ({"alpha": 0.25}, "objective.alpha"),
        ({"teacher_epochs": 3}, "objective.teacher_recipe.optimization.epochs"),
        ({"embed_dim": 48}, "model_values.embed_dim"),
        ({"mixed_precision": "bfloat16"}, "mixed_precision"),
        ({"train_examples": 300}, "train_examples"),
        ({"objective": "supervised"}, "objective.name"),
    ],
)
def test_a_run_with_another_value_is_refused_and_the_value_is_named(tmp_path, changes, key):
    run = started(tmp_path, run_identity(make_job()))
    with pytest.raises(InputError, match=rf"[( ]{key} ") as error:
        run.check(run_identity(make_job(**changes)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "objective",
    [
        Supervised("sigmoid_cross_entropy"),
        Distillation(kind="soft", teacher="applications:MobileNetV3Small"),
        DIGITS.objective,
    ],
    ids=["supervised", "default teacher recipe", "own teacher recipe"],
)
def test_an_objective_comes_back_from_an_identity(objective):
    recipe = dataclasses.replace(DIGITS, objective=objective)
    restored = objective_from(run_identity(Job("digits", recipe)))
    values = objective.values
    if values.get("teacher"):
        values["teacher_recipe"] = values["teacher_recipe"] or FROM_SCRATCH_TEACHER_RECIPE
    assert type(restored) is type(objective) and restored.values == values


class WithTeacher(Objective):
    """An objective with a teacher and without the argument `teacher_recipe`."""

    def __init__(self, teacher: str = "some.keras"):
        self.name = teacher

    @property
    def teacher_request(self):
        return TeacherRequest(self.name)


def test_an_own_objective_with_a_teacher_comes_back_too(monkeypatch):
    monkeypatch.setattr(OBJECTIVES, "_values", {"withteacher": WithTeacher})
    identity = run_identity(Job("digits", dataclasses.replace(DIGITS, objective=WithTeacher("a"))))
    assert "teacher_recipe" in identity["objective"]
    assert objective_from(identity) == WithTeacher("a")


def format_1(**changes):
    """Returns the identity of a run of format 1 with some values of its recipe changed."""
    identity = json.loads((FORMAT_1 / "finished" / "config.json").read_text())["run"]
    return {**identity, "recipe": {**identity["recipe"], **changes}}


@pytest.fixture
def format_1_job():
    """The job whose identity `format_1` returns."""
    job = make_job(
        **{"embed_dim": 24, "depth": 1, "drop_path_rate": 0.1, "dropout_rate": 0.1},
        **{"epochs": 3, "batch_size": 400, "ema_decay": 0.9, "clip_norm": 1.0},
        **{"teacher": "teacher.keras", "validation_epochs": 1},
    )
    # Without a point, as in the run: the digest of format 1 tells 1 and 1.0 apart.
    optimization = dataclasses.replace(job.recipe.optimization, warmup_epochs=1)
    recipe = dataclasses.replace(job.recipe, optimization=optimization)
    return dataclasses.replace(job, recipe=recipe)


def test_an_identity_of_format_1_is_upgraded(format_1_job):
    upgraded = upgraded_run(format_1())
    assert upgraded == run_identity(as_started(format_1_job, upgraded))
    # The backend is that of the run, not the present one.
    assert upgraded_run({**format_1(), "backend": "jax"}) == {**upgraded, "backend": "jax"}


def test_a_run_of_an_earlier_version_keeps_its_average_without_warm_up():
    job, plain = make_job(recipe="deit"), make_job(recipe="deit", ema_warmup=False)
    old = run_identity(plain)
    assert "ema_warmup" not in old["optimization"]
    assert run_identity(job)["optimization"].pop("ema_warmup") is True
    assert as_started(job, old) == as_started(plain, old) == plain
    assert as_started(job, run_identity(job)) == job
    assert run_digests(job) == [digest(run_identity(job)), *run_digests(plain)]
    without = make_job(recipe="digits")
    assert as_started(without, run_identity(without)) == without


def test_the_digest_of_format_1_is_still_known(format_1_job):
    old = digest(format_1())
    found = run_digests(format_1_job)
    assert old in found
    # What format 1 could not express has no such digest.
    assert len(run_digests(later_job(format_1_job, "optimization", sharpness=0.5))) < len(found)


def test_a_run_of_format_1_without_distillation_is_supervised():
    recipe = format_1()["recipe"]
    optimization = {**recipe["optimisation"], "loss": "sigmoid_cross_entropy"}
    without = upgraded_run(format_1(distillation="none", teacher=None, optimisation=optimization))
    assert objective_from(without) == Supervised("sigmoid_cross_entropy")
    compared = objective_from(upgraded_run(format_1(distillation="none")))
    assert (compared.kind, pathlib.Path(compared.values["teacher"]).name) == (
        "none",
        "teacher.keras",
    )
    assert compared.teacher_request is None
    assert request_of_run({"teacher": "/kept.keras"}, compared).name == "/kept.keras"


def test_old_names_of_recipes_and_values_are_upgraded():
    recipe = format_1()["recipe"]
    gray = {**recipe["augmentation"], "geometric_fill": "grey"}
    teacher_recipe = {**recipe["teacher_recipe"], "augmentation": gray}
    upgraded = upgraded_run(
        format_1(name="augreg_regularised", augmentation=gray, teacher_recipe=teacher_recipe)
    )
    assert upgraded["recipe"] == get_recipe("augreg_regularized").name
    assert upgraded["augmentation"]["geometric_fill"] == "gray"
    of_teacher = upgraded["objective"]["teacher_recipe"]["augmentation"]
    assert of_teacher["geometric_fill"] == "gray"


def test_the_metadata_of_a_teachers_checkpoint_is_upgraded():
    old = {"recipe": format_1()["recipe"]["teacher_recipe"], "dataset": "digits"}
    present = {
        "recipe": teacher_recipe_identity(DIGITS.objective.values["teacher_recipe"]),
        "dataset": "digits",
    }
    assert upgraded_teacher_metadata(old) == present
    assert upgraded_teacher_metadata(present) == present


def test_photographs_are_not_turned_in_a_run_of_an_earlier_version():
    job = make_job(dataset="folder:photos", recipe="deit")
    as_stored = dataclasses.replace(job, exif_orientation=False)
    old = run_identity(as_stored)
    assert run_identity(job) == {**old, "exif_orientation": True}
    assert as_started(job, old).exif_orientation is False
    for new in (job, make_job(dataset="folder:photos", recipe="deit", ema_warmup=False)):
        assert as_started(new, run_identity(new)) == new
    assert digest(old) in run_digests(job)
    assert "exif_orientation" not in run_identity(make_job(dataset="cifar10", recipe="deit"))
