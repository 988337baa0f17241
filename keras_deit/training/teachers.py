"""The teacher of a training: resolved from a name or a file, and trained if that is needed."""

import contextlib
import dataclasses
import glob
import pathlib
import shutil
from collections.abc import Callable, Iterator

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import check_writable, exclusive_lock, file_digest, user_path
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.precision import precision
from keras_deit.core.processes import all_gather, is_writer
from keras_deit.data import Dataset
from keras_deit.objectives import Objective
from keras_deit.recipes import TeacherRecipe, default_teacher_recipe
from keras_deit.teachers import (
    Foreign,
    HostModel,
    Teacher,
    TeacherContract,
    TeacherRequest,
    TorchModel,
    build_teacher_model,
    check_classes,
    check_foreign_classes,
    check_teacher_name,
    class_order,
    foreign_exists,
    foreign_source,
    is_foreign,
    is_package_model,
    is_replay,
    load_foreign,
    load_teacher_model,
    own_head_classes,
    teacher_record,
    weights_class_names,
)
from keras_deit.training.changes import changes_since
from keras_deit.training.checkpoints import fingerprint
from keras_deit.training.earlier_formats import spelled_teacher_files, teacher_file_names
from keras_deit.training.identity import file_stem, teacher_recipe_identity
from keras_deit.training.input_pipeline import InputPipeline
from keras_deit.training.job import Job
from keras_deit.training.replay import values_of, with_replay
from keras_deit.training.run import Run
from keras_deit.training.steps import dataset_steps
from keras_deit.training.teacher_top1 import teacher_top1
from keras_deit.training.teacher_training import (
    fit_teacher,
    listing_beside,
    lock_file,
    stochastic_depth,
)


def with_teacher(
    job: Job,
    run: Run,
    objective: Objective,
    dataset: Dataset,
    pipeline: InputPipeline,
    print_fn: Callable[[str], None],
) -> tuple[Objective, dict]:
    """Returns the objective with its teacher, and what the configuration of a run says of that.

    It is another objective, without one, if the teacher may be left out and is too weak.

    Args:
        job, run: of the training.
        objective: unbuilt.
        dataset: to train the teacher on, and to score it on.
        pipeline: pipeline of the student's images.
        print_fn: called with each line for the user.

    Raises:
        InputError: there is no such teacher, it is not that of a run that is resumed, or it is no
            better than a guess and the job does not accept that.
    """
    without = {"teacher": None, "teacher_contract": None}
    if objective.teacher_request is None:
        return objective, without
    if is_replay(objective.teacher_request.name):
        return with_replay(job, run, objective, dataset, pipeline.image_format)
    batch_size = job.recipe.optimization.micro_batch_size
    teacher, source = resolve_teacher(
        objective.teacher_request,
        dataset,
        pipeline,
        job.teacher_dir,
        batch_size,
        job.checkpoint_seconds,
        print_fn,
    )
    started = run.config_file.is_file()
    if started:
        run.check_teacher(values_of(teacher))
    figure = teacher_top1(teacher, dataset, pipeline, batch_size)
    if figure.is_weak and getattr(objective, "teacher_optional", False):
        print_fn(f"No teacher: {figure.weakness}.")
        return objective.without_teacher(), without
    if figure.is_weak:
        advice = (
            "A student learns its mistakes: train it longer or with another recipe (keras-deit "
            "train-teacher), or train without one (--distillation none)"
        )
        # A training that is resumed has begun with it.
        if figure.is_at_chance and not (job.accept_teacher or started):
            raise InputError(
                f"{source}: {figure.weakness}. {advice}, or --accept_teacher to learn from it. The "
                "order of its classes, its pixels or its outputs may be others than declared."
            )
        print_fn(f"WARNING: {figure.weakness}. {advice}.")
    objective.use_teacher(teacher)
    return objective, {
        "teacher": source,
        "teacher_contract": teacher.contract.to_dict(),
        "teacher_class_order": teacher.class_order,
        "teacher_digest": teacher_digest(source, teacher),
        "teacher_figure": str(figure),
    }


