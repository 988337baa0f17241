"""Runs that are trained on: in what a run and its extension differ."""

import dataclasses
import pathlib

from keras_deit.core.errors import InputError
from keras_deit.core.files import read_json
from keras_deit.optimizers import Optimization
from keras_deit.recipes.options import TEACHER_SHARE
from keras_deit.training.job import Job

_LENGTH = {f"optimization.{name}" for name in ("epochs", "steps", "warmup_epochs", "warmup_steps")}


def length_to_extend(stored: dict, wanted: dict, different: set[str]) -> str | None:
    """Returns the epochs, steps or minutes of a run, if an identity has more of them.

    A warm-up, which then is over or longer, may differ too. None for any other difference.

    Args:
        stored, wanted: identities of the run and of what is asked for.
        different: the names of the values in which they differ.
    """
    if different == {"minutes"} and {"minutes"} <= stored.keys() & wanted.keys():
        minutes = stored["minutes"]
        return f"{minutes:g} minutes" if minutes < wanted["minutes"] else None
    if not different <= _LENGTH:
        return None
    here, there = (run.get("optimization", {}) for run in (stored, wanted))
    unit = "steps" if "steps" in here else "epochs"
    if unit == "steps" and unit not in there:
        return None
    length = here.get(unit, Optimization.epochs)
    return f"{length:,} {unit}" if length < there.get(unit, Optimization.epochs) else None


def with_teacher_of(job: Job, stored: dict, steps_file: pathlib.Path) -> Job:
    """Returns a job whose teacher has the minutes that it had when a run was started.

    They are a share of those of the training, and more of these are no other teacher.

    Args:
        job: what the command says now.
        stored: identity of the run that it resumes or extends.
        steps_file: `steps.json` of the run.
    """
    recipe = job.recipe.objective.values.get("teacher_recipe")
    minutes = stored.get("objective", {}).get("teacher_recipe", {}).get("minutes")
    started = started_minutes(stored, steps_file)
    if None in (recipe, minutes, started, job.minutes):
        return job
    if (recipe.minutes, minutes) != (TEACHER_SHARE * job.minutes, TEACHER_SHARE * started):
        return job
    objective = job.recipe.objective.copy(
        teacher_recipe=dataclasses.replace(recipe, minutes=minutes)
    )
    return dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, objective=objective))


def started_minutes(stored: dict, steps_file: pathlib.Path) -> float | None:
    """Returns the minutes that a run was started with; None if it has no time limit.

    Args:
        stored: its identity.
        steps_file: its `steps.json`, which says them if they were extended.
    """
    try:
        values = read_json(steps_file, str(steps_file))
    except InputError:
        # Not there yet; what is wrong with it is said when the training needs it.
        values = {}
    minutes = values.get("minutes")
    return minutes if isinstance(minutes, (int, float)) else stored.get("minutes")
