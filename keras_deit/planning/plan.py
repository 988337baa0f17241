"""The result of planning a training, and what can be given to it."""

import dataclasses
import math

import keras

from keras_deit.core.errors import InputError
from keras_deit.data import DatasetSize
from keras_deit.planning.memory import Memory
from keras_deit.training import Job


@dataclasses.dataclass(frozen=True)
class PlanOverrides:
    """Values that a plan uses instead of finding them out; None for those that it finds.

    Attributes:
        devices: number of devices of all processes together.
        device_memory_gb: memory of each device, in 10⁹ bytes.
        examples, classes: number of training images and of classes. The data are not read then.
    """

    devices: int | None = None
    device_memory_gb: float | None = None
    examples: int | None = None
    classes: int | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} should be above 0 and finite. Received: {value}")
        if (self.examples is None) != (self.classes is None):
            raise InputError("A plan needs examples and classes of the data together.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The memory and the steps that a training would take.

    Attributes:
        job: the training.
        dataset: size of its data.
        parameters: number of trained parameters and of those with weight decay, in words.
        teacher_parameters: number of parameters of the teacher; 0 for one in a runtime of its own,
            None for no teacher.
        trains_teacher: whether the teacher has to be trained first, unless it was trained before.
        replicas: number of copies of the model.
        shards: number of devices that share a copy.
        images: number of images that a device processes at once.
        steps_per_epoch: number of steps in an epoch.
        memory: memory that the training needs on each device.
        device_bytes: bytes of memory that each device has; None if that is not known.
        device_source: source of that number.
        checkpoint: bytes of a checkpoint file.
    """

    job: Job
    dataset: DatasetSize
    parameters: str
    teacher_parameters: int | None
    trains_teacher: bool
    replicas: int
    shards: int
    images: int
    steps_per_epoch: int
    memory: Memory
    device_bytes: int | None
    device_source: str
    checkpoint: int

    @property
    def devices(self) -> int:
        """The number of devices."""
        return self.replicas * self.shards

    @property
    def steps(self) -> int:
        """The number of steps of the whole training."""
        return self.steps_per_epoch * self.job.recipe.optimization.epochs

    @property
    def fits(self) -> bool | None:
        """Whether a device has the memory; None if that is not known."""
        return None if self.device_bytes is None else self.memory.total <= self.device_bytes

    def accumulation_steps_that_fit(self) -> int | None:
        """Returns the smallest `accumulation_steps` with which it fits; None if there are none."""
        optimization, memory = self.job.recipe.optimization, self.memory
        if keras.backend.backend() == "tensorflow" and self.replicas > 1:
            return None
        with_images = memory.batches + memory.activations + memory.teacher_activations + memory.loss
        # Accumulation needs one array more for each gradient.
        others = memory.total - with_images
        others += memory.gradients * (optimization.accumulation_steps == 1)
        for factor in range(2, self.images + 1):
            fits = others + with_images / factor <= self.device_bytes
            micro_batches = factor * optimization.accumulation_steps
            processes = self.job.devices.num_processes or 1
            # The images that are mixed in pairs stay in one micro-batch.
            divisor = 2 * micro_batches * max(processes, self.replicas)
            if fits and optimization.batch_size % divisor == 0:
                return micro_batches
        return None