def resolve_teacher(
    request: TeacherRequest,
    dataset: Dataset,
    pipeline: InputPipeline,
    teacher_dir: str,
    batch_size: int,
    checkpoint_seconds: float = 300.0,
    print_fn: Callable[[str], None] = print,
) -> tuple[Teacher, str]:
    """Returns the teacher that an objective asks for.

    A teacher that has to be trained is trained in float32, whatever the precision of the student,
    and kept for the next run that asks for the same with data of the same contents. If another
    process trains it already, this one waits for it.

    The classes of a teacher that was trained by this package are known; its outputs are brought
    into the order of the classes of the dataset.

    Args:
        request: the teacher.
        dataset: to train it on.
        pipeline: pipeline of the student's images, which the teacher sees.
        teacher_dir: where trained teachers are kept.
        batch_size: number of images that its contract is checked with.
        checkpoint_seconds: seconds from one checkpoint of its training to the next.
        print_fn: called with each line for the user.

    Returns:
        The teacher, and where it comes from: a name or the path of a file.

    Raises:
        InputError: there is no such teacher, it has other classes than the data, or its images or
            outputs are not what its contract declares.
    """
    model, contract, source, classes = _resolve(
        request, dataset, pipeline, teacher_dir, checkpoint_seconds, print_fn
    )
    order = class_order(classes, dataset.class_names, request.name, dataset.name)
    if request.name.endswith(".keras") and (
        changes := _changes_of_data(pathlib.Path(source), dataset)
    ):
        print_fn(f"Note: {changes}")
    if order is not None:
        print_fn(f"The classes of {source} are in another order; its outputs are put into ours.")
    teacher = Teacher(model, contract, pipeline.image_format, order)
    images, *_ = next(iter(pipeline.evaluation_batches(dataset.validation, batch_size)))
    teacher.check(images)
    return teacher, source


def _resolve(request, dataset, pipeline, teacher_dir, checkpoint_seconds, print_fn):
    """Returns the model, its contract, where it comes from, and its classes, if they are known."""
    name, weights = request.name, request.weights
    if is_foreign(name):
        foreign = _load_foreign(request, dataset.num_classes, pipeline.image_format)
        check_foreign_classes(foreign, name, dataset.num_classes, dataset.name)
        classes = _names_of(dataset, foreign.classes)
        return foreign.model, foreign.contract, foreign_source(name), classes
    if name.endswith(".keras"):
        model, contract = load_teacher_model(name, pixels=request.pixels, outputs=request.outputs)
        check_classes(contract.num_classes, dataset.num_classes, name, dataset.name)
        return model, contract, str(user_path(name).resolve()), teacher_record(name).get("classes")
    recipe = request.recipe or default_teacher_recipe(request.name, request.weights)
    size = recipe.model_size(pipeline.image_format)
    own_classes = own_head_classes(name, dataset.num_classes, weights)
    with precision("float32"):
        if own_classes is not None:
            check_classes(own_classes, dataset.num_classes, name, dataset.name)
            known = weights_class_names(weights, own_classes) if is_package_model(name) else None
            built = build_teacher_model(name, dataset.num_classes, *size, weights)
            return *built, name, _names_of(dataset, known)
        path = _kept_file(request, recipe, dataset, pipeline.image_format, teacher_dir, print_fn)
        if not path.is_file():
            check_writable(path)
            dataset_steps(recipe.optimization, dataset, "teacher_batch_size")
            with _its_training(path, print_fn) as exists:
                if not exists:
                    values = (name, dataset.num_classes, *size, weights)
                    model, contract = build_teacher_model(*values, **stochastic_depth(recipe))
                    source = f"{name}, weights {weights}"
                    fit_teacher(
                        *(model, contract, dataset, recipe, pipeline, path, source),
                        checkpoint_seconds=checkpoint_seconds,
                    )
        # It is loaded even if it was trained just now, so that both kinds of runs do the same.
        source = str(path.resolve())
        return *load_teacher_model(path), source, teacher_record(source).get("classes")


def _load_foreign(
    request: TeacherRequest, num_classes: int, student_format: ImageFormat
) -> Foreign:
    size = (student_format.height, student_format.width)
    contract = (request.weights, request.pixels, request.outputs)
    return load_foreign(request.name, num_classes, *size, *contract)


def _names_of(dataset: Dataset, classes: list[str] | None) -> list[str] | None:
    """Returns the names of a teacher's classes if they are those of the data, in any order.

    Published files name ImageNet's classes in several ways; a teacher of other classes is found by
    its accuracy.
    """
    return classes if classes and {*classes} == {*dataset.class_names} else None


@contextlib.contextmanager
def _its_training(path: pathlib.Path, print_fn: Callable[[str], None]) -> Iterator[bool]:
    """Holds the lock of a teacher's training, and yields whether it exists by then.

    If another process holds the lock, this one waits, and the teacher exists unless the other one
    was stopped.
    """

    def waiting(holder: str) -> None:
        print_fn(f"Waiting for the teacher {path}, which another training makes: {holder}.")

    lock = lock_file(path)
    with exclusive_lock(lock, waiting):
        # Only one of the processes of a training takes the lock; the others wait for it here.
        exists = "True" in all_gather([str(path.is_file())])
        yield exists
        if exists and is_writer():
            shutil.rmtree(lock.parent, ignore_errors=True)


