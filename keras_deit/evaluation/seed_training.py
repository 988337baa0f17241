"""Training of several seeds: a process for each, one after the other or a number at once."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, disk_errors_as_input_errors, exclusive_lock
from keras_deit.data import Dataset
from keras_deit.evaluation.seed_processes import (
    SHARED_MEMORY,
    SeedTrainings,
    environment_beside,
    recipe_of,
    run_side_by_side,
    visible_gpus,
)
from keras_deit.evaluation.seed_study import (
    Study,
    parse_seeds,
    same_data,
    seeds_text,
    study_table,
)
from keras_deit.teachers import is_replay
from keras_deit.training import (
    Job,
    check_recipe,
    data_summary,
    dataset_of,
    default_run_dir,
    different_values,
    make_job,
    run_identity,
    training_options,
)

# Options with which the runs would not differ in their seed alone, or that are of one run.
_OF_ONE_RUN = {
    "seed": "seeds says which seeds are trained; leave seed out.",
    "minutes": "minutes would give each seed another number of steps; give epochs or steps.",
    "extend": "extend is of one run; more epochs are another study, in another run_dir.",
    "accept_changed_data": "the seeds of a study have the same data; give another run_dir.",
    "num_processes": "seeds are trained by processes of their own; leave num_processes out.",
}


class SeedsFailed(InputError):
    """Some seeds of a study have failed; the others are finished."""


def train_seeds(
    seeds: str | Iterable[int],
    parallel_seeds: int = 1,
    run_dir: str | None = None,
    imports: Sequence[str] = (),
    print_fn: Callable[[str], None] = print,
    **options,
) -> Study:
    """Trains a recipe with several seeds, exactly as `keras-deit train --seeds` does.

    Each seed is a run of its own, `seed_0` and so on in the directory, in a process of its own. The
    same call goes on where it was stopped, trains what has failed again, and adds further seeds.
    Data and teacher are the same for all: a teacher that has to be trained is trained once, with
    its own seed, and kept in `teacher_dir`.

    Args:
        seeds: see `parse_seeds`.
        parallel_seeds: number of seeds that are trained at once.
        run_dir: directory of the study; None for one below runs/ with a name made from the options.
        imports: Python files that register models, recipes or objectives of the user.
        print_fn: called with each line for the user.
        **options: those of `train`, without `seed`.

    Returns:
        The study; `config` has its figures.

    Raises:
        InputError: what was asked for is not possible, or the directory holds something else.
        SeedsFailed: a seed has failed; the others are trained before that.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    seeds = parse_seeds(seeds)
    with seed_trainings(seeds, parallel_seeds, run_dir, imports, print_fn, **options) as trainings:
        study, waiting = trainings.study, trainings.waiting(seeds)
        if waiting:
            print_fn(
                f"{study.path}: {len(seeds) - len(waiting)} of {len(seeds)} seeds are finished; "
                f"seeds {seeds_text(waiting)} are trained, {min(parallel_seeds, len(waiting))} at "
                "once. What each prints is in its seed_N.log."
            )
        else:
            print_fn(f"{study.path} holds this study, finished.")
        run_side_by_side(
            lambda: trainings.task(waiting.pop(0)) if waiting else None, parallel_seeds
        )
    print_fn(study_table(study))
    if trainings.failed:
        raise SeedsFailed(
            f"Seeds {seeds_text(sorted(trainings.failed))} of {study.path} have failed; the same "
            "command trains them again."
        )
    return study


@contextlib.contextmanager
def seed_trainings(
    seeds: Sequence[int],
    parallel_seeds: int = 1,
    run_dir: str | None = None,
    imports: Sequence[str] = (),
    print_fn: Callable[[str], None] = print,
    **options,
) -> Iterator[SeedTrainings]:
    """Opens a study of seeds for its trainings, and locks its directory during the block.

    Args and errors are those of `train_seeds`.
    """
    if parallel_seeds < 1:
        raise InputError(f"parallel_seeds should be 1 or more. Received: {parallel_seeds}")
    options = {name: value for name, value in options.items() if value is not None}
    for name, reason in _OF_ONE_RUN.items():
        if options.get(name, False) is not False:
            raise InputError(reason)
    if len(seeds) > 1 and is_replay(options.get("teacher") or ""):
        raise InputError(
            "Stored labels are of one seed: give --seeds one number, or the teacher itself."
        )
    environment = environment_beside(parallel_seeds - 1)
    # This process needs no GPU, but choosing a recipe for the data asks whether there is one.
    for name, value in SHARED_MEMORY.items():
        os.environ.setdefault(name, value)
    job = make_job(**options)
    check_recipe(job.recipe, job.recipe.objective.copy())
    study = Study(run_dir or default_run_dir(job, "seeds"))
    config = _checked_config(study, job, dataset_of(job), [*seeds])
    one_device_each = parallel_seeds > 1 and job.devices.strategy == "none"
    gpus = visible_gpus(environment) if one_device_each else []
    with (
        disk_errors_as_input_errors("The disk", "Once it can, the same command goes on."),
        exclusive_lock(study.lock),
    ):
        study.write(config)
        yield SeedTrainings(study, config, _flags(options), imports, environment, gpus, print_fn)


def _checked_config(study: Study, job: Job, dataset: Dataset, seeds: list[int]) -> dict:
    """Returns the configuration of a study, after a check that the directory is free for it."""
    config = {
        "run": run_identity(job),
        "data": data_summary(dataset),
        "class_names": list(dataset.class_names),
        "split": dataset.reported_split,
        "examples": dataset.examples,
        "seeds": seeds,
        "results": {},
    }
    if not study.file.is_file():
        _check_free(study)
        check_writable(study.file)
        return config
    stored = study.config
    if different := different_values(*map(recipe_of, (stored, config))):
        shown = [f"{n} {a} there, {b} here" for n, (a, b) in [*different.items()][:5]]
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise InputError(
            f"{study.path} holds a study of another recipe ({', '.join(shown)}{more}); give "
            "another --run_dir."
        )
    if not same_data(stored, config):
        raise InputError(
            f"{study.path} holds a study of other data, or the data has changed since it began; "
            "give another --run_dir."
        )
    return {**stored, "seeds": sorted({*stored["seeds"], *seeds})}


def _check_free(study: Study) -> None:
    path = study.path
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is not a directory; give another --run_dir.")
    if (path / "config.json").is_file():
        raise InputError(f"{path} holds a run of one seed, and no study; give another --run_dir.")
    if path.is_dir() and any(each.name != study.lock.name for each in path.iterdir()):
        raise InputError(
            f"{path} holds files that do not belong to a study of seeds; give another --run_dir."
        )


def _flags(options: dict) -> dict:
    """Returns the options that are not what they are by default."""
    defaults = {option.name: option.default for option in training_options()}
    return {n: v for n, v in options.items() if v != defaults.get(n) and n not in _OF_ONE_RUN}
