"""What a training would take."""

import dataclasses
import math

import keras

from keras_deit.data import DatasetSize
from keras_deit.distillation.teacher_outline import TeacherOutline
from keras_deit.errors import InputError
from keras_deit.training.job import Job
from keras_deit.training.planning.memory import Memory


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What a plan is told in place of finding it out; None for what is found.

    Attributes:
        devices: how many there are, of all processes together.
        device_memory_gb: 10⁹ bytes that each has.
        device_tflops: 10¹² operations per second that each sustains in a training.
        examples, classes: training images and classes of the data, which are then not looked at.
    """

    devices: int | None = None
    device_memory_gb: float | None = None
    device_tflops: float | None = None
    examples: int | None = None
    classes: int | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} should be above 0, and finite. Received: {value}")
        if (self.examples is None) != (self.classes is None):
            raise InputError("examples and classes of the data go together in a plan.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training would take.

    Attributes:
        job: the training.
        dataset: its data.
        parameters: of the student, in words.
        teacher: of the distillation; None for none.
        copies, sharing: copies of the model, and devices that share each.
        images: that a device has at once.
        steps_per_epoch: of the training.
        memory: of each device.
        device_bytes: that each device has; None where nobody says.
        device_source: who says so.
        checkpoint: bytes of its file.
        flops: operations of a step, on all devices together.
        teacher_step_flops: the teacher's part of them. Each copy of the model does its share of the
            images, and each device of a copy does all of that.
        device_flops: operations per second of a device.
        measured: whether that was measured here, of a matrix product alone.
        teacher_flops: operations of the training that the teacher needs first; 0 for none.
    """

    job: Job
    dataset: DatasetSize
    parameters: str
    teacher: TeacherOutline | None
    copies: int
    sharing: int
    images: int
    steps_per_epoch: int
    memory: Memory
    device_bytes: int | None
    device_source: str
    checkpoint: int
    flops: int
    teacher_step_flops: int
    device_flops: float
    measured: bool
    teacher_flops: int

    @property
    def devices(self) -> int:
        return self.copies * self.sharing

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.steps_per_epoch * self.job.recipe.optimisation.epochs

    @property
    def step_seconds(self) -> float:
        """An estimate."""
        # The layout splits the student alone.
        own = (self.flops - self.teacher_step_flops) / self.devices
        return (own + self.teacher_step_flops / self.copies) / self.device_flops

    @property
    def teacher_seconds(self) -> float:
        """An estimate, of the teacher's own training."""
        return self.teacher_flops / (self.copies * self.device_flops)

    @property
    def fits(self) -> bool | None:
        """Whether a device has the memory; None where that is not known."""
        return None if self.device_bytes is None else self.memory.total <= self.device_bytes

    def parts_that_fit(self) -> int | None:
        """The fewest `accumulation_steps` with which it fits; None where they cannot help."""
        optimisation, memory = self.job.recipe.optimisation, self.memory
        if keras.backend.backend() == "tensorflow" and self.copies > 1:
            return None
        with_images = memory.batches + memory.activations + memory.teacher_activations
        # The sum of the gradients is an array of its own as soon as there are parts.
        others = memory.total - with_images
        others += memory.gradients * (optimisation.accumulation_steps == 1)
        for factor in range(2, self.images + 1):
            fits = others + with_images / factor <= self.device_bytes
            parts = factor * optimisation.accumulation_steps
            processes = self.job.devices.num_processes or 1
            # Pairs of images stay together.
            if fits and optimisation.batch_size % (2 * parts * max(processes, self.copies)) == 0:
                return parts
        return None
