"""What a teacher says about the views of a training, for all rows of a study that have these."""

import dataclasses
import pathlib
from collections.abc import Mapping

from keras_deit.models import abstract_model
from keras_deit.objectives import Distillation
from keras_deit.studies.definition import StudyDefinition
from keras_deit.teachers import Replay
from keras_deit.teachers.replay import PREFIX, RECORD
from keras_deit.training import Job, labeling_options, make_job
from keras_deit.training.identity import changed_fields, digest, objective_identity

# So many probabilities of a soft label are stored: all of them in the data of this package.
_TOP_K = 100


@dataclasses.dataclass(frozen=True)
class SharedLabels:
    """Labels that several cells learn from, for each seed.

    Attributes:
        name: name of their directory.
        options: options of `label_views`, without seed and directory.
    """

    name: str
    options: dict

    def are_complete(self, folder: pathlib.Path) -> bool:
        """Returns whether a directory has all labels.

        Raises:
            InputError: its record or a file is corrupt.
        """
        if not (folder / RECORD).is_file():
            return False
        replay = Replay(folder)
        return replay.labeled_batches() == replay.batches


def shared_labels(
    study: StudyDefinition, options_by_cell: Mapping[str, dict]
) -> dict[str, SharedLabels]:
    """Returns the labels that cells share with others, by the name of the cell.

    The views of a seed are the same for every student, so a teacher is asked about them once for
    each seed and not once for each cell. A study whose figures are of the teacher too, which a
    training with stored labels does not have, shares none.

    Args:
        study: the study.
        options_by_cell: options of the cells with a teacher, as `cell_options` returns them, for
            the same data.
    """
    if any("teacher" in figure.path for figure in study.figures):
        return {}
    groups: dict[str, dict[str, Job]] = {}
    for name, options in options_by_cell.items():
        job = make_job(**options)
        if (key := _key(job)) is not None:
            groups.setdefault(key, {})[name] = job
    found, known = {}, {option.name for option in labeling_options()}
    for key, jobs in groups.items():
        if len(jobs) > 1:
            longest = max(jobs, key=lambda name: _length(jobs[name]))
            options = {n: v for n, v in options_by_cell[longest].items() if n in known}
            labels = SharedLabels(f"labels_{key}", {**options, "top_k": _TOP_K})
            found |= dict.fromkeys(jobs, labels)
    return found


def with_labels(options: dict, folder: pathlib.Path) -> dict:
    """Returns the options of a training that learns from stored labels instead of a teacher."""
    own = {name: value for name, value in options.items() if "teacher" not in name}
    return {**own, "teacher": f"{PREFIX}{folder}"}


def _key(job: Job) -> str | None:
    """Returns what the labels of a training depend on besides its data; None without a teacher."""
    objective, recipe = job.recipe.objective, job.recipe
    if type(objective) is not Distillation or objective.teacher_request is None:
        return None
    augmentation = dataclasses.replace(recipe.augmentation, label_smoothing=0.0)
    identity = objective_identity(objective)
    image_format = abstract_model(recipe.model, **recipe.model_values).image_format
    return digest(
        {
            "image_format": changed_fields(image_format),
            "augmentation": changed_fields(augmentation),
            **changed_fields(recipe.optimization, ("batch_size", "accumulation_steps", "sampling")),
            **changed_fields(job, ("train_examples", "on_bad_image", "test_share")),
            "teacher": {n: v for n, v in identity.items() if n.startswith("teacher")},
            "kind": objective.kind,
            "temperature": objective.temperature if objective.kind == "soft" else None,
        }
    )


def _length(job: Job) -> int:
    optimization = job.recipe.optimization
    return optimization.steps or optimization.epochs
