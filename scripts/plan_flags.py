"""The flags of `train.py --plan`."""

from absl import flags

from keras_deit.errors import InputError
from keras_deit.training import Job
from keras_deit.training.planning import Circumstances, advice, make_plan, plan_report

PLAN = flags.DEFINE_bool(
    "plan", False, "Only say what the training would take: memory, steps, time. Trains nothing."
)
_DEVICES = flags.DEFINE_integer("plan_devices", None, "Plan for so many devices.", lower_bound=1)
_MEMORY = flags.DEFINE_float(
    "device_memory_gb", None, "Plan for devices with so many 10⁹ bytes, not for the present one."
)
_SPEED = flags.DEFINE_float(
    "device_tflops", None, "10¹² operations per second that a device sustains, for the plan."
)
_EXAMPLES = flags.DEFINE_integer(
    "plan_examples",
    None,
    "Plan for so many training images, without a look at the dataset.",
    lower_bound=1,
)
_CLASSES = flags.DEFINE_integer(
    "plan_classes", None, "Plan for so many classes, with the former.", lower_bound=1
)


def require_plan() -> None:
    """Makes sure that no flag of a plan is given where a training would start.

    Raises:
        InputError: one is.
    """
    for flag in (_DEVICES, _MEMORY, _SPEED, _EXAMPLES, _CLASSES):
        if flag.present:
            raise InputError(f"--{flag.name} is for --plan.")


def print_plan(job: Job) -> None:
    """Prints what a training would take.

    Raises:
        InputError: it would not fit.
    """
    circumstances = Circumstances(
        devices=_DEVICES.value,
        device_memory_gb=_MEMORY.value,
        device_tflops=_SPEED.value,
        examples=_EXAMPLES.value,
        classes=_CLASSES.value,
    )
    plan = make_plan(job, circumstances)
    print(plan_report(plan))
    if plan.fits is False:
        raise InputError(advice(plan))
