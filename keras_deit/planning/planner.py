"""Planning a training without building anything on a device."""

import dataclasses

import keras

from keras_deit.core.abstract import build_abstract
from keras_deit.core.precision import precision
from keras_deit.data import DatasetSize, dataset_size
from keras_deit.distributed import split_axes
from keras_deit.layers.tracing import largest_call
from keras_deit.models import Classifier, abstract_model
from keras_deit.objectives import TrainingLength, TrainingModel
from keras_deit.optimizers import check_accumulation, select_trainable
from keras_deit.planning.activations import activation_bytes
from keras_deit.planning.device import count_devices, device_memory
from keras_deit.planning.memory import (
    Memory,
    checkpoint_bytes,
    optimizer_size,
    trained_model_variables,
    variable_bytes,
)
from keras_deit.planning.plan import Plan, PlanOverrides
from keras_deit.recipes import default_teacher_recipe
from keras_deit.teachers import (
    HostModel,
    Replay,
    Teacher,
    TeacherRequest,
    TorchModel,
    is_frozen_file,
    is_replay,
    own_head_classes,
)
from keras_deit.teachers.abstract import abstract_teacher
from keras_deit.training import Job
from keras_deit.training.activation_checkpointing import enable_activation_checkpointing
from keras_deit.training.report import parameters_line
from keras_deit.training.steps import count_steps

_GB = 1e9


def make_plan(job: Job, overrides: PlanOverrides | None = None) -> Plan:
    """Plans a training.

    No weights get memory, no data are prepared, and no teacher is downloaded or trained.

    Args:
        job: the training.
        overrides: values to use instead of finding them out.

    Raises:
        InputError: the training would raise it for a wrong name or size; the size of the data is
            not known; or a layer does not say what it saves for the backward pass.
    """
    overrides = overrides or PlanOverrides()
    replicas, shards = count_devices(job.devices, overrides.devices)
    dataset = _dataset(job, overrides)
    optimization = job.recipe.optimization
    check_accumulation(optimization, replicas if keras.backend.backend() == "tensorflow" else 1)
    processes = job.devices.num_processes or 1
    optimization, steps = count_steps(
        optimization, dataset.name, dataset.examples, replicas, processes=processes
    )
    recipe = dataclasses.replace(job.recipe, optimization=optimization)
    job = dataclasses.replace(job, recipe=recipe)
    images = optimization.batch_size // (replicas * optimization.accumulation_steps)
    with precision(job.mixed_precision):
        length = TrainingLength(optimization.epochs * steps, steps, dataset.examples)
        model = _abstract_training_model(job, dataset.classes, length)
        optimizer = optimizer_size(model, optimization)
        memory = _memory(job, model, optimizer, dataset.classes, images, shards)
        checkpoint = checkpoint_bytes(model, optimizer, optimization.ema_decay > 0)
    device_bytes, device_source = _device(overrides, replicas * shards // processes)
    teacher, request = model.objective.teacher, model.objective.teacher_request
    return Plan(
        job=job,
        dataset=dataset,
        parameters=parameters_line(model, optimization),
        teacher_parameters=teacher and teacher.model.count_params(),
        trains_teacher=request is not None and _is_trained(request, dataset.classes),
        replicas=replicas,
        shards=shards,
        images=images,
        steps_per_epoch=steps,
        memory=memory,
        device_bytes=device_bytes,
        device_source=device_source,
        checkpoint=checkpoint,
    )


def _is_trained(request: TeacherRequest, num_classes: int) -> bool:
    if is_frozen_file(request.name):
        return False
    return own_head_classes(request.name, num_classes, request.weights) is None


def _dataset(job: Job, overrides: PlanOverrides) -> DatasetSize:
    if overrides.examples is not None:
        return DatasetSize(f"{job.dataset}, as given", overrides.classes, overrides.examples)
    return dataset_size(job.dataset, job.data_dir, job.test_share, coarse=job.coarse)


def _abstract_training_model(job: Job, num_classes: int, length: TrainingLength) -> TrainingModel:
    recipe, objective = job.recipe, job.recipe.objective.copy()
    objective.use_length(length)
    student = abstract_model(recipe.model, num_classes=num_classes, **recipe.model_values)
    if job.activation_checkpointing:
        enable_activation_checkpointing(student)
    request = objective.teacher_request
    if request is not None and is_replay(request.name):
        objective.use_replay(Replay.named(request.name))
    elif request is not None:
        objective.use_teacher(_abstract_teacher(request, num_classes, student))
    select_trainable(student, recipe.optimization.trainable)
    return build_abstract(lambda: TrainingModel(student, objective))


def _abstract_teacher(request, num_classes: int, student: Classifier) -> Teacher:
    recipe = request.recipe or default_teacher_recipe(request.name, request.weights)
    size = recipe.model_size(student.image_format)
    return abstract_teacher(request, num_classes, *size, student.image_format)


def _memory(job, model, optimizer, num_classes: int, images: int, shards: int) -> Memory:
    student, teacher = model.student, model.objective.teacher
    split = split_axes(student, shards) if shards > 1 else ()

    def held(variables) -> int:
        return variable_bytes(variables, split, shards)

    trained = held(model.trainable_variables)
    lower = student.compute_dtype != "float32"
    weights = [*student.weights, *(w for layer in model.objective_layers for w in layer.weights)]
    return Memory(
        weights=held(trained_model_variables(model)),
        gradients=trained,
        optimizer=optimizer.bytes(trained),
        ema=held(student.weights) if job.recipe.optimization.ema_decay > 0 else 0,
        batches=_batch_bytes(model, num_classes, images),
        teacher=_teacher_bytes(teacher) if teacher else 0,
        activations=activation_bytes(model, images, keras.backend.backend(), shards),
        copies=held(weights) // 2 if lower else 0,
        teacher_activations=4 * images * _teacher_activations(teacher) if teacher else 0,
        loss=build_abstract(lambda: model.objective.activation_bytes(images)),
    )


def _batch_bytes(model: TrainingModel, num_classes: int, images: int) -> int:
    image = model.student.image_format
    views = model.objective.image_equivalents(image)
    numbers = round(views * image.height * image.width * 3) + num_classes
    # JAX copies the next batch to the device while a step runs.
    return 4 * images * numbers * (2 if keras.backend.backend() == "jax" else 1)


def _teacher_bytes(teacher: Teacher) -> int:
    if isinstance(teacher.model, (HostModel, TorchModel)):
        return teacher.model.device_bytes
    return variable_bytes(teacher.model.variables)


def _teacher_activations(teacher: Teacher) -> int:
    """Returns the number of values in the inputs and outputs of the largest layer."""
    if isinstance(teacher.model, (HostModel, TorchModel)):
        return 0  # What is inside is not known.
    image = teacher.contract.image_format
    shape = (None, image.height, image.width, 3)
    return build_abstract(lambda: largest_call(teacher.model, shape))


def _device(overrides: PlanOverrides, devices_here: int) -> tuple[int | None, str]:
    given = overrides.device_memory_gb
    if given is not None:
        return round(given * _GB), "as --device_memory_gb says"
    return device_memory(devices_here) or (None, "not known")