def _kept_file(
    request: TeacherRequest,
    recipe: TeacherRecipe,
    dataset: Dataset,
    student_format: ImageFormat,
    teacher_dir: str,
    print_fn: Callable[[str], None],
) -> pathlib.Path:
    """Returns the file that a trained teacher is kept in, also one of an earlier version."""
    present, any_place, *earlier = teacher_file_names(request, recipe, dataset, student_format)
    folder = pathlib.Path(teacher_dir)
    path = folder / present
    spelled = spelled_teacher_files(request, recipe, dataset, student_format)
    places = [file for name in (any_place, *spelled) for file in sorted(folder.glob(name))]
    found = [path, *places, *(folder / name for name in earlier)]
    kept = next((path for path in found if path.is_file()), path)
    if dataset.fingerprint is not None and kept.name in earlier:
        print_fn(
            f"The teacher {kept} was trained by an earlier version, which did not store what "
            f"identifies the contents of {dataset.name}; remove it to train a new one."
        )
    elif not kept.is_file():
        for other in sorted(folder.glob(f"{glob.escape(file_stem(request.name))}-*.keras")):
            same_recipe = teacher_record(other).get("recipe") == teacher_recipe_identity(recipe)
            if same_recipe and (changes := _changes_of_data(other, dataset)):
                print_fn(f"A new teacher is trained; {changes}")
    return kept


def _changes_of_data(path: pathlib.Path, dataset: Dataset) -> str:
    """Returns a sentence if a teacher was trained on other contents of the folder of a dataset."""
    stored = teacher_record(path).get("data") or {}
    present = dataset.fingerprint
    if present is None or stored.get("place") != present.summary["place"]:
        return ""
    changes = changes_since(dataset, listing_beside(path), stored["digest"])
    return changes and f"the data has changed since {path} was trained: {changes}."


def teacher_digest(source: str, teacher: Teacher) -> str:
    """Returns what identifies a teacher: its file, or the weights of one that has none.

    Args:
        source: where it comes from, as `resolve_teacher` returns it.
        teacher: the teacher.
    """
    return file_digest(source) if source.endswith(".keras") else teacher_fingerprint(teacher)


def teacher_fingerprint(teacher: Teacher) -> str:
    """Returns sixteen hexadecimal digits that identify what a teacher computes with."""
    is_own = not isinstance(teacher.model, (HostModel, TorchModel))
    return fingerprint(teacher) if is_own else teacher.model.digest()[:16]


def request_of_run(config: dict, objective: Objective) -> TeacherRequest | None:
    """Returns the teacher request of a run; None if it had no teacher.

    Earlier versions compared a student with a teacher that nothing was distilled from, too.

    Args:
        config: configuration of the run.
        objective: of the run.
    """
    if config["teacher"] is None or objective.teacher_request is not None:
        return objective.teacher_request
    own = [objective.values.get(f"teacher_{name}") for name in ("weights", "pixels", "outputs")]
    return TeacherRequest(config["teacher"], own[0], None, *own[1:])


def teacher_of_run(
    config: dict, request: TeacherRequest, student_format: ImageFormat
) -> tuple[Teacher | None, str]:
    """Returns the teacher that a run was distilled from.

    Args:
        config: configuration of the run.
        request: teacher request of its objective.
        student_format: format of the images that the teacher gets.

    Returns:
        The teacher, None if its file is gone; and a sentence if it is not that of the training.
    """
    source, is_file = config["teacher"], config["teacher"].endswith(".keras")
    # That of a run with stored labels names these.
    request = dataclasses.replace(request, **config.get("teacher_request", {}))
    if not _is_there(source, request.weights):
        return None, f"The teacher {source} does not exist any more; no agreement."
    with corrupt_as_input_error("The configuration of the run has no contract of its teacher"):
        contract = TeacherContract.from_dict(config["teacher_contract"])
    size = (contract.image_format.height, contract.image_format.width)
    # Earlier versions stored no digest.
    stored = config.get("teacher_digest")
    replaced = f"The teacher {source} is another one than in the training"
    try:
        if is_file:
            model, _ = load_teacher_model(source, contract)
        elif is_foreign(source):
            request = dataclasses.replace(request, name=source)
            model = _load_foreign(request, contract.num_classes, contract.image_format).model
        else:
            model, _ = build_teacher_model(source, contract.num_classes, *size, request.weights)
        teacher = Teacher(model, contract, student_format, config.get("teacher_class_order"))
    except InputError as error:
        if "teacher_replay" in config:
            return None, f"The teacher {source} cannot be used here; no agreement. {error}"
        if not is_file or stored in (None, file_digest(source)):
            raise
        return None, f"{replaced}, which cannot be used; no agreement. {error}"
    if stored in (None, teacher_digest(source, teacher)):
        return teacher, ""
    return teacher, f"{replaced}: its top-1 and the agreement are those of the present one."


def _is_there(source: str, weights: str | None) -> bool:
    """Returns whether the files of a teacher are there, as far as it has any here."""
    if is_foreign(source):
        return foreign_exists(source, weights)
    if source.endswith(".keras"):
        return pathlib.Path(source).is_file()
    try:
        check_teacher_name(source, weights)
    except InputError:
        return not is_package_model(source)
    return True
