"""A training whose batches contain what its teacher has said about their views before."""

import dataclasses
import json

from keras_deit.core.errors import InputError
from keras_deit.core.image_format import ImageFormat
from keras_deit.data import Dataset
from keras_deit.objectives import Objective
from keras_deit.teachers import Replay, Teacher
from keras_deit.training.identity import views_identity
from keras_deit.training.job import Job
from keras_deit.training.preparation import student_optimization
from keras_deit.training.run import Run, different_values
from keras_deit.training.steps import dataset_steps


def values_of(teacher: Teacher | Replay) -> dict:
    """Returns what a teacher takes and returns, as it comes back from a JSON file."""
    values = {**teacher.contract.to_dict(), "class_order": teacher.class_order}
    return json.loads(json.dumps(values))


def with_replay(
    job: Job, run: Run, objective: Objective, dataset: Dataset, image_format: ImageFormat
) -> tuple[Objective, dict]:
    """Returns the objective with stored labels, and what the configuration of a run says of them.

    Args:
        job, run: of the training.
        objective: unbuilt; its teacher is `replay:DIR`.
        dataset: all of it.
        image_format: format of the student's images.

    Raises:
        InputError: they are labels of other views or of fewer steps, or not those of a run that is
            resumed; or the training cannot use them.
    """
    name = objective.teacher_request.name
    if job.minutes is not None:
        raise InputError(
            f"--minutes does as many steps as there is time for, and {name} has labels for a "
            "number of steps: give --steps or --epochs."
        )
    replay = Replay.named(name)
    check_views(replay, views_identity(job, dataset, image_format), "Label them: keras-deit label")
    optimization, steps = dataset_steps(student_optimization(job), dataset)
    wanted, labeled = steps * optimization.epochs, replay.labeled_batches()
    if labeled < wanted:
        raise InputError(
            f"{replay.path} has labels for {labeled:,} of the {wanted:,} steps: keras-deit label "
            "with the flags of this training makes the others."
        )
    stored = dataclasses.asdict(replay.labels)
    if run.config_file.is_file():
        run.check_teacher(values_of(replay))
        if run.config.get("teacher_labels") != stored:
            raise InputError(
                f"{run.path} was started with other labels than {replay.labels.text} ones; give "
                "another --run_dir."
            )
    objective.use_replay(replay)
    where = {"teacher_replay": str(replay.path), "teacher_labels": stored}
    return objective, {**replay.teacher, **where}


def check_views(replay: Replay, views: dict, advice: str) -> None:
    """Checks that labels are those of the views of a training.

    Args:
        replay: the labels.
        views: as `views_identity` returns them.
        advice: what the user can do otherwise, as an imperative.

    Raises:
        InputError: they are not.
    """
    different = [
        f"{name} {there} there, {here} here"
        for name, (there, here) in different_values(replay.views, views).items()
    ]
    if different:
        raise InputError(
            f"{replay.path} has labels of other views ({', '.join(different[:5])}). {advice}."
        )
