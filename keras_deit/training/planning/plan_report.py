"""A plan in words."""

import dataclasses

from keras_deit.training.planning.plan import Plan

_ROWS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimiser": "optimiser",
    "average": "moving average",
    "batches": "images and targets",
    "teacher": "teacher's weights",
    "activations": "activations",
    "copies": "weights, lower precision",
    "teacher_activations": "teacher's activations",
}
_ESTIMATED = ("activations", "copies", "teacher_activations")


def plan_report(plan: Plan) -> str:
    """The plan as lines of text; what is an estimate is called one."""
    rows = {**_training(plan), **_memory(plan), **_time(plan)}
    return "\n".join(f"{name:26} {value}" for name, value in rows.items())


def advice(plan: Plan) -> str:
    """Why a plan does not fit and what would help, as one line."""
    helps = []
    parts = plan.parts_that_fit()
    if parts is not None:
        helps.append(f"--accumulation_steps {parts}")
    if not plan.job.rematerialise:
        helps.append("--rematerialise")
    if plan.job.mixed_precision == "float32":
        helps.append("--mixed_precision bfloat16")
    helps.append("more devices (--strategy data_parallel, or model_parallel to split the weights)")
    return (
        f"This does not fit: each device needs about {_size(plan.memory.total)} and has "
        f"{_size(plan.device_bytes)}. What would help: {'; '.join(helps)}."
    )


def _training(plan: Plan) -> dict[str, str]:
    recipe, optimisation = plan.job.recipe, plan.job.recipe.optimisation
    parts = optimisation.accumulation_steps
    split = f", {plan.sharing} devices to a copy of the model" if plan.sharing > 1 else ""
    accumulated = f" in {parts} parts" if parts > 1 else ""
    return {
        "plan": "nothing is built, prepared or trained",
        "model": f"{recipe.model} ({recipe.name} recipe), {plan.job.mixed_precision}",
        "parameters": plan.parameters,
        "data": f"{plan.dataset.name}: {plan.dataset.examples:,} training images, "
        f"{plan.dataset.classes:,} classes",
        "teacher": _teacher(plan),
        "images per step": f"{optimisation.batch_size} on {plan.devices} device(s)"
        f"{split}{accumulated}: {plan.images} at once",
        "steps": f"{plan.steps:,} ({optimisation.epochs} epochs of {plan.steps_per_epoch:,})",
        "checkpoint": _size(plan.checkpoint),
    }


def _teacher(plan: Plan) -> str:
    if plan.teacher is None:
        return "none"
    trained = ", trained first unless it was before" if plan.teacher_flops else ""
    return f"{plan.job.recipe.teacher}, {plan.teacher.parameters:,} parameters{trained}"


def _memory(plan: Plan) -> dict[str, str]:
    values = dataclasses.asdict(plan.memory)
    rows = {"memory of each device": ""}
    for field, name in _ROWS.items():
        if values[field]:
            estimated = "  (estimate)" if field in _ESTIMATED else ""
            rows[f"  {name}"] = f"{_size(values[field]):>10}{estimated}"
    rows["  together"] = (
        f"{_size(plan.memory.total):>10}  (estimate, without what the backend takes for itself)"
    )
    has = "unknown: give --device_memory_gb"
    if plan.device_bytes is not None:
        fits = "fits" if plan.fits else "DOES NOT FIT"
        has = f"{_size(plan.device_bytes):>10}  {plan.device_source}: {fits}"
    return {**rows, "  the device has": has}


def _time(plan: Plan) -> dict[str, str]:
    # No training is as fast as its largest product by itself.
    least = "at least " if plan.measured else ""
    rows = {
        "operations of a step": f"{plan.flops / 1e12:.3g}·10¹²",
        "speed of a device": f"{plan.device_flops / 1e12:.3g}·10¹²/s, {_speed_source(plan)}",
        "time of a step": f"{least}{_duration(plan.step_seconds)}  (estimate)",
        "time of the training": f"{least}{_duration(plan.step_seconds * plan.steps)}  "
        "(estimate: steps alone, without validation, checkpoints and waiting for data)",
    }
    if plan.teacher_flops:
        rows["time of the teacher's"] = f"{least}{_duration(plan.teacher_seconds)}  (estimate)"
    return rows


def _speed_source(plan: Plan) -> str:
    if plan.measured:
        return "measured here, of the student's largest matrix product alone"
    return "as --device_tflops says"


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _duration(seconds: float) -> str:
    for unit, factor in (("days", 86400), ("hours", 3600), ("min", 60), ("s", 1)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e3:.3g} ms"
