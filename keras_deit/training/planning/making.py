"""Finding out what a training would take, without building anything on a device."""

import keras

from keras_deit.data import DatasetSize, dataset_size
from keras_deit.distillation.teacher_outline import TeacherOutline, outline_teacher
from keras_deit.models import Classifier, count_macs, outline_model
from keras_deit.models.precision import precision
from keras_deit.training.job import Job
from keras_deit.training.optimisation import check_accumulation, select_trainable
from keras_deit.training.planning.activations import activation_bytes
from keras_deit.training.planning.device import count_devices, device_memory
from keras_deit.training.planning.memory import (
    Memory,
    checkpoint_bytes,
    held_bytes,
    optimizer_size,
)
from keras_deit.training.planning.plan import Circumstances, Plan
from keras_deit.training.planning.speed import measured_flops, step_flops
from keras_deit.training.report import parameters_line
from keras_deit.training.teacher_training import steps_of, teacher_size

_GB, _TERA = 1e9, 1e12


def make_plan(job: Job, circumstances: Circumstances | None = None) -> Plan:
    """Plans a training.

    No weight gets memory, no data are prepared and no teacher is read, fetched or trained. Where
    the speed is not given, a matrix product is measured on the present device.

    Args:
        job: the training.
        circumstances: what is not to be found out.

    Raises:
        InputError: as the training would, as far as its names and sizes are wrong; or the size of
            the data is not known.
    """
    circumstances = circumstances or Circumstances()
    copies, sharing = count_devices(job.devices, circumstances.devices)
    dataset = _dataset(job, circumstances)
    with precision(job.mixed_precision):
        return _Planning(job, circumstances, dataset, copies, sharing).plan()


def _dataset(job: Job, circumstances: Circumstances) -> DatasetSize:
    if circumstances.examples is not None:
        return DatasetSize(
            f"{job.dataset}, as given", circumstances.classes, circumstances.examples
        )
    return dataset_size(job.dataset, job.data_dir)


class _Planning:
    """The parts of a plan, under the job's precision."""

    def __init__(self, job, circumstances, dataset, copies, sharing):
        self._job = job
        self._circumstances = circumstances
        self._dataset = dataset
        self._copies = copies
        self._sharing = sharing
        recipe, optimisation = job.recipe, job.recipe.optimisation
        check_accumulation(optimisation, copies if keras.backend.backend() == "tensorflow" else 1)
        self._steps = steps_of(
            optimisation,
            dataset.name,
            dataset.examples,
            copies,
            processes=job.devices.num_processes or 1,
        )
        self._images = optimisation.batch_size // (copies * optimisation.accumulation_steps)
        self._student = outline_model(
            recipe.model, num_classes=dataset.classes, **recipe.model_values
        )
        select_trainable(self._student, optimisation.trainable)
        self._optimizer = optimizer_size(self._student, optimisation)
        self._teacher = self._outline_teacher()

    def plan(self) -> Plan:
        recipe = self._job.recipe
        given = self._circumstances.device_tflops
        device_bytes, device_source = self._device()
        student_macs = count_macs(self._student)
        teacher_macs = self._teacher.macs if self._teacher else 0
        batch_size = recipe.optimisation.batch_size
        return Plan(
            job=self._job,
            dataset=self._dataset,
            parameters=parameters_line(self._student, recipe.optimisation.trainable),
            teacher=self._teacher,
            copies=self._copies,
            sharing=self._sharing,
            images=self._images,
            steps_per_epoch=self._steps,
            memory=self._memory(),
            device_bytes=device_bytes,
            device_source=device_source,
            checkpoint=checkpoint_bytes(self._student, self._optimizer, self._averaged),
            flops=step_flops(student_macs, teacher_macs, batch_size, self._job.rematerialise),
            teacher_step_flops=step_flops(0, teacher_macs, batch_size, False),
            device_flops=self._measured_flops() if given is None else given * _TERA,
            measured=given is None,
            teacher_flops=self._teacher_flops(),
        )

    @property
    def _averaged(self) -> bool:
        return self._job.recipe.optimisation.ema_decay > 0

    def _outline_teacher(self) -> TeacherOutline | None:
        recipe, student = self._job.recipe, self._student.image_format
        if recipe.teacher is None or recipe.distillation == "none":
            return None
        size = teacher_size(recipe.teacher_recipe, student)
        return outline_teacher(recipe.teacher, self._dataset.classes, *size, recipe.teacher_weights)

    def _memory(self) -> Memory:
        student, sharing = self._student, self._sharing
        trained = held_bytes(student.trainable_variables, sharing)
        lower = student.compute_dtype != "float32"
        teacher = self._teacher
        return Memory(
            weights=held_bytes(student.variables, sharing),
            gradients=trained,
            optimiser=self._optimizer.bytes(student, sharing),
            average=held_bytes(student.weights, sharing) if self._averaged else 0,
            batches=self._batch_bytes(student),
            teacher=teacher.weight_bytes if teacher else 0,
            activations=activation_bytes(
                student, self._images, keras.backend.backend(), sharing, self._job.rematerialise
            ),
            copies=held_bytes(student.weights, sharing) // 2 if lower else 0,
            teacher_activations=4 * self._images * teacher.activations if teacher else 0,
        )

    def _batch_bytes(self, student: Classifier) -> int:
        image = student.image_format
        numbers = image.height * image.width * 3 + self._dataset.classes
        # On JAX the next batch is on its way while a step runs.
        return 4 * self._images * numbers * (2 if keras.backend.backend() == "jax" else 1)

    def _device(self) -> tuple[int | None, str]:
        given = self._circumstances.device_memory_gb
        if given is not None:
            return round(given * _GB), "as --device_memory_gb says"
        processes = self._job.devices.num_processes or 1
        return device_memory(self._copies * self._sharing // processes) or (None, "not known")

    def _measured_flops(self) -> float:
        # Devices that the CPU was split into share its speed.
        flops = measured_flops(self._student, self._images)
        return flops / max(self._job.devices.virtual_devices, 1)

    def _teacher_flops(self) -> int:
        recipe = self._job.recipe
        if self._teacher is None or recipe.teacher.endswith(".keras"):
            return 0
        optimisation = recipe.teacher_recipe.optimisation
        name, examples = self._dataset.name, self._dataset.examples
        steps = steps_of(optimisation, name, examples, self._copies, "teacher_batch_size")
        of_step = step_flops(self._teacher.macs, 0, optimisation.batch_size, False)
        return of_step * steps * optimisation.epochs
