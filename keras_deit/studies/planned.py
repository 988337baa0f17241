"""What the trainings of a study would take, before any of them is done."""

import pathlib
from collections.abc import Iterator, Sequence

from keras_deit.evaluation.seed_study import parse_seeds
from keras_deit.models import abstract_model, count_macs
from keras_deit.planning import Plan, make_plan
from keras_deit.recipes import default_teacher_recipe
from keras_deit.studies.definition import Cell, StudyDefinition, get_study
from keras_deit.studies.options import (
    cell_options,
    options_with_teachers,
    study_datasets,
    study_folder,
)
from keras_deit.studies.shared_labels import shared_labels
from keras_deit.teachers.abstract import abstract_teacher
from keras_deit.training import make_job

# Multiply-adds of a training step for each one of the forward pass.
_STEP_MACS = 3
# Length of each phase of a pruning, of that of the training.
_PHASE = 1 / 3
# By the scale: what does the trainings, its multiply-adds in a second, and the seconds that a
# training takes besides, for imports, the program of the step, and the evaluation.
_SPEEDS = {"small": ("two cores", 60e9, 12), "paper": ("one accelerator", 50e12, 600)}
# Take the place of the runs of other cells, in a plan.
_PLACEHOLDERS = {"teacher": "kerascv:csp_darknet_tiny", "weights": "run.weights.h5"}


def study_plan(
    name: str,
    datasets: Sequence[str] | None = None,
    seeds: str | None = None,
    scale: str = "small",
    output: str | None = None,
) -> Iterator[str]:
    """Yields what the trainings of a study would take, as lines of text.

    Args:
        name, datasets, seeds, scale, output: as for `run_study`.
    """
    study = get_study(name)
    folder = study_folder(study, scale, output)
    count = len(parse_seeds(seeds or study.seeds))
    macs, starts, teachers = 0, 0, {}
    for dataset in study_datasets(study, scale, datasets):
        whole, gated, labeled = {}, set(), set()
        labels = shared_labels(study, options_with_teachers(study, dataset, scale, folder))
        for cell in study.trained:
            plan = make_plan(make_job(**planned_options(study, cell, dataset, scale, folder)))
            teacher = None if "teacher" in cell.needs(scale) else _teacher(plan)
            own = count * _macs(plan, teacher)
            if teacher is not None and plan.trains_teacher:
                request = str(plan.job.recipe.objective.teacher_request)
                teachers[dataset, request] = _STEP_MACS * _teacher_images(plan) * teacher
            if cell.name in labels and labels[cell.name].name in labeled:
                # What the teacher says is stored for the first of these cells.
                own = count * _macs(plan, None)
            elif cell.name in labels:
                labeled.add(labels[cell.name].name)
                starts += count
            macs, starts = macs + own, starts + count
            whole[cell.name] = own, plan.steps
            yield _row(dataset, cell.name, count, plan.steps, own)
        for cell in study.pruned:
            # The gates, which the rates share, and then the pruned model take a third as long.
            own, steps = (round(_PHASE * value) for value in whole[cell.runs_of])
            phases = 1 if cell.runs_of in gated else 2
            gated.add(cell.runs_of)
            macs, starts = macs + phases * own, starts + count
            yield _row(dataset, cell.name, count, phases * steps, phases * own)
    macs += sum(teachers.values())
    device, rate, seconds = _SPEEDS[scale]
    trainings = f"{len(teachers)} training{'' if len(teachers) == 1 else 's'} of a teacher"
    yield (
        f"All, with {trainings}: {macs / 1e12:,.3g} × 10¹² "
        f"multiply-adds, {starts} trainings. At {rate / 1e9:,.0f} × 10⁹ multiply-adds a second and "
        f"{seconds} s for each start, {device} take {_duration(macs / rate + seconds * starts)}."
    )


def _row(dataset: str, cell: str, count: int, steps: int, macs: float) -> str:
    amount = f"{macs / 1e12:,.3g} × 10¹² multiply-adds"
    return f"{dataset}, {cell}: {count} × {steps:,} steps, {amount}"


def planned_options(
    study: StudyDefinition, cell: Cell, dataset: str, scale: str, folder: pathlib.Path
) -> dict:
    """Returns the options of a cell with other names for the runs that it starts from, which need
    not exist. They change neither the steps nor the sizes of its trainings.
    """
    options = cell_options(study, cell, dataset, scale, folder)
    return {**options, **{name: _PLACEHOLDERS[name] for name in cell.needs(scale)}}


def _macs(plan: Plan, teacher: int | None) -> int:
    """Returns the multiply-adds of a training; the teacher has one forward pass in a step."""
    recipe = plan.job.recipe
    values = {**recipe.model_values, "num_classes": plan.dataset.classes}
    student = count_macs(abstract_model(recipe.model, **values))
    images = plan.steps * recipe.optimization.batch_size
    return images * (_STEP_MACS * student + (teacher or 0))


def _teacher(plan: Plan) -> int | None:
    """Returns the multiply-adds of the teacher for an image; None if there is no teacher."""
    recipe = plan.job.recipe
    request = recipe.objective.teacher_request
    if request is None:
        return None
    values = {**recipe.model_values, "num_classes": plan.dataset.classes}
    image_format = abstract_model(recipe.model, **values).image_format
    training = request.recipe or default_teacher_recipe(request.name, request.weights)
    size = training.model_size(image_format)
    return count_macs(abstract_teacher(request, plan.dataset.classes, *size, image_format).model)


def _teacher_images(plan: Plan) -> int:
    """Returns the number of images, with repetitions, of the training of a teacher."""
    request = plan.job.recipe.objective.teacher_request
    training = request.recipe or default_teacher_recipe(request.name, request.weights)
    optimization = training.optimization
    steps = optimization.steps
    if steps is None:
        return optimization.epochs * plan.dataset.examples
    return steps * optimization.batch_size


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{seconds / 60:,.0f} minutes" if hours < 2 else f"{hours:,.0f} hours"
