"""The options of a plan: the flags of the command, and in Python."""

from keras_deit.data import DatasetSize, dataset_size
from keras_deit.planning.plan import Plan, PlanOverrides
from keras_deit.planning.planner import make_plan
from keras_deit.recipes import AUTO, Option, default_recipe
from keras_deit.training import DEFAULT_DATASET, make_job


def plan_options() -> list[Option]:
    """Returns the options of a plan besides those of its training."""
    return [
        Option("plan_devices", int, "Plan for this number of devices.", minimum=1),
        Option("device_memory_gb", float, "Plan for devices with this many 10⁹ bytes."),
        Option(
            "plan_examples",
            int,
            "Plan for this number of training images, and do not look at the data.",
            minimum=1,
        ),
        Option("plan_classes", int, "Plan for this number of classes, with --plan_examples."),
    ]


def plan_training(**options) -> Plan:
    """Plans a training, exactly as the command `keras-deit plan` does.

    `keras_deit.planning.plan_report` returns the plan as text.

    Args:
        **options: any flag of the command by its name, such as `recipe="deit"`,
            `plan_examples=1281167`, `plan_classes=1000`, `device_memory_gb=80`.

    Raises:
        InputError: there is no such option, or what `make_plan` raises.
    """
    own = {option.name for option in plan_options()}
    overrides = {name.removeprefix("plan_"): v for name, v in options.items() if name in own}
    overrides = PlanOverrides(**overrides)
    values = {name: value for name, value in options.items() if name not in own}
    dataset = values.get("dataset") or DEFAULT_DATASET
    if overrides.examples is not None:
        size = DatasetSize(dataset, overrides.classes, overrides.examples)
    elif default_recipe(dataset) == (values.get("recipe") or AUTO):
        reading = (values.get(name) for name in ("data_dir", "test_share"))
        size = dataset_size(dataset, *reading, True, values.get("coarse"))
    else:
        size = None
    return make_plan(make_job(size, **values), overrides)
